//! No position file makes the parser panic, and what it accepts it can write and read back.
#![no_main]

use kojuto_core::logs::position::Position;
use kojuto_core::logs::rotated;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(position) = Position::decode(data) {
        let text = position.encode();
        assert_eq!(Position::decode(text.as_bytes()).as_ref(), Ok(&position), "{text}");
    }
    let cut = data.len() / 3;
    let _ = rotated::parse(&data[..cut], data);
});
