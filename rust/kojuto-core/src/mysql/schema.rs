//! The default schema of a session: as the server's session tracking tells it, or as a statement
//! that begins with `USE` does.
//!
//! Source: MySQL internals, "OK_Packet" (session state information); the manual, "USE Statement",
//! "Comments".

use super::wire::{lenenc, skip, u16_at};

const SESSION_TRACK: u32 = 1 << 23;
const STATE_CHANGED: u16 = 1 << 14;
const SCHEMA: u8 = 1;

/// The schema that an OK packet says is now the default one; None when it says nothing of it.
pub(super) fn tracked_schema(head: &[u8], capabilities: u32) -> Option<&[u8]> {
    if capabilities & SESSION_TRACK == 0 {
        return None;
    }
    let mut rest = head.get(1..)?;
    lenenc(&mut rest)?; // rows that were changed
    lenenc(&mut rest)?; // the last number that was given
    let status = u16_at(rest, 0)?;
    if status & STATE_CHANGED == 0 {
        return None;
    }
    skip(&mut rest, 4)?; // status and warnings
    text(&mut rest)?; // what was done, in words
    let mut changes = text(&mut rest)?;
    let mut found = None;
    while let Some((&kind, tail)) = changes.split_first() {
        changes = tail;
        let mut change = text(&mut changes)?;
        if kind == SCHEMA {
            found = Some(text(&mut change)?);
        }
    }
    found
}

/// A length-encoded text.
fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(lenenc(rest)?).ok()?;
    let (found, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(found)
}

/// The schema that a statement chooses which begins with `USE`; `cut` when its end is missing.
pub(super) fn schema_of_use(sql: &[u8], cut: bool) -> Option<Vec<u8>> {
    let rest = after_blanks(sql);
    let (word, rest) = rest.split_at_checked(3)?;
    let name = after_blanks(rest);
    let apart = name.len() < rest.len() || matches!(name.first(), Some(b'`' | b'"'));
    if !word.eq_ignore_ascii_case(b"use") || !apart {
        return None;
    }
    let schema = match name.first()? {
        &quote @ (b'`' | b'"') => unquoted(&name[1..], quote)?,
        _ => {
            let part = |b: &u8| b.is_ascii_alphanumeric() || b"_$".contains(b) || *b >= 0x80;
            let length = name.iter().position(|b| !part(b)).unwrap_or(name.len());
            if cut && length == name.len() {
                return None;
            }
            name[..length].to_vec()
        }
    };
    (!schema.is_empty()).then_some(schema)
}

/// What stands before the closing quote; two of them are one that belongs to the name.
fn unquoted(mut rest: &[u8], quote: u8) -> Option<Vec<u8>> {
    let mut name = Vec::new();
    loop {
        let end = rest.iter().position(|&b| b == quote)?;
        name.extend_from_slice(&rest[..end]);
        rest = &rest[end + 1..];
        if rest.first() != Some(&quote) {
            return Some(name);
        }
        name.push(quote);
        rest = &rest[1..];
    }
}

/// Without the blanks and comments at its beginning.
fn after_blanks(mut sql: &[u8]) -> &[u8] {
    let after = |sql: &[u8], end: &[u8]| {
        sql.windows(end.len()).position(|part| part == end).map_or(sql.len(), |at| at + end.len())
    };
    loop {
        sql = sql.trim_ascii_start();
        let end = if sql.starts_with(b"/*") && !sql.starts_with(b"/*!") {
            2 + after(&sql[2..], b"*/")
        } else if sql.starts_with(b"#")
            || (sql.starts_with(b"--") && sql.get(2).is_none_or(u8::is_ascii_whitespace))
        {
            after(sql, b"\n")
        } else {
            return sql;
        };
        sql = &sql[end..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_read_from_its_statement() {
        for (sql, schema) in [
            ("USE shop", Some("shop")),
            ("use\n\tshop ;", Some("shop")),
            ("USE shop; SELECT 1", Some("shop")),
            ("USE`my ``own`` shop`", Some("my `own` shop")),
            ("USE \"shop\"", Some("shop")),
            ("/* app:1 */ -- why\n# so\nUSE/**/l\u{e4}den_1$", Some("l\u{e4}den_1$")),
            ("USERS", None),
            ("USE", None),
            ("US", None),
            ("USE ", None),
            ("USE `never closed", None),
            ("/* USE shop", None),
            ("SELECT 1; USE shop", None),
            ("--USE shop", None),
        ] {
            let found = schema_of_use(sql.as_bytes(), false);
            assert_eq!(found.as_deref(), schema.map(str::as_bytes), "{sql}");
        }
        assert_eq!(schema_of_use(b"USE sho", true), None, "the name may go on");
        assert_eq!(schema_of_use(b"USE shop; SEL", true).as_deref(), Some(&b"shop"[..]));
    }

    #[test]
    fn a_schema_is_read_from_what_the_server_tracks() {
        // Rows, number, status, warnings, words, then a variable, the schema and a state.
        let ok = b"\0\0\0\x02\x40\0\0\x02hi\x11\0\x05\x01a\x02on\x01\x05\x04shop\x02\x01\x31";
        assert_eq!(tracked_schema(ok, SESSION_TRACK), Some(&b"shop"[..]));
        assert_eq!(tracked_schema(ok, 0), None);
        assert_eq!(tracked_schema(&[&ok[..4], &[0], &ok[5..]].concat(), SESSION_TRACK), None);
        for length in 0..ok.len() {
            assert_eq!(tracked_schema(&ok[..length], SESSION_TRACK), None, "{length} bytes");
        }
        let dropped = b"\0\0\0\x02\x40\0\0\0\x03\x01\x01\0";
        assert_eq!(tracked_schema(dropped, SESSION_TRACK), Some(&b""[..]));
    }
}
