//! Host names to addresses by the system's resolver.

use std::ffi::{CStr, CString};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ptr;
use std::time::Duration;

use crate::sys::address;

/// Which addresses are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// IPv4 when the name has one, else IPv6.
    Either,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

/// Why a name has no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unresolved {
    /// The name holds a NUL byte.
    Nul,
    /// It has addresses, but none of the family that is wanted.
    Family,
    /// What getaddrinfo(3) answered, `EAI_NONAME` for one.
    Resolver(i32),
    /// It had not answered after this time.
    Silent(Duration),
    /// A link-local address without the interface that it is behind.
    Zone,
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Unresolved::Nul => f.write_str("NUL in the name"),
            Unresolved::Family => f.write_str("no address of this family"),
            Unresolved::Zone => f.write_str("a link-local address without its interface"),
            Unresolved::Silent(time) => {
                write!(f, "no answer from the resolver within {} s", time.as_secs_f64())
            }
            Unresolved::Resolver(status) => {
                // SAFETY: gai_strerror answers a static NUL-terminated text for every number.
                let words = unsafe { CStr::from_ptr(libc::gai_strerror(status)) };
                f.write_str(&words.to_string_lossy())
            }
        }
    }
}

/// The addresses of `name` in one family (port 0), in the resolver's order.
///
/// # Errors
/// Why there is none.
pub fn lookup(name: &str, family: libc::c_int) -> Result<Vec<SocketAddr>, Unresolved> {
    // A mapped address is asked for as IPv6 and is IPv4.
    let mut found = ask(name, family, 0)?;
    found.retain(|address| address.is_ipv4() == (family == libc::AF_INET));
    if found.is_empty() { Err(Unresolved::Family) } else { Ok(found) }
}

/// The addresses that `name` is itself, without asking anybody; None for a name.
pub fn literal(name: &str) -> Option<Vec<SocketAddr>> {
    ask(name, libc::AF_UNSPEC, libc::AI_NUMERICHOST).ok()
}

fn ask(name: &str, family: libc::c_int, flags: libc::c_int) -> Result<Vec<SocketAddr>, Unresolved> {
    let text = CString::new(name).map_err(|_| Unresolved::Nul)?;
    // SAFETY: an all-zero addrinfo is the documented "no hints".
    let mut hints: libc::addrinfo = unsafe { std::mem::zeroed() };
    hints.ai_family = family;
    hints.ai_flags = flags;
    hints.ai_socktype = libc::SOCK_DGRAM;
    let mut found: *mut libc::addrinfo = ptr::null_mut();
    // SAFETY: the name is NUL-terminated, the hints are valid, the result goes to a valid place.
    let status = unsafe { libc::getaddrinfo(text.as_ptr(), ptr::null(), &hints, &mut found) };
    if status != 0 {
        return Err(Unresolved::Resolver(status));
    }
    let mut addresses = Vec::new();
    let mut next = found;
    while !next.is_null() {
        // SAFETY: an entry of the list, which lives until freeaddrinfo.
        let address = unsafe { address::read((*next).ai_addr, (*next).ai_addrlen) };
        addresses.extend(address.filter(|address| !addresses.contains(address)));
        // SAFETY: as above.
        next = unsafe { (*next).ai_next };
    }
    // SAFETY: the list came from getaddrinfo and is freed once.
    unsafe { libc::freeaddrinfo(found) };
    Ok(addresses)
}

/// The address to ping for `address`: the unspecified one means this machine.
pub fn or_loopback(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_their_own_addresses_and_names_are_none() {
        let literal = |name| literal(name).map(|found| found[0].ip().to_string());
        assert_eq!(literal("127.0.0.1").as_deref(), Some("127.0.0.1"));
        assert_eq!(literal("::1").as_deref(), Some("::1"));
        assert_eq!(literal("::ffff:127.0.0.1").as_deref(), Some("127.0.0.1"));
        assert_eq!(literal("localhost"), None);
        assert_eq!(literal("a\0b"), None);
        let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        assert!(or_loopback(any).ip().is_loopback());
    }

    #[test]
    fn a_family_that_is_missing_is_told() {
        assert_eq!(lookup("::ffff:127.0.0.1", libc::AF_INET6), Err(Unresolved::Family));
        assert!(lookup("localhost", libc::AF_INET).unwrap()[0].ip().is_loopback());
        let error = lookup("no-such-name.invalid", libc::AF_INET).unwrap_err();
        assert!(matches!(error, Unresolved::Resolver(_)));
        assert!(!error.to_string().is_empty());
        assert_eq!(lookup("a\0b", libc::AF_INET), Err(Unresolved::Nul));
    }
}
