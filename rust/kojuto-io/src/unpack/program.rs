//! A program that unpacks a file.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};

/// What the program writes. It ends with this, at the latest with this process.
pub(super) struct Program {
    name: &'static str,
    child: Child,
    output: ChildStdout,
}

impl Program {
    pub(super) fn start(name: &'static str, packed: File) -> io::Result<Program> {
        let mut command = Command::new(name);
        command.arg("-dc").stdin(packed).stdout(Stdio::piped()).stderr(Stdio::null());
        // bzip2 takes options from these.
        command.env_remove("BZIP2").env_remove("BZIP");
        let parent = getpid();
        // SAFETY: it makes plain system calls only.
        unsafe {
            command.pre_exec(move || set_apart(parent));
        }
        let mut child = command.spawn().map_err(|error| match error.kind() {
            ErrorKind::NotFound => io::Error::new(
                ErrorKind::Unsupported,
                format!("{name} is not installed; install it, or have gzip, xz or zstd compress"),
            ),
            ErrorKind::PermissionDenied => {
                io::Error::new(error.kind(), format!("{name} may not be run"))
            }
            _ => error,
        })?;
        let output = child.stdout.take().ok_or(ErrorKind::BrokenPipe)?;
        Ok(Program { name, child, output })
    }
}

/// Between fork and exec: the child is to die with the thread that reads from it, and to have none of
/// the descriptors that this process was given or made.
fn set_apart(parent: Pid) -> io::Result<()> {
    const FIRST: libc::c_uint = 3;
    // Where a sandbox forbids it, the child still ends by SIGPIPE at its next write.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    if getppid() != Some(parent) {
        return Err(Errno::SRCH.into());
    }
    // SAFETY: the descriptors are marked, not closed, and only this child's.
    unsafe {
        let all = libc::CLOSE_RANGE_CLOEXEC;
        if libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, all) != 0 {
            for descriptor in FIRST as libc::c_int..1024 {
                libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
    }
    Ok(())
}

impl Read for Program {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.output.read(buffer)?;
        if count == 0 && !buffer.is_empty() {
            let status = self.child.wait()?;
            if !status.success() {
                let text = format!("{} -dc failed: {status}", self.name);
                return Err(io::Error::new(ErrorKind::InvalidData, text));
            }
        }
        Ok(count)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
