//! What stands in the file of a report: flags, texts and lists.

use super::bad;
use crate::Error;
use crate::error::ReportFault;
use crate::stats::packed::{Fault, Reader};

/// Its parts do not fit each other, or it is cut short within itself.
pub(super) struct Content;

impl From<Fault> for Content {
    fn from(_: Fault) -> Content {
        Content
    }
}

impl From<Content> for Error {
    fn from(_: Content) -> Error {
        bad(ReportFault::Content)
    }
}

/// What was read, unless it is nothing that was written.
pub(super) type Read<T> = Result<T, Content>;

/// The longest text of a file.
const MOST_TEXT_BYTES: usize = 1 << 20;

impl<'a> Reader<'a> {
    pub(super) fn flag(&mut self) -> Read<bool> {
        match self.varint()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Content),
        }
    }

    pub(super) fn bytes(&mut self) -> Read<&'a [u8]> {
        Ok(self.text(MOST_TEXT_BYTES)?)
    }

    pub(super) fn string(&mut self) -> Read<String> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| Content)
    }

    /// A count, not more than `most`, and so many of what `one` reads.
    pub(super) fn list<T>(
        &mut self,
        most: usize,
        mut one: impl FnMut(&mut Self) -> Read<T>,
    ) -> Read<Vec<T>> {
        let count = self.varint()?;
        if count > most as u64 {
            return Err(Content);
        }
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(one(self)?);
        }
        Ok(all)
    }
}
