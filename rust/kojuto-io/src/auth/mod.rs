//! Who may pass: tokens that were checked before, rules of paths, members of Consul services.

mod gate;
pub mod membership;
mod tokens;

pub use gate::{Gate, GateStats, Rule, Service, Why};
pub use tokens::{Found, Tokens};
