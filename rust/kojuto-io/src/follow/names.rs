//! Which files are a log's by what they are called: the rotated forms of its name and of what it leads
//! to, and the files that a link led to in between.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};

use kojuto_core::logs::form::Form;
use kojuto_core::logs::position::{Paths, Position};
use kojuto_core::logs::rotated::{self, RotatedName};

use super::identity::Identity;

/// So many directories of a link's former targets are searched, those with the last names.
const MAX_DIRECTORIES: usize = 500;

/// More links in a path make a loop (path_resolution(7)).
const MAX_LINKS: u32 = 40;

/// The log's path, and what it leads to: through symbolic links, or the other name of a file that has
/// two (`rotatelogs -L`).
pub(super) fn paths(log: &Path, before: Option<&Paths>) -> Paths {
    let given = std::path::absolute(log).unwrap_or_else(|_| log.to_owned());
    let target = fs::canonicalize(log).unwrap_or_else(|_| given.clone());
    let target = other_name(&target, before).unwrap_or(target);
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    Paths { given: text(given), target: text(target) }
}

/// The absolute path of a file's directory.
pub(super) fn directory_of(file: &Path) -> Option<String> {
    let path = std::path::absolute(file).ok()?;
    Some(path.parent()?.to_string_lossy().into_owned())
}

/// The other name of a file that has two in its directory.
fn other_name(path: &Path, before: Option<&Paths>) -> Option<PathBuf> {
    let meta = fs::metadata(path).ok().filter(|meta| meta.nlink() > 1)?;
    let is_same = |other: &Path| {
        fs::symlink_metadata(other).is_ok_and(|it| (it.ino(), it.dev()) == (meta.ino(), meta.dev()))
    };
    // The name of the last run spares a look through the directory.
    let known = before.map(|paths| Path::new(&paths.target)).filter(|&known| known != path);
    if let Some(known) = known.filter(|known| is_same(known)) {
        return Some(known.to_owned());
    }
    let entries = fs::read_dir(path.parent()?).ok()?.flatten();
    let of_inode = entries.filter(|entry| entry.ino() == meta.ino()).map(|entry| entry.path());
    of_inode.filter(|other| other != path && is_same(other)).min()
}

/// When the log's name was last led to another file, by the clock of the file system: when the last of
/// the symbolic links in its path was made or, of a file with two names, when its directory changed.
pub(super) fn turned(log: &Path) -> Option<u64> {
    let changed = |meta: &fs::Metadata| Identity::of(meta).changed;
    let mut turned = None;
    let log = std::path::absolute(log).ok()?;
    let mut paths = vec![log.clone()];
    for _ in 0..MAX_LINKS {
        let Some(path) = paths.pop() else { break };
        let mut here = PathBuf::new();
        for part in path.components() {
            here.push(part);
            let Ok(meta) = fs::symlink_metadata(&here) else { break };
            if meta.is_symlink() {
                turned = turned.max(Some(changed(&meta)));
                let target = fs::read_link(&here).ok();
                paths.extend(target.and_then(|target| Some(here.parent()?.join(target))));
            }
        }
    }
    let has_two_names = fs::metadata(&log).is_ok_and(|meta| meta.nlink() > 1);
    let directory = log.parent().filter(|_| has_two_names);
    turned.max(directory.and_then(|dir| fs::metadata(dir).ok()).as_ref().map(changed))
}

/// The names of one log.
pub(super) struct Names {
    paths: Paths,
    /// Of which rotated forms belong.
    names: Vec<Vec<u8>>,
    /// What the link led to in between.
    forms: Vec<Form>,
    /// What it may have led to ever.
    widest: Option<Form>,
}

impl Names {
    /// The names by what is known before the directories have been listed.
    pub(super) fn of(log: &Path, before: Option<&Position>) -> Names {
        let was = before.and_then(|before| before.paths.as_ref());
        let paths = paths(log, was);
        let names = vec![file_name(&paths.given), file_name(&paths.target)];
        let mut all = Names { paths, names, forms: Vec::new(), widest: None };
        if all.paths.given != all.paths.target {
            all.widest = Form::widest(all.paths.target.as_bytes(), &all.names[0]);
        }
        if let Some(was) = was.filter(|was| was.given == all.paths.given) {
            all.add_previous(&was.target);
        }
        all
    }

    /// Whether the log's name is that of a link to the file.
    fn is_link(&self) -> bool {
        self.names[0] != self.names[1]
    }

