//! Which addresses a Consul service has, and how a question about one of them is asked and
//! answered over HTTP.

mod client;
mod members;
mod question;
mod refusal;

pub use client::{AddressHeader, Client};
pub use members::{Address, Members, tag_key};
pub use question::{Asked, Flavour, Question, body_no, body_problem, read};
pub use refusal::Refusal;

/// The body of a yes.
pub const BODY_YES: &str = "{\"error\":0}\n";
