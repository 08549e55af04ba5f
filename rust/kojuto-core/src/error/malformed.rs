//! What is wrong with bytes that others wrote.

use std::fmt;

/// Bytes that are not of the expected form.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Malformed {
    /// A PROXY header.
    Header(HeaderFault),
    /// The file of a sketch.
    Sketch(SketchFault),
    /// The file of a report.
    Report(ReportFault),
    /// A position file is larger than one can be.
    LongPosition {
        /// Its size.
        bytes: usize,
        /// The most that one can have.
        limit: usize,
    },
    /// A position file does not say how far the log was read.
    NoPosition,
    /// JSON goes on with another byte.
    JsonByte {
        /// The byte that should stand there, of ASCII.
        expected: u8,
        /// Where, from 0.
        at: usize,
    },
    /// JSON goes on with something else.
    Json {
        /// What could stand there.
        expected: &'static str,
        /// The byte, from 0.
        at: usize,
    },
}

/// What is wrong with a PROXY header (PROXY protocol specification, 2.1 and 2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderFault {
    /// Version 1: the line does not end within so many bytes.
    NoEnd(usize),
    /// Version 1: the line ends in something else than CR LF.
    LineEnd,
    /// Version 1: CR stands alone.
    BareCr,
    /// Version 1: it is not ASCII.
    NotAscii,
    /// Version 1: the number of its fields.
    Fields(usize),
    /// Version 1: neither TCP4 nor TCP6.
    Protocol(String),
    /// Version 1: not an address of its family.
    Address {
        /// What stands there.
        text: String,
        /// TCP4 or TCP6.
        family: String,
    },
    /// Version 1: not a port.
    Port(String),
    /// Version 2: the byte of version and command.
    Command(u8),
    /// Version 2: the byte of family and transport.
    Family(u8),
    /// Version 2: longer than is accepted.
    TooLong {
        /// Its bytes.
        bytes: usize,
        /// The most that is accepted.
        limit: usize,
    },
    /// Version 2: too few bytes for the addresses.
    Block {
        /// How many there are.
        bytes: usize,
        /// How many the family needs.
        needed: usize,
    },
    /// Version 2: a TLV ends before its length.
    CutTlv,
    /// Version 2: a TLV of this kind runs over the end.
    LongTlv(u8),
    /// Version 2: a unique id that is too long.
    UniqueId {
        /// Its bytes.
        bytes: usize,
        /// The most that one may have.
        limit: usize,
    },
    /// Version 2: a CRC32c of so many bytes.
    CrcLength(usize),
    /// Version 2: the CRC32c does not match.
    Crc,
}

/// What is wrong with the file of a sketch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SketchFault {
    /// It is larger than a sketch can be.
    TooLarge,
    /// It does not begin like one.
    NotASketch,
    /// It is of another version.
    Version {
        /// Its version.
        found: u8,
        /// The newest version that is read.
        known: u8,
    },
    /// It is cut short.
    CutShort,
    /// Its checksum does not match, or it could not.
    Checksum,
    /// Its parts do not fit each other.
    Content,
}

/// What is wrong with the file of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportFault {
    /// It does not begin like one.
    NotAReport,
    /// It is of another version.
    Version {
        /// Its version.
        found: u8,
        /// The newest version that is read.
        known: u8,
    },
    /// It is cut short.
    CutShort,
    /// Its checksum does not match.
    Checksum,
    /// Its parts do not fit each other.
    Content,
    /// Its endpoints are named by other options than those of the one that it is to be added to.
    Settings,
}

impl fmt::Display for ReportFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReportFault::NotAReport => f.write_str("not a report"),
            ReportFault::Version { found, known } => {
                write!(f, "a report of version {found}; this one reads up to {known}")
            }
            ReportFault::CutShort => f.write_str("the report is cut short"),
            ReportFault::Checksum => f.write_str("the report is damaged: its checksum differs"),
            ReportFault::Content => f.write_str("the report is damaged: its parts do not fit"),
            ReportFault::Settings => {
                f.write_str("its endpoints are named by other options than those before it")
            }
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Header(fault) => fault.fmt(f),
            Malformed::Sketch(fault) => fault.fmt(f),
            Malformed::Report(fault) => fault.fmt(f),
            Malformed::LongPosition { bytes, limit } => {
                write!(f, "{bytes} bytes, more than {limit}")
            }
            Malformed::NoPosition => f.write_str("it has no \"pos\""),
            Malformed::JsonByte { expected, at } => {
                write!(f, "expected {:?} at byte {at}", char::from(*expected))
            }
            Malformed::Json { expected, at } => write!(f, "expected {expected} at byte {at}"),
        }
    }
}

impl fmt::Display for HeaderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use HeaderFault::*;
        let version = match self {
            NoEnd(_)
            | LineEnd
            | BareCr
            | NotAscii
            | Fields(_)
            | Protocol(_)
            | Address { .. }
            | Port(_) => 1,
            _ => 2,
        };
        write!(f, "version {version}: ")?;
        match self {
            NoEnd(limit) => write!(f, "no CR LF in the first {limit} bytes"),
            LineEnd => f.write_str("the line must end in CR LF"),
            BareCr => f.write_str("CR is not followed by LF"),
            NotAscii => f.write_str("not ASCII"),
            Fields(count) => write!(f, "{count} fields, 5 expected"),
            Protocol(text) => write!(f, "{text:?} is not a known protocol"),
            Address { text, family } => write!(f, "{text:?} is not a {family} address"),
            Port(text) => write!(f, "{text:?} is not a port"),
            Command(byte) => write!(f, "unknown version and command {byte:#04x}"),
            Family(byte) => write!(f, "unknown family and transport {byte:#04x}"),
            TooLong { bytes, limit } => {
                write!(f, "header of {bytes} bytes, at most {limit} allowed")
            }
            Block { bytes, needed } => {
                write!(f, "address block of {bytes} bytes, {needed} needed")
            }
            CutTlv => f.write_str("a TLV ends before its length"),
            LongTlv(kind) => write!(f, "TLV {kind:#04x} runs over the header's end"),
            UniqueId { bytes, limit } => {
                write!(f, "unique id of {bytes} bytes, at most {limit}")
            }
            CrcLength(bytes) => write!(f, "CRC32c of {bytes} bytes, 4 expected"),
            Crc => f.write_str("the CRC32c does not match"),
        }
    }
}

impl fmt::Display for SketchFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SketchFault::TooLarge => f.write_str("it is larger than a sketch can be"),
            SketchFault::NotASketch => f.write_str("it is not a sketch"),
            SketchFault::Version { found, known } => {
                write!(
                    f,
                    "it is a sketch of version {found}; this program reads those up to {known}"
                )
            }
            SketchFault::CutShort => f.write_str("it is damaged or cut short"),
            SketchFault::Checksum => {
                f.write_str("it is damaged or cut short: its checksum does not match")
            }
            SketchFault::Content => f.write_str("its content contradicts itself"),
        }
    }
}
