//! What to read from an access log: its format, the keys, and how times are given.

use crate::error::{Argument, Error};
use crate::scan::beginning::behind_nuls;
pub use crate::scan::combined::TimeField;
pub use crate::scan::duration::TimeList;
use crate::scan::envelope::Envelope;
use crate::scan::fields::Keys;
use crate::scan::json::Prefix;
use crate::scan::log_format::LogFormat;
use crate::scan::{combined, select};

/// How a log's lines are written.
#[derive(Debug, Clone)]
pub enum Format {
    /// Labeled tab-separated values; with [`Prefix::Skip`] what stands before the first `{` of a
    /// line does not count.
    Ltsv(Prefix),
    /// One JSON object a line.
    Json(Prefix),
    /// The common or combined log format of Apache and nginx, with the time taken where
    /// [`TimeField`] says, if it is there.
    Combined,
    /// A format that is given in nginx's or Apache's words.
    Text(Box<LogFormat>),
    /// Named groups of a regular expression; see [`Format::regex`].
    Regex(Box<regex::bytes::Regex>),
    /// Whichever of LTSV, JSON and combined most lines at the beginning of a block look like.
    Auto(Prefix),
}

impl Format {
    /// A format of lines that match a regular expression (of the `regex` crate, on bytes); its named
    /// groups are the fields.
    ///
    /// # Errors
    /// [`Error::Argument`] with what is wrong in the expression, or without a group for one of the
    /// keys of the status.
    pub fn regex(pattern: &str, status_keys: &[String]) -> Result<Format, Error> {
        let format = Format::any_regex(pattern)?;
        let Format::Regex(regex) = &format else { return Ok(format) };
        if !regex.capture_names().flatten().any(|name| status_keys.iter().any(|key| key == name)) {
            return Err(Error::Argument(Argument::StatusGroup { keys: status_keys.to_vec() }));
        }
        Ok(format)
    }

    /// The same, whatever its groups.
    ///
    /// # Errors
    /// [`Error::Argument`] with what is wrong in the expression.
    pub fn any_regex(pattern: &str) -> Result<Format, Error> {
        Ok(Format::Regex(Box::new(select::regex(pattern)?)))
    }

    /// Its name on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Format::Ltsv(_) => "ltsv",
            Format::Json(_) => "json",
            Format::Combined => "combined",
            Format::Text(_) => "log-format",
            Format::Regex(_) => "regex",
            Format::Auto(_) => "auto",
        }
    }

    /// What a number in the field of the time taken is multiplied with to give seconds, where the
    /// format tells its unit.
    pub(crate) fn time_scale(&self, time: &TimeField) -> f64 {
        match self {
            Format::Text(text) => text.time_scale(time),
            _ => 1.0,
        }
    }

    /// Which of the formats a block of lines is in, if any line is in one, and whether more than
    /// half of the lines are.
    pub(super) fn detect(block: &[u8], prefix: Prefix) -> Option<(Format, bool)> {
        let (mut votes, mut count) = ([0usize; 3], 0);
        for line in first_lines(block) {
            count += 1;
            let text = match prefix {
                Prefix::Refuse => line.trim_ascii_start(),
                Prefix::Skip => &line[memchr::memchr(b'{', line).unwrap_or(0)..],
            };
            if text.first() == Some(&b'{') {
                votes[1] += 1;
            } else if combined::is_combined(line) {
                votes[2] += 1;
            } else if line.contains(&b'\t') && line.split(|&b| b == b'\t').all(is_labeled) {
                votes[0] += 1;
            } else if line.ends_with(b"}") && memchr::memmem::find(line, b"{\"").is_some() {
                // Text before an object, such as `web_1  | {…}` of docker compose.
                votes[1] += 1;
            }
        }
        let (format, most) = match votes {
            [0, 0, 0] => return None,
            [ltsv, json, combined] if json >= ltsv && json >= combined => {
                (Format::Json(Prefix::Skip), json)
            }
            [ltsv, _, combined] if combined > ltsv => (Format::Combined, combined),
            [ltsv, ..] => (Format::Ltsv(prefix), ltsv),
        };
        Some((format, most * 2 > count))
    }
}

/// How many lines of a block are looked at together.
const LINES: usize = 32;

/// How often the next lines are looked at where those before them are in no format: what uWSGI says at
/// its start are 38 lines, of a program with many workers some hundred.
const LOOKS: usize = 16;

/// A block from the first on of the lines by which it is told, and from every 32nd behind them.
pub(super) fn looks(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    fn next<'b>(from: &&'b [u8]) -> Option<&'b [u8]> {
        let end = memchr::memchr_iter(b'\n', from).nth(LINES - 1)? + 1;
        from.get(end..).filter(|rest| !rest.is_empty())
    }
    std::iter::successors(Some(block), next).take(LOOKS)
}

/// The lines by which a block is told: not those of nothing, and no comments of W3C's formats.
pub(crate) fn first_lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = block.split(|&b| b == b'\n').map(behind_nuls);
    let lines = lines.filter(|line| !matches!(line.first(), None | Some(b'#')));
    lines.take(LINES).map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// Whether a field has a label as ltsv.org has them, and a colon behind it.
fn is_labeled(field: &[u8]) -> bool {
    let is_of_label = |&byte: &u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let label = field.iter().position(|byte| !is_of_label(byte));
    label.is_some_and(|end| end > 0 && field[end] == b':')
}

/// What to read from a log.
#[derive(Debug, Clone)]
pub struct Options {
    /// What stands around each line.
    pub envelope: Option<Envelope>,
    /// How the lines are written.
    pub format: Format,
    /// The keys and the unit of the time are those that programs have for them, where a log has such.
    pub finds_keys: bool,
    /// The key of the time taken.
    pub ptime_key: String,
    /// The keys of the status; the first listed that has a value wins.
    pub status_keys: Vec<String>,
    /// The key whose values part the lines into groups.
    pub by: Option<String>,
    /// How many groups are kept apart.
    pub max_groups: usize,
    /// Only lines that contain this text; or with `true` only those that do not.
    pub filter: Option<(Vec<u8>, bool)>,
    /// Which field of a line is the time taken, in the formats whose fields have no keys.
    pub time_field: TimeField,
    /// What a time without a unit of its own is multiplied with to give seconds.
    pub time_scale: f64,
    /// What to do with a list of times.
    pub time_list: TimeList,
}

/// The keys of a scan in the order of their values: the time, the statuses, the group; and which one
/// is the last.
pub(super) fn wanted(
    time: &str,
    statuses: &[&str],
    by: Option<&str>,
) -> Result<(Keys, Option<usize>), Error> {
    let mut names = vec![(time.as_bytes(), true)];
    for (at, key) in statuses.iter().enumerate() {
        // Only the first of them ends the search: another may be followed by a better one.
        names.push((key.as_bytes(), at == 0));
    }
    let by = by.map(|by| {
        // It may be one of those already.
        let at = names.iter().position(|(name, _)| *name == by.as_bytes());
        let at = at.unwrap_or_else(|| {
            names.push((by.as_bytes(), true));
            names.len() - 1
        });
        names[at].1 = true;
        at
    });
    Ok((Keys::new(&names)?, by))
}
