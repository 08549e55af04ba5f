//! What a report counts: requests by the endpoint that they are of.

pub mod naming;

mod fold;
mod path;
mod shape;
