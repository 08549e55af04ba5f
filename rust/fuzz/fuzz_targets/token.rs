//! Tokens: what is taken apart has the form of a token and is put together again to the same, and
//! claims that are good are so for their life only.
#![no_main]

use kojuto_core::token::{Object, Parts, Policy, subject};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(parts) = Parts::read(data) {
        assert_eq!(data.iter().filter(|&&byte| byte == b'.').count(), 2);
        assert!(!parts.signature.is_empty() && data.starts_with(parts.signed));
        let _ = parts.check_kind(&["jwt".to_owned()]);
        let _ = Object::read(&parts.claims, "payload");
    }
    let Ok(claims) = Object::read(data, "payload") else { return };
    assert!(std::str::from_utf8(data).is_ok());
    let _ = subject(&claims);
    let policy = Policy { freshness_s: 3600.0, early_s: 60.0, ..Policy::default() };
    let now_s = 1_800_000_000.0;
    if let Ok(life) = policy.check(&claims, now_s) {
        assert!(life.begins_s <= now_s && now_s < life.ends_s.max(now_s + f64::EPSILON));
        // At the very end a token may still be fresh; dates are numbers of at most 30 us apart.
        assert!(policy.check(&claims, life.ends_s + 1e-3).is_err());
    }
});
