//! Decimal numbers from bytes, without copying and without a locale.
//!
//! The result is the double nearest to the decimal text, the same as `str::parse` and C's
//! `strtod` give; only the common short numbers take a faster way (Clinger, "How to read floating
//! point numbers accurately", 1990: a mantissa below 2^53 times or over a power of ten up to
//! 10^22 is one correctly rounded operation).

use std::str::FromStr;

/// The longest text that is looked at; no printed double needs more than 767 significant digits.
pub const MAX_NUMBER_BYTES: usize = 1024;

const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// A whole number of digits alone that fits: leading zeros are allowed, a sign is not.
pub(crate) fn digits<T: FromStr>(text: &[u8]) -> Option<T> {
    let plain = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| plain)?.parse().ok()
}

/// Reads a whole slice as a decimal number: optional sign, digits with at most one point (`.5` and
/// `5.` are numbers), optional exponent.
///
/// `None` for anything else: blanks, `inf`, `nan`, hexadecimal, a value too large for a double, or
/// more than [`MAX_NUMBER_BYTES`].
#[inline]
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    match parse_short(text) {
        Some(short) => Some(short.value()),
        None => parse_any(text),
    }
}

/// A short decimal number: its digits as a whole number, and how many of them stand behind the
/// point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Short {
    digits: u32,
    fraction: u32,
}

impl Short {
    /// The nearest double.
    #[inline(always)]
    pub fn value(self) -> f64 {
        f64::from(self.digits as i32) / EXACT_POWERS[self.fraction as usize]
    }

    /// Whether digits stand behind its point.
    #[inline(always)]
    pub fn has_fraction(self) -> bool {
        self.fraction > 0
    }

    /// The number in milliardths.
    #[inline(always)]
    pub(crate) fn nanos(self) -> u64 {
        const POWERS: [u64; 8] =
            [1_000_000_000, 100_000_000, 10_000_000, 1_000_000, 100_000, 10_000, 1000, 100];
        u64::from(self.digits) * POWERS[self.fraction as usize & 7]
    }

    /// The number, if it is a whole one as it is written.
    #[inline(always)]
    pub(crate) fn whole(self) -> Option<u64> {
        (self.fraction == 0).then_some(u64::from(self.digits))
    }

    /// The number in thousandths, unless it has smaller parts.
    #[inline(always)]
    pub fn thousandths(self) -> Option<u64> {
        const POWERS: [u64; 4] = [1000, 100, 10, 1];
        Some(u64::from(self.digits) * POWERS.get(self.fraction as usize)?)
    }
}

/// Up to eight bytes of digits with a point before the last of them (`12`, `0.123`), read as one
/// word; `None` for everything else, numbers or not.
#[inline(always)]
pub fn parse_short(text: &[u8]) -> Option<Short> {
    let length = text.len();
    // The text in the low bytes, its first byte lowest; two overlapping reads make up the word.
    let word = if let (4..=8, Some(low), Some(high)) =
        (length, text.first_chunk::<4>(), text.last_chunk::<4>())
    {
        u64::from(u32::from_le_bytes(*low))
            | u64::from(u32::from_le_bytes(*high)) << ((length - 4) * 8)
    } else if let [a, middle @ .., b] = text
        && length < 4
    {
        let middle = middle.first().map_or(0, |&byte| u64::from(byte) << 8);
        u64::from(*a) | middle | u64::from(*b) << ((length - 1) * 8)
    } else {
        return None;
    };
    // Right-aligned: the last byte highest, zero bytes below the first.
    let word = word << ((8 - length) * 8);
    let points = zero_bytes(word ^ 0x2e2e_2e2e_2e2e_2e2e);
    let (digits, count, fraction) = if points == 0 {
        (word, length, 0)
    } else {
        // Take the point out: what stands before it moves up by a byte.
        let at = points.trailing_zeros() / 8;
        let below = (1u64 << (at * 8)) - 1;
        let above = word & !(below << 8 | 0xff);
        (above | (word & below) << 8, length - 1, 7 - at)
    };
    // Bytes without a digit count as the digit 0.
    let filler = 0x3030_3030_3030_3030 & ((1u128 << ((8 - count) * 8)) - 1) as u64;
    let digits = (digits | filler) ^ 0x3030_3030_3030_3030;
    let over_nine = ((digits & 0x7f7f_7f7f_7f7f_7f7f) + 0x7676_7676_7676_7676) | digits;
    if over_nine & 0x8080_8080_8080_8080 != 0 || count == 0 {
        return None;
    }
    // Pairs, then fours, then all eight.
    let pairs = (digits.wrapping_mul(10) + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100) + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    let eight = fours.wrapping_mul(10_000) + (fours >> 32);
    Some(Short { digits: eight as u32, fraction })
}

/// The top bit of the lowest byte that is zero, and perhaps of some above it.
#[inline(always)]
fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(0x0101_0101_0101_0101) & !word & 0x8080_8080_8080_8080
}

