//! The position file of a log follower: how far a log was read, and how to know it again.
//!
//! JSON on one line. `pos`, `time`, `inode` and `dev` are those of the Go tools and come first;
//! the Go tools pass over the other keys, and a file without them is taken over as it is.

mod carried;
mod lingering;
mod reader;
mod sets;

use std::fmt::Write as _;

pub use self::carried::{Carried, MAX_CARRIED, MAX_CARRIED_NAME_BYTES};
pub use self::lingering::{Lingering, MAX_LINGERING};
use self::reader::Reader;
pub use self::sets::{MAX_SET_NAME_BYTES, MAX_SET_NUMBERS, MAX_SETS, Set, Sets};
use crate::error::{Error, Malformed};
use crate::scan::json::unescape;
use crate::scan::json_line;

/// The most a position file can reasonably hold.
pub const MAX_POSITION_BYTES: usize = 12 << 20;

/// How many bytes at the start of a log and before the position are remembered by their hash.
pub const WINDOW_BYTES: usize = 1024;

/// How many files that were read are remembered.
pub const MAX_KNOWN: usize = 500;

/// The longest path of a log that is remembered, in bytes.
const MAX_PATH_BYTES: usize = 4096;

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
    /// `pos` is inside a line that was counted or skipped: the rest of it does not count.
    pub skip: bool,
}

/// What is remembered of a rotated file that is older than the live one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotated {
    /// Its first bytes; all of them when there are fewer than [`WINDOW_BYTES`].
    pub head: Print,
    /// Its inode number, which compressing changes.
    pub inode: u64,
}

/// What a file that was read, or is to be passed over, is known by under another name or inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Its first bytes. Of none: it was empty and may grow, could not be read, or is a copy.
    pub head: Print,
    /// Its inode number, which copying and compressing change.
    pub inode: u64,
    /// How far it was read.
    pub pos: u64,
    /// The hash of at most [`WINDOW_BYTES`] before `pos`; `None` for a file that was not read.
    pub tail: Option<u64>,
    /// When it was last written to, in nanoseconds since the epoch, if the position file says.
    pub written: Option<u64>,
    /// It was compressed already.
    pub packed: bool,
    /// All of it up to `pos` was counted, and it may grow: it was not compressed.
    pub counted: bool,
}

impl Known {
    /// The print of the bytes before `pos`.
    pub fn tail_print(&self) -> Option<Print> {
        let len = self.pos.min(WINDOW_BYTES as u64) as u32;
        self.tail.map(|hash| Print { len, hash })
    }
}

/// Which log it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// The absolute path as it was given; what is not UTF-8 in it is replaced.
    pub given: String,
    /// The file that this led to, without symbolic links.
    pub target: String,
}

