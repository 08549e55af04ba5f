//! The crate's one error enum.

use std::fmt;

/// What a pure part can refuse.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// An argument is outside what the part can do; the text names the value and the bound.
    Argument(String),
    /// Bytes that others wrote are not of the expected form; the text says where and why.
    Malformed(String),
    /// A sketch of one relative accuracy cannot take in one of another.
    Accuracy {
        /// Of the sketch that was to be taken in; 0.01 is 1 %.
        theirs: f64,
        /// Of the one that was to take it in.
        ours: f64,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Argument(text) | Error::Malformed(text) => f.write_str(text),
            Error::Accuracy { theirs, ours } => {
                write!(f, "its accuracy is {} %, not {} %", theirs * 100.0, ours * 100.0)
            }
        }
    }
}

impl std::error::Error for Error {}
