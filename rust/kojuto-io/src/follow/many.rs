//! Several logs as one transaction: all are locked, then all are read; each follower that comes back
//! holds its lock and the position that its caller may commit.

use std::path::PathBuf;
use std::time::Duration;

use super::{Follower, LineSink, Options, Report};
use crate::{Cancel, Error, Result, parallel};

/// A scan that can be spread over threads.
pub trait Scan: LineSink + Clone + Send {
    /// Adds what another copy has found in other lines of the same log.
    fn merge(&mut self, other: Self);
}

/// A log, where its position is kept, and the scan for its lines.
#[derive(Debug, Clone)]
pub struct Task<S> {
    /// The log.
    pub log: PathBuf,
    /// Its position file.
    pub position_file: PathBuf,
    /// Read instead of the position file while that does not exist.
    pub legacy_position_file: Option<PathBuf>,
    /// Takes the lines.
    pub scan: S,
}

/// How to follow them.
#[derive(Debug, Clone, Default)]
pub struct How {
    /// What each follower may do.
    pub options: Options,
    /// Threads that scan one log.
    pub threads: usize,
    /// The time since the epoch.
    pub now: Duration,
    /// The logs are read at the same time.
    pub side_by_side: bool,
}

/// What one log gave. It counts once the follower is committed.
#[derive(Debug)]
pub struct Followed<S> {
    /// The scan of its lines.
    pub scan: S,
    /// What else there is to tell.
    pub report: Report,
    /// Holds the lock and the position.
    pub follower: Follower,
}

/// Locks all logs, then reads each into its scan; nothing is committed. A log that cannot be locked
/// or read is an error of its own, in the order of the tasks.
///
/// # Errors
/// [`Error::Busy`] when another run has one of the locks (nothing was read then), and
/// [`Error::Cancelled`].
pub fn follow_all<S: Scan>(
    tasks: Vec<Task<S>>,
    how: &How,
    cancel: &dyn Cancel,
) -> Result<Vec<Result<Followed<S>>>> {
    let mut opened = Vec::with_capacity(tasks.len());
    for task in tasks {
        let Task { log, position_file, legacy_position_file, scan } = task;
        let legacy = legacy_position_file.as_deref();
        match Follower::open(&log, &position_file, legacy, how.options.clone()) {
            Err(busy @ Error::Busy(_)) => return Err(busy),
            follower => opened.push((follower, scan)),
        }
    }
    let work = |(follower, scan), cancel: &dyn Cancel| read(follower, scan, how, cancel);
    let read: Vec<_> = match how.side_by_side {
        true => parallel::each(opened, cancel, work),
        false => opened.into_iter().map(|one| work(one, cancel)).collect(),
    };
    match read.iter().any(|read| matches!(read, Err(Error::Cancelled))) {
        true => Err(Error::Cancelled),
        false => Ok(read),
    }
}

fn read<S: Scan>(
    follower: Result<Follower>,
    scan: S,
    how: &How,
    cancel: &dyn Cancel,
) -> Result<Followed<S>> {
    let mut follower = follower?;
    let (report, scans) =
        parallel::spread(how.threads, scan, |sink| follower.run(how.now, sink, cancel));
    let report = report?;
    Ok(Followed { scan: merged(scans), report, follower })
}

