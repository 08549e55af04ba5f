//! The files around a log, and those of them that rotation made.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use kojuto_core::logs::position::{Mark, Print, Rotated, WINDOW_BYTES};
use kojuto_core::logs::rotated::{self, Packing, RotatedName};

use super::source::Source;

/// Fewer bytes than this are too few to know a file by.
pub(super) const STRONG_BYTES: u32 = 64;

/// A regular file as a listing showed it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) path: PathBuf,
    pub(super) inode: u64,
    pub(super) dev: u64,
    pub(super) mtime_s: i64,
    pub(super) size: u64,
    /// The name promises a compressed file.
    pub(super) packed: bool,
    /// The plan has a use for it already.
    pub(super) taken: bool,
    /// The inode number it was remembered by, when it was found again by other means.
    pub(super) known_as: Option<u64>,
}

impl Entry {
    pub(super) fn is_of(&self, mark: &Mark) -> bool {
        (self.inode, self.dev) == (mark.inode, mark.dev)
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
pub(super) fn list(log: &Path, directories: &[PathBuf], notes: &mut Vec<String>) -> Siblings {
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
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) => {
                notes.push(format!("{}: cannot be searched: {error}", directory.display()));
                continue;
            }
        };
        let mut here: Vec<(RotatedName, Vec<u8>, Entry)> = Vec::new();
        // While a compressor works, and when it keeps its input, both files are there: the plain
        // one is whole.
        let mut plain: Vec<Vec<u8>> = Vec::new();
        for entry in entries.flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if !meta.is_file() {
                continue;
            }
            let name = entry.file_name();
            let entry = Entry {
                path: entry.path(),
                inode: meta.ino(),
                dev: meta.dev(),
                mtime_s: meta.mtime(),
                size: meta.len(),
                packed: false,
                taken: false,
                known_as: None,
            };
            let parsed = names.iter().find_map(|log| rotated::parse(log, name.as_bytes()));
            if parsed.as_ref().is_some_and(|parsed| parsed.packing == Packing::None) {
                plain.push(name.as_bytes().to_vec());
            }
            if let Some(parsed) = parsed {
                let packed = parsed.packing == Packing::Readable;
                let entry = Entry { packed, ..entry.clone() };
                here.push((parsed, name.as_bytes().to_vec(), entry));
            }
            siblings.all.push(entry);
        }
        here.retain(|(parsed, name, _)| {
            parsed.packing == Packing::None
                || !plain.iter().any(|plain| plain[..] == name[..parsed.plain_len])
        });
        named.extend(here.into_iter().map(|(parsed, _, entry)| (parsed, entry)));
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
    let ordered = order.into_iter().map(|index| named[index].1.clone());
    siblings.rotated = ordered.filter(|entry| !is_packed_emptiness(entry)).collect();
    siblings
}

/// A compressed empty file has some bytes (and the name of its origin) all the same.
fn is_packed_emptiness(entry: &Entry) -> bool {
    entry.packed
        && entry.size < 512
        && matches!(entry.open(), Ok(Some(source)) if source.first_bytes(1).is_ok_and(|b| b.is_empty()))
}

/// What to remember of a rotated file; `None` when it cannot be read.
pub(super) fn remember(entry: &Entry) -> Option<Rotated> {
    let source = entry.open().ok()??;
    let head = Print::of(&source.first_bytes(WINDOW_BYTES).ok()?);
    (head.len > 0).then_some(Rotated { head, inode: entry.inode })
}

/// Finds a remembered file among the rotated ones.
pub(super) fn find(rotated: &[Entry], known: &Rotated) -> Option<usize> {
    let length = known.head.len as usize;
    // Of a small file all is known, so that one which only begins like it is not taken for it;
    // under the same inode it may have grown.
    let matches = |entry: &&Entry, may_grow: bool| {
        let Ok(Some(source)) = entry.open() else { return false };
        let whole = length < WINDOW_BYTES && !may_grow;
        let Ok(bytes) = source.first_bytes(length + usize::from(whole)) else { return false };
        bytes.len() >= length
            && Print::of(&bytes[..length]) == known.head
            && (!whole || bytes.len() == length)
    };
    let by_other_means = rotated.iter().rposition(|entry| entry.known_as == Some(known.inode));
    if by_other_means.is_some() {
        return by_other_means;
    }
    let strong = known.head.len >= STRONG_BYTES;
    let by_inode =
        rotated.iter().rposition(|entry| entry.inode == known.inode && matches(&entry, strong));
    by_inode.or_else(|| rotated.iter().rposition(|entry| matches(&entry, false)))
}
