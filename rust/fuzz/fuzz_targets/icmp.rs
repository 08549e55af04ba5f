//! Messages from the network are answered without a panic, and what is taken for a reply is one.
#![no_main]

use kojuto_core::net::icmp::{self, Family, Mark};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if data.len() > 4096 {
        return;
    }
    let inner = icmp::strip_ipv4_header(data);
    for message in [Some(data), inner].into_iter().flatten() {
        for family in [Family::V4, Family::V6] {
            if let Some(echo) = icmp::parse_reply(family, message) {
                assert_eq!(echo.payload.len() + icmp::HEADER_BYTES, message.len());
                assert!(family == Family::V6 || icmp::checksum(message) == 0);
            }
            if let Some(echo) = icmp::parse_request(family, message)
                && family == Family::V4
            {
                let again = icmp::encode_request(family, echo);
                assert_eq!(icmp::parse_request(family, &again), Some(echo));
                assert_eq!(icmp::checksum(&again), 0);
            }
        }
    }
    if let Some(mark) = Mark::decode(data) {
        assert_eq!(mark.encode(data.len()), data);
    }
});
