//! Holes of sparse files. A log that is truncated under a writer that does not append goes on at the
//! place where it was: before that place there is a hole, however long the log had been.

use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// So much is read before a file system is asked for a hole, which is not believed alone.
const NEAR_BYTES: usize = 4096;

/// Where the next bytes are that are none of a hole: here, unless one begins here; `None` when there
/// are none. Moves the file's position there.
pub(super) fn data_after(file: &File, place: u64) -> Option<u64> {
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
pub(super) fn data_bytes(file: &File, mut place: u64, end: u64, enough: u64) -> u64 {
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
