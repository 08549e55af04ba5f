//! The files around a log, and those of them that rotation made.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use kojuto_core::logs::position::{Known, Mark, Print, Rotated, WINDOW_BYTES};
use kojuto_core::logs::rotated::{self, Packing, RotatedName};

use super::identity::{self, Identity};
use super::note::Note;
pub(super) use super::source::STRONG_BYTES;
use super::source::Source;

/// So many of the newest rotated files are looked into for a content.
pub(super) const MOST_LOOKED_INTO: usize = 1000;

/// A regular file as a listing showed it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) path: PathBuf,
    pub(super) inode: u64,
    pub(super) dev: u64,
    pub(super) born: Option<u64>,
    pub(super) mtime_s: i64,
    /// The same in nanoseconds.
    pub(super) written: u64,
    pub(super) size: u64,
    /// The name promises a compressed file.
    pub(super) packed: bool,
    /// The name is one that people give to copies.
    pub(super) says_copy: bool,
    /// The number in the name, when it has one: each rotation moves it one up.
    pub(super) number: Option<u64>,
    /// The plan has a use for it already.
    pub(super) taken: bool,
}

impl Entry {
    pub(super) fn is_of(&self, mark: &Mark) -> bool {
        (self.inode, self.dev) == (mark.inode, mark.dev)
    }

    /// Whether it was made anew with the time of another one: copied, restored or packed.
    pub(super) fn has_set_time(&self) -> bool {
        self.born.is_some_and(|born| self.written < born)
    }

    /// What is known of a file, when this one holds it by now.
    pub(super) fn now_holds(&self, known: Known) -> Known {
        Known { inode: self.inode, written: Some(self.written), packed: self.packed, ..known }
    }

