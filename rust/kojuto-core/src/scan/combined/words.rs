//! The fields of a line as its writer put them: words between blanks, texts in quotes, in brackets.

/// Cuts a line into its fields. Blanks between them may be many; what is in quotes or brackets is
/// one field without them, and so is a list as nginx writes it: `0.1, 0.2 : 0.3`. A quote that is
/// never closed goes to the end of the line.
#[derive(Clone)]
pub(super) struct Words<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.rest = blanks_off(self.rest);
        let (word, rest) = match self.rest.first()? {
            b'"' => quoted(self.rest).unwrap_or((&self.rest[1..], b"")),
            b'[' => bracketed(self.rest).unwrap_or_else(|| list(self.rest)),
            _ => list(self.rest),
        };
        self.rest = rest;
        Some(word)
    }
}

/// Without the blanks at the beginning.
pub(super) fn blanks_off(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    &text[blanks..]
}

/// The text up to the next blank, and what follows it.
pub(super) fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(text.len());
    // The value of `name="a b"` is one word with its name.
    if let Some(at) = memchr::memchr(b'"', &text[..end])
        && text[..at].ends_with(b"=")
        && let Some((_, rest)) = quoted(&text[at..])
    {
        return (&text[..text.len() - rest.len()], rest);
    }
    (&text[..end], &text[end..])
}

/// A word, and those behind it that are parts of one list with it.
fn list(text: &[u8]) -> (&[u8], &[u8]) {
    let (_, mut rest) = word(text);
    loop {
        let so_far = &text[..text.len() - rest.len()];
        let next = blanks_off(rest);
        let more = match next.first() {
            Some(b':') if next.get(1) == Some(&b' ') => blanks_off(&next[1..]),
            Some(_) if so_far.ends_with(b",") => next,
            _ => return (so_far, rest),
        };
        if more.is_empty() {
            return (so_far, rest);
        }
        (_, rest) = word(more);
    }
}

fn bracketed(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inside = text.strip_prefix(b"[")?;
    let end = memchr::memchr(b']', inside)?;
    Some((&inside[..end], &inside[end + 1..]))
}

/// The inside of a quoted text at the beginning, and what follows the closing quote.
pub(super) fn quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inside = text.strip_prefix(b"\"")?;
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', inside.get(at..)?)?;
        if inside[at] == b'"' {
            return Some((&inside[..at], &inside[at + 1..]));
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<&str> {
        Words { rest: line.as_bytes() }.map(|word| std::str::from_utf8(word).unwrap()).collect()
    }

    #[test]
    fn a_line_is_cut_at_blanks_outside_of_quotes_brackets_and_lists() {
        assert_eq!(words("a  b\t c "), ["a", "b", "c"]);
        assert_eq!(words(r#""a b" [c d] "e \" f""#), ["a b", "c d", r#"e \" f"#]);
        assert_eq!(words("1 0.1, 0.2 : 0.3 x"), ["1", "0.1, 0.2 : 0.3", "x"]);
        assert_eq!(words("0.1, -"), ["0.1, -"]);
        assert_eq!(words(r#"rt=0.1 ua="a b" x"#), ["rt=0.1", r#"ua="a b""#, "x"]);
    }

    #[test]
    fn what_is_never_closed_goes_to_the_end() {
        assert_eq!(words(r#"a "b c"#), ["a", "b c"]);
        assert_eq!(words("a [b c"), ["a", "[b", "c"]);
        assert_eq!(words("a, "), ["a,"]);
        assert_eq!(words("a :"), ["a", ":"]);
        assert_eq!(words(r#"x="a b"#), [r#"x="a"#, "b"]);
        assert_eq!(words(""), [""; 0]);
    }
}
