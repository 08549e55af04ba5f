//! One number a line, read from a stream that arrives in arbitrary pieces.

use crate::scan::number::parse_f64;
use crate::stats::exact_sum::ExactSum;
use crate::stats::number_lines;
use crate::stats::pieces::{HEAD_BYTES, LineCutter, MAX_LINE_BYTES, Piece};
use crate::stats::quantile;

/// Lines that held no number: how many, and the first of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rejected {
    /// How many.
    pub count: u64,
    /// The first one's line number, from 1; 0 while there is none.
    pub first_line: u64,
    /// The first one's beginning, at most [`HEAD_BYTES`].
    pub first_text: Vec<u8>,
}

impl Rejected {
    /// Counts one more.
    pub fn add(&mut self, line: u64, text: &[u8]) {
        if self.count == 0 {
            self.first_line = line;
            self.first_text = text[..text.len().min(HEAD_BYTES)].to_vec();
        }
        self.count += 1;
    }
}

/// Reads one number a line; blanks around it, empty lines and a byte order mark do no harm.
#[derive(Debug, Default)]
pub struct NumberLines {
    cutter: LineCutter,
    lines: u64,
    bad: Rejected,
}

impl NumberLines {
    /// Takes the next piece of the stream and appends the numbers of the lines that it completes.
    pub fn feed(&mut self, chunk: &[u8], numbers: &mut Vec<f64>) {
        let NumberLines { cutter, lines, bad } = self;
        cutter.feed(chunk, |piece| read_piece(piece, lines, bad, numbers));
    }

    /// The stream has ended: reads a last line without a newline.
    pub fn finish(&mut self, numbers: &mut Vec<f64>) {
        let NumberLines { cutter, lines, bad } = self;
        cutter.finish(|piece| read_piece(piece, lines, bad, numbers));
    }

    /// How many lines were read, empty and bad ones included.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// The lines that held no number.
    pub fn bad(&self) -> &Rejected {
        &self.bad
    }
}

fn read_piece(piece: Piece<'_>, lines: &mut u64, bad: &mut Rejected, numbers: &mut Vec<f64>) {
    match piece {
        Piece::TooLong(head) => {
            *lines += 1;
            bad.add(*lines, head);
        }
        Piece::Lines(block) => {
            let before = *lines;
            *lines += number_lines::parse(block, numbers, |index, line| {
                let line_number = before + index + 1;
                match read_line(line, line_number == 1) {
                    Ok(number) => number,
                    Err(text) => {
                        bad.add(line_number, text);
                        None
                    }
                }
            });
        }
    }
}

/// The number of a line, nothing for an empty one, or the text that is no number.
fn read_line(line: &[u8], first: bool) -> Result<Option<f64>, &[u8]> {
    if line.len() > MAX_LINE_BYTES {
        return Err(line);
    }
    let line = if first { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
    let text = line.trim_ascii();
    if text.is_empty() {
        return Ok(None);
    }
    parse_f64(text).map(Some).ok_or(text)
}

/// What `percentile` prints of a set of numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// How many numbers.
    pub count: u64,
    /// The largest.
    pub max: f64,
    /// The exact sum over the count, rounded once.
    pub mean: f64,
    /// The smallest.
    pub min: f64,
    /// The quantiles asked for, in that order.
    pub quantiles: Vec<f64>,
}

