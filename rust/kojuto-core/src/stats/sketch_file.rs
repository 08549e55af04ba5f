//! The file of a sketch: versioned, checksummed, the same bytes for the same numbers.
//!
//! | bytes | what |
//! | --- | --- |
//! | 8 | `KJSKETCH` |
//! | 1 | version, 1 |
//! | 8 each | accuracy, smallest, largest number (doubles, little endian) |
//! | 68 x 8 | the exact sum (`exact_sum`): signed integers, little endian; number i, from 0, counts units of 2^(32 i - 1075) |
//! | varints | count of numbers, count of zeros |
//! | varints | for positive, then negative numbers: how many buckets; of each, ascending, how far its index is above the one before (the first above -2^31) and its count |
//! | 4 | CRC-32 (IEEE 802.3) of all before, little endian |

use crate::error::{Error, Malformed, SketchFault};
use crate::stats::exact_sum::{ExactSum, LIMBS};
use crate::stats::sketch::{Buckets, Sketch};

/// The most bytes of a sketch: all buckets of the finest accuracy in use take less.
pub const MAX_BYTES: usize = 32 << 20;

const MAGIC: &[u8; 8] = b"KJSKETCH";
const VERSION: u8 = 1;

impl Sketch {
    /// The bytes of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.push(VERSION);
        for number in [self.accuracy, self.min, self.max] {
            out.extend(number.to_le_bytes());
        }
        self.sum.limbs().iter().for_each(|limb| out.extend(limb.to_le_bytes()));
        write_varint(&mut out, self.count);
        write_varint(&mut out, self.zeros);
        for buckets in [&self.positive, &self.negative] {
            write_varint(&mut out, buckets.used().count() as u64);
            let mut before = i64::from(i32::MIN);
            for (index, count) in buckets.used() {
                write_varint(&mut out, (i64::from(index) - before) as u64);
                write_varint(&mut out, count);
                before = i64::from(index);
            }
        }
        seal(out)
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// [`Error::Malformed`] for anything that [`to_bytes`](Self::to_bytes) does not write.
    pub fn from_bytes(bytes: &[u8]) -> Result<Sketch, Error> {
        if bytes.len() > MAX_BYTES {
            return Err(bad(SketchFault::TooLarge));
        }
        let Some(rest) = bytes.strip_prefix(MAGIC) else {
            return Err(bad(SketchFault::NotASketch));
        };
        match rest.first() {
            Some(&VERSION) => {}
            Some(&found) => return Err(bad(SketchFault::Version { found, known: VERSION })),
            None => return Err(bad(SketchFault::CutShort)),
        }
        let Some((body, checksum)) = rest[1..].split_last_chunk::<4>() else {
            return Err(bad(SketchFault::CutShort));
        };
        if crc32(&bytes[..bytes.len() - 4]) != u32::from_le_bytes(*checksum) {
            return Err(bad(SketchFault::Checksum));
        }
        read_body(&mut Reader { rest: body }).ok_or_else(|| bad(SketchFault::Content))
    }
}

/// Appends the checksum to the content of a file.
pub fn seal(mut content: Vec<u8>) -> Vec<u8> {
    content.extend(crc32(&content).to_le_bytes());
    content
}

fn bad(fault: SketchFault) -> Error {
    Error::Malformed(Malformed::Sketch(fault))
}

