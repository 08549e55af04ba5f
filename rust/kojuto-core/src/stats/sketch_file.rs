//! The file of sketches: one behind the other, each versioned, checksummed, and the same bytes for
//! the same numbers, so that files put behind each other are a file.
//!
//! | bytes | what |
//! | --- | --- |
//! | 8 | `KJSKETCH` |
//! | 1 | version: 1, or 2 for the numbers of a group |
//! | | version 2 alone: |
//! | 1 | what the group is of: 0 a value, 1 lines without one, 2 the pool of those that were too many |
//! | varint, bytes | the length of the key that parts the lines, and the key |
//! | varint, bytes | the length of the value, and the value; none but for 0 |
//! | | both: |
//! | 8 each | accuracy, smallest, largest number (doubles, little endian) |
//! | | the exact sum (`exact_sum`): 68 signed integers, of which number i, from 0, counts units of 2^(32 i - 1075) |
//! | 68 x 8 | version 1: they, little endian |
//! | varints, 8 each | version 2: how many before the first that is not 0, how many from there to the last that is not 0, and these, little endian |
//! | varints | count of numbers, count of zeros |
//! | varints | for positive, then negative numbers: how many buckets; of each, ascending, how far its index is above the one before (the first above -2^31) and its count |
//! | 4 | CRC-32 (IEEE 802.3) of all before, little endian |

use crate::error::{Error, Malformed, SketchFault};
use crate::stats::exact_sum::{ExactSum, LIMBS};
use crate::stats::group_name::{GroupName, MAX_GROUP_BYTES};
use crate::stats::packed::{Fault, Reader, write_varint};
use crate::stats::sketch::{Buckets, Sketch};

/// The most bytes of a sketch: all buckets of the finest accuracy in use take less.
pub const MAX_BYTES: usize = 32 << 20;

const MAGIC: &[u8; 8] = b"KJSKETCH";
/// Of all numbers.
const WHOLE: u8 = 1;
/// Of those of a group.
const GROUPED: u8 = 2;

/// The group that the numbers of a sketch are of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupOf {
    /// The key by whose values the lines were parted.
    pub by: Box<[u8]>,
    /// The value.
    pub name: GroupName,
}

/// One sketch of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Which group it is of; `None` for all numbers.
    pub group: Option<GroupOf>,
    /// The numbers.
    pub sketch: Sketch,
}

impl Part {
    /// The bytes of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let group = self.group.as_ref().map(|group| (&*group.by, &group.name));
        to_bytes(group, &self.sketch)
    }

    /// Reads the sketch at the beginning of some bytes, and tells how many of them it takes up.
    ///
    /// # Errors
    /// [`Error::Malformed`] for anything that [`to_bytes`](Self::to_bytes) does not write;
    /// [`SketchFault::CutShort`] where more bytes may make it whole.
    pub fn read(bytes: &[u8]) -> Result<(Part, usize), Error> {
        let mut reader = Reader { rest: bytes };
        let part = read(&mut reader, bytes.len()).map_err(bad)?;
        let used = bytes.len() - reader.rest.len();
        let checksum = reader.take().map_err(|fault| bad(fault.into()))?;
        if crc32(&bytes[..used]) != u32::from_le_bytes(checksum) {
            return Err(bad(SketchFault::Checksum));
        }
        match (is_sound(&part.sketch), used + 4 <= MAX_BYTES) {
            (true, true) => Ok((part, used + 4)),
            (_, false) => Err(bad(SketchFault::TooLarge)),
            (false, _) => Err(bad(SketchFault::Content)),
        }
    }
}

