//! What an access log says of its endpoints, and of two logs which of them has changed.

pub mod compare;
