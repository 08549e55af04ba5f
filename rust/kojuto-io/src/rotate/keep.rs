//! Which closed log files stay: age, number, total size, and compression in the background.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use rustix::process::setpriority_process;

use super::directory::LogDir;

/// What is kept; None means no limit.
#[derive(Debug, Clone, Copy, Default)]
pub struct Keep {
    /// By the time of the last change.
    pub max_age: Option<Duration>,
    /// The file that is written counts.
    pub max_files: Option<usize>,
    /// The file that is written counts.
    pub max_total: Option<u64>,
}

/// Removes what is too old or too much; never the file that is written.
///
/// # Errors
/// The system's, when the directory cannot be read.
pub(super) fn purge(
    directory: &LogDir,
    current: &str,
    keep: Keep,
    now: SystemTime,
) -> io::Result<()> {
    let mut files: Vec<(SystemTime, PathBuf, u64)> = Vec::new();
    let (mut count, mut total) = (0, 0);
    for (path, _) in directory.own_files()? {
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        count += 1;
        total += meta.len();
        if path.file_name().is_some_and(|name| name != current) {
            files.push((meta.modified().unwrap_or(now), path, meta.len()));
        }
    }
    files.sort();
    for (modified, path, size) in files {
        let age = now.duration_since(modified).unwrap_or_default();
        let too_old = keep.max_age.is_some_and(|most| age > most);
        let too_many = keep.max_files.is_some_and(|most| count > most);
        let too_much = keep.max_total.is_some_and(|most| total > most);
        if (too_old || too_many || too_much) && fs::remove_file(&path).is_ok() {
            count -= 1;
            total -= size;
        }
    }
    Ok(())
}

/// Compresses closed files, one at a time, with a program at the lowest priority.
#[derive(Debug)]
pub(super) struct Compressor {
    program: &'static str,
    suffix: &'static str,
    working: Option<(Child, PathBuf)>,
    gave_up: bool,
}

impl Compressor {
    /// `gz` or `zst`; None for anything else.
    pub(super) fn new(form: &str) -> Option<Compressor> {
        let (program, suffix) = match form {
            "gz" => ("gzip", "gz"),
            "zst" => ("zstd", "zst"),
            _ => return None,
        };
        Some(Compressor { program, suffix, working: None, gave_up: false })
    }

    /// Whether a file is being compressed now.
    pub(super) fn is_busy(&self) -> bool {
        self.working.is_some()
    }

    /// Finishes what is done and starts on the next closed file. Returns what to tell the user.
    pub(super) fn step(&mut self, directory: &LogDir, current: &str) -> Option<String> {
        if let Some((child, source)) = &mut self.working {
            let finished = match child.try_wait() {
                Ok(None) => return None,
                Ok(Some(status)) if status.success() => finish(source, self.suffix),
                Ok(Some(status)) => {
                    Err(io::Error::other(format!("{} ended with {status}", self.program)))
                }
                Err(error) => Err(error),
            };
            let source = source.clone();
            self.working = None;
            if let Err(error) = finished {
                let _ = fs::remove_file(temporary(&source, self.suffix));
                self.gave_up = true;
                return Some(format!(
                    "cannot compress {}: {error}; it stays as it is until the next rotation",
                    source.display()
                ));
            }
        }
        if self.gave_up {
            return None;
        }
        let files = directory.own_files().ok()?;
        let next = files
            .into_iter()
            .filter(|(path, name)| {
                !name.compressed && path.file_name().is_some_and(|n| n != current)
            })
            .map(|(path, _)| path)
            .min()?;
        match self.start(&next) {
            Ok(child) => {
                self.working = Some((child, next));
                None
            }
            Err(error) => {
                let _ = fs::remove_file(temporary(&next, self.suffix));
                self.gave_up = true;
                Some(format!("cannot run {} on {}: {error}", self.program, next.display()))
            }
        }
    }

