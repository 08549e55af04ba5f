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
        line.text.extend_from_slice(format!("\",\"ts\":{time_s:.6},\"msg\":\"").as_bytes());
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
        self.text.extend_from_slice(value.to_string().as_bytes());
        self
    }

    /// Adds seconds with microseconds.
    #[must_use]
    pub fn seconds(mut self, key: &str, value: f64) -> JsonLine {
        self.key(key);
        self.text.extend_from_slice(format!("{value:.6}").as_bytes());
        self
    }

    /// Ends the object and the line.
    pub fn end(mut self) -> Vec<u8> {
        self.text.extend_from_slice(b"}\n");
        self.text
    }
}

/// Appends `bytes` as the inside of a JSON string (RFC 8259, section 7).
pub fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                '\0'..='\x1f' | '\x7f' => {
                    out.extend_from_slice(format!("\\u{:04x}", character as u32).as_bytes());
                }
                _ => {
                    let mut utf8 = [0; 4];
                    out.extend_from_slice(character.encode_utf8(&mut utf8).as_bytes());
                }
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
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
}
