//! Closed log files are compressed in the background, one at a time.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::child::{apart, watch_children};
use super::directory::LogDir;
use crate::words;

/// A file that could not be compressed is left alone for so long, or until the next rotation.
const TRY_AGAIN: Duration = Duration::from_secs(600);

/// A file that is being compressed, and what it was at the beginning.
#[derive(Debug)]
struct Working {
    child: Child,
    source: PathBuf,
    state: State,
}

/// Of a file: its device and inode, its size, and when it was written to last.
type State = (u64, u64, u64, i64, i64);

fn state_of(meta: &fs::Metadata) -> State {
    (meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec())
}

/// Compresses with a program at the lowest priority.
#[derive(Debug)]
pub(super) struct Compressor {
    program: &'static str,
    suffix: &'static str,
    working: Option<Working>,
    /// What failed and when; it was told of once.
    failed: HashMap<PathBuf, Option<Instant>>,
}

impl Compressor {
    /// `gz` or `zst`; None for anything else.
    pub(super) fn new(form: &str) -> Option<Compressor> {
        let (program, suffix) = match form {
            "gz" => ("gzip", "gz"),
            "zst" => ("zstd", "zst"),
            _ => return None,
        };
        watch_children();
        Some(Compressor { program, suffix, working: None, failed: HashMap::new() })
    }

    /// Whether a file is being compressed now.
    pub(super) fn is_busy(&self) -> bool {
        self.working.is_some()
    }

    /// Finishes or takes away what a predecessor left that was killed at work.
    pub(super) fn recover(&self, directory: &LogDir) {
        for (unfinished, source) in directory.unfinished() {
            let done = with_suffix(&source, self.suffix);
            let inode =
                |path: &Path| fs::symlink_metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
            // In place already: all that was missing is the end of the plain file.
            if inode(&done).is_some() && inode(&done) == inode(&unfinished) {
                let _ = fs::remove_file(&source);
            }
            let _ = fs::remove_file(&unfinished);
        }
    }

    /// Finishes what is done and starts on the next file that is not kept as it is. Returns what to
    /// tell the user.
    pub(super) fn step(
        &mut self,
        directory: &LogDir,
        is_kept: impl Fn(&Path) -> bool,
    ) -> Vec<String> {
        let mut told = Vec::new();
        if let Some(Working { child, source, state }) = &mut self.working {
            let finished = match child.try_wait() {
                Ok(None) => return told,
                Ok(Some(status)) if status.success() => finish(source, *state, self.suffix),
                Ok(Some(status)) => {
                    Err(io::Error::other(format!("{} ended with {status}", self.program)))
                }
                Err(error) => Err(error),
            };
            let source = source.clone();
            self.working = None;
            match finished {
                Ok(()) => {
                    self.failed.remove(&source);
                }
                Err(error) => {
                    let _ = fs::remove_file(temporary(&source, self.suffix));
                    told.extend(self.fail(source, &error));
                }
            }
        }
        while let Some(next) = self.next(directory, &is_kept) {
            match self.start(&next) {
                Ok(working) => {
                    self.working = Some(working);
                    break;
                }
                Err(error) => told.extend(self.fail(next, &error)),
            }
        }
        told
    }

    fn next(&self, directory: &LogDir, is_kept: impl Fn(&Path) -> bool) -> Option<PathBuf> {
        let rests = |path: &PathBuf| {
            let failed = self.failed.get(path).copied().flatten();
            failed.is_some_and(|at| at.elapsed() < TRY_AGAIN)
        };
        let files = directory.own_files().ok()?;
        files
            .into_iter()
            .filter(|(path, name)| !name.compressed && !is_kept(path))
            .map(|(path, _)| path)
            .filter(|path| !rests(path))
            .min()
    }

    /// The others go on; this one is tried again later, and told of once.
    fn fail(&mut self, source: PathBuf, error: &io::Error) -> Option<String> {
        let text = format!(
            "cannot compress {}: {}; it stays as it is, and is tried again later",
            source.display(),
            words(error)
        );
        let known = self.failed.insert(source, Some(Instant::now())).is_some();
        (!known).then_some(text)
    }

    /// A rotation happened: what failed is tried again.
    pub(super) fn rotated(&mut self) {
        self.failed.retain(|path, _| path.exists());
        self.failed.values_mut().for_each(|at| *at = None);
    }

    fn start(&self, source: &Path) -> io::Result<Working> {
        let done = with_suffix(source, self.suffix);
        if fs::symlink_metadata(&done).is_ok() {
            let name = done.file_name().unwrap_or_default().display().to_string();
            return Err(io::Error::other(format!("{name} is there already")));
        }
        let input = File::open(source)?;
        let state = state_of(&input.metadata()?);
        let out = temporary(source, self.suffix);
        let _ = fs::remove_file(&out);
        let started = made_like(&input, &out).and_then(|output| {
            let mut command = Command::new(self.program);
            command.arg("-c").stdin(input).stdout(output).stderr(Stdio::null());
            apart(&mut command, 19);
            command.spawn().map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {}", self.program, words(&error)))
            })
        });
        match started {
            Ok(child) => Ok(Working { child, source: source.to_owned(), state }),
            Err(error) => {
                let _ = fs::remove_file(&out);
                Err(error)
            }
        }
    }
}

impl Drop for Compressor {
    fn drop(&mut self) {
        if let Some(Working { child, source, .. }) = &mut self.working {
            // The whole file is still there; the next start compresses it.
            let _ = child.kill();
            let _ = child.wait();
            let _ = fs::remove_file(temporary(source, self.suffix));
        }
    }
}

