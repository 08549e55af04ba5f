//! Holes of sparse files. A log that is truncated under a writer that does not append goes on at the
//! place where it was: before that place there is a hole, however long the log had been.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{FileType, SeekFrom, fstat, seek};
use rustix::io::Errno;

/// So much is read before a file system is asked for a hole, which is not believed alone.
const NEAR_BYTES: usize = 4096;

/// Where the next bytes are that are none of a hole: here, unless one begins here; `None` when there
/// are none. Moves the file's position there.
pub(crate) fn data_after(file: &File, place: u64) -> Option<u64> {
    let mut near = [0; NEAR_BYTES];
    match file.read_at(&mut near, place) {
        Ok(count) if count > 0 && near[..count].iter().all(|&byte| byte == 0) => {}
        _ => return Some(place),
    }
    match seek(file, SeekFrom::Data(place)) {
        Ok(data) => Some(data),
        Err(Errno::NXIO) => None,
        // A file system without holes.
        Err(_) => Some(place),
    }
}

/// How many bytes between two places are none of a hole, counted up to a little past `enough`. Moves
/// the file's position.
pub(crate) fn data_bytes(file: &File, mut place: u64, end: u64, enough: u64) -> u64 {
    let mut found = 0;
    while place < end && found <= enough {
        let data = match seek(file, SeekFrom::Data(place)) {
            Ok(data) => data,
            Err(Errno::NXIO) => break,
            Err(_) => place,
        };
        let hole = seek(file, SeekFrom::Hole(data)).unwrap_or(end).clamp(data, end.max(data));
        found += hole - data;
        place = hole.max(place + 1);
    }
    found
}

/// Whether bytes that were read may be those of a hole.
pub(crate) fn are_nuls(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0) && bytes.last() == Some(&0) && bytes.iter().all(|&byte| byte == 0)
}

/// Where to go on behind NULs that were read up to `place`: where the next bytes are that are none of
/// a hole, or the file ends; here, unless this is in a hole. Moves the file's position, but that of
/// what is no regular file.
pub(crate) fn behind(file: impl AsFd, place: u64) -> u64 {
    // Taken first: what is written behind it from now on is not passed by.
    let size = match fstat(&file) {
        Ok(about) if FileType::from_raw_mode(about.st_mode) == FileType::RegularFile => {
            about.st_size as u64
        }
        _ => return place,
    };
    let next = match seek(&file, SeekFrom::Data(place)) {
        Ok(data) => data,
        Err(Errno::NXIO) => size,
        Err(_) => place,
    };
    seek(&file, SeekFrom::Start(next.max(place))).unwrap_or(place)
}

/// Moves a file, where it stands behind NULs that were read, as [`behind`] says; a pipe stays.
pub(crate) fn pass(file: impl AsFd) {
    let _ = seek(&file, SeekFrom::Current(0)).map(|place| behind(&file, place));
}
