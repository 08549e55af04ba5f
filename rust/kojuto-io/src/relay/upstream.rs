//! Where connections can go: lists of addresses that change while connections are open.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

use kojuto_core::net::balance::{Balance, choose};

use super::remote::Remote;

/// One address with what is known about it.
#[derive(Debug)]
pub struct Upstream {
    /// Where it is.
    pub address: SocketAddr,
    /// The address as logs and hashes name it.
    pub name: String,
    /// Connections open now, or being made.
    pub open: AtomicUsize,
    /// Connections made since the start.
    pub connected: AtomicU64,
    /// Attempts that failed since the start.
    pub failed: AtomicU64,
    /// Attempts that failed since the last refresh.
    recent_failures: AtomicU32,
}

impl Upstream {
    fn new(address: SocketAddr) -> Upstream {
        Upstream {
            address,
            name: address.to_string(),
            open: AtomicUsize::new(0),
            connected: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            recent_failures: AtomicU32::new(0),
        }
    }
}

/// An upstream that was chosen for a connection, which counts as open until this is dropped.
pub(super) struct Lease(Arc<Upstream>);

impl Lease {
    fn new(upstream: &Arc<Upstream>) -> Lease {
        upstream.open.fetch_add(1, Relaxed);
        Lease(Arc::clone(upstream))
    }
}

impl Deref for Lease {
    type Target = Upstream;

    fn deref(&self) -> &Upstream {
        &self.0
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

/// A list of upstreams and the rule that chooses among them.
#[derive(Debug)]
pub struct Pool {
    balance: Balance,
    /// Failures after which an address is left out until the next refresh; 0: never.
    max_fails: u32,
    /// What [`Balance::Fixed`] hashes.
    host: String,
    members: RwLock<Arc<[Arc<Upstream>]>>,
    /// See [`Pool::set_settling`].
    settle_ms: AtomicU64,
    wait_for_upstream: AtomicBool,
}

impl Pool {
    /// An empty list.
    pub fn new(balance: Balance, max_fails: u32, host: String) -> Pool {
        Pool {
            balance,
            max_fails,
            host,
            members: RwLock::new(Arc::new([])),
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
        self.members().iter().any(|known| Arc::ptr_eq(known, &lease.0))
    }

    /// The list as it is now.
    pub fn members(&self) -> Arc<[Arc<Upstream>]> {
        Arc::clone(&self.members.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the list. An address that stays keeps its counts and is given a new chance.
    pub fn replace(&self, addresses: &[SocketAddr]) {
        let old = self.members();
        let mut new: Vec<Arc<Upstream>> = Vec::with_capacity(addresses.len());
        for address in addresses {
            if new.iter().any(|member| member.address == *address) {
                continue;
            }
            let known = old.iter().find(|member| member.address == *address);
            new.push(known.map_or_else(|| Arc::new(Upstream::new(*address)), Arc::clone));
        }
        for member in &new {
            member.recent_failures.store(0, Relaxed);
        }
        *self.members.write().unwrap_or_else(PoisonError::into_inner) = new.into();
    }

    /// Whether an address is left out for its failures.
    pub fn is_left_out(&self, member: &Upstream) -> bool {
        self.max_fails > 0 && member.recent_failures.load(Relaxed) >= self.max_fails
    }

    /// Counts a failed attempt.
    pub(super) fn failed(&self, member: &Upstream) {
        member.failed.fetch_add(1, Relaxed);
        member.recent_failures.fetch_add(1, Relaxed);
    }

    /// Chooses an upstream that was not tried yet, and counts it as open.
    pub(super) fn pick(&self, client: &Remote, tried: &[SocketAddr], random: u64) -> Option<Lease> {
        let members = self.members();
        let fresh = |member: &&Arc<Upstream>| !tried.contains(&member.address);
        let mut candidates: Vec<&Arc<Upstream>> =
            members.iter().filter(fresh).filter(|member| !self.is_left_out(member)).collect();
        if candidates.is_empty() {
            candidates = members.iter().filter(fresh).collect();
        }
        let mut key = Vec::new();
        match self.balance {
            Balance::IpHash => client.hash_key(false, &mut key),
            Balance::RemoteHash => client.hash_key(true, &mut key),
            Balance::Fixed => key.extend_from_slice(self.host.as_bytes()),
            Balance::LeastConn | Balance::First => {}
        }
        let weighed = candidates.iter().map(|m| (m.name.as_bytes(), m.open.load(Relaxed)));
        Some(Lease::new(candidates[choose(self.balance, &key, weighed, random)?]))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn addresses(count: u8) -> Vec<SocketAddr> {
        (1..=count).map(|i| SocketAddr::from(([127, 0, 0, i], 80))).collect()
    }

    /// Every address that a pick may be answered with.
    fn picked(pool: &Pool) -> BTreeSet<SocketAddr> {
        let client = Remote::Socket(addresses(1)[0]);
        (0..50).map(|random| pool.pick(&client, &[], random).unwrap().address).collect()
    }

    #[test]
    fn a_failed_address_is_left_out_until_the_next_refresh_unless_all_have_failed() {
        for max_fails in [1, 2, 3] {
            let pool = Pool::new(Balance::LeastConn, max_fails, String::new());
            pool.replace(&addresses(2));
            let all: BTreeSet<_> = addresses(2).into_iter().collect();
            let (first, second) = (pool.members()[0].clone(), pool.members()[1].clone());
            for _ in 1..max_fails {
                pool.failed(&first);
                assert_eq!(picked(&pool), all, "below max_fails {max_fails}");
            }
            pool.failed(&first);
            assert_eq!(picked(&pool), [second.address].into(), "at max_fails {max_fails}");
            for _ in 0..max_fails {
                pool.failed(&second);
            }
            assert_eq!(picked(&pool), all, "all have failed");
            pool.replace(&addresses(2));
            assert!(!pool.is_left_out(&first) && !pool.is_left_out(&second));
            assert_eq!(picked(&pool), all, "a new chance");
            let failed = pool.members()[0].failed.load(Relaxed);
            assert_eq!(failed, u64::from(max_fails), "the count itself stays");
        }
    }

    #[test]
    fn without_max_fails_no_failure_leaves_an_address_out() {
        let pool = Pool::new(Balance::LeastConn, 0, String::new());
        pool.replace(&addresses(2));
        for _ in 0..1000 {
            pool.failed(&pool.members()[0]);
        }
        assert_eq!(picked(&pool), addresses(2).into_iter().collect());
        assert!(!pool.members().iter().any(|member| pool.is_left_out(member)), "as it is told");
    }

    #[test]
    fn an_upstream_is_open_as_long_as_somebody_has_it() {
        let pool = Pool::new(Balance::First, 0, String::new());
        pool.replace(&addresses(1));
        let pick = || pool.pick(&Remote::Socket(addresses(1)[0]), &[], 0).unwrap();
        let open = || pool.members()[0].open.load(Relaxed);
        let (one, two) = (pick(), pick());
        assert_eq!(open(), 2);
        drop(one);
        assert_eq!(open(), 1);
        pool.replace(&addresses(2));
        assert!(pool.has(&two));
        pool.replace(&[]);
        assert!(!pool.has(&two));
    }

    #[test]
    fn what_was_tried_is_not_tried_again() {
        let pool = Pool::new(Balance::First, 0, String::new());
        pool.replace(&addresses(3));
        let client = Remote::Socket(addresses(1)[0]);
        let mut tried = Vec::new();
        while let Some(picked) = pool.pick(&client, &tried, 0) {
            tried.push(picked.address);
        }
        assert_eq!(tried, addresses(3));
    }
}