    fn add_previous(&mut self, previous: &str) {
        let present = self.paths.target.as_bytes();
        if previous.as_bytes() == present {
            return;
        }
        self.names.push(file_name(previous));
        self.forms.extend(Form::literal(previous.as_bytes()));
        self.forms.extend(Form::between(previous.as_bytes(), present, &self.names[0]));
    }

    /// Has the link have led to anything in between: it leads where it led, but was made since.
    pub(super) fn add_widest(&mut self) {
        self.forms.extend(self.widest.take());
    }

    /// For a position that does not say what the link led to: `previous` is the file of its mark.
    pub(super) fn add_found(&mut self, previous: &Path) {
        if self.forms.is_empty() && self.is_link() {
            let previous = fs::canonicalize(previous).unwrap_or_else(|_| previous.to_owned());
            self.add_previous(&previous.to_string_lossy());
        }
    }

    /// Where the files that the link led to in between may be, and those that may still grow, beside
    /// the directories of the log.
    pub(super) fn directories(&self, before: Option<&Position>) -> Vec<PathBuf> {
        let Some(before) = before else { return Vec::new() };
        let was = before.paths.as_ref().filter(|was| was.given == self.paths.given);
        let last = was.and_then(|was| Path::new(&was.target).parent()).map(Path::to_owned);
        let lingering = before.lingering.iter().filter_map(|one| one.directory.as_ref());
        let mut all: Vec<PathBuf> = last.into_iter().chain(lingering.map(PathBuf::from)).collect();
        all.retain(|dir| dir.is_dir());
        for form in self.forms.iter().filter(|form| form.has_directories()) {
            let mut found = directories_of(form, Path::new(&self.paths.target));
            found.sort();
            all.extend(found.drain(found.len().saturating_sub(MAX_DIRECTORIES)..));
        }
        all
    }

    /// Takes a file's name apart when it is one of this log's.
    pub(super) fn read(&self, path: &Path) -> Option<RotatedName> {
        let name = path.file_name()?.as_bytes();
        let own = self.names.iter().find_map(|log| rotated::parse(log, name));
        own.or_else(|| self.forms.iter().find_map(|form| read_as(form, path)))
    }

    /// The same for one of the others, which the link may have led to before anything is known of that.
    pub(super) fn read_other(&self, path: &Path) -> Option<RotatedName> {
        let name = read_as(self.widest.as_ref()?, path)?;
        self.read(path).is_none().then_some(name)
    }
}

fn file_name(path: &str) -> Vec<u8> {
    Path::new(path).file_name().map(|name| name.as_bytes().to_vec()).unwrap_or_default()
}

fn read_as(form: &Form, path: &Path) -> Option<RotatedName> {
    let directory = path.parent()?.as_os_str().as_bytes();
    rotated::parse_as(form, directory, path.file_name()?.as_bytes())
}

/// The directories of a form, of which `present` is one file.
fn directories_of(form: &Form, present: &Path) -> Vec<PathBuf> {
    let fixed = present.components().take(form.fixed_directories() + 1); // the root is one
    let mut all = vec![fixed.collect::<PathBuf>()];
    for depth in form.fixed_directories()..form.depth() {
        let below = all.iter().filter_map(|dir| fs::read_dir(dir).ok());
        let has_name = |name: &OsStr| form.has_directory(depth, name.as_bytes());
        let entries = below.flat_map(|entries| entries.flatten());
        let fitting = entries.filter(|entry| has_name(&entry.file_name()));
        let is_directory = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
        all = fitting.filter(is_directory).map(|entry| entry.path()).collect();
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_two_names_is_known_by_the_other_one() {
        let dir = tempfile::tempdir().unwrap();
        let dir = fs::canonicalize(dir.path()).unwrap();
        let (log, dated) = (dir.join("current"), dir.join("access.20261128.log"));
        fs::write(&dated, "a\n").unwrap();
        fs::hard_link(&dated, &log).unwrap();
        let found = paths(&log, None);
        assert_eq!(found.target, dated.to_str().unwrap());
        let second = dir.join("a.log");
        fs::hard_link(&dated, &second).unwrap();
        assert_eq!(paths(&log, Some(&found)), found, "what was known stays");
        assert_eq!(paths(&log, None).target, second.to_str().unwrap());
        fs::remove_file(&dated).unwrap();
        fs::remove_file(&second).unwrap();
        assert_eq!(paths(&log, Some(&found)).target, log.to_str().unwrap());
    }
}
