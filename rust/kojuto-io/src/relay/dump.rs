//! The dump of what passes: hexadecimal lines, MySQL commands, a capture file.
//!
//! The relay's threads put copies of the bytes into a bounded queue and never wait; a thread of
//! the dump's own works on them. What does not fit is dropped, counted and logged.

use std::collections::{HashMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kojuto_core::mysql::{Event as MysqlEvent, Session};
use kojuto_core::net::hexdump::{Collector, ascii, hex};
use kojuto_core::net::pcap::{self, Flow};
use kojuto_core::scan::json_line::JsonLine;
use regex::bytes::{Regex, RegexBuilder};

use super::remote::Remote;
use super::tap::{Direction, Tap};
use crate::log::{Log, unix_time_s};
use crate::{Error, Result};

/// The most that may wait to be dumped.
const QUEUE_BYTES: usize = 32 << 20;
/// What an entry of the queue costs beside its bytes.
const ENTRY_BYTES: usize = 128;
/// How long bytes are gathered for one line.
const GATHER: Duration = Duration::from_millis(300);
/// A line is written early when it has so many bytes.
const LINE_BYTES: usize = 64 << 10;

/// What is dumped.
#[derive(Debug, Clone, Default)]
pub struct DumpOptions {
    /// 0 no hexadecimal lines, 1 client to upstream, 2 both directions.
    pub tcp: u8,
    /// Pings are shown too.
    pub pings: bool,
    /// MySQL commands.
    pub mysql: bool,
    /// A capture file.
    pub pcap: Option<PathBuf>,
    /// What matches is replaced by asterisks of the same number.
    pub redact: Option<String>,
}

enum Entry {
    Opened { listener: String, client: Remote, upstream: SocketAddr },
    Bytes(Direction, Vec<u8>),
    Lost(Direction, u64),
    Closed,
}

#[derive(Default)]
struct Queue {
    entries: VecDeque<(u64, f64, Entry)>,
    bytes: usize,
    /// Dropped since the last entry of the connection and direction that went in.
    lost: HashMap<(u64, bool), u64>,
    dropped: u64,
    ended: bool,
}

/// The relay's side of the dump.
pub struct Dump {
    queue: Mutex<Queue>,
    filled: Condvar,
    options: DumpOptions,
}

impl Dump {
    /// Opens the capture file and starts the thread, which ends after [`Dump::close`].
    ///
    /// # Errors
    /// [`Error::Io`]: the file cannot be written; [`Error::Core`]: the expression is wrong.
    pub fn start(options: DumpOptions, log: Arc<Log>) -> Result<(Arc<Dump>, JoinHandle<()>)> {
        let redact = options.redact.as_deref().map(expression).transpose()?;
        let capture = options.pcap.as_deref().map(Capture::create).transpose()?;
        let dump = Arc::new(Dump { queue: Mutex::default(), filled: Condvar::new(), options });
        let worker =
            Worker { dump: Arc::clone(&dump), log, redact, capture, connections: HashMap::new() };
        let thread = std::thread::Builder::new()
            .name("dump".to_owned())
            .spawn(move || {
                crate::sys::socket::block_signals();
                worker.run();
            })
            .map_err(Error::on("starting the dump"))?;
        Ok((dump, thread))
    }

    /// Writes what is queued and ends the thread.
    pub fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
        self.filled.notify_one();
    }

    fn push(&self, id: u64, entry: Entry) {
        let (cost, direction) = match &entry {
            Entry::Bytes(direction, bytes) => (bytes.len() + ENTRY_BYTES, Some(*direction)),
            _ => (ENTRY_BYTES, None),
        };
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(direction) = direction {
            let key = (id, direction == Direction::ToUpstream);
            if queue.bytes + cost > QUEUE_BYTES {
                *queue.lost.entry(key).or_default() += (cost - ENTRY_BYTES) as u64;
                queue.dropped += (cost - ENTRY_BYTES) as u64;
                return;
            }
            if let Some(count) = queue.lost.remove(&key) {
                queue.entries.push_back((id, unix_time_s(), Entry::Lost(direction, count)));
            }
        } else if matches!(entry, Entry::Closed) {
            queue.lost.remove(&(id, true));
            queue.lost.remove(&(id, false));
        }
        queue.bytes += cost;
        let was_empty = queue.entries.is_empty();
        queue.entries.push_back((id, unix_time_s(), entry));
        drop(queue);
        if was_empty {
            self.filled.notify_one();
        }
    }
}

