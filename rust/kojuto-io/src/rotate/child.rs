//! Programs that relaxlogs starts: what they inherit, and that their end is heard of.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;

use rustix::process::setpriority_process;

/// The highest number of a signal (signal(7)).
const HIGHEST_SIGNAL: i32 = 64;

/// A parent that ignores SIGCHLD hands that on, and then nobody is told how a child ended.
pub(super) fn watch_children() {
    // SAFETY: changes the action of one signal to the default, which does nothing.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Has a program begin in a process group of its own, nicer by `nice`, with no signal ignored.
pub(super) fn apart(command: &mut Command, nice: i32) {
    command.process_group(0);
    // SAFETY: setpriority, sigaction and sigprocmask are async-signal-safe and touch nothing but
    // the child.
    unsafe {
        command.pre_exec(move || {
            if nice != 0 {
                let _ = setpriority_process(None, nice);
            }
            for signal in 1..=HIGHEST_SIGNAL {
                libc::signal(signal, libc::SIG_DFL);
            }
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
            Ok(())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_begins_without_ignored_signals() {
        // SAFETY: nothing in this process's tests sends this signal.
        unsafe { libc::signal(libc::SIGUSR2, libc::SIG_IGN) };
        // Two that the C library keeps for itself (signal(7)) cannot be set by it.
        let settable = |mask: u64| mask & !(0b11 << 31);
        let ignored = |prepared: bool| {
            let mut command = Command::new("grep");
            command.args(["SigIgn", "/proc/self/status"]);
            if prepared {
                apart(&mut command, 0);
            }
            let out = command.output().unwrap().stdout;
            let text = String::from_utf8(out).unwrap();
            let mask = text.trim_start_matches("SigIgn:").trim();
            settable(u64::from_str_radix(mask, 16).unwrap())
        };
        assert_ne!(ignored(false) & (1 << (libc::SIGUSR2 - 1)), 0);
        assert_eq!(ignored(true), 0);
        // SAFETY: as it was.
        unsafe { libc::signal(libc::SIGUSR2, libc::SIG_DFL) };
    }
}
