//! Log files: their names, the names that rotation gives them, and how far they have been read.

pub mod form;
pub mod line_end;
pub mod lines;
pub mod log_name;
pub mod position;
pub mod rotated;