    /// A rotation happened: what failed is tried again.
    pub(super) fn rotated(&mut self) {
        self.gave_up = false;
    }

    fn start(&self, source: &Path) -> io::Result<Child> {
        let out = temporary(source, self.suffix);
        let _ = fs::remove_file(&out);
        let mut command = Command::new(self.program);
        command.arg("-c").stdin(File::open(source)?).stderr(Stdio::null());
        command.stdout(File::create_new(&out)?).process_group(0);
        // SAFETY: setpriority is async-signal-safe and touches nothing but the child.
        unsafe {
            command.pre_exec(|| {
                let _ = setpriority_process(None, 19);
                Ok(())
            });
        }
        command.spawn()
    }
}

impl Drop for Compressor {
    fn drop(&mut self) {
        if let Some((child, source)) = &mut self.working {
            // The whole file is still there; the next start compresses it.
            let _ = child.kill();
            let _ = child.wait();
            let _ = fs::remove_file(temporary(source, self.suffix));
        }
    }
}

fn temporary(source: &Path, suffix: &str) -> PathBuf {
    // No name of the pattern, so that nobody takes half a file for a whole one.
    let name = source.file_name().unwrap_or_default().to_string_lossy();
    source.with_file_name(format!(".{name}.{suffix}.tmp"))
}

/// The compressed file takes the place, the time and the rights of the plain one.
fn finish(source: &Path, suffix: &str) -> io::Result<()> {
    let made = temporary(source, suffix);
    let meta = fs::metadata(source)?;
    let file = File::options().write(true).open(&made)?;
    file.set_permissions(fs::Permissions::from_mode(meta.mode() & 0o7777))?;
    file.set_modified(meta.modified()?)?;
    file.sync_all()?;
    let mut name = source.as_os_str().to_owned();
    name.push(format!(".{suffix}"));
    // A hard link, unlike a rename, never replaces what is there.
    fs::hard_link(&made, PathBuf::from(name))?;
    fs::remove_file(source)?;
    fs::remove_file(&made)
}

#[cfg(test)]
mod tests {
    use kojuto_core::logs::log_name::Pattern;

    use super::*;

    /// Four files of three bytes, the first the oldest; how many are left.
    fn left(keep: Keep, older: Duration) -> usize {
        let dir = tempfile::tempdir().unwrap();
        let pattern = Pattern::parse("log.%d").unwrap();
        let directory = LogDir::open(dir.path(), pattern, 0o644, String::new()).unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        for day in 1..=4u64 {
            let path = dir.path().join(format!("log.0{day}"));
            fs::write(&path, b"abc").unwrap();
            let file = File::options().write(true).open(&path).unwrap();
            let age = Duration::from_secs(60 * (5 - day)) + older;
            file.set_modified(now - age).unwrap();
        }
        fs::write(dir.path().join("another"), b"abc").unwrap();
        purge(&directory, "log.01", keep, now).unwrap();
        assert!(dir.path().join("log.01").exists(), "the one that is written stays");
        directory.own_files().unwrap().len()
    }

    #[test]
    fn so_old_so_many_so_much_and_no_more() {
        let exactly = Duration::ZERO;
        let age = |minutes: u64| Some(Duration::from_secs(60 * minutes));
        let by_age = |minutes| Keep { max_age: age(minutes), ..Keep::default() };
        assert_eq!(left(Keep::default(), exactly), 4);
        assert_eq!(left(by_age(3), exactly), 4);
        assert_eq!(left(by_age(3), Duration::from_nanos(1)), 3);
        assert_eq!(left(Keep { max_files: Some(4), ..Keep::default() }, exactly), 4);
        assert_eq!(left(Keep { max_files: Some(3), ..Keep::default() }, exactly), 3);
        assert_eq!(left(Keep { max_total: Some(12), ..Keep::default() }, exactly), 4);
        assert_eq!(left(Keep { max_total: Some(11), ..Keep::default() }, exactly), 3);
    }
}
