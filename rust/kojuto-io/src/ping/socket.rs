//! One ICMP socket with the kernel's time stamps for what leaves and what arrives.

use std::ffi::CString;
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use kojuto_core::net::icmp::{self, Family};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SendFlags, SocketFlags, SocketType, ipproto};

use super::Way;
use super::host::Gate;
use super::notes::Notes;
use crate::sys::address;
use crate::sys::socket::{pending_error, set_option};
use crate::{Error, Result};

const PACKET_BYTES: usize = 65_536;
const ICMP_FILTER: libc::c_int = 1; // linux/icmp.h, level SOL_RAW
const ICMP6_FILTER: libc::c_int = 1; // linux/icmpv6.h, level IPPROTO_ICMPV6
const STAMP_SCHED: u32 = 1; // SCM_TSTAMP_SCHED of linux/errqueue.h
/// What a socket may hold on its way out, and of replies, stamps and errors that are not read yet.
const BUFFER_BYTES: libc::c_int = 1 << 20;
/// How often a send is tried whose failure may be that of an earlier packet.
const TRIES: usize = 4;

/// What a socket had to tell.
#[derive(Debug)]
pub(super) enum Event<'a> {
    /// The request passed this gate on its way out at this time.
    Sent { message: &'a [u8], gate: Gate, at_ns: i64 },
    /// An ICMP error about the request quoted, which went to that address; a verdict says that the
    /// request is lost.
    Failed { message: &'a [u8], to: Option<SocketAddr>, words: &'static str, verdict: bool },
    /// A message arrived; the time is the kernel's, when it stamped.
    Received { message: &'a [u8], from: SocketAddr, at_ns: Option<i64> },
}

/// What came of an attempt to send.
#[derive(Debug)]
pub(super) enum Sending {
    Done,
    /// The socket's buffer is full: there will be room when it can be written.
    NoRoom,
    /// The queue of the device, or memory, is full.
    QueueFull,
    /// The system says why it never will.
    Refused(io::Error),
}

/// An unprivileged ICMP socket where the system allows it, else a raw one.
#[derive(Debug)]
pub(super) struct IcmpSocket {
    fd: OwnedFd,
    pub(super) family: Family,
    /// The identifier of our requests: the kernel's choice, or random on a raw socket.
    pub(super) id: u16,
    pub(super) raw: bool,
    buffer: Vec<u8>,
}

impl IcmpSocket {
    /// Opens the socket and switches the time stamps on. A raw one that does not `listen` only
    /// sends.
    ///
    /// # Errors
    /// [`Error::Io`] when neither kind is allowed (EPERM, EACCES), the family is missing, or
    /// packets cannot leave as wanted.
    pub(super) fn open(
        family: Family,
        random: u16,
        way: &Way,
        listens: bool,
    ) -> Result<IcmpSocket> {
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
        opened.choose_way(way)?;
        opened.prepare(listens).map_err(Error::on("ICMP socket"))?;
        Ok(opened)
    }

    fn prepare(&mut self, listens: bool) -> io::Result<()> {
        if self.raw {
            self.let_in(listens)?;
        } else {
            // Its port is the identifier of a ping socket.
            let bound = address::of(&net::getsockname(&self.fd)?);
            self.id = bound.map_or(0, |address| address.port());
        }
        let (level, errors) = match self.family {
            Family::V4 => (libc::IPPROTO_IP, libc::IP_RECVERR),
            Family::V6 => (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
        };
        self.set(level, errors, 1)?;
        for (force, plain) in [
            (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF), // past net.core.wmem_max where that is allowed
            (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF),
        ] {
            let _ = self
                .set(libc::SOL_SOCKET, force, BUFFER_BYTES)
                .or_else(|_| self.set(libc::SOL_SOCKET, plain, BUFFER_BYTES));
        }
        let stamps = libc::SOF_TIMESTAMPING_TX_SCHED
            | libc::SOF_TIMESTAMPING_TX_SOFTWARE
            | libc::SOF_TIMESTAMPING_RX_SOFTWARE
            | libc::SOF_TIMESTAMPING_SOFTWARE;
        // Without stamps (an old or odd kernel) the clock of the process has to do.
        let _ = self.set(libc::SOL_SOCKET, libc::SO_TIMESTAMPING, stamps as libc::c_int);
        Ok(())
    }

    /// Binds to the address and interface wanted, and to a port of the kernel's choice.
    fn choose_way(&self, way: &Way) -> Result<()> {
        if let Some(name) = &way.interface {
            set_option(self.raw_fd(), libc::SOL_SOCKET, libc::SO_BINDTODEVICE, name.as_bytes())
                .map_err(Error::on(name))?;
        }
        let (any, level, discover, class) = match self.family {
            Family::V4 => (
                IpAddr::from(Ipv4Addr::UNSPECIFIED),
                libc::IPPROTO_IP,
                libc::IP_MTU_DISCOVER,
                libc::IP_TOS,
            ),
            Family::V6 => (
                IpAddr::from(Ipv6Addr::UNSPECIFIED),
                libc::IPPROTO_IPV6,
                libc::IPV6_MTU_DISCOVER,
                libc::IPV6_TCLASS,
            ),
        };
        if way.dont_fragment {
            self.set(level, discover, libc::IP_PMTUDISC_DO).map_err(Error::on("ICMP socket"))?;
            if self.family == Family::V6 {
                self.set(level, libc::IPV6_DONTFRAG, 1).map_err(Error::on("ICMP socket"))?;
            }
        }
        if let Some(tos) = way.tos {
            self.set(level, class, libc::c_int::from(tos)).map_err(Error::on("ICMP socket"))?;
        }
        let source = way.source.unwrap_or(any);
        if !self.raw || way.source.is_some() {
            net::bind(&self.fd, &SocketAddr::new(source, 0))
                .map_err(|errno| Error::on(&source.to_string())(errno.into()))?;
        }
        Ok(())
    }

    /// Lets only echo replies in, or nothing at all.
    fn let_in(&self, replies: bool) -> io::Result<()> {
        match self.family {
            Family::V4 => {
                let blocked = if replies { !1 } else { !0 }; // all but type 0
                self.set(libc::SOL_RAW, ICMP_FILTER, blocked)
            }
            Family::V6 => {
                let mut blocked = [u32::MAX; 8];
                if replies {
                    blocked[129 / 32] &= !(1 << (129 % 32));
                }
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
    pub(super) fn send(&self, message: &[u8], mut to: SocketAddr) -> Sending {
        to.set_port(0); // what a raw socket takes for a protocol
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let mut tries = 0;
        loop {
            // What became of an earlier packet is told to the next call, whatever that is.
            let _ = pending_error(self.raw_fd());
            match net::sendto(&self.fd, message, flags, &to) {
                Ok(_) => return Sending::Done,
                Err(Errno::AGAIN) => return Sending::NoRoom,
                Err(Errno::NOBUFS | Errno::NOMEM) => return Sending::QueueFull,
                Err(errno) if tries == TRIES => return Sending::Refused(errno.into()),
                Err(_) => tries += 1,
            }
        }
    }

    /// Hands everything that waits to `each`: what the error queue holds (the time stamps of what
    /// was sent, and failures), and what arrived, each reply behind the stamps of its request.
    pub(super) fn drain(&mut self, mut each: impl FnMut(Event<'_>)) {
        loop {
            let (packet, from, at_ns) = match self.receive(0) {
                Some(Received::Message { packet, from, notes }) => (packet, from, notes.stamp_ns),
                Some(Received::Failure) => continue,
                None => break,
            };
            self.drain_errors(&mut each);
            let message = match (self.family, self.raw) {
                (Family::V4, true) => icmp::strip_ipv4_header(&packet),
                _ => Some(&packet[..]),
            };
            if let (Some(message), Some(from)) = (message, from) {
                each(Event::Received { message, from, at_ns });
            }
        }
        self.drain_errors(&mut each);
    }

    fn drain_errors(&mut self, each: &mut impl FnMut(Event<'_>)) {
        while let Some(received) = self.receive(libc::MSG_ERRQUEUE) {
            if let Received::Message { packet, from, notes } = received
                && let Some(event) = self.explain(&packet, from, &notes)
            {
                each(event);
            }
        }
    }

    /// One message; None when nothing waits. By hand, for `rustix` shows of the control messages
    /// of recvmsg(2) neither time stamps nor errors.
    fn receive(&mut self, flags: libc::c_int) -> Option<Received> {
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
            let more = flags == 0 && code != libc::EAGAIN && code != libc::EBADF;
            return more.then_some(Received::Failure);
        }
        // SAFETY: the kernel has written msg_namelen bytes of a zeroed storage.
        let from = unsafe { address::read(name.as_ptr().cast(), header.msg_namelen) };
        let packet = self.buffer[..got as usize].to_vec();
        Some(Received::Message { packet, from, notes: Notes::read(&header) })
    }

    fn explain<'a>(
        &self,
        packet: &'a [u8],
        to: Option<SocketAddr>,
        notes: &Notes,
    ) -> Option<Event<'a>> {
        let error = notes.error?;
        match error.ee_origin {
            libc::SO_EE_ORIGIN_TIMESTAMPING => {
                let at_ns = notes.stamp_ns?;
                let gate = if error.ee_info == STAMP_SCHED { Gate::Queue } else { Gate::Device };
                Some(Event::Sent { message: packet, gate, at_ns })
            }
            libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6 => {
                let words = icmp::error_words(self.family, error.ee_type, error.ee_code);
                let verdict = icmp::is_verdict(self.family, error.ee_type, error.ee_code);
                Some(Event::Failed { message: packet, to, words, verdict })
            }
            // A local one (SO_EE_ORIGIN_LOCAL) quotes nothing, and the call that sent fails too.
            _ => None,
        }
    }
}

/// What recvmsg(2) answered.
enum Received {
    Message {
        packet: Vec<u8>,
        from: Option<SocketAddr>,
        notes: Notes,
    },
    /// An error that is taken by now; a message may be behind it.
    Failure,
}

/// The number of an interface, which is the zone of the link-local addresses behind it.
///
/// # Errors
/// There is none of that name.
pub(super) fn zone_of(interface: &str) -> Result<u32> {
    let missing = || Error::on(interface)(io::Error::from_raw_os_error(libc::ENODEV));
    let name = CString::new(interface).map_err(|_| missing())?;
    // SAFETY: the name is NUL-terminated.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(missing()),
        number => Ok(number),
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
