//! One connection: its stream, its deadlines, its requests.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, HeaderValue, RETRY_AFTER};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::access_log::Entry;
use super::message::{Reply, Request};
use super::pool::Pool;
use super::shared::Shared;
use crate::sys::socket as sys;

/// A stopping server waits so long for the first request of a connection that it has accepted.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// A client that is still sending is read from so long after the answer that ends its connection.
const LINGER: Duration = Duration::from_secs(5);

/// What a header takes at least when there are as many as can be. hyper makes room for all of them
/// at each request, which is to cost next to nothing.
const HEADER_BYTES: usize = 128;

/// What a connection waits for.
#[derive(Clone, Copy, PartialEq)]
#[repr(u8)]
enum Phase {
    /// Its first request; no byte has come.
    Fresh,
    /// The next request; no byte has come.
    Idle,
    /// The rest of a request's head.
    Head,
    /// The rest of a request's body.
    Body,
    /// The answer.
    Answer,
    /// The answer was given to the sender.
    Answered,
    /// The answer was given, and what the client still sends is read by nobody.
    Unread,
}

impl Phase {
    const ALL: [Phase; 7] = [
        Phase::Fresh,
        Phase::Idle,
        Phase::Head,
        Phase::Body,
        Phase::Answer,
        Phase::Answered,
        Phase::Unread,
    ];
}

/// The part of a connection that its worker's other tasks see too. Times are milliseconds of the
/// worker's clock, 0 for never.
pub(super) struct State {
    phase: AtomicU8,
    read_by_ms: AtomicU64,
    write_by_ms: AtomicU64,
    stopping: AtomicBool,
    cut: AtomicBool,
    waker: Mutex<Option<Waker>>,
    clock: Arc<AtomicU64>,
}

impl State {
    pub(super) fn new(clock: Arc<AtomicU64>, shared: &Shared) -> State {
        let state = State {
            phase: AtomicU8::new(Phase::Fresh as u8),
            read_by_ms: AtomicU64::new(0),
            write_by_ms: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            waker: Mutex::new(None),
            clock,
        };
        state.enter(Phase::Fresh, shared.options.header_timeout);
        state
    }

    fn phase(&self) -> Phase {
        Phase::ALL[usize::from(self.phase.load(Relaxed))]
    }

    fn deadline(&self, limit: Duration) -> u64 {
        if limit.is_zero() { 0 } else { self.clock.load(Relaxed) + limit.as_millis() as u64 }
    }

    fn enter(&self, phase: Phase, limit: Duration) {
        self.phase.store(phase as u8, Relaxed);
        self.read_by_ms.store(self.deadline(limit), Relaxed);
    }

    pub(super) fn is_late(&self, now_ms: u64) -> bool {
        let late = |deadline: &AtomicU64| (1..=now_ms).contains(&deadline.load(Relaxed));
        late(&self.read_by_ms) || late(&self.write_by_ms)
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.lock().unwrap_or_else(PoisonError::into_inner) {
            waker.wake_by_ref();
        }
    }

    /// Ends the connection now.
    pub(super) fn cut(&self) {
        self.cut.store(true, Relaxed);
        self.wake();
    }

    /// Ends the connection after the request that is under way, if any.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Relaxed);
        self.wake();
    }

    fn note_waker(&self, context: &Context<'_>) {
        let mut waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if waker.as_ref().is_none_or(|known| !known.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
    }
}

/// An accepted socket.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn fd(&self) -> RawFd {
        match self {
            Stream::Tcp(stream) => stream.as_raw_fd(),
            Stream::Unix(stream) => stream.as_raw_fd(),
        }
    }

    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }

    /// Reads to the end and forgets what it was.
    fn poll_rest(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut space = [0; 16384];
        loop {
            let mut buffer = ReadBuf::new(&mut space);
            ready!(self.poll_read(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// The stream as hyper sees it: keeps the deadlines.
struct Watched {
    stream: Stream,
    state: Arc<State>,
    shared: Arc<Shared>,
    /// Our half of the stream has ended.
    ended: bool,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = buffer.filled().len();
        let done = self.stream.poll_read(context, buffer);
        let (state, options) = (&self.state, &self.shared.options);
        match (&done, state.phase()) {
            (Poll::Pending, Phase::Answered) => state.enter(Phase::Idle, options.idle_timeout),
            (Poll::Ready(Ok(())), Phase::Fresh) if buffer.filled().len() > filled => {
                state.phase.store(Phase::Head as u8, Relaxed); // its time is running already
            }
            (Poll::Ready(Ok(())), Phase::Idle | Phase::Answered)
                if buffer.filled().len() > filled =>
            {
                state.enter(Phase::Head, options.header_timeout);
            }
            _ => {}
        }
        done
    }
}

impl Watched {
    fn wrote(&self, done: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let deadline = &self.state.write_by_ms;
        match &done {
            Poll::Pending if deadline.load(Relaxed) == 0 => {
                let limit = self.shared.options.write_timeout;
                deadline.store(self.state.deadline(limit), Relaxed);
            }
            Poll::Ready(_) if deadline.load(Relaxed) != 0 => deadline.store(0, Relaxed),
            _ => {}
        }
        done
    }
}

/// Not vectored: heads and bodies are small, and one copy costs less than a second piece.
impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        };
        self.wrote(done)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // sockets hold nothing back
    }

    /// A close with bytes unread is a reset, which can take the answer with it or fail a client in
    /// the middle of its body, so that it does not read the answer (RFC 9112, 9.6).
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.ended {
            ready!(match &mut self.stream {
                Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
                Stream::Unix(stream) => Pin::new(stream).poll_shutdown(context),
            })?;
            self.ended = true;
            // One that is still in its head was no request.
            if matches!(self.state.phase(), Phase::Head | Phase::Unread) {
                self.state.enter(Phase::Unread, LINGER);
            }
        }
        match self.state.phase() {
            Phase::Unread => self.stream.poll_rest(context),
            _ => Poll::Ready(Ok(())),
        }
    }
}

