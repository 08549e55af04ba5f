//! However a stream of numbers is cut, the same is read as line by line.
#![no_main]

use kojuto_core::scan::number::parse_f64;
use kojuto_core::stats::samples::NumberLines;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    // The first bytes say where the rest is cut.
    let Some((cuts, stream)) = data.split_at_checked(8) else { return };
    if stream.starts_with(b"\xef\xbb\xbf") {
        return;
    }
    let mut reader = NumberLines::default();
    let mut numbers = Vec::new();
    let mut rest = stream;
    for &size in cuts {
        let (piece, left) = rest.split_at(usize::from(size).min(rest.len()));
        reader.feed(piece, &mut numbers);
        rest = left;
    }
    // Once in a buffer of its own, so that a load past its end is noticed.
    reader.feed(rest, &mut numbers);
    reader.finish(&mut numbers);

    let mut expected = Vec::new();
    let mut bad = 0;
    for line in stream.split(|&byte| byte == b'\n') {
        let text = line.trim_ascii();
        match parse_f64(text) {
            Some(number) => expected.push(number.to_bits()),
            None => bad += u64::from(!text.is_empty()),
        }
    }
    let numbers: Vec<u64> = numbers.into_iter().map(f64::to_bits).collect();
    assert_eq!(numbers, expected);
    assert_eq!(reader.bad().count, bad);
});