/// An empty file with the owner and the rights of another, before the first byte is in it.
fn made_like(source: &File, path: &Path) -> io::Result<File> {
    let meta = source.metadata()?;
    let file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    let ours = file.metadata()?;
    if (ours.uid(), ours.gid()) != (meta.uid(), meta.gid()) {
        // Who may not give it away keeps it, as gzip does.
        let _ = fchown(&file, Some(meta.uid()), Some(meta.gid()));
    }
    file.set_permissions(fs::Permissions::from_mode(meta.mode() & 0o777))?;
    Ok(file)
}

fn with_suffix(source: &Path, suffix: &str) -> PathBuf {
    let mut name = source.as_os_str().to_owned();
    name.push(format!(".{suffix}"));
    PathBuf::from(name)
}

fn temporary(source: &Path, suffix: &str) -> PathBuf {
    // No name of the pattern, so that nobody takes half a file for a whole one.
    let name = source.file_name().unwrap_or_default().to_string_lossy();
    source.with_file_name(format!(".{name}.{suffix}.tmp"))
}

/// The compressed file takes the place and the time of the plain one.
fn finish(source: &Path, state: State, suffix: &str) -> io::Result<()> {
    let made = temporary(source, suffix);
    if state_of(&fs::metadata(source)?) != state {
        return Err(io::Error::other("it was written to meanwhile"));
    }
    let file = File::options().write(true).open(&made)?;
    file.set_modified(fs::metadata(source)?.modified()?)?;
    file.sync_all()?;
    // A hard link, unlike a rename, never replaces what is there.
    fs::hard_link(&made, with_suffix(source, suffix))?;
    // The name of the unfinished file goes last: while it is there, who comes after a kill knows
    // that the plain file is to go.
    fs::remove_file(source)?;
    fs::remove_file(&made)
}

#[cfg(test)]
mod tests {
    use kojuto_core::logs::log_name::Pattern;

    use super::super::directory::Naming;
    use super::*;

    fn directory(path: &Path) -> LogDir {
        let pattern = Pattern::parse("log.%d").unwrap();
        LogDir::open(path, Naming { pattern, mode: 0o644, link: None }, String::new()).unwrap()
    }

    fn names(path: &Path) -> Vec<String> {
        let entries = fs::read_dir(path).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| !name.ends_with("lock")).collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_kill_left_is_finished_or_undone() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        // Killed between the link and the end of the plain file.
        put("log.01", "plain");
        put(".log.01.gz.tmp", "packed");
        fs::hard_link(dir.path().join(".log.01.gz.tmp"), dir.path().join("log.01.gz")).unwrap();
        // Killed while it was compressed; the file of the same name is another's.
        put("log.02", "plain");
        put(".log.02.gz.tmp", "pac");
        put("log.02.gz", "another");
        put(".other.gz.tmp", "foreign");
        let directory = directory(dir.path());
        assert_eq!(directory.unfinished_bytes(), 9);
        Compressor::new("gz").unwrap().recover(&directory);
        assert_eq!(names(dir.path()), [".other.gz.tmp", "log.01.gz", "log.02", "log.02.gz"]);
        assert_eq!(directory.unfinished_bytes(), 0);
    }

    #[test]
    fn a_file_that_cannot_be_compressed_holds_up_no_other() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["log.01", "log.01.gz", "log.02", "log.03"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let directory = directory(dir.path());
        let mut compressor = Compressor::new("gz").unwrap();
        let is_written = |path: &Path| path.ends_with("log.03");
        let mut told = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(60);
        while dir.path().join("log.02").exists() || compressor.is_busy() || told.is_empty() {
            assert!(Instant::now() < deadline, "{:?}", names(dir.path()));
            told.extend(compressor.step(&directory, is_written));
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(names(dir.path()), ["log.01", "log.01.gz", "log.02.gz", "log.03"]);
        assert!(told[0].contains("log.01.gz is there already"), "{told:?}");
        compressor.rotated();
        assert!(compressor.step(&directory, is_written).is_empty(), "told of once");
        fs::remove_file(dir.path().join("log.01.gz")).unwrap();
        compressor.rotated();
        while dir.path().join("log.01").exists() || compressor.is_busy() {
            assert!(Instant::now() < deadline, "{:?}", names(dir.path()));
            compressor.step(&directory, is_written);
        }
        assert_eq!(told.len(), 1);
    }

    #[test]
    fn a_file_that_somebody_wrote_to_meanwhile_is_not_taken_away() {
        use std::io::Write;

        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("log.01");
        fs::write(&source, b"first\n").unwrap();
        let directory = directory(dir.path());
        let mut compressor = Compressor::new("gz").unwrap();
        assert!(compressor.step(&directory, |_| false).is_empty());
        let mut writer = File::options().append(true).open(&source).unwrap();
        writer.write_all(b"last\n").unwrap();
        let mut told = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(60);
        while told.is_empty() {
            assert!(Instant::now() < deadline, "{:?}", names(dir.path()));
            told = compressor.step(&directory, |_| false);
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(told[0].contains("written to meanwhile"), "{told:?}");
        assert_eq!(fs::read(&source).unwrap(), b"first\nlast\n");
        assert_eq!(names(dir.path()), ["log.01"]);
    }

    #[test]
    fn the_rights_are_the_sources_before_the_first_byte() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("log.01");
        for mode in [0o600, 0o640, 0o644] {
            fs::write(&source, b"x").unwrap();
            fs::set_permissions(&source, fs::Permissions::from_mode(mode)).unwrap();
            let out = dir.path().join("out");
            let file = made_like(&File::open(&source).unwrap(), &out).unwrap();
            let meta = file.metadata().unwrap();
            assert_eq!((meta.mode() & 0o777, meta.len()), (mode, 0));
            fs::remove_file(out).unwrap();
        }
    }
}
