//! What a MySQL client asks and how it is answered, read from the bytes of both directions.
//!
//! Source: MySQL internals, "Client/Server Protocol"; MariaDB, "Client/Server Protocol" (extended
//! capabilities). Nothing is believed: every length is bounded and whatever does not fit makes the
//! session opaque, with the reason.

mod wire;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};

use wire::{
    Framer, error_of, lenenc, name_of, skip_attributes, skip_auth, u16_at, u32_at, until_nul,
};

/// Bytes of a command that are kept; the rest is counted.
pub const MAX_TEXT: usize = 64 << 10;
const MAX_REPLY: usize = 1024;
const MAX_PENDING: usize = 1024;
const MAX_STATEMENTS: usize = 4096;
/// Bytes of text that the open commands of a session may hold, and as many again those of its
/// statements: 16 MiB together. A text that has no room any more is cut and marked so.
const MAX_OPEN_BYTES: usize = 8 << 20;
const MAX_STATEMENT_BYTES: usize = 8 << 20;

const CONNECT_WITH_DB: u32 = 1 << 3;
const COMPRESS: u32 = 1 << 5;
const SSL: u32 = 1 << 11;
const DEPRECATE_EOF: u32 = 1 << 24;
const ZSTD: u32 = 1 << 26;
const QUERY_ATTRIBUTES: u32 = 1 << 27;
/// Not set by MariaDB, whose extended capabilities are then valid.
const LONG_PASSWORD: u32 = 1;
/// MariaDB: the columns of a prepared statement are not sent again.
const CACHE_METADATA: u32 = 1 << 4;
const MORE_RESULTS: u16 = 8;

/// A command and its answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Command {
    /// `COM_QUERY` and so on; a number for one that is unknown.
    pub name: String,
    /// The SQL, schema or table, as the client sent it, at most [`MAX_TEXT`] bytes.
    pub text: Vec<u8>,
    /// The text was longer: than [`MAX_TEXT`], or than the session had room for.
    pub truncated: bool,
    /// The statement of COM_STMT_*.
    pub statement: Option<u32>,
    /// When it was sent, seconds.
    pub sent_s: f64,
    /// Seconds until the first byte of the answer, None without one.
    pub first_reply_s: Option<f64>,
    /// Rows of the answer.
    pub rows: u64,
    /// Rows that were changed.
    pub affected: u64,
    /// The error's code and text.
    pub error: Option<(u16, Vec<u8>)>,
    /// The connection ended before the answer did.
    pub unanswered: bool,
}

/// What a session has to tell.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The client has logged in, or failed to.
    Login {
        /// The error's code and text.
        error: Option<(u16, Vec<u8>)>,
    },
    /// A command was answered.
    Command(Command),
    /// Nothing more can be told, and why.
    Opaque(&'static str),
}

/// What the next packet of the server means.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Expect {
    /// The beginning of an answer.
    Start,
    /// So many column definitions (and an EOF where the protocol has one), then rows.
    Columns(u64),
    Rows,
    /// Definitions after a prepared statement, then nothing.
    Definitions {
        left: u64,
        second: u64,
    },
    /// A list that ends with EOF (COM_FIELD_LIST, COM_STMT_FETCH).
    List,
}

#[derive(Debug, PartialEq)]
enum Phase {
    Greeting,
    Response,
    Authentication,
    Commands,
    Opaque,
}

/// The text of a prepared statement.
#[derive(Debug, Default)]
struct Statement {
    text: Vec<u8>,
    truncated: bool,
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    phase: Phase,
    client: Framer,
    server: Framer,
    capabilities: u32,
    extended: u32,
    server_extended: u32,
    pending: VecDeque<(u8, Command)>,
    /// Bytes of text in `pending`.
    open_bytes: usize,
    expect: Expect,
    statements: HashMap<u32, Statement>,
    /// Bytes of text in `statements`.
    statement_bytes: usize,
    last_statement: u32,
    infile: bool,
    /// Who has logged in.
    pub user: Vec<u8>,
    /// The default schema.
    pub database: Vec<u8>,
    wanted_database: Vec<u8>,
}

impl Default for Session {
    fn default() -> Self {
        Session {
            phase: Phase::Greeting,
            client: Framer::default(),
            server: Framer::default(),
            capabilities: 0,
            extended: 0,
            server_extended: 0,
            pending: VecDeque::new(),
            open_bytes: 0,
            expect: Expect::Start,
            statements: HashMap::new(),
            statement_bytes: 0,
            last_statement: 0,
            infile: false,
            user: Vec::new(),
            database: Vec::new(),
            wanted_database: Vec::new(),
        }
    }
}

impl Session {
    /// A session that begins in the middle, after the login, with these capabilities.
    pub fn logged_in(capabilities: u32) -> Session {
        Session { phase: Phase::Commands, capabilities, ..Session::default() }
    }

    /// Bytes of the client at the time `now_s`.
    pub fn from_client(&mut self, mut bytes: &[u8], now_s: f64, out: &mut Vec<Event>) {
        while self.phase != Phase::Opaque && self.client.feed(&mut bytes, MAX_TEXT) {
            match self.phase {
                Phase::Greeting => self.opaque("the client spoke first: no MySQL", out),
                Phase::Response => self.handshake_response(out),
                Phase::Authentication | Phase::Opaque => {}
                Phase::Commands => self.command(now_s, out),
            }
        }
    }

