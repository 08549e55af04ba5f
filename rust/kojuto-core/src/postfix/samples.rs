//! The delays of one group of deliveries, kept so small that a busy day fits.
//!
//! Postfix prints a delay with two significant digits and at most six decimals, so that a day's
//! delays are few different numbers: a number below 1024 units of its last decimal is counted
//! under a small key, and only the others (1024 s and more, mostly) are kept one by one.

use super::Delay;
use crate::scan::number::parse_f64;
use crate::stats::buckets;
use crate::stats::quantile::rank_index;

/// One delay as it was printed, in one register: a double, or, in the place of a NaN (which no
/// text gives), a key of unit (0 to 1023) and decimals (0 to 6).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Number(u64);

/// The upper bits of a number that is a key.
const KEY: u64 = 0x7ff8_0000_0000_0000;

const UNITS: u32 = 1024;
const MAX_DECIMALS: usize = 6;
const KEYS: usize = UNITS as usize * (MAX_DECIMALS + 1);
const SCALES: [f64; MAX_DECIMALS + 1] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6];

/// Up to here the keys of a group are listed; then the table of counters is smaller.
const LISTED_KEYS: usize = 8 * KEYS / 2;

/// One in each byte.
const ALL: u64 = 0x0101_0101_0101_0101;

/// The top bit of each byte that is zero, exact up to the first such byte.
#[inline(always)]
fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(ALL) & !word & (ALL * 0x80)
}

fn value_of(key: usize) -> f64 {
    (key % UNITS as usize) as f64 / SCALES[key / UNITS as usize]
}

impl Number {
    #[inline(always)]
    fn key(unit: u32, decimals: u32) -> Number {
        Number(KEY | u64::from(decimals * UNITS + unit))
    }

    fn other(value: f64) -> Number {
        Number(value.to_bits())
    }

    #[inline(always)]
    fn is_key(self) -> bool {
        self.0 >> 48 == KEY >> 48
    }

    /// The number itself.
    #[cfg(test)]
    fn value(self) -> f64 {
        if self.is_key() { value_of(self.0 as u16 as usize) } else { f64::from_bits(self.0) }
    }

    /// Reads a number that ends before `/`, `,` or any byte that no number has. Returns it and
    /// where it ended, None when there is none.
    ///
    /// A number of up to seven bytes is read as one word: moved to the word's end, its point
    /// taken out, then two, four and eight digits at a time.
    #[inline(always)]
    pub(super) fn read(bytes: &[u8], start: usize) -> Option<(Number, usize)> {
        let Some(&word) = bytes.get(start..).and_then(|rest| rest.first_chunk::<8>()) else {
            return Number::read_slowly(bytes, start);
        };
        let word = u64::from_le_bytes(word);
        let ends =
            zero_bytes(word ^ (ALL * u64::from(b'/'))) | zero_bytes(word ^ (ALL * u64::from(b',')));
        let length = ends.trailing_zeros() / 8;
        if ends == 0 || length == 0 {
            return Number::read_slowly(bytes, start);
        }
        let text = (word << (64 - 8 * length)) | ((ALL * u64::from(b'0')) >> (8 * length));
        let points = zero_bytes(text ^ (ALL * u64::from(b'.')));
        let (text, decimals) = if points == 0 {
            (text, 0)
        } else {
            let at = points.trailing_zeros() / 8;
            let below = text & !(!0 << (8 * at));
            let above = text & (!0xff << (8 * at));
            (above | (below << 8) | u64::from(b'0'), 7 - at)
        };
        let digits = text ^ (ALL * u64::from(b'0'));
        let lone_point = length == 1 && points != 0;
        if (digits | (digits.wrapping_add(ALL * 0x76))) & (ALL * 0x80) != 0 || lone_point {
            return Number::read_slowly(bytes, start);
        }
        let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
        let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
        let unit = (fours.wrapping_mul(10_000) + (fours >> 32)) as u32;
        if unit < UNITS && decimals as usize <= MAX_DECIMALS {
            return Some((Number::key(unit, decimals), start + length as usize));
        }
        Number::read_slowly(bytes, start)
    }

