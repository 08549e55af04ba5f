//! Lines of a format that is given in nginx's or Apache's words, as it stands in their
//! configuration: `$remote_addr - $remote_user [$time_local] "$request" $status …`, `%h %l %u …`.

mod known;
mod literal;
mod reading;

use self::known::{LABELS, Meaning};
use self::literal::Literal;
use self::reading::Wanted;
use crate::error::{Argument, Error, LogFormatFault};
use crate::scan::combined::TimeField;
use crate::scan::fields::{Keys, Rows};
use crate::scan::simd::Level;

/// The formats that Apache and nginx know by name.
const NAMED: [(&str, &str); 4] = [
    ("common", r#"%h %l %u %t "%r" %>s %b"#),
    ("combined", r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-agent}i""#),
    ("vhost_combined", r#"%v:%p %h %l %u %t "%r" %>s %O "%{Referer}i" "%{User-Agent}i""#),
    ("combinedio", r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i" %I %O"#),
];

/// A format, compiled: fields, and the text before each of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFormat {
    pieces: Vec<Piece>,
    /// What stands behind the last field.
    tail: Literal,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece {
    before: Literal,
    meaning: Meaning,
}

impl LogFormat {
    /// Compiles a format: what stands in `log_format NAME '…';` or `LogFormat "…" NAME`, with its
    /// quotes or without, or all of that directive, or one of Apache's own names.
    ///
    /// # Errors
    /// [`Error::Argument`] for a word of Apache that is not known, with all that are, and for a format that
    /// cannot be read: without a status, or with two words that nothing parts and that are not known to go
    /// together.
    pub fn new(text: &str) -> Result<LogFormat, Error> {
        let text = text.trim();
        let text = NAMED.iter().find(|(name, _)| *name == text).map_or(text, |(_, text)| text);
        let text = &directive(text);
        let (mut pieces, mut before): (Vec<Piece>, _) = (Vec::new(), String::new());
        let is_nginx = text.contains('$');
        let mut last = String::new();
        let mut rest = text.as_str();
        while let Some(character) = rest.chars().next() {
            rest = &rest[character.len_utf8()..];
            let (meaning, length) = match character {
                '$' if is_nginx => variable(rest)?,
                '%' if !is_nginx && rest.starts_with('%') => {
                    before.push('%');
                    rest = &rest[1..];
                    continue;
                }
                '%' if !is_nginx => percent(rest)?,
                // One blank stands for many.
                ' ' | '\t' if before.ends_with(' ') => continue,
                other => {
                    before.push(other);
                    continue;
                }
            };
            let word = format!("{character}{}", &rest[..length]);
            rest = &rest[length..];
            if goes_on(&last, &before, &word) {
                if let Some(piece) = pieces.last_mut().filter(|_| word == "%q") {
                    piece.meaning.name = "request_uri".into();
                }
                (last, before) = (word, String::new());
                continue;
            }
            if meaning.bracketed {
                before.push('[');
            }
            // What begins with a slash needs nothing in front of it: `$host$request_uri`.
            let is_path = ["request_uri", "uri", "document_uri"].contains(&&*meaning.name);
            if before.is_empty() && !pieces.is_empty() && !is_path {
                return Err(refused(LogFormatFault::Joined(word)));
            }
            let closed = if meaning.bracketed { "]".to_owned() } else { String::new() };
            let before = Literal::new(std::mem::replace(&mut before, closed));
            pieces.push(Piece { before, meaning });
            last = word;
        }
        let format = LogFormat { pieces, tail: Literal::new(before) };
        match format.place("status") {
            Some(_) => Ok(format),
            None => Err(refused(LogFormatFault::NoStatus(text.clone()))),
        }
    }

    /// What a number in the field of the time taken is multiplied with to give seconds.
    pub fn time_scale(&self, time: &TimeField) -> f64 {
        match self.time_name(time) {
            Some("microseconds") => 1e-6,
            Some("milliseconds") => 1e-3,
            _ => 1.0,
        }
    }

    /// The names of its fields, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().map(|piece| &*piece.meaning.name)
    }

    /// The name of the field that is the time taken.
    pub(crate) fn time_name(&self, time: &TimeField) -> Option<&str> {
        self.time(time).and_then(|at| self.pieces.get(at)).map(|piece| &*piece.meaning.name)
    }

    /// Where the field of that name or label stands.
    fn place(&self, name: &str) -> Option<usize> {
        let labels = LABELS.iter().find(|(label, _)| *label == name).map_or(&[][..], |(_, of)| of);
        let find = |name: &str| self.pieces.iter().position(|p| &*p.meaning.name == name);
        find(name).or_else(|| labels.iter().find_map(|name| find(name)))
    }

    /// Which field is the time taken.
    fn time(&self, time: &TimeField) -> Option<usize> {
        let count = self.pieces.len();
        match time {
            TimeField::Telling => {
                ["microseconds", "milliseconds", "request_time", "upstream_response_time"]
                    .iter()
                    .find_map(|name| self.place(name))
            }
            TimeField::Last => count.checked_sub(1),
            TimeField::Absent => None,
            TimeField::Number(number @ 1..) => Some(*number as usize - 1).filter(|at| *at < count),
            TimeField::Number(number) => count.checked_sub(number.unsigned_abs() as usize),
            TimeField::Name(name) => {
                self.place(std::str::from_utf8(name).ok()?.trim_start_matches('$'))
            }
        }
    }

    /// Checks that the format has the time taken that is asked for.
    ///
    /// # Errors
    /// [`Error::Argument`] with the names that it has.
    pub fn check(&self, time: &TimeField) -> Result<(), Error> {
        if matches!(time, TimeField::Telling | TimeField::Absent) || self.time(time).is_some() {
            return Ok(());
        }
        let names: Vec<_> = self.pieces.iter().map(|piece| &*piece.meaning.name).collect();
        Err(refused(LogFormatFault::NoTime(names.join(", "))))
    }
}

/// Whether a word of Apache's, with nothing or one character in front of it, is of the field of the last
/// one: `%U%q`, `%{%FT%T}t.%{msec_frac}t%{%z}t`.
fn goes_on(last: &str, between: &str, word: &str) -> bool {
    // `%{begin:sec}t` and its like are whole times.
    let is_of_time = |w: &str| w.starts_with("%{") && w.ends_with("}t") && !w.ends_with("sec}t");
    let is_time = is_of_time(last) && is_of_time(word);
    is_time && matches!(between, "" | "T" | "." | "," | ":" | "-" | "_")
        || (last, between, word) == ("%U", "", "%q")
}

/// The format of a whole directive, or of its strings, which are put together; of other text what is
/// escaped in it, as between the quotes of `LogFormat`, is resolved.
fn directive(text: &str) -> String {
    let word = text.split(|c: char| c.is_whitespace() || c == '=').next().unwrap_or_default();
    let is_directive = word == "log_format" || word.eq_ignore_ascii_case("LogFormat");
    if !is_directive && !is_of_strings(text) {
        return unescaped(text);
    }
    let Some(begin) = text.find(['\'', '"']) else {
        return text[word.len()..].to_owned();
    };
    let (mut format, mut quote, mut escaped) = (String::new(), None, false);
    for character in text[begin..].chars() {
        match quote {
            None => quote = Some(character).filter(|c| matches!(c, '\'' | '"')),
            Some(open) if character == open && !escaped => quote = None,
            Some(_) => format.push(character),
        }
        escaped = character == '\\' && !escaped;
    }
    unescaped(&format)
}

/// Whether all of a text is strings of nginx's, as they stand behind a format's name, or one of
/// Apache's. A format may well begin with a quote of its own: `"%r" %>s "%{Referer}i"`.
fn is_of_strings(text: &str) -> bool {
    let inside = |quote: char| {
        let text = text.trim_end_matches(';').trim_end();
        text.len() > 1 && text.starts_with(quote) && text.ends_with(quote)
    };
    let is_one = text.matches('"').count() == 2;
    text.starts_with("escape=")
        || inside('\'')
        || (inside('"') && (is_one || text.contains("\\\"")))
}

/// A string of a configuration, as nginx and Apache resolve it.
fn unescaped(text: &str) -> String {
    let mut resolved = String::new();
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        let next = if character == '\\' { rest.clone().next() } else { None };
        let meant = match next {
            Some(quoted @ ('"' | '\'' | '\\')) => quoted,
            Some('t') => '\t',
            _ => {
                resolved.push(character);
                continue;
            }
        };
        resolved.push(meant);
        rest.next();
    }
    resolved
}

/// The variable that begins behind a `$`, and its length.
fn variable(rest: &str) -> Result<(Meaning, usize), Error> {
    let open = usize::from(rest.starts_with('{'));
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let length = rest[open..].find(|c| !is_part(c)).unwrap_or(rest.len() - open);
    let name = &rest[open..open + length];
    let close = usize::from(open > 0 && rest[open + length..].starts_with('}'));
    match name {
        "" => Err(unknown("$", "$NAME, ${NAME}")),
        _ => Ok((known::nginx(name), open + length + close)),
    }
}

/// The directive that begins behind a `%`, and its length.
fn percent(rest: &str) -> Result<(Meaning, usize), Error> {
    let modifier = |c: char| c.is_ascii_digit() || matches!(c, '!' | ',' | '<' | '>');
    let skipped = rest.find(|c| !modifier(c)).unwrap_or(rest.len());
    let argument = rest[skipped..].strip_prefix('{').and_then(|inside| inside.split_once('}'));
    let length = skipped + argument.map_or(0, |(inside, _)| inside.len() + 2);
    let behind = rest[length..].trim_start_matches(modifier);
    // How long the first byte took, in microseconds (LogIOTrackTTFB).
    if behind.starts_with("^FB") {
        let first = Meaning { name: "first_byte".into(), bracketed: false, list: false };
        return Ok((first, rest.len() - behind.len() + 3));
    }
    // `%^ti` and `%^to` are trailers: of two letters.
    let letters = behind.strip_prefix("^t").unwrap_or(behind);
    let letter = letters.chars().next();
    let end = rest.len() - letters.len() + letter.map_or(0, char::len_utf8);
    match letter.and_then(|letter| known::apache(letter, argument.map(|(inside, _)| inside))) {
        Some(meaning) => Ok((meaning, end)),
        None => Err(unknown(&format!("%{}", &rest[..end]), &known::apache_words())),
    }
}

fn unknown(word: &str, known: &str) -> Error {
    refused(LogFormatFault::Word { word: word.to_owned(), known: known.to_owned() })
}

fn refused(fault: LogFormatFault) -> Error {
    Error::Argument(Argument::LogFormat(fault))
}

/// Scans a block of whole lines of a format. Key 0 takes the time taken, whatever its name; the
/// others take the field of their name. Of a line that breaks off, what is there counts.
pub fn scan<'a, R: Rows<'a>>(
    block: &'a [u8],
    keys: &Keys,
    format: &LogFormat,
    time: &TimeField,
    rows: &mut R,
) {
    reading::scan_at(Level::best(), block, &Wanted::new(keys, format, time), rows);
}

#[cfg(test)]
mod tests;