    /// Opens the file; `None` when another one has taken its name, or it is gone.
    pub(super) fn open(&self) -> io::Result<Option<Source>> {
        match Source::open_any(&self.path) {
            Ok(source) if self.packed && source.is_plain() => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "it is not compressed as it says"))
            }
            Ok(source) => {
                let same = (source.identity.inode, source.identity.dev) == (self.inode, self.dev);
                Ok(same.then_some(source))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What was found around a log.
#[derive(Debug, Default)]
pub(super) struct Siblings {
    /// Every regular file, to be known by its inode whatever its name is.
    pub(super) all: Vec<Entry>,
    /// The rotated files of this log, oldest first. Empty ones may still grow.
    pub(super) rotated: Vec<Entry>,
    /// Names of rotated files that no decompressor here can read.
    pub(super) unreadable: Vec<PathBuf>,
}

/// Where a log's files may be: its own directory (and that of the file it links to), then the
/// archives.
pub(super) fn directories(log: &Path, archive_dirs: &[PathBuf]) -> Vec<PathBuf> {
    let parent = |path: &Path| {
        let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        parent.unwrap_or(Path::new(".")).to_owned()
    };
    let mut wanted = vec![parent(log)];
    wanted.extend(fs::canonicalize(log).ok().map(|target| parent(&target)));
    wanted.extend_from_slice(archive_dirs);
    let mut seen = Vec::new();
    wanted.retain(|dir| {
        let id = fs::metadata(dir).map(|meta| (meta.ino(), meta.dev())).ok();
        let fresh = id.is_none() || !seen.contains(&id);
        seen.push(id);
        fresh
    });
    wanted
}

/// Lists `directories`. A directory that cannot be read gives a note.
pub(super) fn list(log: &Path, directories: &[PathBuf], notes: &mut Vec<Note>) -> Siblings {
    let mut names: Vec<Vec<u8>> = Vec::new();
    let target = fs::canonicalize(log).ok();
    for path in [Some(log), target.as_deref()].into_iter().flatten() {
        let name = path.file_name().map(|name| name.as_bytes().to_vec()).unwrap_or_default();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut siblings = Siblings::default();
    let mut named: Vec<(RotatedName, Entry)> = Vec::new();
    for directory in directories {
        match fs::read_dir(directory) {
            Ok(entries) => named.extend(rotated_of(&names, entries, &mut siblings.all)),
            Err(error) => {
                let text = format!("{}: cannot be searched: {error}", directory.display());
                notes.push(Note::unproven(text));
            }
        }
    }
    siblings.unreadable = named
        .iter()
        .filter(|(name, _)| name.packing == Packing::Unreadable)
        .map(|(_, entry)| entry.path.clone())
        .collect();
    named.retain(|(name, _)| name.packing != Packing::Unreadable);
    let times: Vec<(RotatedName, i64)> =
        named.iter().map(|(name, entry)| (name.clone(), entry.mtime_s)).collect();
    let order = rotated::order(&times);
    siblings.rotated = order.into_iter().map(|index| named[index].1.clone()).collect();
    siblings
}

/// The rotated files of one directory; all files go to `all`.
fn rotated_of(
    logs: &[Vec<u8>],
    entries: fs::ReadDir,
    all: &mut Vec<Entry>,
) -> Vec<(RotatedName, Entry)> {
    let mut here: Vec<(RotatedName, Vec<u8>, Entry)> = Vec::new();
    // While a compressor works, and when it keeps its input, both files are there: the plain one
    // is whole.
    let mut plain: HashSet<Vec<u8>> = HashSet::new();
    for entry in entries.flatten() {
        let Ok(meta) = entry.metadata() else { continue };
        if !meta.is_file() {
            continue;
        }
        let name = entry.file_name().as_bytes().to_vec();
        let Identity { inode, dev, born, .. } = Identity::of(&meta);
        let mut entry = Entry {
            path: entry.path(),
            inode,
            dev,
            born,
            mtime_s: meta.mtime(),
            written: identity::written(&meta),
            size: meta.len(),
            packed: false,
            says_copy: false,
            number: None,
            taken: false,
        };
        all.push(entry.clone());
        let Some(parsed) = logs.iter().find_map(|log| rotated::parse(log, &name)) else { continue };
        match parsed.packing {
            Packing::None => _ = plain.insert(name.clone()),
            Packing::Readable => entry.packed = true,
            Packing::Unreadable => {}
        }
        (entry.says_copy, entry.number) = (parsed.is_word(), parsed.number());
        here.push((parsed, name, entry));
    }
    here.retain(|(parsed, name, _)| {
        parsed.packing == Packing::None || !plain.contains(&name[..parsed.plain_len])
    });
    here.into_iter().map(|(parsed, _, entry)| (parsed, entry)).collect()
}

/// Finds the newest file that an old position file remembers.
pub(super) fn find(rotated: &[Entry], known: &Rotated) -> Option<usize> {
    if known.head.len as usize >= WINDOW_BYTES {
        let begins = |entry: &Entry| matches!(entry.open(), Ok(Some(source)) if source.starts_as(known.head));
        let of_inode = |entry: &Entry| entry.inode == known.inode && begins(entry);
        return rotated.iter().rposition(of_inode).or_else(|| rotated.iter().rposition(begins));
    }
    find_small(rotated, &known.head, known.inode)
}

/// Finds a small file among the rotated ones, of which all is known: one that only begins like it
/// is another.
pub(super) fn find_small(rotated: &[Entry], head: &Print, inode: u64) -> Option<usize> {
    let length = head.len as usize;
    let matches = |entry: &Entry| {
        let Ok(Some(source)) = entry.open() else { return false };
        source.first_bytes(length + 1).is_ok_and(|bytes| Print::of(&bytes) == *head)
    };
    let of_inode = |entry: &Entry| entry.inode == inode && matches(entry);
    let newest = &rotated[rotated.len().saturating_sub(MOST_LOOKED_INTO)..];
    let found = newest.iter().rposition(of_inode).or_else(|| newest.iter().rposition(matches));
    found.map(|index| rotated.len() - newest.len() + index)
}
