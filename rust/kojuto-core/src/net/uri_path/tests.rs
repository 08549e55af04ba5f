use proptest::prelude::*;

use super::*;

fn ask(path: &str, uri: &str) -> Result<(), Refusal> {
    check(uri.as_bytes(), &[Allowed::new(path).unwrap()])
}

#[test]
fn what_every_reader_finds_below_the_path_is_allowed() {
    for uri in [
        "/api/echo",
        "/api/echo/",
        "/api/echo?x=/../y",
        "/api/echo?",
        "/api/echo??;\\%zz",
        "/api/echo/a%2Eb",
        "/api/echo/%E3%81%82",
        "/api/echo/\u{3042}",
        "/api/echo/a+b",
        "/api/echo/a/./b",
        "/api/echo/a/../b",
        "/api/echo//x",
        "/api/echo/a/%2e%2e/b",
        "/api/echo/a/..",
        "/api/echo/.",
        "/api/echo/.a",
        "/api/echo/..a",
        "/api/echo/...",
        "/api/echo/a%20b",
        "/api/echo/a%20/%20b",
        "/api/echo/a:b@c",
        "/api/echo/%2F/permissions",
        "/api/echo/a%2Fb",
        "/api/echo/a%252Fb",
        "/api/echo/a;v=1/b",
        "/api/echo/a%3Bb",
        "/api/echo/100%25",
        "/api/echo/100%25%20of",
        "/api/echo/%25zz",
        "/api/echo/%23top",
        "/api/echo/what%3F",
        "/api/echo/a%5Cb",
        "/api/echo/a\\b",
        "/api/echo/%EF%BC%9F",
        "/api/echo/%EF%BC%85",
        "/api/echo/a%EF%BC%8Eb",
        "/api/echo/a%E2%80%A6",
        "/api/echo/../echo/x",
        "/api/echo/{a}\"^|`",
    ] {
        assert_eq!(ask("/api/echo", uri), Ok(()), "{uri}");
    }
}

#[test]
fn what_some_reader_finds_elsewhere_is_refused() {
    use Refusal::*;
    for (uri, why) in [
        ("/api/echoes", Outside),
        ("/API/echo", Outside),
        ("/api/ech", Outside),
        ("/api//echo", Outside),
        ("/api/./echo", Outside),
        ("/x/../api/echo", Outside),
        ("/%61pi/ech%6F/x", Outside),
        ("/api%2Fecho/x", Outside),
        ("/api/echo%2fx", Outside),
        ("/api/echo/../secret", Reading),
        ("/api/echo/a/../../secret", Reading),
        ("/api/echo/..", Reading),
        ("/api/echo/%2e%2e/secret", Reading),
        ("/api/echo/.%2E/secret", Reading),
        ("/api/echo//../secret", Reading),
        ("/api/echo/./../secret", Reading),
        ("/api/echo/..%2fsecret", Reading),
        ("/api/echo/a%2f..%2f..%2fsecret", Reading),
        ("/api/echo/%252e%252e/secret", Reading),
        ("/api/echo/%252f..", Reading),
        ("/api/echo/..;/secret", Reading),
        ("/api/echo;v=1/../secret", Outside),
        ("/api/echo/..%3b/secret", Reading),
        ("/api/echo/..%253b/secret", Reading),
        ("/api/echo/..\\secret", Reading),
        ("/api/echo/%5c..%5csecret", Reading),
        ("/api/echo/..%3f/x", Reading),
        ("/api/echo/%EF%BC%8E%EF%BC%8E/secret", Reading),
        ("/api/echo/%E2%80%A5/x", Reading),
        ("/api/echo/..%EF%BC%8Fsecret", Reading),
        ("/api/echo/..%EF%BC%BCsecret", Reading),
        ("/api/echo/%EF%BC%852e%EF%BC%852e/secret", Reading),
        ("/api/echo/..%EF%BC%9B/secret", Reading),
        ("/api/echo/..%20/secret", Reading),
        ("/api/echo/%20../x", Reading),
        // One resolves the dots, the next one cuts the parameters and resolves once more.
        ("/api/echo/..;/../..;/api/echo", Leaves),
        ("/api/echo/%00", Character),
        ("/api/echo/%0d%0ax", Character),
        ("/api/echo/%C2%85", Character),
        ("/api/echo/a b", Character),
        ("/api/echo?a b", Character),
        ("/api/echo/%zz", Escape),
        ("/api/echo/%", Escape),
        ("/api/echo/%4", Escape),
        ("/api/echo/%u002e", Escape),
        ("/api/echo/%2500", Twice),
        ("/api/echo/%250a", Twice),
        ("/api/echo/%25ff", Twice),
        ("/api/echo/%EF%BC%8500", Twice),
        ("//api/echo", Form),
        ("api/echo", Form),
        ("http://h/api/echo", Form),
        ("*", Form),
        ("", Form),
        ("/api/echo/x#y", Fragment),
        ("/api/echo?x#y", Fragment),
        ("/api/echo/%c0%ae%c0%ae/secret", Utf8),
        ("/api/echo/%c0%af", Utf8),
        ("/api/echo/%e0%80%af", Utf8),
        ("/api/echo/%ff", Utf8),
    ] {
        assert_eq!(ask("/api/echo", uri), Err(why), "{uri}");
    }
    assert_eq!(check(b"/api/echo/\xff", &[Allowed::new("/api/echo").unwrap()]), Err(Utf8));
    assert_eq!(ask("/", &format!("/{}", "a".repeat(URI_BYTES))), Err(TooLong));
    assert_eq!(ask("/", &format!("/{}", "a".repeat(URI_BYTES - 1))), Ok(()));
    let many: String = (0..400).map(|n| format!("%25{n:02x};\\..//")).collect();
    assert!(ask("/", &format!("/{many}")).is_err());
}

