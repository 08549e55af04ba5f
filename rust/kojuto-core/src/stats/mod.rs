//! Numbers into figures: sums, quantiles and sketches, of all of them or by group.

pub mod buckets;
pub mod exact_sum;
pub mod group_name;
pub mod latencies;
pub(crate) mod name_index;
mod number_lines;
pub(crate) mod packed;
pub mod pieces;
pub mod pile;
pub mod quantile;
pub mod records;
pub mod samples;
pub mod sketch;
pub mod sketch_file;
pub mod sketch_pool;
pub mod space_saving;
