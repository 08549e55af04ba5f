//! However a stream of LTSV or JSON lines is cut, the same groups come out.
#![no_main]

use kojuto_core::stats::records::{Groups, Records};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((cuts, stream)) = data.split_at_checked(8) else { return };
    let read = |cuts: &[u8]| {
        let mut records = Records::new(b"ptime", Some(b"g"), None).unwrap();
        let mut groups = Groups::new(3, None);
        let mut rest = stream;
        for &size in cuts {
            let (piece, left) = rest.split_at(usize::from(size).min(rest.len()));
            records.feed(piece, &mut groups);
            rest = left;
        }
        records.feed(rest, &mut groups);
        (records.finish(&mut groups), groups.into_sorted())
    };
    let groups = read(cuts);
    let whole = read(&[]);
    assert_eq!(groups, whole);
    assert!(groups.1.len() <= 5, "three values, the lines without one, the pool");
});
