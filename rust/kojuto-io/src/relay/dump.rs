//! The dump of what passes: hexadecimal lines, MySQL commands, a capture file.
//!
//! The relay's threads put copies of the bytes into a bounded queue and never wait; a thread of
//! the dump's own works on them. What does not fit is dropped, counted and logged.

mod capture;
mod worker;

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::remote::Remote;
use super::tap::{Direction, Session, Tap};
use super::upstream::Address;
use crate::log::{Log, unix_time_s};
use crate::queue::{Queue, Waiting};
use crate::running;
use crate::{Error, Result};
use capture::Capture;
pub use capture::CaptureOptions;
use worker::{Worker, expression};

/// The most that may wait to be dumped.
const QUEUE_BYTES: usize = 32 << 20;
/// What an entry of the queue costs beside its bytes.
const ENTRY_BYTES: usize = 128;

/// What is dumped.
#[derive(Debug, Clone, Default)]
pub struct DumpOptions {
    /// 0 no hexadecimal lines, 1 client to upstream, 2 both directions.
    pub tcp: u8,
    /// Pings are shown too.
    pub pings: bool,
    /// MySQL commands.
    pub mysql: bool,
    /// A capture.
    pub pcap: Option<CaptureOptions>,
    /// What matches is replaced by asterisks of the same number.
    pub redact: Option<String>,
}

enum Entry {
    Opened { listener: String, client: Remote, upstream: Address },
    Introduced(Remote),
    Bytes(Direction, Vec<u8>),
    Lost(Direction, u64),
    Closed,
}

/// What waits to be dumped.
#[derive(Default)]
struct Entries {
    entries: VecDeque<(u64, f64, Entry)>,
    bytes: usize,
    /// Dropped since the last entry of the connection and direction that went in.
    lost: HashMap<(u64, bool), u64>,
    dropped: u64,
}

impl Waiting for Entries {
    fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What was lost of a connection is told with its next entry.
    fn take(&mut self) -> Entries {
        self.bytes = 0;
        let (entries, dropped) = (mem::take(&mut self.entries), mem::take(&mut self.dropped));
        Entries { entries, dropped, ..Entries::default() }
    }
}

/// The relay's side of the dump.
pub struct Dump {
    queue: Queue<Entries>,
    options: DumpOptions,
    /// Who has logged in on which connection.
    sessions: Mutex<HashMap<u64, Session>>,
}

impl Dump {
    /// Opens the capture file and starts the thread, which ends after [`Dump::close`].
    ///
    /// # Errors
    /// [`Error::Io`]: the file cannot be written; [`Error::Core`]: the expression is wrong.
    pub fn start(options: DumpOptions, log: Arc<Log>) -> Result<(Arc<Dump>, JoinHandle<()>)> {
        let redact = options.redact.as_deref().map(expression).transpose()?;
        let capture = options.pcap.clone().map(Capture::create).transpose()?;
        if let Some(path) = capture.as_ref().and_then(Capture::path) {
            let line = Log::line("info", "Start capture").text("file", &path.display().to_string());
            log.write(&line.end());
        }
        let dump = Arc::new(Dump::new(options));
        let worker =
            Worker { dump: Arc::clone(&dump), log, redact, capture, connections: HashMap::new() };
        let thread = running::start("dump", move || worker.run());
        let thread = thread.map_err(Error::starting("the dump"))?;
        Ok((dump, thread))
    }

    fn new(options: DumpOptions) -> Dump {
        Dump { queue: Queue::default(), options, sessions: Mutex::default() }
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<u64, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what is queued and ends the thread.
    pub fn close(&self) {
        self.queue.close();
    }

    fn push(&self, id: u64, entry: Entry) {
        let (cost, direction) = match &entry {
            Entry::Bytes(direction, bytes) => (bytes.len() + ENTRY_BYTES, Some(*direction)),
            _ => (ENTRY_BYTES, None),
        };
        self.queue.put(|queue| {
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
            queue.entries.push_back((id, unix_time_s(), entry));
        });
    }
}

impl Tap for Dump {
    fn wants(&self, direction: Direction) -> bool {
        let options = &self.options;
        let hex = options.tcp >= if direction == Direction::ToUpstream { 1 } else { 2 };
        hex || options.mysql || options.pcap.is_some()
    }

    fn opened(&self, id: u64, listener: &str, client: &Remote, upstream: &Address) {
        let (listener, upstream) = (listener.to_owned(), upstream.clone());
        self.push(id, Entry::Opened { listener, client: client.clone(), upstream });
    }

    fn introduced(&self, id: u64, client: &Remote) {
        self.push(id, Entry::Introduced(client.clone()));
    }

    fn bytes(&self, id: u64, direction: Direction, bytes: &[u8]) {
        self.push(id, Entry::Bytes(direction, bytes.to_vec()));
    }

    fn closed(&self, id: u64) {
        self.push(id, Entry::Closed);
    }

    fn session(&self, id: u64) -> Option<Session> {
        self.sessions().get(&id).cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn so_much_waits_to_be_dumped_and_the_rest_is_counted() {
        let dump = Dump::new(DumpOptions::default());
        let push = |count: usize| dump.bytes(7, Direction::ToUpstream, &vec![0; count]);
        push((32 << 20) - 2 * ENTRY_BYTES - 1);
        push(1);
        push(5);
        dump.bytes(8, Direction::ToClient, b"abc");
        dump.closed(8);
        let lost = |queue: &mut Entries| queue.lost.clone();
        assert_eq!(dump.queue.put(lost), HashMap::from([((7, true), 5)]), "8 has ended");
        let (queue, _) = dump.queue.take(None);
        assert_eq!((queue.entries.len(), queue.dropped), (3, 8));
        push(1);
        let (queue, _) = dump.queue.take(None);
        assert!(matches!(queue.entries[0].2, Entry::Lost(Direction::ToUpstream, 5)));
        assert!(matches!(queue.entries[1].2, Entry::Bytes(..)));
    }

    #[test]
    fn a_line_is_written_once_it_has_64_kib() {
        let (read, write) = crate::sys::socket::pipe(65536).unwrap();
        let (log, thread) = Log::start(write.as_raw_fd(), crate::log::Detail::Usual).unwrap();
        let dump = Arc::new(Dump::new(DumpOptions { tcp: 1, ..DumpOptions::default() }));
        let (redact, capture, connections) = (None, None, HashMap::new());
        let mut worker = Worker { dump, log: Arc::clone(&log), redact, capture, connections };
        let address = std::net::SocketAddr::from(([192, 0, 2, 1], 80));
        let (client, upstream) = (Remote::Socket(address), address.into());
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
}
