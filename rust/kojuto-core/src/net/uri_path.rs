//! Whether a request's URI lies under a path in every way that somebody could read it.
//!
//! nginx, a proxy in between and the backend each decode, merge slashes and resolve dots in their
//! own way. A path is allowed only when all of these readings stay below it; what is read in two
//! ways at all is refused. Decoding is done once (RFC 3986, 2.4); what would change in a second
//! decoding is refused too.

use std::borrow::Cow;
use std::fmt;

use crate::error::{Argument, Error, PathFault};

/// The longest URI that is looked at.
pub const URI_BYTES: usize = 8192;

/// Why a URI is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Longer than [`URI_BYTES`].
    TooLong,
    /// It does not begin with exactly one slash.
    Form,
    /// A control character, a blank or a byte beyond ASCII, as it is or encoded.
    Character,
    /// A `#`, which no client sends.
    Fragment,
    /// `%` without two hexadecimal digits.
    Escape,
    /// A slash or backslash that is encoded, or a plain backslash.
    Slash,
    /// An encoded `%`, `?` or `#`, which means something else once it is decoded again.
    Twice,
    /// A `;`, behind which some servers see parameters.
    Parameter,
    /// The decoded bytes are no UTF-8 (overlong forms are none).
    Utf8,
    /// A character that some systems turn into a dot, slash, backslash, percent sign or semicolon.
    Lookalike,
    /// A segment of dots or of dots and blanks, other than `.` and `..`.
    Dots,
    /// It leaves the path by `..`.
    Leaves,
    /// It lies under none of the paths.
    Outside,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::TooLong => "the URI is over 8192 bytes",
            Refusal::Form => "the URI does not begin with one slash",
            Refusal::Character => "a control character, blank or byte beyond ASCII in the URI",
            Refusal::Fragment => "a # in the URI",
            Refusal::Escape => "a % without two hexadecimal digits in the path",
            Refusal::Slash => "an encoded slash or a backslash in the path",
            Refusal::Twice => "an encoded %, ? or # in the path",
            Refusal::Parameter => "a ; in the path",
            Refusal::Utf8 => "the decoded path is not UTF-8",
            Refusal::Lookalike => "a character in the path that some read as a dot or slash",
            Refusal::Dots => "a segment of dots in the path",
            Refusal::Leaves => "the path leaves what is allowed by ..",
            Refusal::Outside => "the path lies under none that is allowed",
        })
    }
}

/// A path that may be reached, with all below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// Without a slash at its end; empty for everything.
    path: String,
    /// Was written with a slash at its end: what is allowed is below it.
    below: bool,
}

impl Allowed {
    /// Reads `/api/echo`, or `/api/echo/` for only what is below. It is taken as decoded text.
    ///
    /// # Errors
    /// [`Error::Argument`]: it is no path that every reader takes for the same.
    pub fn new(text: &str) -> Result<Allowed, Error> {
        let path = || text.to_owned();
        let refuse = |fault| Err(Error::Argument(Argument::Path { path: path(), fault }));
        if !text.starts_with('/') {
            return refuse(PathFault::Relative);
        }
        if text.len() > URI_BYTES {
            return refuse(PathFault::TooLong(URI_BYTES));
        }
        if let Some(odd) = text.chars().find(|&c| c.is_control() || "%?#;\\".contains(c)) {
            return refuse(PathFault::Character(odd));
        }
        if text.chars().any(is_lookalike) {
            return refuse(PathFault::Lookalike);
        }
        let path = text.strip_suffix('/').unwrap_or(text);
        if path.split('/').skip(1).any(|segment| segment.is_empty() || is_dots(segment)) {
            return refuse(PathFault::Segment);
        }
        Ok(Allowed { path: path.to_owned(), below: path.len() < text.len() && !path.is_empty() })
    }