    /// Bytes of the server at the time `now_s`.
    pub fn from_server(&mut self, mut bytes: &[u8], now_s: f64, out: &mut Vec<Event>) {
        self.note_reply(bytes, now_s);
        while self.phase != Phase::Opaque && self.server.feed(&mut bytes, MAX_REPLY) {
            let head = std::mem::take(&mut self.server.head);
            match self.phase {
                Phase::Greeting => self.greeting(&head, out),
                Phase::Response => {}
                Phase::Authentication => self.authentication(&head, out),
                Phase::Commands => self.answer(&head, out),
                Phase::Opaque => {}
            }
            self.server.head = head;
            // What is left of these bytes begins the answer to the next command.
            self.note_reply(bytes, now_s);
        }
    }

    /// Takes the time of the first byte of the answer that is awaited.
    fn note_reply(&mut self, bytes: &[u8], now_s: f64) {
        if !bytes.is_empty()
            && self.phase == Phase::Commands
            && let Some((_, command)) = self.pending.front_mut()
            && command.first_reply_s.is_none()
        {
            command.first_reply_s = Some(now_s - command.sent_s);
        }
    }

    /// The connection has ended: what was not answered is told.
    pub fn end(&mut self, out: &mut Vec<Event>) {
        self.open_bytes = 0;
        for (_, mut command) in self.pending.drain(..) {
            command.unanswered = true;
            out.push(Event::Command(command));
        }
    }

    /// Bytes are missing: the rest cannot be understood.
    pub fn lost(&mut self, out: &mut Vec<Event>) {
        if self.phase != Phase::Opaque {
            self.end(out);
            self.opaque("bytes were dropped from the dump", out);
        }
    }

    fn opaque(&mut self, why: &'static str, out: &mut Vec<Event>) {
        self.phase = Phase::Opaque;
        self.pending.clear();
        self.statements.clear();
        (self.open_bytes, self.statement_bytes) = (0, 0);
        out.push(Event::Opaque(why));
    }

    // -- login ------------------------------------------------------------------------------

    fn greeting(&mut self, head: &[u8], out: &mut Vec<Event>) {
        if head.first() == Some(&0xff) {
            out.push(Event::Login { error: Some(error_of(head)) });
            self.phase = Phase::Response;
            return;
        }
        let version_end = head.iter().skip(1).position(|&b| b == 0).map(|at| at + 2);
        let parsed = version_end.filter(|_| head[0] == 10).and_then(|at| {
            // thread id 4, salt 8, filler 1, capabilities 2, charset 1, status 2, capabilities 2
            let low = u16_at(head, at + 13)?;
            let high = u16_at(head, at + 18).unwrap_or(0);
            let extended = u32_at(head, at + 27).unwrap_or(0);
            Some((u32::from(high) << 16 | u32::from(low), extended))
        });
        let Some((capabilities, extended)) = parsed else {
            return self.opaque("the server's greeting is no MySQL", out);
        };
        self.capabilities = capabilities;
        self.server_extended = if capabilities & LONG_PASSWORD == 0 { extended } else { 0 };
        self.phase = Phase::Response;
    }

    fn handshake_response(&mut self, out: &mut Vec<Event>) {
        let head = std::mem::take(&mut self.client.head);
        let Some(wanted) = u32_at(&head, 0).filter(|_| head.len() >= 32) else {
            return self.opaque("the handshake is older than MySQL 4.1", out);
        };
        if wanted & SSL != 0 && head.len() == 32 {
            return self.opaque("TLS", out);
        }
        let client_extended =
            if wanted & LONG_PASSWORD == 0 { u32_at(&head, 28).unwrap_or(0) } else { 0 };
        self.extended = self.server_extended & client_extended;
        self.capabilities &= wanted;
        let mut rest = &head[32..];
        self.user = until_nul(&mut rest);
        skip_auth(&mut rest, self.capabilities);
        if self.capabilities & CONNECT_WITH_DB != 0 {
            self.database = until_nul(&mut rest);
        }
        self.phase = Phase::Authentication;
    }

    fn authentication(&mut self, head: &[u8], out: &mut Vec<Event>) {
        match head.first() {
            Some(0) => {
                out.push(Event::Login { error: None });
                self.phase = Phase::Commands;
                self.expect = Expect::Start;
                if self.capabilities & (COMPRESS | ZSTD) != 0 {
                    self.opaque("compressed", out);
                }
            }
            Some(0xff) => out.push(Event::Login { error: Some(error_of(head)) }),
            _ => {} // another round
        }
    }

    // -- commands ---------------------------------------------------------------------------

    fn command(&mut self, now_s: f64, out: &mut Vec<Event>) {
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
                self.user = text.to_vec();
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

    fn answer(&mut self, head: &[u8], out: &mut Vec<Event>) {
        let Some((code, command)) = self.pending.front_mut() else { return };
        let code = *code;
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
            Expect::Start => match (code, head.first()) {
                (0x09, _) => self.answered(out), // COM_STATISTICS: a text
                (0x04, _) if !is_end => self.expect = Expect::List,
                (0x1c, _) if !is_end => {
                    command.rows += 1;
                    self.expect = Expect::List;
                }
                (0x16, Some(0)) => self.prepared(head, out),
                (_, Some(0)) => {
                    let mut rest = &head[1..];
                    command.affected =
                        command.affected.saturating_add(lenenc(&mut rest).unwrap_or(0));
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
            },
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
