//! The position file of a log follower: how far a log was read, and how to know it again.
//!
//! JSON on one line. `pos`, `time`, `inode` and `dev` are those of the Go tools and come first;
//! the Go tools pass over the other keys, and a file without them is taken over as it is.

mod carried;

use std::fmt::Write as _;

pub use self::carried::{Carried, MAX_CARRIED, MAX_CARRIED_NAME_BYTES};

use crate::Error;
use crate::scan::number::parse_f64;

/// The most a position file can reasonably hold.
pub const MAX_POSITION_BYTES: usize = 1 << 20;

/// How many bytes at the start of a log and before the position are remembered by their hash.
pub const WINDOW_BYTES: usize = 1024;

/// How many rotated files that may still grow are remembered.
pub const MAX_LINGERING: usize = 16;

const MAX_DEPTH: usize = 8;

/// Length and hash of some bytes of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Print {
    /// How many bytes were hashed, at most [`WINDOW_BYTES`].
    pub len: u32,
    /// Their hash.
    pub hash: u64,
}

impl Print {
    /// The print of `bytes`: FNV-1a, 64 bits, as published by Fowler, Noll and Vo.
    pub fn of(bytes: &[u8]) -> Print {
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for &byte in bytes {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Print { len: bytes.len() as u32, hash }
    }
}

/// A place in a log file, and what is needed to find that file again under another name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mark {
    /// Everything before this byte was counted.
    pub pos: u64,
    /// Inode number; 0 means unknown.
    pub inode: u64,
    /// Device number; 0 means unknown.
    pub dev: u64,
    /// When the file was made, in nanoseconds since the epoch, if the file system tells.
    pub born: Option<u64>,
    /// The first bytes of the file.
    pub head: Option<Print>,
    /// The bytes just before `pos`.
    pub tail: Option<Print>,
    /// `pos` is inside a line that was counted or skipped: what follows up to the next line end
    /// does not count.
    pub skip: bool,
}

/// A rotated file that was read to its end but that somebody may still write to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lingering {
    /// How far it was read.
    pub mark: Mark,
    /// When that was first noticed, in seconds since the epoch.
    pub since: f64,
}

/// What is remembered of a rotated file that is older than the live one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotated {
    /// Its first bytes; all of them when there are fewer than [`WINDOW_BYTES`].
    pub head: Print,
    /// Its inode number, which compressing changes.
    pub inode: u64,
}

/// What a position file holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Position {
    /// The place in the live log.
    pub mark: Mark,
    /// When the run was, in seconds since the epoch.
    pub time: f64,
    /// The newest rotated file at that time; `Some(None)` when there was none, `None` when the
    /// position file does not say.
    pub newest_rotated: Option<Option<Rotated>>,
    /// Rotated files that may still grow, oldest first.
    pub lingering: Vec<Lingering>,
    /// Numbers for the next run.
    pub carried: Carried,
}

