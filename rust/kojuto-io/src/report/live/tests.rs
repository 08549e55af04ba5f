use std::fs;
use std::io::Write;
use std::path::PathBuf;

use super::*;
use crate::Never;

const NOW_S: u64 = 1_796_000_000;
const WINDOW: Duration = Duration::from_secs(300);

fn line(at_s: u64) -> String {
    format!("time:{at_s}\tmethod:GET\turi:/p\tstatus:200\treqtime:0.5\tua:{}\n", "x".repeat(60))
}

fn live(paths: &[&Path]) -> Live {
    let sources: Vec<_> = paths.iter().map(|path| Source::Path(path.to_path_buf())).collect();
    Live::new(&sources, &Options::default(), WINDOW).unwrap()
}

fn count(live: &mut Live, now_s: u64) -> u64 {
    live.read(Duration::from_secs(now_s), &Never).unwrap();
    live.totals().unwrap().all().count()
}

/// A log whose last line was written now.
fn log_of(dir: &Path, lines: impl Iterator<Item = String>) -> PathBuf {
    let log = dir.join("access.log");
    fs::write(&log, lines.collect::<String>()).unwrap();
    written(&log, NOW_S);
    log
}

fn written(log: &Path, at_s: u64) {
    let at = std::time::UNIX_EPOCH + Duration::from_secs(at_s);
    File::options().write(true).open(log).unwrap().set_modified(at).unwrap();
}

#[test]
fn what_the_window_covers_of_a_long_log_is_there_at_once_and_nothing_before_it() {
    let dir = tempfile::tempdir().unwrap();
    for (per_s, hours) in [(1, 24), (1, 0), (50, 1)] {
        let lines = (0..=hours * 3600 * per_s + 30).rev().map(|at| line(NOW_S - at / per_s));
        let log = log_of(dir.path(), lines);
        let size = fs::metadata(&log).unwrap().len();
        let mut beginning = Beginning::new(&Options::default(), WINDOW).unwrap();
        let nanos = NOW_S as i64 * 1_000_000_000;
        let mut clock = Clock::default();
        let begin = beginning.find(&File::open(&log).unwrap(), size, nanos, &mut clock).unwrap();
        let needed = (300 * per_s * line(NOW_S).len() as u64).min(size);
        assert!((needed..=needed + (256 << 10)).contains(&(size - begin)) || begin == 0);
        let mut live = live(&[&log]);
        let all = (hours * 3600 * per_s + 31).min(301 * per_s);
        let counted = count(&mut live, NOW_S);
        assert!(counted >= all.min(300 * per_s) && counted <= all + 10 * per_s, "{counted}");
        assert_eq!(count(&mut live, NOW_S + 400), 0);
    }
}

#[test]
fn a_log_that_has_been_idle_gives_nothing_and_one_of_another_clock_its_last_lines() {
    let dir = tempfile::tempdir().unwrap();
    let log = log_of(dir.path(), (0..5000).map(|at| line(NOW_S - 5000 + at)));
    assert_eq!(count(&mut live(&[&log]), NOW_S + 7200), 0);
    // Its lines are nine hours behind.
    let log = log_of(dir.path(), (0..5000).map(|at| line(NOW_S - 9 * 3600 - 5000 + at)));
    let counted = count(&mut live(&[&log]), NOW_S);
    assert!((290..=311).contains(&counted), "{counted}");
}

#[test]
fn a_log_without_times_begins_with_what_comes() {
    let dir = tempfile::tempdir().unwrap();
    let text = "method:GET\turi:/a\tstatus:200\n";
    let log = log_of(dir.path(), std::iter::repeat_n(text.to_owned(), 10_000));
    let mut live = live(&[&log]);
    assert_eq!(count(&mut live, NOW_S), 0);
    File::options().append(true).open(&log).unwrap().write_all(text.as_bytes()).unwrap();
    assert_eq!((count(&mut live, NOW_S + 1), count(&mut live, NOW_S + 320)), (1, 0));
}

#[test]
fn each_line_counts_once_through_rename_copytruncate_and_absence() {
    let dir = tempfile::tempdir().unwrap();
    let (log, first) = (dir.path().join("access.log"), dir.path().join("access.log.1"));
    let mut live = live(&[&log]);
    assert_eq!(count(&mut live, NOW_S), 0);
    let state = live.states().next().unwrap();
    assert!(state.trouble.unwrap().ends_with("access.log: No such file or directory"));
    let mut now_s = NOW_S;
    let mut all = 0;
    let mut write = |lines: u64| {
        now_s += 1;
        let mut file = File::options().create(true).append(true).open(&log).unwrap();
        (0..lines).for_each(|_| file.write_all(line(now_s).as_bytes()).unwrap());
        all += lines;
        (all, now_s)
    };
    let mut check = |(all, now_s): (u64, u64)| assert_eq!(count(&mut live, now_s), all);
    check(write(7));
    // Renamed, with lines that were not seen yet, and not there for a while.
    write(3);
    fs::rename(&log, &first).unwrap();
    check((10, NOW_S + 2));
    check((10, NOW_S + 3));
    check(write(5));
    // Copied and cut, twice between two looks.
    for name in ["access.log.2", "access.log.3"] {
        write(4);
        fs::copy(&log, dir.path().join(name)).unwrap();
        File::options().write(true).truncate(true).open(&log).unwrap();
        write(2);
    }
    check(write(1));
    assert_eq!(live.states().next().unwrap().trouble, None);
}

#[test]
fn pipes_are_read_without_waiting_and_end() {
    let dir = tempfile::tempdir().unwrap();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let file = File::from(std::os::fd::OwnedFd::from(reader));
    let open = Source::Open(std::sync::Arc::new(file), "standard input".to_owned());
    let log = log_of(dir.path(), std::iter::once(line(NOW_S)));
    let mut live = Live::new(&[open, Source::Path(log)], &Options::default(), WINDOW).unwrap();
    assert_eq!((count(&mut live, NOW_S), live.descriptors().count()), (1, 1));
    let text = line(NOW_S).repeat(2);
    writer.write_all(text.as_bytes()).unwrap();
    assert_eq!(count(&mut live, NOW_S), 3);
    // The last line has no end.
    writer.write_all(&text.as_bytes()[..text.len() - 1]).unwrap();
    assert_eq!(count(&mut live, NOW_S), 4);
    drop(writer);
    assert_eq!((count(&mut live, NOW_S), live.descriptors().count()), (5, 0));
    let ended: Vec<_> = live.states().map(|state| state.has_ended).collect();
    assert_eq!(ended, [true, false]);
}
