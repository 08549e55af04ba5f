//! Address ranges as people write them.

use std::net::IpAddr;
use std::str::FromStr;

use crate::error::{Argument, Error};
use crate::scan::number::digits;

/// `192.0.2.0/24`, `2001:db8::/32` or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    bits: u128,
    mask: u128,
}

impl Cidr {
    /// Whether `address` is in the range. IPv4 and IPv4-mapped IPv6 addresses are the same.
    pub fn contains(&self, address: IpAddr) -> bool {
        to_bits(address) & self.mask == self.bits
    }
}

fn to_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl FromStr for Cidr {
    type Err = Error;

    fn from_str(text: &str) -> Result<Cidr, Error> {
        let wrong = || Error::Argument(Argument::AddressRange(text.to_owned()));
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let width: u32 = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            Some(length) => digits(length.as_bytes()).ok_or_else(wrong)?,
            None => width,
        };
        if length > width {
            return Err(wrong());
        }
        let mask = u128::MAX.checked_shl(width - length).unwrap_or(0);
        let bits = to_bits(address);
        if bits & mask != bits {
            let (range, prefix) = (text.to_owned(), length);
            return Err(Error::Argument(Argument::HostBits { range, prefix }));
        }
        Ok(Cidr { bits, mask })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(range: &str, address: &str) -> bool {
        range.parse::<Cidr>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn ranges_hold_their_addresses_and_no_others() {
        assert!(holds("192.0.2.0/24", "192.0.2.255"));
        assert!(!holds("192.0.2.0/24", "192.0.3.0"));
        assert!(holds("0.0.0.0/0", "255.1.2.3"));
        assert!(!holds("0.0.0.0/0", "2001:db8::1"));
        assert!(holds("::/0", "192.0.2.1"));
        assert!(holds("2001:db8::/33", "2001:db8:7fff::"));
        assert!(!holds("2001:db8::/33", "2001:db8:8000::"));
        assert!(holds("127.0.0.1", "127.0.0.1"));
        assert!(holds("10.0.0.0/8", "::ffff:10.1.2.3"));
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in [
            "",
            "1.2.3",
            "1.2.3.4/33",
            "1.2.3.4/",
            "::/129",
            "1.2.3.4/-1",
            "1.2.3.4/24",
            "1.2.3.4/+32",
            "x/8",
        ] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }
}
