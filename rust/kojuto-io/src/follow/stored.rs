//! Positions as they are kept: in a file of our own, and in that of the program that this one takes
//! the place of.

use std::path::Path;

use kojuto_core::logs::position::{Mark, Position};

use super::note::Note;
use crate::state::{self, Found};
use crate::{Error, Result};

/// The position under `path`, where it is `kept`; without any, that of the original.
///
/// # Errors
/// [`Error::Io`] naming the file for want of descriptors or memory, which is no first run.
pub(super) fn read(
    path: &Path,
    kept: bool,
    legacy: Option<&Path>,
    notes: &mut Vec<Note>,
) -> Result<Option<Position>> {
    let look = |path: &Path| state::try_read(path).map_err(Error::on_path(path));
    let found = if kept { look(path)? } else { Found::Nothing };
    let (path, found) = match (found, legacy) {
        (Found::Nothing, Some(legacy)) => (legacy, look(legacy)?),
        (found, _) => (path, found),
    };
    let reason = match found {
        Found::Nothing => return Ok(None),
        Found::Unusable(reason) => reason,
        Found::Bytes(bytes) => match Position::decode(&bytes) {
            Ok(position) => return Ok(Some(position)),
            Err(error) => error.to_string(),
        },
    };
    let text = format!("{}: not used, starting afresh: {reason}", path.display());
    notes.push(Note::unproven(text));
    Ok(None)
}

/// Whether a position file is there and tells of the file of one of the `marks`.
pub(super) fn is_of<'a>(path: &Path, mut marks: impl Iterator<Item = &'a Mark>) -> bool {
    let Found::Bytes(bytes) = state::read(path) else { return false };
    let Ok(Position { mark: its, .. }) = Position::decode(&bytes) else { return false };
    marks.any(|mark| (mark.inode, mark.dev) == (its.inode, its.dev))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::super::{CountingSink, Follower, Options};
    use crate::Never;

    #[test]
    fn the_position_of_the_original_is_kept_up_as_long_as_it_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let (log, own, legacy) = (path("log"), path("own"), path("legacy"));
        let run = || {
            let mut sink = CountingSink::default();
            let mut follower =
                Follower::open(&log, &own, Some(&legacy), Options::default()).unwrap();
            follower.run(Duration::from_secs(100), &mut sink, &Never).unwrap();
            follower.commit().unwrap();
            sink.lines
        };
        fs::write(&log, "a\nb\n").unwrap();
        assert_eq!(run(), 2);
        assert!(!legacy.exists());
        // One that tells of another log stays as it is.
        let other = r#"{"pos":7,"time":1,"inode":1,"dev":1}"#;
        fs::write(&legacy, other).unwrap();
        fs::write(&log, "a\nb\nc\n").unwrap();
        assert_eq!(run(), 1);
        assert_eq!(fs::read_to_string(&legacy).unwrap(), other);
        fs::copy(&own, &legacy).unwrap();
        for (name, lines) in [("log.1", "x\n"), ("log.2", "y\nz\n")] {
            fs::rename(&log, path(name)).unwrap();
            fs::write(&log, lines).unwrap();
            run();
            assert_eq!(fs::read(&own).unwrap(), fs::read(&legacy).unwrap());
        }
        fs::remove_file(&own).unwrap();
        assert_eq!(run(), 0);
        fs::remove_file(&legacy).unwrap();
        assert_eq!(run(), 0);
        assert!(!legacy.exists());
    }
}
