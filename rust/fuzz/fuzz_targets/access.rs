//! An access-log scan in any format ends well, counts every line once, and gives the same figures
//! however the lines are cut into blocks.
#![no_main]

use kojuto_core::access::{Access, Format, Options, TimeField, TimeList};
use kojuto_core::scan::json::Prefix;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else { return };
    let prefix = if choice & 1 == 0 { Prefix::Refuse } else { Prefix::Skip };
    let (format, cuttable) = match choice >> 1 & 3 {
        0 => (Format::Ltsv(prefix), true),
        1 => (Format::Json(prefix), true),
        2 => (Format::Combined, true),
        _ => (Format::Auto(prefix), false),
    };
    let options = Options {
        envelope: None,
        format,
        finds_keys: choice & 128 != 0,
        ptime_key: "ptime".to_owned(),
        status_keys: vec!["status".to_owned(), "st".to_owned()],
        by: (choice & 8 != 0).then(|| "uri".to_owned()),
        max_groups: 2,
        filter: (choice & 16 != 0).then(|| (b"x".to_vec(), choice & 32 != 0)),
        time_field: TimeField::Telling,
        time_scale: 1.0,
        time_list: if choice & 64 != 0 { TimeList::Sum } else { TimeList::Refuse },
    };
    let end = data.iter().rposition(|&b| b == b'\n').map_or(0, |end| end + 1);
    let data = &data[..end];
    let lines = data.iter().filter(|&&b| b == b'\n').count() as u64;
    let mut whole = Access::new(&options).unwrap();
    whole.block(data);
    assert_eq!(whole.lines(), lines);
    let bad: u64 = whole.bad().counts().iter().sum();
    let bad_counts = *whole.bad().counts();
    let (tally, groups) = whole.finish();
    assert!(tally.total() + bad <= lines);
    assert!(tally.latencies.iter().all(|(latency, _)| latency.is_finite()));
    if options.by.is_some() {
        assert_eq!(groups.iter().map(|(_, tally)| tally.total()).sum::<u64>(), tally.total());
    }
    if cuttable {
        let mut cut = Access::new(&options).unwrap();
        for line in data.split_inclusive(|&b| b == b'\n') {
            cut.block(line);
        }
        assert_eq!(*cut.bad().counts(), bad_counts);
        let (again, _) = cut.finish();
        assert_eq!(again.classes, tally.classes);
        assert!(again.latencies.iter().eq(tally.latencies.iter()));
    }
});
