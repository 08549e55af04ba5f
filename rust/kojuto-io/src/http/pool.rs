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
