//! Which files of a directory are whose.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use kojuto_core::logs::log_name::LogName;

use super::directory::LogDir;

impl LogDir {
    /// The names in the directory that fit the pattern.
    ///
    /// # Errors
    /// The system's, when the directory cannot be read.
    pub(super) fn own_files(&self) -> io::Result<Vec<(PathBuf, LogName)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if let Some(name) = self.pattern.read(entry.file_name().as_bytes())
                && entry.file_type()?.is_file()
            {
                found.push((entry.path(), name));
            }
        }
        Ok(found)
    }

    /// Files that begin with a name of the pattern and have another's suffix.
    ///
    /// # Errors
    /// The system's, when the directory cannot be read.
    pub(super) fn kin(&self) -> io::Result<Vec<PathBuf>> {
        let entries = fs::read_dir(&self.path)?.collect::<io::Result<Vec<_>>>()?;
        let is_kin = |entry: &fs::DirEntry| {
            let name = entry.file_name();
            self.pattern.read(name.as_bytes()).is_none()
                && self.pattern.is_kin(name.as_bytes())
                && entry.file_type().is_ok_and(|kind| kind.is_file())
        };
        Ok(entries.into_iter().filter(is_kin).map(|entry| entry.path()).collect())
    }

    /// Files that are being compressed, and which file each is made of.
    pub(super) fn unfinished(&self) -> Vec<(PathBuf, PathBuf)> {
        let Ok(entries) = fs::read_dir(&self.path) else { return Vec::new() };
        let found = entries.filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            let (source, _) = name.strip_prefix('.')?.strip_suffix(".tmp")?.rsplit_once('.')?;
            self.pattern.read(source.as_bytes())?;
            Some((self.path.join(&name), self.path.join(source)))
        });
        found.collect()
    }

    /// How much is in them.
    pub(super) fn unfinished_bytes(&self) -> u64 {
        let size = |(path, _)| fs::symlink_metadata(path).map_or(0, |meta| meta.len());
        self.unfinished().into_iter().map(size).sum()
    }
}
