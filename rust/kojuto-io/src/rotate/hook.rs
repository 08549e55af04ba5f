//! The user's command for each file that was closed: one at a time, in order, and not for ever.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::child::{apart, watch_children};
use crate::words;

/// So many closed files wait for the command at most.
const MOST_WAITING: usize = 100;

/// What is run, and for how long at most.
#[derive(Debug, Clone)]
pub struct Hook {
    /// For `sh -c`; `$1` is the closed file.
    pub command: String,
    /// After this long it is killed, with all that it started in its process group.
    pub limit: Duration,
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct Hooks {
    hook: Hook,
    waiting: VecDeque<PathBuf>,
    running: Option<Running>,
    skipped: u64,
}

#[derive(Debug)]
struct Running {
    child: Child,
    path: PathBuf,
    until: Instant,
}

impl Hooks {
    pub(super) fn new(hook: Hook) -> Hooks {
        watch_children();
        Hooks { hook, waiting: VecDeque::new(), running: None, skipped: 0 }
    }

    /// Whether a command runs, or a file waits for one.
    pub(super) fn is_busy(&self) -> bool {
        self.running.is_some() || !self.waiting.is_empty()
    }

    /// Whether the command for this file is not over: nobody else may touch it.
    pub(super) fn holds(&self, path: &Path) -> bool {
        let runs = self.running.as_ref().is_some_and(|running| running.path == path);
        runs || self.waiting.iter().any(|each| each == path)
    }

    /// A file was closed. Returns what to tell the user: there are too many.
    pub(super) fn closed(&mut self, path: PathBuf) -> Option<String> {
        if self.waiting.len() < MOST_WAITING {
            self.waiting.push_back(path);
            return None;
        }
        self.skipped += 1;
        (self.skipped == 1).then(|| {
            format!("--on-rotate is too slow: {MOST_WAITING} files wait, others are passed over")
        })
    }

    /// Sees to the command that runs and starts the next. Returns what to tell the user.
    pub(super) fn step(&mut self, now: Instant) -> Vec<String> {
        let mut told = Vec::new();
        if let Some(running) = &mut self.running {
            match running.child.try_wait() {
                Ok(None) if now < running.until => return told,
                Ok(None) => {
                    end(&mut running.child);
                    let limit = self.hook.limit.as_secs_f64();
                    told.push(failed(&running.path, &format!("killed after {limit} s")));
                }
                Ok(Some(status)) => told.extend(judge(&running.path, status)),
                Err(error) => told.push(failed(&running.path, &words(&error))),
            }
            self.running = None;
        }
        while let Some(path) = self.waiting.pop_front() {
            match self.start(&path) {
                Ok(child) => {
                    let until = now + self.hook.limit;
                    self.running = Some(Running { child, path, until });
                    break;
                }
                Err(error) => told.push(failed(&path, &words(&error))),
            }
        }
        if self.skipped > 0 && self.waiting.len() < MOST_WAITING / 2 {
            told.push(format!("--on-rotate was not run for {} files", self.skipped));
            self.skipped = 0;
        }
        told
    }

    fn start(&self, path: &Path) -> io::Result<Child> {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(&self.hook.command).arg("relaxlogs").arg(path);
        command.stdin(Stdio::null());
        // Standard output may be where lines go.
        command.stdout(io::stderr().as_fd().try_clone_to_owned()?);
        apart(&mut command, 0);
        command.spawn()
    }

    /// Ends what runs. Returns what to tell the user.
    pub(super) fn give_up(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        if let Some(mut running) = self.running.take() {
            end(&mut running.child);
            told.push(failed(&running.path, "killed at the end"));
        }
        let left = self.waiting.len() as u64 + std::mem::take(&mut self.skipped);
        self.waiting.clear();
        if left > 0 {
            told.push(format!("--on-rotate was not run for {left} files"));
        }
        told
    }
}

impl Drop for Hooks {
    fn drop(&mut self) {
        self.give_up();
    }
}

fn failed(path: &Path, why: &str) -> String {
    format!("--on-rotate for {}: {why}", path.display())
}

fn judge(path: &Path, status: ExitStatus) -> Option<String> {
    (!status.success()).then(|| failed(path, &format!("ended with {status}")))
}

/// Kills the command and what it started beside itself.
fn end(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Steps until nothing is left to do; what was told.
    fn finish(hooks: &mut Hooks) -> Vec<String> {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut told = Vec::new();
        while hooks.is_busy() {
            assert!(Instant::now() < deadline, "{told:?}");
            told.extend(hooks.step(Instant::now()));
            std::thread::sleep(Duration::from_millis(1));
        }
        told
    }

    fn hooks(command: &str, limit: Duration) -> Hooks {
        Hooks::new(Hook { command: command.to_owned(), limit })
    }

    #[test]
    fn each_closed_file_has_its_command_in_order_and_a_failure_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let told_to = dir.path().join("told");
        let command = format!("echo \"$1\" >> {}; test \"${{1##*/}}\" != log.2", told_to.display());
        let mut hooks = hooks(&command, Duration::from_secs(60));
        for number in 1..=3 {
            assert_eq!(hooks.closed(dir.path().join(format!("log.{number}"))), None);
        }
        assert!(hooks.holds(&dir.path().join("log.3")));
        let told = finish(&mut hooks);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].ends_with("log.2: ended with exit status: 1"), "{told:?}");
        let names = fs::read_to_string(told_to).unwrap();
        let names: Vec<&str> = names.lines().map(|line| line.rsplit('/').next().unwrap()).collect();
        assert_eq!(names, ["log.1", "log.2", "log.3"]);
        assert!(!hooks.holds(&dir.path().join("log.3")));
    }

    #[test]
    fn one_that_does_not_end_is_killed_with_what_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let command = format!("sleep 600 & echo $! > {}; wait", pid.display());
        let mut hooks = hooks(&command, Duration::from_millis(500));
        hooks.closed(dir.path().join("log.1"));
        let told = finish(&mut hooks);
        assert!(told[0].ends_with("log.1: killed after 0.5 s"), "{told:?}");
        let child = fs::read_to_string(pid).unwrap();
        // Gone, or dead and not yet buried by whoever inherits it: once it has its turn to die.
        let lives = || {
            let state = fs::read_to_string(format!("/proc/{}/stat", child.trim()));
            state.is_ok_and(|state| !state.contains(") Z "))
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        while lives() {
            assert!(Instant::now() < deadline, "it lives");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn more_than_can_wait_are_passed_over_and_counted() {
        let mut hooks = hooks(":", Duration::from_secs(60));
        let told: Vec<String> =
            (0..MOST_WAITING + 5).filter_map(|n| hooks.closed(format!("log.{n}").into())).collect();
        assert_eq!(told, ["--on-rotate is too slow: 100 files wait, others are passed over"]);
        assert_eq!(finish(&mut hooks), ["--on-rotate was not run for 5 files"]);
        hooks.closed("log.1".into());
        assert_eq!(hooks.give_up(), ["--on-rotate was not run for 1 files"]);
        assert!(!hooks.is_busy());
    }
}
