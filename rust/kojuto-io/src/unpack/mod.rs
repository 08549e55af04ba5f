//! Compressed files, read as if they were not. Their first bytes tell what packed them; gzip, xz and
//! Zstandard are unpacked here, what bzip2 and lz4 packed by these programs.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::os::fd::BorrowedFd;

use flate2::bufread::GzDecoder;
use lzma_rust2::XzReader;

use self::program::Program;
use crate::sys::blocks::{BLOCK_BYTES, Input, Stop};
use crate::{Cancel, Error, Result};

mod program;

/// The largest window a Zstandard file may ask for: 2^27 bytes, what the zstd program accepts.
const ZSTD_WINDOW_LOG: u32 = 27;

/// The most memory that an xz file may ask for, twice what `xz -9` does, and what its tables take.
const XZ_MEMORY_KIB: u32 = (128 << 10) + (1 << 10);

/// So many bytes are read from a file at once.
const READ_BYTES: usize = 1 << 16;

/// What packed a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packer {
    /// RFC 1952.
    Gzip,
    /// The .xz file format, version 1.
    Xz,
    /// RFC 8878.
    Zstd,
    /// By the program of this name.
    Bzip2,
    /// Frames of LZ4, by the program.
    Lz4,
}

/// How the files of a packer begin.
struct Magic {
    packer: Packer,
    bytes: &'static [u8],
    /// Up to which byte the one at a place may go, too.
    range: Option<(usize, u8)>,
}

const fn magic(packer: Packer, bytes: &'static [u8], range: Option<(usize, u8)>) -> Magic {
    Magic { packer, bytes, range }
}

const MAGICS: [Magic; 7] = [
    magic(Packer::Gzip, b"\x1f\x8b\x08", None),
    magic(Packer::Xz, b"\xfd7zXZ\0", None),
    magic(Packer::Zstd, b"\x28\xb5\x2f\xfd", None),
    // A skippable frame (RFC 8878, 3.1.2).
    magic(Packer::Zstd, b"\x50\x2a\x4d\x18", Some((0, 0x5f))),
    // The size of its blocks, then the mark of the first one, or that of the end.
    magic(Packer::Bzip2, b"BZh11AY&SY", Some((3, b'9'))),
    magic(Packer::Bzip2, b"BZh1\x17\x72\x45\x38\x50\x90", Some((3, b'9'))),
    magic(Packer::Lz4, b"\x04\x22\x4d\x18", None),
];

/// What the first bytes of a file tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It is compressed.
    Packed(Packer),
    /// It is not.
    Plain,
    /// A file may begin so that is.
    TooShort,
}

impl Packer {
    /// So many bytes tell.
    pub const HEAD_BYTES: usize = 10;

    /// What a file is that begins so.
    pub fn tell(head: &[u8]) -> Told {
        let fits = |magic: &&Magic| {
            let may_be = |(at, (byte, wanted)): (usize, (&u8, &u8))| {
                byte == wanted
                    || magic
                        .range
                        .is_some_and(|(place, last)| at == place && (*wanted..=last).contains(byte))
            };
            head.iter().zip(magic.bytes).enumerate().all(may_be)
        };
        let mut found = MAGICS.iter().filter(fits).peekable();
        match found.clone().find(|magic| magic.bytes.len() <= head.len()) {
            Some(magic) => Told::Packed(magic.packer),
            None if found.peek().is_some() => Told::TooShort,
            None => Told::Plain,
        }
    }