    /// The key of a number of digits and at most one point; None when it has none.
    fn small(text: &[u8]) -> Option<Number> {
        let decimals = text.iter().rev().position(|&b| b == b'.').unwrap_or(0);
        let mut unit = 0u32;
        let mut digits = 0;
        for digit in text.iter().filter(|&&b| b != b'.').map(|b| b.wrapping_sub(b'0')) {
            unit = unit * 10 + u32::from(digit);
            digits += 1;
            if digit > 9 || unit >= UNITS {
                return None;
            }
        }
        let one_point = text.len() <= digits + 1;
        (digits > 0 && one_point && decimals <= MAX_DECIMALS)
            .then(|| Number::key(unit, decimals as u32))
    }

    #[cold]
    #[inline(never)]
    fn read_slowly(bytes: &[u8], start: usize) -> Option<(Number, usize)> {
        let is_part = |b: &u8| b.is_ascii_digit() || matches!(b, b'.' | b'+' | b'-' | b'e' | b'E');
        let length = bytes[start..].iter().position(|b| !is_part(b))?;
        let text = &bytes[start..start + length];
        let number = Number::small(text).or_else(|| parse_f64(text).map(Number::other))?;
        Some((number, start + length))
    }
}

/// All values of one of the five delays.
#[derive(Debug, Clone, Default)]
pub(super) struct Column {
    listed: Vec<u16>,
    counts: Vec<u64>,
    others: Vec<f64>,
}

impl Column {
    #[inline(always)]
    pub(super) fn push(&mut self, number: Number) {
        if !number.is_key() {
            self.others.push(f64::from_bits(number.0));
            return;
        }
        match self.counts.get_mut(usize::from(number.0 as u16)) {
            Some(count) => *count += 1,
            None => self.list(number.0 as u16),
        }
    }

    fn list(&mut self, key: u16) {
        self.listed.push(key);
        if self.listed.len() == LISTED_KEYS {
            self.count_listed();
        }
    }

    fn count_listed(&mut self) {
        self.counts.resize(KEYS, 0);
        for key in std::mem::take(&mut self.listed) {
            self.counts[usize::from(key)] += 1;
        }
    }

    /// Adds all values of `other`.
    pub(super) fn absorb(&mut self, other: Column) {
        for key in other.listed {
            self.push(Number(KEY | u64::from(key)));
        }
        if !other.counts.is_empty() {
            self.count_listed();
            for (count, more) in self.counts.iter_mut().zip(other.counts) {
                *count += more;
            }
        }
        self.others.extend(other.others);
    }

    /// Each different small number with how often it came.
    fn groups(&mut self) -> Vec<(f64, u64)> {
        self.listed.sort_unstable();
        let runs = self.listed.chunk_by(|a, b| a == b);
        let listed = runs.map(|run| (usize::from(run[0]), run.len() as u64));
        let counted = self.counts.iter().copied().enumerate().filter(|&(_, count)| count > 0);
        listed.chain(counted).map(|(key, count)| (value_of(key), count)).collect()
    }

    /// How many values lie between the edges, as by [`buckets::count`].
    pub(super) fn histogram(&mut self, edges: &[f64]) -> Vec<u64> {
        let groups = self.groups();
        buckets::count(edges, groups.into_iter().chain(self.others.iter().map(|&value| (value, 1))))
    }

