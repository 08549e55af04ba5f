//! What a member knows of the others: who lives, and who lends its share.
//!
//! A small group is looked at one by one, each second. In a large one that would cost the square of
//! its size, so that all are looked at only when the directory has changed (one came or left, or
//! began or ended to lend), and else the few whose files come next to the own one: who finds a dead
//! one removes its file, and that is a change of the directory.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use kojuto_core::budget::share::{LockName, is_unfinished, parse_lock_name};

use super::probe::{Probe, is_old, probe};

/// A group of more lock files is looked at in parts.
const SMALL: usize = 32;

/// So many are looked at each second in a large group.
const NEXT: usize = 8;

/// Changes within so short a time may have the same time stamp.
const STAMP_STEP: Duration = Duration::from_millis(100);

/// This bit of a lock file's mode says that its member lends its share.
pub(super) const LENDS: u32 = 0o001;

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Others {
    known: BTreeMap<OsString, Other>,
    /// When the directory had changed last at the last look; None when that says nothing.
    stamp: Option<SystemTime>,
}

#[derive(Debug, Clone, Copy)]
struct Other {
    part: u32,
    lends: bool,
    ours: bool,
}

/// What a look found.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// Own lock files that are there.
    pub(super) own: u32,
    /// Live lock files of others, and how many of them are lent.
    pub(super) locks: u32,
    pub(super) lent: u32,
    pub(super) members: u32,
    /// Members that are of the program of this name that others wrote.
    pub(super) foreign: u32,
}

impl Others {
    /// Looks at the lock files of a budget in the directory; `own` are the names of the own ones.
    ///
    /// # Errors
    /// The system's, when the directory cannot be read.
    pub(super) fn look(
        &mut self,
        directory: &Path,
        budget: u64,
        own: &[&OsStr],
    ) -> io::Result<Seen> {
        let stamp = fs::metadata(directory)?.modified()?;
        let age = SystemTime::now().duration_since(stamp).unwrap_or_default();
        let same = self.stamp == Some(stamp);
        self.stamp = (age > STAMP_STEP).then_some(stamp);
        let own_there = if same && self.known.len() > SMALL {
            self.look_at_next(directory, budget, own.first().copied().unwrap_or_default());
            own.len() as u32
        } else {
            self.look_at_all(directory, budget, own)?
        };
        let mut seen = Seen { own: own_there, ..Seen::default() };
        for other in self.known.values() {
            seen.locks += 1;
            seen.lent += u32::from(other.lends);
            seen.members += u32::from(other.part == 1);
            seen.foreign += u32::from(other.part == 1 && !other.ours);
        }
        Ok(seen)
    }

    fn look_at_all(&mut self, directory: &Path, budget: u64, own: &[&OsStr]) -> io::Result<u32> {
        let before = std::mem::take(&mut self.known);
        let is_large = before.len() > SMALL;
        let mut own_there = 0;
        for entry in fs::read_dir(directory)? {
            let name = entry?.file_name();
            let path = directory.join(&name);
            if let Some(lock) = parse_lock_name(name.as_bytes(), budget) {
                if own.contains(&name.as_os_str()) {
                    own_there += 1;
                } else if let (true, Some(other)) = (is_large, before.get(&name)) {
                    // It lived a moment ago: only what it says of itself is looked at.
                    if let Ok(meta) = fs::symlink_metadata(&path) {
                        let lends = meta.mode() & LENDS != 0;
                        self.known.insert(name, Other { lends, ..*other });
                    }
                } else {
                    self.see(&path, name, &lock);
                }
            } else if is_unfinished(name.as_bytes(), budget) && is_old(&path) {
                probe(&path, &LockName { pid: None, part: 1, exact: true });
            }
        }
        Ok(own_there)
    }

