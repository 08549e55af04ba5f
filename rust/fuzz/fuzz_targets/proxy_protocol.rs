//! A PROXY header never panics, is read the same at every cut, and is never longer than the input.
#![no_main]

use kojuto_core::net::proxy_protocol::{Step, V2_MAX, parse, write_v1, write_v2};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let whole = parse(data, V2_MAX);
    if let Ok(Step::Done { header, used }) = &whole {
        assert!(*used <= data.len());
        assert_eq!(parse(&data[..*used], V2_MAX), whole);
        assert_eq!(parse(&data[..*used - 1], V2_MAX), Ok(Step::NeedMore));
        for written in [write_v1(&header.addresses), write_v2(&header.addresses)] {
            assert!(matches!(parse(&written, V2_MAX), Ok(Step::Done { .. })));
        }
    }
    for cut in 0..data.len().min(128) {
        match parse(&data[..cut], V2_MAX) {
            Ok(Step::NeedMore) => {}
            earlier @ Ok(Step::Done { .. }) => assert_eq!(earlier, whole),
            Ok(Step::NotProxy) => assert_eq!(whole, Ok(Step::NotProxy)),
            Err(_) => assert!(whole.is_err()),
        }
    }
});