/// What a position file holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Position {
    /// The place in the live log.
    pub mark: Mark,
    /// When the run was, in seconds since the epoch.
    pub time: f64,
    /// The newest rotated file then; `Some(None)` for none, `None` when the file does not say.
    pub newest_rotated: Option<Option<Rotated>>,
    /// The log; `None` when the position file does not say.
    pub paths: Option<Paths>,
    /// Nanoseconds since the epoch by the file system's clock: what is older was there already.
    pub changed: Option<u64>,
    /// The files that need not be read, oldest first; `None` when the position file does not say.
    pub known: Option<Vec<Known>>,
    /// Rotated files that may still grow, oldest first.
    pub lingering: Vec<Lingering>,
    /// Numbers for the next run.
    pub carried: Carried,
    /// Sets of numbers for the next run, by group.
    pub sets: Sets,
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
        lingering::write(&mut out, &self.lingering);
        if let Some(changed) = self.changed {
            let _ = write!(out, r#","changed":{changed}"#);
        }
        if let Some(known) = &self.known {
            write_known(&mut out, known);
        }
        if let Some(Paths { given, target }) = &self.paths {
            write_path(&mut out, "log", given);
            write_path(&mut out, "target", target);
        }
        let mut out = out.into_bytes();
        self.carried.write(&mut out);
        self.sets.write(&mut out);
        out.push(b'}');
        String::from_utf8(out).expect("names are text, and escaping keeps it so")
    }

    /// Reads a position file, of this program or of the Go tools. Unknown keys are passed over.
    ///
    /// # Errors
    /// [`Error::Malformed`] saying what is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Position, Error> {
        if bytes.len() > MAX_POSITION_BYTES {
            return Err(Error::Malformed(Malformed::LongPosition {
                bytes: bytes.len(),
                limit: MAX_POSITION_BYTES,
            }));
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

fn write_path(out: &mut String, key: &str, path: &str) {
    let mut escaped = Vec::with_capacity(path.len());
    json_line::escape(path.as_bytes(), &mut escaped);
    let escaped = String::from_utf8(escaped).expect("escaping keeps text text");
    let _ = write!(out, r#","{key}":"{escaped}""#);
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

fn write_known(out: &mut String, known: &[Known]) {
    out.push_str(r#","known":["#);
    for (index, known) in known.iter().enumerate() {
        let Known { head: Print { len, hash }, inode, pos, tail, written, .. } = known;
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(out, r#"{comma}[{len},"{hash:016x}",{inode},{pos}"#);
        let _ = match tail {
            Some(hash) => write!(out, r#","{hash:016x}""#),
            None if written.is_some() => write!(out, r#","""#),
            None => Ok(()),
        };
        if let Some(written) = written {
            let what = match known {
                Known { packed: true, .. } => ",1",
                Known { counted: true, .. } => ",2",
                _ => "",
            };
            let _ = write!(out, ",{written}{what}");
        }
        out.push(']');
    }
    out.push(']');
}

fn write_print(out: &mut String, key: &str, print: &Print) {
    let _ = write!(out, r#","{key}":[{},"{:016x}"]"#, print.len, print.hash);
}

impl Reader<'_> {
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
        let hash = self.hash()?;
        Ok(Print { len: len as u32, hash })
    }

    fn hash(&mut self) -> Result<u64, Error> {
        self.hash_or_none()?.ok_or_else(|| self.wrong("a hexadecimal hash before"))
    }

    fn hash_or_none(&mut self) -> Result<Option<u64>, Error> {
        let text = std::str::from_utf8(self.string()?).ok();
        let hash = text.map(|text| (!text.is_empty()).then(|| u64::from_str_radix(text, 16)));
        let hash = hash.and_then(|hash| hash.transpose().ok());
        hash.ok_or_else(|| self.wrong("a hexadecimal hash before"))
    }

    fn known(&mut self) -> Result<Vec<Known>, Error> {
        let mut all = Vec::new();
        self.array(|reader| {
            let head = reader.print_members()?;
            reader.want(b',')?;
            let inode = reader.integer()?;
            reader.want(b',')?;
            let pos = reader.integer()?;
            let tail = if reader.take(b',') { reader.hash_or_none()? } else { None };
            let written = if reader.take(b',') { Some(reader.integer()?) } else { None };
            let what = if reader.take(b',') { reader.integer()? } else { 0 };
            let (packed, counted) = (what == 1, what == 2);
            reader.want(b']')?;
            all.push(Known { head, inode, pos, tail, written, packed, counted });
            Ok(())
        })?;
        all.drain(..all.len().saturating_sub(MAX_KNOWN));
        Ok(all)
    }

    fn path(&mut self) -> Result<Option<String>, Error> {
        let text = unescape(self.string()?).into_owned();
        Ok(String::from_utf8(text).ok().filter(|path| path.len() <= MAX_PATH_BYTES))
    }

    fn position(&mut self) -> Result<Position, Error> {
        let mut position = Position::default();
        let mut seen = false;
        let (mut given, mut target) = (None, None);
        self.object(|reader, key| {
            match key {
                b"time" => position.time = reader.float()?,
                b"rotated" => position.newest_rotated = Some(reader.rotated()?),
                b"lingering" => position.lingering = lingering::read(reader)?,
                b"changed" => position.changed = Some(reader.integer()?),
                b"known" => position.known = Some(reader.known()?),
                b"log" => given = reader.path()?,
                b"target" => target = reader.path()?,
                b"carried" => position.carried = Carried::read(reader)?,
                b"sets" => position.sets = Sets::read(reader)?,
                _ => {
                    seen |= key == b"pos";
                    return reader.mark_member(key, &mut position.mark);
                }
            }
            Ok(true)
        })?;
        position.paths = given.zip(target).map(|(given, target)| Paths { given, target });
        match seen {
            true => Ok(position),
            false => Err(Error::Malformed(Malformed::NoPosition)),
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
    fn known_files_of_an_older_position_file_have_no_times() {
        let text = br#"{"pos":1,"known":[[3,"a",4,5],[3,"a",4,5,"b"],[3,"a",4,5,"",6,1],
            [3,"a",4,5,"",6,2]]}"#;
        let known = Position::decode(text).unwrap().known.unwrap();
        let told = |one: &Known| (one.tail, one.written, one.packed, one.counted);
        let expected = [
            (None, None, false, false),
            (Some(11), None, false, false),
            (None, Some(6), true, false),
            (None, Some(6), false, true),
        ];
        assert_eq!(known.iter().map(told).collect::<Vec<_>>(), expected);
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
        assert_eq!(error, "12582913 bytes, more than 12582912");
        let nested = |depth: usize| {
            let text = format!(r#"{{"pos":1,"a":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
            Position::decode(text.as_bytes())
        };
        assert!(nested(reader::MAX_DEPTH + 1).is_ok());
        assert!(nested(reader::MAX_DEPTH + 2).is_err());
        let lingering = (0..=MAX_LINGERING as u64).map(|pos| {
            let mark = Mark { pos, ..Mark::default() };
            Lingering { mark, since: 1.0, directory: None }
        });
        let position = Position { lingering: lingering.collect(), ..Position::default() };
        let read = Position::decode(position.encode().as_bytes()).unwrap();
        assert_eq!(read.lingering, position.lingering[..MAX_LINGERING]);
    }

    #[test]
    fn the_most_that_is_known_is_bounded_and_small() {
        let one = |n: u64| Known {
            head: Print { len: 1024, hash: u64::MAX },
            inode: u64::MAX,
            pos: u64::MAX - n,
            tail: Some(u64::MAX),
            written: Some(u64::MAX),
            packed: true,
            counted: false,
        };
        let known: Vec<_> = (0..=MAX_KNOWN as u64).map(one).collect();
        let text = Position { known: Some(known.clone()), ..Position::default() }.encode();
        assert!(text.len() < 64 * 1024, "{}", text.len());
        let read = Position::decode(text.as_bytes()).unwrap();
        assert_eq!(read.known.unwrap(), known[1..], "the oldest is left out");
    }

    fn any_print() -> impl Strategy<Value = Print> {
        (0..=WINDOW_BYTES as u32, any::<u64>()).prop_map(|(len, hash)| Print { len, hash })
    }

    fn any_rotated() -> impl Strategy<Value = Rotated> {
        (any_print(), any::<u64>()).prop_map(|(head, inode)| Rotated { head, inode })
    }

    fn any_known() -> impl Strategy<Value = Known> {
        let ids = (any::<u64>(), any::<u64>(), proptest::option::of(any::<u64>()));
        let written = proptest::option::of((any::<u64>(), 0..3));
        (any_print(), ids, written).prop_map(|(head, (inode, pos, tail), written)| {
            let what = written.map_or(0, |(_, what)| what);
            let (packed, counted) = (what == 1, what == 2);
            let written = written.map(|(time, _)| time);
            Known { head, inode, pos, tail, written, packed, counted }
        })
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
            lingering in proptest::collection::vec(
                (any_mark(), 0f64..1e11, proptest::option::of(".{0,60}")), 0..MAX_LINGERING,
            ),
            changed in proptest::option::of(any::<u64>()),
            known in proptest::option::of(proptest::collection::vec(any_known(), 0..9)),
            paths in proptest::option::of((".{0,60}", ".{0,60}")),
            numbers in proptest::collection::vec((".{0,60}", any::<f64>()), 0..20),
        ) {
            let mut carried = Carried::default();
            carried.renew(numbers);
            let lingering = lingering
                .into_iter()
                .map(|(mark, since, directory)| Lingering { mark, since, directory })
                .collect();
            let paths = paths.map(|(given, target)| Paths { given, target });
            let sets = Sets::default();
            let position = Position {
                mark, time, newest_rotated, paths, changed, known, lingering, carried, sets,
            };
            prop_assert_eq!(Position::decode(position.encode().as_bytes()).unwrap(), position);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Position::decode(&bytes);
        }
    }
}
