//! Bytes and numbers in, values out.
//!
//! Nothing here reads a file, a socket or a clock: the caller hands over bytes and the time, so
//! that each part can be tested at every cut of its input and at every instant.

pub mod access;
pub mod bad_lines;
pub mod balance;
pub mod cidr;
pub mod combined;
pub mod error;
pub mod exact_sum;
pub mod fields;
pub mod group_name;
pub mod hexdump;
pub mod icmp;
pub mod json;
pub mod json_line;
pub mod latencies;
pub mod lines;
pub mod log_name;
pub mod ltsv;
pub mod membership;
pub mod mysql;
pub mod newlines;
pub mod number;
mod number_lines;
pub mod pcap;
pub mod pieces;
pub mod position;
pub mod postfix;
pub mod proxy_protocol;
pub mod quantile;
pub mod records;
pub mod rotated;
pub mod samples;
pub mod select;
pub mod share;
mod simd;
pub mod sketch;
pub mod sketch_file;
pub mod token_bucket;
pub mod uri_path;
pub mod websocket;

pub use error::Error;

/// The version of the core, as `--version` prints it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
