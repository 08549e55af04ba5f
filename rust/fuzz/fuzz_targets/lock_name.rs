//! Names of lock files: only those of the budget count, and those that are made are read back.
#![no_main]

use kojuto_core::budget::share::{is_unfinished, lock_name, parse_lock_name, share};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let (number, name) = data.split_at(data.len().min(8));
    let mut bytes = [0; 8];
    bytes[..number.len()].copy_from_slice(number);
    let budget = u64::from_le_bytes(bytes);
    if let Some(lock) = parse_lock_name(name, budget) {
        assert!(name.starts_with(format!("sabo_{budget}_").as_bytes()));
        assert!(lock.part >= 1 && lock.pid != Some(0));
        assert!(!is_unfinished(name, budget));
        let part = lock.part;
        let again = lock_name(budget, lock.pid.unwrap_or(1), "0123456789abcdefghij", part);
        assert_eq!(parse_lock_name(again.as_bytes(), budget).map(|l| l.part), Some(part));
    }
    let (own, total) = (bytes[0].into(), bytes[1].into());
    assert!((1..=budget.max(1)).contains(&share(budget, own, total, u64::from(bytes[2]))));
});
