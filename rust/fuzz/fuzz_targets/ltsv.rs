//! The LTSV scanner reads every block as the grammar says.
#![no_main]

use kojuto_core::scan::fields::{Keys, Values};
use kojuto_core::scan::ltsv;

const NAMES: [&[u8]; 3] = [b"ptime", b"status", b"sta"];

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let keys = Keys::new(&NAMES.map(|name| (name, true))).unwrap();
    let mut rows: Vec<(Vec<u8>, Vec<Vec<u8>>)> = Vec::new();
    ltsv::scan(data, &keys, &mut |line: &[u8], values: &Values<'_>| {
        rows.push((line.to_vec(), values[..3].iter().map(|v| v.to_vec()).collect()));
    });
    let end = data.iter().rposition(|&b| b == b'\n').map_or(0, |end| end + 1);
    let lines: Vec<&[u8]> = data[..end].split_inclusive(|&b| b == b'\n').collect();
    assert_eq!(rows.len(), lines.len());
    for (line, (seen, values)) in lines.iter().zip(&rows) {
        let line = &line[..line.len() - 1];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        assert_eq!(line, seen);
        for (name, value) in NAMES.iter().zip(values) {
            let expected = line
                .split(|&b| b == b'\t')
                .filter_map(|field| field.strip_prefix(*name)?.strip_prefix(b":"))
                .find(|value| !value.is_empty() && *value != b"-");
            assert_eq!(expected.unwrap_or_default(), value);
        }
    }
    let mut count = 0;
    ltsv::scan_behind_brace(data, &keys, &mut |_: &[u8], _: &Values<'_>| count += 1);
    assert_eq!(count, lines.len());
});
