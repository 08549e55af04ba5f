//! The system's calls: sockets, pipes, signals, names, random bytes; each wrapped once.
//!
//! They are made through `rustix`, which has the C library make them, where a preloaded library sees
//! them, and returns the error as it is, EINTR too. What it has no call for is made by hand here, each
//! with the reason.

pub(crate) mod address;
pub mod blocks;
pub(crate) mod descriptor;
pub(crate) mod epoll;
pub(crate) mod holes;
pub(crate) mod local_time;
pub mod pipe;
pub(crate) mod random;
pub mod resolve;
pub mod signals;
pub(crate) mod socket;
