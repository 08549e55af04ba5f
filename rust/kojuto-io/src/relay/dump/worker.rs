//! The thread of a dump: gathers bytes to lines, follows the MySQL sessions, fills the capture file.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kojuto_core::mysql::{self, Event as MysqlEvent};
use kojuto_core::net::hexdump::{Collector, ascii, hex};
use kojuto_core::net::pcap::Flow;
use kojuto_core::scan::json_line::JsonLine;
use regex::bytes::{Regex, RegexBuilder};

use super::capture::Capture;
use super::{Dump, Entries, Entry};
use crate::log::{Log, unix_time_s};
use crate::relay::remote::Remote;
use crate::relay::tap::{Direction, Session};
use crate::relay::upstream::Address;
use crate::{Error, Refused, Result};

/// How long bytes are gathered for one line.
const GATHER: Duration = Duration::from_millis(300);
/// They are shown early when there are so many.
const GATHER_BYTES: usize = 64 << 10;
/// Bytes of one line: three characters each in hexadecimal and two as ASCII at most, so that the line
/// is shorter than the 48 KiB at which journald cuts (journald.conf(5), LineMax=).
const LINE_BYTES: usize = 9 << 10;

pub(super) fn expression(text: &str) -> Result<Regex> {
    let built = RegexBuilder::new(text).unicode(false).size_limit(1 << 20).build();
    built.map_err(|error| {
        let why = error.to_string();
        let why = why.lines().last().unwrap_or_default().to_owned();
        Error::Refused(Refused::Expression { text: text.to_owned(), why })
    })
}

fn redacted(redact: Option<&Regex>, bytes: Vec<u8>) -> Vec<u8> {
    let Some(redact) = redact else { return bytes };
    let stars = |found: &regex::bytes::Captures<'_>| vec![b'*'; found[0].len()];
    redact.replace_all(&bytes, stars).into_owned()
}

pub(super) struct Connection {
    listener: String,
    client: Remote,
    upstream: Address,
    /// To the upstream, to the client.
    pub(super) collectors: [Collector; 2],
    since: [Option<Instant>; 2],
    mysql: Option<mysql::Session>,
    /// Who has logged in, as it was told.
    session: Session,
    flow: Option<Flow>,
}

pub(super) struct Worker {
    pub(super) dump: Arc<Dump>,
    pub(super) log: Arc<Log>,
    pub(super) redact: Option<Regex>,
    pub(super) capture: Option<Capture>,
    pub(super) connections: HashMap<u64, Connection>,
}

fn index(direction: Direction) -> usize {
    usize::from(direction == Direction::ToClient)
}

impl Worker {
    pub(super) fn run(mut self) {
        loop {
            let (Entries { entries, dropped, .. }, ended) = self.dump.queue.take(Some(GATHER / 6));
            let idle = entries.is_empty();
            for (id, time_s, entry) in entries {
                self.handle(id, time_s, entry);
            }
            if dropped > 0 {
                let line = Log::line("warn", "dump: bytes dropped, the queue was full");
                self.log.write(&line.number("dropped", dropped).end());
            }
            self.show_gathered();
            if idle && let Some(capture) = &mut self.capture {
                capture.flush(&self.log);
            }
            if ended {
                for id in self.connections.keys().copied().collect::<Vec<_>>() {
                    self.handle(id, unix_time_s(), Entry::Closed);
                }
                if let Some(capture) = &mut self.capture {
                    capture.flush(&self.log);
                }
                return;
            }
        }
    }

    fn packets(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if let Some(capture) = &mut self.capture {
            let mut bytes = Vec::new();
            write(&mut bytes);
            capture.write(&self.log, &bytes);
        }
    }

