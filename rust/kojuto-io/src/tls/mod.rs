//! TLS as a client: the handshake, whom to trust, and a session that never waits.

mod bundle;
mod client;
mod session;
mod wire;

pub use client::{Identity, TlsOptions, TlsStream};
pub(crate) use wire::{Plain, Wire};