impl Position {
    /// The content of the position file.
    pub fn encode(&self) -> String {
        let mut out = String::with_capacity(256);
        let Mark { pos, inode, dev, .. } = self.mark;
        let _ = write!(out, r#"{{"pos":{pos},"time":{},"inode":{inode},"dev":{dev}"#, self.time);
        write_fingerprint(&mut out, &self.mark);
        match self.newest_rotated {
            Some(Some(Rotated { head: Print { len, hash }, inode })) => {
                let _ = write!(out, r#","rotated":[{len},"{hash:016x}",{inode}]"#);
            }
            Some(None) => out.push_str(r#","rotated":null"#),
            None => {}
        }
        if !self.lingering.is_empty() {
            out.push_str(r#","lingering":["#);
            for (index, Lingering { mark, since }) in self.lingering.iter().enumerate() {
                let comma = if index == 0 { "" } else { "," };
                let Mark { pos, inode, dev, .. } = mark;
                let _ = write!(
                    out,
                    r#"{comma}{{"pos":{pos},"since":{since},"inode":{inode},"dev":{dev}"#
                );
                write_fingerprint(&mut out, mark);
                out.push('}');
            }
            out.push(']');
        }
        let mut out = out.into_bytes();
        self.carried.write(&mut out);
        out.push(b'}');
        String::from_utf8(out).expect("names are text, and escaping keeps it so")
    }

    /// Reads a position file, of this program or of the Go tools. Unknown keys are passed over.
    ///
    /// # Errors
    /// [`Error::Malformed`] saying what is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Position, Error> {
        if bytes.len() > MAX_POSITION_BYTES {
            let text = format!("{} bytes, more than {MAX_POSITION_BYTES}", bytes.len());
            return Err(Error::Malformed(text));
        }
        let mut reader = Reader { bytes, at: 0 };
        let position = reader.position()?;
        reader.blanks();
        match reader.at == bytes.len() {
            true => Ok(position),
            false => Err(reader.wrong("the end")),
        }
    }
}

fn write_fingerprint(out: &mut String, mark: &Mark) {
    if let Some(born) = mark.born {
        let _ = write!(out, r#","born":{born}"#);
    }
    if let Some(head) = &mark.head {
        write_print(out, "head", head);
    }
    if let Some(tail) = &mark.tail {
        write_print(out, "tail", tail);
    }
    if mark.skip {
        out.push_str(r#","skip":true"#);
    }
}

fn write_print(out: &mut String, key: &str, print: &Print) {
    let _ = write!(out, r#","{key}":[{},"{:016x}"]"#, print.len, print.hash);
}

/// A reader of just enough JSON: what it does not know it checks and passes over.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn wrong(&self, expected: &str) -> Error {
        Error::Malformed(format!("expected {expected} at byte {}", self.at))
    }

    fn blanks(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&mut self) -> Option<u8> {
        self.blanks();
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn want(&mut self, byte: u8) -> Result<(), Error> {
        match self.take(byte) {
            true => Ok(()),
            false => Err(self.wrong(&format!("{:?}", char::from(byte)))),
        }
    }

    /// The text of a string without its quotes, escapes left as they are.
    fn string(&mut self) -> Result<&'a [u8], Error> {
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
    fn word(&mut self) -> Result<&'a [u8], Error> {
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

    fn integer(&mut self) -> Result<u64, Error> {
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

    fn float(&mut self) -> Result<f64, Error> {
        let start = self.at;
        let value = parse_f64(self.word()?);
        value.ok_or_else(|| {
            self.at = start;
            self.wrong("a number")
        })
    }

    fn truth(&mut self) -> Result<bool, Error> {
        match self.word()? {
            b"true" => Ok(true),
            b"false" | b"null" => Ok(false),
            _ => Err(self.wrong("true or false before")),
        }
    }

    fn print(&mut self) -> Result<Option<Print>, Error> {
        if self.is_null()? {
            return Ok(None);
        }
        let print = self.print_members()?;
        self.want(b']')?;
        Ok(Some(print))
    }

    fn rotated(&mut self) -> Result<Option<Rotated>, Error> {
        if self.is_null()? {
            return Ok(None);
        }
        let head = self.print_members()?;
        self.want(b',')?;
        let inode = self.integer()?;
        self.want(b']')?;
        Ok(Some(Rotated { head, inode }))
    }

    fn is_null(&mut self) -> Result<bool, Error> {
        if self.peek() == Some(b'[') {
            return Ok(false);
        }
        match self.word()? {
            b"null" => Ok(true),
            _ => Err(self.wrong("a fingerprint before")),
        }
    }

    fn print_members(&mut self) -> Result<Print, Error> {
        self.want(b'[')?;
        let len = self.integer()?;
        if len > WINDOW_BYTES as u64 {
            return Err(self.wrong("a fingerprint of fewer bytes before"));
        }
        self.want(b',')?;
        let text = std::str::from_utf8(self.string()?).ok();
        let hash = text.and_then(|text| u64::from_str_radix(text, 16).ok());
        let hash = hash.ok_or_else(|| self.wrong("a hexadecimal hash before"))?;
        Ok(Print { len: len as u32, hash })
    }

    /// Calls `member` with each key of an object; it answers whether it has read the value.
    fn object(
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

    fn position(&mut self) -> Result<Position, Error> {
        let mut position = Position::default();
        let mut seen = false;
        self.object(|reader, key| {
            match key {
                b"time" => position.time = reader.float()?,
                b"rotated" => position.newest_rotated = Some(reader.rotated()?),
                b"lingering" => position.lingering = reader.lingering()?,
                b"carried" => position.carried = Carried::read(reader)?,
                _ => {
                    seen |= key == b"pos";
                    return reader.mark_member(key, &mut position.mark);
                }
            }
            Ok(true)
        })?;
        match seen {
            true => Ok(position),
            false => Err(Error::Malformed("it has no \"pos\"".to_owned())),
        }
    }

    fn mark_member(&mut self, key: &[u8], mark: &mut Mark) -> Result<bool, Error> {
        match key {
            b"pos" => mark.pos = self.integer()?,
            b"inode" => mark.inode = self.integer()?,
            b"dev" => mark.dev = self.integer()?,
            b"born" => mark.born = Some(self.integer()?),
            b"head" => mark.head = self.print()?,
            b"tail" => mark.tail = self.print()?,
            b"skip" => mark.skip = self.truth()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn lingering(&mut self) -> Result<Vec<Lingering>, Error> {
        let mut all = Vec::new();
        self.want(b'[')?;
        if self.take(b']') {
            return Ok(all);
        }
        loop {
            let mut one = Lingering::default();
            self.object(|reader, key| {
                if key == b"since" {
                    one.since = reader.float()?;
                    return Ok(true);
                }
                reader.mark_member(key, &mut one.mark)
            })?;
            if all.len() < MAX_LINGERING {
                all.push(one);
            }
            if !self.take(b',') {
                self.want(b']')?;
                return Ok(all);
            }
        }
    }

    fn pass_over(&mut self, depth: usize) -> Result<(), Error> {
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_position_file_of_the_go_tools_is_read() {
        let text = br#"{"pos":1234,"time":1700000000,"inode":131075,"dev":64768}"#;
        let position = Position::decode(text).unwrap();
        let mark = Mark { pos: 1234, inode: 131075, dev: 64768, ..Mark::default() };
        assert_eq!(position, Position { mark, time: 1.7e9, ..Position::default() });
        assert_eq!(position.encode().as_bytes(), text);
    }

    #[test]
    fn keys_of_others_are_passed_over() {
        let text = br#" { "a" : [1, {"b": [], "c\"": null}, "}"], "pos" : 7.0e0, "time": 1.5 } "#;
        let position = Position::decode(text).unwrap();
        assert_eq!((position.mark.pos, position.time), (7, 1.5));
    }

    #[test]
    fn garbage_says_where_it_is_wrong() {
        for (text, why) in [
            ("", "expected '{' at byte 0"),
            ("{}", "it has no \"pos\""),
            ("{\"pos\":-1}", "expected a whole number that is not negative at byte 7"),
            ("{\"pos\":1}x", "expected the end at byte 9"),
            ("{\"pos\":1", "expected '}' at byte 8"),
            ("{\"pos\":1.5}", "expected a whole number that is not negative at byte 7"),
            ("{\"pos\":\"1\"}", "expected a value at byte 7"),
            ("{\"pos\":1,\"head\":[9999,\"0\"]}", "expected a fingerprint of fewer bytes"),
            ("\0\0\0\0", "expected '{' at byte 0"),
            ("[[[[[[[[[[", "expected '{' at byte 0"),
            ("{\"a\":[[[[[[[[[[[[[", "expected less nesting"),
            ("{\"pos\":1,\"time\":abc}", "expected a number at byte 16"),
        ] {
            let error = Position::decode(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(why), "{text}: {error}");
        }
    }

    #[test]
    fn a_position_file_has_upper_bounds() {
        let mut text = br#"{"pos":7}"#.to_vec();
        text.resize(MAX_POSITION_BYTES, b'\n');
        assert_eq!(Position::decode(&text).unwrap().mark.pos, 7);
        text.push(b'\n');
        let error = Position::decode(&text).unwrap_err().to_string();
        assert_eq!(error, "1048577 bytes, more than 1048576");
        let nested = |depth: usize| {
            let text = format!(r#"{{"pos":1,"a":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
            Position::decode(text.as_bytes())
        };
        assert!(nested(MAX_DEPTH + 1).is_ok());
        assert!(nested(MAX_DEPTH + 2).is_err());
        let lingering = (0..=MAX_LINGERING as u64).map(|pos| {
            let mark = Mark { pos, ..Mark::default() };
            Lingering { mark, since: 1.0 }
        });
        let position = Position { lingering: lingering.collect(), ..Position::default() };
        let read = Position::decode(position.encode().as_bytes()).unwrap();
        assert_eq!(read.lingering, position.lingering[..MAX_LINGERING]);
    }

    fn any_print() -> impl Strategy<Value = Print> {
        (0..=WINDOW_BYTES as u32, any::<u64>()).prop_map(|(len, hash)| Print { len, hash })
    }

    fn any_rotated() -> impl Strategy<Value = Rotated> {
        (any_print(), any::<u64>()).prop_map(|(head, inode)| Rotated { head, inode })
    }

    fn any_mark() -> impl Strategy<Value = Mark> {
        let ids = (any::<u64>(), any::<u64>(), any::<u64>(), proptest::option::of(any::<u64>()));
        let prints = (proptest::option::of(any_print()), proptest::option::of(any_print()));
        (ids, prints, any::<bool>()).prop_map(|((pos, inode, dev, born), (head, tail), skip)| {
            Mark { pos, inode, dev, born, head, tail, skip }
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            mark in any_mark(), time in 0f64..1e11,
            newest_rotated in proptest::option::of(proptest::option::of(any_rotated())),
            lingering in proptest::collection::vec((any_mark(), 0f64..1e11), 0..MAX_LINGERING),
            numbers in proptest::collection::vec((".{0,60}", any::<f64>()), 0..20),
        ) {
            let mut carried = Carried::default();
            carried.renew(numbers);
            let lingering =
                lingering.into_iter().map(|(mark, since)| Lingering { mark, since }).collect();
            let position = Position { mark, time, newest_rotated, lingering, carried };
            prop_assert_eq!(Position::decode(position.encode().as_bytes()).unwrap(), position);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Position::decode(&bytes);
        }
    }
}
