//! Numbers out of the fields of LTSV, JSON or combined lines, parted into groups by another field.

use crate::Error;
use crate::scan::combined::{self, TimeField};
use crate::scan::duration;
use crate::scan::fields::{Keys, RowFn};
use crate::scan::json::{self, Prefix, unescape};
use crate::scan::ltsv;
use crate::scan::number::parse_f64;
use crate::stats::group_name::{self, GroupName};
use crate::stats::pieces::{LineCutter, MAX_LINE_BYTES, Piece};
use crate::stats::pile::{self, Pile};
use crate::stats::samples::Rejected;
use crate::stats::sketch::Sketch;
use crate::stats::space_saving::SpaceSaving;

/// How the lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Labeled tab-separated values.
    Ltsv,
    /// One JSON object a line, whatever stands before it.
    Json,
    /// The common or combined format of Apache and nginx: its fields by the labels of ltsv.org, the
    /// time taken behind them as `ptime`, and `NAME=value` behind them.
    Combined,
}

/// The numbers read so far, by group.
#[derive(Debug)]
pub struct Groups {
    /// Those of a reading without groups.
    pub all: Vec<f64>,
    named: SpaceSaving<Pile>,
    missing: Pile,
    other: Pile,
    max_groups: usize,
    blank: Option<Sketch>,
}

impl Default for Groups {
    fn default() -> Groups {
        Groups::new(1, None)
    }
}

impl Groups {
    /// No numbers yet; at most `max_groups` values are kept apart in the end, the most frequent.
    /// With a `blank` sketch each group is kept in one of its accuracy.
    pub fn new(max_groups: usize, blank: Option<Sketch>) -> Groups {
        // Sixteen times as many meanwhile: those that turn out to be the largest are whole in
        // nearly any stream. What they take beside their numbers is little.
        let named = SpaceSaving::new(max_groups.saturating_mul(16));
        let (missing, other) = (Pile::default(), Pile::default());
        Groups { all: Vec::new(), named, missing, other, max_groups, blank }
    }

    fn add(&mut self, name: &[u8], number: f64) {
        let name = &*group_name::bounded(name);
        let blank = self.blank.as_ref();
        if name.is_empty() {
            self.missing.add(number, blank);
        } else {
            let other = &mut self.other;
            self.named.group(name, |evicted| other.absorb(evicted, blank)).add(number, blank);
        }
    }

    /// The groups and their numbers: the largest first, the pool last.
    pub fn into_sorted(self) -> Vec<(GroupName, Pile)> {
        let Groups { named, missing, other, max_groups, blank, .. } = self;
        let named = named.into_groups().map(|(name, pile)| (GroupName::Value(name), pile));
        pile::pooled(named.collect(), missing, other, max_groups, blank.as_ref())
    }
}

/// Reads the number of one field of each line.
#[derive(Debug)]
pub struct Records {
    cutter: LineCutter,
    keys: Keys,
    /// The same behind a first one, which is what stands behind the fields of a combined line.
    combined: Keys,
    behind: TimeField,
    is_behind: bool,
    by: Option<usize>,
    wanted: Option<Format>,
    format: Option<Format>,
    lines: u64,
    bad: Rejected,
}

/// Takes a line, its number, and what it is grouped by.
type Take<'r> = &'r mut dyn FnMut(&[u8], &[u8], &[u8]);

impl Records {
    /// Reads the field `key` and groups by the field `by`. Without a `format`, each stream's first
    /// line that has the field in one of them tells.
    ///
    /// # Errors
    /// [`Error::Argument`] for an empty key.
    pub fn new(key: &[u8], by: Option<&[u8]>, format: Option<Format>) -> Result<Records, Error> {
        let mut names = vec![(key, true)];
        // The numbers may be parted by themselves.
        names.extend(by.filter(|by| *by != key).map(|by| (by, true)));
        let behind = match key {
            b"ptime" => TimeField::Telling,
            name => TimeField::Name(name.into()),
        };
        let combined: Vec<_> = std::iter::once((&b"\0"[..], true)).chain(names.clone()).collect();
        Ok(Records {
            cutter: LineCutter::default(),
            keys: Keys::new(&names)?,
            combined: Keys::new(&combined)?,
            behind,
            is_behind: !combined::FIELDS.iter().any(|name| name.as_bytes() == key),
            by: by.map(|_| names.len() - 1),
            wanted: format,
            format,
            lines: 0,
            bad: Rejected::default(),
        })
    }

