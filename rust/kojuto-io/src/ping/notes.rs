//! The control messages of recvmsg(2) that tell of time stamps and errors.

use std::mem::size_of;
use std::ptr;

/// The control messages that matter here.
#[derive(Default)]
pub(super) struct Notes {
    /// The kernel's time stamp, nanoseconds since 1970.
    pub(super) stamp_ns: Option<i64>,
    /// What an entry of the error queue is about.
    pub(super) error: Option<libc::sock_extended_err>,
}

impl Notes {
    /// Reads them out of a header that recvmsg(2) has filled.
    pub(super) fn read(header: &libc::msghdr) -> Notes {
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
