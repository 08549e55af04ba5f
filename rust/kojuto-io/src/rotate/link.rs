//! The symbolic link to the newest file.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::SystemTime;

use crate::{Error, Result};

/// See the module's description.
#[derive(Debug)]
pub(super) struct Link {
    name: String,
    /// Where it was turned to last.
    target: Option<String>,
    complained: bool,
}

impl Link {
    pub(super) fn new(name: String) -> Link {
        Link { name, target: None, complained: false }
    }

    /// Turns it to a file beside it, in one step.
    ///
    /// # Errors
    /// [`Error::Io`] naming the link.
    pub(super) fn turn(&mut self, directory: &Path, name: &str) -> Result<()> {
        let path = directory.join(&self.name);
        let is_link = match fs::symlink_metadata(&path) {
            Ok(meta) => meta.file_type().is_symlink().then_some(true),
            Err(_) => Some(false),
        };
        if is_link != Some(true) || fs::read_link(&path).map_or(true, |to| to != Path::new(name)) {
            self.replace(directory, name, is_link.is_none()).map_err(Error::on_path(&path))?;
        }
        self.target = Some(name.to_owned());
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

    /// What to tell the user when another program turned it away since we turned it, once.
    pub(super) fn look(
        &mut self,
        directory: &Path,
        is_own: impl Fn(&[u8]) -> bool,
    ) -> Option<String> {
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
