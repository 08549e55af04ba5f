//! A report of any content is refused or read, answers, and is the same bytes when it is written and
//! read again.
#![no_main]

use kojuto_core::report::{Totals, seal};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(file) = seal(data, data.len()) else { return };
    let Ok(totals) = Totals::from_bytes(&file) else { return };
    // Its expressions may be none.
    let Ok(written) = totals.to_bytes() else { return };
    let again = Totals::from_bytes(&written).unwrap();
    assert_eq!(again.to_bytes().unwrap(), written);
    let _ = again.answer().unwrap();
});
