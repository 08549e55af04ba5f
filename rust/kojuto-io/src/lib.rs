//! The pieces of `kojuto-core` on real files and sockets, still without Python.

/// Who may pass: tokens, rules of paths, members of a service.
pub mod auth;
/// How a job learns that it is to end early.
pub mod cancel;
/// The one type of everything that fails here.
pub mod error;
/// A log followed from run to run, each line once.
pub mod follow;
/// A small HTTP/1.1 server.
pub mod http;
/// What is said when there is no memory left.
pub mod last_words;
/// Log lines on standard error that keep nobody waiting.
pub mod log;
/// Work on several threads.
pub mod parallel;
/// ICMP echo requests and their answers.
pub mod ping;
mod queue;
/// The TCP relay engine.
pub mod relay;
/// Logs read for a report.
pub mod report;
/// Lines into dated files.
pub mod rotate;
mod running;
/// Small state files, written whole or not at all.
pub mod state;
/// The system's calls, each wrapped once.
pub mod sys;
/// A stream through a budget that processes share.
pub mod throttle;
/// TLS as a client.
pub mod tls;
/// Compressed files, read as if they were not.
pub mod unpack;

pub use cancel::{Cancel, Never};
pub use error::{Error, Refused, Result, words};
