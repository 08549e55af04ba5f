//! The pieces of `kojuto-core` on real files and sockets, still without Python.

pub mod blocks;
pub mod cancel;
pub mod error;
pub mod follow;
pub mod http;
pub mod last_words;
pub mod log_dir;
pub mod log_input;
pub mod log_keep;
pub mod membership;
pub mod parallel;
pub mod ping;
pub mod pump;
mod random;
pub mod relay;
pub mod resolve;
pub mod rotate;
pub mod share;
pub mod signals;
pub mod state;
pub mod throttle;

pub use cancel::{Cancel, Never};
pub use error::{Error, Result};
