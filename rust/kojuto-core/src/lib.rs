//! Bytes and numbers in, values out.
//!
//! Nothing here reads a file, a socket or a clock: the caller hands over bytes and the time, so
//! that each part can be tested at every cut of its input and at every instant.

pub mod error;
pub mod number;
pub mod quantile;

pub use error::Error;

/// The version of the core, as `--version` prints it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
