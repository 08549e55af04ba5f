//! The heads of syslog messages: RFC 5424, and RFC 3164 as programs and files have it.
//!
//! `<190>Nov 29 14:06:41 host nginx: …`, the same without the priority, with a time stamp of RFC
//! 3339, and without the host (`nohostname` of nginx).

/// What follows the head of a line, if it has one.
#[inline]
pub(super) fn message(line: &[u8]) -> Option<&[u8]> {
    match behind_priority(line) {
        Some(rest) => match rest.strip_prefix(b"1 ") {
            Some(rest) => behind_rfc5424(rest),
            None => behind_rfc3164(rest, false),
        },
        None => behind_rfc3164(line, true),
    }
}

/// `<0>` to `<191>` (RFC 5424, 6.2.1).
fn behind_priority(line: &[u8]) -> Option<&[u8]> {
    let rest = line.strip_prefix(b"<")?;
    let end = rest.iter().take(4).position(|&b| b == b'>')?;
    (end > 0 && rest[..end].iter().all(u8::is_ascii_digit)).then_some(&rest[end + 1..])
}

/// Behind `TIME HOST APP PROCID MSGID DATA` (RFC 5424, 6), whose words may be `-`; the data may lack.
fn behind_rfc5424(mut rest: &[u8]) -> Option<&[u8]> {
    for _ in 0..5 {
        (_, rest) = word(rest)?;
    }
    let mut rest = match rest.first()? {
        b'-' => &rest[1..],
        b'[' => behind_data(rest)?,
        // Heroku's drains leave the data out.
        _ => return Some(rest),
    };
    if let Some((b' ', message)) = rest.split_first() {
        rest = message;
    } else if !rest.is_empty() {
        return None;
    }
    Some(rest.strip_prefix(b"\xef\xbb\xbf").unwrap_or(rest))
}

/// Behind elements such as `[id name="value" …]`, in whose values `"`, `]` and `\` have a backslash.
fn behind_data(mut rest: &[u8]) -> Option<&[u8]> {
    while rest.first() == Some(&b'[') {
        let (mut at, mut quoted) = (1, false);
        loop {
            match rest.get(at)? {
                b'\\' if quoted => at += 1,
                b'"' => quoted = !quoted,
                b']' if !quoted => break,
                _ => {}
            }
            at += 1;
        }
        rest = &rest[at + 1..];
    }
    Some(rest)
}

/// Behind a time, a host and a tag. Without a priority before it only a tag with its colon tells
/// such a line from any other that begins with a time.
fn behind_rfc3164(line: &[u8], must_be_tagged: bool) -> Option<&[u8]> {
    let rest = behind_time(line)?;
    let (first, behind_first) = word(rest)?;
    if first.ends_with(b":") {
        return Some(behind_first);
    }
    match word(behind_first) {
        Some((tag, message)) if tag.ends_with(b":") => Some(message),
        _ if behind_first.ends_with(b":") => Some(b""),
        _ => (!must_be_tagged).then_some(behind_first),
    }
}

const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";

/// Behind `Nov 29 14:06:41 ` or a time stamp of RFC 3339.
fn behind_time(line: &[u8]) -> Option<&[u8]> {
    let is_time = |text: &[u8]| text.len() >= 8 && text[2] == b':' && text[5] == b':';
    if line.first()?.is_ascii_digit() {
        let (time, rest) = word(line)?;
        return (time.get(10) == Some(&b'T') && is_time(&time[11..])).then_some(rest);
    }
    let (month, day) = (line.get(..3)?, line.get(3..7)?);
    let known = MONTHS.chunks(3).any(|name| name == month);
    (known && day.starts_with(b" ") && day.ends_with(b" ")).then_some(())?;
    let (time, rest) = word(&line[7..])?;
    is_time(time).then_some(rest)
}

/// A word and what follows the blank behind it.
fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b' ', text)?;
    (end > 0).then_some((&text[..end], &text[end + 1..]))
}