    /// Takes the next piece of the stream and adds the numbers of the lines that it completes.
    pub fn feed(&mut self, chunk: &[u8], groups: &mut Groups) {
        let mut cutter = std::mem::take(&mut self.cutter);
        cutter.feed(chunk, |piece| self.piece(piece, groups));
        self.cutter = cutter;
    }

    /// The stream has ended: reads a last line without a newline, and answers how many lines there
    /// were and those without a number. The next piece begins another stream.
    pub fn finish(&mut self, groups: &mut Groups) -> (u64, Rejected) {
        let mut cutter = std::mem::take(&mut self.cutter);
        cutter.finish(|piece| self.piece(piece, groups));
        self.format = self.wanted;
        (std::mem::take(&mut self.lines), std::mem::take(&mut self.bad))
    }

    /// The lines so far that held no number.
    pub fn bad(&self) -> &Rejected {
        &self.bad
    }

    fn piece(&mut self, piece: Piece<'_>, groups: &mut Groups) {
        let mut block = match piece {
            Piece::TooLong(head) => {
                self.lines += 1;
                self.bad.add(self.lines, head);
                return;
            }
            Piece::Lines(block) => block,
        };
        if self.lines == 0 {
            block = block.strip_prefix(b"\xef\xbb\xbf").unwrap_or(block);
        }
        while self.format.is_none() {
            let Some(end) = memchr::memchr(b'\n', block) else { return };
            let (line, rest) = block.split_at(end + 1);
            self.format = self.format_of(line);
            if self.format.is_none() {
                self.lines += 1;
                let text = line.trim_ascii();
                if !text.is_empty() {
                    self.bad.add(self.lines, text);
                }
                block = rest;
            }
        }
        if let Some(format) = self.format {
            self.block(format, block, groups);
        }
    }

    /// The format in which a line has the field.
    fn format_of(&self, line: &[u8]) -> Option<Format> {
        let all = match line.trim_ascii_start().first() {
            Some(b'{') => [Format::Json, Format::Ltsv, Format::Combined],
            _ => [Format::Ltsv, Format::Json, Format::Combined],
        };
        all.into_iter().find(|format| {
            let mut has_it = false;
            self.scan(*format, line, &mut |_, number, _| has_it = !number.is_empty());
            has_it
        })
    }

