//! The answers of a session: which packet of the server ends which command.

use super::schema::{schema_of_use, tracked_schema};
use super::wire::{error_of, lenenc, u16_at, u32_at};
use super::{Event, Expect, Session};

pub(super) const MAX_STATEMENTS: usize = 4096;
/// Bytes of text that the statements of a session may hold.
pub(super) const MAX_STATEMENT_BYTES: usize = 8 << 20;
pub(super) const DEPRECATE_EOF: u32 = 1 << 24;
/// MariaDB: the columns of a prepared statement are not sent again.
const CACHE_METADATA: u32 = 1 << 4;
const MORE_RESULTS: u16 = 8;
/// MariaDB: an error of this code is a report of the progress (ALTER TABLE, CHECK TABLE), and the
/// answer is still to come.
const PROGRESS: u16 = 0xffff;

impl Session {
    /// A packet of the server while commands are open.
    pub(super) fn answer(&mut self, head: &[u8], out: &mut Vec<Event>) {
        let Some((code, command)) = self.pending.front_mut() else { return };
        let code = *code;
        if head.first() == Some(&0xff) && u16_at(head, 1) == Some(PROGRESS) {
            if !self.answer_begun {
                command.first_reply_s = None;
            }
            return;
        }
        let first = !std::mem::replace(&mut self.answer_begun, true);
        let deprecate_eof = self.capabilities & DEPRECATE_EOF != 0;
        let is_eof = head.first() == Some(&0xfe) && self.server.total < 9;
        let is_end = is_eof
            || (deprecate_eof && head.first() == Some(&0xfe) && self.server.total < 0xff_ffff);
        if head.first() == Some(&0xff)
            && !matches!(self.expect, Expect::Columns(_) | Expect::Definitions { .. })
        {
            command.error = Some(error_of(head));
            return self.answered(out);
        }
        match self.expect {
            Expect::Start => {
                if head.first() == Some(&0) {
                    self.note_schema(code, head, first);
                }
                self.begin(code, head, is_end, out);
            }
            Expect::Columns(left) if left > 1 => self.expect = Expect::Columns(left - 1),
            Expect::Columns(1) => self.expect = self.after_columns(0),
            Expect::Columns(_) => self.expect = Expect::Rows, // the EOF between columns and rows
            Expect::Rows if is_end => {
                let status = if is_eof && !deprecate_eof {
                    u16_at(head, 3)
                } else {
                    let mut rest = &head[1..];
                    let _ = (lenenc(&mut rest), lenenc(&mut rest));
                    u16_at(rest, 0)
                };
                self.maybe_more(status.unwrap_or(0), out);
            }
            Expect::Rows => command.rows += 1,
            Expect::List if is_end => self.answered(out),
            Expect::List => command.rows += 1,
            Expect::Definitions { left, second } => {
                self.expect = Expect::Definitions { left: left - 1, second };
                self.definitions(out);
            }
        }
    }

    /// The default schema after the OK packet `head`, which is the `first` of an answer or not: as
    /// the server tells it, else by the statement.
    fn note_schema(&mut self, code: u8, head: &[u8], first: bool) {
        let Some((_, command)) = self.pending.front() else { return };
        let tracked = tracked_schema(head, self.capabilities);
        let stated = || {
            let executed = first && matches!(code, 0x03 | 0x17);
            executed.then(|| schema_of_use(&command.text, command.truncated)).flatten()
        };
        if code != 0x16
            && let Some(schema) = tracked.map(<[u8]>::to_vec).or_else(stated)
        {
            self.database = schema;
        }
    }

    /// The first packet of the answer to the command `code`.
    fn begin(&mut self, code: u8, head: &[u8], is_end: bool, out: &mut Vec<Event>) {
        let Some((_, command)) = self.pending.front_mut() else { return };
        match (code, head.first()) {
            (0x09, _) => self.answered(out), // COM_STATISTICS: a text
            (0x04 | 0x1c, _) if !is_end => {
                command.rows += 1;
                self.expect = Expect::List;
            }
            (0x16, Some(0)) => self.prepared(head, out),
            (_, Some(0)) => {
                let mut rest = &head[1..];
                command.affected = command.affected.saturating_add(lenenc(&mut rest).unwrap_or(0));
                let _ = lenenc(&mut rest);
                self.maybe_more(u16_at(rest, 0).unwrap_or(0), out);
            }
            (_, Some(0xfb)) => self.infile = true,
            (_, Some(0xfe)) => self.answered(out),
            (_, Some(_)) => {
                let mut rest = head;
                let columns = lenenc(&mut rest).unwrap_or(0);
                let cached = code == 0x17 && self.extended & CACHE_METADATA != 0;
                let skipped = cached && rest.first() == Some(&0);
                self.expect = self.after_columns(if skipped { 0 } else { columns });
            }
            (_, None) => self.opaque("an empty answer", out),
        }
    }

    /// What follows when `columns` definitions are still to come.
    fn after_columns(&self, columns: u64) -> Expect {
        if columns == 0 && self.capabilities & DEPRECATE_EOF != 0 {
            Expect::Rows
        } else {
            Expect::Columns(columns)
        }
    }

    fn prepared(&mut self, head: &[u8], out: &mut Vec<Event>) {
        let (Some(id), Some(columns), Some(parameters)) =
            (u32_at(head, 1), u16_at(head, 5), u16_at(head, 7))
        else {
            return self.opaque("a short answer to COM_STMT_PREPARE", out);
        };
        if let Some((_, command)) = self.pending.front_mut() {
            command.statement = Some(id);
            if self.statements.len() < MAX_STATEMENTS {
                let known = self.statements.entry(id).or_default();
                self.statement_bytes -= known.text.len();
                let room = MAX_STATEMENT_BYTES - self.statement_bytes;
                known.text = command.text[..command.text.len().min(room)].to_vec();
                known.truncated = command.truncated || command.text.len() > room;
                self.statement_bytes += known.text.len();
            }
        }
        self.last_statement = id;
        // Each list of definitions ends with an EOF where the protocol has one.
        let eof = u64::from(self.capabilities & DEPRECATE_EOF == 0);
        let length = |count: u16| if count == 0 { 0 } else { u64::from(count) + eof };
        self.expect = Expect::Definitions { left: length(parameters), second: length(columns) };
        self.definitions(out);
    }

    fn definitions(&mut self, out: &mut Vec<Event>) {
        if let Expect::Definitions { left: 0, second } = self.expect {
            if second == 0 {
                self.answered(out);
            } else {
                self.expect = Expect::Definitions { left: second, second: 0 };
            }
        }
    }

    fn maybe_more(&mut self, status: u16, out: &mut Vec<Event>) {
        self.expect = Expect::Start;
        if status & MORE_RESULTS == 0 {
            self.answered(out);
        }
    }

    fn answered(&mut self, out: &mut Vec<Event>) {
        self.expect = Expect::Start;
        self.answer_begun = false;
        self.infile = false;
        let Some((code, command)) = self.pending.pop_front() else { return };
        self.open_bytes -= command.text.len();
        if code == 0x02 && command.error.is_none() {
            self.wanted_database.clone_from(&command.text);
            self.database = std::mem::take(&mut self.wanted_database);
        }
        out.push(Event::Command(command));
    }
}