    pub(super) fn handle(&mut self, id: u64, time_s: f64, entry: Entry) {
        let time_us = (time_s * 1e6) as u64;
        match entry {
            Entry::Opened { listener, client, upstream } => {
                self.opened(id, time_us, (listener, client, upstream));
            }
            Entry::Introduced(client) => {
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.client = client;
                }
            }
            Entry::Bytes(direction, bytes) => self.bytes(id, time_s, direction, bytes),
            Entry::Lost(direction, count) => {
                let Some(connection) = self.connections.get_mut(&id) else { return };
                if let Some(flow) = &mut connection.flow {
                    flow.lost(index(direction), count);
                }
                let mut events = Vec::new();
                if let Some(session) = &mut connection.mysql {
                    session.lost(&mut events);
                }
                self.tell(id, events);
            }
            Entry::Closed => {
                for direction in [Direction::ToUpstream, Direction::ToClient] {
                    self.show(id, direction, true);
                }
                let mut events = Vec::new();
                if let Some(session) =
                    self.connections.get_mut(&id).and_then(|connection| connection.mysql.as_mut())
                {
                    session.end(&mut events);
                }
                self.tell(id, events);
                self.dump.sessions().remove(&id);
                let flow = self.connections.remove(&id).and_then(|connection| connection.flow);
                if let Some(flow) = flow {
                    self.packets(|out| flow.close(time_us, out));
                }
            }
        }
    }

    fn opened(
        &mut self,
        id: u64,
        time_us: u64,
        (listener, client, upstream): (String, Remote, Address),
    ) {
        let mut flow = None;
        // A capture has addresses of the internet only.
        let here = SocketAddr::from(([127, 0, 0, 1], 0));
        let shown = match &client {
            Remote::Socket(address) => *address,
            Remote::Unix(_) | Remote::Named(_) => here,
        };
        let server = upstream.inet().unwrap_or(here);
        let snaplen = self.capture.as_ref().map_or(0, Capture::snaplen);
        self.packets(|out| flow = Some(Flow::open(shown, server, snaplen, time_us, out)));
        let options = &self.dump.options;
        let collector = || Collector::new(!options.pings);
        let connection = Connection {
            listener,
            client,
            upstream,
            collectors: [collector(), collector()],
            since: [None, None],
            mysql: options.mysql.then(mysql::Session::default),
            session: Session::default(),
            flow,
        };
        self.connections.insert(id, connection);
    }

    fn bytes(&mut self, id: u64, time_s: f64, direction: Direction, bytes: Vec<u8>) {
        let at = index(direction);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let mut events = Vec::new();
        if let Some(session) = &mut connection.mysql {
            match direction {
                Direction::ToUpstream => session.from_client(&bytes, time_s, &mut events),
                Direction::ToClient => session.from_server(&bytes, time_s, &mut events),
            }
            let known = &mut connection.session;
            if (&known.user, &known.database) != (&session.user, &session.database) {
                known.user.clone_from(&session.user);
                known.database.clone_from(&session.database);
                self.dump.sessions().insert(id, known.clone());
            }
        }
        let wanted = self.dump.options.tcp > at as u8;
        if wanted {
            connection.collectors[at].push(&bytes);
            connection.since[at].get_or_insert_with(Instant::now);
        }
        let full = wanted && connection.collectors[at].len() >= GATHER_BYTES;
        if let Some(mut flow) = connection.flow.take() {
            let shown = redacted(self.redact.as_ref(), bytes);
            self.packets(|out| flow.data(at, &shown, (time_s * 1e6) as u64, out));
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.flow = Some(flow);
            }
        }
        self.tell(id, events);
        if full {
            self.show(id, direction, false);
        }
    }

    /// Writes the lines of directions that have gathered long enough.
    fn show_gathered(&mut self) {
        let mut due = Vec::new();
        for (&id, connection) in &self.connections {
            for direction in [Direction::ToUpstream, Direction::ToClient] {
                let since = connection.since[index(direction)];
                if since.is_some_and(|since| since.elapsed() >= GATHER) {
                    due.push((id, direction));
                }
            }
        }
        for (id, direction) in due {
            self.show(id, direction, false);
        }
    }

    fn show(&mut self, id: u64, direction: Direction, end: bool) {
        let at = index(direction);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let bytes = connection.collectors[at].take(end);
        connection.since[at] = None;
        for bytes in redacted(self.redact.as_ref(), bytes).chunks(LINE_BYTES) {
            let line = connection
                .line("dump")
                .number("direction", at as u64 + 1)
                .text("hex", &hex(bytes))
                .text("ascii", &ascii(bytes));
            self.log.write_flood(&line.end());
        }
    }

    fn tell(&self, id: u64, events: Vec<MysqlEvent>) {
        let Some(connection) = self.connections.get(&id) else { return };
        let Some(session) = &connection.mysql else { return };
        let redact = self.redact.as_ref();
        let error = |line: JsonLine, error: Option<(u16, Vec<u8>)>| match error {
            Some((code, text)) => {
                line.number("error", u64::from(code)).bytes("error-text", &redacted(redact, text))
            }
            None => line,
        };
        for event in events {
            let line = connection.line("mysql");
            let line =
                if session.user.is_empty() { line } else { line.bytes("user", &session.user) };
            let line = match &session.database {
                database if database.is_empty() => line,
                database => line.bytes("db", database),
            };
            let line = match event {
                MysqlEvent::Opaque(why) => line.text("opaque", why),
                MysqlEvent::Login { error: found } => error(line.text("command", "LOGIN"), found),
                MysqlEvent::Command(command) => {
                    if command.name == "COM_PING" && !self.dump.options.pings {
                        continue;
                    }
                    let mut line = line.text("command", &command.name);
                    if !command.text.is_empty() {
                        line = line.bytes("sql", &redacted(redact, command.text));
                    }
                    if command.truncated {
                        line = line.number("truncated", 1);
                    }
                    if let Some(id) = command.statement {
                        line = line.number("statement", u64::from(id));
                    }
                    if let Some(seconds) = command.first_reply_s {
                        line = line.seconds("first-reply", seconds.max(0.0));
                        line =
                            line.number("rows", command.rows).number("affected", command.affected);
                    }
                    if command.unanswered {
                        line = line.text("answer", "none before the end");
                    }
                    error(line, command.error)
                }
            };
            self.log.write_flood(&line.end());
        }
    }
}

impl Connection {
    fn line(&self, message: &str) -> JsonLine {
        Log::line("info", message)
            .text("listener", &self.listener)
            .text("remote-addr", &self.client.to_string())
            .text("upstream", &self.upstream.to_string())
    }
}