    /// Calls `row` for each line with the field and what it is grouped by.
    fn scan(&self, format: Format, block: &[u8], row: Take<'_>) {
        let mut plain: RowFn<'_> = &mut |line, values| {
            row(line, values[0], self.by.map_or(&b""[..], |by| values[by]));
        };
        match format {
            Format::Ltsv => ltsv::scan(block, &self.keys, &mut plain),
            Format::Json => json::scan(block, &self.keys, Prefix::Skip, &mut plain),
            Format::Combined => {
                let mut behind: RowFn<'_> = &mut |line, values| {
                    let number = values[usize::from(!self.is_behind)];
                    let by = match self.by {
                        Some(0) => number,
                        by => by.map_or(&b""[..], |by| values[by + 1]),
                    };
                    row(line, number, by);
                };
                combined::scan(block, &self.combined, &self.behind, &mut behind);
            }
        }
    }

    fn block(&mut self, format: Format, block: &[u8], groups: &mut Groups) {
        let (mut lines, mut bad) = (self.lines, std::mem::take(&mut self.bad));
        let (is_grouped, is_time) = (self.by.is_some(), self.behind == TimeField::Telling);
        self.scan(format, block, &mut |line, text, by| {
            lines += 1;
            let text = text.trim_ascii();
            let number = parse_f64(text).filter(|_| line.len() <= MAX_LINE_BYTES);
            // Behind the fields of a combined line a time is told by its fraction or its unit.
            let is_combined = format == Format::Combined && is_time;
            let number = number.or_else(|| duration::seconds(text).filter(|_| is_combined));
            match number {
                None if line.trim_ascii().is_empty() => {}
                // A value is shown rather than the line, when there is one.
                None => bad.add(lines, if text.is_empty() { line } else { text }),
                Some(number) if !is_grouped => groups.all.push(number),
                Some(number) if format == Format::Json => groups.add(&unescape(by), number),
                Some(number) => groups.add(by, number),
            }
        });
        (self.lines, self.bad) = (lines, bad);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Sorted = Vec<(String, Vec<f64>)>;

    fn read(stream: &[u8], by: Option<&[u8]>, max: usize, sizes: &[usize]) -> (Sorted, Rejected) {
        let mut records = Records::new(b"ptime", by, None).unwrap();
        let mut groups = Groups::new(max, None);
        let mut rest = stream;
        for &size in sizes {
            let (piece, left) = rest.split_at(size.min(rest.len()));
            records.feed(piece, &mut groups);
            rest = left;
        }
        records.feed(rest, &mut groups);
        let (_, bad) = records.finish(&mut groups);
        let all = std::mem::take(&mut groups.all);
        let mut sorted: Sorted = groups
            .into_sorted()
            .into_iter()
            .map(|(name, pile)| {
                let Pile::Numbers(numbers) = pile else { panic!("a sketch that nobody wants") };
                match name {
                    GroupName::Value(name) => (String::from_utf8(name.into()).unwrap(), numbers),
                    other => (format!("{other:?}"), numbers),
                }
            })
            .collect();
        if by.is_none() {
            sorted.push((String::new(), all));
        }
        (sorted, bad)
    }

    const LTSV: &[u8] = b"status:200\tptime:0.5\nptime:0.25\tstatus:404\r\n\nstatus:200\tptime:-\n\
        ptime:1.5\nstatus:200\tptime:3\nptime:x\tstatus:200";

    #[test]
    fn a_field_of_ltsv_lines_by_group() {
        for sizes in [&[][..], &[1; 90], &[30, 30]] {
            let (groups, bad) = read(LTSV, Some(b"status"), 10, sizes);
            let expected = [("200", vec![0.5, 3.0]), ("404", vec![0.25]), ("Missing", vec![1.5])];
            assert_eq!(groups, expected.map(|(name, numbers)| (name.to_owned(), numbers)));
            assert_eq!((bad.count, bad.first_line), (2, 4));
            assert_eq!(read(LTSV, None, 10, sizes).0[0].1, [0.5, 0.25, 1.5, 3.0]);
        }
    }

    #[test]
    fn groups_beyond_the_limit_are_pooled() {
        let (groups, _) = read(LTSV, Some(b"status"), 1, &[]);
        assert_eq!(
            groups[1..],
            [("Missing".to_owned(), vec![1.5]), ("Other".to_owned(), vec![0.25])]
        );
        let (groups, _) =
            read(b"g:other\tptime:1\ng:b\tptime:2\ng:other\tptime:1\n", Some(b"g"), 1, &[]);
        assert_eq!(groups, [("other".to_owned(), vec![1.0; 2]), ("Other".to_owned(), vec![2.0])]);
        let long = format!("g:{}\tptime:1\n", "x".repeat(1000));
        let (groups, _) = read(long.as_bytes(), Some(b"g"), 5, &[]);
        assert_eq!(groups[0].0.len(), group_name::MAX_GROUP_BYTES);
    }

    #[test]
    fn a_group_that_comes_late_and_often_is_not_pooled() {
        let singles: String = (0..100).map(|n| format!("g:{n}\tptime:1\n")).collect();
        let stream = singles + &"g:hot\tptime:2\n".repeat(50);
        let (groups, _) = read(stream.as_bytes(), Some(b"g"), 2, &[]);
        assert_eq!(groups.len(), 3);
        assert_eq!(groups[0], ("hot".to_owned(), vec![2.0; 50]));
        assert_eq!(groups[2].1, [1.0; 99]);
    }

    #[test]
    fn groups_may_be_sketches() {
        let blank = Sketch::new(0.01).unwrap();
        let mut records = Records::new(b"ptime", Some(b"g"), None).unwrap();
        let mut groups = Groups::new(1, Some(blank.clone()));
        let stream = "g:a\tptime:1\n".repeat(99) + &"g:b\tptime:2\n".repeat(80) + "ptime:3\n";
        records.feed(stream.as_bytes(), &mut groups);
        records.finish(&mut groups);
        let of = |number: f64, count: u64| {
            let mut sketch = blank.clone();
            (0..count).for_each(|_| sketch.add(number));
            Pile::Sketch(Box::new(sketch))
        };
        let expected = [
            (GroupName::Value((*b"a").into()), of(1.0, 99)),
            (GroupName::Missing, of(3.0, 1)),
            (GroupName::Other, of(2.0, 80)),
        ];
        assert_eq!(groups.into_sorted(), expected);
    }

    #[test]
    fn numbers_may_be_parted_by_themselves() {
        let (groups, _) = read(b"ptime:1\nptime:2\nptime:1\n", Some(b"ptime"), 9, &[]);
        assert_eq!(groups, [("1".to_owned(), vec![1.0; 2]), ("2".to_owned(), vec![2.0])]);
    }

    #[test]
    fn the_first_line_that_has_the_field_tells_the_format() {
        let combined =
            |end: &str| format!("h - - [t] \"GET /a HTTP/1.1\" 200 12 \"-\" \"u\" {end}");
        let (one, two) = (combined("0.5"), combined("2ms"));
        let odd = "# a comment\n\ntime: none\n{\"a\":1}\n";
        for (lines, uri) in [
            (["ptime:0.5\turi:/a", "uri:/a\tptime:0.002"], "/a"),
            (["{\"ptime\":0.5,\"uri\":\"/a\"}", "x {\"uri\":\"/a\",\"ptime\":0.002}"], "/a"),
            (["t stdout F {\"ptime\":0.5}", "{\"ptime\":0.002}"], "Missing"),
            ([&one[..], &two], "/a"),
        ] {
            let stream = format!("{odd}{}\n{}", lines[0], lines[1]);
            for sizes in [&[][..], &[1; 200], &[40, 3]] {
                let (groups, bad) = read(stream.as_bytes(), Some(b"uri"), 9, sizes);
                assert_eq!(groups, [(uri.to_owned(), vec![0.5, 0.002])], "{stream}");
                assert_eq!((bad.count, bad.first_line), (3, 1));
            }
        }
        let mut records = Records::new(b"size", None, Some(Format::Combined)).unwrap();
        let mut groups = Groups::default();
        records.feed(format!("{one}\n").as_bytes(), &mut groups);
        assert_eq!(groups.all, [12.0]);
        let mut records = Records::new(b"rt", Some(b"rt"), None).unwrap();
        let mut groups = Groups::new(3, None);
        records.feed(format!("{}\n", combined("rt=7")).as_bytes(), &mut groups);
        let expected = [(GroupName::Value((*b"7").into()), Pile::Numbers(vec![7.0]))];
        assert_eq!(groups.into_sorted(), expected);
    }

    #[test]
    fn json_lines_are_known_by_their_brace() {
        let stream = b"\xef\xbb\xbf\n{\"uri\":\"/a\\u0062\",\"ptime\":\"0.5\"}\n\
            {\"ptime\":2,\"uri\":\"/ab\"}\n{\"ptime\":null}\n{\"a\":{\"ptime\":1}}\n";
        let (groups, bad) = read(stream, Some(b"uri"), 10, &[7, 30]);
        assert_eq!(groups, [("/ab".to_owned(), vec![0.5, 2.0])]);
        assert_eq!((bad.count, bad.first_line), (2, 4));
    }

    proptest! {
        #[test]
        fn no_cut_changes_what_is_read(
            lines in proptest::collection::vec(
                "(ptime:[0-9]{1,3}\t)?(g:[a-c]?\t)?[a-c:\t]{0,5}\r?", 0..40),
            sizes in proptest::collection::vec(0usize..60, 0..12),
        ) {
            let stream = lines.join("\n");
            prop_assert_eq!(
                read(stream.as_bytes(), Some(b"g"), 2, &sizes),
                read(stream.as_bytes(), Some(b"g"), 2, &[])
            );
        }
    }
}