#[inline(never)]
fn parse_any(text: &[u8]) -> Option<f64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let mut mantissa: u64 = 0;
    let mut seen = 0usize;
    let mut point: Option<usize> = None;
    for (at, &byte) in digits.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 {
            mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
            seen += 1;
        } else if byte == b'.' && point.is_none() {
            point = Some(at);
        } else {
            return parse_slowly(text);
        }
    }
    // Up to 19 digits cannot overflow 64 bits; leading zeros make `seen` larger than need be,
    // which only sends an odd number the slow way.
    if seen == 0 || seen > 19 || mantissa > 1 << 53 {
        return parse_slowly(text);
    }
    let fraction = point.map_or(0, |at| digits.len() - at - 1);
    let value = mantissa as i64 as f64 / EXACT_POWERS[fraction];
    Some(if negative { -value } else { value })
}

#[cold]
fn parse_slowly(text: &[u8]) -> Option<f64> {
    if text.len() > MAX_NUMBER_BYTES || !is_decimal(text) {
        return None;
    }
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    value.is_finite().then_some(value)
}

fn is_decimal(text: &[u8]) -> bool {
    let unsigned = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.iter().position(|b| matches!(b, b'e' | b'E')) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let points = mantissa.iter().filter(|&&b| b == b'.').count();
    let digits = mantissa.iter().filter(|b| b.is_ascii_digit()).count();
    if digits == 0 || points > 1 || digits + points != mantissa.len() {
        return false;
    }
    exponent.is_none_or(|exponent| {
        let digits =
            exponent.strip_prefix(b"-").or(exponent.strip_prefix(b"+")).unwrap_or(exponent);
        !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
    })
}

/// Reads a whole slice as a decimal integer with an optional sign; `None` when it is none or does
/// not fit.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    // A status.
    if let [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] = *text {
        return Some(i64::from(a) * 100 + i64::from(b) * 10 + i64::from(c) - 111 * 48);
    }
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value: i64 = 0;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(i64::from(digit))?;
    }
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn digits_alone_are_a_whole_number() {
        let read = |text: &str| digits::<u16>(text.as_bytes());
        assert_eq!((read("0"), read("007"), read("65535")), (Some(0), Some(7), Some(65535)));
        for text in ["", "+1", "-1", " 1", "1.0", "65536", "\u{0663}"] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_people_pipe_is_read() {
        for (text, value) in [
            ("0", 0.0),
            ("0.123", 0.123),
            ("+1", 1.0),
            ("-2.5", -2.5),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e-3", 1e-3),
            ("2.7E+06", 2.7e6),
            ("0.000002223", 0.000002223),
            ("9007199254740993", 9007199254740992.0),
            ("123456789012345678901234567890", 1.2345678901234568e29),
            ("0.1000000000000000055511151231257827", 0.1),
            ("00000000000000000000000000001.5", 1.5),
            ("18446744073709551621", 18446744073709552000.0), // 2^64 + 5
        ] {
            assert_eq!(parse_f64(text.as_bytes()), Some(value), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in [
            "", "-", "+", ".", "e5", "1e", "1e+", "1.2.3", " 1", "1 ", "0x10", "inf", "-inf",
            "nan", "NaN", "infinity", "1_000", "1e999", "0.1, 0.2", "--1", "1\r", "\u{661}",
        ] {
            assert_eq!(parse_f64(text.as_bytes()), None, "{text:?}");
        }
        let third = |len: usize| parse_f64(format!("0.{}", "3".repeat(len - 2)).as_bytes());
        assert_eq!(third(MAX_NUMBER_BYTES), Some(1.0 / 3.0));
        assert_eq!(third(MAX_NUMBER_BYTES + 1), None);
    }

    #[test]
    fn integers_have_bounds() {
        assert_eq!(parse_i64(b"200"), Some(200));
        assert_eq!(parse_i64(b"-1"), Some(-1));
        assert_eq!(parse_i64(b"+0499"), Some(499));
        assert_eq!(parse_i64(b"9223372036854775807"), Some(i64::MAX));
        for text in ["", "-", "9223372036854775808", "200.0", "20x", " 200"] {
            assert_eq!(parse_i64(text.as_bytes()), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_double_reads_back_as_it_was_printed(value in any::<f64>()) {
            prop_assume!(value.is_finite());
            prop_assert_eq!(parse_f64(format!("{value}").as_bytes()), Some(value));
            prop_assert_eq!(parse_f64(format!("{value:e}").as_bytes()), Some(value));
        }

        #[test]
        fn short_decimals_agree_with_the_standard_library(
            whole in 0u64..10_000_000, fraction in 0u64..1_000_000_000, width in 1usize..12,
        ) {
            let text = format!("{whole}.{fraction:0width$}");
            prop_assert_eq!(parse_f64(text.as_bytes()), text.parse().ok());
        }

        #[test]
        fn short_bytes_agree_with_the_standard_library(text in "[0-9.]{0,9}|[0-9.+:/x]{0,8}") {
            let decimal = text.bytes().all(|b| b.is_ascii_digit() || b".+".contains(&b));
            let expected: Option<f64> = text.parse().ok().filter(|_| decimal);
            prop_assert_eq!(parse_f64(text.as_bytes()), expected);
        }

        #[test]
        fn any_bytes_agree_with_the_standard_library(text in "[-+0-9.eE]{0,30}") {
            let expected: Option<f64> = text.parse().ok().filter(|v: &f64| v.is_finite());
            prop_assert_eq!(parse_f64(text.as_bytes()), expected);
        }
    }
}
