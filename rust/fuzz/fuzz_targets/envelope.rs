//! Lines come out of any envelope, as many as went in at most, and the same however many bytes stand
//! behind them; what is cut off where all messages are whole gives the same messages.
#![no_main]

use kojuto_core::scan::envelope::{Envelope, Opener, whole_bytes};

fn opened(envelope: Envelope, block: &[u8]) -> Vec<u8> {
    Opener::default().open(envelope, block).to_vec()
}

fn sorted(block: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<_> = block.split(|&b| b == b'\n').collect();
    lines.sort_unstable();
    lines
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let end = data.iter().rposition(|&b| b == b'\n').map_or(0, |end| end + 1);
    let data = &data[..end];
    let count = |bytes: &[u8]| bytes.iter().filter(|&&b| b == b'\n').count();
    let _ = Envelope::detect(data);
    let (whole, rest) = data.split_at(whole_bytes(data));
    for envelope in Envelope::KNOWN {
        let all = opened(envelope, data);
        assert!(count(&all) <= count(data));
        assert!(all.is_empty() || all.ends_with(b"\n"));
        // Strings are read otherwise where the block ends soon. What is never ended comes last.
        let behind = format!("{}\n", "x".repeat(200));
        let more = opened(envelope, &[data, behind.as_bytes()].concat());
        assert_eq!(sorted(&more), sorted(&[&all[..], behind.as_bytes()].concat()));
        // Of more lines a piece may be too far back to be waited for; and of two kinds of entries
        // only one is opened.
        let other = if envelope == Envelope::Docker { b'0'..=b'9' } else { b'{'..=b'{' };
        let begins = |line: &[u8]| line.iter().find(|&&b| b != 0).copied().unwrap_or_default();
        if count(data) <= 16 && !data.split(|&b| b == b'\n').any(|l| other.contains(&begins(l))) {
            assert_eq!([opened(envelope, whole), opened(envelope, rest)].concat(), all);
        }
    }
});
