//! Sets of numbers, one for each group of lines, that a run hands on to the next one: a member of
//! the position file, as [`Carried`](super::Carried) is.

use super::reader::Reader;
use crate::Error;
use crate::scan::json_line;

/// The most sets: as many groups as may be kept apart, the lines without a value, and the pool.
pub const MAX_SETS: usize = 10_002;

/// The most numbers of all sets together.
pub const MAX_SET_NUMBERS: usize = 100_000;

/// The longest name of one: that of a group, and a byte for what it is of.
pub const MAX_SET_NAME_BYTES: usize = 1 + crate::stats::group_name::MAX_GROUP_BYTES;

/// The numbers of a group.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Set {
    /// Which group: any bytes.
    pub name: Box<[u8]>,
    /// When its last line was seen, in seconds since the epoch.
    pub seen: f64,
    /// Its numbers.
    pub numbers: Vec<f64>,
}

/// Sets within the bounds above.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sets(Vec<Set>);

impl Sets {
    /// The sets, in the order in which they were given.
    pub fn iter(&self) -> impl Iterator<Item = &Set> {
        self.0.iter()
    }

    /// Takes the sets given in place of those before. Answers how many were left out: one with a
    /// name that is too long or a number that is not finite, and what is over the bounds, the last
    /// first.
    pub fn renew(&mut self, given: impl IntoIterator<Item = Set>) -> usize {
        self.0.clear();
        let (mut left_out, mut numbers) = (0, 0);
        for set in given {
            let after = numbers + set.numbers.len();
            let fits = self.0.len() < MAX_SETS && after <= MAX_SET_NUMBERS && set.is_sound();
            if fits {
                numbers = after;
                self.0.push(set);
            }
            left_out += usize::from(!fits);
        }
        left_out
    }

    /// Appends the member, with a comma before it, unless there is no set.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for (index, Set { name, seen, numbers }) in self.0.iter().enumerate() {
            out.extend_from_slice(if index == 0 { b",\"sets\":[[\"" } else { b",[\"" });
            json_line::escape(percent_encoded(name).as_bytes(), out);
            out.push(b'"');
            for &number in std::iter::once(seen).chain(numbers) {
                out.push(b',');
                out.extend_from_slice(shortest(number).as_bytes());
            }
            out.push(b']');
        }
        if !self.0.is_empty() {
            out.push(b']');
        }
    }

    /// Reads the member's value. What is JSON but no such sets is none: they start afresh, the
    /// position does not.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Sets, Error> {
        reader.blanks();
        let start = reader.at;
        reader.pass_over(0)?;
        let mut inside = Reader { bytes: &reader.bytes[..reader.at], at: start };
        Ok(Sets::read_sets(&mut inside).unwrap_or_default())
    }

    fn read_sets(reader: &mut Reader<'_>) -> Result<Sets, Error> {
        let mut found = Vec::new();
        reader.array(|reader| {
            reader.want(b'[')?;
            let name = percent_decoded(&crate::scan::json::unescape(reader.string()?));
            reader.want(b',')?;
            let seen = reader.float()?;
            let mut numbers = Vec::new();
            while reader.take(b',') {
                numbers.push(reader.float()?);
            }
            reader.want(b']')?;
            found.push(Set { name, seen, numbers });
            Ok(())
        })?;
        let mut sets = Sets::default();
        match sets.renew(found) {
            0 => Ok(sets),
            _ => Err(reader.wrong("sets within the bounds before")),
        }
    }
}

impl Set {
    fn is_sound(&self) -> bool {
        let mut numbers = std::iter::once(&self.seen).chain(&self.numbers);
        self.name.len() <= MAX_SET_NAME_BYTES && numbers.all(|number| number.is_finite())
    }
}

/// A number in as few characters as give it back.
fn shortest(number: f64) -> String {
    let is_short = number.abs() < 1e15 && (number as i64 as f64).to_bits() == number.to_bits();
    if is_short { (number as i64).to_string() } else { format!("{number:?}") }
}

/// Bytes as text: what is no text in them, and `%`, is `%` and two hexadecimal digits.
fn percent_encoded(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '%' => out.push_str("%25"),
                _ if character.is_ascii_control() => {
                    out.push_str(&format!("%{:02x}", u32::from(character)));
                }
                _ => out.push(character),
            }
        }
        chunk.invalid().iter().for_each(|byte| out.push_str(&format!("%{byte:02x}")));
    }
    out
}

