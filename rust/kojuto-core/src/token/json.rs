//! Strict JSON (RFC 8259), for what others sign: no member twice, no number that is not finite.
//!
//! It refuses what `json` of Python refuses as the verifier there calls it, in the same order, and
//! is unsure where that depends on the build of Python.

use super::Verdict;

/// Nesting that is followed.
const DEPTH: usize = 100;
/// Digits of a number that are read.
const DIGITS: usize = 1000;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number; one that is too large is infinite.
    Number(f64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Value>),
    /// An object.
    Object(Object),
}

/// The members of an object.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Object(Vec<(String, Value)>);

impl Object {
    /// Reads an object; `what` is what the messages call it.
    ///
    /// # Errors
    /// It is none, or another reader has to say.
    pub fn read(data: &[u8], what: &str) -> Result<Object, Verdict> {
        let invalid = || Verdict::Refused(format!("the {what} is not valid JSON"));
        let Ok(text) = std::str::from_utf8(data) else { return Err(invalid()) };
        let mut reader = Reader { text, at: 0 };
        let value = match reader.whole() {
            Ok(value) => value,
            Err(Fault::Invalid) => return Err(invalid()),
            Err(Fault::Twice) => {
                return Err(Verdict::Refused(format!("the {what} has a member twice")));
            }
            Err(Fault::NotFinite) => {
                let why = format!("the {what} has a number that is not finite");
                return Err(Verdict::Refused(why));
            }
            Err(Fault::Unsure) => return Err(Verdict::Unsure),
        };
        let Value::Object(object) = value else {
            return Err(Verdict::Refused(format!("the {what} is not a JSON object")));
        };
        Ok(object)
    }

    /// The value of a member.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

enum Fault {
    Invalid,
    Twice,
    NotFinite,
    Unsure,
}

type Read<T> = Result<T, Fault>;

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &[u8] {
        &self.text.as_bytes()[self.at..]
    }

    fn whole(&mut self) -> Read<Value> {
        self.blanks();
        let value = self.value(0)?;
        self.blanks();
        if self.rest().is_empty() { Ok(value) } else { Err(Fault::Invalid) }
    }

