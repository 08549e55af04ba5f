//! The number parser agrees with the standard library on every input.
#![no_main]

use kojuto_core::scan::number::{parse_f64, parse_i64};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if data.len() > 1024 {
        return;
    }
    let text = std::str::from_utf8(data).unwrap_or("");
    let decimal = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'));
    let expected = text.parse::<f64>().ok().filter(|v| decimal && v.is_finite());
    assert_eq!(parse_f64(data), expected);
    let expected = text.parse::<i64>().ok();
    // i64::MIN is the one value left out: its magnitude does not fit.
    assert!(parse_i64(data) == expected || expected == Some(i64::MIN));
});
