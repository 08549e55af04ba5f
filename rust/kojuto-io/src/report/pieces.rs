//! The sources of a report, cut into pieces that threads can read side by side.

use std::collections::HashSet;
use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kojuto_core::report::Collector;

use super::{HEAD_BYTES, Progress, Source};
use crate::sys::{descriptor, holes};
use crate::unpack::{Packer, Told};
use crate::{Error, Result};

/// So many pieces a thread gets of a file, so that all end at about the same time.
pub(super) const PIECES_A_THREAD: u64 = 4;

/// How a file is cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    /// No piece is smaller.
    pub(super) least_bytes: u64,
    /// There are no more pieces.
    pub(super) most: u64,
    /// So many files stay open until they are read.
    pub(super) most_open: usize,
}

impl Default for Cut {
    fn default() -> Self {
        Cut { least_bytes: 4 << 20, most: 1, most_open: descriptor::limit() / 2 }
    }
}

/// What one thread reads at a time.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) name: String,
    pub(super) file: Handle,
    pub(super) part: Part,
    /// Has looked at the beginning of the file.
    pub(super) looked: Option<Arc<Collector>>,
}

/// The file of a piece.
#[derive(Debug, Clone)]
pub(super) enum Handle {
    Open(Arc<File>),
    /// Closed until it is read, for there are many: its path, and its inode and device.
    Closed(PathBuf, (u64, u64)),
}

impl Piece {
    /// The file, opened once more where it was closed.
    pub(super) fn open(&self) -> Result<Arc<File>> {
        let (path, was) = match &self.file {
            Handle::Open(file) => return Ok(Arc::clone(file)),
            Handle::Closed(path, was) => (path, was),
        };
        let file = open(path)?;
        let about = file.metadata().map_err(Error::on_path(path))?;
        match (about.ino(), about.dev()) == *was {
            true => Ok(file),
            false => {
                let why = std::io::Error::other("another file has its name by now");
                Err(Error::on_path(path)(why))
            }
        }
    }
}

/// Which part of a file a piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The lines that begin from one byte on and before another.
    Lines(u64, u64),
    /// All that can be read from where it stands.
    Stream,
    /// All of a compressed file.
    Packed(Packer),
}

/// What is to be read.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) pieces: Vec<Piece>,
    pub(super) read: Vec<String>,
    pub(super) twice: Vec<String>,
    pub(super) failed: Vec<(String, Error)>,
}

/// Opens all sources.
pub(super) fn plan(
    sources: &[Source],
    collector: &Collector,
    cut: Cut,
    progress: &Progress,
) -> Result<Plan> {
    let mut plan = Plan::default();
    let mut seen = HashSet::new();
    for source in sources {
        let (name, opened) = opened(source);
        let (file, about) = match opened {
            Ok(found) => found,
            Err(error) => {
                plan.failed.push((name, error));
                continue;
            }
        };
        let is_all = !matches!(source, Source::Lines(..));
        if is_all && about.is_file() && !seen.insert((about.dev(), about.ino())) {
            plan.twice.push(name);
            continue;
        }
        plan.read.push(name.clone());
        match source {
            Source::Path(path) if about.is_file() => {
                progress.total_bytes.fetch_add(about.len(), Ordering::Relaxed);
                let held = match plan.read.len() > cut.most_open {
                    true => Handle::Closed(path.clone(), (about.ino(), about.dev())),
                    false => Handle::Open(Arc::clone(&file)),
                };
                plan.cut(name, (&file, held), about.len(), collector, cut)?;
            }
            Source::Lines(.., from, to) => plan.take(name, file, (*from, *to), collector)?,
            Source::Begun(.., head) => {
                let looked = match Packer::tell(head) {
                    Told::Packed(_) => None,
                    _ => Some(look(head, collector)?),
                };
                let file = Handle::Open(file);
                plan.pieces.push(Piece { name, file, part: Part::Stream, looked });
            }
            Source::Path(_) | Source::Open(..) => {
                let file = Handle::Open(file);
                plan.pieces.push(Piece { name, file, part: Part::Stream, looked: None });
            }
        }
    }
    Ok(plan)
}

