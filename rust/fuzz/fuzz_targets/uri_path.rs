//! A URI that is allowed stays allowed below a shorter path, and none of its readings lies
//! elsewhere; what can be read at all can be judged, and each reading of a reading is one.
#![no_main]

use kojuto_core::net::uri_path::{Allowed, check, readings};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let echo = [Allowed::new("/api/echo").unwrap()];
    let root = [Allowed::new("/").unwrap()];
    for uri in [data.to_vec(), [b"/api/echo/", data].concat()] {
        let allowed = check(&uri, &echo).is_ok();
        let found = readings(&uri);
        assert_eq!(found.is_ok(), check(&uri, &root).is_ok());
        if allowed {
            for reading in found.unwrap() {
                let below = reading.strip_prefix("/api/echo").unwrap();
                assert!(below.is_empty() || below.starts_with('/'), "{reading}");
                let mut depth = 0i32;
                for segment in reading.split('/').filter(|segment| !segment.is_empty()) {
                    match segment {
                        "." => {}
                        ".." => depth -= 1,
                        _ => depth += 1,
                    }
                    assert!(depth >= 0, "{reading}");
                }
                assert!(depth >= 2, "{reading}");
            }
        }
        if let Ok(path) = Allowed::new(&String::from_utf8_lossy(data)) {
            let _ = check(&uri, &[path]);
        }
    }
});
