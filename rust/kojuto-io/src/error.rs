//! The crate's one error enum.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The result of everything that touches the machine.
pub type Result<T> = std::result::Result<T, Error>;

/// Whether a call cannot be had here at all, so that a plainer one is to be taken: the kernel has
/// none (ENOSYS), has none for this kind of file (EINVAL, EOPNOTSUPP), or a sandbox forbids it
/// (EPERM, EACCES: seccomp(2), gVisor). A plainer call on a file that really is forbidden says so.
pub(crate) fn no_such_call(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOSYS | libc::EINVAL | libc::EOPNOTSUPP | libc::EPERM | libc::EACCES)
    )
}

/// What can go wrong on a file or socket.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed on the named file, address or stream.
    Io {
        /// The file, address or stream as the user knows it.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// Another process holds the lock on this file.
    Busy(PathBuf),
    /// A pure part refused its input.
    Core(kojuto_core::Error),
    /// The caller's [`crate::Cancel`] asked the job to stop.
    Cancelled,
}

impl Error {
    /// Wraps a system error together with the file it happened on.
    pub fn on_path(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
        move |source| Error::Io { what: path.display().to_string(), source }
    }

    /// Wraps a system error together with the name of the stream or address it happened on.
    pub fn on(what: &str) -> impl FnOnce(io::Error) -> Error + '_ {
        move |source| Error::Io { what: what.to_owned(), source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { what, source } => write!(f, "{what}: {source}"),
            Error::Busy(path) => write!(f, "{}: locked by another process", path.display()),
            Error::Core(error) => error.fmt(f),
            Error::Cancelled => f.write_str("cancelled"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            Error::Core(error) => Some(error),
            _ => None,
        }
    }
}

impl From<kojuto_core::Error> for Error {
    fn from(error: kojuto_core::Error) -> Self {
        Error::Core(error)
    }
}