    /// Whether the decoded `path` lies under this one, and stays there.
    fn holds(&self, path: &str) -> Result<(), Refusal> {
        let Some(rest) = path.strip_prefix(&self.path) else { return Err(Refusal::Outside) };
        if !(rest.starts_with('/') || rest.is_empty() && !self.below) {
            return Err(Refusal::Outside);
        }
        // Merged slashes are the strictest reading: an empty segment that `..` could take back
        // instead of a real one is not counted.
        let mut depth = 0usize;
        for segment in rest.split('/') {
            match segment {
                "" | "." => {}
                ".." => depth = depth.checked_sub(1).ok_or(Refusal::Leaves)?,
                _ => depth += 1,
            }
        }
        Ok(())
    }
}

/// Whether each reading of a raw request URI lies under one of the paths.
///
/// # Errors
/// Why not.
pub fn check<'a>(uri: &[u8], paths: impl IntoIterator<Item = &'a Allowed>) -> Result<(), Refusal> {
    let path = decode(uri)?;
    let mut answer = Err(Refusal::Outside);
    for allowed in paths {
        match allowed.holds(&path) {
            Err(Refusal::Outside) => {}
            Ok(()) => return Ok(()),
            left => answer = left,
        }
    }
    answer
}

/// The path of a raw request URI, decoded, when nobody could take it for another.
fn decode(uri: &[u8]) -> Result<Cow<'_, str>, Refusal> {
    if uri.len() > URI_BYTES {
        return Err(Refusal::TooLong);
    }
    if uri.first() != Some(&b'/') || uri.get(1) == Some(&b'/') {
        return Err(Refusal::Form);
    }
    let end = uri.iter().position(|&byte| byte == b'?').unwrap_or(uri.len());
    let (raw, query) = uri.split_at(end);
    if let Some(odd) = query.iter().find(|&&byte| byte <= b' ' || byte == 0x7f || byte == b'#') {
        return Err(if *odd == b'#' { Refusal::Fragment } else { Refusal::Character });
    }
    let mut encoded = false;
    for &byte in raw {
        match byte {
            b'#' => return Err(Refusal::Fragment),
            b'\\' => return Err(Refusal::Slash),
            b';' => return Err(Refusal::Parameter),
            b'%' => encoded = true,
            b'!'..=b'~' => {}
            _ => return Err(Refusal::Character),
        }
    }
    let path: Cow<'_, str> = if encoded {
        let text = String::from_utf8(unescape(raw)?).map_err(|_| Refusal::Utf8)?;
        if text.chars().any(|c| c.is_control()) {
            return Err(Refusal::Character); // U+0080 to U+009F
        }
        if text.chars().any(is_lookalike) {
            return Err(Refusal::Lookalike);
        }
        text.into()
    } else {
        std::str::from_utf8(raw).map_err(|_| Refusal::Utf8)?.into()
    };
    if path.split('/').any(|segment| is_dots(segment) && segment != "." && segment != "..") {
        return Err(Refusal::Dots);
    }
    Ok(path)
}

fn unescape(raw: &[u8]) -> Result<Vec<u8>, Refusal> {
    let digit = |at: usize| raw.get(at).and_then(|&byte| char::from(byte).to_digit(16));
    let mut bytes = Vec::with_capacity(raw.len());
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        if byte != b'%' {
            bytes.push(byte);
            at += 1;
            continue;
        }
        let (Some(high), Some(low)) = (digit(at + 1), digit(at + 2)) else {
            return Err(Refusal::Escape);
        };
        match (high * 16 + low) as u8 {
            b'/' | b'\\' => return Err(Refusal::Slash),
            b'%' | b'?' | b'#' => return Err(Refusal::Twice),
            b';' => return Err(Refusal::Parameter),
            0..0x20 | 0x7f => return Err(Refusal::Character),
            decoded => bytes.push(decoded),
        }
        at += 3;
    }
    Ok(bytes)
}

/// Dots, or dots and blanks: some systems strip blanks and dots at the end of a name.
fn is_dots(segment: &str) -> bool {
    segment.starts_with(['.', ' ']) && segment.chars().all(|c| c == '.' || c.is_whitespace())
}

