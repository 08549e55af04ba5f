//! The commands of a session, as the client sends them.

use super::wire::{LENENC_AUTH, name_of, skip_attributes, skip_auth, u32_at, until_nul};
use super::{Command, Event, Phase, Session};

pub(super) const MAX_PENDING: usize = 1024;
/// Bytes of text that the open commands of a session may hold, and as many again those of its
/// statements: 16 MiB together. A text that has no room any more is cut and marked so.
pub(super) const MAX_OPEN_BYTES: usize = 8 << 20;
pub(super) const QUERY_ATTRIBUTES: u32 = 1 << 27;

impl Session {
    pub(super) fn command(&mut self, now_s: f64, out: &mut Vec<Event>) {
        let head = std::mem::take(&mut self.client.head);
        if self.infile {
            self.infile = self.client.total > 0;
            return;
        }
        let Some((&code, body)) = head.split_first() else { return };
        let mut text = body;
        let mut statement = None;
        let mut truncated = self.client.total > head.len() as u64;
        match code {
            0x03 if self.capabilities & QUERY_ATTRIBUTES != 0 => {
                text = skip_attributes(body).unwrap_or(body);
            }
            0x04 => text = body.split(|&b| b == 0).next().unwrap_or(body),
            0x17..=0x1a | 0x1c => {
                let id = u32_at(body, 0);
                statement = id.map(|id| if id == u32::MAX { self.last_statement } else { id });
                let known = statement.and_then(|id| self.statements.get(&id));
                text = known.map_or(&[], |known| &known.text[..]);
                truncated |= known.is_some_and(|known| known.truncated);
            }
            0x11 => text = body.split(|&b| b == 0).next().unwrap_or(body),
            0x01 | 0x0e | 0x1f => text = &[],
            _ => {}
        }
        let room = MAX_OPEN_BYTES - self.open_bytes;
        let command = Command {
            name: name_of(code),
            text: text[..text.len().min(room)].to_vec(),
            truncated: truncated || text.len() > room,
            statement,
            sent_s: now_s,
            ..Command::default()
        };
        match code {
            0x01 | 0x18 => out.push(Event::Command(command)), // no answer comes
            0x19 => {
                if let Some(closed) = statement.and_then(|id| self.statements.remove(&id)) {
                    self.statement_bytes -= closed.text.len();
                }
                out.push(Event::Command(command));
            }
            0x12 | 0x1e => {
                out.push(Event::Command(command));
                self.opaque("a replication stream follows", out);
            }
            0x11 => {
                self.change_user(body);
                out.push(Event::Command(command));
                self.phase = Phase::Authentication;
            }
            _ if self.pending.len() >= MAX_PENDING => self.opaque("too many open commands", out),
            _ => {
                self.open_bytes += command.text.len();
                self.pending.push_back((code, command));
            }
        }
    }
    /// COM_CHANGE_USER: another one, with another schema or none.
    fn change_user(&mut self, mut body: &[u8]) {
        self.user = until_nul(&mut body);
        skip_auth(&mut body, self.capabilities & !LENENC_AUTH);
        self.database = until_nul(&mut body);
    }
}
