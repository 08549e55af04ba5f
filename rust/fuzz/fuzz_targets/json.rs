//! The JSON scanner ends well on any bytes, hands over every line once, and reads each line, broken
//! or not, the same whatever stands before and behind it.
#![no_main]

use kojuto_core::scan::fields::{Keys, Values};
use kojuto_core::scan::json::{self, Prefix};

type Rows = Vec<(Vec<u8>, Vec<Vec<u8>>)>;

fn rows(block: &[u8], prefix: Prefix) -> Rows {
    let keys = Keys::new(&[(b"ptime", true), (b"status", true), (b"a", false)]).unwrap();
    let mut rows = Rows::new();
    json::scan(block, &keys, prefix, &mut |line: &[u8], values: &Values<'_>| {
        rows.push((line.to_vec(), values[..3].iter().map(|v| v.to_vec()).collect()));
    });
    rows
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    for prefix in [Prefix::Refuse, Prefix::Skip] {
        let all = rows(data, prefix);
        let end = data.iter().rposition(|&b| b == b'\n').map_or(0, |end| end + 1);
        let lines: Vec<&[u8]> = data[..end].split_inclusive(|&b| b == b'\n').collect();
        assert_eq!(all.len(), lines.len());
        for (line, row) in lines.iter().zip(&all) {
            let alone = rows(line, prefix);
            assert_eq!((alone.len(), &alone[0].0), (1, &row.0));
            assert_eq!(alone[0].1, row.1);
            for value in &row.1 {
                // What is handed back stands in the line.
                assert!(value.is_empty() || line.windows(value.len()).any(|w| w == value));
                let _ = json::unescape(value);
            }
        }
    }
    let _ = json::unescape(data);
});
