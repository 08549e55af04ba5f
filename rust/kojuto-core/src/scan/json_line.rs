//! One JSON object on one line, built member by member.

/// A log line under construction.
#[derive(Debug)]
pub struct JsonLine {
    text: Vec<u8>,
}

impl JsonLine {
    /// `{"level":…,"ts":…,"msg":…`; `time_s` is seconds since 1970.
    pub fn log(level: &str, time_s: f64, message: &str) -> JsonLine {
        let mut line = JsonLine { text: Vec::with_capacity(256) };
        line.text.extend_from_slice(b"{\"level\":\"");
        line.text.extend_from_slice(level.as_bytes());
        line.text.extend_from_slice(b"\",\"ts\":");
        push_micros(time_s, &mut line.text);
        line.text.extend_from_slice(b",\"msg\":\"");
        escape(message.as_bytes(), &mut line.text);
        line.text.push(b'"');
        line
    }

    /// `{"KEY":"VALUE"`, an object that is no line of a server's own log.
    pub fn begin(key: &str, value: &str) -> JsonLine {
        let mut line = JsonLine { text: Vec::with_capacity(256) };
        line.text.extend_from_slice(b"{\"");
        line.text.extend_from_slice(key.as_bytes());
        line.text.extend_from_slice(b"\":\"");
        escape(value.as_bytes(), &mut line.text);
        line.text.push(b'"');
        line
    }

    fn key(&mut self, key: &str) {
        self.text.extend_from_slice(b",\"");
        self.text.extend_from_slice(key.as_bytes());
        self.text.extend_from_slice(b"\":");
    }

    /// Adds a text.
    #[must_use]
    pub fn text(self, key: &str, value: &str) -> JsonLine {
        self.bytes(key, value.as_bytes())
    }

    /// Adds bytes as a text; what is not UTF-8 becomes U+FFFD.
    #[must_use]
    pub fn bytes(mut self, key: &str, value: &[u8]) -> JsonLine {
        self.key(key);
        self.text.push(b'"');
        escape(value, &mut self.text);
        self.text.push(b'"');
        self
    }

    /// Adds a whole number.
    #[must_use]
    pub fn number(mut self, key: &str, value: u64) -> JsonLine {
        self.key(key);
        push_number(value, 1, &mut self.text);
        self
    }

    /// Adds seconds with microseconds.
    #[must_use]
    pub fn seconds(mut self, key: &str, value: f64) -> JsonLine {
        self.key(key);
        push_micros(value, &mut self.text);
        self
    }

    /// Ends the object and the line.
    pub fn end(mut self) -> Vec<u8> {
        self.text.extend_from_slice(b"}\n");
        self.text
    }
}

/// Appends a number with at least so many digits.
fn push_number(mut value: u64, least: usize, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    while value > 0 || digits.len() - at < least {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends seconds with six decimals. Each line of a log has its time, and a server may log each of
/// its requests: numbers of a usual size are written without the machinery for all others.
fn push_micros(seconds: f64, out: &mut Vec<u8>) {
    let micros = (seconds * 1e6).round_ties_even();
    if !(0.0..9e15).contains(&micros) || seconds.is_sign_negative() {
        out.extend_from_slice(format!("{seconds:.6}").as_bytes());
        return;
    }
    let micros = micros as u64;
    push_number(micros / 1_000_000, 1, out);
    out.push(b'.');
    push_number(micros % 1_000_000, 6, out);
}

/// Appends `bytes` as the inside of a JSON string (RFC 8259, section 7).
pub fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    let special = |byte: u8| matches!(byte, ..0x20 | b'"' | b'\\' | 0x7f);
    if !bytes.iter().any(|&byte| special(byte) || byte >= 0x80) {
        return out.extend_from_slice(bytes);
    }
    for chunk in bytes.utf8_chunks() {
        let mut rest = chunk.valid().as_bytes();
        while let Some(plain) = rest.iter().position(|&byte| special(byte)) {
            out.extend_from_slice(&rest[..plain]);
            match rest[plain] {
                b'"' => out.extend_from_slice(b"\\\""),
                b'\\' => out.extend_from_slice(b"\\\\"),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                b'\t' => out.extend_from_slice(b"\\t"),
                byte => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            }
            rest = &rest[plain + 1..];
        }
        out.extend_from_slice(rest);
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_is_one_line_of_json_whatever_it_holds() {
        let line = JsonLine::log("info", 1.5, "a\"b")
            .bytes("sql", b"x\ny\0\xff\\")
            .number("read", 7)
            .seconds("duration", 0.25)
            .end();
        let expected = "{\"level\":\"info\",\"ts\":1.500000,\"msg\":\"a\\\"b\",\
            \"sql\":\"x\\ny\\u0000\u{fffd}\\\\\",\"read\":7,\"duration\":0.250000}\n";
        assert_eq!(String::from_utf8(line).unwrap(), expected);
    }

    /// What an escape has to be, a character after the other.
    fn escaped(bytes: &[u8]) -> String {
        let character = |c: char| match c {
            '"' => "\\\"".to_owned(),
            '\\' => "\\\\".to_owned(),
            '\n' => "\\n".to_owned(),
            '\r' => "\\r".to_owned(),
            '\t' => "\\t".to_owned(),
            '\0'..='\x1f' | '\x7f' => format!("\\u{:04x}", c as u32),
            other => other.to_string(),
        };
        String::from_utf8_lossy(bytes).chars().map(character).collect()
    }

    proptest! {
        #[test]
        fn times_and_numbers_are_written_as_the_standard_library_does(
            micros in 0u64..2_000_000_000_000_000, number in any::<u64>(),
            odd in prop_oneof![-1e12..-1e-7, 1e10..1e300, Just(f64::NAN), Just(f64::INFINITY)],
        ) {
            for seconds in [micros as f64 / 1e6, (micros % 1000) as f64 / 1e6, odd, 0.0, -0.0] {
                let mut out = Vec::new();
                push_micros(seconds, &mut out);
                prop_assert_eq!(String::from_utf8(out).unwrap(), format!("{seconds:.6}"));
            }
            let mut out = Vec::new();
            push_number(number, 1, &mut out);
            prop_assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }

        #[test]
        fn an_escaped_text_is_the_text_whatever_its_bytes(
            bytes in prop::collection::vec(
                prop_oneof![any::<u8>(), 0x20u8..0x7f, Just(b'"'), Just(b'\\'), Just(0xe3u8)], 0..40,
            ),
            text in ".{0,20}",
        ) {
            for bytes in [&bytes[..], text.as_bytes()] {
                let mut out = Vec::new();
                escape(bytes, &mut out);
                prop_assert_eq!(String::from_utf8(out).unwrap(), escaped(bytes));
            }
        }
    }
}
