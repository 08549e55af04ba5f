//! JSON lines on standard error, written by a thread of their own: a reader of the log that
//! stands still never stands in the way of a connection.

use std::io::ErrorKind;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kojuto_core::scan::json_line::JsonLine;

use crate::queue::{LIMIT_BYTES, Lines, Queue};
use crate::running;
use crate::sys::{descriptor, socket as sys};

/// Lines that come this close together go out in one write.
const GATHER: Duration = Duration::from_millis(10);

/// How much is logged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Detail {
    /// Warnings and errors: nothing of level `info`.
    Failures,
    /// What operators want to read.
    #[default]
    Usual,
    /// Lines of level `debug` too.
    All,
}

/// Takes log lines without ever waiting for the one who reads them.
pub struct Log {
    queue: Queue<Lines>,
    detail: Detail,
}

/// Seconds since 1970.
pub(crate) fn unix_time_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

impl Log {
    /// Starts the writer on `fd`. The thread ends after [`Log::close`].
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(fd: RawFd, detail: Detail) -> std::io::Result<(Arc<Log>, JoinHandle<()>)> {
        let log = Arc::new(Log { queue: Queue::default(), detail });
        let writer = Arc::clone(&log);
        let thread = running::start("log", move || {
            writer.queue.serve(GATHER, |lines| write_lines(fd, lines));
        })?;
        Ok((log, thread))
    }

    /// A line of this level, now.
    pub(crate) fn line(level: &str, message: &str) -> JsonLine {
        JsonLine::log(level, unix_time_s(), message)
    }

    /// Whether lines of level `debug` are wanted.
    pub(crate) fn is_verbose(&self) -> bool {
        self.detail == Detail::All
    }

    /// Whether lines of level `info` are unwanted.
    pub(crate) fn is_quiet(&self) -> bool {
        self.detail == Detail::Failures
    }

    /// Queues a line; it is dropped and counted when too much is waiting.
    pub fn write(&self, line: &[u8]) {
        self.queue.put(|lines| lines.push(line));
    }

    /// Queues a line of which there may be a flood: it takes half of the room, so that none of the
    /// others is dropped for it.
    pub(crate) fn write_flood(&self, line: &[u8]) {
        self.queue.put(|lines| lines.push_within(line, LIMIT_BYTES / 2));
    }

    /// Queues whole lines of which there may be a flood.
    pub fn write_floods(&self, lines: &[u8]) {
        self.queue.put(|queue| {
            for line in lines.split_inclusive(|&byte| byte == b'\n') {
                queue.push_within(line, LIMIT_BYTES / 2);
            }
        });
    }

    /// Queues a line of level `error`.
    pub fn failure(&self, message: &str, error: &str) {
        self.write(&Log::line("error", message).text("error", error).end());
    }

    /// Writes what is queued and ends the thread.
    pub fn close(&self) {
        self.queue.close();
    }
}

/// Writes lines, and how many were dropped.
fn write_lines(fd: RawFd, lines: Lines) {
    let Lines { mut bytes, dropped } = lines;
    if dropped > 0 {
        let line = Log::line("warn", "log lines dropped: standard error is not read fast enough");
        bytes.extend_from_slice(&line.number("dropped", dropped).end());
    }
    write_all(fd, &bytes);
}

/// Writes everything, waiting as long as it takes; a closed standard error is nobody's loss.
fn write_all(fd: RawFd, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match descriptor::write(fd, bytes) {
            Ok(count) if count > 0 => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                sys::wait_for(fd, true, Duration::from_secs(1));
            }
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::fd::AsRawFd;

    use super::*;
    use crate::queue::LIMIT_BYTES;

    #[test]
    fn lines_beyond_the_limit_are_dropped_counted_and_said() {
        const LINE: usize = 1024;
        const LINES: usize = 24 << 10; // 24 MiB, into a queue of 8, as much in the writer, a pipe
        let (read, write) = crate::sys::socket::pipe(65536).unwrap();
        let (log, thread) = Log::start(write.as_raw_fd(), Detail::Usual).unwrap();
        let line = |i: usize| format!("{i:0width$}\n", width = LINE - 1).into_bytes();
        for i in 0..LINES {
            log.write(&line(i));
        }
        let reader = std::thread::spawn(move || {
            let mut lines = Vec::new();
            let mut read = BufReader::new(blocking(read));
            let mut text = String::new();
            while read.read_line(&mut text).unwrap() > 0 {
                lines.push(std::mem::take(&mut text));
            }
            lines
        });
        // Once there is room, lines are taken again.
        while log.queue.put(|lines| lines.bytes.len()) > LIMIT_BYTES / 2 {
            std::thread::sleep(GATHER);
        }
        log.write(&line(LINES));
        log.close();
        thread.join().unwrap();
        drop(write);
        let lines = reader.join().unwrap();
        let told: Vec<&String> = lines.iter().filter(|l| l.starts_with('{')).collect();
        let dropped: usize = told
            .iter()
            .map(|line| {
                assert!(line.contains("log lines dropped"), "{line}");
                let (_, count) = line.split_once("\"dropped\":").unwrap();
                count.trim_end_matches("}\n").parse::<usize>().unwrap()
            })
            .sum();
        let mut kept: Vec<usize> = lines.iter().filter_map(|l| l.trim_end().parse().ok()).collect();
        assert_eq!(kept.len() + dropped, LINES + 1, "each line is there or counted");
        assert!(dropped > 3 << 10, "{dropped}");
        assert!(kept.len() >= LIMIT_BYTES / LINE, "{}", kept.len());
        assert_eq!(kept.last(), Some(&LINES));
        let sorted = kept.clone();
        kept.sort_unstable();
        assert_eq!(kept, sorted, "in their order");
    }

    #[test]
    fn a_flood_takes_half_of_the_room_and_each_of_its_lines_counts() {
        let log = Log { queue: Queue::default(), detail: Detail::Usual };
        let lines = format!("{:01022}\n", 0).repeat(1024);
        for _ in 0..9 {
            log.write_floods(lines.as_bytes());
            log.write_flood(&lines.as_bytes()[..1023]);
        }
        log.write(b"an error\n");
        let (Lines { bytes, dropped }, _) = log.queue.take(None);
        assert!(bytes.len() <= LIMIT_BYTES / 2 + 9 && bytes.ends_with(b"\nan error\n"));
        let kept = bytes.iter().filter(|&&byte| byte == b'\n').count() as u64 - 1;
        assert_eq!(kept + dropped, 9 * 1025);
    }

    /// The read end as a file that waits.
    fn blocking(read: std::os::fd::OwnedFd) -> std::fs::File {
        rustix::fs::fcntl_setfl(&read, rustix::fs::OFlags::empty()).unwrap();
        read.into()
    }
}