impl Tap for Dump {
    fn wants(&self, direction: Direction) -> bool {
        let options = &self.options;
        let hex = options.tcp >= if direction == Direction::ToUpstream { 1 } else { 2 };
        hex || options.mysql || options.pcap.is_some()
    }

    fn opened(&self, id: u64, listener: &str, client: &Remote, upstream: SocketAddr) {
        let listener = listener.to_owned();
        self.push(id, Entry::Opened { listener, client: client.clone(), upstream });
    }

    fn bytes(&self, id: u64, direction: Direction, bytes: &[u8]) {
        self.push(id, Entry::Bytes(direction, bytes.to_vec()));
    }

    fn closed(&self, id: u64) {
        self.push(id, Entry::Closed);
    }
}

fn expression(text: &str) -> Result<Regex> {
    let built = RegexBuilder::new(text).unicode(false).size_limit(1 << 20).build();
    built.map_err(|error| {
        let why = error.to_string();
        let why = why.lines().last().unwrap_or_default();
        Error::Core(kojuto_core::Error::Argument(format!(
            "{text:?} is no regular expression: {why}"
        )))
    })
}

fn redacted(redact: Option<&Regex>, bytes: Vec<u8>) -> Vec<u8> {
    let Some(redact) = redact else { return bytes };
    let stars = |found: &regex::bytes::Captures<'_>| vec![b'*'; found[0].len()];
    redact.replace_all(&bytes, stars).into_owned()
}

/// The capture file; after a failed write it is left as it is.
struct Capture {
    path: PathBuf,
    file: Option<BufWriter<File>>,
}

impl Capture {
    fn create(path: &Path) -> Result<Capture> {
        let open = || {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(path)?;
            let mut file = BufWriter::with_capacity(256 << 10, file);
            file.write_all(&pcap::file_header())?;
            file.flush()?;
            Ok(file)
        };
        let file = open().map_err(Error::on_path(path))?;
        Ok(Capture { path: path.to_owned(), file: Some(file) })
    }

    fn with(
        &mut self,
        log: &Log,
        action: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
    ) {
        let Some(file) = &mut self.file else { return };
        if let Err(error) = action(file) {
            let line = Log::line("error", "the capture file cannot be written and ends here");
            let line = line.text("file", &self.path.display().to_string());
            log.write(&line.text("error", &super::connection::words(&error)).end());
            self.file = None;
        }
    }
}

struct Connection {
    listener: String,
    client: Remote,
    upstream: SocketAddr,
    /// To the upstream, to the client.
    collectors: [Collector; 2],
    since: [Option<Instant>; 2],
    mysql: Option<Session>,
    flow: Option<Flow>,
}

struct Worker {
    dump: Arc<Dump>,
    log: Arc<Log>,
    redact: Option<Regex>,
    capture: Option<Capture>,
    connections: HashMap<u64, Connection>,
}

fn index(direction: Direction) -> usize {
    usize::from(direction == Direction::ToClient)
}