fn read_body(reader: &mut Reader<'_>) -> Option<Sketch> {
    let mut sketch = Sketch::new(reader.double()?).ok()?;
    (sketch.min, sketch.max) = (reader.double()?, reader.double()?);
    let mut limbs = [0; LIMBS];
    for limb in &mut limbs {
        *limb = i64::from_le_bytes(reader.take()?);
    }
    sketch.sum = ExactSum::from_limbs(limbs)?;
    sketch.count = reader.varint()?;
    sketch.zeros = reader.varint()?;
    let lowest = sketch.index(f64::from_bits(1));
    let highest = sketch.index(f64::MAX);
    let mut total = sketch.zeros;
    for side in 0..2 {
        let mut buckets = Buckets::default();
        let mut index = i64::from(i32::MIN);
        for at in 0..reader.varint()? {
            let step = i64::try_from(reader.varint()?).ok()?;
            let count = reader.varint()?;
            index = index.checked_add(step)?;
            let valid = (i64::from(lowest)..=i64::from(highest)).contains(&index);
            if !valid || count == 0 || (at > 0 && step == 0) {
                return None;
            }
            total = total.checked_add(count)?;
            buckets.add(index as i32, count);
        }
        *if side == 0 { &mut sketch.positive } else { &mut sketch.negative } = buckets;
    }
    let ends = if sketch.count == 0 {
        sketch.min == f64::INFINITY && sketch.max == f64::NEG_INFINITY
    } else {
        sketch.min.is_finite() && sketch.max.is_finite() && sketch.min <= sketch.max
    };
    (total == sketch.count && ends && reader.rest.is_empty()).then_some(sketch)
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }

    fn double(&mut self) -> Option<f64> {
        self.take().map(f64::from_le_bytes)
    }

    /// Seven bits a byte, least first (LEB128); only the shortest form counts.
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.take()?;
            let part = u64::from(byte & 0x7f);
            if part << shift >> shift != part || (byte == 0 && shift > 0) {
                return None;
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// CRC-32 with the reflected polynomial 0xEDB88320 (IEEE 802.3).
fn crc32(bytes: &[u8]) -> u32 {
    static TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut at = 0;
        while at < 256 {
            let mut value = at as u32;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 1 == 1 { value >> 1 ^ 0xedb8_8320 } else { value >> 1 };
                bit += 1;
            }
            table[at] = value;
            at += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |crc, &byte| crc >> 8 ^ TABLE[usize::from(crc as u8 ^ byte)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sketch(numbers: &[f64]) -> Sketch {
        let mut sketch = Sketch::new(0.01).unwrap();
        numbers.iter().for_each(|&number| sketch.add(number));
        sketch
    }

    fn resealed(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.truncate(bytes.len() - 4);
        seal(bytes)
    }

    #[test]
    fn the_checksum_is_the_common_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let bytes = sketch(&[1.0, -2.5, 0.0, 1e300]).to_bytes();
        for end in 0..bytes.len() {
            assert!(Sketch::from_bytes(&bytes[..end]).is_err(), "cut at {end}");
        }
        for at in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            assert!(Sketch::from_bytes(&flipped).is_err(), "bit {at}");
        }
    }

    #[test]
    fn a_later_version_says_so() {
        let mut bytes = sketch(&[1.0]).to_bytes();
        bytes[8] = 2;
        let error = Sketch::from_bytes(&resealed(bytes)).unwrap_err().to_string();
        assert!(error.contains("version 2"), "{error}");
    }

    #[test]
    fn a_right_checksum_does_not_save_wrong_content() {
        let good = sketch(&[1.0, 2.0]).to_bytes();
        for (at, byte) in [(9 + 7, 0x7f), (24, 0x7f), (9 + 24 + 7, 0xff), (9 + 24 + 544, 3)] {
            let mut bytes = good.clone();
            bytes[at] = byte;
            assert!(Sketch::from_bytes(&resealed(bytes)).is_err(), "byte {at}");
        }
        let mut longer = good.clone();
        longer.insert(good.len() - 4, 0);
        assert!(Sketch::from_bytes(&resealed(longer)).is_err());
    }

    /// A file of numbers in (bucket, count) steps from the bucket of 1.0.
    fn of(count: u64, zeros: &[u8], steps: &[(u64, u64)]) -> Vec<u8> {
        let mut out = sketch(&[1.0]).to_bytes()[..9 + 24 + 8 * LIMBS].to_vec();
        let first = i64::from(sketch(&[]).index(1.0)) - i64::from(i32::MIN);
        write_varint(&mut out, count);
        out.extend(zeros);
        write_varint(&mut out, steps.len() as u64);
        for (at, &(step, count)) in steps.iter().enumerate() {
            write_varint(&mut out, if at == 0 { first as u64 + step } else { step });
            write_varint(&mut out, count);
        }
        write_varint(&mut out, 0);
        seal(out)
    }

    #[test]
    fn there_is_one_way_to_write_a_sketch() {
        let is_read = |bytes: Vec<u8>| Sketch::from_bytes(&bytes).is_ok();
        assert!(is_read(of(3, &[0], &[(0, 2), (1, 1)])));
        assert!(!is_read(of(3, &[0], &[(0, 2), (0, 1)])), "a bucket twice");
        assert!(!is_read(of(2, &[0], &[(0, 2), (1, 0)])), "an empty bucket");
        assert!(!is_read(of(3, &[0x80, 0], &[(0, 2), (1, 1)])), "a zero in two bytes");
        assert!(!is_read(of(4, &[0], &[(0, 2), (1, 1)])), "another count");
    }

    #[test]
    fn a_file_has_an_upper_bound() {
        let why = |len| Sketch::from_bytes(&vec![0; len]).unwrap_err().to_string();
        assert_eq!(why(MAX_BYTES), "it is not a sketch");
        assert_eq!(why(MAX_BYTES + 1), "it is larger than a sketch can be");
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_back(numbers in proptest::collection::vec(any::<f64>(), 0..60)) {
            let numbers: Vec<f64> = numbers.into_iter().filter(|v| v.is_finite()).collect();
            let written = sketch(&numbers);
            prop_assert_eq!(Sketch::from_bytes(&written.to_bytes()).unwrap(), written);
        }
    }
}
