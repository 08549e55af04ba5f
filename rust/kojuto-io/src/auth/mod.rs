//! Who may pass: tokens, rules of paths, members of Consul services.

mod bearer;
mod gate;
pub mod membership;
mod tokens;
mod verify;

pub use gate::{Gate, GateStats, Rule, Service, Why};
pub use tokens::{Found, Shown, Tokens};
pub use verify::{Judged, Key, Signers, Verifier, signed_by};
