//! The one place where errors of the Rust crates become Python exceptions.

use kojuto_io::Error;
use pyo3::PyErr;
use pyo3::exceptions::{PyBlockingIOError, PyKeyboardInterrupt, PyOSError, PyValueError};

/// Maps a failure to the built-in exception that fits: `OSError` (with errno and file name, so
/// that Python picks `FileNotFoundError` and its kin), `BlockingIOError` for a lock that is held,
/// `ValueError` for input that a parser refused.
pub(crate) fn to_py(error: Error) -> PyErr {
    match error {
        Error::Io { what, source } => match source.raw_os_error() {
            Some(code) => PyOSError::new_err((code, system_message(&source), what)),
            None => PyOSError::new_err(format!("{what}: {source}")),
        },
        Error::Busy(path) => {
            let text = "locked by another process";
            PyBlockingIOError::new_err((libc_ewouldblock(), text, path))
        }
        Error::Core(error) => PyValueError::new_err(error.to_string()),
        Error::Cancelled => PyKeyboardInterrupt::new_err(()),
        other => PyOSError::new_err(other.to_string()),
    }
}

const fn libc_ewouldblock() -> i32 {
    11
}

/// The system's words without Rust's `(os error N)` behind them.
fn system_message(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
