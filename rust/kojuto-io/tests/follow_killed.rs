//! A run that is killed between any two system calls counts if and only if its commit happened.
//!
//! The test runs itself as a child under ptrace(2) and kills it at its N-th stop, for every N.

#![cfg(target_os = "linux")]

use std::fs;
use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use kojuto_io::Never;
use kojuto_io::follow::{Follower, LineSink, Options};

const CHILD: &str = "KOJUTO_FOLLOW_KILLED_IN";

#[derive(Default)]
struct Lines(Vec<u8>);

impl LineSink for Lines {
    fn block(&mut self, lines: &[u8]) {
        self.0.extend_from_slice(lines);
    }
}

fn follow(dir: &Path, before_commit: impl FnOnce(&[u8])) {
    let (log, state) = (dir.join("log"), dir.join("state"));
    let mut sink = Lines::default();
    let mut follower = Follower::open(&log, &state, None, Options::default()).unwrap();
    follower.run(Duration::from_secs(1000), &mut sink, &Never).unwrap();
    follower.stage([]).unwrap();
    before_commit(&sink.0);
    follower.commit().unwrap();
}

/// The child: what it would print goes to a file first, then the commit.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let dir = Path::new(&dir);
    follow(dir, |lines| fs::write(dir.join("printed"), lines).unwrap());
}

/// Runs the child and kills it at its system call stop number `stop`; false when it ended before.
fn run_killed_at(dir: &Path, stop: u32) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--test-threads=1"]).env(CHILD, dir);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: ptrace(2) is a plain system call, allowed between fork and exec.
    let child = unsafe {
        command.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        })
    };
    #[expect(clippy::zombie_processes, reason = "waited for by its number, with its threads")]
    let child = child.spawn().unwrap();
    let pid = child.id() as libc::pid_t;
    let options = libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACECLONE;
    let (mut stops, mut in_reach, mut killed) = (0, false, false);
    loop {
        let mut status = 0;
        // SAFETY: `status` is a valid place for the answer; __WALL lets threads be waited for.
        let who = unsafe { libc::waitpid(-1, &mut status, libc::__WALL) };
        assert!(who > 0, "waitpid: {}", std::io::Error::last_os_error());
        if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
            if who != pid {
                continue;
            }
            let status = std::process::ExitStatus::from_raw(status);
            assert!(killed || status.success(), "{status:?}");
            return killed;
        }
        // Only what comes after the lock file was made matters; the rest is the start of a process.
        in_reach |= dir.join("state.lock").exists();
        stops += u32::from(in_reach);
        // SAFETY: as above; `who` is a stopped tracee.
        unsafe {
            if stops == 0 {
                libc::ptrace(libc::PTRACE_SETOPTIONS, who, 0, options);
            }
            if stops >= stop && !killed {
                killed = true;
                libc::kill(pid, libc::SIGKILL);
            } else {
                libc::ptrace(libc::PTRACE_SYSCALL, who, 0, 0);
            }
        }
    }
}

#[test]
fn killed_between_any_two_system_calls_no_line_is_lost_and_none_counted_twice() {
    let (mut stop, mut before, mut after) = (1, 0, 0);
    loop {
        let keep = tempfile::tempdir().unwrap();
        let dir = keep.path();
        let line = |n: u32| format!("{n:04} a line that is long enough to be known again later\n");
        let text = |range: std::ops::Range<u32>| range.map(line).collect::<String>();
        fs::write(dir.join("log"), text(0..10)).unwrap();
        follow(dir, |_| ());
        fs::remove_file(dir.join("state.lock")).unwrap();
        let old = fs::read(dir.join("state")).unwrap();
        let mut log = fs::OpenOptions::new().append(true).open(dir.join("log")).unwrap();
        log.write_all(text(10..15).as_bytes()).unwrap();
        drop(log);
        fs::rename(dir.join("log"), dir.join("log.1")).unwrap();
        fs::write(dir.join("log"), text(15..20)).unwrap();
        let killed = run_killed_at(dir, stop);
        let mut counted = Vec::new();
        match fs::read(dir.join("state")).unwrap() == old {
            true => before += 1,
            false => {
                after += 1;
                counted = fs::read(dir.join("printed")).unwrap();
            }
        }
        follow(dir, |lines| counted.extend_from_slice(lines));
        assert_eq!(String::from_utf8_lossy(&counted), text(10..20), "killed at stop {stop}");
        if !killed {
            break;
        }
        stop += 1;
    }
    // It was killed on both sides of the commit, often.
    assert!(before > 20 && after > 2, "killed {before} times before the commit, {after} after");
}
