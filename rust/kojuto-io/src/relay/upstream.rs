//! Where connections can go: lists of addresses that change while connections are open.

mod address;

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use kojuto_core::net::balance::{Balance, Ring, choose};
use kojuto_core::scan::json_line::JsonLine;

use super::health::{Health, Limits, Standing};
use super::remote::Remote;
pub use address::Address;

/// For so long a connect may be unanswered before the next upstream is tried beside it...
const HEAD_START: Duration = Duration::from_secs(1);
/// ...where a client belongs to one upstream: a first SYN that was lost is sent again after a second
/// (RFC 6298, 2.1), and must not send a write elsewhere...
const HASHED_HEAD_START: Duration = Duration::from_secs(3);
/// ...and where it has failed before: just long enough for one that is well again to be the first
/// (RFC 8305, 8: the recommended minimum).
const FAILED_HEAD_START: Duration = Duration::from_millis(100);
/// The most former upstreams of which something is remembered.
const MAX_FORMER: usize = 1000;

/// One address with what is known about it.
#[derive(Debug)]
pub struct Upstream {
    /// Where it is.
    pub address: Address,
    /// The address as logs and hashes name it.
    pub name: String,
    /// What is at that address, if anybody knows: the name of a container.
    pub container: String,
    /// Connections open now, or being made.
    pub open: AtomicUsize,
    /// Connections made since the start.
    pub connected: AtomicU64,
    /// Attempts that failed since the start.
    pub failed: AtomicU64,
    health: Health,
}

impl Upstream {
    fn new(address: Address, container: &str) -> Upstream {
        Upstream {
            name: address.to_string(),
            address,
            container: container.to_owned(),
            open: AtomicUsize::new(0),
            connected: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            health: Health::default(),
        }
    }

    /// Adds where it is, and what is there, to a log line.
    pub(super) fn describe(&self, line: JsonLine) -> JsonLine {
        let line = line.text("upstream", &self.name);
        if self.container.is_empty() { line } else { line.text("container", &self.container) }
    }
}

/// An upstream that was chosen for a connection, which counts as open until this is dropped.
pub(super) struct Lease {
    upstream: Arc<Upstream>,
    /// It is the one that tries the address after its rest.
    trial: bool,
}

impl Lease {
    fn new(upstream: &Arc<Upstream>, trial: bool) -> Lease {
        upstream.open.fetch_add(1, Relaxed);
        Lease { upstream: Arc::clone(upstream), trial }
    }

    pub(super) fn upstream(&self) -> Arc<Upstream> {
        Arc::clone(&self.upstream)
    }
}

impl Deref for Lease {
    type Target = Upstream;

    fn deref(&self) -> &Upstream {
        &self.upstream
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.upstream.open.fetch_sub(1, Relaxed);
        if self.trial {
            self.upstream.health.give_trial_back();
        }
    }
}

/// The list as it is now.
#[derive(Debug, Default)]
struct Members {
    list: Arc<[Arc<Upstream>]>,
    /// Empty where the rule does not hash.
    ring: Ring,
}

/// A list of upstreams and the rule that chooses among them.
#[derive(Debug)]
pub struct Pool {
    balance: Balance,
    limits: Limits,
    /// What [`Balance::Fixed`] hashes.
    host: String,
    members: RwLock<Arc<Members>>,
    /// Those that were in the list and of which failures are remembered.
    former: Mutex<Vec<Arc<Upstream>>>,
    /// See [`Pool::set_settling`].
    settle_ms: AtomicU64,
    wait_for_upstream: AtomicBool,
}

impl Pool {
    /// An empty list.
    pub fn new(balance: Balance, limits: Limits, host: String) -> Pool {
        Pool {
            balance,
            limits,
            host,
            members: RwLock::default(),
            former: Mutex::default(),
            settle_ms: AtomicU64::new(0),
            wait_for_upstream: AtomicBool::new(false),
        }
    }

    /// How carefully connections are made from now on.
    ///
    /// An upstream behind a forwarder (docker-proxy, a load balancer) seems to accept whether it
    /// does or not: the forwarder does, and closes when it cannot go on. With `settle_ms` over 0
    /// a connection must have stayed open for so long, or said something, before it is given its
    /// first byte; until then it can be replaced by one to the next upstream without harm. With
    /// `wait`, a client for which there is no upstream waits for one, up to the connect
    /// time-out, rather than being refused.
    pub fn set_settling(&self, settle_ms: u64, wait: bool) {
        self.settle_ms.store(settle_ms, Relaxed);
        self.wait_for_upstream.store(wait, Relaxed);
    }

    pub(super) fn settle_ms(&self) -> u64 {
        self.settle_ms.load(Relaxed)
    }

