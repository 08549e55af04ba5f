//! Counts lines, all of them or those that match.

use regex::bytes::{Regex, RegexBuilder};

use crate::error::{Argument, Error};
use crate::scan::beginning::behind_nuls;
use crate::scan::newlines;

/// The most bytes that a compiled regular expression may take.
pub(crate) const MAX_REGEX_BYTES: usize = 4 << 20;

/// Compiles a regular expression of the `regex` crate on bytes: `.`, `\w` and the like take whole
/// characters of UTF-8, and letters of every script have two cases.
///
/// # Errors
/// [`Error::Argument`] with what is wrong in it.
pub(crate) fn regex(pattern: &str) -> Result<Regex, Error> {
    RegexBuilder::new(pattern)
        .size_limit(MAX_REGEX_BYTES)
        .build()
        .map_err(|error| expression(&error))
}

/// The error for an expression that does not compile: the compiler's reason without its picture.
pub(crate) fn expression(error: &regex::Error) -> Error {
    let text = error.to_string();
    let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
    Error::Argument(Argument::Expression(reason.to_owned()))
}

/// Counts the lines that match one expression and do not match another, each optional.
#[derive(Debug, Clone, Default)]
pub struct Select {
    pattern: Option<Regex>,
    exclude: Option<Regex>,
    lines: u64,
}

impl Select {
    /// Nothing counted yet.
    ///
    /// # Errors
    /// [`Error::Argument`] for an expression that is none.
    pub fn new(pattern: Option<&str>, exclude: Option<&str>) -> Result<Select, Error> {
        Ok(Select {
            pattern: pattern.map(regex).transpose()?,
            exclude: exclude.map(regex).transpose()?,
            lines: 0,
        })
    }

    /// Counts a block of whole lines, each ended by `\n`.
    pub fn block(&mut self, block: &[u8]) {
        if self.pattern.is_none() && self.exclude.is_none() {
            self.lines += newlines::count(block);
            return;
        }
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', block) {
            let line = &block[start..end];
            let line = behind_nuls(line.strip_suffix(b"\r").unwrap_or(line));
            start = end + 1;
            let wanted = self.pattern.as_ref().is_none_or(|regex| regex.is_match(line))
                && !self.exclude.as_ref().is_some_and(|regex| regex.is_match(line));
            self.lines += u64::from(wanted);
        }
    }

    /// How many lines were counted.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: &Select) {
        self.lines += other.lines;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(pattern: Option<&str>, exclude: Option<&str>) -> u64 {
        let mut select = Select::new(pattern, exclude).unwrap();
        select.block(b"GET /a 200\nGET /b 500\nPOST /a \xff 500\n\n");
        select.lines()
    }

    #[test]
    fn lines_are_counted_by_what_they_match() {
        assert_eq!(count(None, None), 4);
        assert_eq!(count(Some(" 500$"), None), 2);
        assert_eq!(count(None, Some("^GET")), 2);
        assert_eq!(count(Some("500"), Some("/b")), 1);
    }

    #[test]
    fn an_expression_means_characters_and_not_bytes() {
        let count = |pattern: &str, line: &str| {
            let mut select = Select::new(Some(pattern), None).unwrap();
            select.block(line.as_bytes());
            select.lines()
        };
        assert_eq!(count("(?i)ünï", "ÜNÏ\n"), 1);
        assert_eq!(count("^.n.$", "üne\n"), 1);
        assert_eq!(count(r"^\w+$", "große\n"), 1);
        assert_eq!(count("b$", "ab\r\n"), 1);
        assert_eq!(count("^b", "\0\0b\nb\n"), 2);
        // What is no UTF-8 is no character, but stands in the way of none.
        let mut select = Select::new(Some("b$"), None).unwrap();
        select.block(b"\xff b\n");
        assert_eq!(select.lines(), 1);
    }

    #[test]
    fn a_wrong_expression_is_told_on_one_line() {
        for pattern in ["a(b", "é[z-a]", "a\n("] {
            let error = Select::new(Some(pattern), None).unwrap_err().to_string();
            assert!(error.starts_with("not a regular expression: ") && !error.contains('\n'));
        }
    }

    #[test]
    fn what_several_have_counted_is_added() {
        let mut select = Select::new(Some("a"), None).unwrap();
        let mut other = select.clone();
        select.block(b"a\nb\n");
        other.block(b"a\na\n");
        select.merge(&other);
        assert_eq!(select.lines(), 3);
    }

    #[test]
    fn an_expression_has_an_upper_bound() {
        let of = |count: usize| regex(&format!("(?:[a-f]{{100}}){{{count}}}"));
        assert!(of(500).is_ok());
        let error = of(600).unwrap_err().to_string();
        assert!(error.contains(&MAX_REGEX_BYTES.to_string()), "{error}");
    }
}
