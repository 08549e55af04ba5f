//! Numbers and texts of a file, as short as they can be.

/// Why they cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// There are too few bytes.
    CutShort,
    /// Nobody writes it so.
    Wrong,
}

/// Reads what stands at the beginning of `rest`, and takes it off.
pub(crate) struct Reader<'a> {
    pub(crate) rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// So many bytes.
    pub(crate) fn take<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Fault::CutShort)?;
        self.rest = rest;
        Ok(*head)
    }

    /// A length and so many bytes, not more than `most`.
    pub(crate) fn text(&mut self, most: usize) -> Result<&'a [u8], Fault> {
        let length = usize::try_from(self.varint()?).ok().filter(|length| *length <= most);
        let length = length.ok_or(Fault::Wrong)?;
        let (text, rest) = self.rest.split_at_checked(length).ok_or(Fault::CutShort)?;
        self.rest = rest;
        Ok(text)
    }

    /// A double, little endian.
    pub(crate) fn double(&mut self) -> Result<f64, Fault> {
        self.take().map(f64::from_le_bytes)
    }

    /// Seven bits a byte, least first (LEB128); only the shortest form counts.
    pub(crate) fn varint(&mut self) -> Result<u64, Fault> {
        u64::try_from(self.wide_varint()?).map_err(|_| Fault::Wrong)
    }

    /// The same of a wider number.
    pub(crate) fn wide_varint(&mut self) -> Result<u128, Fault> {
        let mut value = 0u128;
        for shift in (0..128).step_by(7) {
            let [byte] = self.take()?;
            let part = u128::from(byte & 0x7f);
            if part << shift >> shift != part || (byte == 0 && shift > 0) {
                break;
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Fault::Wrong)
    }
}

/// Adds a number, as [`Reader::varint`] reads it.
pub(crate) fn write_varint(out: &mut Vec<u8>, value: u64) {
    write_wide(out, u128::from(value));
}

/// The same of a wider number.
pub(crate) fn write_wide(out: &mut Vec<u8>, mut value: u128) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Adds a text, as [`Reader::text`] reads it.
pub(crate) fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    write_varint(out, text.len() as u64);
    out.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_written_is_read_and_a_longer_form_is_not(
            wide in any::<u128>(), bits in 0u32..128, text in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let wide = wide >> bits;
            let mut out = Vec::new();
            write_wide(&mut out, wide);
            let numbers = out.len();
            write_text(&mut out, &text);
            let mut reader = Reader { rest: &out };
            prop_assert_eq!(reader.wide_varint(), Ok(wide));
            prop_assert_eq!(reader.text(20), Ok(&text[..]));
            prop_assert_eq!(reader.take::<1>(), Err(Fault::CutShort));
            let narrow = Reader { rest: &out }.varint();
            prop_assert_eq!(narrow, u64::try_from(wide).map_err(|_| Fault::Wrong));
            let mut longer = out[..numbers].to_vec();
            longer[numbers - 1] |= 0x80;
            longer.push(0);
            prop_assert_eq!(Reader { rest: &longer }.wide_varint(), Err(Fault::Wrong));
        }
    }
}
