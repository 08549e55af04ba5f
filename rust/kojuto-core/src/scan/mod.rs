//! Lines of text: found, cut into their fields and read as numbers; many bytes at a time.

pub mod bad_lines;
pub mod beginning;
pub mod combined;
pub mod duration;
pub mod envelope;
pub mod fields;
pub mod instant;
pub mod json;
pub mod json_line;
pub mod log_format;
pub mod ltsv;
pub mod newlines;
pub mod number;
pub(crate) mod order;
pub mod select;
pub(crate) mod simd;
