//! The few threads that ask [`Slow`], and the bounded queue in front of them.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use hyper::StatusCode;
use tokio::sync::oneshot;

use super::message::{Reply, Request, Slow};
use crate::running;

struct Job {
    request: Request,
    done: oneshot::Sender<Reply>,
}

/// The way into the queue. The threads end with its last copy.
#[derive(Clone)]
pub(super) struct Pool {
    queue: SyncSender<Job>,
}

impl Pool {
    pub(super) fn start(threads: usize, queue: usize, slow: &Arc<dyn Slow>) -> io::Result<Pool> {
        let (sender, receiver) = sync_channel::<Job>(queue);
        let receiver = Arc::new(Mutex::new(receiver));
        for index in 0..threads.max(1) {
            let (slow, receiver) = (Arc::clone(slow), Arc::clone(&receiver));
            running::start(&format!("answer-{index}"), move || work(&receiver, slow.as_ref()))?;
        }
        Ok(Pool { queue: sender })
    }

    /// Queues a request; `None` when the queue is full.
    pub(super) fn ask(&self, request: Request) -> Option<oneshot::Receiver<Reply>> {
        let (done, answer) = oneshot::channel();
        self.queue.try_send(Job { request, done }).ok().map(|()| answer)
    }
}

fn work(receiver: &Mutex<Receiver<Job>>, slow: &dyn Slow) {
    loop {
        let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { request, done }) = next else { return };
        if done.is_closed() {
            continue; // the client has gone
        }
        let ask = std::panic::AssertUnwindSafe(|| slow.answer(request));
        let reply = std::panic::catch_unwind(ask)
            .unwrap_or_else(|_| Reply::text(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n"));
        let _ = done.send(reply);
    }
}

#[cfg(test)]
mod tests {
    use hyper::body::Bytes;

    use super::*;

    /// Answers when it is let, and counts.
    struct OneByOne {
        go: Mutex<Receiver<()>>,
        asked: SyncSender<String>,
    }

    impl Slow for OneByOne {
        fn answer(&self, request: Request) -> Reply {
            self.asked.send(request.remote).unwrap();
            self.go.lock().unwrap().recv().unwrap();
            Reply::text(StatusCode::OK, "")
        }
    }

    #[test]
    fn nothing_is_asked_for_a_client_that_has_gone() {
        let ((go, wait), (asked, seen)) = (sync_channel(9), sync_channel(9));
        let slow: Arc<dyn Slow> = Arc::new(OneByOne { go: Mutex::new(wait), asked });
        let pool = Pool::start(1, 9, &slow).unwrap();
        let ask = |remote: &str| {
            let head = hyper::Request::new(()).into_parts().0;
            pool.ask(Request { head, remote: remote.into(), body: Bytes::new() }).unwrap()
        };
        let first = ask("first");
        assert_eq!(seen.recv().unwrap(), "first");
        drop(ask("gone"));
        let last = ask("last");
        go.send(()).unwrap();
        assert_eq!(seen.recv().unwrap(), "last");
        go.send(()).unwrap();
        assert!(first.blocking_recv().is_ok());
        assert!(last.blocking_recv().is_ok());
    }
}