    /// Looks at the next few behind `own`, in a circle.
    fn look_at_next(&mut self, directory: &Path, budget: u64, own: &OsStr) {
        let behind = self.known.range::<OsStr, _>((Bound::Excluded(own), Bound::Unbounded));
        let names: Vec<OsString> =
            behind.chain(self.known.iter()).take(NEXT).map(|(name, _)| name.clone()).collect();
        for name in names {
            self.known.remove(&name);
            if let Some(lock) = parse_lock_name(name.as_bytes(), budget) {
                self.see(&directory.join(&name), name, &lock);
            }
        }
    }

    fn see(&mut self, path: &Path, name: OsString, lock: &LockName) {
        if let Probe::Alive { mode } = probe(path, lock) {
            // The Go program makes its files for its own user alone.
            let other =
                Other { part: lock.part, lends: mode & LENDS != 0, ours: mode & 0o044 == 0o044 };
            self.known.insert(name, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::share::Member;
    use super::*;

    fn look(others: &mut Others, directory: &Path) -> Seen {
        others.look(directory, 1000, &[]).unwrap()
    }

    /// Waits until a change of the directory shows in its time stamp.
    fn let_it_rest(directory: &Path) {
        let stamp = fs::metadata(directory).unwrap().modified().unwrap();
        while SystemTime::now().duration_since(stamp).unwrap_or_default() <= STAMP_STEP {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_large_group_is_known_in_parts_and_each_change_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let join = || Member::join(dir.path(), 1000, 1).unwrap();
        let mut members: Vec<Member> = (0..SMALL + 20).map(|_| join()).collect();
        let mut others = Others::default();
        for _ in 0..3 {
            let_it_rest(dir.path());
            assert_eq!(look(&mut others, dir.path()).members as usize, SMALL + 20);
        }
        members.push(join());
        assert_eq!(look(&mut others, dir.path()).members as usize, SMALL + 21);
        let_it_rest(dir.path());
        members[7].lend(true);
        let seen = look(&mut others, dir.path());
        assert_eq!((seen.locks as usize, seen.lent), (SMALL + 21, 1));
        members.truncate(SMALL + 10);
        assert_eq!(look(&mut others, dir.path()).members as usize, SMALL + 10);
    }

    #[test]
    fn a_dead_one_of_a_large_group_is_found_by_whom_it_stands_next_to() {
        let dir = tempfile::tempdir().unwrap();
        let mut members: Vec<Member> =
            (0..SMALL + 20).map(|_| Member::join(dir.path(), 1000, 1).unwrap()).collect();
        let mut looks: Vec<Others> = members.iter().map(|_| Others::default()).collect();
        let names: Vec<OsString> = members.iter().flat_map(Member::names).collect();
        let round = |looks: &mut Vec<Others>| -> Vec<u32> {
            let look = |(others, name): (&mut Others, &OsString)| {
                others.look(dir.path(), 1000, &[name.as_os_str()]).unwrap().members
            };
            looks.iter_mut().zip(&names).map(look).collect()
        };
        let_it_rest(dir.path());
        round(&mut looks);
        members[3].die();
        round(&mut looks);
        // Who found it removed its file, and now everybody sees that.
        let found = round(&mut looks);
        let alive = (SMALL + 18) as u32;
        assert!(found[..3].iter().chain(&found[4..]).all(|&count| count == alive), "{found:?}");
    }

    #[test]
    fn in_a_large_group_that_rests_a_look_costs_the_same_whatever_its_size() {
        let cost = |size: usize| {
            let dir = tempfile::tempdir().unwrap();
            let members: Vec<Member> =
                (0..size).map(|_| Member::join(dir.path(), 1000, 1).unwrap()).collect();
            let mut others = Others::default();
            let_it_rest(dir.path());
            look(&mut others, dir.path());
            let mut least = Duration::MAX;
            for _ in 0..20 {
                let begun = Instant::now();
                assert_eq!(look(&mut others, dir.path()).members as usize, members.len());
                least = least.min(begun.elapsed());
            }
            least
        };
        let (fifty, three_hundred) = (cost(50), cost(300));
        assert!(three_hundred < fifty * 3, "{three_hundred:?} {fifty:?}");
    }
}