    fn blanks(&mut self) {
        while matches!(self.rest().first(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn takes(&mut self, word: &str) -> bool {
        let there = self.rest().starts_with(word.as_bytes());
        self.at += if there { word.len() } else { 0 };
        there
    }

    fn value(&mut self, depth: usize) -> Read<Value> {
        if depth > DEPTH {
            return Err(Fault::Unsure);
        }
        match self.rest().first().copied() {
            Some(b'"') => Ok(Value::Text(self.string()?)),
            Some(b'{') => Ok(Value::Object(self.object(depth)?)),
            Some(b'[') => Ok(Value::List(self.list(depth)?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ if self.takes("null") => Ok(Value::Null),
            _ if self.takes("true") => Ok(Value::Bool(true)),
            _ if self.takes("false") => Ok(Value::Bool(false)),
            _ if self.takes("NaN") || self.takes("Infinity") => Err(Fault::NotFinite),
            _ => Err(Fault::Invalid),
        }
    }

    fn object(&mut self, depth: usize) -> Read<Object> {
        let mut found = Object::default();
        self.at += 1;
        self.blanks();
        if self.takes("}") {
            return Ok(found);
        }
        loop {
            if self.rest().first() != Some(&b'"') {
                return Err(Fault::Invalid);
            }
            let name = self.string()?;
            self.blanks();
            if !self.takes(":") {
                return Err(Fault::Invalid);
            }
            self.blanks();
            let value = self.value(depth + 1)?;
            found.0.push((name, value));
            self.blanks();
            if self.takes("}") {
                break;
            }
            if !self.takes(",") {
                return Err(Fault::Invalid);
            }
            self.blanks();
        }
        let mut names: Vec<&String> = found.0.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) { Err(Fault::Twice) } else { Ok(found) }
    }

    fn list(&mut self, depth: usize) -> Read<Vec<Value>> {
        let mut found = Vec::new();
        self.at += 1;
        self.blanks();
        if self.takes("]") {
            return Ok(found);
        }
        loop {
            found.push(self.value(depth + 1)?);
            self.blanks();
            if self.takes("]") {
                return Ok(found);
            }
            if !self.takes(",") {
                return Err(Fault::Invalid);
            }
            self.blanks();
        }
    }

    fn digits(&mut self) -> usize {
        let count = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        count
    }

    fn number(&mut self) -> Read<Value> {
        let begin = self.at;
        let minus = self.takes("-");
        if minus && self.takes("Infinity") {
            return Err(Fault::NotFinite);
        }
        if !self.takes("0") && self.digits() == 0 {
            return Err(Fault::Invalid);
        }
        // What follows and is no part of a number is left, as a mistake for who reads on.
        let whole = self.at;
        if self.takes(".") && self.digits() == 0 {
            self.at = whole;
        }
        let mantissa = self.at;
        if self.takes("e") || self.takes("E") {
            let _ = self.takes("+") || self.takes("-");
            if self.digits() == 0 {
                self.at = mantissa;
            }
        }
        let text = &self.text[begin..self.at];
        if text.len() > DIGITS {
            return Err(Fault::Unsure);
        }
        text.parse().map(Value::Number).map_err(|_| Fault::Invalid)
    }

    fn string(&mut self) -> Read<String> {
        self.at += 1;
        let mut found = String::new();
        loop {
            let rest = &self.text[self.at..];
            let plain = rest.bytes().position(|b| b == b'"' || b == b'\\' || b < 0x20);
            let plain = plain.ok_or(Fault::Invalid)?;
            found.push_str(&rest[..plain]);
            self.at += plain + 1;
            match rest.as_bytes()[plain] {
                b'"' => return Ok(found),
                b'\\' => found.push(self.escape()?),
                _ => return Err(Fault::Invalid),
            }
        }
    }

    fn escape(&mut self) -> Read<char> {
        let kind = *self.rest().first().ok_or(Fault::Invalid)?;
        self.at += 1;
        Ok(match kind {
            b'"' | b'\\' | b'/' => char::from(kind),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = self.unit()?;
                if (0xd800..0xdc00).contains(&unit) && self.takes("\\u") {
                    let low = self.unit()?;
                    let pair = char::decode_utf16([unit, low]).next();
                    // Half a pair: how it is refused is the other reader's matter.
                    return pair.and_then(Result::ok).ok_or(Fault::Unsure);
                }
                char::from_u32(u32::from(unit)).ok_or(Fault::Unsure)?
            }
            _ => return Err(Fault::Invalid),
        })
    }

    fn unit(&mut self) -> Read<u16> {
        let digits = self.rest().get(..4).ok_or(Fault::Invalid)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(Fault::Invalid);
        }
        let text = std::str::from_utf8(digits).map_err(|_| Fault::Invalid)?;
        let unit = u16::from_str_radix(text, 16).map_err(|_| Fault::Invalid)?;
        self.at += 4;
        Ok(unit)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn why(text: &str) -> String {
        match Object::read(text.as_bytes(), "x") {
            Ok(_) => "good".to_owned(),
            Err(Verdict::Refused(why)) => why,
            Err(Verdict::Unsure) => "unsure".to_owned(),
        }
    }

    #[test]
    fn what_is_no_plain_object_is_refused_with_its_reason() {
        for text in ["{}", " {\n} ", r#"{"a":[1,-0.5e+3,{}],"b":"\u00e9\ud83d\ude00\/","c":null}"#]
        {
            assert_eq!(why(text), "good", "{text}");
        }
        for text in [
            "",
            "{",
            "{}x",
            "{,}",
            "{\"a\":1,}",
            "{'a':1}",
            "{a:1}",
            "{\"a\":01}",
            "{\"a\":1.}",
            "{\"a\":.5}",
            "{\"a\":+1}",
            "{\"a\":-}",
            "{\"a\":1e}",
            "{\"a\":tru}",
            "{\"a\":\"\n\"}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\\u12g4\"}",
            "\u{feff}{}",
            "{\"a\":[1,]}",
            "{\"a\" 1}",
        ] {
            assert_eq!(why(text), "the x is not valid JSON", "{text}");
        }
        for text in ["[]", "\"x\"", "null", "1", "true"] {
            assert_eq!(why(text), "the x is not a JSON object", "{text}");
        }
        for text in [r#"{"a":1,"a":1}"#, r#"{"b":{"a":1,"\u0061":2}}"#, r#"{"a":1,"b":2,"a":3}"#] {
            assert_eq!(why(text), "the x has a member twice", "{text}");
        }
        for text in ["{\"a\":NaN}", "{\"a\":-Infinity}", "{\"a\":[Infinity"] {
            assert_eq!(why(text), "the x has a number that is not finite", "{text}");
        }
        let deep = format!("{{\"a\":{}", "[".repeat(200));
        let long = format!("{{\"a\":{}}}", "1".repeat(2000));
        for text in
            [&deep, &long, r#"{"a":"\ud800"}"#, r#"{"a":"\ud800\ud800"}"#, r#"{"a":"\udc00"}"#]
        {
            assert_eq!(why(text), "unsure", "{text}");
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_another_reader(text in r#"\{"a":[0-9eE+.\-"\\u\[\],: tnfalse]{0,12}\}"#) {
            let ours = why(&text);
            if ours != "unsure" && ours != "the x has a number that is not finite" {
                let theirs: Result<serde_json::Value, _> = serde_json::from_str(&text);
                let infinite = theirs.as_ref().is_err_and(|e| e.to_string().contains("out of range"));
                prop_assert!((ours == "good") == theirs.is_ok() || infinite, "{text}: {ours}");
            }
        }

        #[test]
        fn any_bytes_end_well(data in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Object::read(&data, "x");
        }
    }
}