/// Summarises exactly; `None` without numbers. `fractions` are 0 to 1; `numbers` may be reordered.
pub fn summarise(numbers: &mut [f64], fractions: &[f64]) -> Option<Summary> {
    // Two sums in turn: each addition waits for the one before it in the same limbs.
    let mut sums = [ExactSum::default(), ExactSum::default()];
    let (pairs, rest) = numbers.as_chunks::<2>();
    for pair in pairs {
        sums[0].add(pair[0]);
        sums[1].add(pair[1]);
    }
    let [mut sum, other] = sums;
    rest.iter().for_each(|&number| sum.add(number));
    sum.merge(&other);
    let (min, max) = quantile::extremes(numbers)?;
    let count = numbers.len() as u64;
    let mean = sum.mean(count);
    Some(Summary {
        count,
        max,
        mean,
        min,
        quantiles: quantile::select_between(numbers, fractions, (min, max)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(stream: &[u8], sizes: &[usize]) -> (Vec<f64>, Rejected, u64) {
        let mut reader = NumberLines::default();
        let mut numbers = Vec::new();
        let mut rest = stream;
        for &size in sizes {
            let (piece, left) = rest.split_at(size.min(rest.len()));
            reader.feed(piece, &mut numbers);
            rest = left;
        }
        reader.feed(rest, &mut numbers);
        reader.finish(&mut numbers);
        (numbers, reader.bad().clone(), reader.lines())
    }

    /// The rule in its plainest form.
    fn model(stream: &[u8]) -> (Vec<f64>, u64) {
        let mut numbers = Vec::new();
        let mut bad = 0;
        for line in stream.split(|&byte| byte == b'\n') {
            let text = line.trim_ascii();
            match parse_f64(text) {
                Some(number) => numbers.push(number),
                None => bad += u64::from(!text.is_empty()),
            }
        }
        (numbers, bad)
    }

    #[test]
    fn what_people_pipe_is_read() {
        let (numbers, bad, lines) =
            read(b"\xef\xbb\xbf1\r\n  2.5\t\n\n+3\n.5\n1e-3\nx y\n-7\ninf\nnan\n \r\n-.25", &[]);
        assert_eq!(numbers, [1.0, 2.5, 3.0, 0.5, 1e-3, -7.0, -0.25]);
        assert_eq!(bad, Rejected { count: 3, first_line: 7, first_text: b"x y".to_vec() });
        assert_eq!(lines, 12);
    }

    #[test]
    fn a_line_of_any_length_costs_a_bounded_part_of_memory_and_the_rest_is_read() {
        let mut stream = b"1\n".to_vec();
        stream.resize(3 * MAX_LINE_BYTES, b'7');
        stream.extend(b"\n2\n");
        for sizes in [&[][..], &[100_000; 40], &[5, 3_000_000]] {
            let (numbers, bad, lines) = read(&stream, sizes);
            assert_eq!(numbers, [1.0, 2.0]);
            assert_eq!((bad.count, bad.first_line, bad.first_text.len()), (1, 2, HEAD_BYTES));
            assert_eq!(lines, 3);
        }
    }

    #[test]
    fn a_summary_of_nothing_is_none() {
        assert_eq!(summarise(&mut [], &[0.5]), None);
        let summary = summarise(&mut [3.0, 1.0, 2.0], &[0.99, 0.01]).unwrap();
        assert_eq!((summary.count, summary.max, summary.mean, summary.min), (3, 3.0, 2.0, 1.0));
        assert_eq!(summary.quantiles, [3.0, 1.0]);
    }

    proptest! {
        #[test]
        fn every_cut_of_every_text_is_read_by_the_rule(
            lines in proptest::collection::vec(
                "[-+]?[0-9]{0,18}(\\.[0-9]{0,12})?|[-+0-9.eE x]{0,22}| *[0-9]{1,3}\\.?[0-9]{0,3}\r?",
                0..60,
            ),
            end in any::<bool>(),
            sizes in proptest::collection::vec(0usize..90, 0..12),
        ) {
            let mut stream = lines.join("\n");
            if end {
                stream.push('\n');
            }
            let (numbers, bad, _) = read(stream.as_bytes(), &sizes);
            let (expected, expected_bad) = model(stream.as_bytes());
            let bits = |numbers: &[f64]| numbers.iter().map(|n| n.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&numbers), bits(&expected));
            prop_assert_eq!(bad.count, expected_bad);
        }

        #[test]
        fn any_bytes_are_read_by_the_rule(
            stream in proptest::collection::vec(
                prop_oneof![any::<u8>(), proptest::sample::select(b"0123456789.-\n".to_vec())], 0..400,
            ),
            sizes in proptest::collection::vec(0usize..90, 0..12),
        ) {
            prop_assume!(!stream.starts_with(b"\xef\xbb\xbf"));
            let (numbers, bad, _) = read(&stream, &sizes);
            let (expected, expected_bad) = model(&stream);
            prop_assert_eq!(numbers, expected);
            prop_assert_eq!(bad.count, expected_bad);
        }
    }
}
