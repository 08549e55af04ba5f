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
use super::names::Names;
use super::note::Note;
pub(super) use super::source::STRONG_BYTES;
use super::source::Source;
use crate::words;

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

    pub(super) fn is(&self, identity: &Identity) -> bool {
        (self.inode, self.dev) == (identity.inode, identity.dev)
    }

    /// Whether it was made anew with the time of another one: copied, restored or packed.
    pub(super) fn has_set_time(&self) -> bool {
        self.born.is_some_and(|born| self.written < born)
    }

    /// What is known of a file, when this one holds it by now.
    pub(super) fn now_holds(&self, known: Known) -> Known {
        let (inode, written, packed) = (self.inode, Some(self.written), self.packed);
        Known { inode, written, packed, counted: false, ..known }
    }

    /// Opens the file; `None` when another one has taken its name, or it is gone.
    pub(super) fn open(&self) -> io::Result<Option<Source>> {
        match Source::open_any(&self.path) {
            Ok(source) if self.packed && source.is_plain() => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "it is not compressed as it says"))
            }
            Ok(source) => {
                let is_same = self.is(&source.identity);
                Ok(is_same.then_some(source))
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
    /// Those that the log may have led to, or its name may have been given to, at any time.
    pub(super) widest: Vec<Entry>,
    /// Where it was looked.
    pub(super) directories: Vec<PathBuf>,
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
    keep_one_of_each(&mut wanted);
    wanted
}

/// Of several paths of one directory the first stays.
pub(super) fn keep_one_of_each(directories: &mut Vec<PathBuf>) {
    let mut seen = Vec::new();
    directories.retain(|dir| {
        let id = fs::metadata(dir).map(|meta| (meta.ino(), meta.dev())).ok();
        let fresh = id.is_none() || !seen.contains(&id);
        seen.push(id);
        fresh
    });
}

/// Lists `directories`. A directory that cannot be read gives a note. `previous` is the place of the
/// last run.
pub(super) fn list(
    mut names: Names,
    previous: Option<&Mark>,
    directories: &[PathBuf],
    notes: &mut Vec<Note>,
) -> Siblings {
    let mut all = Vec::new();
    for directory in directories {
        match fs::read_dir(directory) {
            Ok(entries) => all.push(entries_of(entries)),
            Err(error) => {
                let text =
                    format!("{}: cannot be searched: {}", directory.display(), words(&error));
                notes.push(Note::unproven(text));
            }
        }
    }
    let of_mark = previous.and_then(|mark| all.iter().flatten().find(|entry| entry.is_of(mark)));
    if let Some(entry) = of_mark {
        names.add_found(&entry.path);
    }
    let rotated: Vec<_> =
        all.iter().flat_map(|here| rotated_of(here, |path| names.read(path))).collect();
    let widest = all.iter().flat_map(|here| rotated_of(here, |path| names.read_other(path)));
    let unreadable = rotated
        .iter()
        .filter(|(name, _)| name.packing == Packing::Unreadable)
        .map(|(_, entry)| entry.path.clone())
        .collect();
    let (rotated, widest) = (ordered(rotated), ordered(widest.collect()));
    let (all, directories) = (all.into_iter().flatten().collect(), directories.to_vec());
    Siblings { all, rotated, widest, directories, unreadable }
}

/// The regular files of a directory.
fn entries_of(entries: fs::ReadDir) -> Vec<Entry> {
    let entry = |entry: fs::DirEntry| {
        let meta = entry.metadata().ok().filter(fs::Metadata::is_file)?;
        let Identity { inode, dev, born, .. } = Identity::of(&meta);
        Some(Entry {
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
        })
    };
    entries.flatten().filter_map(entry).collect()
}

/// The rotated files of one directory, by what takes a name of theirs apart.
fn rotated_of(
    here: &[Entry],
    read: impl Fn(&Path) -> Option<RotatedName>,
) -> Vec<(RotatedName, Entry)> {
    let named = here.iter().filter_map(|entry| read(&entry.path).map(|name| (name, entry)));
    let mut named: Vec<(RotatedName, &Entry)> = named.collect();
    let numbers: HashSet<u64> = named.iter().filter_map(|(name, _)| name.number()).collect();
    named.retain(|(name, _)| {
        let is_beside = |number: u64| {
            [number.wrapping_sub(1), number.wrapping_add(1)].iter().any(|one| numbers.contains(one))
        };
        !name.is_doubtful || name.number().is_some_and(is_beside)
    });
    // While a compressor works, and when it keeps its input, both files are there: the plain one
    // is whole.
    let is_plain = |name: &RotatedName| name.packing == Packing::None;
    let plain = named.iter().filter(|(name, _)| is_plain(name));
    let plain: HashSet<&[u8]> = plain.map(|(_, entry)| file_name(entry)).collect();
    named.retain(|(name, entry)| {
        is_plain(name) || !plain.contains(&file_name(entry)[..name.plain_len])
    });
    let entry = |(name, entry): (RotatedName, &Entry)| {
        let (packed, says_copy) = (name.packing == Packing::Readable, name.is_word());
        let entry = Entry { packed, says_copy, number: name.number(), ..entry.clone() };
        (name, entry)
    };
    named.into_iter().map(entry).collect()
}

fn file_name(entry: &Entry) -> &[u8] {
    entry.path.file_name().map(OsStrExt::as_bytes).unwrap_or_default()
}

/// Those that can be read, oldest first; of a file with two names one.
fn ordered(mut named: Vec<(RotatedName, Entry)>) -> Vec<Entry> {
    let mut seen = HashSet::new();
    named.retain(|(name, entry)| {
        name.packing != Packing::Unreadable && seen.insert((entry.inode, entry.dev))
    });
    let times: Vec<(RotatedName, i64)> =
        named.iter().map(|(name, entry)| (name.clone(), entry.written as i64)).collect();
    let order = rotated::order(&times);
    order.into_iter().map(|index| named[index].1.clone()).collect()
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
