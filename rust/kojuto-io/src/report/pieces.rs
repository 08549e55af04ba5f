//! The sources of a report, cut into pieces that threads can read side by side.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kojuto_core::report::Collector;

use super::{Progress, Source};
use crate::unpack::{Packer, Told};
use crate::{Error, Result};

/// What is looked at of a file before it is read.
const HEAD_BYTES: usize = 64 << 10;
/// No piece of a file is smaller.
const LEAST_PIECE_BYTES: u64 = 4 << 20;
/// So many pieces a thread gets of a file, so that all end at about the same time.
const PIECES_A_THREAD: u64 = 4;

/// What one thread reads at a time.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) name: String,
    pub(super) file: Arc<File>,
    pub(super) part: Part,
    /// Has looked at the beginning of the file.
    pub(super) looked: Option<Arc<Collector>>,
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
    jobs: usize,
    progress: &Progress,
) -> Result<Plan> {
    let mut plan = Plan::default();
    let mut seen = HashSet::new();
    for source in sources {
        let (name, opened) = match source {
            Source::Path(path) => (path.display().to_string(), open(path)),
            Source::Open(file, name) => (name.clone(), Ok(Arc::clone(file))),
        };
        let found = opened.and_then(|file| {
            let about = file.metadata().map_err(Error::on(&name))?;
            Ok((file, about))
        });
        let (file, about) = match found {
            Ok(found) => found,
            Err(error) => {
                plan.failed.push((name, error));
                continue;
            }
        };
        if about.is_dir() {
            let source = std::io::Error::from_raw_os_error(libc::EISDIR);
            plan.failed.push((name.clone(), Error::Io { what: name, source }));
            continue;
        }
        if about.is_file() && !seen.insert((about.dev(), about.ino())) {
            plan.twice.push(name);
            continue;
        }
        plan.read.push(name.clone());
        let is_file = about.is_file() && matches!(source, Source::Path(_));
        if is_file {
            progress.total_bytes.fetch_add(about.len(), Ordering::Relaxed);
            plan.cut(name, file, about.len(), collector, jobs)?;
        } else {
            plan.pieces.push(Piece { name, file, part: Part::Stream, looked: None });
        }
    }
    Ok(plan)
}

impl Plan {
    /// Cuts a regular file.
    fn cut(
        &mut self,
        name: String,
        file: Arc<File>,
        size: u64,
        collector: &Collector,
        jobs: usize,
    ) -> Result<()> {
        let mut head = vec![0; HEAD_BYTES];
        let count = match read_head(&file, &mut head) {
            Ok(count) => count,
            Err(error) => {
                self.failed.push((name.clone(), Error::Io { what: name, source: error }));
                return Ok(());
            }
        };
        head.truncate(count);
        if let Told::Packed(packer) = Packer::tell(&head) {
            let part = Part::Packed(packer);
            self.pieces.push(Piece { name, file, part, looked: None });
            return Ok(());
        }
        let mut looked = collector.another();
        looked.look(&head)?;
        // What an envelope has split must not be read by two.
        let is_whole = looked.envelope().is_some();
        let most = if is_whole || jobs <= 1 { 1 } else { jobs as u64 * PIECES_A_THREAD };
        let count = (size / LEAST_PIECE_BYTES).clamp(1, most);
        let looked = Some(Arc::new(looked));
        for at in 0..count {
            // What is added meanwhile belongs to the last one.
            let end = if at + 1 == count { u64::MAX } else { size / count * (at + 1) };
            let part = Part::Lines(size / count * at, end);
            let (name, file) = (name.clone(), Arc::clone(&file));
            self.pieces.push(Piece { name, file, part, looked: looked.clone() });
        }
        Ok(())
    }
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
