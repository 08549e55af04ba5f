//! The system's calls: sockets, pipes, signals, names, random bytes; each wrapped once.

pub mod blocks;
pub(crate) mod epoll;
pub mod pipe;
pub(crate) mod random;
pub mod resolve;
pub mod signals;
pub(crate) mod socket;
