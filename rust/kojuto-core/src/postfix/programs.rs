//! Which daemon wrote a line, and whether its lines are wanted.

use std::collections::HashMap;

use regex::bytes::{Regex, RegexBuilder};

use super::Options;
use super::lanes;
use crate::Error;
use crate::scan::select::expression;
use crate::scan::simd::Level;

/// The daemons whose lines carry no delay; they are counted by what they say.
const ACTIVITY_DAEMONS: [&[u8]; 5] = [b"smtpd", b"cleanup", b"qmgr", b"pickup", b"postscreen"];

/// What is wanted of the lines of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    No,
    Deliveries,
    Activity,
}

/// The programs asked for. A program names itself `SYSLOG_NAME/DAEMON` in each line, where the
/// syslog name may hold slashes of its own (`postfix/submission`).
#[derive(Debug, Clone)]
pub(super) struct Programs {
    /// Whole names, as they stand in the log.
    names: Vec<Vec<u8>>,
    /// Daemons under any syslog name that `pattern` matches.
    daemons: Vec<Vec<u8>>,
    pattern: Option<Regex>,
    /// What was decided about the names met so far.
    met: HashMap<Box<[u8]>, Wanted>,
    /// The last wanted name, which is mostly the next one too.
    last: (Box<[u8]>, Wanted),
}

/// So many names are remembered; a log with more of them is only read more slowly.
const MAX_MET: usize = 1024;

/// Compiles the pattern of syslog names, which has to match the whole name.
///
/// # Errors
/// [`Error::Argument`] with what is wrong in the pattern.
pub fn syslog_name_pattern(text: &str) -> Result<Regex, Error> {
    let compile = |text: &str| RegexBuilder::new(text).unicode(false).build();
    let compiled = compile(text).and_then(|_| compile(&format!("^(?:{text})$")));
    compiled.map_err(|error| expression(&error))
}

impl Programs {
    pub(super) fn new(options: &Options) -> Result<Programs, Error> {
        let pattern = options.syslog_name.as_deref().map(syslog_name_pattern).transpose()?;
        let (mut names, mut daemons) = (Vec::new(), Vec::new());
        for program in &options.programs {
            if program.contains('/') {
                names.push(program.clone().into_bytes());
            } else if pattern.is_some() {
                daemons.push(program.clone().into_bytes());
            } else {
                names.push(format!("postfix/{program}").into_bytes());
            }
        }
        Ok(Programs {
            names,
            daemons,
            pattern,
            met: HashMap::new(),
            last: (Box::default(), Wanted::No),
        })
    }

    /// Whether one of the programs asked for is of the kind `wanted`.
    pub(super) fn any(&self, wanted: Wanted) -> bool {
        self.names.iter().chain(&self.daemons).any(|name| kind(daemon_of(name)) == wanted)
    }

    /// What is wanted of the program called `name`.
    #[inline]
    pub(super) fn wanted(&mut self, name: &[u8]) -> Wanted {
        if *self.last.0 == *name {
            return self.last.1;
        }
        self.look_up(name)
    }

    fn look_up(&mut self, name: &[u8]) -> Wanted {
        let wanted = match self.met.get(name) {
            Some(&wanted) => wanted,
            None => {
                let wanted = self.decide(name);
                if self.met.len() < MAX_MET {
                    self.met.insert(name.into(), wanted);
                }
                wanted
            }
        };
        if wanted == Wanted::Deliveries {
            self.last = (name.into(), wanted);
        }
        wanted
    }

    fn decide(&self, name: &[u8]) -> Wanted {
        let daemon = daemon_of(name);
        let asked = self.names.iter().any(|asked| asked == name)
            || self.daemons.iter().any(|asked| asked == daemon) && self.pattern_matches(name);
        if asked { kind(daemon) } else { Wanted::No }
    }

    /// Whether the program called `name` is a daemon that is asked for, under another syslog name.
    pub(super) fn is_another_instance(&self, name: &[u8]) -> bool {
        let daemon = daemon_of(name);
        kind(daemon) == Wanted::Deliveries
            && daemon.len() < name.len()
            && self.names.iter().chain(&self.daemons).any(|asked| daemon_of(asked) == daemon)
    }

    fn pattern_matches(&self, name: &[u8]) -> bool {
        let Some(slash) = name.iter().rposition(|&b| b == b'/') else { return false };
        self.pattern.as_ref().is_some_and(|pattern| pattern.is_match(&name[..slash]))
    }
}

fn daemon_of(name: &[u8]) -> &[u8] {
    name.rsplit(|&b| b == b'/').next().unwrap_or(name)
}