/// What all copies of a scan have found.
pub(super) fn merged<S: Scan>(scans: Vec<S>) -> S {
    let merged = scans.into_iter().reduce(|mut scan, other| {
        scan.merge(other);
        scan
    });
    merged.expect("spread returns at least one sink")
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;
    use std::path::Path;

    use super::super::CountingSink;
    use super::*;
    use crate::Never;

    impl Scan for CountingSink {
        fn merge(&mut self, other: Self) {
            self.lines += other.lines;
        }
    }

    fn tasks(dir: &Path, logs: &[&str]) -> Vec<Task<CountingSink>> {
        let task = |name: &&str| Task {
            log: dir.join(name),
            position_file: dir.join(format!("{name}.pos")),
            legacy_position_file: None,
            scan: CountingSink::default(),
        };
        logs.iter().map(task).collect()
    }

    fn how(side_by_side: bool) -> How {
        How { threads: 1, side_by_side, now: Duration::from_secs(1000), ..How::default() }
    }

    #[test]
    fn each_log_is_an_outcome_of_its_own_in_the_order_given() {
        for side_by_side in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            for (name, text) in [("a", "1\n"), ("c", "1\n2\n3\n"), ("d", "")] {
                fs::write(dir.path().join(name), text).unwrap();
            }
            let tasks = tasks(dir.path(), &["a", "b", "c", "d"]);
            let found = follow_all(tasks, &how(side_by_side), &Never).unwrap();
            let lines: Vec<_> =
                found.iter().map(|f| f.as_ref().ok().map(|f| f.scan.lines)).collect();
            assert_eq!(lines, [Some(1), None, Some(3), Some(0)]);
        }
    }

    #[test]
    fn what_is_not_committed_is_read_again_and_the_lock_is_held_until_then() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            fs::write(dir.path().join(name), "1\n2\n").unwrap();
        }
        let run = || follow_all(tasks(dir.path(), &["a", "b"]), &how(true), &Never);
        let found = run().unwrap();
        assert!(matches!(run(), Err(Error::Busy(_))));
        let mut found = found.into_iter().map(Result::unwrap);
        found.next().unwrap().follower.commit().unwrap();
        assert!(matches!(run(), Err(Error::Busy(_))));
        drop(found);
        let lines: Vec<_> = run().unwrap().into_iter().map(|f| f.unwrap().scan.lines).collect();
        assert_eq!(lines, [0, 2]);
    }

    #[test]
    fn a_busy_log_stops_all_before_anything_is_read() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            fs::write(dir.path().join(name), "1\n").unwrap();
        }
        let held = follow_all(tasks(dir.path(), &["b"]), &how(false), &Never).unwrap();
        let busy = follow_all(tasks(dir.path(), &["a", "b"]), &how(false), &Never);
        assert!(matches!(busy, Err(Error::Busy(path)) if path.ends_with("b.pos")));
        drop(held);
        follow_all(tasks(dir.path(), &["a", "b"]), &how(false), &Never).unwrap();
    }

    #[test]
    fn a_caller_that_cancels_ends_all() {
        struct After(Cell<u32>);
        impl Cancel for After {
            fn check(&self) -> Result<()> {
                self.0.set(self.0.get().saturating_sub(1));
                if self.0.get() == 0 { Err(Error::Cancelled) } else { Ok(()) }
            }
        }
        #[derive(Debug, Clone)]
        struct Slow;
        impl LineSink for Slow {
            fn block(&mut self, _: &[u8]) {
                std::thread::sleep(Duration::from_millis(30));
            }
        }
        impl Scan for Slow {
            fn merge(&mut self, _: Self) {}
        }
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            fs::write(dir.path().join(name), "1\n".repeat(4 << 20)).unwrap();
        }
        for side_by_side in [false, true] {
            let slow = |Task { log, position_file, legacy_position_file, .. }| Task {
                log,
                position_file,
                legacy_position_file,
                scan: Slow,
            };
            let tasks =
                tasks(dir.path(), &["a", "b", "c"]).into_iter().map(slow).collect::<Vec<_>>();
            let found = follow_all(tasks, &how(side_by_side), &After(Cell::new(3)));
            assert!(matches!(found, Err(Error::Cancelled)));
        }
    }

    #[test]
    fn numbers_are_carried_from_run_to_run_with_the_position() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("a");
        let run = || {
            let mut found = follow_all(tasks(dir.path(), &["a"]), &how(false), &Never).unwrap();
            let follower = found.remove(0).unwrap().follower;
            let carried = follower.carried().map(|(name, value)| (name.to_owned(), value));
            (carried.collect::<Vec<_>>(), follower)
        };
        let pairs = |numbers: &[(&str, f64)]| -> Vec<(String, f64)> {
            numbers.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
        };
        fs::write(&log, "1\n").unwrap();
        let (none, mut follower) = run();
        assert_eq!(none, []);
        assert_eq!(follower.stage(pairs(&[("x", 1.5), ("y", 2.0)])).unwrap(), 0);
        follower.commit().unwrap();
        // Staged, but the output failed: the old numbers stay with the old position.
        let (found, mut follower) = run();
        assert_eq!(found, pairs(&[("x", 1.5), ("y", 2.0)]));
        follower.stage(pairs(&[("x", 9.0)])).unwrap();
        drop(follower);
        // What is not given stays, through a rotation and a log that was cut, too.
        fs::rename(&log, dir.path().join("a.1")).unwrap();
        fs::write(&log, "2\n").unwrap();
        let (found, mut follower) = run();
        assert_eq!(found, pairs(&[("x", 1.5), ("y", 2.0)]));
        follower.stage(pairs(&[("y", 3.0)])).unwrap();
        follower.commit().unwrap();
        fs::write(&log, "").unwrap();
        let (found, follower) = run();
        assert_eq!(found, pairs(&[("x", 1.5), ("y", 3.0)]));
        follower.commit().unwrap();
        assert_eq!(run().0, pairs(&[("x", 1.5), ("y", 3.0)]));
    }
}
