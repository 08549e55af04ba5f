//! The capture file (pcap) of a dump, or a ring of them.
//!
//! A file is locked (flock(2)) as long as it may still be written to or thrown away, and nobody
//! replaces one that is locked: of two generations of a server each has its own.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kojuto_core::net::pcap;
use rustix::fs::{FlockOperation, flock};

use crate::log::Log;
use crate::sys::socket as sys;
use crate::{Error, Result};

/// Where a capture goes and how much of it is kept.
#[derive(Debug, Clone)]
pub struct CaptureOptions {
    /// The file, or `-` for standard output. Where it is in use, the first of `FILE.1`, `FILE.2` … that
    /// is not is taken.
    pub path: PathBuf,
    /// So many bytes of a packet, its headers included.
    pub snaplen: u32,
    /// A file that has so many bytes is followed by the next; 0: none is.
    pub max_bytes: u64,
    /// So many files are kept.
    pub files: usize,
    /// What is there and in use by nobody may be replaced; else no file is.
    pub replaces: bool,
}

/// A capture; after a failed write it is left as it is.
pub(super) struct Capture {
    options: CaptureOptions,
    current: Option<Current>,
    /// Those before it that are kept, the oldest first.
    former: VecDeque<(PathBuf, File)>,
}

struct Current {
    path: PathBuf,
    /// What its name ends in, if it is not 0.
    number: usize,
    file: BufWriter<Waiting>,
    bytes: u64,
    /// Not a pipe or a device, which is not followed by another.
    regular: bool,
}

/// A file that is waited for where it does not wait itself, as standard output may not (O_NONBLOCK).
struct Waiting(File);

impl Write for Waiting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    sys::wait_for(self.0.as_raw_fd(), true, Duration::from_secs(1));
                }
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Capture {
    pub(super) fn create(options: CaptureOptions) -> Result<Capture> {
        let current = Current::create(&options, 0)?;
        Ok(Capture { options, current: Some(current), former: VecDeque::new() })
    }

    pub(super) fn snaplen(&self) -> usize {
        self.options.snaplen as usize
    }

    /// Where it began.
    pub(super) fn path(&self) -> Option<&Path> {
        self.current.as_ref().map(|current| &*current.path)
    }

    pub(super) fn write(&mut self, log: &Log, packets: &[u8]) {
        let result = self.try_write(packets);
        self.check(log, result);
    }

    pub(super) fn flush(&mut self, log: &Log) {
        let Some(current) = &mut self.current else { return };
        let result = current.file.flush().map_err(Error::on_path(&current.path));
        self.check(log, result);
    }

    fn check(&mut self, log: &Log, result: Result<()>) {
        let (Err(error), Some(current)) = (result, &self.current) else { return };
        let line = Log::line("error", "the capture file cannot be written and ends here");
        let line = line.text("file", &current.path.display().to_string());
        log.write(&line.text("error", &error.to_string()).end());
        self.current = None;
    }

    fn try_write(&mut self, packets: &[u8]) -> Result<()> {
        let Some(current) = &mut self.current else { return Ok(()) };
        let bytes = current.bytes + packets.len() as u64;
        if current.regular && self.options.max_bytes > 0 && bytes > self.options.max_bytes {
            self.next()?;
        }
        let Some(current) = &mut self.current else { return Ok(()) };
        current.bytes += packets.len() as u64;
        current.file.write_all(packets).map_err(Error::on_path(&current.path))
    }

    /// Goes on with the next file, and throws away the oldest if there are too many.
    fn next(&mut self) -> Result<()> {
        let Some(current) = &mut self.current else { return Ok(()) };
        current.file.flush().map_err(Error::on_path(&current.path))?;
        let next = Current::create(&self.options, current.number + 1)?;
        let old = std::mem::replace(current, next);
        let file =
            old.file.into_inner().map_err(|error| Error::on_path(&old.path)(error.into()))?;
        self.former.push_back((old.path, file.0));
        while self.former.len() >= self.options.files.max(1)
            && let Some((path, file)) = self.former.pop_front()
        {
            if is_at(&path, &file).unwrap_or(false) {
                let _ = fs::remove_file(&path); // who moved it meanwhile keeps it
            }
        }
        Ok(())
    }
}

impl Current {
    /// The first file from a number on that may be taken.
    fn create(options: &CaptureOptions, mut number: usize) -> Result<Current> {
        loop {
            let path = numbered(&options.path, number);
            let claimed = claim(&path, options.replaces).map_err(Error::on_path(&path))?;
            let Some(file) = claimed else {
                number += 1;
                continue;
            };
            let regular = file.metadata().is_ok_and(|found| found.is_file());
            let mut file = BufWriter::with_capacity(256 << 10, Waiting(file));
            let head = pcap::file_header(options.snaplen);
            let written = file.write_all(&head).and_then(|()| file.flush());
            written.map_err(Error::on_path(&path))?;
            return Ok(Current { path, number, file, bytes: head.len() as u64, regular });
        }
    }
}

fn numbered(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    if number > 0 {
        name.push(format!(".{number}"));
    }
    name.into()
}

