//! Rotated files that may still grow, as a position file has them.

use std::fmt::Write as _;

use super::reader::Reader;
use super::{Mark, write_fingerprint, write_path};
use crate::error::Error;

/// How many rotated files that may still grow are remembered.
pub const MAX_LINGERING: usize = 16;

/// A rotated file that was read to its end but that somebody may still write to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lingering {
    /// How far it was read.
    pub mark: Mark,
    /// When that was first noticed, in seconds since the epoch.
    pub since: f64,
    /// The directory that it was in; what is not UTF-8 in its path is replaced.
    pub directory: Option<String>,
}

pub(super) fn write(out: &mut String, lingering: &[Lingering]) {
    for (index, Lingering { mark, since, directory }) in lingering.iter().enumerate() {
        let before = if index == 0 { r#","lingering":["# } else { "," };
        let Mark { pos, inode, dev, .. } = mark;
        let _ = write!(out, r#"{before}{{"pos":{pos},"since":{since},"inode":{inode},"dev":{dev}"#);
        write_fingerprint(out, mark);
        if let Some(directory) = directory {
            write_path(out, "directory", directory);
        }
        out.push('}');
    }
    out.push_str(if lingering.is_empty() { "" } else { "]" });
}

pub(super) fn read(reader: &mut Reader<'_>) -> Result<Vec<Lingering>, Error> {
    let mut all = Vec::new();
    reader.array(|reader| {
        let mut one = Lingering::default();
        reader.object(|reader, key| {
            match key {
                b"since" => one.since = reader.float()?,
                b"directory" => one.directory = reader.path()?,
                _ => return reader.mark_member(key, &mut one.mark),
            }
            Ok(true)
        })?;
        all.push(one);
        Ok(())
    })?;
    all.truncate(MAX_LINGERING);
    Ok(all)
}
