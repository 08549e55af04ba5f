//! Which upstream gets a connection.
//!
//! A hash chooses by a ring (Karger and others, "Consistent hashing and random trees", 1997) with the
//! points that the program before this one had: two of them with the same addresses, one of each,
//! send a client to the same server. Adding or removing one address moves only its share.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// The rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// The fewest open connections, ties at random.
    LeastConn,
    /// By the client's address, on a [`Ring`].
    IpHash,
    /// By the client's address and port, on a [`Ring`].
    RemoteHash,
    /// By the upstream's own name, on a [`Ring`]: all connections to one member.
    Fixed,
    /// The first of the list.
    First,
}

impl Balance {
    /// The rule of a name as the command line spells it.
    pub fn from_name(name: &str) -> Option<Balance> {
        Some(match name {
            "leastconn" => Balance::LeastConn,
            "iphash" => Balance::IpHash,
            "remotehash" => Balance::RemoteHash,
            "fixed" => Balance::Fixed,
            "first" => Balance::First,
            _ => return None,
        })
    }
}

/// Chooses by [`Balance::LeastConn`] or [`Balance::First`] among `open`, each member's number of open
/// connections; `random` is any number, fresh for each call. The position in `open` is returned, None
/// when there is none.
pub fn choose(rule: Balance, open: impl Iterator<Item = usize>, random: u64) -> Option<usize> {
    let ranked = open.enumerate().map(|(at, open)| match rule {
        Balance::LeastConn => ((open as u64, mix(random ^ at as u64)), at),
        _ => ((0, at as u64), at),
    });
    ranked.min().map(|(_, at)| at)
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood, 2014): every bit depends on every bit.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Points that each member has on the ring.
const POINTS: u32 = 20;

/// The points of some members on a ring of 32 bits; a key belongs to the next point above it.
#[derive(Debug, Default)]
pub struct Ring {
    /// Point and position of its member, by the points.
    points: Vec<(u32, usize)>,
    members: usize,
}

impl Ring {
    /// The ring of `members`, whose positions [`Ring::order`] answers with.
    pub fn new(members: &[SocketAddr]) -> Ring {
        Ring::of_names(members.iter().map(name))
    }

    /// The same of members by their names, those of addresses as [`name`] has them.
    pub fn of_names(names: impl Iterator<Item = String>) -> Ring {
        let mut named: Vec<(String, usize)> = names.zip(0..).collect();
        let members = named.len();
        named.sort_by(|one, other| other.cmp(one));
        let mut points = BTreeMap::new();
        for (name, at) in named {
            for point in 0..POINTS {
                points.insert(crc32fast::hash(format!("{point}{name}").as_bytes()), at);
            }
        }
        Ring { points: points.into_iter().collect(), members }
    }

    /// The members for a key, at most `most` of them (0: all), in the order in which they are to be
    /// tried.
    pub fn order(&self, key: &[u8], most: usize) -> Vec<usize> {
        let most = if most == 0 { self.members } else { most.min(self.members) };
        let hash = crc32fast::hash(key);
        let first = self.points.partition_point(|&(point, _)| point <= hash);
        let mut found = Vec::with_capacity(most);
        for &(_, member) in self.points[first..].iter().chain(&self.points[..first]) {
            if found.len() == most {
                break;
            }
            if !found.contains(&member) {
                found.push(member);
            }
        }
        found
    }
}

