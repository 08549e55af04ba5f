//! The file that is written: at its end, whatever others do to it.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use kojuto_core::logs::line_end::without_cr;

use super::input::{Input, Seen};

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
    /// Whether this process has written since then.
    pub(super) unproven: bool,
}

impl Current {
    /// Opens the file to write at its end, or makes it.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn open(path: &Path, name: String, mode: u32) -> io::Result<Current> {
        let file = File::options()
            .read(true)
            .append(true)
            .create(true)
            .mode(mode)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK)
            .open(path)?;
        let size = file.metadata()?.len();
        Ok(Current { file, name, size, linked: size, unproven: false })
    }

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
                    self.unproven = true;
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
        let meta = self.file.metadata()?;
        self.size = meta.len();
        // What others wrote meanwhile is theirs, whatever became of the file.
        self.unproven &= meta.nlink() == 0;
        self.linked = if self.unproven { self.linked.min(self.size) } else { self.size };
        Ok(())
    }

    /// Asked after a write: whether the file still has a name. If not, the answer is what was
    /// written since it last had one, from the beginning of the line.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn rescue(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.file.metadata()?.nlink() > 0 {
            (self.linked, self.unproven) = (self.size, false);
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
        // What others have written since the end was ours is not ours to cut.
        if self.ends_line()? || self.file.metadata()?.len() != self.size {
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

/// Takes back what a killed predecessor wrote and could not take out of the pipe: it comes again.
pub(super) fn undo_write(current: &mut Current, from: u64, input: &mut Input) -> io::Result<()> {
    let written = current.size.saturating_sub(from);
    if written == 0 || written > super::CHUNK_BYTES as u64 {
        return Ok(());
    }
    let mut bytes = vec![0; written as usize];
    current.file.read_exact_at(&mut bytes, from)?;
    if matches!(input.look(super::CHUNK_BYTES), Ok(Seen::Bytes))
        && without_cr(input.bytes(), &mut false).starts_with(&bytes)
    {
        current.cut(from)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    /// What is left of a file whose last bytes a killed predecessor wrote, when this is in the pipe.
    fn left(file: &[u8], from: u64, pipe: &[u8]) -> Vec<u8> {
        let mut written = tempfile::tempfile().unwrap();
        written.write_all(file).unwrap();
        let size = file.len() as u64;
        let name = "log.1".to_owned();
        let mut current = Current { file: written, name, size, linked: size, unproven: false };
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(pipe).unwrap();
        let mut input = Input::new(reader.as_raw_fd());
        undo_write(&mut current, from, &mut input).unwrap();
        let mut content = vec![0; current.file.metadata().unwrap().len() as usize];
        current.file.read_exact_at(&mut content, 0).unwrap();
        assert_eq!(current.size, content.len() as u64);
        content
    }

    #[test]
    fn what_comes_again_is_taken_back_and_nothing_else_is() {
        assert_eq!(left(b"old\nnew\n", 4, b"new\nnext\n"), b"old\n");
        assert_eq!(left(b"old\nnew\n", 4, b"new\n"), b"old\n");
        assert_eq!(left(b"old\nnew\n", 4, b"new\r\nnext\n"), b"old\n", "its CR was left out");
        for pipe in [&b"other\n"[..], b"new", b"ne"] {
            assert_eq!(left(b"old\nnew\n", 4, pipe), b"old\nnew\n", "it was taken out");
        }
        assert_eq!(left(b"old\n", 4, b"new\n"), b"old\n", "nothing was written");
        assert_eq!(left(b"old\n", 9, b"new\n"), b"old\n", "somebody cut the file");
    }
}