/// The bytes of the file of a sketch: of a group of the lines that a key parts, or of all.
pub fn to_bytes(group: Option<(&[u8], &GroupName)>, sketch: &Sketch) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.push(if group.is_some() { GROUPED } else { WHOLE });
    if let Some((by, name)) = group {
        let (kind, value) = match name {
            GroupName::Value(value) => (0, &**value),
            GroupName::Missing => (1, &b""[..]),
            GroupName::Other => (2, &b""[..]),
        };
        out.push(kind);
        for text in [by, value] {
            write_varint(&mut out, text.len() as u64);
            out.extend_from_slice(text);
        }
    }
    for number in [sketch.accuracy, sketch.min, sketch.max] {
        out.extend(number.to_le_bytes());
    }
    let limbs = sketch.sum.limbs();
    let used = match group {
        None => 0..LIMBS,
        Some(_) => {
            let first = limbs.iter().position(|limb| *limb != 0).unwrap_or(0);
            let end = limbs.iter().rposition(|limb| *limb != 0).map_or(0, |last| last + 1);
            write_varint(&mut out, first as u64);
            write_varint(&mut out, (end - first) as u64);
            first..end
        }
    };
    limbs[used].iter().for_each(|limb| out.extend(limb.to_le_bytes()));
    write_varint(&mut out, sketch.count);
    write_varint(&mut out, sketch.zeros);
    for buckets in [&sketch.positive, &sketch.negative] {
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

/// Appends the checksum to the content of a file.
pub fn seal(mut content: Vec<u8>) -> Vec<u8> {
    content.extend(crc32(&content).to_le_bytes());
    content
}

fn bad(fault: SketchFault) -> Error {
    Error::Malformed(Malformed::Sketch(fault))
}

/// Reads all of a sketch but its checksum, which tells where the bytes are wrong.
fn read(reader: &mut Reader<'_>, bytes: usize) -> Result<Part, SketchFault> {
    match reader.rest.strip_prefix(MAGIC) {
        Some(rest) => reader.rest = rest,
        None if MAGIC.starts_with(reader.rest) => return Err(SketchFault::CutShort),
        None if bytes > MAX_BYTES => return Err(SketchFault::TooLarge),
        None => return Err(SketchFault::NotASketch),
    }
    let [version] = reader.take()?;
    let group = match version {
        WHOLE => None,
        GROUPED => Some(read_group(reader)?),
        found => return Err(SketchFault::Version { found, known: GROUPED }),
    };
    let mut sketch = Sketch::new(reader.double()?).map_err(|_| SketchFault::Checksum)?;
    (sketch.min, sketch.max) = (reader.double()?, reader.double()?);
    sketch.sum = read_sum(reader, group.is_some())?;
    (sketch.count, sketch.zeros) = (reader.varint()?, reader.varint()?);
    sketch.positive = read_buckets(reader, &sketch)?;
    sketch.negative = read_buckets(reader, &sketch)?;
    Ok(Part { group, sketch })
}

fn read_group(reader: &mut Reader<'_>) -> Result<GroupOf, SketchFault> {
    let [kind] = reader.take()?;
    let by = reader.text(MAX_BYTES)?.into();
    let value = reader.text(MAX_GROUP_BYTES)?;
    let name = match (kind, value) {
        (0, value) if !value.is_empty() => GroupName::Value(value.into()),
        (1, b"") => GroupName::Missing,
        (2, b"") => GroupName::Other,
        _ => return Err(SketchFault::Checksum),
    };
    Ok(GroupOf { by, name })
}

fn read_sum(reader: &mut Reader<'_>, is_grouped: bool) -> Result<ExactSum, SketchFault> {
    let mut limbs = [0; LIMBS];
    let (first, count) = match is_grouped {
        true => (reader.varint()? as usize, reader.varint()? as usize),
        false => (0, LIMBS),
    };
    let used = first.checked_add(count).and_then(|end| limbs.get_mut(first..end));
    let used = used.ok_or(SketchFault::Checksum)?;
    for limb in used.iter_mut() {
        *limb = i64::from_le_bytes(reader.take::<8>()?);
    }
    // There is one way to write it.
    let is_shortest = match used {
        [] => first == 0,
        [first, .., last] => *first != 0 && *last != 0,
        [only] => *only != 0,
    };
    if is_grouped && !is_shortest {
        return Err(SketchFault::Checksum);
    }
    ExactSum::from_limbs(limbs).ok_or(SketchFault::Checksum)
}

fn read_buckets(reader: &mut Reader<'_>, sketch: &Sketch) -> Result<Buckets, SketchFault> {
    let (lowest, highest) = (sketch.index(f64::from_bits(1)), sketch.index(f64::MAX));
    let mut buckets = Buckets::default();
    let (mut index, mut total) = (i64::from(i32::MIN), 0u64);
    for at in 0..reader.varint()? {
        let (step, count) = (reader.varint()?, reader.varint()?);
        let next = i64::try_from(step).ok().and_then(|step| index.checked_add(step));
        let next = next.filter(|next| (i64::from(lowest)..=i64::from(highest)).contains(next));
        let sum = total.checked_add(count).filter(|_| count > 0 && (at == 0 || step > 0));
        let (Some(next), Some(sum)) = (next, sum) else { return Err(SketchFault::Checksum) };
        (index, total) = (next, sum);
        buckets.add(index as i32, count);
    }
    Ok(buckets)
}

/// Whether the parts of a sketch fit each other.
fn is_sound(sketch: &Sketch) -> bool {
    let buckets = sketch.positive.used().chain(sketch.negative.used());
    let total = buckets.map(|(_, count)| count).try_fold(sketch.zeros, u64::checked_add);
    let ends = if sketch.count == 0 {
        sketch.min == f64::INFINITY && sketch.max == f64::NEG_INFINITY
    } else {
        sketch.min.is_finite() && sketch.max.is_finite() && sketch.min <= sketch.max
    };
    total == Some(sketch.count) && ends
}

impl From<Fault> for SketchFault {
    fn from(fault: Fault) -> SketchFault {
        match fault {
            Fault::CutShort => SketchFault::CutShort,
            Fault::Wrong => SketchFault::Checksum,
        }
    }
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

    fn bytes_of(numbers: &[f64]) -> Vec<u8> {
        to_bytes(None, &sketch(numbers))
    }

    fn part(name: GroupName, numbers: &[f64]) -> Part {
        Part { group: Some(GroupOf { by: (*b"uri").into(), name }), sketch: sketch(numbers) }
    }

    fn is_read(bytes: &[u8]) -> bool {
        Part::read(bytes).is_ok()
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
        let numbers = [1.0, -2.5, 0.0, 1e300];
        let grouped = part(GroupName::Value((*b"/a").into()), &numbers).to_bytes();
        for bytes in [bytes_of(&numbers), grouped] {
            for end in 0..bytes.len() {
                let why = Part::read(&bytes[..end]).unwrap_err();
                assert_eq!(why, bad(SketchFault::CutShort), "cut at {end}");
            }
            for at in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[at / 8] ^= 1 << (at % 8);
                assert!(!is_read(&flipped), "bit {at}");
            }
        }
    }

    #[test]
    fn what_stands_behind_a_sketch_is_left_alone() {
        let bytes = bytes_of(&[1.0]);
        let together = [&bytes[..], b"KJSK"].concat();
        assert_eq!(Part::read(&together).unwrap().1, bytes.len());
    }

    #[test]
    fn a_later_version_says_so() {
        let mut bytes = bytes_of(&[1.0]);
        bytes[8] = 3;
        let error = Part::read(&resealed(bytes)).unwrap_err().to_string();
        assert!(error.contains("version 3"), "{error}");
    }

    #[test]
    fn a_right_checksum_does_not_save_wrong_content() {
        let good = bytes_of(&[1.0, 2.0]);
        for (at, byte) in [(9 + 7, 0x7f), (24, 0x7f), (9 + 24 + 7, 0xff), (9 + 24 + 544, 3)] {
            let mut bytes = good.clone();
            bytes[at] = byte;
            assert!(!is_read(&resealed(bytes)), "byte {at}");
        }
        let mut longer = good.clone();
        longer.insert(good.len() - 4, 0);
        assert!(!is_read(&resealed(longer)));
    }

    /// A file of numbers in (bucket, count) steps from the bucket of 1.0.
    fn of(count: u64, zeros: &[u8], steps: &[(u64, u64)]) -> Vec<u8> {
        let mut out = bytes_of(&[1.0])[..9 + 24 + 8 * LIMBS].to_vec();
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
        assert!(is_read(&of(3, &[0], &[(0, 2), (1, 1)])));
        assert!(!is_read(&of(3, &[0], &[(0, 2), (0, 1)])), "a bucket twice");
        assert!(!is_read(&of(2, &[0], &[(0, 2), (1, 0)])), "an empty bucket");
        assert!(!is_read(&of(3, &[0x80, 0], &[(0, 2), (1, 1)])), "a zero in two bytes");
        assert!(!is_read(&of(4, &[0], &[(0, 2), (1, 1)])), "another count");
    }

    /// A file of no numbers with this group and this sum.
    fn of_group(group: &[u8], sum: &[u8]) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.push(GROUPED);
        out.extend(group);
        for number in [0.01, f64::INFINITY, f64::NEG_INFINITY] {
            out.extend(number.to_le_bytes());
        }
        out.extend(sum);
        out.extend([0; 4]);
        seal(out)
    }

    #[test]
    fn there_is_one_way_to_write_a_group() {
        assert!(is_read(&of_group(b"\0\x01k\x01v", &[0, 0])));
        assert!(is_read(&of_group(b"\x02\x01k\0", &[0, 0])));
        assert!(!is_read(&of_group(b"\0\x01k\0", &[0, 0])), "a value of nothing");
        assert!(!is_read(&of_group(b"\x01\x01k\x01v", &[0, 0])), "no value, and one");
        assert!(!is_read(&of_group(b"\x03\x01k\0", &[0, 0])), "of another kind");
        let long = [&b"\0\x01k\xc9\x01"[..], &[b'v'; MAX_GROUP_BYTES + 1]].concat();
        assert!(!is_read(&of_group(&long, &[0, 0])), "a longer value than there can be");
        assert!(!is_read(&of_group(b"\x02\x01k\0", &[1, 0])), "a sum of nothing somewhere");
        let one = [&[3, 1][..], &1u64.to_le_bytes()].concat();
        assert!(is_read(&of_group(b"\x02\x01k\0", &one)));
        assert!(!is_read(&of_group(b"\x02\x01k\0", &[&[3, 1][..], &[0; 8]].concat())), "a zero");
        assert!(!is_read(&of_group(b"\x02\x01k\0", &[LIMBS as u8, 1, 1, 0, 0, 0, 0, 0, 0, 0])));
    }

    #[test]
    fn a_group_takes_little_more_than_its_buckets() {
        let numbers: Vec<f64> = (1..200).map(|n| f64::from(n) / 100.0).collect();
        let bytes = part(GroupName::Value((*b"/api/v1/items").into()), &numbers).to_bytes();
        assert!(bytes.len() < 450, "{}", bytes.len());
    }

    #[test]
    fn a_file_has_an_upper_bound() {
        let why = |len| Part::read(&vec![0; len]).unwrap_err().to_string();
        assert_eq!(why(MAX_BYTES), "it is not a sketch");
        assert_eq!(why(MAX_BYTES + 1), "it is larger than a sketch can be");
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_back(
            numbers in proptest::collection::vec(any::<f64>(), 0..60), value in ".{1,50}",
        ) {
            let numbers: Vec<f64> = numbers.into_iter().filter(|v| v.is_finite()).collect();
            let whole = Part { group: None, sketch: sketch(&numbers) };
            let value = GroupName::Value(value.as_bytes().into());
            let groups = [value, GroupName::Missing, GroupName::Other];
            for written in groups.map(|name| part(name, &numbers)).into_iter().chain([whole]) {
                let bytes = written.to_bytes();
                prop_assert_eq!(Part::read(&bytes).unwrap(), (written, bytes.len()));
            }
        }
    }
}