/// An address as its points on a [`Ring`] are made of: IPv6 without brackets.
pub fn name(member: &SocketAddr) -> String {
    let address = match member.ip() {
        IpAddr::V6(ip) => ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4),
        ip => ip,
    };
    format!("{address}:{}", member.port())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn members(count: u8) -> Vec<SocketAddr> {
        (0..count).map(|i| SocketAddr::from(([10, 0, 0, i], 3306))).collect()
    }

    fn first(members: &[SocketAddr], key: &str) -> SocketAddr {
        members[Ring::new(members).order(key.as_bytes(), 1)[0]]
    }

    #[test]
    fn no_member_no_choice() {
        assert_eq!(choose(Balance::LeastConn, std::iter::empty(), 1), None);
        assert_eq!(Ring::new(&[]).order(b"x", 0), Vec::<usize>::new());
        assert_eq!(Ring::default().order(b"x", 3), Vec::<usize>::new());
    }

    #[test]
    fn the_first_is_taken_however_many_connections_it_has() {
        assert_eq!(choose(Balance::First, [9usize, 0, 0].into_iter(), 3), Some(0));
    }

    #[test]
    fn fewest_connections_win_and_ties_are_spread() {
        assert_eq!(choose(Balance::LeastConn, [3usize, 1, 2].into_iter(), 9), Some(1));
        let mut seen = [0; 3];
        for random in 0..3000 {
            seen[choose(Balance::LeastConn, [5; 3].into_iter(), random).unwrap()] += 1;
        }
        assert!(seen.iter().all(|&n| (800..1200).contains(&n)), "{seen:?}");
    }

    #[test]
    fn removing_one_moves_only_its_share() {
        let all = members(5);
        let fewer: Vec<_> = all.iter().filter(|member| **member != all[2]).copied().collect();
        let mut count: HashMap<SocketAddr, u32> = HashMap::new();
        for i in 0..10_000 {
            let key = format!("192.0.2.{}:{i}", i % 250);
            let (before, after) = (first(&all, &key), first(&fewer, &key));
            assert!(before == all[2] || before == after, "{key} moved from {before} to {after}");
            *count.entry(before).or_default() += 1;
        }
        assert_eq!(count.len(), 5, "{count:?}");
    }

    #[test]
    fn the_order_of_the_list_does_not_matter() {
        let all = members(7);
        let mut turned = all.clone();
        turned.rotate_left(3);
        for key in ["a", "b", "192.0.2.1"] {
            assert_eq!(first(&all, key), first(&turned, key));
        }
    }

    #[test]
    fn each_member_comes_once_and_no_more_than_asked_for() {
        let ring = Ring::new(&members(4));
        for (most, length) in [(0, 4), (1, 1), (3, 3), (4, 4), (9, 4)] {
            let mut order = ring.order(b"db.example.com", most);
            assert_eq!(order, ring.order(b"db.example.com", 0)[..length]);
            order.sort_unstable();
            order.dedup();
            assert_eq!(order.len(), length);
        }
    }

    #[test]
    fn a_key_belongs_to_the_next_point_above_it_and_the_last_ones_to_the_first() {
        let key = b"x";
        let hash = crc32fast::hash(key);
        let at = |points: &[u32]| {
            let points = points.iter().enumerate().map(|(at, &point)| (point, at)).collect();
            Ring { points, members: 2 }.order(key, 1)[0]
        };
        assert_eq!(at(&[hash, hash + 1]), 1, "a point that it hits is not above it");
        assert_eq!(at(&[hash - 1, hash]), 0, "round the end");
        assert_eq!(at(&[hash - 1, hash + 1]), 1);
    }

    #[test]
    fn members_are_named_without_brackets_and_mapped_addresses_as_ipv4() {
        for (address, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("[2001:db8:0:0::1]:80", "2001:db8::1:80"),
            ("[::ffff:192.0.2.1]:80", "192.0.2.1:80"),
        ] {
            assert_eq!(name(&address.parse().unwrap()), expected);
        }
    }

    /// What the program before this one chose, by its recorded answers: the host, how many are tried,
    /// the members, and behind the bar each key with the member that answered.
    #[test]
    fn the_choice_is_that_of_the_program_before() {
        let recorded = include_str!("../../../../tests/data/originals/ppdp-choice.txt");
        let mut checked = 0;
        for line in recorded.lines().filter(|line| !line.starts_with('#')) {
            let (about, choices) = line.split_once(" | ").unwrap();
            let members: Vec<SocketAddr> =
                about.split(' ').map(|member| member.parse().unwrap()).collect();
            let ring = Ring::new(&members);
            for choice in choices.split(' ') {
                let (key, chosen) = choice.split_once('=').unwrap();
                let found = members[ring.order(key.as_bytes(), 1)[0]];
                assert_eq!(found.ip().to_string(), chosen, "{key} among {about}");
                checked += 1;
            }
        }
        assert!(checked > 500, "{checked}");
    }
}