    /// Average and percentiles; None without values.
    pub(super) fn figures(mut self) -> Option<Delay> {
        let mut groups = self.groups();
        groups.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        self.others.sort_unstable_by(f64::total_cmp);
        let total = groups.iter().map(|group| group.1).sum::<u64>() + self.others.len() as u64;
        if total == 0 {
            return None;
        }
        let ranks = [0.90, 0.95, 0.99].map(|p| rank_index(total as usize, p) as u64);
        let mut found = [0.0; 3];
        let mut next = 0;
        let mut passed = 0;
        // One addition a value, in ascending order: the sum is the original's to the last bit.
        let mut sum = 0.0;
        let mut groups = groups.into_iter().peekable();
        let mut others = self.others.into_iter().map(|value| (value, 1)).peekable();
        loop {
            let grouped = match (groups.peek(), others.peek()) {
                (Some(a), Some(b)) => a.0 <= b.0,
                (Some(_), None) => true,
                _ => false,
            };
            let step = if grouped { groups.next() } else { others.next() };
            let Some((value, count)) = step else { break };
            passed += count;
            for _ in 0..count {
                sum += value;
            }
            while next < ranks.len() && ranks[next] < passed {
                found[next] = value;
                next += 1;
            }
        }
        let [p90, p95, p99] = found;
        Some(Delay { average: sum / total as f64, p99, p95, p90 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::quantile::select;
    use proptest::prelude::*;

    #[test]
    fn a_number_ends_at_a_slash_a_comma_or_what_no_number_has() {
        let read = |text: &str| Number::read(text.as_bytes(), 0);
        assert_eq!(read("0.31, "), Some((Number::key(31, 2), 4)));
        assert_eq!(read("0.000011/"), Some((Number::key(11, 6), 8)));
        assert_eq!(read("1023,"), Some((Number::key(1023, 0), 4)));
        assert_eq!(read("1024,"), Some((Number::other(1024.0), 4)));
        assert_eq!(read("315562,"), Some((Number::other(315562.0), 6)));
        assert_eq!(read("1.2e+05/"), Some((Number::other(120000.0), 7)));
        assert_eq!(read("-0.5,"), Some((Number::other(-0.5), 4)));
        assert_eq!(read("4294967297,"), Some((Number::other(4294967297.0), 10)));
        assert_eq!(read("5\n"), Some((Number::key(5, 0), 1)));
        for text in ["", "1", ",", ".,", "x,", "1.2.3,", "-,", "e,", "inf,"] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_reads_alike_in_a_word_and_at_the_end_of_a_block(
            text in "[-0-9./,ex ]{0,9}[/, \n]",
        ) {
            let short = Number::read(text.as_bytes(), 0);
            let padded = format!("{text}12345678");
            prop_assert_eq!(Number::read(padded.as_bytes(), 0), short);
            let end = text.find(|c: char| !"0123456789.+-eE".contains(c)).unwrap();
            let value = short.map(|(number, _)| number.value());
            prop_assert_eq!(value, parse_f64(&text.as_bytes()[..end]));
            prop_assert_eq!(short.map(|(_, at)| at), value.map(|_| end));
        }

        #[test]
        fn the_figures_are_those_of_the_sorted_list(
            values in proptest::collection::vec(
                prop_oneof![
                    (0u32..1100).prop_map(|v| format!("{v}")),
                    (0u32..100, 1usize..7).prop_map(|(v, d)| format!("{}.{:0d$}", v % 7, v)),
                    (1000.0f64..1e6).prop_map(|v| format!("{v:.1}")),
                ],
                1..400,
            ),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut list: Vec<f64> = values.iter().map(|v| v.parse().unwrap()).collect();
            let (mut first, mut second) = (Column::default(), Column::default());
            let cut = cut.index(values.len());
            for (at, text) in values.iter().enumerate() {
                let number = Number::read(format!("{text},").as_bytes(), 0).unwrap().0;
                if at < cut { first.push(number) } else { second.push(number) }
            }
            if cut % 2 == 0 {
                second.count_listed();
            }
            first.absorb(second);
            let figures = first.figures().unwrap();
            list.sort_by(f64::total_cmp);
            let sum = list.iter().fold(0.0, |sum, value| sum + value);
            prop_assert_eq!(figures.average, sum / list.len() as f64);
            let expected = select(&mut list, &[0.99, 0.95, 0.90]);
            prop_assert_eq!(vec![figures.p99, figures.p95, figures.p90], expected);
        }
    }
}