    pub(super) fn waits_for_upstream(&self) -> bool {
        self.wait_for_upstream.load(Relaxed)
    }

    /// Whether an upstream is still in the list.
    pub(super) fn has(&self, lease: &Lease) -> bool {
        self.members().iter().any(|known| Arc::ptr_eq(known, &lease.upstream))
    }

    fn current(&self) -> Arc<Members> {
        Arc::clone(&self.members.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The list as it is now.
    pub fn members(&self) -> Arc<[Arc<Upstream>]> {
        Arc::clone(&self.current().list)
    }

    /// Replaces the list. Of an address that stays, and for a while of one that comes back, counts and
    /// failures are kept.
    pub fn replace(&self, addresses: &[Address]) {
        self.replace_containers(addresses.iter().map(|address| (address.clone(), "")));
    }

    /// The same where it is known what is at an address; something else there begins anew.
    pub fn replace_containers<'a>(&self, addresses: impl IntoIterator<Item = (Address, &'a str)>) {
        let now = Instant::now();
        let mut former = self.former.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.current();
        let known = || old.list.iter().chain(&*former);
        let mut list: Vec<Arc<Upstream>> = Vec::new();
        for (address, container) in addresses {
            if list.iter().any(|member| member.address == address) {
                continue;
            }
            let is_it = |one: &&Arc<Upstream>| one.address == address && one.container == container;
            let found = known().find(is_it).map(Arc::clone);
            list.push(found.unwrap_or_else(|| Arc::new(Upstream::new(address, container))));
        }
        let left = known().filter(|one| {
            one.health.is_worth_keeping(now) && !list.iter().any(|new| Arc::ptr_eq(new, one))
        });
        *former = left.take(MAX_FORMER).map(Arc::clone).collect();
        let ring = match self.balance {
            Balance::LeastConn | Balance::First => Ring::default(),
            _ => Ring::of_names(list.iter().map(|member| member.address.ring_name())),
        };
        let members = Arc::new(Members { list: list.into(), ring });
        *self.members.write().unwrap_or_else(PoisonError::into_inner) = members;
    }

    /// Whether an address is left out for its failures, or has yet to prove itself after a rest.
    pub fn is_left_out(&self, member: &Upstream) -> bool {
        member.health.is_left_out()
    }

    /// Counts a failed attempt; answers how long the address rests when that begins now.
    pub(super) fn failed(&self, mut lease: Lease) -> Option<Duration> {
        lease.trial = false;
        lease.failed.fetch_add(1, Relaxed);
        lease.health.failed(self.limits, Instant::now())
    }

    /// Counts a connection; answers whether the address had been left out.
    pub(super) fn connected(&self, lease: &mut Lease) -> bool {
        lease.trial = false;
        lease.connected.fetch_add(1, Relaxed);
        lease.health.succeeded()
    }

    /// How long to wait for its answer before another upstream is tried beside it.
    pub(super) fn head_start(&self, lease: &Lease) -> Duration {
        match self.balance {
            _ if lease.health.has_failed() => FAILED_HEAD_START,
            Balance::LeastConn => HEAD_START,
            _ => HASHED_HEAD_START,
        }
    }

    /// What the rule hashes for a client, if it does.
    fn key(&self, client: &Remote) -> Option<String> {
        match self.balance {
            Balance::LeastConn | Balance::First => None,
            Balance::IpHash => Some(client.hash_key(false)),
            Balance::RemoteHash => Some(client.hash_key(true)),
            Balance::Fixed => Some(self.host.clone()),
        }
    }

