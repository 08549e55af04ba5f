//! The one place where errors of the Rust crates become Python exceptions.

use kojuto_io::{Error, words};
use pyo3::exceptions::{
    PyBlockingIOError, PyKeyboardInterrupt, PyOSError, PyTypeError, PyValueError,
};
use pyo3::{PyErr, import_exception};

import_exception!(kojuto.errors, AccuracyError);
import_exception!(kojuto.errors, GroupsError);
import_exception!(kojuto.errors, ThreadError);

/// Maps a failure to the built-in exception that fits: `OSError` (with errno and file name, so
/// that Python picks `FileNotFoundError` and its kin), `BlockingIOError` for a lock that is held,
/// `ValueError` for input that a parser refused. Those that callers tell apart are of classes in
/// `kojuto.errors`.
pub(crate) fn to_py(error: Error) -> PyErr {
    let code = error.code();
    match error {
        Error::Io { what, source } => match code {
            Some(code) => PyOSError::new_err((code, words(&source), what)),
            None => PyOSError::new_err(format!("{what}: {source}")),
        },
        Error::NoThread { what, source } => ThreadError::new_err((code, words(&source), what)),
        Error::Busy(path) => PyBlockingIOError::new_err((code, "locked by another process", path)),
        Error::Core(error @ kojuto_core::Error::Accuracy { .. }) => {
            AccuracyError::new_err(error.to_string())
        }
        Error::Core(error @ kojuto_core::Error::Groups { .. }) => {
            GroupsError::new_err(error.to_string())
        }
        Error::Core(error) => refused(error.to_string()),
        Error::Refused(error) => refused(error.to_string()),
        Error::Cancelled => PyKeyboardInterrupt::new_err(()),
        other => PyOSError::new_err(other.to_string()),
    }
}

/// The `ValueError` for an argument that a binding itself refuses.
pub(crate) fn refused(why: impl Into<String>) -> PyErr {
    PyValueError::new_err(why.into())
}

/// The `TypeError` for an argument by a name that there is none of.
pub(crate) fn unknown_option(name: impl std::fmt::Display) -> PyErr {
    PyTypeError::new_err(format!("unknown option: {name}"))
}

/// The `TypeError` for an Arrow array in which there are no numbers.
pub(crate) fn not_numbers(kind: impl std::fmt::Display) -> PyErr {
    PyTypeError::new_err(format!("an array of numbers is needed, not of {kind}"))
}