/// Characters that compatibility decomposition (Unicode, NFKC) or a code page's "best fit" turns
/// into one that matters here.
fn is_lookalike(c: char) -> bool {
    matches!(
        c,
        '\u{2024}'
            ..='\u{2026}' | '\u{fe52}' | '\u{ff0e}' | '\u{fe30}' // . .. ...
            | '\u{2044}' | '\u{2215}' | '\u{29f8}' | '\u{ff0f}' // /
            | '\u{2216}' | '\u{29f5}' | '\u{29f9}' | '\u{fe68}' | '\u{ff3c}' // \
            | '\u{fe6a}' | '\u{ff05}' // %
            | '\u{037e}' | '\u{fe54}' | '\u{ff1b}' // ;
            | '\u{ff1f}' | '\u{fe56}' | '\u{ff03}' | '\u{fe5f}' // ? #
    )
}

#[cfg(test)]
mod tests {
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
            "/api/echo/a+b",
            "/api/echo/a/./b",
            "/api/echo/a/../b",
            "/api/echo//x",
            "/api/echo/a/%2e%2e/b",
            "/api/echo/a/..",
            "/api/echo/.",
            "/api/echo/.a",
            "/api/echo/..a",
            "/api/echo/a%20b",
            "/api/echo/a:b@c",
            "/%61pi/ech%6F/x",
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
            ("/api/echo/../secret", Leaves),
            ("/api/echo/a/../../secret", Leaves),
            ("/api/echo/..", Leaves),
            ("/api/echo/%2e%2e/secret", Leaves),
            ("/api/echo/.%2E/secret", Leaves),
            ("/api/echo//../secret", Leaves),
            ("/api/echo/./../secret", Leaves),
            ("/api/echo/..%2fsecret", Slash),
            ("/api/echo%2fx", Slash),
            ("/api%2Fecho/x", Slash),
            ("/api/echo/%252e%252e/secret", Twice),
            ("/api/echo/%252f..", Twice),
            ("/api/echo/..;/secret", Parameter),
            ("/api/echo;v=1/../secret", Parameter),
            ("/api/echo/..%3b/secret", Parameter),
            ("/api/echo/..\\secret", Slash),
            ("/api/echo/%5c..%5csecret", Slash),
            ("/api/echo/%00", Character),
            ("/api/echo/%0d%0ax", Character),
            ("/api/echo/%zz", Escape),
            ("/api/echo/%", Escape),
            ("/api/echo/%4", Escape),
            ("//api/echo", Form),
            ("api/echo", Form),
            ("http://h/api/echo", Form),
            ("*", Form),
            ("", Form),
            ("/api/echo/x#y", Fragment),
            ("/api/echo?x#y", Fragment),
            ("/api/echo/%23", Twice),
            ("/api/echo/%3f/..", Twice),
            ("/api/echo/%c0%ae%c0%ae/secret", Utf8),
            ("/api/echo/%c0%af", Utf8),
            ("/api/echo/%e0%80%af", Utf8),
            ("/api/echo/%ff", Utf8),
            ("/api/echo/a b", Character),
            ("/api/echo/\u{3042}", Character),
            ("/api/echo?a b", Character),
            ("/api/echo/%EF%BC%8E%EF%BC%8E/secret", Lookalike),
            ("/api/echo/%E2%80%A5/x", Lookalike),
            ("/api/echo/%C2%85", Character),
            ("/api/echo/...", Dots),
            ("/api/echo/..%20/secret", Dots),
            ("/api/echo/%20../x", Dots),
            ("/api/echo/.%20", Dots),
            ("/api/echo/%u002e", Escape),
        ] {
            assert_eq!(ask("/api/echo", uri), Err(why), "{uri}");
        }
        assert_eq!(ask("/", &format!("/{}", "a".repeat(URI_BYTES))), Err(TooLong));
        assert_eq!(ask("/", &format!("/{}", "a".repeat(URI_BYTES - 1))), Ok(()));
    }

    /// What the characters become by compatibility decomposition (Unicode 17, UnicodeData.txt) or
    /// in a code page, and their neighbours, which become nothing that matters.
    #[test]
    fn every_character_that_may_become_one_that_matters_is_refused() {
        let lookalikes = [
            "\u{2024}\u{2025}\u{2026}\u{fe30}\u{fe52}\u{ff0e}", // .
            "\u{2044}\u{2215}\u{29f8}\u{ff0f}",                 // /
            "\u{2216}\u{29f5}\u{29f9}\u{fe68}\u{ff3c}",         // the backslash
            "\u{fe6a}\u{ff05}",                                 // %
            "\u{037e}\u{fe54}\u{ff1b}",                         // ;
            "\u{fe56}\u{ff1f}\u{fe5f}\u{ff03}",                 // ? #
        ]
        .concat();
        let ask_for = |character: char| {
            let mut utf8 = [0; 4];
            let bytes = character.encode_utf8(&mut utf8).bytes();
            let escaped: String = bytes.map(|byte| format!("%{byte:02X}")).collect();
            ask("/api/echo", &format!("/api/echo/x{escaped}y"))
        };
        for character in lookalikes.chars() {
            assert_eq!(ask_for(character), Err(Refusal::Lookalike), "U+{:04X}", character as u32);
        }
        for character in lookalikes.chars() {
            for near in [character as u32 - 1, character as u32 + 1] {
                let near = char::from_u32(near).expect("no surrogate is near");
                if !lookalikes.contains(near) {
                    assert_eq!(ask_for(near), Ok(()), "U+{:04X}", near as u32);
                }
            }
        }
    }

    #[test]
    fn several_paths_a_root_and_a_slash_at_the_end() {
        let paths = [Allowed::new("/a").unwrap(), Allowed::new("/b/").unwrap()];
        assert_eq!(check(b"/a/x", &paths), Ok(()));
        assert_eq!(check(b"/b/", &paths), Ok(()));
        assert_eq!(check(b"/b", &paths), Err(Refusal::Outside));
        assert_eq!(check(b"/c", &paths), Err(Refusal::Outside));
        assert_eq!(check(b"/a/../b/", &paths), Err(Refusal::Leaves));
        assert_eq!(check(b"/a", &[]), Err(Refusal::Outside));
        assert_eq!(ask("/", "/"), Ok(()));
        assert_eq!(ask("/", "/any/thing"), Ok(()));
        assert_eq!(ask("/", "/a/../.."), Err(Refusal::Leaves));
        assert_eq!(ask("/\u{3042}", "/%E3%81%82/x"), Ok(()));
    }

    #[test]
    fn a_path_of_the_configuration_must_be_plain() {
        for text in [
            "",
            "a",
            "//",
            "/a//b",
            "/a//",
            "/./a",
            "/a/..",
            "/a%20",
            "/a?b",
            "/a#b",
            "/a;b",
            "/a\\b",
            "/a\nb",
            "/...",
            "/\u{ff0e}",
        ] {
            assert!(Allowed::new(text).is_err(), "{text:?}");
        }
    }

    /// What a reader can do to a path; each in some order.
    fn readings(raw: &str) -> Vec<String> {
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
        let mut found = vec![query(raw)];
        for _ in 0..4 {
            let next: Vec<String> =
                found.iter().flat_map(|text| steps.iter().map(move |step| step(text))).collect();
            found.extend(next);
            found.sort();
            found.dedup();
        }
        found
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn no_reading_of_an_allowed_uri_leaves_the_path(
            pieces in prop::collection::vec(
                prop::sample::select(vec![
                    "/", "..", ".", "%2e", "%2E", "%2f", "%5c", "\\", ";", "%3b", "%25", "%00", "a",
                    "api", "echo", "//", "?", "#", "%3f", "secret", "%c0%ae", "%61", " ",
                ]),
                0..10,
            ),
        ) {
            let uri = format!("/api/echo{}", pieces.concat());
            if ask("/api/echo", &uri) == Ok(()) {
                for reading in readings(&uri) {
                    let below = reading.strip_prefix("/api/echo");
                    let inside = below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
                    prop_assert!(inside, "{uri} can be read as {reading}");
                }
            }
        }

        #[test]
        fn any_bytes_end_well(uri in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = check(&uri, &[Allowed::new("/a").unwrap()]);
        }
    }
}
