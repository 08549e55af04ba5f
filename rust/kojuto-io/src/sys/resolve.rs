//! Host names to addresses by the system's resolver, several at a time.

use std::ffi::{CStr, CString};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ptr;

use crate::cancel::{Cancel, Never};
use crate::parallel;
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
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Unresolved::Nul => f.write_str("NUL in the name"),
            Unresolved::Family => f.write_str("no address of this family"),
            Unresolved::Resolver(status) => {
                // SAFETY: gai_strerror answers a static NUL-terminated text for every number.
                let words = unsafe { CStr::from_ptr(libc::gai_strerror(status)) };
                f.write_str(&words.to_string_lossy())
            }
        }
    }
}

/// The first address of `name` (port 0).
///
/// # Errors
/// Why there is none.
pub fn resolve(name: &str, want: Want) -> Result<SocketAddr, Unresolved> {
    match want {
        Want::V4 => lookup(name, libc::AF_INET),
        Want::V6 => lookup(name, libc::AF_INET6),
        Want::Either => lookup(name, libc::AF_INET).or_else(|first| {
            // The second failure tells less: it is about the rarer family.
            lookup(name, libc::AF_INET6).map_err(|_| first)
        }),
    }
}

/// [`resolve`] for each name, side by side: one slow name server costs its time once.
pub fn resolve_all(names: &[String], want: Want) -> Vec<Result<SocketAddr, Unresolved>> {
    if let [name] = names {
        return vec![resolve(name, want)];
    }
    let look_up = |name: &String, _: &dyn Cancel| resolve(name, want);
    parallel::each(names.iter().collect(), &Never, look_up)
}

fn lookup(name: &str, family: libc::c_int) -> Result<SocketAddr, Unresolved> {
    let text = CString::new(name).map_err(|_| Unresolved::Nul)?;
    // SAFETY: an all-zero addrinfo is the documented "no hints".
    let mut hints: libc::addrinfo = unsafe { std::mem::zeroed() };
    hints.ai_family = family;
    hints.ai_socktype = libc::SOCK_DGRAM;
    let mut found: *mut libc::addrinfo = ptr::null_mut();
    // SAFETY: the name is NUL-terminated, the hints are valid, the result goes to a valid place.
    let status = unsafe { libc::getaddrinfo(text.as_ptr(), ptr::null(), &hints, &mut found) };
    if status != 0 {
        return Err(Unresolved::Resolver(status));
    }
    // SAFETY: status 0 means a list of at least one entry, which lives until freeaddrinfo.
    let address = unsafe { address::read((*found).ai_addr, (*found).ai_addrlen) };
    // SAFETY: the list came from getaddrinfo and is freed once.
    unsafe { libc::freeaddrinfo(found) };
    // A mapped address is asked for as IPv6 and is IPv4.
    let fits = |address: &SocketAddr| address.is_ipv4() == (family == libc::AF_INET);
    address.filter(fits).ok_or(Unresolved::Family)
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
    fn literals_are_their_own_addresses() {
        assert_eq!(resolve("127.0.0.1", Want::Either).unwrap().ip(), Ipv4Addr::LOCALHOST);
        assert_eq!(resolve("::1", Want::Either).unwrap().ip(), Ipv6Addr::LOCALHOST);
        assert!(resolve("::1", Want::V4).is_err());
        assert!(resolve("127.0.0.1", Want::V6).is_err());
        assert!(or_loopback(resolve("0.0.0.0", Want::V4).unwrap()).ip().is_loopback());
    }

    #[test]
    fn a_mapped_address_is_an_ipv4_address() {
        let mapped = "::ffff:127.0.0.1";
        assert_eq!(resolve(mapped, Want::Either).unwrap().ip(), Ipv4Addr::LOCALHOST);
        assert_eq!(resolve(mapped, Want::V4).unwrap().ip(), Ipv4Addr::LOCALHOST);
        assert_eq!(resolve(mapped, Want::V6), Err(Unresolved::Family));
    }

    #[test]
    fn a_name_without_address_is_told_and_does_not_stop_the_others() {
        let names = ["no-such-name.invalid".to_owned(), "127.0.0.2".to_owned(), "a\0b".to_owned()];
        let found = resolve_all(&names, Want::Either);
        assert!(matches!(found[0], Err(Unresolved::Resolver(_))));
        assert!(!found[0].unwrap_err().to_string().is_empty());
        assert!(found[1].is_ok());
        assert_eq!(found[2], Err(Unresolved::Nul));
    }
}
