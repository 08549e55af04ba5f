//! Names of log files, patterns and marks: what is read back is what was written, and nothing of a
//! foreign name is taken for one's own.
#![no_main]

use kojuto_core::logs::log_name::{Mark, Pattern, floor, with_generation};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some(mark) = Mark::parse(data) {
        assert_eq!(Mark::parse(mark.text().as_bytes()), Some(mark));
    }
    let (number, rest) = data.split_at(data.len().min(8));
    let mut bytes = [0; 8];
    bytes[..number.len()].copy_from_slice(number);
    let wall = (u64::from_le_bytes(bytes) % 250_000_000_000) as i64;
    let minutes = wall % 100_000 + 1;
    let Some((text, name)) = std::str::from_utf8(rest).ok().and_then(|t| t.split_once('\0')) else {
        return;
    };
    let Ok(pattern) = Pattern::parse(text) else { return };
    let made = pattern.format(floor(wall, minutes));
    assert!(!made.contains('/') && made.len() <= 800);
    if made.len() <= 240 {
        let found = pattern.read(made.as_bytes()).expect("a name that was made is read");
        // A pattern may itself end like a generation or a suffix; the name is whole all the same.
        assert!(made.starts_with(&found.base));
        assert!(pattern.read(with_generation(&made, 7).as_bytes()).is_some());
    }
    if let Some(found) = pattern.read(name.as_bytes()) {
        assert!(name.starts_with(&found.base));
        assert!(!name.contains('/') || text.contains('/'));
    }
});
