//! A reader of just enough JSON: what it does not know it checks and passes over.

use crate::error::{Error, Malformed};
use crate::scan::number::parse_f64;

pub(super) const MAX_DEPTH: usize = 8;

/// The bytes, and how far they were read.
pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn wrong(&self, expected: &'static str) -> Error {
        Error::Malformed(Malformed::Json { expected, at: self.at })
    }

    pub(super) fn blanks(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    pub(super) fn peek(&mut self) -> Option<u8> {
        self.blanks();
        self.bytes.get(self.at).copied()
    }

    pub(super) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    pub(super) fn want(&mut self, byte: u8) -> Result<(), Error> {
        match self.take(byte) {
            true => Ok(()),
            false => Err(Error::Malformed(Malformed::JsonByte { expected: byte, at: self.at })),
        }
    }

    /// The text of a string without its quotes, escapes left as they are.
    pub(super) fn string(&mut self) -> Result<&'a [u8], Error> {
        self.want(b'"')?;
        let start = self.at;
        loop {
            match self.bytes.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => self.at += 2,
                Some(0..0x20) | None => return Err(self.wrong("the end of a string")),
                Some(_) => self.at += 1,
            }
        }
        self.at += 1;
        Ok(&self.bytes[start..self.at - 1])
    }

    /// A number, `true`, `false` or `null`, as text.
    pub(super) fn word(&mut self) -> Result<&'a [u8], Error> {
        self.blanks();
        let start = self.at;
        while self
            .bytes
            .get(self.at)
            .is_some_and(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b))
        {
            self.at += 1;
        }
        match start == self.at {
            true => Err(self.wrong("a value")),
            false => Ok(&self.bytes[start..self.at]),
        }
    }

    pub(super) fn integer(&mut self) -> Result<u64, Error> {
        let start = self.at;
        let word = self.word()?;
        let exact = std::str::from_utf8(word).ok().and_then(|text| text.parse::<u64>().ok());
        // Other programs may have written a whole number as a float.
        let value = exact.or_else(|| {
            let value = parse_f64(word)?;
            ((0.0..9e15).contains(&value) && value.fract() == 0.0).then_some(value as u64)
        });
        value.ok_or_else(|| {
            self.at = start;
            self.wrong("a whole number that is not negative")
        })
    }

    pub(super) fn float(&mut self) -> Result<f64, Error> {
        let start = self.at;
        let value = parse_f64(self.word()?);
        value.ok_or_else(|| {
            self.at = start;
            self.wrong("a number")
        })
    }

    pub(super) fn truth(&mut self) -> Result<bool, Error> {
        match self.word()? {
            b"true" => Ok(true),
            b"false" | b"null" => Ok(false),
            _ => Err(self.wrong("true or false before")),
        }
    }

    /// Calls `member` with each key of an object; it answers whether it has read the value.
    pub(super) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, &[u8]) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        self.want(b'{')?;
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            let key = self.string()?;
            self.want(b':')?;
            if !member(self, key)? {
                self.pass_over(0)?;
            }
            if !self.take(b',') {
                return self.want(b'}');
            }
        }
    }

    pub(super) fn pass_over(&mut self, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(self.wrong("less nesting"));
        }
        let (open, close) = match self.peek() {
            Some(b'"') => return self.string().map(|_| ()),
            Some(b'{') => (b'{', b'}'),
            Some(b'[') => (b'[', b']'),
            _ => return self.word().map(|_| ()),
        };
        self.want(open)?;
        if self.take(close) {
            return Ok(());
        }
        loop {
            if open == b'{' {
                self.string()?;
                self.want(b':')?;
            }
            self.pass_over(depth + 1)?;
            if !self.take(b',') {
                return self.want(close);
            }
        }
    }

    /// Calls `item` for each item of an array.
    pub(super) fn array(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.want(b'[')?;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            item(self)?;
            if !self.take(b',') {
                return self.want(b']');
            }
        }
    }
}
