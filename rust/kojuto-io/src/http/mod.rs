//! A small HTTP/1.1 server: hyper on a few single-threaded runtimes. A request is answered from
//! what is at hand ([`Quick`]) on the thread of its connection; otherwise [`Slow`] is asked on one
//! of a few threads of its own.
//!
//! One thread accepts. Each worker looks ten times a second for connections that are late: a
//! request costs no timer. The handle, [`Server`], only steers; nothing in it waits except
//! [`Server::wait`].

mod accept;
mod access_log;
mod connection;
mod message;
mod options;
mod pause;
mod pool;
mod server;
mod shared;
mod worker;

pub use access_log::{LineFormat, LogSink};
pub use message::{Quick, Reply, Request, Slow, moved};
pub use options::{Options, Stats};
pub use server::Server;
