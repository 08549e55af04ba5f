//! Who the client is, as far as we know.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The client's address: the socket's, or the one that a PROXY header names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remote {
    /// An Internet address and port.
    Socket(SocketAddr),
    /// A UNIX socket with its path, which may be empty.
    Unix(Box<str>),
    /// Whatever the caller calls it.
    Named(Box<str>),
}

impl Remote {
    /// What a text says: an address with its port, `unix:PATH`, or any name.
    pub fn from_text(text: &str) -> Remote {
        match (text.parse(), text.strip_prefix("unix:")) {
            (Ok(address), _) => Remote::Socket(address),
            (_, Some(path)) => Remote::Unix(path.into()),
            _ => Remote::Named(text.into()),
        }
    }

    /// The Internet address, if it has one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Remote::Socket(address) => Some(address.ip()),
            Remote::Unix(_) | Remote::Named(_) => None,
        }
    }

    /// What a consistent hash looks at: the text of its address.
    pub(super) fn hash_key(&self, with_port: bool) -> String {
        match self {
            Remote::Socket(address) if with_port => address.to_string(),
            Remote::Socket(address) => address.ip().to_string(),
            Remote::Unix(name) | Remote::Named(name) => name.to_string(),
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remote::Socket(address) => address.fmt(f),
            Remote::Unix(path) => write!(f, "unix:{path}"),
            Remote::Named(name) => f.write_str(name),
        }
    }
}
