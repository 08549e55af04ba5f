//! The values by which lines are parted into groups, told apart from what is no value.

use std::borrow::Cow;

/// The most bytes that name a group.
pub const MAX_GROUP_BYTES: usize = 200;

/// Of a longer value so many of the bytes are its hash: `~` and 64 bits in hexadecimal.
const HASH_BYTES: usize = 17;

/// What a group of lines is of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupName {
    /// The lines with this value, as [`bounded`].
    Value(Box<[u8]>),
    /// The lines without a value.
    Missing,
    /// The pool of the groups that are too many.
    Other,
}

impl GroupName {
    /// A word for what it is, and the value.
    pub fn parts(&self) -> (&'static str, &[u8]) {
        match self {
            GroupName::Value(value) => ("value", value),
            GroupName::Missing => ("missing", b""),
            GroupName::Other => ("other", b""),
        }
    }
}

/// A value as it is, or, where it has more than [`MAX_GROUP_BYTES`], its beginning and its hash:
/// two long values that begin alike are two groups.
pub fn bounded(value: &[u8]) -> Cow<'_, [u8]> {
    if value.len() <= MAX_GROUP_BYTES {
        return Cow::Borrowed(value);
    }
    let mut end = MAX_GROUP_BYTES - HASH_BYTES;
    // No character of UTF-8 is cut in two.
    while end > MAX_GROUP_BYTES - HASH_BYTES - 3 && value[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    let mut short = value[..end].to_vec();
    short.extend_from_slice(format!("~{:016x}", fnv_1a(value)).as_bytes());
    Cow::Owned(short)
}

/// The hash FNV-1a with 64 bits (<http://www.isthe.com/chongo/tech/comp/fnv/>).
fn fnv_1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &b| (hash ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(fnv_1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv_1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn long_values_that_begin_alike_stay_apart_and_whole_characters() {
        let short = "日".repeat(66).into_bytes();
        assert_eq!(&*bounded(&short), &*short);
        let (one, two) = ("日".repeat(400) + "a", "日".repeat(400) + "b");
        let (one, two) = (bounded(one.as_bytes()), bounded(two.as_bytes()));
        assert_ne!(one, two);
        assert!(one.len() <= MAX_GROUP_BYTES);
        assert!(std::str::from_utf8(&one).unwrap().starts_with("日日"));
    }
}