fn percent_decoded(text: &[u8]) -> Box<[u8]> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, behind)) = rest.split_first() {
        let hex = behind.first_chunk::<2>().filter(|_| byte == b'%');
        let hex = hex.and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(encoded) => {
                out.push(encoded);
                rest = &behind[2..];
            }
            None => {
                out.push(byte);
                rest = behind;
            }
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::super::{
        Carried, MAX_CARRIED, MAX_CARRIED_NAME_BYTES, MAX_POSITION_BYTES, Position,
    };
    use super::super::{Known, MAX_KNOWN, Print};
    use super::*;
    use proptest::prelude::*;

    fn set(name: &[u8], numbers: &[f64]) -> Set {
        Set { name: name.into(), seen: 1.7e9, numbers: numbers.into() }
    }

    fn decoded(member: &str) -> Vec<Set> {
        let text = format!(r#"{{"pos":7,"sets":{member},"inode":3}}"#);
        let position = Position::decode(text.as_bytes()).expect(member);
        assert_eq!((position.mark.pos, position.mark.inode), (7, 3), "{member}");
        position.sets.iter().cloned().collect()
    }

    #[test]
    fn sets_are_read_as_other_writers_of_json_write_them() {
        let found = decoded(r#" [ [ "=a%2fb\u00e9%" , 1700000000 , 2.5e1, -3 ] , ["",1.7e9] ] "#);
        assert_eq!(found, [set("=a/bé%".as_bytes(), &[25.0, -3.0]), set(b"", &[])]);
        assert_eq!(decoded("[]"), []);
    }

    #[test]
    fn what_is_broken_in_them_is_a_fresh_start_of_the_sets_only() {
        let long = format!(r#"[["{}",1]]"#, "x".repeat(MAX_SET_NAME_BYTES + 1));
        let many = format!("[{}]", vec![r#"["a",1]"#; MAX_SETS + 1].join(","));
        for member in [
            "null",
            "7",
            r#"{"a":1}"#,
            r#"["a"]"#,
            r#"[["a"]]"#,
            r#"[["a","b"]]"#,
            r#"[["a",1,null]]"#,
            r#"[["a",1,1e999]]"#,
            r#"[["a",1,[]]]"#,
            &long,
            &many,
        ] {
            assert_eq!(decoded(member), [], "{member}");
        }
        // What is no JSON at all is no position file.
        assert!(Position::decode(br#"{"pos":7,"sets":[["a",1,]]}"#).is_err());
    }

    #[test]
    fn what_is_over_the_bounds_is_left_out_and_told() {
        let mut sets = Sets::default();
        let given = [set(b"a", &[1.0]), set(b"b", &[f64::NAN]), set(&[b'x'; 202], &[])];
        assert_eq!(sets.renew(given), 2);
        assert_eq!(sets.iter().count(), 1);
        assert_eq!(sets.renew(vec![set(b"c", &[]); MAX_SETS + 3]), 3);
        assert!(sets.iter().all(|set| *set.name == *b"c"), "those of before are gone");
        let half = vec![1.0; MAX_SET_NUMBERS / 2];
        assert_eq!(sets.renew([set(b"a", &half), set(b"b", &half), set(b"c", &[1.0])]), 1);
    }

    #[test]
    fn the_most_that_can_be_kept_fits_the_position_file() {
        let number = -1.234_567_890_123_456_7e-300;
        let mut sets = Sets::default();
        let (each, rest) = (MAX_SET_NUMBERS / MAX_SETS, MAX_SET_NUMBERS % MAX_SETS);
        let largest = (0..MAX_SETS).map(|at| {
            let numbers = vec![number; each + usize::from(at < rest)];
            // Of each byte of a name three are written.
            let name = [&[0xff; MAX_SET_NAME_BYTES - 2][..], &(at as u16).to_be_bytes()].concat();
            Set { seen: number, ..set(&name, &numbers) }
        });
        assert_eq!(sets.renew(largest), 0);
        let mut carried = Carried::default();
        let name = |n: usize| format!("{n:04}{}", "\"".repeat(MAX_CARRIED_NAME_BYTES - 4));
        carried.renew((0..MAX_CARRIED).map(|n| (name(n), number)));
        let known = Known {
            head: Print { len: 1024, hash: u64::MAX },
            inode: u64::MAX,
            pos: u64::MAX,
            tail: Some(u64::MAX),
            written: Some(u64::MAX),
            packed: true,
            counted: false,
        };
        let known = Some(vec![known; MAX_KNOWN]);
        let position = Position { carried, sets, known, ..Position::default() };
        let text = position.encode();
        assert!(text.len() < MAX_POSITION_BYTES - 64 * 1024, "{}", text.len());
        assert_eq!(Position::decode(text.as_bytes()).unwrap(), position);
    }

    proptest! {
        #[test]
        fn any_names_and_numbers_are_read_back(
            given in prop::collection::vec(
                (prop::collection::vec(any::<u8>(), 0..20), ".{0,9}", prop::collection::vec(any::<f64>(), 0..5)),
                0..9),
        ) {
            let given = given.iter().map(|(bytes, text, numbers)| {
                let finite: Vec<f64> = numbers.iter().copied().filter(|n| n.is_finite()).collect();
                set(&[bytes, text.as_bytes()].concat(), &finite)
            });
            let mut sets = Sets::default();
            prop_assert_eq!(sets.renew(given), 0);
            let position = Position { sets, ..Position::default() };
            prop_assert_eq!(Position::decode(position.encode().as_bytes()).unwrap(), position);
        }
    }
}
