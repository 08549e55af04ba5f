//! The name of a group as Python has it.

use kojuto_core::stats::group_name::GroupName;

/// (``value``, ``missing`` or ``other``; the value).
pub(crate) type GroupOf = (&'static str, Vec<u8>);

pub(crate) fn group_of(name: &GroupName) -> GroupOf {
    let (kind, value) = name.parts();
    (kind, value.to_vec())
}
