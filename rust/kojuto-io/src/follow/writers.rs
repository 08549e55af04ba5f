//! Whether anybody can still write to a file.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use rustix::fs::{FsWord, fstatfs};

/// Numbers of file systems to which another machine, or a process past the mount, may write as well
/// (statfs(2)): FUSE, 9p, SMB, CIFS, SMB2, AFS. Those of NFS and Ceph grant no lease at all.
const SHARED: [FsWord; 6] =
    [0x6573_5546, 0x0102_1997, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x5346_414f];

const F_SETSIG: libc::c_int = 10; // fcntl(2); not in the libc crate for every target

/// Whether some process has the file open for writing; `None` when the system does not tell.
///
/// A read lease is granted only on a file that nobody has open for writing (fcntl(2), "Leases");
/// it is given back at once. It needs the file's owner or CAP_LEASE, and a local file system.
pub(super) fn exist(file: &File) -> Option<bool> {
    let descriptor = file.as_raw_fd();
    // Should somebody open the file for writing in the instant of the lease, the kernel tells the
    // holder by SIGIO, which kills; SIGURG is ignored unless asked for.
    // SAFETY: plain fcntl calls on a descriptor that is open for as long as `file` lives.
    let granted = unsafe {
        if libc::fcntl(descriptor, F_SETSIG, libc::SIGURG) != 0 {
            return None;
        }
        libc::fcntl(descriptor, libc::F_SETLEASE, libc::F_RDLCK)
    };
    if granted == 0 {
        // SAFETY: as above.
        unsafe { libc::fcntl(descriptor, libc::F_SETLEASE, libc::F_UNLCK) };
        // The kernel knows of writers only that came through this mount.
        return fstatfs(file).is_ok_and(|fs| !SHARED.contains(&fs.f_type)).then_some(false);
    }
    match io::Error::last_os_error().raw_os_error() {
        Some(libc::EAGAIN) => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_is_seen_until_it_closes_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let writer = File::create(&path).unwrap();
        let reader = File::open(&path).unwrap();
        assert_eq!(exist(&reader), Some(true));
        drop(writer);
        assert_eq!(exist(&reader), Some(false));
        std::fs::OpenOptions::new().append(true).open(&path).unwrap(); // the lease is gone again
    }
}
