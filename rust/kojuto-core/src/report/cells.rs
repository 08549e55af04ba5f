//! Lines as columns: what was asked of each, one below the other.

use super::known::{BYTES, ROLES, STATUS, TAKEN, WHEN};

/// A column whose texts take up so many bytes is not to grow any more.
const MUCH_TEXT_BYTES: usize = 32 << 20;

/// Which lines have a value; nothing is kept as long as all have one.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Has(Vec<bool>);

/// Numbers of lines, with what tells where there is none.
#[derive(Debug, Clone, PartialEq)]
pub struct Values<T> {
    /// A number for each line, that of a line without one is nothing.
    pub values: Vec<T>,
    /// Which lines have one.
    pub has: Has,
}

/// Texts of lines, one behind the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Texts {
    /// UTF-8 once they were taken.
    pub bytes: Vec<u8>,
    /// Where each ends, and before all 0.
    pub ends: Vec<i32>,
    /// Which lines have one.
    pub has: Has,
}

/// A column of lines.
#[derive(Debug, Clone, PartialEq)]
pub enum Cells {
    /// Moments, in nanoseconds since the epoch.
    Moments(Values<i64>),
    /// Whole numbers.
    Whole(Values<i64>),
    /// Seconds.
    Seconds(Values<f64>),
    /// Texts.
    Texts(Texts),
}

/// The columns of some lines.
#[derive(Debug, Clone, PartialEq)]
pub struct Columns {
    /// How many lines.
    pub rows: usize,
    /// In the order in which they were asked for.
    pub cells: Vec<Cells>,
}

impl Has {
    /// Takes in whether the next line has one, behind so many lines.
    #[inline(always)]
    fn push(&mut self, has: bool, lines: usize) {
        if !has || !self.0.is_empty() {
            self.push_odd(has, lines);
        }
    }

    #[inline(never)]
    fn push_odd(&mut self, has: bool, lines: usize) {
        self.0.resize(lines, true);
        self.0.push(has);
    }

    /// One for each line, if any has none.
    pub fn into_bools(self) -> Option<Vec<bool>> {
        Some(self.0).filter(|has| !has.is_empty())
    }
}

impl<T: Copy + Default> Values<T> {
    fn with_capacity(lines: usize) -> Values<T> {
        Values { values: Vec::with_capacity(lines), has: Has::default() }
    }

    #[inline]
    pub(super) fn push(&mut self, value: Option<T>) {
        self.has.push(value.is_some(), self.values.len());
        self.values.push(value.unwrap_or_default());
    }
}

impl Texts {
    fn with_capacity(lines: usize, bytes: usize) -> Texts {
        let mut ends = Vec::with_capacity(lines + 1);
        ends.push(0);
        Texts { bytes: Vec::with_capacity(bytes), ends, has: Has::default() }
    }

    /// Adds a text; there is no empty one.
    #[inline]
    pub(super) fn push(&mut self, text: &[u8]) {
        self.has.push(!text.is_empty(), self.ends.len() - 1);
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len() as i32);
    }

    fn each(&self) -> impl Iterator<Item = &[u8]> {
        self.ends.windows(2).map(|ends| &self.bytes[ends[0] as usize..ends[1] as usize])
    }

    /// Writes what is no UTF-8 in the texts as `\xff`.
    fn into_utf8(self) -> Texts {
        let is_whole =
            |text: &str| self.ends.iter().all(|end| text.is_char_boundary(*end as usize));
        if self.bytes.is_ascii() || str::from_utf8(&self.bytes).is_ok_and(is_whole) {
            return self;
        }
        let mut texts = Texts::with_capacity(self.ends.len(), self.bytes.len());
        for text in self.each() {
            let mut shown = String::new();
            for part in text.utf8_chunks() {
                shown.push_str(part.valid());
                part.invalid().iter().for_each(|byte| shown.push_str(&format!("\\x{byte:02x}")));
            }
            texts.push(shown.as_bytes());
        }
        texts
    }
}

impl Cells {
    fn named(name: &str) -> Cells {
        match ROLES.iter().position(|role| *role == name) {
            Some(WHEN) => Cells::Moments(Values::with_capacity(0)),
            Some(STATUS | BYTES) => Cells::Whole(Values::with_capacity(0)),
            Some(TAKEN) => Cells::Seconds(Values::with_capacity(0)),
            _ => Cells::Texts(Texts::with_capacity(0, 0)),
        }
    }

    /// One of the same kind, without lines, with room for as many as this one has.
    fn another(&self) -> Cells {
        match self {
            Cells::Moments(of) => Cells::Moments(Values::with_capacity(of.values.len())),
            Cells::Whole(of) => Cells::Whole(Values::with_capacity(of.values.len())),
            Cells::Seconds(of) => Cells::Seconds(Values::with_capacity(of.values.len())),
            Cells::Texts(of) => Cells::Texts(Texts::with_capacity(of.ends.len(), of.bytes.len())),
        }
    }
}

impl Columns {
    /// Columns of these names, before there are lines: the names tell what they hold.
    pub fn named(names: &[String]) -> Columns {
        Columns { rows: 0, cells: names.iter().map(|name| Cells::named(name)).collect() }
    }

    /// Whether there are so many lines, or so much text, that they should be taken.
    pub fn are_full(&self, rows: usize) -> bool {
        let much = |cells: &Cells| matches!(cells, Cells::Texts(texts) if texts.bytes.len() >= MUCH_TEXT_BYTES);
        self.rows >= rows || self.cells.iter().any(much)
    }

