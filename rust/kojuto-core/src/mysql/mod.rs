//! What a MySQL client asks and how it is answered, read from the bytes of both directions.
//!
//! Source: MySQL internals, "Client/Server Protocol"; MariaDB, "Client/Server Protocol" (extended
//! capabilities). Nothing is believed: every length is bounded and whatever does not fit makes the
//! session opaque, with the reason.

mod answers;
mod commands;
mod login;
mod schema;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};

use wire::Framer;

/// Bytes of a command that are kept; the rest is counted.
pub const MAX_TEXT: usize = 64 << 10;
const MAX_REPLY: usize = 1024;

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
    /// Something of the answer to the first of `pending` has come.
    answer_begun: bool,
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
            answer_begun: false,
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
                Phase::Greeting => self.opaque("the client spoke first: not MySQL", out),
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
}
