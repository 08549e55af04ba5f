//! One file of a log: live, rotated or compressed, read forwards from a marked place.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use kojuto_core::logs::position::{Known, Mark, Print, WINDOW_BYTES};

use super::identity::{self, Identity};
use crate::sys::holes;
use crate::unpack::{Packer, Told};
use crate::words;

/// Fewer bytes than this are too few to know a file by.
pub(super) const STRONG_BYTES: u32 = 64;

/// The number of `/dev/null` (Documentation/admin-guide/devices.txt of Linux: 1, 3).
const NULL_DEVICE: u64 = 0x103;

/// Whether enough bytes were seen to know the file of a mark by them.
pub(super) fn is_strong(mark: &Mark) -> bool {
    mark.head.is_some_and(|print| print.len >= STRONG_BYTES)
}

enum Form {
    Plain,
    Packed(Packer),
    /// Unpacking has begun.
    Unpacking(Box<dyn Read>),
}

/// A file that is being read.
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) identity: Identity,
    file: File,
    form: Form,
    /// Where the next byte comes from (in the uncompressed content).
    pos: u64,
    /// The first bytes of the content, as far as they were seen.
    head: Vec<u8>,
    /// The bytes just before the place where reading began.
    before: Vec<u8>,
    /// The bytes just before `pos`.
    last: Vec<u8>,
}

/// What became of the question whether a mark was made in some file.
pub(super) enum Fit {
    /// It was; the source now stands at the mark.
    Yes,
    /// It was not.
    No,
    /// It begins as that file did, but cannot be read as far as the mark: the text says why.
    Broken(String),
}

impl Source {
    /// Opens a regular file without waiting (a FIFO would), or `/dev/null`, an empty one.
    pub(super) fn open(path: &Path) -> io::Result<Source> {
        let file = std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(path)?;
        let meta = file.metadata()?;
        if meta.is_dir() {
            return Err(io::Error::from_raw_os_error(libc::EISDIR));
        }
        if !meta.is_file() && meta.rdev() != NULL_DEVICE {
            return Err(io::Error::other("not a regular file"));
        }
        Ok(Source {
            path: path.to_owned(),
            identity: Identity::of(&meta),
            file,
            form: Form::Plain,
            pos: 0,
            head: Vec::new(),
            before: Vec::new(),
            last: Vec::new(),
        })
    }

    /// The same for a live log, which must not be compressed (nginx's `access_log … gzip` is): where
    /// it grows, nothing of what was read before could be found again.
    pub(super) fn open_live(path: &Path) -> io::Result<Source> {
        let source = Source::open(path)?;
        let Some(packer) = source.packer()? else { return Ok(source) };
        let by = packer.program();
        Err(io::Error::other(format!("packed by {by}; only plain lines can be followed")))
    }

    /// The same for a file that may be compressed, which its first bytes tell.
    pub(super) fn open_any(path: &Path) -> io::Result<Source> {
        let mut source = Source::open(path)?;
        if let Some(packer) = source.packer()? {
            source.form = Form::Packed(packer);
        }
        Ok(source)
    }

    fn packer(&self) -> io::Result<Option<Packer>> {
        let mut head = [0u8; Packer::HEAD_BYTES];
        let length = read_at_most(&self.file, &mut head, 0)?;
        match Packer::tell(&head[..length]) {
            Told::Packed(packer) => Ok(Some(packer)),
            _ => Ok(None),
        }
    }

    pub(super) fn is_plain(&self) -> bool {
        matches!(self.form, Form::Plain)
    }

    /// The open file, when it is not compressed.
    pub(super) fn plain_file(&self) -> Option<&File> {
        self.is_plain().then_some(&self.file)
    }

    /// Where the next byte comes from.
    pub(super) fn pos(&self) -> u64 {
        self.pos
    }

    /// The bytes just before the place where reading began.
    pub(super) fn before(&self) -> &[u8] {
        &self.before
    }

    /// Whether reading began behind a byte that ends no line.
    pub(super) fn begins_inside_a_line(&self) -> bool {
        self.before.last().is_some_and(|&byte| byte != b'\n')
    }