impl Worker {
    fn run(mut self) {
        loop {
            let mut queue = self.dump.queue.lock().unwrap_or_else(PoisonError::into_inner);
            if queue.entries.is_empty() && !queue.ended {
                let wait = self.dump.filled.wait_timeout(queue, GATHER / 6);
                queue = wait.unwrap_or_else(PoisonError::into_inner).0;
            }
            let entries = std::mem::take(&mut queue.entries);
            queue.bytes = 0;
            let dropped = std::mem::take(&mut queue.dropped);
            let ended = queue.ended;
            drop(queue);
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
                capture.with(&self.log, |file| file.flush());
            }
            if ended {
                for id in self.connections.keys().copied().collect::<Vec<_>>() {
                    self.handle(id, unix_time_s(), Entry::Closed);
                }
                if let Some(capture) = &mut self.capture {
                    capture.with(&self.log, |file| file.flush());
                }
                return;
            }
        }
    }

    fn packets(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if let Some(capture) = &mut self.capture {
            let mut bytes = Vec::new();
            write(&mut bytes);
            capture.with(&self.log, |file| file.write_all(&bytes));
        }
    }

    fn handle(&mut self, id: u64, time_s: f64, entry: Entry) {
        let time_us = (time_s * 1e6) as u64;
        match entry {
            Entry::Opened { listener, client, upstream } => {
                let mut flow = None;
                let shown = match &client {
                    Remote::Socket(address) => *address,
                    Remote::Unix(_) | Remote::Named(_) => SocketAddr::from(([127, 0, 0, 1], 0)),
                };
                self.packets(|out| flow = Some(Flow::open(shown, upstream, time_us, out)));
                let options = &self.dump.options;
                let collector = || Collector::new(!options.pings);
                let connection = Connection {
                    listener,
                    client,
                    upstream,
                    collectors: [collector(), collector()],
                    since: [None, None],
                    mysql: options.mysql.then(Session::default),
                    flow,
                };
                self.connections.insert(id, connection);
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
                let flow = self.connections.remove(&id).and_then(|connection| connection.flow);
                if let Some(flow) = flow {
                    self.packets(|out| flow.close(time_us, out));
                }
            }
        }
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
        }
        let wanted = self.dump.options.tcp > at as u8;
        if wanted {
            connection.collectors[at].push(&bytes);
            connection.since[at].get_or_insert_with(Instant::now);
        }
        let full = wanted && connection.collectors[at].len() >= LINE_BYTES;
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
        if bytes.is_empty() {
            return;
        }
        let bytes = redacted(self.redact.as_ref(), bytes);
        let line = connection
            .line("dump")
            .number("direction", at as u64 + 1)
            .text("hex", &hex(&bytes))
            .text("ascii", &ascii(&bytes));
        self.log.write(&line.end());
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
            self.log.write(&line.end());
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

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn so_much_waits_to_be_dumped_and_the_rest_is_counted() {
        let dump = Dump {
            queue: Mutex::default(),
            filled: Condvar::new(),
            options: DumpOptions::default(),
        };
        let push = |count: usize| dump.bytes(7, Direction::ToUpstream, &vec![0; count]);
        push((32 << 20) - 2 * ENTRY_BYTES - 1);
        push(1);
        push(5);
        dump.bytes(8, Direction::ToClient, b"abc");
        dump.closed(8);
        {
            let mut queue = dump.queue.lock().unwrap();
            assert_eq!((queue.entries.len(), queue.dropped), (3, 8));
            assert_eq!(queue.lost, HashMap::from([((7, true), 5)]), "8 has ended");
            queue.entries.clear();
            queue.bytes = 0;
        }
        push(1);
        let queue = dump.queue.lock().unwrap();
        assert!(matches!(queue.entries[0].2, Entry::Lost(Direction::ToUpstream, 5)));
        assert!(matches!(queue.entries[1].2, Entry::Bytes(..)));
    }

    #[test]
    fn a_line_is_written_once_it_has_64_kib() {
        let (read, write) = crate::sys::socket::pipe(65536).unwrap();
        let (log, thread) = Log::start(write.as_raw_fd(), false).unwrap();
        let dump = Arc::new(Dump {
            queue: Mutex::default(),
            filled: Condvar::new(),
            options: DumpOptions { tcp: 1, ..DumpOptions::default() },
        });
        let (redact, capture, connections) = (None, None, HashMap::new());
        let mut worker = Worker { dump, log: Arc::clone(&log), redact, capture, connections };
        let upstream = SocketAddr::from(([192, 0, 2, 1], 80));
        let client = Remote::Socket(upstream);
        worker.handle(7, 0.0, Entry::Opened { listener: String::new(), client, upstream });
        let mut waiting = |count: usize| {
            worker.handle(7, 0.0, Entry::Bytes(Direction::ToUpstream, vec![0; count]));
            worker.connections[&7].collectors[0].len()
        };
        assert_eq!(waiting((64 << 10) - 1), (64 << 10) - 1);
        assert_eq!(waiting(1), 0);
        assert_eq!(waiting(1), 1);
        log.close();
        drop(read);
        thread.join().unwrap();
    }

    #[test]
    fn a_capture_is_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("capture");
        Capture::create(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
