//! Numbers that a run hands on to the next one: a member of the position file, so that they move
//! on together with the position or not at all.

use std::collections::BTreeMap;

use super::reader::Reader;
use crate::Error;
use crate::scan::json::unescape;
use crate::scan::json_line;

/// The most numbers that are kept.
pub const MAX_CARRIED: usize = 2048;

/// The longest name of one, in bytes.
pub const MAX_CARRIED_NAME_BYTES: usize = 200;

/// Numbers by their names, within the bounds above.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Carried(BTreeMap<String, f64>);

impl Carried {
    /// The numbers, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// Takes the numbers given; one that is not given stays as it is while there is room. Answers
    /// how many of the given were left out: one that is not finite, a name that is too long or has
    /// control characters, and what is over the bound, the last first.
    pub fn renew(&mut self, given: impl IntoIterator<Item = (String, f64)>) -> usize {
        let old = std::mem::take(&mut self.0);
        let mut left_out = 0;
        for (name, value) in given {
            left_out += usize::from(!self.put(name, value));
        }
        for (name, value) in old {
            if !self.0.contains_key(&name) {
                self.put(name, value);
            }
        }
        left_out
    }

    fn put(&mut self, name: String, value: f64) -> bool {
        let named = name.len() <= MAX_CARRIED_NAME_BYTES
            && !name.bytes().any(|byte| byte.is_ascii_control())
            && (self.0.len() < MAX_CARRIED || self.0.contains_key(&name));
        let fits = named && value.is_finite();
        if fits {
            self.0.insert(name, value);
        }
        fits
    }

    /// Appends the member, with a comma before it, unless there is no number.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for (index, (name, value)) in self.iter().enumerate() {
            out.extend_from_slice(if index == 0 { b",\"carried\":{\"" } else { b",\"" });
            json_line::escape(name.as_bytes(), out);
            out.extend_from_slice(format!("\":{value:?}").as_bytes());
        }
        if !self.0.is_empty() {
            out.push(b'}');
        }
    }

    /// Reads the member's value. What is JSON but no such numbers is none: they start afresh, the
    /// position does not.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Carried, Error> {
        reader.blanks();
        let start = reader.at;
        reader.pass_over(0)?;
        let mut inside = Reader { bytes: &reader.bytes[..reader.at], at: start };
        Ok(Carried::read_numbers(&mut inside).unwrap_or_default())
    }

    fn read_numbers(reader: &mut Reader<'_>) -> Result<Carried, Error> {
        let mut found = Carried::default();
        reader.object(|reader, key| {
            let name = String::from_utf8(unescape(key).into_owned());
            let name = name.map_err(|_| reader.wrong("a name in UTF-8 before"))?;
            let value = reader.float()?;
            match found.put(name, value) {
                true => Ok(true),
                false => Err(reader.wrong("numbers within the bounds before")),
            }
        })?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{MAX_POSITION_BYTES, Position};
    use super::*;

    fn decoded(member: &str) -> Carried {
        let text = format!(r#"{{"pos":7,"carried":{member},"inode":3}}"#);
        let position = Position::decode(text.as_bytes()).expect(member);
        assert_eq!((position.mark.pos, position.mark.inode), (7, 3), "{member}");
        position.carried
    }

    fn numbers(pairs: &[(&str, f64)]) -> Carried {
        Carried(pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect())
    }

    #[test]
    fn numbers_are_read_as_other_writers_of_json_write_them() {
        let found = decoded(r#" { "a" : 1 , "\u65e5\"\\" : -2.5e-7, "" : 0 } "#);
        assert_eq!(found, numbers(&[("a", 1.0), ("日\"\\", -2.5e-7), ("", 0.0)]));
        assert_eq!(decoded("{}"), Carried::default());
    }

    #[test]
    fn what_is_broken_in_them_is_a_fresh_start_of_the_numbers_only() {
        let long = format!(r#"{{"{}":1}}"#, "x".repeat(MAX_CARRIED_NAME_BYTES + 1));
        let many: Vec<String> = (0..=MAX_CARRIED).map(|n| format!(r#""{n}":1"#)).collect();
        let many = format!("{{{}}}", many.join(","));
        for member in [
            "null",
            "7",
            "[1,2]",
            "\"x\"",
            r#"{"a":"1"}"#,
            r#"{"a":1,"b":null}"#,
            r#"{"a":NaN}"#,
            r#"{"a":1e999}"#,
            r#"{"a":{"b":1}}"#,
            r#"{"a\n":1}"#,
            &long,
            &many,
        ] {
            assert_eq!(decoded(member), Carried::default(), "{member}");
        }
        // What is no JSON at all is no position file.
        assert!(Position::decode(br#"{"pos":7,"carried":{"a":1,"inode":3}"#).is_err());
    }

    #[test]
    fn what_is_given_is_renewed_and_the_rest_stays_while_there_is_room() {
        let mut kept = numbers(&[("a", 1.0), ("b", 2.0)]);
        let given = [("b", 3.0), ("c", f64::NAN), ("d\n", 1.0), ("e", 5.0)];
        assert_eq!(kept.renew(given.map(|(name, value)| (name.to_owned(), value))), 2);
        assert_eq!(kept, numbers(&[("a", 1.0), ("b", 3.0), ("e", 5.0)]));
        let many = (0..=MAX_CARRIED).map(|n| (format!("{n:04}"), 1.0));
        assert_eq!(kept.renew(many), 1);
        assert_eq!(kept.iter().count(), MAX_CARRIED);
        assert!(kept.iter().all(|(name, _)| name.len() == 4 && name != "2048"));
    }

    #[test]
    fn the_most_that_can_be_kept_fits_the_position_file() {
        let name = |n: usize| format!("{n:04}{}", "\"".repeat(MAX_CARRIED_NAME_BYTES - 4));
        let mut carried = Carried::default();
        let value = -1.234_567_890_123_456_7e-300;
        assert_eq!(carried.renew((0..MAX_CARRIED).map(|n| (name(n), value))), 0);
        let position = Position { carried, ..Position::default() };
        let text = position.encode();
        assert!(text.len() < MAX_POSITION_BYTES - 64 * 1024, "{}", text.len());
        assert_eq!(Position::decode(text.as_bytes()).unwrap(), position);
    }
}
