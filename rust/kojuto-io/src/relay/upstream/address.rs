//! Where an upstream is.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use kojuto_core::net::balance;

/// An address of the internet, or a UNIX socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// An IP address and a port.
    Inet(SocketAddr),
    /// The path of a socket (unix(7)).
    Unix(Arc<Path>),
}

impl Address {
    /// The IP address and port, if it has them.
    pub(in crate::relay) fn inet(&self) -> Option<SocketAddr> {
        match self {
            Address::Inet(address) => Some(*address),
            Address::Unix(_) => None,
        }
    }

    /// Whether a connection to it is made, or has failed, when connect(2) returns.
    pub(in crate::relay) fn is_here(&self) -> bool {
        self.inet().is_none_or(|address| address.ip().is_loopback())
    }

    /// What a ring of upstreams hashes.
    pub(super) fn ring_name(&self) -> String {
        self.inet().map_or_else(|| self.to_string(), |address| balance::name(&address))
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Inet(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Inet(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
