//! A URI that is allowed stays allowed below a shorter path, is UTF-8 without anything that a
//! second decoding would change, and never climbs above the path however slashes are merged.
#![no_main]

use kojuto_core::net::uri_path::{Allowed, check};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let echo = [Allowed::new("/api/echo").unwrap()];
    let root = [Allowed::new("/").unwrap()];
    for uri in [data.to_vec(), [b"/api/echo/", data].concat()] {
        let allowed = check(&uri, &echo).is_ok();
        if allowed {
            assert_eq!(check(&uri, &root), Ok(()));
            let path = uri.split(|&byte| byte == b'?').next().unwrap();
            assert!(path.is_ascii() && !path.contains(&b'\\') && !path.contains(&b';'));
            let mut depth = 0i32;
            for segment in path.split(|&byte| byte == b'/') {
                let text = String::from_utf8(segment.to_vec()).unwrap().to_lowercase();
                match text.replace("%2e", ".").as_str() {
                    "" | "." => {}
                    ".." => depth -= 1,
                    _ => depth += 1,
                }
                assert!(depth >= 2 || !text.contains(".."), "{text}");
            }
            assert!(depth >= 2);
        }
        if check(&uri, &root).is_err() {
            assert!(!allowed);
        }
    }
});
