//! Work on several threads, or on fewer where the system has none to give.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::follow::LineSink;

/// How often one who waits for threads asks whether to stop.
const ASK_EVERY: Duration = Duration::from_millis(1);

/// `work` on each item, side by side; one after the other where no thread can be started. The
/// results come in the order of the items.
pub fn each<T: Send, R: Send>(
    items: Vec<T>,
    cancel: &dyn Cancel,
    work: impl Fn(T, &dyn Cancel) -> R + Sync,
) -> Vec<R> {
    let count = items.len();
    let waiting = Mutex::new(items.into_iter().enumerate());
    let done = Mutex::new(Vec::with_capacity(count));
    let run = |cancel: &dyn Cancel| {
        loop {
            let Some((index, item)) = lock(&waiting).next() else { return };
            let result = work(item, cancel);
            lock(&done).push((index, result));
        }
    };
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let start = || thread::Builder::new().spawn_scoped(scope, || run(&Flag(&stop))).ok();
        let wanted = if count > 1 { count } else { 0 };
        let threads: Vec<_> = (0..wanted).map_while(|_| start()).collect();
        if threads.is_empty() {
            return run(cancel);
        }
        while threads.iter().any(|thread| !thread.is_finished()) {
            thread::sleep(ASK_EVERY);
            if cancel.check().is_err() {
                stop.store(true, Ordering::Relaxed);
            }
        }
        for thread in threads {
            if let Err(panic) = thread.join() {
                resume_unwind(panic);
            }
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|&(index, _)| index);
    done.into_iter().map(|(_, result)| result).collect()
}

struct Flag<'a>(&'a AtomicBool);

impl Cancel for Flag<'_> {
    fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Blocks that may wait for a free thread, for each thread.
const QUEUED_BLOCKS: usize = 4;

/// Runs `read` with a sink that spreads its blocks over `threads` copies of `sink`, or as many as
/// the system has threads for, and returns them once all blocks are done. With one thread, or
/// none, `read` gets the sink itself.
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
            .map_while(|_| {
                let (mut sink, waiting, used) = (sink.clone(), &waiting, used.clone());
                let run = move || {
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
                };
                thread::Builder::new().spawn_scoped(scope, run).ok()
            })
            .collect();
        drop(used);
        if workers.is_empty() {
            let result = read(&mut sink);
            return (result, vec![sink]);
        }
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
    lock(waiting).recv().ok()
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
    use crate::Never;
    use crate::follow::CountingSink;

    #[test]
    fn results_come_in_the_order_of_the_items() {
        for count in [0, 1, 2, 50] {
            let items: Vec<u64> = (0..count).collect();
            let slow_first = |item: u64, _: &dyn Cancel| {
                thread::sleep(Duration::from_micros(50 * (count - item)));
                item * 2
            };
            let expected: Vec<u64> = items.iter().map(|item| item * 2).collect();
            assert_eq!(each(items, &Never, slow_first), expected);
        }
    }

    #[test]
    fn who_waits_may_stop_all() {
        struct Impatient;
        impl Cancel for Impatient {
            fn check(&self) -> Result<()> {
                Err(Error::Cancelled)
            }
        }
        let until_told = |(), cancel: &dyn Cancel| {
            while cancel.check().is_ok() {
                thread::yield_now();
            }
        };
        assert_eq!(each(vec![(); 3], &Impatient, until_told).len(), 3);
    }

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
