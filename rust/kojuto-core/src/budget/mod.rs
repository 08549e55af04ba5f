//! Bandwidth: how many bytes may pass by now, and what each pipe has of a limit that they share.

pub mod share;
pub mod token_bucket;
