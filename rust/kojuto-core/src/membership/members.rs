//! Addresses by value, whatever their spelling.

use std::collections::HashSet;
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

/// The addresses of a service's instances.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Members(HashSet<Address>);

impl Members {
    /// A set of addresses; empty texts are left out.
    pub fn new<'a>(addresses: impl IntoIterator<Item = &'a str>) -> Members {
        let texts = addresses.into_iter().filter(|text| !text.is_empty());
        Members(texts.map(Address::read).collect())
    }

    /// Whether `text` names one of them.
    pub fn contains(&self, text: &str) -> bool {
        self.0.contains(&Address::read(text))
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_address_is_found_in_any_spelling() {
        let members =
            Members::new(["10.0.0.7", "2001:DB8:0:0::0001", "::ffff:192.0.2.1", "db.x", ""]);
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
            assert!(members.contains(text), "{text}");
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
            assert!(!members.contains(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn all_spellings_of_an_address_are_one(bits: u128, mapped: bool) {
            let v6 = if mapped {
                std::net::Ipv4Addr::from_bits(bits as u32).to_ipv6_mapped()
            } else {
                Ipv6Addr::from_bits(bits)
            };
            let members = Members::new([v6.to_string().as_str()]);
            let long: Vec<String> = v6.segments().iter().map(|s| format!("{s:04X}")).collect();
            prop_assert!(members.contains(&long.join(":")));
            let bracketed = format!("[{v6}]");
            prop_assert!(members.contains(&bracketed));
            prop_assert!(members.contains(&IpAddr::V6(v6).to_canonical().to_string()));
            let other = Ipv6Addr::from_bits(v6.to_bits() ^ 1);
            prop_assert!(!members.contains(&other.to_string()));
        }
    }
}
