//! Which closed log files stay: age, number, total size.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::directory::LogDir;
use crate::words;

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

/// Removes what is too old or too much; never the file that is written or that a hook works on.
/// Answers what to tell the user of one that cannot be removed.
///
/// # Errors
/// The system's, when the directory cannot be read.
pub(super) fn purge(
    directory: &LogDir,
    is_kept: impl Fn(&Path) -> bool,
    keep: Keep,
    now: SystemTime,
) -> io::Result<Option<String>> {
    let mut refused = None;
    let mut remove = |path: &Path| match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            let text = || format!("{}: cannot be removed: {}", path.display(), words(&error));
            refused.get_or_insert_with(text);
            false
        }
        _ => true,
    };
    let mut files: Vec<(SystemTime, PathBuf, u64)> = Vec::new();
    // What is being compressed is there twice for a while.
    let (mut count, mut total) = (0, directory.unfinished_bytes());
    for path in directory.kin()? {
        let age = fs::symlink_metadata(&path)
            .and_then(|meta| meta.modified())
            .map_or(Duration::ZERO, |modified| now.duration_since(modified).unwrap_or_default());
        if keep.max_age.is_some_and(|most| age > most) {
            remove(&path);
        }
    }
    for (path, _) in directory.own_files()? {
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        count += 1;
        total += meta.len();
        if !is_kept(&path) {
            files.push((meta.modified().unwrap_or(now), path, meta.len()));
        }
    }
    files.sort();
    for (modified, path, size) in files {
        let age = now.duration_since(modified).unwrap_or_default();
        let too_old = keep.max_age.is_some_and(|most| age > most);
        let too_many = keep.max_files.is_some_and(|most| count > most);
        let too_much = keep.max_total.is_some_and(|most| total > most);
        if (too_old || too_many || too_much) && remove(&path) {
            count -= 1;
            total -= size;
        }
    }
    Ok(refused)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use kojuto_core::logs::log_name::Pattern;

    use super::*;

    /// Four files of three bytes, the first the oldest; how many are left.
    fn left(keep: Keep, older: Duration) -> usize {
        let dir = tempfile::tempdir().unwrap();
        let pattern = Pattern::parse("log.%d").unwrap();
        let naming = super::super::directory::Naming { pattern, mode: 0o644, link: None };
        let directory = LogDir::open(dir.path(), naming, String::new()).unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        for day in 1..=4u64 {
            let path = dir.path().join(format!("log.0{day}"));
            fs::write(&path, b"abc").unwrap();
            let file = File::options().write(true).open(&path).unwrap();
            let age = Duration::from_secs(60 * (5 - day)) + older;
            file.set_modified(now - age).unwrap();
        }
        fs::write(dir.path().join("another"), b"abc").unwrap();
        purge(&directory, |path| path.ends_with("log.01"), keep, now).unwrap();
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