/// A new file at a path in place of what was there, for its owner alone and locked; None when what is
/// there is locked by somebody or is not to be replaced. A pipe or a device is opened as it is.
fn claim(path: &Path, replaces: bool) -> io::Result<Option<File>> {
    if path.as_os_str() == "-" {
        return Ok(Some(io::stdout().as_fd().try_clone_to_owned()?.into()));
    }
    loop {
        let found = match fs::symlink_metadata(path) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        // Held until there is a new one, so that of two that begin at once one goes elsewhere.
        let mut _old = None;
        if let Some(found) = found {
            if found.is_symlink() && fs::metadata(path).map_or(true, |to| to.is_file()) {
                let why = "a symbolic link; name the file itself, or - for standard output";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
            }
            let kind = fs::metadata(path)?.file_type();
            if kind.is_fifo() || kind.is_char_device() {
                return OpenOptions::new().write(true).open(path).map(Some);
            }
            if !replaces {
                return Ok(None);
            }
            let mut options = OpenOptions::new();
            let options = options.write(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
            let old = match options.open(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                old => old?,
            };
            if flock(&old, FlockOperation::NonBlockingLockExclusive).is_err() {
                return Ok(None);
            }
            if !is_at(path, &old)? {
                continue;
            }
            fs::remove_file(path)?;
            _old = Some(old);
        }
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            file => {
                let file = file?;
                flock(&file, FlockOperation::NonBlockingLockExclusive)?;
                return Ok(Some(file));
            }
        }
    }
}

/// Whether a path still leads to a file.
fn is_at(path: &Path, file: &File) -> io::Result<bool> {
    let there = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        there => there?,
    };
    let ours = file.metadata()?;
    Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn options(path: PathBuf) -> CaptureOptions {
        CaptureOptions { path, snaplen: 262_144, max_bytes: 0, files: 3, replaces: true }
    }

    fn log() -> std::sync::Arc<Log> {
        let (log, _thread) = Log::start(2, crate::log::Detail::Usual).unwrap();
        log.close();
        log
    }

    #[test]
    fn a_pipe_that_does_not_wait_is_waited_for() {
        let (mut read, write) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&write, true).unwrap();
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            io::Read::read_to_end(&mut read, &mut bytes).unwrap();
            bytes
        });
        let body = vec![7; 4 << 20]; // of which a pipe holds a sixty-fourth
        let mut file = Waiting(File::from(std::os::fd::OwnedFd::from(write)));
        file.write_all(&body).unwrap();
        drop(file);
        assert_eq!(reader.join().unwrap(), body);
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn it_replaces_what_nobody_writes_and_is_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("all.pcap");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let mut held = File::open(&path).unwrap();
        let first = Capture::create(options(path.clone())).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let mut text = String::new();
        io::Read::read_to_string(&mut held, &mut text).unwrap();
        assert_eq!(text, "old", "who has the old one open goes on with it");
        let second = Capture::create(options(path.clone())).unwrap();
        let third = Capture::create(options(path.clone())).unwrap();
        assert_eq!(names(dir.path()), ["all.pcap", "all.pcap.1", "all.pcap.2"]);
        assert_eq!(third.path(), Some(&*dir.path().join("all.pcap.2")));
        drop((first, second));
        assert_eq!(Capture::create(options(path.clone())).unwrap().path(), Some(&*path));
    }

    #[test]
    fn a_later_generation_replaces_none_of_those_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c");
        let later = CaptureOptions { replaces: false, ..options(path.clone()) };
        drop(Capture::create(options(path)).unwrap());
        for _ in 0..2 {
            drop(Capture::create(later.clone()).unwrap());
        }
        assert_eq!(names(dir.path()), ["c", "c.1", "c.2"]);
    }

    #[test]
    fn it_follows_no_link_to_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let (path, target) = (dir.path().join("link"), dir.path().join("precious"));
        symlink(&target, &path).unwrap();
        for there in [false, true] {
            if there {
                fs::write(&target, "precious").unwrap();
            }
            let error = Capture::create(options(path.clone())).map(|_| ()).unwrap_err();
            assert!(error.to_string().contains("a symbolic link"), "{error}");
            assert_eq!(target.exists(), there);
        }
        assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
    }

    #[test]
    fn a_full_file_is_followed_by_the_next_and_the_oldest_is_thrown_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("all.pcap");
        let ring = CaptureOptions { max_bytes: 24 + 100, ..options(path.clone()) };
        let mut capture = Capture::create(ring.clone()).unwrap();
        let log = log();
        capture.write(&log, &[1; 60]);
        capture.write(&log, &[2; 40]);
        assert_eq!(names(dir.path()), ["all.pcap"], "just full");
        capture.write(&log, &[3; 1]);
        assert_eq!(names(dir.path()), ["all.pcap", "all.pcap.1"]);
        let other = Capture::create(ring).unwrap();
        assert_eq!(other.path(), Some(&*dir.path().join("all.pcap.2")), "none of the ring's");
        for byte in 4..7 {
            capture.write(&log, &[byte; 100]);
        }
        capture.flush(&log);
        let expected = ["all.pcap.2", "all.pcap.3", "all.pcap.4", "all.pcap.5"];
        assert_eq!(names(dir.path()), expected, "three of its own and the other's");
        assert_eq!(fs::read(dir.path().join("all.pcap.5")).unwrap()[24..], [6; 100]);
    }

    #[test]
    fn a_file_that_was_moved_away_is_not_thrown_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c");
        let ring = CaptureOptions { max_bytes: 25, files: 1, ..options(path.clone()) };
        let mut capture = Capture::create(ring).unwrap();
        fs::rename(&path, dir.path().join("kept")).unwrap();
        fs::write(&path, "another's").unwrap();
        let log = log();
        capture.write(&log, &[1; 2]);
        capture.flush(&log);
        assert_eq!(names(dir.path()), ["c", "c.1", "kept"]);
    }
}
