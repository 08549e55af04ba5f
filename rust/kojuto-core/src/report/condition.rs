//! What a line must be to count: `status >= 500 and uri ~ '^/api/'`.

use regex::bytes::Regex;

use super::known::{BYTES, ROLES, STATUS, TAKEN};
use crate::Error;
use crate::error::Argument;
use crate::scan::duration;
use crate::scan::number::parse_f64;
use crate::scan::select;

/// How a value is compared.
#[derive(Debug, Clone)]
enum Test {
    Number(Relation, f64),
    Text(Relation, Box<[u8]>),
    Matches(Regex, bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    More,
    MoreOrEqual,
}

/// The operators, the longest first where one begins another.
const OPERATORS: [(&str, Option<Relation>); 10] = [
    ("==", Some(Relation::Equal)),
    ("!=", Some(Relation::Unequal)),
    ("<=", Some(Relation::LessOrEqual)),
    (">=", Some(Relation::MoreOrEqual)),
    ("!~", None),
    ("=~", None),
    ("=", Some(Relation::Equal)),
    ("<", Some(Relation::Less)),
    (">", Some(Relation::More)),
    ("~", None),
];

/// One of the conditions of an expression.
#[derive(Debug, Clone)]
pub struct Condition {
    /// What is looked at: a name of [`super::ROLES`] or `path`, or a field of the log.
    pub(super) key: String,
    test: Test,
}

impl Condition {
    /// The conditions of an expression: a key, one of `== = != < <= > >= ~ !~` and a value each, with
    /// `and` between them. A value with blanks is quoted. Two numbers are compared as such, all else
    /// as bytes; behind `~` stands a regular expression. The time taken is in seconds, or in the unit
    /// of the value: `request_time > 200ms`.
    ///
    /// # Errors
    /// [`Error::Argument`] with what could stand where it breaks off, and for an expression that is no
    /// regular one.
    pub fn parse(text: &str) -> Result<Vec<Condition>, Error> {
        let mut rest = text.trim();
        let mut all = Vec::new();
        loop {
            let fault =
                |expected| Error::Argument(Argument::Condition { text: text.to_owned(), expected });
            let (condition, behind) = one(rest, &fault)?;
            all.push(condition);
            rest = behind.trim_start();
            if rest.is_empty() {
                return Ok(all);
            }
            let is_and = |word: &&str| word.eq_ignore_ascii_case("and");
            let word = rest.split_whitespace().next().filter(is_and).ok_or(fault("'and'"))?;
            rest = rest[word.len()..].trim_start();
        }
    }

