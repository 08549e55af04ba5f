//! The open connections, for the one who asks for them. Each worker tells of a few in every turn of
//! its loop, however many there are, and who asks puts the list together.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use kojuto_core::scan::json_line::JsonLine;

use crate::log::unix_time_s;
use crate::relay::listener::Route;
use crate::relay::remote::Remote;
use crate::relay::tap::Session;

/// So many places are looked at in one turn of a worker's loop.
pub(in crate::relay) const AT_ONCE: usize = 256;

/// Somebody who asks, and how far a worker has come with the answer.
pub(in crate::relay) struct Listing {
    pub(in crate::relay) to: Sender<Vec<Row>>,
    /// The place that is next.
    pub(in crate::relay) next: usize,
}

/// What a connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::relay) enum State {
    /// It waits for the client's PROXY header.
    Header,
    /// It waits for an upstream.
    Connecting,
    /// It waits until the upstream has proved that it is there.
    Settling,
    /// Bytes go both ways.
    Open,
    /// One direction has ended.
    HalfClosed,
    /// It is about to be closed.
    Closing,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Header => "header",
            State::Connecting => "connecting",
            State::Settling => "settling",
            State::Open => "open",
            State::HalfClosed => "half-closed",
            State::Closing => "closing",
        }
    }
}

/// How far a connection has come.
pub(in crate::relay) struct Progress {
    pub(in crate::relay) state: State,
    pub(in crate::relay) upstream: Option<String>,
    /// Payload bytes to the upstream, and to the client.
    pub(in crate::relay) moved: (u64, u64),
    /// When a byte was last moved; None: none was awaited yet.
    pub(in crate::relay) active_ms: Option<u64>,
}

/// One connection.
pub(in crate::relay) struct Row {
    pub(in crate::relay) id: u64,
    pub(in crate::relay) route: Arc<Route>,
    pub(in crate::relay) client: Remote,
    pub(in crate::relay) began: Instant,
    pub(in crate::relay) silent: Option<Duration>,
    pub(in crate::relay) progress: Progress,
}

impl Row {
    fn line(&self, session: Option<Session>, (now, now_s): (Instant, f64)) -> Vec<u8> {
        let age_s = now.duration_since(self.began).as_secs_f64();
        let mut line = JsonLine::begin("state", self.progress.state.name())
            .number("id", self.id)
            .text("listener", &self.route.name)
            .text("client", &self.client.to_string());
        if let Some(upstream) = &self.progress.upstream {
            line = line.text("upstream", upstream);
        }
        line = line.seconds("since", now_s - age_s).seconds("age_s", age_s);
        if let Some(silent) = self.silent {
            line = line.seconds("idle_s", silent.as_secs_f64());
        }
        let (read, write) = self.progress.moved;
        line = line.number("read_bytes", read).number("write_bytes", write);
        if let Some(Session { user, database }) = session {
            line = line.bytes("user", &user);
            if !database.is_empty() {
                line = line.bytes("db", &database);
            }
        }
        line.end()
    }
}

/// All rows as a JSON document, the oldest connection first; `session`: what is known of one by its
/// id.
pub(in crate::relay) fn document(
    mut rows: Vec<Row>,
    session: impl Fn(u64) -> Option<Session>,
) -> Vec<u8> {
    rows.sort_by_key(|row| row.id);
    // One moment for all of them, whenever a worker told: the older one is the older one.
    let now = (Instant::now(), unix_time_s());
    let mut text = b"{\"connections\":[".to_vec();
    for (at, row) in rows.iter().enumerate() {
        text.extend_from_slice(if at == 0 { b"\n" } else { b"," });
        text.extend_from_slice(&row.line(session(row.id), now));
    }
    text.extend_from_slice(b"]}\n");
    text
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::sync::atomic::Ordering::Relaxed;
    use std::sync::mpsc;

    use kojuto_core::net::balance::Balance;

    use super::*;
    use crate::log::{Detail, Log};
    use crate::relay::shared::Command;
    use crate::relay::{HeaderIn, Limits, Options, Pool, Relay};

    #[test]
    fn a_worker_tells_of_some_at_a_time_and_of_each_once() {
        const COUNT: usize = AT_ONCE + 44;
        let pool = Arc::new(Pool::new(Balance::First, Limits::default(), String::new()));
        pool.set_settling(0, true); // there is no upstream: they wait for one
        let (log, _thread) = Log::start(2, Detail::Failures).unwrap();
        log.close();
        let relay = Relay::start(Options { threads: 1, ..Options::default() }, log, None).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        relay.listen(listener.as_raw_fd(), "test", &pool, HeaderIn::Off).unwrap();
        let address = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..COUNT).map(|_| TcpStream::connect(address).unwrap()).collect();
        while relay.stats().accepted.load(Relaxed) < COUNT as u64 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let (to, answers) = mpsc::channel();
        relay.tell_all(|| Command::List(to.clone()));
        drop(to);
        let some: Vec<Vec<Row>> = answers.iter().collect();
        assert!(some.len() > 1 && some.iter().all(|rows| rows.len() <= AT_ONCE));
        let mut ids: Vec<u64> = some.iter().flatten().map(|row| row.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), clients.len());
        let states = some.iter().flatten().map(|row| row.progress.state);
        assert!(states.into_iter().all(|state| state == State::Connecting));
        // The ages are those of one moment, though the workers told at several.
        let text = document(some.into_iter().flatten().collect(), |_| None);
        let text = String::from_utf8(text).unwrap();
        let age = |line: &str| line.split_once("\"age_s\":")?.1.split(',').next()?.parse().ok();
        let ages: Vec<f64> = text.lines().filter_map(age).collect();
        assert_eq!(ages.len(), COUNT);
        assert!(ages.is_sorted_by(|older, younger| older >= younger), "{ages:?}");
    }
}
