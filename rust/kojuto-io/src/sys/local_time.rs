//! What the clocks on the wall here show.

/// Seconds east of UTC at an instant (Unix time); None where the C library cannot tell.
pub(crate) fn offset_s(now_s: i64) -> Option<i64> {
    // SAFETY: all-zero is a valid tm; localtime_r fills it or answers null.
    let mut local: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to locals.
    let filled = unsafe { libc::localtime_r(&raw const now_s, &raw mut local) };
    (!filled.is_null()).then_some(local.tm_gmtoff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_less_than_a_day_and_an_impossible_year_has_none() {
        assert!(offset_s(1_795_000_000).unwrap().abs() < 86_400);
        assert_eq!(offset_s(i64::MAX), None);
    }
}
