//! Addresses by value, whatever their spelling, and the tags of those who have them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

/// An address as somebody wrote it: by value where it is an IP address, else by its text (a
/// service may be registered under a name).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// IPv4-mapped IPv6 addresses are IPv4 here.
    Ip(IpAddr),
    /// Anything else.
    Name(Box<str>),
}

impl Address {
    /// Reads a text; `[2001:db8::1]` is taken too.
    pub fn read(text: &str) -> Address {
        match read_ip(text) {
            Some(ip) => Address::Ip(ip),
            None => Address::Name(text.into()),
        }
    }
}

pub(super) fn read_ip(text: &str) -> Option<IpAddr> {
    let inside = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let ip = match inside {
        Some(inside) => IpAddr::V6(inside.parse::<Ipv6Addr>().ok()?),
        None => text.parse().ok()?,
    };
    Some(ip.to_canonical())
}

/// The tags of an instance, sorted, in the case that Consul compares them in.
type Tags = Box<[Box<str>]>;

/// The addresses of a service's instances.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Members(HashMap<Address, Vec<Tags>>);

impl Members {
    /// The addresses and the tags of each instance; empty addresses are left out.
    pub fn new<A: AsRef<str>, T: AsRef<str>>(
        instances: impl IntoIterator<Item = (impl IntoIterator<Item = A>, impl AsRef<[T]>)>,
    ) -> Members {
        let mut found: HashMap<Address, Vec<Tags>> = HashMap::new();
        for (addresses, tags) in instances {
            let mut tags: Vec<Box<str>> =
                tags.as_ref().iter().map(|tag| tag_key(tag.as_ref()).into()).collect();
            tags.sort_unstable();
            tags.dedup();
            for address in addresses {
                if !address.as_ref().is_empty() {
                    let known = found.entry(Address::read(address.as_ref())).or_default();
                    if !known.iter().any(|other| **other == *tags) {
                        known.push(tags.clone().into());
                    }
                }
            }
        }
        found.values_mut().for_each(|known| known.sort_unstable());
        Members(found)
    }

    /// Whether `text` names an address of an instance that has all of these tags (see
    /// [`tag_key`]).
    pub fn contains(&self, text: &str, tags: &[String]) -> bool {
        let has = |known: &Tags, tag: &String| known.binary_search_by(|k| (**k).cmp(tag)).is_ok();
        match self.0.get(&Address::read(text)) {
            Some(known) => known.iter().any(|known| tags.iter().all(|tag| has(known, tag))),
            None => false,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A tag as Consul compares it: in lower case.
pub fn tag_key(tag: &str) -> String {
    tag.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn untagged<'a>(addresses: impl IntoIterator<Item = &'a str>) -> Members {
        Members::new([(addresses, [""; 0])])
    }

    #[test]
    fn an_address_is_found_in_any_spelling() {
        let members = untagged(["10.0.0.7", "2001:DB8:0:0::0001", "::ffff:192.0.2.1", "db.x", ""]);
        assert_eq!(members.len(), 4);
        for text in [
            "10.0.0.7",
            "::ffff:10.0.0.7",
            "::FFFF:0a00:0007",
            "[::ffff:10.0.0.7]",
            "2001:db8::1",
            "[2001:db8::1]",
            "2001:0db8:0000:0000:0000:0000:0000:0001",
            "192.0.2.1",
            "db.x",
        ] {
            assert!(members.contains(text, &[]), "{text}");
        }
        for text in [
            "",
            "10.0.0.70",
            "10.0.0.07",
            "010.0.0.7",
            "10.7",
            "167772167",
            " 10.0.0.7",
            "[10.0.0.7]",
            "10.0.0.7/32",
            "::10.0.0.7",
            "2001:db8::1%eth0",
            "2001:db8::2",
            "DB.x",
            "[2001:db8::1",
        ] {
            assert!(!members.contains(text, &[]), "{text}");
        }
    }

    #[test]
    fn one_instance_has_all_the_tags_that_are_asked_for() {
        let members = Members::new([
            (vec!["10.0.0.1", "10.1.0.1"], vec!["Blue", "v1"]),
            (vec!["10.0.0.1"], vec!["green", "v2"]),
            (vec!["10.0.0.2"], vec![]),
        ]);
        let has = |address: &str, tags: &[&str]| {
            members.contains(address, &tags.iter().map(|t| tag_key(t)).collect::<Vec<_>>())
        };
        assert_eq!(members.len(), 3);
        assert!(has("10.0.0.1", &["blue", "V1"]) && has("10.0.0.1", &["v2"]));
        assert!(has("10.1.0.1", &["v1"]) && has("10.0.0.2", &[]));
        assert!(!has("10.0.0.1", &["blue", "v2"]), "no one instance has both");
        assert!(!has("10.1.0.1", &["green"]) && !has("10.0.0.2", &["v1"]));
        assert!(!has("10.0.0.1", &["blu"]) && !has("10.0.0.1", &["", "blue"]));
    }

    #[test]
    fn instances_in_another_order_are_the_same_members() {
        let of = |order: [usize; 2]| {
            let all = [(vec!["10.0.0.1"], vec!["a"]), (vec!["10.0.0.1"], vec!["b", "a"])];
            Members::new(order.map(|at| all[at].clone()))
        };
        assert_eq!(of([0, 1]), of([1, 0]));
        assert_ne!(of([0, 1]), of([0, 0]));
    }

    proptest! {
        #[test]
        fn all_spellings_of_an_address_are_one(bits: u128, mapped: bool) {
            let v6 = if mapped {
                std::net::Ipv4Addr::from_bits(bits as u32).to_ipv6_mapped()
            } else {
                Ipv6Addr::from_bits(bits)
            };
            let members = untagged([v6.to_string().as_str()]);
            let long: Vec<String> = v6.segments().iter().map(|s| format!("{s:04X}")).collect();
            prop_assert!(members.contains(&long.join(":"), &[]));
            let bracketed = format!("[{v6}]");
            prop_assert!(members.contains(&bracketed, &[]));
            prop_assert!(members.contains(&IpAddr::V6(v6).to_canonical().to_string(), &[]));
            let other = Ipv6Addr::from_bits(v6.to_bits() ^ 1);
            prop_assert!(!members.contains(&other.to_string(), &[]));
        }
    }
}