/// What the characters become by compatibility decomposition (Unicode 17, UnicodeData.txt) or in a
/// code page, and their neighbours, which become nothing that matters.
#[test]
fn characters_are_themselves_and_their_compatibility_forms() {
    let forms = [
        ("\u{2024}\u{fe52}\u{ff0e}", "."),
        ("\u{2025}\u{fe30}", ".."),
        ("\u{2026}", "..."),
        ("\u{2044}\u{2215}\u{29f8}\u{ff0f}", "/"),
        ("\u{2216}\u{29f5}\u{29f9}\u{fe68}\u{ff3c}", "\\"),
        ("\u{fe6a}\u{ff05}", "%"),
        ("\u{037e}\u{fe54}\u{ff1b}", ";"),
        ("\u{fe56}\u{ff1f}", "?"),
        ("\u{fe5f}\u{ff03}", "#"),
    ];
    let all: String = forms.iter().map(|(characters, _)| *characters).collect();
    let read = |character: char| readings(format!("/x{character}y").as_bytes()).unwrap();
    for (characters, form) in forms {
        for character in characters.chars() {
            let found = read(character);
            assert!(found.contains(&format!("/x{character}y")), "U+{:04X}", character as u32);
            assert!(found.contains(&format!("/x{form}y")), "U+{:04X}", character as u32);
            for near in [character as u32 - 1, character as u32 + 1] {
                let near = char::from_u32(near).expect("no surrogate is near");
                if !all.contains(near) {
                    assert_eq!(read(near), [format!("/x{near}y")], "U+{:04X}", near as u32);
                }
            }
        }
    }
}

#[test]
fn a_reading_may_lie_under_any_of_the_paths() {
    let paths = [Allowed::new("/a").unwrap(), Allowed::new("/b/").unwrap()];
    for uri in ["/a/x", "/b/", "/b", "/b/x", "/a/../b/", "/a/../b", "/b/..;/../a"] {
        let expected = if uri.contains(';') { Err(Refusal::Leaves) } else { Ok(()) };
        assert_eq!(check(uri.as_bytes(), &paths), expected, "{uri}");
    }
    assert_eq!(check(b"/c", &paths), Err(Refusal::Outside));
    assert_eq!(check(b"/a/../c", &paths), Err(Refusal::Reading));
    assert_eq!(check(b"/a", &[]), Err(Refusal::Outside));
    assert_eq!(ask("/", "/"), Ok(()));
    assert_eq!(ask("/", "/any/thing"), Ok(()));
    assert_eq!(ask("/", "/a/../.."), Err(Refusal::Leaves));
    assert_eq!(ask("/", "/.."), Err(Refusal::Leaves));
    assert_eq!(ask("/\u{3042}", "/%E3%81%82/x"), Ok(()));
    assert_eq!(ask("/\u{3042}", "/%e3%81%82/x"), Ok(()));
    assert_eq!(ask("/\u{3042}", "/\u{3042}"), Ok(()));
}

