//! How members of a budget know each other: the names of their lock files, and the arithmetic.
//!
//! A member's file is `sabo_<bytes>_<pid>_<unique>.lock`. A member of weight 3 holds three files,
//! the second and third with `-2` and `-3` behind the unique part: whoever only counts files (the
//! Go program does) still gives everybody the right share.

use crate::scan::number::digits;

/// The longest file name a directory can hold (NAME_MAX); a longer one is no lock file.
const MAX_NAME_BYTES: usize = 255;

/// What the name of a lock file tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockName {
    /// The process that made it, when the name holds a number there.
    pub pid: Option<u32>,
    /// 1 for a member's first file, 2 and up for the files of its further weight.
    pub part: u32,
    /// Whether it has the form that a member gives it in every part; another file may begin alike.
    pub exact: bool,
}

/// The name of file `part` (from 1) of a member.
pub fn lock_name(budget: u64, pid: u32, unique: &str, part: u32) -> String {
    match part {
        0 | 1 => format!("sabo_{budget}_{pid}_{unique}.lock"),
        _ => format!("sabo_{budget}_{pid}_{unique}-{part}.lock"),
    }
}

/// The budget that a lock file's name is for.
pub fn budget_of(name: &[u8]) -> Option<u64> {
    let rest = name.strip_prefix(b"sabo_")?;
    let end = rest.iter().position(|&byte| byte == b'_')?;
    digits(&rest[..end])
}

/// Reads a file name found in the work directory: is it a lock file of this budget?
///
/// Everything that begins with `sabo_<bytes>_` counts, as it does for the Go program.
pub fn parse_lock_name(name: &[u8], budget: u64) -> Option<LockName> {
    if name.len() > MAX_NAME_BYTES {
        return None;
    }
    let rest = name.strip_prefix(format!("sabo_{budget}_").as_bytes())?;
    let rest = std::str::from_utf8(rest).unwrap_or("");
    let (pid, unique) = rest.split_once('_').unwrap_or((rest, ""));
    let stem = unique.strip_suffix(".lock").unwrap_or(unique);
    let split = stem.rsplit_once('-');
    let part = split.and_then(|(_, part)| digits(part.as_bytes())).unwrap_or(1);
    let id = split.map_or(stem, |(id, _)| id);
    let pid: Option<u32> = digits(pid.as_bytes()).filter(|&pid| pid > 0);
    let exact = pid.is_some()
        && unique.ends_with(".lock")
        && !id.is_empty()
        && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        && (split.is_none() || part > 1);
    Some(LockName { pid, part: part.max(1), exact })
}

/// Whether the name is that of a lock file that was not yet (or never) put in place.
pub fn is_unfinished(name: &[u8], budget: u64) -> bool {
    let placed = name.strip_prefix(b"_").and_then(|name| parse_lock_name(name, budget));
    placed.is_some_and(|lock| lock.exact)
}

/// Bytes a second of a member that holds `own` of `total` lock files, never below `floor`, 1, nor
/// above the budget.
pub fn share(budget: u64, own: u32, total: u32, floor: u64) -> u64 {
    let total = total.max(own).max(1);
    let fair = u128::from(budget) * u128::from(own.max(1)) / u128::from(total);
    (fair as u64).max(floor).clamp(1, budget.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_of_both_programs_are_read() {
        let go = b"sabo_100000000_4711_cq2l0v4g10l2s3b4c5d0.lock";
        let ours = lock_name(100_000_000, 4711, "cq2l0v4g10l2s3b4c5d0", 1);
        assert_eq!(ours.as_bytes(), go);
        let found = Some(LockName { pid: Some(4711), part: 1, exact: true });
        assert_eq!(parse_lock_name(go, 100_000_000), found);
        let third = lock_name(5_000, 7, "abc", 3);
        assert_eq!(
            parse_lock_name(third.as_bytes(), 5_000),
            Some(LockName { pid: Some(7), part: 3, exact: true })
        );
        assert!(is_unfinished(b"_sabo_5000_7_abc.lock", 5_000));
    }

    #[test]
    fn other_budgets_and_other_files_are_left_alone() {
        for name in
            ["sabo_1000_1_a.lock", "sabo_100_", "_sabo_100000_1_a", "xsabo_100000_1", "sabo_"]
        {
            assert_eq!(parse_lock_name(name.as_bytes(), 100_000), None, "{name}");
        }
        assert_eq!(budget_of(b"sabo_1000_1_a.lock"), Some(1000));
        for name in ["sabo_", "sabo_1000", "sabo_x_1", "_sabo_1_", "sabo__1"] {
            assert_eq!(budget_of(name.as_bytes()), None, "{name}");
        }
        assert!(!is_unfinished(b"sabo_100000_1_a.lock", 100_000));
        assert_eq!(
            parse_lock_name(b"sabo_5_\xff\xfe", 5),
            Some(LockName { pid: None, part: 1, exact: false })
        );
    }

    #[test]
    fn only_names_in_the_members_form_are_exact() {
        let exact = |name: &str| parse_lock_name(name.as_bytes(), 4_000_000).unwrap().exact;
        assert!(exact("sabo_4000000_1_123.lock"));
        assert!(exact("sabo_4000000_1_a2-3.lock"));
        for name in ["app.sql", "1_a.sql", "1_a", "x_a.lock", "1_.lock", "1_a.b.lock", "1_a-1.lock"]
        {
            assert!(!exact(&format!("sabo_4000000_{name}")), "{name}");
        }
    }

    #[test]
    fn a_name_is_as_long_as_a_directory_holds() {
        let name = |len: usize| {
            let mut name = b"sabo_5_0_".to_vec();
            name.resize(len, b'a');
            name
        };
        // No process has the number 0.
        let found = Some(LockName { pid: None, part: 1, exact: false });
        assert_eq!(parse_lock_name(&name(MAX_NAME_BYTES), 5), found);
        assert_eq!(parse_lock_name(&name(MAX_NAME_BYTES + 1), 5), None);
    }

    #[test]
    fn shares_never_exceed_the_budget() {
        assert_eq!(share(100, 1, 3, 0), 33);
        assert_eq!(share(100, 2, 3, 0), 66);
        assert_eq!(share(1_000, 1, 100, 0), 10);
        assert_eq!(share(1_000, 1, 5_000, 0), 1);
        assert_eq!(share(1_000, 1, 100, 50), 50);
        assert_eq!(share(1_000, 1, 2, 5_000), 1_000);
        assert_eq!(share(1_000, 1, 0, 0), 1_000);
        assert_eq!(share(u64::MAX, 7, 7, 0), u64::MAX);
    }

    proptest! {
        #[test]
        fn a_name_reads_back(budget: u64, pid in 1u32..4_194_304, part in 1u32..101) {
            let name = lock_name(budget, pid, "0123456789abcdefghij", part);
            let expected = Some(LockName { pid: Some(pid), part, exact: true });
            prop_assert_eq!(parse_lock_name(name.as_bytes(), budget), expected);
        }

        #[test]
        fn members_together_stay_within_the_budget(
            budget in 1_000u64..10_000_000_000, weights in proptest::collection::vec(1u32..20, 1..50),
        ) {
            let total = weights.iter().sum();
            let sum: u64 = weights.iter().map(|&own| share(budget, own, total, 0)).sum();
            prop_assert!(sum <= budget);
            prop_assert!(sum + 50 >= budget);
        }
    }
}