    /// Takes the lines out.
    pub fn take(&mut self) -> Columns {
        let cells = self.cells.iter().map(Cells::another).collect();
        let taken = std::mem::replace(self, Columns { rows: 0, cells });
        let utf8 = |cells| match cells {
            Cells::Texts(texts) => Cells::Texts(texts.into_utf8()),
            cells => cells,
        };
        Columns { rows: taken.rows, cells: taken.cells.into_iter().map(utf8).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Collector, Options};
    use super::*;

    /// The columns of some lines, as text.
    fn shown(options: &Options, names: &[&str], lines: &[u8]) -> Vec<Vec<String>> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut collector = Collector::of_columns(options, &names).unwrap();
        collector.block(lines).unwrap();
        let Columns { rows, cells } = collector.columns().unwrap().take();
        let column = |cells: &Cells| -> Vec<String> {
            let (shown, has): (Vec<String>, &Has) = match cells {
                Cells::Moments(of) | Cells::Whole(of) => {
                    (of.values.iter().map(ToString::to_string).collect(), &of.has)
                }
                Cells::Seconds(of) => {
                    (of.values.iter().map(ToString::to_string).collect(), &of.has)
                }
                Cells::Texts(of) => {
                    let text = |text: &[u8]| String::from_utf8(text.to_vec()).unwrap();
                    (of.each().map(text).collect(), &of.has)
                }
            };
            let has = has.clone().into_bools().unwrap_or_else(|| vec![true; shown.len()]);
            assert_eq!(has.len(), shown.len());
            let cell = |(shown, has)| if has { shown } else { "-".to_owned() };
            shown.into_iter().zip(has).map(cell).collect()
        };
        let shown: Vec<_> = cells.iter().map(column).collect();
        assert!(shown.iter().all(|column| column.len() == rows));
        shown
    }

    const NAMES: [&str; 8] =
        ["time", "method", "path", "uri", "status", "request_time", "bytes", "ua"];

    #[test]
    fn a_line_of_fields_gives_each_column_its_value() {
        let log = b"time:10/Oct/2000:13:55:36 +0000\tmethod:GET\turi:/a/1?x=1\tstatus:200\t\
            size:12\treqtime:0.25\tua:curl/8 \xff\n\
            time:-\tmethod:-\turi:/b\tstatus:101\tsize:-\treqtime:9\tua:-\n";
        let found = shown(&Options::default(), &NAMES, log);
        let expected = [
            ["971186136000000000", "-"],
            ["GET", "-"],
            ["/a/1", "/b"],
            ["/a/1?x=1", "/b"],
            ["200", "101"],
            ["0.25", "-"],
            ["12", "-"],
            ["curl/8 \\xff", "-"],
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_request_line_is_cut_into_method_and_path() {
        let log = b"{\"request\":\"POST /a\\u00e9?b HTTP/1.1\",\"status\":201}\n\
            {\"request\":\"GET /c HTTP/1.1\",\"status\":\"200\"}\n\
            {\"request\":\"\\u0016\\u0003\",\"status\":400}\n";
        let found = shown(&Options::default(), &["method", "path", "uri", "request", "host"], log);
        assert_eq!(found[0], ["POST", "GET", "-"]);
        assert_eq!(found[1], ["/a\u{e9}", "/c", "\u{16}\u{3}"]);
        assert_eq!(found[2], ["/a\u{e9}?b", "/c", "\u{16}\u{3}"]);
        assert_eq!(found[3][1], "GET /c HTTP/1.1");
        assert_eq!(found[4], ["-", "-", "-"]);
    }

    #[test]
    fn lines_that_a_report_does_not_count_are_no_rows() {
        let conditions = super::super::Condition::parse("status >= 400").unwrap();
        let options = Options { conditions, ..Options::default() };
        let log = b"uri:/a\tstatus:200\nuri:/b\tstatus:404\nno line\nuri:/c\tstatus:x\n\0\0uri:/d\tstatus:500\n";
        assert_eq!(shown(&options, &["path", "status"], log), [["/b", "/d"], ["404", "500"]]);
        let names = ["path".to_owned()];
        let mut collector = Collector::of_columns(&options, &names).unwrap();
        collector.block(log).unwrap();
        let totals = collector.into_totals();
        assert_eq!((totals.lines(), totals.left_out()), (5, 1));
        assert_eq!(totals.bad().counts().iter().sum::<u64>(), 2);
    }

    #[test]
    fn texts_whose_characters_two_lines_share_are_not_joined() {
        let log = b"uri:/\xc3\tstatus:1\nuri:\xa9/\tstatus:2\nuri:/\xc3\xa9\tstatus:3\n";
        let found = shown(&Options::default(), &["path"], log);
        assert_eq!(found[0], ["/\\xc3", "\\xa9/", "/\u{e9}"]);
    }

    #[test]
    fn columns_that_were_taken_begin_again() {
        let names = ["path".to_owned(), "status".to_owned()];
        let mut collector = Collector::of_columns(&Options::default(), &names).unwrap();
        for _ in 0..2 {
            collector.block(b"uri:/a\tstatus:200\n").unwrap();
            let columns = collector.columns().unwrap();
            assert!(columns.are_full(1) && !columns.are_full(2));
            assert_eq!(columns.take().rows, 1);
            assert_eq!(*columns, Columns::named(&names));
        }
    }
}