#[test]
fn a_path_of_the_configuration_is_read_as_the_uris_are() {
    for (path, good, bad) in [
        ("", "/a", "//a"),
        ("api/echo", "/api/echo/x", "/api"),
        ("x/", "/x", "/xy"),
        ("/img/", "/img", "/imgx"),
        ("/a//", "/a/x", "/ab"),
        ("/a b", "/a%20b/x", "/a"),
        ("/a?x=1", "/a%3Fx=1/y", "/a?x=1"),
        ("/a#b", "/a%23b", "/a"),
        ("/a;b", "/a;b/c", "/a/c"),
        ("/a/../b", "/a/../b/c", "/b/c"),
        ("/a\\b", "/a%5Cb/c", "/a/b/c"),
        ("/.well-known", "/.well-known/x", "/well-known"),
        ("/caf%C3%A9", "/caf%C3%A9/x", "/caf%c3%a9"),
        ("/caf%C3%A9", "/caf%C3%A9", "/caf\u{e9}"),
        ("/100%", "/100%25/x", "/100%2525"),
        ("/\u{ff0e}", "/%EF%BC%8E/x", "/x"),
    ] {
        assert_eq!(ask(path, good), Ok(()), "{path} {good}");
        assert!(ask(path, bad).is_err(), "{path} {bad}");
    }
    for text in ["/a\nb", "/a%00", "/a%ff", &"x".repeat(URI_BYTES + 1)] {
        assert!(Allowed::new(text).is_err(), "{text:?}");
    }
    assert_eq!(Allowed::new("x/").unwrap().written(), "/x");
    assert_eq!(Allowed::new("").unwrap().written(), "/");
}

/// What a reader can do to a path; each in some order.
fn all_readings(raw: &str) -> Vec<String> {
    let decode = |text: &str| -> String {
        let bytes = text.as_bytes();
        let (mut out, mut at) = (Vec::new(), 0);
        while at < bytes.len() {
            let hex = bytes.get(at + 1..at + 3).and_then(|h| std::str::from_utf8(h).ok());
            match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
                Some(byte) if bytes[at] == b'%' => {
                    out.push(byte);
                    at += 3;
                }
                _ => {
                    out.push(bytes[at]);
                    at += 1;
                }
            }
        }
        String::from_utf8_lossy(&out).into_owned()
    };
    let merge = |text: &str| -> String {
        let mut out = text.to_owned();
        while out.contains("//") {
            out = out.replace("//", "/");
        }
        out
    };
    let backslash = |text: &str| text.replace('\\', "/");
    let parameters = |text: &str| -> String {
        let cut = |s: &str| s.split(';').next().unwrap_or("").to_owned();
        text.split('/').map(cut).collect::<Vec<_>>().join("/")
    };
    let query = |text: &str| text.split(['?', '#']).next().unwrap_or("").to_owned();
    let resolve = |text: &str| -> String {
        let mut kept: Vec<&str> = Vec::new();
        for segment in text.split('/').skip(1) {
            match segment {
                "." => {}
                ".." => drop(kept.pop()),
                other => kept.push(other),
            }
        }
        format!("/{}", kept.join("/"))
    };
    let steps: [&dyn Fn(&str) -> String; 6] =
        [&decode, &merge, &backslash, &parameters, &query, &resolve];
    let mut found = vec![(query(raw), 0)];
    for _ in 0..5 {
        let next: Vec<(String, u8)> = found
            .iter()
            .flat_map(|(text, decoded)| {
                let steps = &steps;
                let each = (0..steps.len()).filter(move |at| *at > 0 || *decoded < 2);
                each.map(move |at| (steps[at](text), decoded + u8::from(at == 0)))
            })
            .collect();
        found.extend(next);
        found.sort();
        found.dedup();
    }
    found.into_iter().map(|(text, _)| text).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn no_reading_of_an_allowed_uri_leaves_the_path(
        pieces in prop::collection::vec(
            prop::sample::select(vec![
                "/", "..", ".", "%2e", "%2E", "%2f", "%5c", "\\", ";", "%3b", "%25", "%00", "a",
                "api", "echo", "//", "?", "#", "%3f", "secret", "%c0%ae", "%61", " ", "%252f",
            ]),
            0..10,
        ),
    ) {
        let uri = format!("/api/echo{}", pieces.concat());
        if ask("/api/echo", &uri) == Ok(()) {
            for reading in all_readings(&uri) {
                let below = reading.strip_prefix("/api/echo");
                let inside = below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
                prop_assert!(inside, "{uri} can be read as {reading}");
            }
        }
    }

    #[test]
    fn any_bytes_end_well(uri in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = check(&uri, &[Allowed::new("/a").unwrap(), Allowed::new("/b;%41\\..").unwrap()]);
        let _ = readings(&uri);
    }
}
