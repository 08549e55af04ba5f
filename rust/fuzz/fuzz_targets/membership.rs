//! Questions about membership: whatever a client sends, what Consul is asked stays one request
//! for that service, and each answer is one line of JSON.
#![no_main]

use kojuto_core::membership::{AddressHeader, Asked, Client, Members, body_no, body_problem, read};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.split('\n');
    let (path, query) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""));
    let body = match read(path, query) {
        Asked::Live | Asked::Unknown => return,
        Asked::Wrong(why) => body_problem(&why.to_string()),
        Asked::Question(question) => {
            let start = format!("/v1/health/service/{}?passing", question.service);
            let rest = question.key.strip_prefix(&start).expect("it asks for the service");
            assert!(rest.is_empty() || rest.starts_with('&'));
            assert!(rest.bytes().all(|b| b.is_ascii_graphic() && !b"?#/ \"<>+".contains(&b)));
            for piece in rest.split('&').skip(1) {
                let name = piece.split('=').next();
                assert!(matches!(name, Some("dc" | "filter" | "ns" | "partition")));
            }
            let address = question.address.unwrap_or_default();
            let tags = question.tags;
            let members = Members::new([([address.as_str()], &tags)]);
            assert_eq!(members.contains(&address, &tags), !address.is_empty());
            let longer = "x".repeat(data.len() + 1); // than any that the question has
            assert!(!members.contains(&address, &[longer]));
            body_no(&address, &question.service)
        }
    };
    assert!(body.starts_with(b"{\"error\":1,\"messages\":\"") && body.ends_with(b"\"}\n"));
    assert!(body[..body.len() - 1].iter().all(|&byte| byte >= 0x20 && byte != b'<'));
    let remote = lines.next().unwrap_or("");
    let trusted = vec!["127.0.0.0/8".parse().expect("a range")];
    for header in [AddressHeader::RealIp, AddressHeader::ForwardedFor] {
        let client = Client { allowed: Vec::new(), trusted: trusted.clone(), header };
        let found = client.address(remote, None, lines.clone().map(str::as_bytes));
        assert!(!client.trusts(remote) || found.is_err() || lines.clone().next().is_some());
    }
});
