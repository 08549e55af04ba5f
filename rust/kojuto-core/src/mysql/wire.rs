//! The parts that packets are made of: lengths, texts, capabilities.

/// The length of what proves the user is a length-encoded integer in the login; never in
/// COM_CHANGE_USER, where it is one byte.
pub(super) const LENENC_AUTH: u32 = 1 << 21;
const SECURE_CONNECTION: u32 = 1 << 15;

/// Cuts one direction into packets; of each, the head is kept.
#[derive(Debug, Default)]
pub(super) struct Framer {
    header: [u8; 4],
    have: usize,
    left: usize,
    continued: bool,
    pub(super) head: Vec<u8>,
    pub(super) total: u64,
}

impl Framer {
    /// Takes bytes up to the end of one whole packet; true when there is one in `head`.
    pub(super) fn feed(&mut self, bytes: &mut &[u8], keep: usize) -> bool {
        while !bytes.is_empty() || (self.have == 4 && self.left == 0) {
            if self.have < 4 {
                self.header[self.have] = bytes[0];
                self.have += 1;
                *bytes = &bytes[1..];
                if self.have == 4 {
                    let [a, b, c, _] = self.header;
                    self.left = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
                    if !self.continued {
                        self.head.clear();
                        self.total = 0;
                    }
                    self.continued = self.left == 0xff_ffff;
                }
                continue;
            }
            let count = self.left.min(bytes.len());
            let room = keep.saturating_sub(self.head.len()).min(count);
            self.head.extend_from_slice(&bytes[..room]);
            self.total += count as u64;
            self.left -= count;
            *bytes = &bytes[count..];
            if self.left == 0 {
                self.have = 0;
                if !self.continued {
                    return true;
                }
            }
        }
        false
    }
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A length-encoded integer.
pub(super) fn lenenc(rest: &mut &[u8]) -> Option<u64> {
    let (&first, tail) = rest.split_first()?;
    let width = match first {
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        0xfb | 0xff => return None,
        small => {
            *rest = tail;
            return Some(u64::from(small));
        }
    };
    let (digits, tail) = tail.split_at_checked(width)?;
    *rest = tail;
    Some(digits.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
}

pub(super) fn skip(rest: &mut &[u8], count: u64) -> Option<()> {
    *rest = rest.get(usize::try_from(count).ok()?..)?;
    Some(())
}

pub(super) fn until_nul(rest: &mut &[u8]) -> Vec<u8> {
    let end = rest.iter().position(|&b| b == 0).unwrap_or(rest.len());
    let text = rest[..end].to_vec();
    *rest = rest.get(end + 1..).unwrap_or_default();
    text
}

pub(super) fn skip_auth(rest: &mut &[u8], capabilities: u32) {
    let length = if capabilities & LENENC_AUTH != 0 {
        lenenc(rest)
    } else if capabilities & SECURE_CONNECTION != 0 {
        let length = rest.first().map(|&b| u64::from(b));
        let _ = skip(rest, 1);
        length
    } else {
        until_nul(rest);
        Some(0)
    };
    if skip(rest, length.unwrap_or(u64::MAX)).is_none() {
        *rest = &[];
    }
}

pub(super) fn error_of(head: &[u8]) -> (u16, Vec<u8>) {
    let code = u16_at(head, 1).unwrap_or(0);
    let text = head.get(3..).unwrap_or_default();
    let text = if text.first() == Some(&b'#') { text.get(6..).unwrap_or_default() } else { text };
    (code, text.to_vec())
}

/// The SQL behind the query attributes (MySQL 8.0.23).
pub(super) fn skip_attributes(body: &[u8]) -> Option<&[u8]> {
    let mut rest = body;
    let count = lenenc(&mut rest)?;
    lenenc(&mut rest)?; // sets, always 1
    if count == 0 {
        return Some(rest);
    }
    let count = usize::try_from(count).ok().filter(|&count| count <= rest.len())?;
    let nulls = rest.get(..count.div_ceil(8))?;
    rest = &rest[nulls.len()..];
    if *rest.first()? != 1 {
        return None;
    }
    skip(&mut rest, 1)?;
    let mut kinds = Vec::with_capacity(count);
    for _ in 0..count {
        kinds.push(*rest.first()?);
        skip(&mut rest, 2)?;
        let name = lenenc(&mut rest)?;
        skip(&mut rest, name)?;
    }
    for (at, kind) in kinds.into_iter().enumerate() {
        if nulls[at / 8] >> (at % 8) & 1 == 1 {
            continue;
        }
        let width = match kind {
            6 => 0,
            1 => 1,
            2 | 13 => 2,
            3 | 4 | 9 => 4,
            5 | 8 => 8,
            _ => lenenc(&mut rest)?, // dates and times too: one byte, at most 12
        };
        skip(&mut rest, width)?;
    }
    Some(rest)
}

pub(super) fn name_of(code: u8) -> String {
    const NAMES: [&str; 32] = [
        "SLEEP",
        "QUIT",
        "INIT_DB",
        "QUERY",
        "FIELD_LIST",
        "CREATE_DB",
        "DROP_DB",
        "REFRESH",
        "SHUTDOWN",
        "STATISTICS",
        "PROCESS_INFO",
        "CONNECT",
        "PROCESS_KILL",
        "DEBUG",
        "PING",
        "TIME",
        "DELAYED_INSERT",
        "CHANGE_USER",
        "BINLOG_DUMP",
        "TABLE_DUMP",
        "CONNECT_OUT",
        "REGISTER_SLAVE",
        "STMT_PREPARE",
        "STMT_EXECUTE",
        "STMT_SEND_LONG_DATA",
        "STMT_CLOSE",
        "STMT_RESET",
        "SET_OPTION",
        "STMT_FETCH",
        "DAEMON",
        "BINLOG_DUMP_GTID",
        "RESET_CONNECTION",
    ];
    match NAMES.get(usize::from(code)) {
        Some(name) => format!("COM_{name}"),
        None => format!("COM_{code:#04x}"),
    }
}