    /// Whether it holds for a value; none holds for a value that is not there, but that it is another.
    pub(super) fn holds(&self, value: &[u8]) -> bool {
        match &self.test {
            Test::Matches(regex, wanted) => regex.is_match(value) == *wanted,
            Test::Number(relation, wanted) => match parse_f64(value) {
                Some(number) => relation.holds(number.partial_cmp(wanted)),
                None => *relation == Relation::Unequal,
            },
            Test::Text(relation, wanted) if value.is_empty() => {
                (*relation == Relation::Unequal) != wanted.is_empty()
                    && matches!(relation, Relation::Unequal | Relation::Equal)
            }
            Test::Text(relation, wanted) => relation.holds(Some(value.cmp(wanted))),
        }
    }
}

impl Relation {
    fn holds(self, order: Option<std::cmp::Ordering>) -> bool {
        let Some(order) = order else { return self == Relation::Unequal };
        match self {
            Relation::Equal => order.is_eq(),
            Relation::Unequal => order.is_ne(),
            Relation::Less => order.is_lt(),
            Relation::LessOrEqual => order.is_le(),
            Relation::More => order.is_gt(),
            Relation::MoreOrEqual => order.is_ge(),
        }
    }
}

fn one<'t>(
    text: &'t str,
    fault: &impl Fn(&'static str) -> Error,
) -> Result<(Condition, &'t str), Error> {
    let ends_key = |c: char| c.is_whitespace() || "=!<>~".contains(c);
    let end = text.find(ends_key).unwrap_or(text.len());
    let (key, rest) = text.split_at(end);
    if key.is_empty() {
        return Err(fault("a key"));
    }
    let rest = rest.trim_start();
    let operator = OPERATORS.iter().find(|(sign, _)| rest.starts_with(sign));
    let (sign, relation) = operator.ok_or(fault("one of == != < <= > >= ~ !~"))?;
    let rest = rest[sign.len()..].trim_start();
    let (value, is_quoted, rest) = match rest.chars().next() {
        Some(quote @ ('\'' | '"')) => {
            let (value, rest) = rest[1..].split_once(quote).ok_or(fault("the end of a quote"))?;
            (value, true, rest)
        }
        Some(_) => {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            (&rest[..end], false, &rest[end..])
        }
        None => return Err(fault("a value")),
    };
    let test = match relation {
        None => Test::Matches(select::regex(value)?, *sign != "!~"),
        Some(relation) if is_quoted => Test::Text(*relation, value.as_bytes().into()),
        Some(relation) => match number(key, *relation, value, fault)? {
            Some(number) => Test::Number(*relation, number),
            None => Test::Text(*relation, value.as_bytes().into()),
        },
    };
    Ok((Condition { key: key.to_owned(), test }, rest))
}

/// The number that a value is; what a key's values cannot be compared with is refused with what they
/// can.
fn number(
    key: &str,
    relation: Relation,
    value: &str,
    fault: &impl Fn(&'static str) -> Error,
) -> Result<Option<f64>, Error> {
    let value = value.as_bytes();
    let is_order = !matches!(relation, Relation::Equal | Relation::Unequal);
    match (parse_f64(value), duration::seconds(value)) {
        (Some(number), _) => Ok(Some(number)),
        (None, Some(seconds)) if key == ROLES[TAKEN] => Ok(Some(seconds)),
        (None, None) if key == ROLES[TAKEN] => Err(fault("seconds, or a time such as 200ms")),
        (None, _) if key == ROLES[STATUS] || key == ROLES[BYTES] => Err(fault("a number")),
        (None, Some(_)) if is_order => Err(fault("a number: request_time alone has units")),
        (None, _) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(text: &str, value: &str) -> bool {
        let all = Condition::parse(text).unwrap();
        all.iter().all(|condition| condition.holds(value.as_bytes()))
    }

    #[test]
    fn numbers_texts_and_expressions_are_compared() {
        for (text, yes, no) in [
            ("status >= 500", "500", "499"),
            ("status>=500", "503", "x"),
            ("status<500 AND status!=404", "403", "404"),
            ("size == 1e3", "1000", "1001"),
            ("method = GET", "GET", "POST"),
            ("method != GET", "", "GET"),
            ("method == 'a b'", "a b", "a"),
            ("method > b", "c", "a"),
            ("method > b", "c", ""),
            ("uri ~ ^/api/", "/api/x", "/x"),
            ("uri !~ \"^/a b\"", "/x", "/a b"),
            ("version == '1.0'", "1.0", "1"),
            ("status <= 2", "2", ""),
            ("user == ''", "", "x"),
            ("request_time > 200ms", "0.25", "0.1"),
            ("request_time <= 1m2.5s", "62.5", "63"),
            ("request_time == ''", "", "0.1"),
            ("reqtime > '200ms'", "201ms", "199ms"),
            ("name == 5s", "5s", "5"),
            ("when > 2026-11-30T14:00", "2026-11-30T14:01", "2026-11-30T13:59"),
        ] {
            assert!(holds(text, yes), "{text}: {yes}");
            assert!(!holds(text, no), "{text}: {no}");
        }
    }

    #[test]
    fn an_expression_that_breaks_off_says_what_could_follow() {
        for (text, expected) in [
            ("", "a key"),
            ("status", "one of == != < <= > >= ~ !~"),
            ("status 500", "one of == != < <= > >= ~ !~"),
            ("status >=", "a value"),
            ("a == 'x", "the end of a quote"),
            ("a == 1 or b == 2", "'and'"),
            ("a == 1 and", "a key"),
            ("status >= abc", "a number"),
            ("bytes > 1kB", "a number"),
            ("request_time > x", "200ms"),
            ("reqtime > 200ms", "request_time alone"),
        ] {
            let error = Condition::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(Condition::parse("a ~ (").is_err());
    }
}
