//! Sparse logs: truncated under a writer that goes on where it was.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;

#[expect(dead_code, reason = "what other tests need of it")]
mod place;

use place::{Place, numbered};

/// Longer than may be read, than a line may be, and no whole number of blocks.
const FAR: u64 = (3 << 30) + 1234;

fn writer(place: &Place) -> File {
    OpenOptions::new().write(true).create(true).truncate(false).open(&place.log).unwrap()
}

/// Without the NULs of the block that the first line begins in.
fn shown(lines: &str) -> String {
    lines.replace('\0', "")
}

#[test]
fn a_log_truncated_under_a_writer_that_does_not_append_loses_no_line() {
    for copied in [true, false] {
        let place = Place::new();
        let log = writer(&place);
        log.write_all_at(numbered(0..50).as_bytes(), FAR).unwrap();
        let mut end = FAR + numbered(0..50).len() as u64;
        let (lines, report) = place.run();
        assert_eq!(shown(&lines), numbered(0..50), "{:?}", report.notes);
        assert_eq!((report.skipped_bytes, report.overlong.lines), (0, 0));
        for first in [100, 200, 300] {
            if copied {
                fs::write(place.dir.join("access.log.1"), numbered(first - 50..first)).unwrap();
            }
            log.set_len(0).unwrap();
            let text = numbered(first..first + 5);
            log.write_all_at(text.as_bytes(), end).unwrap();
            end += text.len() as u64;
            let (lines, report) = place.run();
            assert!(shown(&lines).ends_with(&text), "{first}: {:?}", report.notes);
            assert_eq!((report.skipped_bytes, report.overlong.lines), (0, 0));
            assert!(report.bytes < 100_000, "the hole counted: {}", report.bytes);
            log.write_all_at(numbered(first + 5..first + 6).as_bytes(), end).unwrap();
            end += numbered(0..1).len() as u64;
            assert_eq!(place.lines(), numbered(first + 5..first + 6));
            assert_eq!(place.lines(), "");
        }
    }
}

#[test]
fn a_hole_between_lines_is_passed_by_too_and_one_at_the_end_is_waited_at() {
    let place = Place::new();
    let log = writer(&place);
    log.write_all_at(numbered(0..50).as_bytes(), 0).unwrap();
    log.write_all_at(numbered(50..60).as_bytes(), FAR).unwrap();
    let (lines, report) = place.run();
    assert_eq!(shown(&lines), numbered(0..60), "{:?}", report.notes);
    assert_eq!((report.skipped_bytes, report.overlong.lines), (0, 0));
    log.set_len(2 * FAR).unwrap();
    assert_eq!(place.lines(), "");
    log.write_all_at(numbered(60..65).as_bytes(), 2 * FAR).unwrap();
    assert_eq!(shown(&place.lines()), numbered(60..65));
    assert_eq!(place.lines(), "");
}

#[test]
fn what_is_no_hole_counts_for_the_limit() {
    let mut place = Place::new();
    let log = writer(&place);
    log.write_all_at(numbered(0..5000).as_bytes(), FAR).unwrap();
    place.options.max_read_bytes = 100_000;
    let (lines, report) = place.run();
    assert_eq!(lines, "");
    let data = numbered(0..5000).len() as u64;
    assert!((data..data + 8192).contains(&report.skipped_bytes), "{}", report.skipped_bytes);
}

#[test]
fn nuls_that_were_written_are_data() {
    let place = Place::new();
    let line = [b"begun ".as_slice(), &[0; 100_000], b" ended\n"].concat();
    File::create(&place.log).unwrap().write_all(&[&[0; 50_000], &line[..]].concat()).unwrap();
    let (lines, _) = place.run();
    assert!(lines.as_bytes().ends_with(&line));
    // The same as a hole in the middle of a line.
    let log = writer(&place);
    let end = fs::metadata(&place.log).unwrap().len();
    log.write_all_at(b"begun ", end).unwrap();
    log.write_all_at(b" ended\n", end + (10 << 20)).unwrap();
    let lines = place.lines();
    assert_eq!(lines.len(), (10 << 20) + 7);
    assert!(lines.starts_with("begun \0") && lines.ends_with("\0 ended\n"));
}
