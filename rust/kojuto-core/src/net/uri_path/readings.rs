//! All that readers of different habits make of a path.

use std::borrow::Cow;
use std::collections::HashSet;

use super::{Allowed, Refusal};

/// Readings that are looked at; a path with more is nobody's honest name.
pub(super) const MOST: usize = 512;
/// Decodings, one after the other.
const DECODINGS: u8 = 2;

/// Something that a reader may do to a path.
type Habit = fn(&str) -> Cow<'_, str>;

const HABITS: [Habit; 7] =
    [slashes, parameters, before_query, merged, resolved, compatible, trimmed];

/// One reading of a path, and the allowed paths as the same reader would have them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Reading {
    pub(super) text: String,
    /// None: as they are, since no habit changes them.
    pub(super) allowed: Option<Vec<String>>,
    decoded: u8,
}

/// Shows every reading of `text` to `visit`, which says whether to go on: whatever the readers on
/// its way do, in whatever order. What they do to the path they do to the allowed ones.
///
/// # Errors
/// There is a reading that is no path, or there are too many.
pub(super) fn each(
    text: String,
    allowed: &[&Allowed],
    mut visit: impl FnMut(&Reading) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let plain = allowed.iter().all(|path| path.plain);
    let allowed = (!plain).then(|| allowed.iter().map(|path| path.path.clone()).collect());
    let first = Reading { text, allowed, decoded: 0 };
    visit(&first)?;
    if plain && is_plain(&first.text) {
        return Ok(());
    }
    let mut seen = HashSet::from([first.clone()]);
    let mut waiting = vec![first];
    while let Some(reading) = waiting.pop() {
        let habits = HABITS.iter().map(|habit| Ok(after(&reading, *habit)));
        for next in habits.chain((reading.decoded < DECODINGS).then(|| decoded(&reading))) {
            let next = next?;
            if climbs(&next.text) {
                return Err(Refusal::Leaves);
            }
            if seen.contains(&next) {
                continue;
            }
            if seen.len() >= MOST {
                return Err(Refusal::Many);
            }
            visit(&next)?;
            seen.insert(next.clone());
            waiting.push(next);
        }
    }
    Ok(())
}

fn after(reading: &Reading, habit: Habit) -> Reading {
    let changed = |paths: &Vec<String>| paths.iter().map(|p| habit(p).into_owned()).collect();
    let allowed = reading.allowed.as_ref().map(changed);
    Reading { text: habit(&reading.text).into_owned(), allowed, decoded: reading.decoded }
}

fn decoded(reading: &Reading) -> Result<Reading, Refusal> {
    let text = again(&reading.text)?;
    let changed = text != reading.text;
    let once_more = |paths: &Vec<String>| paths.iter().map(|path| again(path)).collect();
    let allowed: Option<Result<_, Refusal>> = reading.allowed.as_ref().map(once_more);
    Ok(Reading {
        text,
        allowed: allowed.transpose()?,
        decoded: reading.decoded + u8::from(changed),
    })
}

/// Whether no habit and no decoding changes a path.
pub(super) fn is_plain(path: &str) -> bool {
    let special = |byte: u8| matches!(byte, b'%' | b'\\' | b';' | b'?' | b'#');
    let bytes = path.as_bytes();
    let odd_pair = |pair: &[u8]| pair[0] == b'/' && matches!(pair[1], b'/' | b'.' | b' ');
    !bytes.iter().any(|&byte| special(byte))
        && !bytes.windows(2).any(odd_pair)
        && (path.is_ascii() && !path.contains(' ') || is_plain_text(path))
}

fn is_plain_text(path: &str) -> bool {
    !path.chars().any(|c| compatible_form(c).is_some())
        && path.split('/').all(|segment| segment.trim() == segment)
}

/// Whether dot segments lead above the root.
fn climbs(path: &str) -> bool {
    let mut depth = 0usize;
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." if depth == 0 => return true,
            ".." => depth -= 1,
            _ => depth += 1,
        }
    }
    false
}

