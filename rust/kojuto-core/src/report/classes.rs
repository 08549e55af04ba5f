//! Lines by the class of their status.

/// The columns of statuses, in their order.
pub const CLASSES: [&str; 7] = ["1xx", "2xx", "3xx", "4xx", "499", "5xx", "other_status"];

/// The class of what a client may not have.
pub(super) const REFUSED: usize = 3;
