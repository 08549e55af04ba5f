//! One ICMP socket with the kernel's time stamps for what leaves and what arrives.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use kojuto_core::net::icmp::{self, Family};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SendFlags, SocketFlags, SocketType, ipproto};

use crate::sys::address;
use crate::sys::socket::set_option;
use crate::{Error, Result};

const PACKET_BYTES: usize = 65_536;
const ICMP_FILTER: libc::c_int = 1; // linux/icmp.h, level SOL_RAW
const ICMP6_FILTER: libc::c_int = 1; // linux/icmpv6.h, level IPPROTO_ICMPV6

/// What a socket had to tell.
#[derive(Debug)]
pub(super) enum Event<'a> {
    /// The kernel handed the request of this sequence number to the device at this time.
    Sent { message: &'a [u8], at_ns: i64 },
    /// An ICMP error about the request quoted.
    Failed { message: &'a [u8], words: &'static str },
    /// A message arrived; the time is the kernel's, when it stamped.
    Received { message: &'a [u8], from: SocketAddr, at_ns: Option<i64> },
}

/// An unprivileged ICMP socket where the system allows it, else a raw one.
#[derive(Debug)]
pub(super) struct IcmpSocket {
    fd: OwnedFd,
    pub(super) family: Family,
    /// The identifier of our requests: the kernel's choice, or random on a raw socket.
    pub(super) id: u16,
    raw: bool,
    buffer: Vec<u8>,
}

impl IcmpSocket {
    /// Opens the socket and switches the time stamps on.
    ///
    /// # Errors
    /// [`Error::Io`] when neither kind is allowed (EPERM, EACCES) or the family is missing.
    pub(super) fn open(family: Family, random: u16) -> Result<IcmpSocket> {
        let (domain, protocol) = match family {
            Family::V4 => (AddressFamily::INET, ipproto::ICMP),
            Family::V6 => (AddressFamily::INET6, ipproto::ICMPV6),
        };
        let socket = |kind| net::socket_with(domain, kind, SocketFlags::CLOEXEC, Some(protocol));
        let failed = |errno: Errno| Error::on("ICMP socket")(errno.into());
        let (fd, raw) = match socket(SocketType::DGRAM) {
            Ok(fd) => (fd, false),
            Err(_) => (socket(SocketType::RAW).map_err(failed)?, true),
        };
        let mut opened = IcmpSocket { fd, family, id: random, raw, buffer: vec![0; PACKET_BYTES] };
        opened.prepare().map_err(Error::on("ICMP socket"))?;
        Ok(opened)
    }

    fn prepare(&mut self) -> io::Result<()> {
        if self.raw {
            self.let_only_replies_in()?;
        } else {
            self.id = self.bind_any()?;
        }
        let (level, errors) = match self.family {
            Family::V4 => (libc::IPPROTO_IP, libc::IP_RECVERR),
            Family::V6 => (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
        };
        self.set(level, errors, 1)?;
        let stamps = libc::SOF_TIMESTAMPING_TX_SOFTWARE
            | libc::SOF_TIMESTAMPING_RX_SOFTWARE
            | libc::SOF_TIMESTAMPING_SOFTWARE;
        // Without stamps (an old or odd kernel) the clock of the process has to do.
        let _ = self.set(libc::SOL_SOCKET, libc::SO_TIMESTAMPING, stamps as libc::c_int);
        Ok(())
    }

    /// Binds to a port of the kernel's choice, which is the identifier of a ping socket.
    fn bind_any(&self) -> io::Result<u16> {
        let any: IpAddr = match self.family {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        };
        net::bind(&self.fd, &SocketAddr::new(any, 0))?;
        let bound = address::of(&net::getsockname(&self.fd)?);
        Ok(bound.map_or(0, |address| address.port()))
    }

    fn let_only_replies_in(&self) -> io::Result<()> {
        match self.family {
            Family::V4 => self.set(libc::SOL_RAW, ICMP_FILTER, !1), // all but type 0
            Family::V6 => {
                let mut blocked = [u32::MAX; 8];
                blocked[129 / 32] &= !(1 << (129 % 32));
                let filter = blocked.map(u32::to_ne_bytes);
                set_option(self.raw_fd(), libc::IPPROTO_ICMPV6, ICMP6_FILTER, filter.as_flattened())
            }
        }
    }

    fn set(&self, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
        set_option(self.raw_fd(), level, option, &value.to_ne_bytes())
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn raw_fd(&self) -> libc::c_int {
        self.fd.as_raw_fd()
    }

    /// Sends one message without waiting.
    pub(super) fn send(&self, message: &[u8], mut to: SocketAddr) -> io::Result<()> {
        to.set_port(0); // what a raw socket takes for a protocol
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        net::sendto(&self.fd, message, flags, &to).map(drop).map_err(io::Error::from)
    }

    /// Hands everything that waits to `each`: first what the error queue holds (the time stamps
    /// of what was sent, and failures), then what arrived.
    pub(super) fn drain(&mut self, mut each: impl FnMut(Event<'_>)) {
        while self.receive(libc::MSG_ERRQUEUE, &mut each) {}
        while self.receive(0, &mut each) {}
    }

    /// One message; false when nothing waits. By hand, for `rustix` shows of the control messages
    /// of recvmsg(2) neither time stamps nor errors.
    fn receive(&mut self, flags: libc::c_int, each: &mut impl FnMut(Event<'_>)) -> bool {
        let mut control = [0u64; 128]; // aligned for cmsghdr
        let mut name = MaybeUninit::<libc::sockaddr_storage>::zeroed();
        let mut part =
            libc::iovec { iov_base: self.buffer.as_mut_ptr().cast(), iov_len: self.buffer.len() };
        // SAFETY: an all-zero msghdr is valid; its fields are set to live buffers below.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_name = name.as_mut_ptr().cast();
        header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        header.msg_iov = &mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control) as _;
        // SAFETY: every buffer of the header outlives the call and has the length told.
        let got =
            unsafe { libc::recvmsg(self.fd.as_raw_fd(), &mut header, flags | libc::MSG_DONTWAIT) };
        if got < 0 {
            // An ICMP error that was already taken from the queue is reported once more here.
            let code = io::Error::last_os_error().raw_os_error().unwrap_or(0);
            return flags == 0 && code != libc::EAGAIN && code != libc::EBADF;
        }
        let packet = &self.buffer[..got as usize];
        let notes = Notes::read(&header);
        if flags & libc::MSG_ERRQUEUE != 0 {
            if let Some(event) = self.explain(packet, &notes) {
                each(event);
            }
            return true;
        }
        let message = match (self.family, self.raw) {
            (Family::V4, true) => icmp::strip_ipv4_header(packet),
            _ => Some(packet),
        };
        // SAFETY: the kernel has written msg_namelen bytes of a zeroed storage.
        let from = unsafe { address::read(name.as_ptr().cast(), header.msg_namelen) };
        if let (Some(message), Some(from)) = (message, from) {
            each(Event::Received { message, from, at_ns: notes.stamp_ns });
        }
        true
    }

    fn explain<'a>(&self, packet: &'a [u8], notes: &Notes) -> Option<Event<'a>> {
        let error = notes.error?;
        match error.ee_origin {
            libc::SO_EE_ORIGIN_TIMESTAMPING => {
                let at_ns = notes.stamp_ns?;
                Some(Event::Sent { message: packet, at_ns })
            }
            libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6 => {
                let words = icmp::error_words(self.family, error.ee_type, error.ee_code);
                Some(Event::Failed { message: packet, words })
            }
            // A local one (SO_EE_ORIGIN_LOCAL) quotes nothing, and the call that sent fails too.
            _ => None,
        }
    }
}

/// The control messages that matter here.
#[derive(Default)]
struct Notes {
    stamp_ns: Option<i64>,
    error: Option<libc::sock_extended_err>,
}

impl Notes {
    fn read(header: &libc::msghdr) -> Notes {
        let mut notes = Notes::default();
        // SAFETY: the header was filled by recvmsg.
        let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
        while !next.is_null() {
            // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR answer headers inside the control buffer.
            let (level, kind, data) =
                unsafe { ((*next).cmsg_level, (*next).cmsg_type, libc::CMSG_DATA(next)) };
            // SAFETY: as above.
            let room = unsafe { (*next).cmsg_len as usize };
            let holds = |bytes: usize| room >= bytes + size_of::<libc::cmsghdr>();
            match (level, kind) {
                (libc::SOL_SOCKET, libc::SO_TIMESTAMPING)
                    if holds(size_of::<[libc::timespec; 3]>()) =>
                {
                    // SAFETY: the kernel wrote three timespecs; the first is the software stamp.
                    let at = unsafe { ptr::read_unaligned(data.cast::<libc::timespec>()) };
                    if at.tv_sec != 0 {
                        notes.stamp_ns = Some(at.tv_sec * 1_000_000_000 + at.tv_nsec);
                    }
                }
                (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
                    if holds(size_of::<libc::sock_extended_err>()) =>
                {
                    // SAFETY: the kernel wrote a sock_extended_err first.
                    notes.error = Some(unsafe { ptr::read_unaligned(data.cast()) });
                }
                _ => {}
            }
            // SAFETY: `next` is a header inside the control buffer.
            next = unsafe { libc::CMSG_NXTHDR(header, next) };
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    /// A socket of UDP in the place of one of ICMP, for which another's refusal is at hand.
    fn of_udp(socket: UdpSocket) -> IcmpSocket {
        let buffer = vec![0; PACKET_BYTES];
        IcmpSocket { fd: socket.into(), family: Family::V4, id: 0, raw: false, buffer }
    }

    #[test]
    fn an_error_of_the_socket_does_not_hide_the_message_behind_it() {
        let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = peer.local_addr().unwrap();
        ours.connect(address).unwrap();
        peer.send_to(b"reply", ours.local_addr().unwrap()).unwrap();
        drop(peer);
        ours.send(b"to nobody").unwrap(); // "port unreachable" is pending when this returns
        let (mut socket, mut got) = (of_udp(ours), Vec::new());
        socket.drain(|event| match event {
            Event::Received { message, from, at_ns } => got.push((message.to_vec(), from, at_ns)),
            other => panic!("{other:?}"),
        });
        assert_eq!(got, [(b"reply".to_vec(), address, None)]);
    }
}