/// Backslashes are slashes.
fn slashes(path: &str) -> Cow<'_, str> {
    if path.contains('\\') { path.replace('\\', "/").into() } else { path.into() }
}

/// What stands behind a semicolon is not the segment's name.
fn parameters(path: &str) -> Cow<'_, str> {
    let cut = |segment: &str| segment.split(';').next().unwrap_or_default().to_owned();
    if path.contains(';') { by_segment(path, cut).into() } else { path.into() }
}

/// A question mark or a number sign ends the path, even one that was encoded.
fn before_query(path: &str) -> Cow<'_, str> {
    path.split(['?', '#']).next().unwrap_or_default().into()
}

/// Several slashes are one.
fn merged(path: &str) -> Cow<'_, str> {
    if !path.contains("//") {
        return path.into();
    }
    let mut last = '\0';
    let mut keep = |c: char| {
        let keep = c != '/' || last != '/';
        last = c;
        keep
    };
    path.chars().filter(|&c| keep(c)).collect::<String>().into()
}

/// Dot segments are resolved (RFC 3986, 5.2.4).
fn resolved(path: &str) -> Cow<'_, str> {
    if !path.contains("/.") {
        return path.into();
    }
    let mut kept: Vec<&str> = Vec::new();
    let mut open = false; // a dot segment at the end leaves its slash
    for segment in path.split('/').skip(1) {
        open = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    let end = if open && !kept.is_empty() { "/" } else { "" };
    format!("/{}{end}", kept.join("/")).into()
}

/// Characters are replaced by their compatibility forms.
fn compatible(path: &str) -> Cow<'_, str> {
    if path.is_ascii() || !path.chars().any(|c| compatible_form(c).is_some()) {
        return path.into();
    }
    let mut text = String::with_capacity(path.len());
    for c in path.chars() {
        match compatible_form(c) {
            Some(form) => text.push_str(form),
            None => text.push(c),
        }
    }
    text.into()
}

/// Blanks at the ends of a segment are no part of its name.
fn trimmed(path: &str) -> Cow<'_, str> {
    if path.split('/').all(|segment| segment.trim() == segment) {
        return path.into();
    }
    by_segment(path, |segment| segment.trim().to_owned()).into()
}

fn by_segment(path: &str, change: impl Fn(&str) -> String) -> String {
    path.split('/').map(change).collect::<Vec<_>>().join("/")
}

/// Decodes what is decoded already once more: a broken escape stays as it is.
fn again(path: &str) -> Result<String, Refusal> {
    if !path.contains('%') {
        return Ok(path.to_owned());
    }
    let bytes = path.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|&byte| char::from(byte).to_digit(16));
    let (mut found, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                found.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                found.push(byte);
                at += 1;
            }
        }
    }
    let text = String::from_utf8(found).map_err(|_| Refusal::Twice)?;
    if text.chars().any(char::is_control) { Err(Refusal::Twice) } else { Ok(text) }
}

/// What compatibility decomposition (Unicode, NFKC) or a code page's "best fit" makes of a
/// character, where it matters here.
fn compatible_form(c: char) -> Option<&'static str> {
    Some(match c {
        '\u{2024}' | '\u{fe52}' | '\u{ff0e}' => ".",
        '\u{2025}' | '\u{fe30}' => "..",
        '\u{2026}' => "...",
        '\u{2044}' | '\u{2215}' | '\u{29f8}' | '\u{ff0f}' => "/",
        '\u{2216}' | '\u{29f5}' | '\u{29f9}' | '\u{fe68}' | '\u{ff3c}' => "\\",
        '\u{fe6a}' | '\u{ff05}' => "%",
        '\u{037e}' | '\u{fe54}' | '\u{ff1b}' => ";",
        '\u{ff1f}' | '\u{fe56}' => "?",
        '\u{ff03}' | '\u{fe5f}' => "#",
        _ => return None,
    })
}