    /// One read(2), or as much as the decompressor gives at once.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Form::Packed(packer) = self.form {
            self.form = Form::Unpacking(packer.unpack_file(self.file.try_clone()?)?);
        }
        let count = match &mut self.form {
            Form::Unpacking(reader) => reader.read(buffer)?,
            _ => self.file.read(buffer)?,
        };
        if (self.pos as usize) < WINDOW_BYTES && self.head.len() as u64 == self.pos {
            let wanted = (WINDOW_BYTES - self.head.len()).min(count);
            self.head.extend_from_slice(&buffer[..wanted]);
        }
        self.last.extend_from_slice(&buffer[count.saturating_sub(WINDOW_BYTES)..count]);
        let excess = self.last.len().saturating_sub(WINDOW_BYTES);
        self.last.drain(..excess);
        self.pos += count as u64;
        Ok(count)
    }

    /// Moves to the mark if this is the file it was made in, going by the content: the first bytes
    /// and those before the mark. A mark without fingerprints fits every file that is long enough.
    pub(super) fn seek_mark(&mut self, mark: &Mark) -> io::Result<Fit> {
        let head_len = mark.head.map_or(0, |print| u64::from(print.len));
        if self.is_plain() && self.size()? < mark.pos.max(head_len) {
            return Ok(Fit::No);
        }
        let head_matched = match self.fits_head(mark) {
            Ok(fits) => fits,
            // Not even its beginning can be read: there is nothing to know it by.
            Err(_) if !self.is_plain() => return Ok(Fit::No),
            Err(error) => return Err(error),
        };
        if !head_matched {
            return Ok(Fit::No);
        }
        match self.move_to(mark.pos) {
            Ok(true) => {}
            Ok(false) => return Ok(Fit::No),
            Err(error) if self.is_plain() => return Err(error),
            Err(error) => return Ok(Fit::Broken(words(&error))),
        }
        if let Some(tail) = mark.tail {
            let length = tail.len as usize;
            if length > self.before.len()
                || Print::of(&self.before[self.before.len() - length..]) != tail
            {
                return Ok(Fit::No);
            }
        }
        Ok(Fit::Yes)
    }

    fn fits_head(&self, mark: &Mark) -> io::Result<bool> {
        let Some(print) = mark.head else { return Ok(true) };
        let head = self.first_bytes(print.len as usize)?;
        Ok(Print::of(&head) == print)
    }

    /// Whether it can be read and begins so.
    pub(super) fn starts_as(&self, head: Print) -> bool {
        self.first_bytes(head.len as usize).is_ok_and(|bytes| Print::of(&bytes) == head)
    }

    /// The first `length` bytes of the content, or all there are, without moving.
    pub(super) fn first_bytes(&self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let count = match self.plain_file() {
            Some(file) => read_at_most(file, &mut bytes, 0)?,
            // A decompressor cannot go back, so another one is asked.
            None => Source::open_any(&self.path)?.read_all(&mut bytes)?,
        };
        bytes.truncate(count);
        Ok(bytes)
    }

    /// Moves forward to `pos`, remembering the bytes before it; false when the content ends first.
    pub(super) fn move_to(&mut self, pos: u64) -> io::Result<bool> {
        if self.is_plain() {
            let file = &mut self.file;
            let mut head = vec![0; WINDOW_BYTES.min(pos as usize)];
            let mut before = vec![0; WINDOW_BYTES.min(pos as usize)];
            let seen = read_at_most(file, &mut head, 0)?;
            let near_start = pos - before.len() as u64;
            let near = read_at_most(file, &mut before, near_start)?;
            if seen < head.len() || near < before.len() {
                return Ok(false);
            }
            file.seek(SeekFrom::Start(pos))?;
            self.last.clone_from(&before);
            (self.head, self.before, self.pos) = (head, before, pos);
            return Ok(true);
        }
        let mut buffer = vec![0u8; 64 * 1024];
        while self.pos < pos {
            let wanted = buffer.len().min((pos - self.pos) as usize);
            if retried(|| self.read(&mut buffer[..wanted]))? == 0 {
                return Ok(false);
            }
        }
        self.before.clone_from(&self.last);
        Ok(true)
    }

    /// Moves over a hole if one begins here; false when nothing is behind it.
    pub(super) fn pass_hole(&mut self) -> io::Result<bool> {
        let Some(file) = self.plain_file() else { return Ok(true) };
        match holes::data_after(file, self.pos) {
            Some(data) if data > self.pos => self.move_to(data),
            found => Ok(found.is_some()),
        }
    }

    /// The bytes before `pos` of the content, at most `most`, without moving; `None` when the
    /// content ends before.
    pub(super) fn bytes_before(&self, pos: u64, most: usize) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = vec![0; pos.min(most as u64) as usize];
        let start = pos - bytes.len() as u64;
        let count = match self.plain_file() {
            Some(file) => read_at_most(file, &mut bytes, start)?,
            None => {
                let mut other = Source::open_any(&self.path)?;
                if other.move_to(start)? { other.read_all(&mut bytes)? } else { 0 }
            }
        };
        Ok((count == bytes.len()).then_some(bytes))
    }

    fn read_all(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut count = 0;
        while count < bytes.len() {
            match retried(|| self.read(&mut bytes[count..]))? {
                0 => break,
                more => count += more,
            }
        }
        Ok(count)
    }

    /// How long the content is.
    pub(super) fn length(&self) -> io::Result<u64> {
        if self.is_plain() {
            return self.size();
        }
        let mut other = Source::open_any(&self.path)?;
        other.move_to(u64::MAX)?;
        Ok(other.pos)
    }

    /// Size on disk now.
    pub(super) fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    /// When it was last written to.
    pub(super) fn written(&self) -> Option<u64> {
        self.metadata().ok().map(|meta| identity::written(&meta))
    }

    fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    /// How many bytes there are from here to the end, counted up to a little past `enough`; holes are
    /// none. For a compressed file this decompresses it once more, unless it is too small to matter.
    pub(super) fn remaining(&self, enough: u64) -> io::Result<u64> {
        if self.is_plain() {
            let size = self.size()?;
            let left = size.saturating_sub(self.pos);
            if left <= enough {
                return Ok(left);
            }
            let data = holes::data_bytes(&self.file, self.pos, size, enough);
            (&self.file).seek(SeekFrom::Start(self.pos))?;
            return Ok(data);
        }
        let mut other = Source::open_any(&self.path)?;
        let mut buffer = vec![0u8; 64 * 1024];
        while other.pos <= self.pos.saturating_add(enough) {
            match retried(|| other.read(&mut buffer)) {
                Ok(0) => break,
                Ok(_) => {}
                Err(_) => break, // reading it in earnest will say so
            }
        }
        Ok(other.pos.saturating_sub(self.pos))
    }

    /// The place after the byte before `pos`, of which `before` are the bytes before.
    pub(super) fn mark(&self, pos: u64, before: &[u8], skip: bool) -> Mark {
        let known = before.len().min(pos as usize);
        Mark {
            pos,
            inode: self.identity.inode,
            dev: self.identity.dev,
            born: self.identity.born,
            head: Some(Print::of(&self.head)),
            tail: Some(Print::of(&before[before.len() - known..])),
            skip,
        }
    }

    /// What is to be remembered of the file, as far as it has been read; of a plain one, too, that had
    /// nothing in it.
    pub(super) fn known(&self) -> Option<Known> {
        let (head, tail) = (Print::of(&self.head), Print::of(&self.last).hash);
        let known = || self.known_as(head, self.pos, Some(tail));
        (head.len > 0 || self.is_plain()).then(|| Known { counted: self.is_plain(), ..known() })
    }

    /// What is to be remembered of a file that is passed over. How a packed one ends would cost
    /// unpacking it.
    pub(super) fn known_unread(&self) -> io::Result<Known> {
        let head = Print::of(&self.first_bytes(WINDOW_BYTES)?);
        let (mut pos, mut tail) = (u64::from(head.len), None);
        if self.is_plain() && head.len as usize == WINDOW_BYTES {
            pos = self.size()?;
            tail = self.bytes_before(pos, WINDOW_BYTES)?.map(|bytes| Print::of(&bytes).hash);
        }
        Ok(self.known_as(head, pos, tail))
    }

    fn known_as(&self, head: Print, pos: u64, tail: Option<u64>) -> Known {
        let written = self.written();
        let (inode, packed) = (self.identity.inode, !self.is_plain());
        Known { head, inode, pos, tail, written, packed, counted: false }
    }

    /// Whether the file still begins as it did when its beginning was read.
    pub(super) fn still_begins_the_same(&self) -> io::Result<bool> {
        Ok(self.first_bytes(self.head.len())? == self.head)
    }

    /// Tells the kernel that the file will be read in order.
    pub(super) fn advise_sequential(&self) {
        if let Some(file) = self.plain_file() {
            let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Sequential);
        }
    }
}

/// Repeats a read that a signal interrupted.
fn retried(mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Fills `buffer` from `offset` as far as the file goes.
pub(crate) fn read_at_most(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match retried(|| file.read_at(&mut buffer[done..], offset + done as u64))? {
            0 => break,
            count => done += count,
        }
    }
    Ok(done)
}