impl Plan {
    /// Cuts a regular file.
    fn cut(
        &mut self,
        name: String,
        (file, held): (&File, Handle),
        size: u64,
        collector: &Collector,
        cut: Cut,
    ) -> Result<()> {
        let Some(head) = self.head(&name, file) else { return Ok(()) };
        if let Told::Packed(packer) = Packer::tell(&head) {
            let part = Part::Packed(packer);
            self.pieces.push(Piece { name, file: held, part, looked: None });
            return Ok(());
        }
        let looked = look(&head, collector)?;
        // What an envelope has split must not be read by two.
        let is_whole = looked.envelope().is_some();
        let most = if is_whole { 1 } else { cut.most };
        let count = (size / cut.least_bytes).clamp(1, most);
        let looked = Some(looked);
        let each = size / count;
        let mut at = 0;
        while at < count {
            // What is added meanwhile belongs to the last one.
            let end = if at + 1 == count { u64::MAX } else { each * (at + 1) };
            let data = match each * at {
                0 => Some(0),
                begin => holes::data_after(file, begin - 1),
            };
            let data = data.unwrap_or(size);
            if data >= end {
                at = (data / each).min(count - 1); // no line begins in a hole
                continue;
            }
            let part = Part::Lines(each * at, end);
            let (name, file) = (name.clone(), held.clone());
            self.pieces.push(Piece { name, file, part, looked: looked.clone() });
            at += 1;
        }
        Ok(())
    }

    /// Takes a part of a regular file.
    fn take(
        &mut self,
        name: String,
        file: Arc<File>,
        (from, to): (u64, u64),
        collector: &Collector,
    ) -> Result<()> {
        if let Some(head) = self.head(&name, &file).filter(|_| from < to) {
            let looked = Some(look(&head, collector)?);
            let file = Handle::Open(file);
            self.pieces.push(Piece { name, file, part: Part::Lines(from, to), looked });
        }
        Ok(())
    }

    /// How a file begins, if it can be read.
    fn head(&mut self, name: &str, file: &File) -> Option<Vec<u8>> {
        let mut head = vec![0; HEAD_BYTES];
        match read_head(file, &mut head) {
            Ok(count) => {
                head.truncate(count);
                Some(head)
            }
            Err(source) => {
                let what = name.to_owned();
                self.failed.push((what.clone(), Error::Io { what, source }));
                None
            }
        }
    }
}

/// What a source is called, and its file with what the system says of it; a directory is an error.
fn opened(source: &Source) -> (String, Result<(Arc<File>, Metadata)>) {
    let (name, file) = match source {
        Source::Path(path) => (path.display().to_string(), open(path)),
        Source::Lines(path, name, ..) => (name.clone(), open(path)),
        Source::Open(file, name) | Source::Begun(file, name, _) => {
            (name.clone(), Ok(Arc::clone(file)))
        }
    };
    let found = file.and_then(|file| {
        let about = file.metadata().map_err(Error::on(&name))?;
        match about.is_dir() {
            true => Err(Error::on(&name)(std::io::Error::from_raw_os_error(libc::EISDIR))),
            false => Ok((file, about)),
        }
    });
    (name, found)
}

/// A collector that has looked at the beginning of a log.
fn look(head: &[u8], collector: &Collector) -> Result<Arc<Collector>> {
    let mut looked = collector.another();
    looked.look(head)?;
    Ok(Arc::new(looked))
}

fn open(path: &Path) -> Result<Arc<File>> {
    File::open(path).map(Arc::new).map_err(Error::on_path(path))
}

fn read_head(file: &File, head: &mut [u8]) -> std::io::Result<usize> {
    let mut count = 0;
    while count < head.len() {
        match file.read_at(&mut head[count..], count as u64) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}