fn kind(daemon: &[u8]) -> Wanted {
    if ACTIVITY_DAEMONS.contains(&daemon) { Wanted::Activity } else { Wanted::Deliveries }
}

/// Who wrote a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writer {
    /// Where the name starts and ends, and where the message starts.
    Found(usize, usize, usize),
    /// No daemon: a word without a process id stands where the program does.
    Nobody,
    /// There is no such word before the end that was given.
    NotYet,
}

/// Finds who wrote the line that starts at `start`: the first word of the form `NAME[PID]:`
/// before `end`.
///
/// A line that begins with a syslog or RFC 3339 time stamp must have that word where a program
/// stands, before any other `: `, so that a message which quotes another line is not taken for
/// it. Without such a beginning nothing can be told from a quote, and the first such word counts.
/// What stands behind a program without a process id (`journal: `, of docker's driver) and begins
/// with a time stamp is a line itself.
#[inline]
pub(super) fn writer(level: Level, lines: &[u8], mut start: usize, end: usize) -> Writer {
    if let Some((name, name_end, colon)) = lanes::head(level, lines, start, end) {
        return Writer::Found(name, name_end, colon + 2);
    }
    let mut from = start;
    while let Some(colon) = lanes::find_pair(level, lines, from, end, *b": ") {
        let word = &lines[from..colon];
        if let Some((name_start, name_end)) = name_and_pid(word) {
            // The blank before the name; without one it is the line's first word, no program's.
            if from + name_start > start {
                return Writer::Found(from + name_start, from + name_end, colon + 2);
            }
        }
        let from_start = has_time_stamp(&lines[start..end]);
        from = colon + 2;
        if from_start {
            if !has_time_stamp(&lines[from.min(end)..end]) {
                return Writer::Nobody;
            }
            start = from;
        }
    }
    Writer::NotYet
}

/// Finds who wrote the line that is the message of another program (a container's output in the
/// syslog of its host): it begins at `message`, with a time stamp or with `NAME[PID]: `.
#[cold]
pub(super) fn inner_writer(level: Level, lines: &[u8], message: usize, end: usize) -> Writer {
    let Some(text) = lines.get(message..end) else { return Writer::NotYet };
    if has_time_stamp(text) {
        return writer(level, lines, message, end);
    }
    let colon = lanes::find_pair(level, lines, message, end, *b": ");
    match colon.map(|colon| (colon, name_and_pid(&lines[message..colon]))) {
        Some((colon, Some((0, name_end)))) => Writer::Found(message, message + name_end, colon + 2),
        _ => Writer::Nobody,
    }
}

/// Where a message goes on behind the id that Solaris puts before it: `[ID 197553 mail.info] `.
#[inline]
pub(super) fn behind_message_id(lines: &[u8], message: usize) -> usize {
    const MOST_BYTES: usize = 48;
    let Some(rest) = lines.get(message..).and_then(|text| text.strip_prefix(b"[ID ")) else {
        return message;
    };
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let end = rest.iter().take(MOST_BYTES).position(|&b| b == b']' || b == b'\n');
    match end {
        Some(end) if digits > 0 && rest[digits..].starts_with(b" ") => match rest.get(end..end + 2)
        {
            Some(b"] ") => message + b"[ID ".len() + end + 2,
            _ => message,
        },
        _ => message,
    }
}

/// Where the name is in `… NAME[PID]`.
#[inline]
fn name_and_pid(text: &[u8]) -> Option<(usize, usize)> {
    let inner = text.strip_suffix(b"]")?;
    let digits = inner.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    let name_end = inner.len().checked_sub(digits + 1)?;
    if digits == 0 || inner[name_end] != b'[' {
        return None;
    }
    let length = inner[..name_end].iter().rev().take_while(|&&b| b != b' ').count();
    (length > 0).then_some((name_end - length, name_end))
}

/// Whether a line begins with `Mmm ` or `YYYY-MM-`, a syslog priority before it or not.
fn has_time_stamp(line: &[u8]) -> bool {
    let digits = |text: &[u8]| text.iter().take_while(|b| b.is_ascii_digit()).count();
    let rest = match line {
        [b'<', rest @ ..] => match rest.get(digits(rest)..) {
            Some([b'>', rest @ ..]) => rest,
            _ => line,
        },
        _ => line,
    };
    match rest {
        [a, b, c, b' ', ..] if a.is_ascii_uppercase() => {
            b.is_ascii_lowercase() && c.is_ascii_lowercase()
        }
        [_, _, _, _, b'-', _, _, b'-', ..] => digits(rest) == 4 && digits(&rest[5..]) == 2,
        _ => false,
    }
}
