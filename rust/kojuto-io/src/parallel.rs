//! Spreads the blocks of a log over several threads.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread;

use crate::follow::LineSink;

/// Blocks that may wait for a free thread, for each thread.
const QUEUED_BLOCKS: usize = 4;

/// Runs `read` with a sink that spreads its blocks over `threads` copies of `sink`, and returns
/// them once all blocks are done. With one thread `read` gets the sink itself.
///
/// The blocks reach each copy in the order of the log, but which copy gets which is left to
/// chance, so the copies' results must not depend on it once they are merged.
pub fn spread<S: LineSink + Send + Clone, T>(
    threads: usize,
    mut sink: S,
    read: impl FnOnce(&mut dyn LineSink) -> T,
) -> (T, Vec<S>) {
    if threads <= 1 {
        let result = read(&mut sink);
        return (result, vec![sink]);
    }
    let (full, waiting) = sync_channel::<Vec<u8>>(threads * QUEUED_BLOCKS);
    let (used, free) = channel::<Vec<u8>>();
    let waiting = Mutex::new(waiting);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                let (mut sink, waiting, used) = (sink.clone(), &waiting, used.clone());
                scope.spawn(move || {
                    let mut panic = None;
                    while let Some(block) = next(waiting) {
                        // After a panic the blocks are still taken, so that the reader does not
                        // wait for ever to hand them over.
                        if panic.is_none() {
                            let work = AssertUnwindSafe(|| sink.block(&block));
                            panic = catch_unwind(work).err();
                        }
                        let _ = used.send(block); // the reader may be gone
                    }
                    if let Some(panic) = panic {
                        resume_unwind(panic);
                    }
                    sink
                })
            })
            .collect();
        drop(used);
        let mut queue = Queue { full, free };
        let result = read(&mut queue);
        drop(queue);
        let sinks = workers.into_iter().map(|worker| match worker.join() {
            Ok(sink) => sink,
            Err(panic) => resume_unwind(panic),
        });
        (result, sinks.collect())
    })
}

fn next(waiting: &Mutex<Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    let waiting = waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    waiting.recv().ok()
}

struct Queue {
    full: SyncSender<Vec<u8>>,
    free: Receiver<Vec<u8>>,
}

impl LineSink for Queue {
    fn block(&mut self, lines: &[u8]) {
        let mut buffer = self.free.try_recv().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(lines);
        let _ = self.full.send(buffer); // the workers take blocks until the queue is dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::follow::CountingSink;

    #[test]
    fn every_block_is_counted_once_by_any_number_of_threads() {
        for threads in [1, 2, 5] {
            let ((), sinks) = spread(threads, CountingSink::default(), |sink| {
                for length in 1..400 {
                    sink.block(&b"x\n".repeat(length));
                }
            });
            assert_eq!(sinks.len(), threads);
            let lines: u64 = sinks.iter().map(|sink| sink.lines).sum();
            assert_eq!(lines, (1..400).sum::<u64>());
        }
    }

    #[test]
    #[should_panic(expected = "broken sink")]
    fn a_panic_in_a_thread_reaches_the_caller() {
        #[derive(Clone)]
        struct Broken;
        impl LineSink for Broken {
            fn block(&mut self, _: &[u8]) {
                panic!("broken sink");
            }
        }
        spread(2, Broken, |sink| (0..1000).for_each(|_| sink.block(b"x\n")));
    }
}
