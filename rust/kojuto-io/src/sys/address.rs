//! What the kernel says of a socket's address, as one of the internet.

use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};

use rustix::net::addr::SocketAddrStorage;
use rustix::net::{AddressFamily, SocketAddrAny};

/// The address, for IPv4 and IPv6; None for every other family. What a socket for both families
/// calls `::ffff:192.0.2.1` is the IPv4 address that it is, and a flow label is left out: it is no
/// part of who somebody is.
pub(crate) fn of(address: &SocketAddrAny) -> Option<SocketAddr> {
    let needed = match address.address_family() {
        AddressFamily::INET => size_of::<libc::sockaddr_in>(),
        AddressFamily::INET6 => size_of::<libc::sockaddr_in6>(),
        _ => return None,
    };
    if (address.addr_len() as usize) < needed {
        return None; // cut off: the conversion would panic
    }
    Some(match SocketAddr::try_from(address.clone()).ok()? {
        SocketAddr::V4(v4) => v4.into(),
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(ip) => SocketAddrV4::new(ip, v6.port()).into(),
            None => SocketAddrV6::new(*v6.ip(), v6.port(), 0, v6.scope_id()).into(),
        },
    })
}

/// The address behind a pointer of the C library's.
///
/// # Safety
/// `address` must be NULL or point to `length` readable bytes.
pub(crate) unsafe fn read(
    address: *const libc::sockaddr,
    length: libc::socklen_t,
) -> Option<SocketAddr> {
    let room = size_of::<libc::sa_family_t>()..=size_of::<SocketAddrStorage>();
    if address.is_null() || !room.contains(&(length as usize)) {
        return None;
    }
    // SAFETY: the caller promises `length` bytes, which are as many as are allowed.
    of(&unsafe { SocketAddrAny::read(address.cast(), length) })
}

#[cfg(test)]
mod tests {
    use std::mem;
    use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use rustix::net::{SocketAddrUnix, getsockname};

    use super::*;

    fn seen(address: impl Into<SocketAddr>) -> Option<SocketAddr> {
        of(&address.into().into())
    }

    fn own(socket: impl AsFd) -> Option<SocketAddr> {
        of(&getsockname(socket).unwrap())
    }

    #[test]
    fn addresses_of_both_families_come_with_their_port() {
        let v4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 0x1234);
        assert_eq!(seen(v4), Some(v4.into()));
        let v6: SocketAddr = "[2001:db8::1]:4660".parse().unwrap();
        assert_eq!(seen(v6), Some(v6));
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(own(&socket), Some(socket.local_addr().unwrap()));
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address_that_it_is() {
        let mapped: SocketAddr = "[::ffff:192.0.2.1]:80".parse().unwrap();
        assert_eq!(seen(mapped), Some("192.0.2.1:80".parse().unwrap()));
    }

    #[test]
    fn a_scope_is_kept_and_a_flow_label_is_not() {
        let local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
        let expected = SocketAddrV6::new(local, 80, 0, 3);
        assert_eq!(seen(SocketAddrV6::new(local, 80, 0x12345, 3)), Some(expected.into()));
    }

    #[test]
    fn unix_sockets_have_none_whether_they_have_a_path_a_name_or_nothing() {
        assert_eq!(of(&SocketAddrUnix::new("/run/x.sock").unwrap().into()), None);
        assert_eq!(of(&SocketAddrUnix::new_abstract_name(b"x").unwrap().into()), None);
        let (socket, _peer) = UnixStream::pair().unwrap();
        assert_eq!(own(&socket), None);
    }

    #[test]
    fn an_address_that_is_cut_off_is_none() {
        // SAFETY: an all-zero sockaddr_in is valid.
        let mut v4: libc::sockaddr_in = unsafe { mem::zeroed() };
        v4.sin_family = libc::AF_INET as libc::sa_family_t;
        let whole = size_of_val(&v4) as libc::socklen_t;
        // SAFETY: the pointer is NULL, or to at least `length` bytes.
        let read = |length| unsafe { read((&raw const v4).cast(), length) };
        assert_eq!(read(whole), Some(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0).into()));
        assert_eq!((read(whole - 1), read(2), read(0)), (None, None, None));
        // SAFETY: as above.
        assert_eq!(unsafe { super::read(std::ptr::null(), whole) }, None);
    }
}
