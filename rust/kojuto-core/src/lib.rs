//! Bytes and numbers in, values out.
//!
//! Nothing here reads a file, a socket or a clock: the caller hands over bytes and the time, so
//! that each part can be tested at every cut of its input and at every instant.

/// Access logs: requests counted by status, with their times.
pub mod access;
/// Bandwidth: how many bytes may pass by now.
pub mod budget;
/// The one type of everything that is refused here.
pub mod error;
/// Log files: their names, their rotation and how far they have been read.
pub mod logs;
/// Whether a client's address is one of a Consul service.
pub mod membership;
/// The MySQL protocol, as far as a dump of its statements needs it.
pub mod mysql;
/// Addresses, headers and packets.
pub mod net;
/// Postfix's mail log: deliveries, delays and what the programs did.
pub mod postfix;
/// Reports: requests counted by endpoint.
pub mod report;
/// Lines of text cut into fields and numbers.
pub mod scan;
/// Numbers into sums, quantiles and sketches.
pub mod stats;
/// Signed tokens, without their signature.
pub mod token;
/// WebSocket frames, read and written.
pub mod websocket;

pub use error::Error;

/// The version of the core, as `--version` prints it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
