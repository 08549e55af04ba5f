//! The values of a line put into columns.

use std::borrow::Cow;

use super::super::super::cells::{Cells, Columns};
use super::super::super::known::{BYTES, METHOD, STATUS, URI, bare};
use super::super::super::line::NO_TIME;
use super::super::Extra;
use super::{Reader, Row};
use crate::scan::fields::{Rows, Values};

/// Takes the lines of a scan.
pub(in super::super) struct Gather<'c, 'a> {
    reader: Reader<'c, 'a>,
    /// What each column is of, and the place of its field.
    asked: &'c [(Extra, usize)],
    columns: &'c mut Columns,
    /// Whether a column is of what the request is.
    has_request: bool,
}

impl<'c, 'a> Gather<'c, 'a> {
    pub(in super::super) fn new(
        reader: Reader<'c, 'a>,
        asked: &'c [(Extra, usize)],
        columns: &'c mut Columns,
    ) -> Gather<'c, 'a> {
        let of_request = |extra: &Extra| matches!(extra, Extra::Role(METHOD | URI) | Extra::Path);
        let has_request = asked.iter().any(|(extra, _)| of_request(extra));
        Gather { reader, asked, columns, has_request }
    }

    #[inline]
    fn push(&mut self, row: &Row<'_, 'a>) {
        let Gather { reader, asked, columns, has_request } = self;
        let nothing = (Cow::Borrowed(&b""[..]), Cow::Borrowed(&b""[..]));
        let (method, target) = if *has_request { reader.request(row) } else { nothing };
        columns.rows += 1;
        for ((extra, at), cells) in asked.iter().zip(&mut columns.cells) {
            match (cells, extra) {
                (Cells::Moments(moments), _) => moments.push(row.at),
                (Cells::Seconds(seconds), _) => {
                    let is_timed = row.nanos != NO_TIME;
                    seconds.push(is_timed.then_some(row.nanos as f64 / 1e9));
                }
                (Cells::Whole(numbers), Extra::Role(STATUS)) => {
                    numbers.push(reader.reading.places[STATUS].map(|_| row.status));
                }
                (Cells::Whole(numbers), _) => {
                    let text = row.values[reader.places[BYTES]];
                    let has = !bare(text).is_empty() && bare(text) != b"-";
                    numbers
                        .push(has.then(|| i64::try_from(reader.bytes(text)).unwrap_or(i64::MAX)));
                }
                (Cells::Texts(texts), Extra::Role(METHOD)) => texts.push(&method),
                (Cells::Texts(texts), Extra::Role(URI)) => texts.push(&target),
                (Cells::Texts(texts), Extra::Path | Extra::Key) => {
                    let end = memchr::memchr2(b'?', b'#', &target).unwrap_or(target.len());
                    texts.push(&target[..end]);
                }
                (Cells::Texts(texts), Extra::File) => texts.push(&reader.counter.file),
                (Cells::Texts(texts), Extra::Field(_) | Extra::Role(_)) => {
                    texts.push(&reader.text(row, extra, *at));
                }
            }
        }
    }
}

impl<'a> Rows<'a> for Gather<'_, 'a> {
    #[inline]
    fn row(&mut self, line: &'a [u8], values: &Values<'a>) {
        if let Some(row) = self.reader.wanted(line, values) {
            self.push(&row);
        }
    }
}

impl Reader<'_, '_> {
    /// The text of a field, as it stands in the log.
    #[inline]
    fn text<'v>(&self, row: &'v Row<'_, '_>, extra: &Extra, at: usize) -> Cow<'v, [u8]> {
        let at = if let Extra::Role(role) = extra { self.places[*role] } else { at };
        match self.resolved(row.values[at]) {
            Cow::Borrowed(value) => bare(value).into(),
            Cow::Owned(value) => value.into(),
        }
    }
}
