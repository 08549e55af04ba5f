//! The crate's one error enum, and the words of what it can refuse.

mod malformed;

use std::fmt;

pub use malformed::{HeaderFault, Malformed, ReportFault, SketchFault};

/// What a pure part can refuse.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// An argument is outside what the part can do.
    Argument(Argument),
    /// Bytes that others wrote are not of the expected form.
    Malformed(Malformed),
    /// A sketch of one relative accuracy cannot take in one of another.
    Accuracy {
        /// Of the sketch that was to be taken in; 0.01 is 1 %.
        theirs: f64,
        /// Of the one that was to take it in.
        ours: f64,
    },
    /// A sketch of groups cannot go with one of others, or of none.
    Groups {
        /// The key of its groups, if it is of one.
        theirs: Option<String>,
        /// The key of the groups of those before it, if they are of groups.
        ours: Option<String>,
    },
}

/// What is wrong with an argument.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Argument {
    /// A text is not a range of IP addresses.
    AddressRange(String),
    /// A range has bits set behind its prefix.
    HostBits {
        /// The range as it was written.
        range: String,
        /// The length of its prefix in bits.
        prefix: u32,
    },
    /// A path cannot be one that is allowed.
    Path {
        /// The path as it was written.
        path: String,
        /// Why.
        fault: PathFault,
    },
    /// A pattern cannot name log files.
    Pattern(PatternFault),
    /// A regular expression does not compile; what the compiler said.
    Expression(String),
    /// A regular expression has no group for the status.
    StatusGroup {
        /// The names that it may have.
        keys: Vec<String>,
    },
    /// A log format in nginx's or Apache's words cannot be read.
    LogFormat(LogFormatFault),
    /// So many keys cannot be read.
    Keys {
        /// How many there are.
        count: usize,
        /// The most that can be read.
        most: usize,
    },
    /// A key is empty.
    EmptyKey,
    /// The relative accuracy of a sketch is out of range.
    SketchAccuracy {
        /// What was asked for; 0.01 is 1 %.
        value: f64,
        /// The least that there can be.
        least: f64,
        /// The most that there can be.
        most: f64,
    },
    /// Of lines that should have templates of paths none has one.
    NoRoutes,
    /// A sketch would count more numbers than it can.
    TooManyNumbers,
    /// A condition on lines cannot be read.
    Condition {
        /// The whole of it.
        text: String,
        /// What could stand where it breaks off.
        expected: &'static str,
    },
}

/// Why a log format cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogFormatFault {
    /// It has a word that is not known.
    Word {
        /// The word.
        word: String,
        /// Those that are known.
        known: String,
    },
    /// Nothing stands between this word and the one before it.
    Joined(String),
    /// It has no status; the format.
    NoStatus(String),
    /// It has no such field for the time taken; the fields that it has.
    NoTime(String),
}

/// Why a path cannot be one that is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathFault {
    /// It is longer than so many bytes.
    TooLong(usize),
    /// It has a control character.
    Character(char),
    /// What its escapes stand for is no text.
    Escapes,
}

/// Why a pattern cannot name log files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatternFault {
    /// It is longer than so many bytes.
    TooLong(usize),
    /// It has a slash or begins with a dot.
    FileName,
    /// It has a field that is not known.
    Field(char),
    /// It has no field.
    NoField,
    /// Its names would be longer than so many bytes.
    LongNames(usize),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Argument(wrong) => wrong.fmt(f),
            Error::Malformed(wrong) => wrong.fmt(f),
            Error::Accuracy { theirs, ours } => {
                write!(f, "its accuracy is {} %, not {} %", theirs * 100.0, ours * 100.0)
            }
            Error::Groups { theirs, ours } => match (theirs, ours) {
                (Some(theirs), Some(ours)) => {
                    write!(f, "its groups are of {theirs}, not of {ours}")
                }
                (None, Some(ours)) => {
                    write!(f, "it has no groups, and those before it are of groups of {ours}")
                }
                (theirs, None) => {
                    let theirs = theirs.as_deref().unwrap_or_default();
                    write!(f, "it is of a group of {theirs}, and those before it are of none")
                }
            },
        }
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Argument::AddressRange(text) => {
                write!(f, "{text}: not an address range (write 192.0.2.0/24)")
            }
            Argument::HostBits { range, prefix } => {
                write!(f, "{range}: has bits set behind its prefix of {prefix}")
            }
            Argument::Path { path, fault } => write!(f, "{path}: {fault}"),
            Argument::Pattern(fault) => fault.fmt(f),
            Argument::Expression(why) => write!(f, "not a regular expression: {why}"),
            Argument::StatusGroup { keys } => {
                let groups: Vec<_> = keys.iter().map(|key| format!("(?P<{key}>…)")).collect();
                write!(f, "the regular expression has no group {}", groups.join(" or "))
            }
            Argument::LogFormat(fault) => write!(f, "log format: {fault}"),
            Argument::Keys { count, most } => {
                write!(f, "{count} keys; between 1 and {most} can be read")
            }
            Argument::EmptyKey => f.write_str("a key must not be empty"),
            Argument::SketchAccuracy { value, least, most } => {
                write!(f, "accuracy {value} is outside {least} to {most}")
            }
            Argument::NoRoutes => {
                f.write_str("no routes (write a path on a line, as GET /users/:id)")
            }
            Argument::Condition { text, expected } => {
                write!(f, "not a condition: {text:?}: expected {expected}")
            }
            Argument::TooManyNumbers => f.write_str("more numbers than 2^64"),
        }
    }
}

impl fmt::Display for LogFormatFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogFormatFault::Word { word, known } => {
                write!(f, "{word} is not known; known are {known}")
            }
            LogFormatFault::Joined(word) => {
                write!(f, "nothing stands between {word} and the word before it")
            }
            LogFormatFault::NoStatus(text) => write!(f, "no status ($status, %>s) in {text:?}"),
            LogFormatFault::NoTime(names) => {
                write!(f, "no such field for the time; it has {names}")
            }
        }
    }
}

impl fmt::Display for PathFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathFault::TooLong(limit) => write!(f, "over {limit} bytes"),
            PathFault::Character(odd) => {
                write!(f, "{:?} cannot be part of a path", odd.to_string())
            }
            PathFault::Escapes => f.write_str("its escapes (%XX) are not UTF-8 text"),
        }
    }
}

impl fmt::Display for PatternFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PatternFault::TooLong(limit) => write!(f, "longer than {limit} bytes"),
            PatternFault::FileName => {
                f.write_str("a file name without '/' that does not begin with '.'")
            }
            PatternFault::Field(letter) => {
                write!(f, "%{letter}: not one of %Y %y %m %d %H %M %S %j %%")
            }
            PatternFault::NoField => {
                f.write_str("without a field such as %Y%m%d every file has the same name")
            }
            PatternFault::LongNames(limit) => {
                write!(f, "its names are longer than {limit} bytes")
            }
        }
    }
}
