//! Numbers, lists of them, and dates.

/// A number or several: signs, decimals, commas between them.
pub(super) fn is_list(text: &[u8]) -> bool {
    text.split(|&byte| byte == b',').all(is_number)
}

fn is_number(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    let digits = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    let mut parts = digits.splitn(2, |&byte| byte == b'.');
    let is_digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    parts.next().is_some_and(is_digits) && parts.next().is_none_or(is_digits)
}

/// `YYYY-MM[-DD]` with or without a time, or `YYYYMMDD` with one (ISO 8601).
pub(super) fn is_date(text: &[u8]) -> bool {
    let Some((year, rest)) = number(text, 4) else { return false };
    if !(1000..=2999).contains(&year) {
        return false;
    }
    let separated = rest.first() == Some(&b'-');
    let rest = if separated { &rest[1..] } else { rest };
    let Some((1..=12, rest)) = number(rest, 2) else { return false };
    if separated && rest.is_empty() {
        return true;
    }
    let rest = if separated { rest.strip_prefix(b"-") } else { Some(rest) };
    match rest.and_then(|rest| number(rest, 2)) {
        Some((1..=31, [])) => separated,
        Some((1..=31, [b'T' | b't' | b' ' | b'_' | b'+', time @ ..])) => is_time(time),
        _ => false,
    }
}

/// `HH[:MM[:SS[.fraction]]]` and a zone; the parts may be joined by nothing, a dash or a dot, too.
fn is_time(text: &[u8]) -> bool {
    let Some((0..=24, mut rest)) = number(text, 2) else { return false };
    for _ in 0..2 {
        let part = rest.strip_prefix(b":").or(rest.strip_prefix(b"-")).or(rest.strip_prefix(b"."));
        let Some((0..=60, behind)) = number(part.unwrap_or(rest), 2) else { break };
        rest = behind;
    }
    if let [b'.' | b',', fraction @ ..] = rest {
        let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return false;
        }
        rest = &fraction[digits..];
    }
    match rest {
        [] | b"Z" | b"z" => true,
        [b'+' | b'-' | b' ', zone @ ..] => match number(zone, 2) {
            Some((0..=23, rest)) => {
                let minutes = rest.strip_prefix(b":").unwrap_or(rest);
                minutes.is_empty() || matches!(number(minutes, 2), Some((0..=59, [])))
            }
            _ => false,
        },
        _ => false,
    }
}

/// The number that so many digits at the beginning are, and what is behind them.
fn number(text: &[u8], digits: usize) -> Option<(u32, &[u8])> {
    let (digits, rest) = text.split_at_checked(digits)?;
    let add =
        |sum: u32, &digit: &u8| digit.is_ascii_digit().then(|| sum * 10 + u32::from(digit - b'0'));
    Some((digits.iter().try_fold(0, add)?, rest))
}
