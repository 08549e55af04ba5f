//! The sockets of a run: nearly one for each host, so that packets that wait for one host's link
//! take no room from another's.

use kojuto_core::net::icmp::Family;

use super::Way;
use super::socket::IcmpSocket;
use crate::{Error, Result};

/// The most unprivileged sockets of a family.
const MOST: usize = 256;
/// The most raw ones: the kernel shows each ICMP error to all of them.
const MOST_RAW: usize = 16;

pub(super) struct Sockets {
    way: Way,
    random: u16,
    pub(super) all: Vec<IcmpSocket>,
    turn: usize,
}

impl Sockets {
    pub(super) fn new(way: Way, random: u16) -> Sockets {
        Sockets { way, random, all: Vec::new(), turn: 0 }
    }

    /// The place of the socket for one more host of this family.
    ///
    /// # Errors
    /// [`Error::Io`] when none is allowed, or none as wanted.
    pub(super) fn place(&mut self, family: Family) -> Result<usize> {
        let of_family = |&place: &usize| self.all[place].family == family;
        let own: Vec<usize> = (0..self.all.len()).filter(of_family).collect();
        let raw = own.first().is_some_and(|&place| self.all[place].raw);
        if own.len() < if raw { MOST_RAW } else { MOST } {
            // On raw sockets the first one hears for all.
            match IcmpSocket::open(family, self.random, &self.way, own.is_empty()) {
                Ok(socket) => {
                    self.all.push(socket);
                    return Ok(self.all.len() - 1);
                }
                Err(error) if own.is_empty() => return Err(error),
                Err(_) => {} // no descriptors left: one of those that there are
            }
        }
        self.turn += 1;
        Ok(own[self.turn % own.len()])
    }
}

/// Whether this machine has nothing of the family of a socket that could not be opened.
pub(super) fn lacks_family(error: &Error) -> bool {
    let Error::Io { source, .. } = error else { return false };
    matches!(source.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT))
}
