//! The symbolic link to the newest file.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::SystemTime;

use crate::{Error, Result, words};

/// See the module's description.
#[derive(Debug)]
pub(super) struct Link {
    name: String,
    /// Where it was turned to last.
    target: Option<String>,
    complained: bool,
    /// What to tell of a file that it cannot be turned to.
    refused: Option<String>,
    /// Whether it still leads elsewhere.
    is_late: bool,
}

impl Link {
    pub(super) fn new(name: String) -> Link {
        Link { name, target: None, complained: false, refused: None, is_late: false }
    }

    /// Turns it to a file beside it, in one step. Where that cannot be, as in a directory that only
    /// grows (`chattr +a`) or on a file system without links, [`Self::look`] tells it and tries again:
    /// lines need no link.
    ///
    /// # Errors
    /// [`Error::Io`] naming the link when the directory is gone.
    pub(super) fn turn(&mut self, directory: &Path, name: &str) -> Result<()> {
        let path = directory.join(&self.name);
        let is_link = match fs::symlink_metadata(&path) {
            Ok(meta) => meta.file_type().is_symlink().then_some(true),
            Err(_) => Some(false),
        };
        let mut turned = Ok(());
        if is_link != Some(true) || fs::read_link(&path).map_or(true, |to| to != Path::new(name)) {
            turned = self.replace(directory, name, is_link.is_none());
        }
        self.target = Some(name.to_owned());
        match turned {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::on_path(&path)(error));
            }
            Err(error) if !self.is_late => {
                let (path, why) = (path.display(), words(&error));
                let told = format!("{path}: {why}: lines are written to {name} without that link");
                (self.refused, self.is_late) = (Some(told), true);
            }
            Err(_) => {}
            Ok(()) => self.is_late = false,
        }
        Ok(())
    }

    fn replace(&self, directory: &Path, name: &str, is_foreign: bool) -> io::Result<()> {
        let path = directory.join(&self.name);
        if is_foreign {
            // Another program's (multilog writes its newest lines there): keep it.
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let epoch = now.map_or(0, |age| age.as_secs());
            fs::rename(&path, directory.join(format!("{}.before-{epoch}", self.name)))?;
        }
        let fresh = directory.join(format!(".{}.{}", self.name, std::process::id()));
        let _ = fs::remove_file(&fresh);
        symlink(name, &fresh)?;
        fs::rename(&fresh, &path).inspect_err(|_| {
            let _ = fs::remove_file(&fresh);
        })
    }

    /// What to tell the user, once: that it cannot be turned, or that another program turned it away
    /// since we turned it.
    pub(super) fn look(
        &mut self,
        directory: &Path,
        is_own: impl Fn(&[u8]) -> bool,
    ) -> Option<String> {
        if self.is_late {
            let told = self.refused.take();
            if told.is_none() {
                let _ = self.target.clone().map(|name| self.turn(directory, &name));
            }
            return told;
        }
        let target = self.target.as_ref().filter(|_| !self.complained)?;
        let path = directory.join(&self.name);
        let to = fs::read_link(&path).ok()?;
        if to == Path::new(target) || is_own(to.as_os_str().as_bytes()) {
            return None;
        }
        self.complained = true;
        let (path, to) = (path.display(), to.display());
        Some(format!("another program turned {path} to {to}: give each relaxlogs its own --link"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_cannot_be_turned_is_told_once_and_turned_when_it_can() {
        let dir = tempfile::tempdir().unwrap();
        // What would be beside it has a name of over 255 bytes.
        let mut link = Link::new("l".repeat(250));
        let is_own = |_: &[u8]| true;
        link.turn(dir.path(), "log.1").unwrap();
        link.turn(dir.path(), "log.2").unwrap();
        let told = link.look(dir.path(), is_own).unwrap();
        assert!(told.contains("File name too long: lines are written to log.1"), "{told}");
        assert_eq!(link.look(dir.path(), is_own), None);
        link.name = "current".to_owned();
        assert_eq!(link.look(dir.path(), is_own), None);
        assert_eq!(fs::read_link(dir.path().join("current")).unwrap(), Path::new("log.2"));
        assert!(link.turn(&dir.path().join("gone"), "log.3").is_err());
    }
}
