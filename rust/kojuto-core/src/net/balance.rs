//! Which upstream gets a connection.
//!
//! Hashing is by highest random weight (Thaler and Ravishankar, "Using name-based mappings to
//! increase hit rates", 1998): each member is weighed together with the key and the heaviest
//! wins, so that adding or removing one member moves only the keys that it wins or won.

/// The rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// The fewest open connections, ties at random.
    LeastConn,
    /// By the client's address.
    IpHash,
    /// By the client's address and port.
    RemoteHash,
    /// By the upstream's own name: all connections to one member.
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

/// Chooses among `members` (each its name in bytes and its number of open connections).
///
/// `key` is what the rule hashes, `random` any number, fresh for each call. The position in
/// `members` is returned, None when there is none.
pub fn choose<'a>(
    rule: Balance,
    key: &[u8],
    members: impl Iterator<Item = (&'a [u8], usize)>,
    random: u64,
) -> Option<usize> {
    let weighed = members.enumerate().map(|(at, (name, open))| {
        let rank = match rule {
            Balance::LeastConn => (open as u64, mix(random ^ at as u64)),
            Balance::First => (0, at as u64),
            _ => (0, !weight(key, name)),
        };
        (rank, at)
    });
    weighed.min().map(|(_, at)| at)
}

fn weight(key: &[u8], name: &[u8]) -> u64 {
    mix(fnv1a(name) ^ mix(fnv1a(key)))
}

/// FNV-1a, 64 bits (draft-eastlake-fnv).
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood, 2014): every bit depends on every bit.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|i| format!("10.0.0.{i}:3306")).collect()
    }

    fn pick(rule: Balance, key: &str, names: &[String]) -> String {
        let members = names.iter().map(|name| (name.as_bytes(), 0));
        names[choose(rule, key.as_bytes(), members, 7).unwrap()].clone()
    }

    #[test]
    fn no_member_no_choice() {
        assert_eq!(choose(Balance::LeastConn, b"", std::iter::empty(), 1), None);
        assert_eq!(choose(Balance::IpHash, b"", std::iter::empty(), 1), None);
    }

    #[test]
    fn the_first_is_taken_however_many_connections_it_has() {
        let members = [9usize, 0, 0].into_iter().map(|open| (&b"x"[..], open));
        assert_eq!(choose(Balance::First, b"", members, 3), Some(0));
    }

    #[test]
    fn fewest_connections_win_and_ties_are_spread() {
        let open = [3usize, 1, 2];
        let members = || open.iter().map(|&n| (&b"x"[..], n));
        assert_eq!(choose(Balance::LeastConn, b"", members(), 9), Some(1));
        let mut seen = [0; 3];
        for random in 0..3000 {
            let even = std::iter::repeat_n((&b"x"[..], 5), 3);
            seen[choose(Balance::LeastConn, b"", even, random).unwrap()] += 1;
        }
        assert!(seen.iter().all(|&n| (800..1200).contains(&n)), "{seen:?}");
    }

    #[test]
    fn hashing_spreads_evenly_and_removing_one_moves_only_its_share() {
        let all = names(5);
        let fewer: Vec<String> = all.iter().filter(|n| **n != all[2]).cloned().collect();
        let mut count: HashMap<String, u32> = HashMap::new();
        for i in 0..10_000 {
            let key = format!("192.0.2.{}:{}", i % 250, i);
            let before = pick(Balance::RemoteHash, &key, &all);
            let after = pick(Balance::RemoteHash, &key, &fewer);
            assert!(before == all[2] || before == after, "{key} moved from {before} to {after}");
            *count.entry(before).or_default() += 1;
        }
        assert!(count.values().all(|&n| (1800..2200).contains(&n)), "{count:?}");
    }

    #[test]
    fn the_order_of_the_list_does_not_matter_to_a_hash() {
        let all = names(7);
        let mut turned = all.clone();
        turned.rotate_left(3);
        for key in ["a", "b", "192.0.2.1"] {
            assert_eq!(pick(Balance::IpHash, key, &all), pick(Balance::IpHash, key, &turned));
        }
    }
}
