//! The file that is written: at its end, whatever others do to it.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};

/// How far back the beginning of a torn line is looked for.
const LINE_BYTES: u64 = 64 << 20;

/// The file that is written now.
#[derive(Debug)]
pub(super) struct Current {
    /// Open for reading and for writing at the end, wherever that is then.
    pub file: File,
    /// Its name in the directory.
    pub name: String,
    /// Its size as far as this process knows; others may write and cut.
    pub size: u64,
    /// Its size when it was last seen to have a name.
    pub(super) linked: u64,
}

impl Current {
    /// Whether nothing of an unfinished line is at the end.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn ends_line(&self) -> io::Result<bool> {
        let mut last = [0; 1];
        Ok(self.size == 0
            || (self.file.read_at(&mut last, self.size - 1)? == 1 && last[0] == b'\n'))
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// The system's; `size` then tells how far it came.
    pub(super) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = &rest[self.write(rest)?..];
        }
        Ok(())
    }

    /// Writes some of `bytes`.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.file.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.size += count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Looks how long the file is: others may have written to it or cut it.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn look_at_size(&mut self) -> io::Result<()> {
        self.size = self.file.metadata()?.len();
        self.linked = self.linked.min(self.size);
        Ok(())
    }

    /// Asked after a write: whether the file still has a name. If not, the answer is what was
    /// written since it last had one, from the beginning of the line.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn rescue(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.file.metadata()?.nlink() > 0 {
            self.linked = self.size;
            return Ok(None);
        }
        let size = self.file.metadata()?.len();
        let start = self.line_start(self.linked.min(size))?;
        let mut bytes = vec![0; (size - start) as usize];
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(Some(bytes))
    }

    /// Cuts an unfinished line of at most `most` bytes off the end and returns it; None when there
    /// is none, or a longer one.
    ///
    /// # Errors
    /// The system's; the file is then as it was.
    pub(super) fn take_back(&mut self, most: u64) -> io::Result<Option<Vec<u8>>> {
        if self.ends_line()? {
            return Ok(None);
        }
        let start = self.line_start(self.size)?;
        if self.size - start > most {
            return Ok(None);
        }
        let mut bytes = vec![0; (self.size - start) as usize];
        self.file.read_exact_at(&mut bytes, start)?;
        self.cut(start)?;
        Ok(Some(bytes))
    }

    /// Where the line begins that `end` is in.
    pub(super) fn line_start(&self, end: u64) -> io::Result<u64> {
        let mut at = end;
        let mut block = vec![0; 64 << 10];
        while at > 0 && end - at < LINE_BYTES {
            let count = at.min(block.len() as u64) as usize;
            self.file.read_exact_at(&mut block[..count], at - count as u64)?;
            if let Some(newline) = block[..count].iter().rposition(|&byte| byte == b'\n') {
                return Ok(at - (count - newline) as u64 + 1);
            }
            at -= count as u64;
        }
        Ok(at)
    }

    pub(super) fn cut(&mut self, size: u64) -> io::Result<()> {
        self.file.set_len(size)?;
        (self.size, self.linked) = (size, size);
        Ok(())
    }
}