    /// Chooses an upstream that was not tried yet, and counts it as open. Where the rule hashes, a
    /// client has but `most` upstreams (0: all).
    pub(super) fn pick(
        &self,
        client: &Remote,
        tried: &[Address],
        most: usize,
        random: u64,
    ) -> Option<Lease> {
        let Members { list, ring } = &*self.current();
        let key = self.key(client);
        let order = match &key {
            Some(key) => ring.order(key.as_bytes(), most),
            None => (0..list.len()).collect(),
        };
        let now = Instant::now();
        let untried = order.into_iter().filter(|&at| !tried.contains(&list[at].address));
        let untried: Vec<(usize, Standing)> =
            untried.map(|at| (at, list[at].health.standing(now))).collect();
        let mut candidates: Vec<(usize, Standing)> = untried.clone();
        candidates.retain(|&(_, standing)| standing != Standing::Resting);
        if candidates.is_empty() {
            candidates = untried;
        }
        let open = candidates.iter().map(|&(at, _)| list[at].open.load(Relaxed));
        let rule = if key.is_some() { Balance::First } else { self.balance };
        let (at, standing) = candidates[choose(rule, open, random)?];
        let trial = standing == Standing::Due && list[at].health.take_trial();
        Some(Lease::new(&list[at], trial))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::SocketAddr;
    use std::path::Path;

    use super::*;

    fn addresses(count: u8) -> Vec<SocketAddr> {
        (1..=count).map(|i| SocketAddr::from(([127, 0, 0, i], 80))).collect()
    }

    fn places(addresses: &[SocketAddr]) -> Vec<Address> {
        addresses.iter().copied().map(Address::from).collect()
    }

    fn set(pool: &Pool, addresses: &[SocketAddr]) {
        pool.replace(&places(addresses));
    }

    fn pool(balance: Balance, max_fails: u32) -> Pool {
        let limits = Limits { max_fails, rest: Duration::from_secs(10) };
        Pool::new(balance, limits, "db.example.com".to_owned())
    }

    fn pick(pool: &Pool, tried: &[SocketAddr], random: u64) -> Option<Lease> {
        pool.pick(&Remote::Socket(addresses(1)[0]), &places(tried), 0, random)
    }

    /// Every address that a pick may be answered with.
    fn picked(pool: &Pool) -> BTreeSet<SocketAddr> {
        (0..50).map(|random| pick(pool, &[], random).unwrap().address.inet().unwrap()).collect()
    }

    /// Counts a failure of an address.
    fn fail(pool: &Pool, address: SocketAddr) -> Option<Duration> {
        let others: Vec<_> = addresses(9).into_iter().filter(|other| *other != address).collect();
        pool.failed(pick(pool, &others, 0).unwrap())
    }

    #[test]
    fn a_failed_address_is_left_out_unless_all_have_failed_whatever_its_name_resolves_to() {
        for max_fails in [1, 2, 3] {
            let pool = pool(Balance::LeastConn, max_fails);
            set(&pool, &addresses(2));
            let all: BTreeSet<_> = addresses(2).into_iter().collect();
            let [first, second] = addresses(2)[..] else { panic!() };
            for _ in 1..max_fails {
                assert_eq!(fail(&pool, first), None);
                assert_eq!(picked(&pool), all, "below max_fails {max_fails}");
            }
            assert_eq!(fail(&pool, first), Some(Duration::from_secs(10)));
            for list in [&addresses(2)[..], &[second], &[second, first], &addresses(2)] {
                set(&pool, list);
                assert_eq!(picked(&pool), [second].into(), "at max_fails {max_fails}, {list:?}");
            }
            assert!(pool.is_left_out(&pool.members()[0]));
            for _ in 0..max_fails {
                fail(&pool, second);
            }
            assert_eq!(picked(&pool), all, "all have failed");
            let mut lease = pick(&pool, &[second], 0).unwrap();
            assert!(pool.connected(&mut lease) && !pool.connected(&mut lease));
            drop(lease);
            assert_eq!(picked(&pool), [first].into(), "it has proved itself");
            let failed = pool.members()[0].failed.load(Relaxed);
            assert_eq!(failed, u64::from(max_fails), "the count itself stays");
        }
    }

    #[test]
    fn another_container_at_the_same_address_begins_anew() {
        let pool = pool(Balance::First, 1);
        let [first, second] = addresses(2)[..] else { panic!() };
        let at = |one: SocketAddr| Address::from(one);
        pool.replace_containers([(at(first), "old"), (at(second), "other")]);
        fail(&pool, first);
        pool.replace_containers([(at(first), "old"), (at(second), "other")]);
        assert_eq!(picked(&pool), [second].into());
        pool.replace_containers([(at(first), "new"), (at(second), "other")]);
        assert_eq!(picked(&pool), [first].into());
        let line = pool.members()[0].describe(crate::log::Log::line("info", "x")).end();
        let line = String::from_utf8(line).unwrap();
        assert!(line.ends_with("\"upstream\":\"127.0.0.1:80\",\"container\":\"new\"}\n"));
    }

    #[test]
    fn without_max_fails_no_failure_leaves_an_address_out() {
        let pool = pool(Balance::LeastConn, 0);
        set(&pool, &addresses(2));
        for _ in 0..1000 {
            assert_eq!(fail(&pool, addresses(1)[0]), None);
        }
        assert_eq!(picked(&pool), addresses(2).into_iter().collect());
        assert!(!pool.members().iter().any(|member| pool.is_left_out(member)), "as it is told");
    }

    #[test]
    fn after_its_rest_an_address_is_given_one_connection() {
        let limits = Limits { max_fails: 1, rest: Duration::ZERO };
        let pool = Pool::new(Balance::First, limits, String::new());
        set(&pool, &addresses(2));
        let [first, second] = addresses(2)[..] else { panic!() };
        pool.failed(pick(&pool, &[], 0).unwrap());
        let trial = pick(&pool, &[], 0).unwrap();
        assert_eq!(trial.address.inet().unwrap(), first);
        let other = pick(&pool, &[], 0).unwrap();
        assert_eq!(other.address.inet().unwrap(), second, "the trial is taken");
        drop(other);
        assert_eq!(
            pick(&pool, &[], 0).unwrap().address.inet().unwrap(),
            second,
            "and it was not the other's"
        );
        drop(trial);
        assert_eq!(
            pick(&pool, &[], 0).unwrap().address.inet().unwrap(),
            first,
            "which came to nothing"
        );
        let mut trial = pick(&pool, &[], 0).unwrap();
        assert!(pool.connected(&mut trial));
        assert_eq!(pick(&pool, &[], 0).unwrap().address.inet().unwrap(), first);
    }

    #[test]
    fn the_head_start_depends_on_the_rule_and_ends_with_a_failure() {
        for (rule, head_start) in [
            (Balance::LeastConn, HEAD_START),
            (Balance::Fixed, HASHED_HEAD_START),
            (Balance::IpHash, HASHED_HEAD_START),
            (Balance::RemoteHash, HASHED_HEAD_START),
        ] {
            let pool = pool(rule, 3);
            set(&pool, &addresses(1));
            assert_eq!(pool.head_start(&pick(&pool, &[], 0).unwrap()), head_start);
            fail(&pool, addresses(1)[0]);
            let mut lease = pick(&pool, &[], 0).unwrap();
            assert_eq!(pool.head_start(&lease), FAILED_HEAD_START);
            pool.connected(&mut lease);
            assert_eq!(pool.head_start(&lease), head_start);
        }
    }

    #[test]
    fn a_client_that_is_hashed_has_a_few_upstreams_and_keeps_to_their_order() {
        let pool = pool(Balance::IpHash, 1);
        set(&pool, &addresses(9));
        let client = Remote::Socket(addresses(1)[0]);
        let all = |most| {
            let mut tried = Vec::new();
            while let Some(lease) = pool.pick(&client, &places(&tried), most, 7) {
                tried.push(lease.address.inet().unwrap());
            }
            tried
        };
        let order = all(0);
        assert_eq!(order.len(), 9);
        assert_eq!(all(3), order[..3]);
        fail(&pool, order[0]);
        assert_eq!(all(3), [order[1], order[2], order[0]], "the one that rests comes last");
        fail(&pool, order[1]);
        fail(&pool, order[2]);
        assert_eq!(all(3), order[..3], "nobody beside them is asked");
    }

    #[test]
    fn an_upstream_is_open_as_long_as_somebody_has_it() {
        let pool = pool(Balance::First, 0);
        set(&pool, &addresses(1));
        let open = || pool.members()[0].open.load(Relaxed);
        let (one, two) = (pick(&pool, &[], 0).unwrap(), pick(&pool, &[], 0).unwrap());
        assert_eq!(open(), 2);
        drop(one);
        assert_eq!(open(), 1);
        set(&pool, &addresses(2));
        assert!(pool.has(&two));
        set(&pool, &[]);
        assert!(!pool.has(&two));
    }

    #[test]
    fn what_was_tried_is_not_tried_again() {
        let pool = pool(Balance::First, 0);
        set(&pool, &addresses(3));
        let mut tried = Vec::new();
        while let Some(picked) = pick(&pool, &tried, 0) {
            tried.push(picked.address.inet().unwrap());
        }
        assert_eq!(tried, addresses(3));
    }

    #[test]
    fn a_unix_socket_is_an_upstream_as_an_address_is() {
        let address = |path: &str| Address::Unix(Path::new(path).into());
        for rule in [Balance::LeastConn, Balance::Fixed, Balance::IpHash] {
            let pool = pool(rule, 1);
            let inet = Address::from(addresses(1)[0]);
            pool.replace(&[address("/run/a"), inet.clone(), address("/run/b"), address("/run/a")]);
            let names: Vec<_> = pool.members().iter().map(|one| one.name.clone()).collect();
            assert_eq!(names, ["unix:/run/a", "127.0.0.1:80", "unix:/run/b"]);
            let others = [address("/run/b"), inet];
            let client = Remote::Socket(addresses(1)[0]);
            let lease = pool.pick(&client, &others, 0, 1).unwrap();
            assert_eq!(lease.address, address("/run/a"));
            assert!(pool.failed(lease).is_some());
            pool.replace(&[address("/run/a")]);
            assert!(pool.is_left_out(&pool.members()[0]), "what is known of it stays");
        }
    }
}
