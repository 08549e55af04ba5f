//! The form of a token: three parts, and what its header asks for.

use super::{Object, Value, Verdict};

/// The longest token that is looked at; the same as of the verifier in Python.
pub const MAX_TOKEN_CHARS: usize = 16_384;

/// Members of a header that bring a key along; they are never followed.
const OWN_KEYS: [&str; 4] = ["jwk", "jku", "x5c", "x5u"];
/// Members of a header that ask for more than is done.
const UNSUPPORTED: [(&str, &str); 4] = [
    ("crit", "an extension that is not supported"),
    ("zip", "compression"),
    ("b64", "a payload that is not encoded"),
    ("enc", "encryption"),
];

/// A token in compact form (RFC 7515, 7.1), taken apart.
#[derive(Debug, Clone)]
pub struct Parts<'a> {
    /// What is signed.
    pub signed: &'a [u8],
    /// The signature.
    pub signature: Vec<u8>,
    /// The claims.
    pub claims: Vec<u8>,
    /// `alg` of the header.
    pub algorithm: String,
    /// `kid` of the header.
    pub kid: Option<String>,
    kind: Option<Value>,
    brings_key: bool,
}

impl Parts<'_> {
    /// Takes a token apart; what is asked of its header by its service is left to
    /// [`Parts::check_kind`].
    ///
    /// # Errors
    /// Its form is wrong.
    pub fn read(token: &[u8]) -> Result<Parts<'_>, Verdict> {
        if token.len() > MAX_TOKEN_CHARS {
            let length = token.len();
            let why = format!("{length} characters are over the limit of {MAX_TOKEN_CHARS}");
            return Err(Verdict::Refused(why));
        }
        let mut dots =
            token.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(at, _)| at);
        let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else {
            return Verdict::refused("not three segments");
        };
        let header = decode(&token[..first])?;
        let claims = decode(&token[first + 1..second])?;
        let signature = decode(&token[second + 1..])?;
        if signature.is_empty() {
            return Verdict::refused("no signature");
        }
        let header = Object::read(&header, "header")?;
        for (member, what) in UNSUPPORTED {
            if header.get(member).is_some() {
                let why = format!("the header asks for {what} ({member})");
                return Err(Verdict::Refused(why));
            }
        }
        let Some(Value::Text(algorithm)) = header.get("alg") else {
            return Verdict::refused("the header has no alg");
        };
        let kid = match header.get("kid") {
            None => None,
            Some(Value::Text(kid)) if kid.chars().count() <= 256 => Some(kid.clone()),
            Some(_) => return Verdict::refused("the header's kid is not a short string"),
        };
        Ok(Parts {
            signed: &token[..second],
            signature,
            claims,
            algorithm: algorithm.clone(),
            kid,
            kind: header.get("typ").cloned(),
            brings_key: OWN_KEYS.iter().any(|member| header.get(member).is_some()),
        })
    }

    /// Whether the header brings no key along, and its `typ`, where there is one, is JWT.
    pub fn is_plain(&self) -> bool {
        let jwt = ["jwt".to_owned()];
        !self.brings_key && self.kind != Some(Value::Null) && self.check_kind(&jwt).is_ok()
    }

    /// Whether the header's `typ` is one of these (in lower case, without `application/`); a
    /// header without one is fine.
    ///
    /// # Errors
    /// It is another one.
    pub fn check_kind(&self, kinds: &[String]) -> Result<(), Verdict> {
        let kind = match &self.kind {
            None | Some(Value::Null) => return Ok(()),
            Some(Value::Text(kind)) => kind.to_lowercase(),
            Some(_) => return Verdict::refused("the header's typ is not one that is taken"),
        };
        let kind = kind.strip_prefix("application/").unwrap_or(&kind);
        if kinds.iter().any(|known| known == kind) {
            Ok(())
        } else {
            Verdict::refused("the header's typ is not one that is taken")
        }
    }
}

/// The bytes of base64url without padding, in the one right spelling (RFC 4648, 3.5).
fn decode(segment: &[u8]) -> Result<Vec<u8>, Verdict> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    };
    if segment.len() % 4 == 1 || segment.iter().any(|&byte| value(byte).is_none()) {
        return Verdict::refused("a segment is not base64url");
    }
    let mut found = Vec::with_capacity(segment.len() / 4 * 3 + 2);
    let mut stray = 0;
    for group in segment.chunks(4) {
        let bits =
            group.iter().fold(0u32, |all, &byte| all << 6 | u32::from(value(byte).unwrap_or(0)));
        let bits = bits << (6 * (4 - group.len()));
        let bytes = bits.to_be_bytes();
        found.extend_from_slice(&bytes[1..group.len()]);
        stray = if group.len() < 4 { bits << (8 * group.len()) } else { 0 };
    }
    if stray != 0 {
        return Verdict::refused("the last character of a segment has stray bits");
    }
    Ok(found)
}

/// Whether a text is short and printable as Python has it; `None` where that depends on its
/// version.
pub fn is_name(text: &str) -> Option<bool> {
    if text.is_empty() || text.chars().count() > 1024 {
        return Some(false);
    }
    let mut sure = true;
    for c in text.chars() {
        match c {
            ' '..='~' | '\u{a1}'..='\u{ac}' | '\u{ae}'..='\u{24f}' | '\u{400}'..='\u{481}' => {}
            '\u{3041}'..='\u{3096}' | '\u{30a1}'..='\u{30fc}' | '\u{4e00}'..='\u{9fa5}' => {}
            '\u{ac00}'..='\u{d7a3}' => {}
            '\0'..='\u{a0}' | '\u{ad}' => return Some(false),
            _ => sure = false,
        }
    }
    sure.then_some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_has_one_right_spelling() {
        let text = |segment: &str| decode(segment.as_bytes()).ok();
        assert_eq!(text(""), Some(vec![]));
        assert_eq!(text("AA"), Some(vec![0]));
        assert_eq!(text("AAA"), Some(vec![0, 0]));
        assert_eq!(text("_-__"), Some(vec![0xff, 0xef, 0xff]));
        assert_eq!(text("Zm9vYg"), Some(b"foob".to_vec()));
        for wrong in ["A", "AAAAA", "AB", "AAB", "AA==", "A A", "A+/A", "\u{e9}AA"] {
            assert_eq!(text(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_python_prints_is_a_name() {
        let long = "x".repeat(1024);
        for (text, name) in [
            ("ci", Some(true)),
            ("a b@c", Some(true)),
            ("\u{e9}\u{30b5}\u{4e2d}", Some(true)),
            (long.as_str(), Some(true)),
            ("", Some(false)),
            ("a\n", Some(false)),
            ("\u{7f}", Some(false)),
            ("\u{a0}", Some(false)),
            ("\u{ad}", Some(false)),
            ("\u{200b}", None),
        ] {
            assert_eq!(is_name(text), name, "{text:?}");
        }
        assert_eq!(is_name(&"x".repeat(1025)), Some(false));
    }
}
