//! Pipes as they were given to us: what is one, and how large it is.

use std::os::fd::RawFd;

/// What an unprivileged process may ask for (pipe(7), `/proc/sys/fs/pipe-max-size`).
const PIPE_BYTES: usize = 1 << 20;

/// Whether the descriptor is a pipe or FIFO.
pub fn is_pipe(fd: RawFd) -> bool {
    // SAFETY: all-zero is a valid stat structure, and fstat writes nothing else.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: see above.
    unsafe { libc::fstat(fd, &mut stat) == 0 && stat.st_mode & libc::S_IFMT == libc::S_IFIFO }
}

/// Makes a pipe as large as an unprivileged process may; nothing happens where that is refused.
pub fn widen(fd: RawFd) {
    // SAFETY: takes and gives integers only; on anything but a pipe it fails.
    unsafe {
        let size = libc::fcntl(fd, libc::F_GETPIPE_SZ);
        if size > 0 && (size as usize) < PIPE_BYTES {
            libc::fcntl(fd, libc::F_SETPIPE_SZ, PIPE_BYTES as libc::c_int);
        }
    }
}
