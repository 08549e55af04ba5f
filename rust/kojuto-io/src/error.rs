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

/// Whether it is for want of descriptors, processes or memory: the next run may read the file.
pub(crate) fn passes(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::EAGAIN | libc::ENOMEM))
}

/// The system's words of an error without Rust's `(os error N)` behind them.
pub fn words(error: &io::Error) -> String {
    let mut text = error.to_string();
    if let Some(code) = error.raw_os_error() {
        let shown = text.trim_end_matches(&format!(" (os error {code})")).len();
        text.truncate(shown);
    }
    text
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
    /// The system gives no thread (EAGAIN of pthread_create(3)).
    NoThread {
        /// What was to be started, as for [`Error::Io`].
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// Another process holds the lock on this file.
    Busy(PathBuf),
    /// A pure part refused its input.
    Core(kojuto_core::Error),
    /// A part of this crate refused an argument.
    Refused(Refused),
    /// The caller's [`crate::Cancel`] asked the job to stop.
    Cancelled,
}

/// What is wrong with an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// A name that goes into a header has a byte that none may have.
    HeaderText(String),
    /// No answer has this status.
    Status(u16),
    /// No header has this name.
    HeaderName(String),
    /// The header of this name cannot have the value that was given.
    HeaderValue(String),
    /// Not the name of a TLS server.
    ServerName(String),
    /// A regular expression does not compile.
    Expression {
        /// The expression.
        text: String,
        /// What the compiler said.
        why: String,
    },
    /// The budget was closed.
    BudgetClosed,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::HeaderText(text) => write!(f, "{text:?} cannot be the value of a header"),
            Refused::Status(status) => write!(f, "{status} is not the status of an answer"),
            Refused::HeaderName(name) => write!(f, "{name:?} is not the name of a header"),
            Refused::HeaderValue(name) => write!(f, "{name}: not a header value"),
            Refused::ServerName(name) => write!(f, "{name:?} is not a host name"),
            Refused::Expression { text, why } => {
                write!(f, "{text:?} is not a regular expression: {why}")
            }
            Refused::BudgetClosed => f.write_str("the budget is closed"),
        }
    }
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

    /// Wraps an error of what starts threads: [`Error::NoThread`] when it is for want of them.
    pub fn starting(what: &str) -> impl FnOnce(io::Error) -> Error + '_ {
        move |source| {
            let what = format!("starting {what}");
            match source.raw_os_error() {
                Some(libc::EAGAIN) => Error::NoThread { what, source },
                _ => Error::Io { what, source },
            }
        }
    }

    /// The number of the system's error that it is, or that fits it best.
    pub fn code(&self) -> Option<i32> {
        match self {
            Error::Io { source, .. } | Error::NoThread { source, .. } => source.raw_os_error(),
            Error::Busy(_) => Some(libc::EWOULDBLOCK),
            Error::Core(_) | Error::Refused(_) | Error::Cancelled => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { what, source } | Error::NoThread { what, source } => {
                write!(f, "{what}: {}", words(source))
            }
            Error::Busy(path) => write!(f, "{}: locked by another process", path.display()),
            Error::Core(error) => error.fmt(f),
            Error::Refused(refused) => refused.fmt(f),
            Error::Cancelled => f.write_str("cancelled"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } | Error::NoThread { source, .. } => Some(source),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_an_error_have_no_number() {
        let full = io::Error::from_raw_os_error(libc::ENOSPC);
        assert_eq!(words(&full), "No space left on device");
        assert_eq!(words(&io::Error::other("in (os error 28) words")), "in (os error 28) words");
        assert_eq!(Error::on("log")(full).to_string(), "log: No space left on device");
    }

    #[test]
    fn only_a_lack_of_threads_is_one() {
        let failed = |code| Error::starting("the log")(io::Error::from_raw_os_error(code));
        assert!(matches!(failed(libc::EAGAIN), Error::NoThread { .. }));
        assert!(matches!(failed(libc::EMFILE), Error::Io { .. }));
        assert!(failed(libc::EAGAIN).to_string().starts_with("starting the log: "));
        assert_eq!(failed(libc::EMFILE).code(), Some(libc::EMFILE));
        assert_eq!(Error::Busy(PathBuf::new()).code(), Some(libc::EWOULDBLOCK));
        assert_eq!(Error::Cancelled.code(), None);
    }
}