/// What answers the requests of a connection.
pub(super) struct Answerer {
    pub(super) shared: Arc<Shared>,
    pub(super) pool: Pool,
    pub(super) remote: String,
    pub(super) state: Arc<State>,
}

impl Answerer {
    async fn answer(&self, request: hyper::Request<Incoming>) -> Response<Full<Bytes>> {
        let (shared, state) = (&self.shared, &self.state);
        state.enter(Phase::Answer, Duration::ZERO);
        let (head, body) = request.into_parts();
        let version = head.version;
        let passed_over = shared.options.max_body_bytes.is_none() && !body.is_end_stream();
        let logged = shared.access_log().map(|log| (log, Entry::new(&head), Instant::now()));
        let reply = match shared.quick(&head, &self.remote) {
            Some(reply) => {
                shared.stats.quick.fetch_add(1, Relaxed);
                reply
            }
            None => self.ask(head, body).await,
        };
        let class = usize::from(reply.status().as_u16() / 100);
        shared.stats.answered[class.saturating_sub(2).min(3)].fetch_add(1, Relaxed);
        if let Some((log, entry, began)) = logged {
            let (status, bytes) = (reply.status().as_u16(), reply.body_bytes());
            if !log.write(&entry, &self.remote, status, bytes, began.elapsed()) {
                shared.stats.log_dropped.fetch_add(1, Relaxed);
            }
        }
        let unread = passed_over || reply.headers().contains_key(CONNECTION);
        let mut response = reply.into_response();
        if unread || state.stopping.load(Relaxed) || shared.stopping.load(Relaxed) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            // To an answer of 1.1 hyper would add that the connection is kept alive.
            *response.version_mut() = version;
        }
        state.enter(if unread { Phase::Unread } else { Phase::Answered }, Duration::ZERO);
        response
    }

    /// Reads the body and asks the threads that take their time.
    async fn ask(&self, head: Parts, body: Incoming) -> Reply {
        let options = &self.shared.options;
        let limit = options.max_body_bytes.unwrap_or(0);
        let body = if body.is_end_stream() || options.max_body_bytes.is_none() {
            Bytes::new()
        } else {
            if body.size_hint().lower() > limit as u64 {
                return too_large();
            }
            self.state.enter(Phase::Body, options.header_timeout);
            match Limited::new(body, limit).collect().await {
                Ok(body) => body.to_bytes(),
                Err(error) if error.is::<LengthLimitError>() => return too_large(),
                Err(_) => return Reply::text(StatusCode::BAD_REQUEST, "the body is broken\n"),
            }
        };
        self.state.enter(Phase::Answer, Duration::ZERO);
        let request = Request { head, remote: self.remote.clone(), body };
        let Some(answer) = self.pool.ask(request) else {
            self.shared.stats.refused.fetch_add(1, Relaxed);
            return Reply::text(StatusCode::SERVICE_UNAVAILABLE, "too many requests are waiting\n")
                .with(RETRY_AFTER, HeaderValue::from_static("1"));
        };
        answer
            .await
            .unwrap_or_else(|_| Reply::text(StatusCode::INTERNAL_SERVER_ERROR, "no answer\n"))
    }
}

/// What is left of the body is not waited for.
fn too_large() -> Reply {
    Reply::text(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large\n")
        .with(CONNECTION, HeaderValue::from_static("close"))
}

/// Serves a connection to its end.
pub(super) async fn serve(stream: Stream, answerer: Answerer) {
    let (shared, state) = (&answerer.shared, &answerer.state);
    let fd = stream.fd();
    let watched =
        Watched { stream, state: Arc::clone(state), shared: Arc::clone(shared), ended: false };
    let answerer = &answerer;
    let service =
        service_fn(
            move |request| async move { Ok::<_, Infallible>(answerer.answer(request).await) },
        );
    let mut connection = pin!(
        http1::Builder::new()
            .half_close(true)
            .header_read_timeout(None)
            .max_buf_size(shared.options.max_header_bytes.max(8192))
            .max_headers(shared.options.max_header_bytes.max(8192) / HEADER_BYTES)
            .serve_connection(TokioIo::new(watched), service)
    );
    let mut told = false;
    let ended = std::future::poll_fn(|context| {
        state.note_waker(context);
        if state.cut.load(Relaxed) {
            return Poll::Ready(Ok(()));
        }
        if state.stopping.load(Relaxed) && !told {
            told = true;
            match state.phase() {
                // A request may be on its way, or wait unread; `answer` ends the connection then.
                Phase::Fresh => state.enter(Phase::Fresh, FIRST_REQUEST),
                Phase::Idle if sys::has_input(fd) => state.enter(Phase::Idle, FIRST_REQUEST),
                _ => connection.as_mut().graceful_shutdown(),
            }
        }
        connection.as_mut().poll(context)
    })
    .await;
    if ended.is_err() {
        shared.stats.errors.fetch_add(1, Relaxed);
    }
}