    /// The name of the program that packs and unpacks.
    pub fn program(self) -> &'static str {
        match self {
            Packer::Gzip => "gzip",
            Packer::Xz => "xz",
            Packer::Zstd => "zstd",
            Packer::Bzip2 => "bzip2",
            Packer::Lz4 => "lz4",
        }
    }

    /// Whether no program is needed to unpack.
    pub fn is_built_in(self) -> bool {
        !matches!(self, Packer::Bzip2 | Packer::Lz4)
    }

    /// Reads a file from its beginning. What is damaged is an error without the number of a system's
    /// one, after what could be read of it.
    ///
    /// # Errors
    /// Where a program is needed and not installed, with the way out.
    pub fn unpack_file(self, packed: File) -> io::Result<Box<dyn Read>> {
        match self.is_built_in() {
            true => self.unpack(packed),
            false => Ok(Box::new(Program::start(self.program(), packed)?)),
        }
    }

    /// The same of anything, without the help of a program.
    fn unpack<'a>(self, packed: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
        let packed = BufReader::with_capacity(READ_BYTES, packed);
        Ok(match self {
            Packer::Gzip => Box::new(Gzip(Some(GzDecoder::new(packed)))),
            Packer::Xz => Box::new(Xz(XzReader::new_mem_limit(packed, true, XZ_MEMORY_KIB))),
            Packer::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
            Packer::Bzip2 | Packer::Lz4 => return Err(ErrorKind::Unsupported.into()),
        })
    }

    /// Unpacks what a descriptor gives and hands it on, as [`crate::sys::blocks::read`] does; `taken`
    /// are bytes that were read from it before. Only for those that need no program.
    ///
    /// # Errors
    /// [`Error::Io`] with the name `what`, [`Error::Cancelled`]; for damaged content [`Error::Io`]
    /// that says so instead of the name.
    pub fn read(
        self,
        (taken, fd): (&[u8], BorrowedFd<'_>),
        what: &str,
        block: &mut Vec<u8>,
        cancel: &dyn Cancel,
        mut on: impl FnMut(&[u8]) -> bool,
    ) -> Result<Stop> {
        let failed = Cell::new(None);
        let damaged = |source: io::Error| {
            let program = self.program();
            let what = match source.kind() {
                ErrorKind::OutOfMemory => format!("{program} file"),
                _ => format!("damaged {program} file"),
            };
            failed.take().unwrap_or(Error::Io { what, source })
        };
        let input = Input { fd, what, cancel, failed: &failed };
        let mut reader = self.unpack(taken.chain(input)).map_err(damaged)?;
        block.resize(BLOCK_BYTES, 0);
        loop {
            match reader.read(&mut block[..]).map_err(damaged)? {
                0 => return Ok(Stop::End),
                count if on(&block[..count]) => cancel.check()?,
                _ => return Ok(Stop::Enough),
            }
        }
    }
}

/// All members of a gzip file. Zeros behind them are padding, as gzip(1) has it.
struct Gzip<R>(Option<GzDecoder<BufReader<R>>>);

impl<R: Read> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(decoder) = &mut self.0 {
            let count = decoder.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let rest = decoder.get_mut();
            let zeros = rest.fill_buf()?.iter().take_while(|&&byte| byte == 0).count();
            rest.consume(zeros);
            if zeros == 0 {
                let is_over = rest.fill_buf()?.is_empty();
                let rest = self.0.take().map(GzDecoder::into_inner);
                self.0 = rest.filter(|_| !is_over).map(GzDecoder::new);
            }
        }
        Ok(0)
    }
}

/// All streams of an xz file.
struct Xz<R: Read>(XzReader<R>);

impl<R: Read> Read for Xz<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| match error.kind() {
            ErrorKind::OutOfMemory => {
                let most = XZ_MEMORY_KIB >> 10;
                io::Error::new(error.kind(), format!("it takes more than {most} MiB to unpack"))
            }
            _ => error,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_tells_as_soon_as_it_can_and_not_before() {
        for (bytes, packer) in [
            (&b"\x1f\x8b\x08\0"[..], Packer::Gzip),
            (b"\xfd7zXZ\0\0", Packer::Xz),
            (b"\x28\xb5\x2f\xfd\0", Packer::Zstd),
            (b"\x50\x2a\x4d\x18\0", Packer::Zstd),
            (b"\x5f\x2a\x4d\x18\0", Packer::Zstd),
            (b"BZh11AY&SY\0", Packer::Bzip2),
            (b"BZh91AY&SY\0", Packer::Bzip2),
            (b"BZh9\x17\x72\x45\x38\x50\x90\0", Packer::Bzip2),
            (b"\x04\x22\x4d\x18\0", Packer::Lz4),
        ] {
            let end = bytes.len() - 1;
            assert_eq!(Packer::tell(bytes), Told::Packed(packer));
            assert_eq!(Packer::tell(&bytes[..end]), Told::Packed(packer));
            for length in 0..end {
                let mut head = bytes[..length].to_vec();
                assert_eq!(Packer::tell(&head), Told::TooShort, "{head:?}");
                head.push(b'?');
                assert_eq!(Packer::tell(&head), Told::Plain, "{head:?}");
            }
            assert!(end <= Packer::HEAD_BYTES);
        }
        for plain in
            [&b"\x4f\x2a\x4d\x18"[..], b"\x60\x2a\x4d\x18", b"BZh01AY&SY", b"BZh:1AY&SY", b"1\n"]
        {
            assert_eq!(Packer::tell(plain), Told::Plain, "{plain:?}");
        }
    }
}
