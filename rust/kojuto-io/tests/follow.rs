//! What happens to real logs, each by the symptom that the user would see.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use kojuto_io::follow::{Follower, LineSink, Options};
use kojuto_io::{Error, Never};

mod place;

use place::{Lines, Place, now, numbered};

#[test]
fn a_first_run_reads_all_and_a_too_large_log_starts_at_its_end() {
    let mut place = Place::new();
    place.append("a\nb\n");
    let (lines, report) = place.run();
    assert_eq!((lines.as_str(), report.duration_s), ("a\nb\n", None));
    let mut large = Place::new();
    large.options.max_read_bytes = 100;
    large.append(&numbered(0..50));
    large.append("unfin");
    let (lines, report) = large.run();
    assert_eq!(lines, "");
    assert_eq!(report.skipped_bytes, numbered(0..50).len() as u64);
    large.append("ished\nnext\n");
    assert_eq!(large.lines(), "unfinished\nnext\n");
    place.options.max_read_bytes = 4;
    place.append("cde\n");
    assert_eq!(place.lines(), "cde\n");
}

#[test]
fn more_than_the_limit_over_all_rotated_files_is_skipped_and_said() {
    let mut place = Place::new();
    place.append(&numbered(0..10));
    place.run();
    place.append(&numbered(10..30));
    place.rename("access.log.1");
    place.compress("access.log.1", "gz");
    place.append(&numbered(30..40));
    let added = numbered(10..40).len() as u64;
    place.options.max_read_bytes = added - 1;
    let (lines, report) = place.try_run(now(), false).unwrap();
    assert_eq!((lines.as_str(), report.skipped_bytes), ("", added));
    assert!(report.notes.iter().any(|n| n.text.contains(&format!("{added} bytes skipped"))));
    place.options.max_read_bytes = added;
    assert_eq!(place.lines(), numbered(10..40));
}

#[test]
fn several_rotations_between_two_runs_lose_nothing_in_any_naming() {
    for names in [
        ["access.log.3.gz", "access.log.2.zst", "access.log.1"],
        ["access.log-20260101.gz", "access.log-20260102.zst", "access.log-20260103"],
        ["access-20260101.log", "access-20260102.log.gz", "access-20260103.log"],
    ] {
        let place = Place::new();
        place.append(&numbered(0..10));
        assert_eq!(place.lines(), numbered(0..10));
        place.append(&numbered(10..20));
        for (index, name) in (2..).zip(names) {
            let (plain, ending) = match name.rsplit_once('.') {
                Some((plain, ending @ ("gz" | "zst"))) => (plain, Some(ending)),
                _ => (name, None),
            };
            place.rename(plain);
            if let Some(ending) = ending {
                place.compress(plain, ending);
            }
            place.append(&numbered(index * 10..index * 10 + 10));
        }
        let (lines, report) = place.run();
        assert_eq!(lines, numbered(10..50), "{names:?}: {:?}", report.notes);
        assert_eq!(place.lines(), "");
    }
}

#[test]
fn the_last_line_of_a_rotated_file_counts_without_its_line_end() {
    let place = Place::new();
    place.append("a\nb");
    assert_eq!(place.lines(), "a\n");
    place.rename("access.log.1");
    place.append("c\nd");
    assert_eq!(place.lines(), "b\nc\n");
}

#[test]
fn a_writer_that_still_has_the_renamed_file_loses_nothing() {
    let place = Place::new();
    let mut writer = place.append(&numbered(0..5));
    place.run();
    place.rename("access.log.1");
    writer.write_all(b"half").unwrap();
    place.append("new\n");
    assert_eq!(place.lines(), "new\n");
    writer.write_all(b" and half\nlast").unwrap();
    assert_eq!(place.lines(), "half and half\n");
    drop(writer);
    assert_eq!(place.lines(), "last\n");
    assert_eq!(place.lines(), "");
    assert!(!fs::read_to_string(&place.state).unwrap().contains("lingering"));
}

#[test]
fn a_renamed_file_that_a_writer_holds_is_watched_for_24_hours() {
    const SECOND: Duration = Duration::from_secs(1);
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let place = Place::new();
    let mut writer = place.append(&numbered(0..5));
    let renamed = now();
    let lines = |at: Duration| place.try_run(at, true).unwrap().0;
    lines(renamed);
    place.rename("access.log.1");
    place.append("new\n");
    assert_eq!(lines(renamed), "new\n");
    writer.write_all(b"after 1 h and a second\n").unwrap();
    assert_eq!(lines(renamed + SECOND * 3601), "after 1 h and a second\n");
    writer.write_all(b"just inside\n").unwrap();
    assert_eq!(lines(renamed + DAY - SECOND), "just inside\n");
    writer.write_all(b"the last look\n").unwrap();
    assert_eq!(lines(renamed + DAY), "the last look\n");
    writer.write_all(b"too late\n").unwrap();
    assert_eq!(lines(renamed + DAY + SECOND), "");
}

#[test]
fn an_unfinished_last_line_of_a_renamed_file_waits_600_seconds() {
    let place = Place::new();
    let mut writer = place.append(&numbered(0..5));
    let renamed = now();
    let lines =
        |after_s: u64| place.try_run(renamed + Duration::from_secs(after_s), true).unwrap().0;
    lines(0);
    place.rename("access.log.1");
    writer.write_all(b"half").unwrap();
    place.append("new\n");
    assert_eq!(lines(0), "new\n");
    assert_eq!(lines(599), "");
    assert_eq!(lines(600), "half\n");
    assert_eq!(lines(601), "");
}

/// Moves the log away each time that it is handed some of it, and begins a new one.
struct Mover<'a>(&'a Place, u32);

impl LineSink for Mover<'_> {
    fn block(&mut self, _: &[u8]) {
        self.1 += 1;
        self.0.rename(&format!("access.log-202611{:02}", self.1));
        self.0.append(&numbered(self.1 * 10..self.1 * 10 + 5));
    }
}

#[test]
fn a_log_that_is_renamed_again_and_again_while_it_is_read_is_left_after_8_rounds() {
    let place = Place::new();
    place.append(&numbered(0..5));
    let mut mover = Mover(&place, 0);
    let mut follower =
        Follower::open(&place.log, &place.state, None, place.options.clone()).unwrap();
    follower.run(now(), &mut mover, &Never).unwrap();
    follower.commit().unwrap();
    assert_eq!(mover.1, 8);
    assert_eq!(place.lines(), numbered(80..85), "the next run reads on");
}

#[test]
fn copytruncate_reads_the_copy_whether_the_log_stayed_small_or_grew_past_the_old_position() {
    for ending in ["", "gz", "zst"] {
        for added in [0, 3, 60] {
            let place = Place::new();
            place.append(&numbered(0..20));
            place.run();
            place.append(&numbered(20..25));
            place.append("cut ");
            place.copytruncate("access.log.1");
            if !ending.is_empty() {
                place.compress("access.log.1", ending);
            }
            let mut expected = numbered(20..25);
            if added > 0 {
                place.append("in two\n");
                place.append(&numbered(100..100 + added));
                expected += "cut in two\n";
                expected += &numbered(100..100 + added);
            }
            let (lines, report) = place.run();
            assert_eq!(lines, expected, "{ending:?} {added}: {:?}", report.notes);
            if added == 0 {
                place.append("in two\n");
                assert_eq!(place.lines(), "cut in two\n");
            }
            assert_eq!(place.lines(), "");
        }
    }
}

#[test]
fn a_log_of_the_same_size_with_other_content_is_seen_as_truncated() {
    let place = Place::new();
    place.append(&numbered(0..10));
    place.run();
    place.copytruncate("access.log.1");
    place.append(&numbered(50..60));
    assert_eq!(place.lines(), numbered(50..60));
}

#[test]
fn a_new_file_under_a_reused_inode_is_not_taken_for_the_old_one() {
    let place = Place::new();
    place.append(&numbered(0..10));
    place.run();
    place.append(&numbered(10..12));
    place.rename("access.log.1");
    place.compress("access.log.1", "gz");
    place.append(&numbered(20..40));
    let meta = fs::metadata(&place.log).unwrap();
    let old = fs::read_to_string(&place.state).unwrap();
    let inode = old.split("\"inode\":").nth(1).unwrap().split(',').next().unwrap();
    fs::write(&place.state, old.replace(inode, &meta.ino().to_string())).unwrap();
    assert_eq!(place.lines(), numbered(10..12) + &numbered(20..40));
}

#[test]
fn a_position_file_of_the_go_tools_is_taken_over_without_a_gap() {
    let place = Place::new();
    place.append("old\nnew\n");
    let meta = fs::metadata(&place.log).unwrap();
    let (inode, dev) = (meta.ino(), meta.dev());
    let go = format!(r#"{{"pos":4,"time":1000,"inode":{inode},"dev":{dev}}}"#);
    fs::write(&place.state, &go).unwrap();
    let rotated = place.rename("access.log.1");
    place.append("newest\n");
    let (lines, report) = place.try_run(Duration::from_secs(1060), false).unwrap();
    assert_eq!((lines.as_str(), report.duration_s), ("new\nnewest\n", Some(60.0)));
    fs::rename(rotated, &place.log).unwrap();
    assert_eq!(place.lines(), "new\n");
    let written = fs::read_to_string(&place.state).unwrap();
    assert!(written.starts_with("{\"pos\":8,\"time\":"), "{written}");
    assert!(written.contains(&format!(",\"inode\":{inode},\"dev\":{dev},")), "{written}");
    // Without an inode the Go tools take the log for not rotated.
    fs::write(&place.state, r#"{"pos":4,"time":1000,"inode":0,"dev":0}"#).unwrap();
    assert_eq!(place.lines(), "new\n");
}

#[test]
fn the_old_name_of_a_position_file_is_read_once() {
    let place = Place::new();
    place.append("a\nb\n");
    let legacy = place.dir.join("legacy");
    fs::write(&legacy, r#"{"pos":2,"time":1000,"inode":0,"dev":0}"#).unwrap();
    for expected in ["b\n", ""] {
        let mut sink = Lines::default();
        let options = Options::default();
        let mut follower =
            Follower::open(&place.log, &place.state, Some(&legacy), options).unwrap();
        follower.run(now(), &mut sink, &Never).unwrap();
        follower.commit().unwrap();
        assert_eq!(sink.0, expected.as_bytes());
    }
}

#[test]
fn a_log_that_is_absent_for_a_while_loses_nothing() {
    let place = Place::new();
    place.append("a\n");
    place.run();
    place.append("b\nc");
    place.rename("access.log.1");
    assert_eq!(place.lines(), "b\n");
    assert_eq!(place.lines(), "");
    place.append("d\n");
    assert_eq!(place.lines(), "c\nd\n");
}

#[test]
fn an_archive_directory_is_searched() {
    let mut place = Place::new();
    let archive = place.dir.join("archive");
    fs::create_dir(&archive).unwrap();
    place.options.archive_dirs = vec![archive];
    place.append(&numbered(0..5));
    place.run();
    place.append(&numbered(5..7));
    place.rename("archive/access.log.1");
    place.append("x\n");
    assert_eq!(place.lines(), numbered(5..7) + "x\n");
}

#[test]
fn a_damaged_gz_is_a_note_and_its_readable_lines_count() {
    let place = Place::new();
    place.append(&numbered(0..5));
    place.run();
    place.append(&numbered(5..20_000));
    place.rename("access.log.1");
    place.compress("access.log.1", "gz");
    let packed = place.dir.join("access.log.1.gz");
    let size = fs::metadata(&packed).unwrap().len();
    OpenOptions::new().write(true).open(&packed).unwrap().set_len(size * 3 / 4).unwrap();
    place.append("live\n");
    let (lines, report) = place.run();
    assert!(lines.starts_with(&numbered(5..10)) && lines.ends_with("live\n"));
    assert!(lines.len() < numbered(5..20_000).len());
    assert!(
        report.notes.iter().any(|n| n.text.contains("damaged after byte")),
        "{:?}",
        report.notes
    );
}

#[test]
fn an_unusable_position_file_is_a_note_and_a_fresh_start() {
    let place = Place::new();
    place.append("a\n");
    let fresh = |what: &str| {
        let (lines, report) = place.run();
        assert_eq!((lines.as_str(), report.duration_s), ("a\n", None), "{what}");
        assert!(report.notes[0].text.contains("starting afresh"), "{what}: {:?}", report.notes);
        fs::remove_file(&place.state).unwrap();
    };
    fs::write(&place.state, "{\"pos\":1").unwrap();
    fresh("corrupt");
    fs::write(&place.state, "").unwrap();
    fresh("empty");
    File::create(&place.state).unwrap().set_len(5 << 20).unwrap();
    fresh("huge");
    fs::write(place.dir.join("elsewhere"), "{\"pos\":1}").unwrap();
    std::os::unix::fs::symlink(place.dir.join("elsewhere"), &place.state).unwrap();
    fresh("symbolic link");
    assert_eq!(fs::read_to_string(place.dir.join("elsewhere")).unwrap(), "{\"pos\":1}");
    fs::write(&place.state, "{\"pos\":1}").unwrap();
    // Giving a file away needs root, which the tests have in continuous integration.
    if std::os::unix::fs::chown(&place.state, Some(12345), None).is_ok() {
        fresh("another user's");
    }
}

#[test]
fn a_clock_that_went_backwards_gives_no_duration() {
    let place = Place::new();
    place.append("a\n");
    place.try_run(Duration::from_secs(5000), true).unwrap();
    place.append("b\n");
    let (lines, report) = place.try_run(Duration::from_secs(4000), true).unwrap();
    assert_eq!((lines.as_str(), report.duration_s), ("b\n", None));
    let (_, report) = place.try_run(Duration::from_secs(4060), true).unwrap();
    assert_eq!(report.duration_s, Some(60.0));
}

#[test]
fn a_second_run_at_once_is_busy() {
    let place = Place::new();
    place.append("a\n");
    let first = Follower::open(&place.log, &place.state, None, Options::default()).unwrap();
    assert!(matches!(place.try_run(now(), true), Err(Error::Busy(_))));
    drop(first);
    assert_eq!(place.lines(), "a\n");
}

#[test]
fn a_line_past_the_limit_is_skipped_and_the_rest_of_it_never_counts() {
    let mut place = Place::new();
    place.options.max_line_bytes = 1000;
    place.append(&format!("{}\n{}\nok\n{}", "x".repeat(1000), "y".repeat(1001), "z".repeat(2000)));
    let (lines, report) = place.run();
    assert_eq!(lines, format!("{}\nok\n", "x".repeat(1000)));
    assert_eq!((report.overlong.lines, report.overlong.first[0]), (2, b'y'));
    place.append("zzz\nafter\n");
    let (lines, report) = place.run();
    assert_eq!((lines.as_str(), report.overlong.lines), ("after\n", 0));
}

#[test]
fn any_bytes_are_data() {
    let place = Place::new();
    let bytes = b"a\0b\r\n\xff\xfe\n\n\r\n";
    fs::write(&place.log, bytes).unwrap();
    let mut sink = Lines::default();
    let mut follower = Follower::open(&place.log, &place.state, None, Options::default()).unwrap();
    follower.run(now(), &mut sink, &Never).unwrap();
    assert_eq!(sink.0, bytes);
}

#[test]
fn what_is_no_log_is_an_error_that_names_it() {
    let place = Place::new();
    let message = || place.try_run(now(), true).unwrap_err().to_string();
    let name = place.log.display().to_string();
    assert!(message().starts_with(&format!("{name}: No such file")), "{}", message());
    fs::create_dir(&place.log).unwrap();
    assert!(message().starts_with(&format!("{name}: Is a directory")), "{}", message());
    fs::remove_dir(&place.log).unwrap();
    let fifo = std::ffi::CString::new(name.clone()).unwrap();
    // SAFETY: a NUL-terminated path.
    assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
    assert!(message().contains("not a regular file"), "{}", message());
}

#[test]
fn a_log_under_a_symbolic_link_is_followed_through_rotation() {
    let mut place = Place::new();
    let real = place.log.clone();
    let link = place.state.with_file_name("link.log");
    std::os::unix::fs::symlink(&real, &link).unwrap();
    place.append("a\n");
    place.log = link;
    assert_eq!(place.lines(), "a\n");
    place.log = real;
    place.append("b\n");
    place.rename("access.log.1");
    place.append("c\n");
    place.log = place.state.with_file_name("link.log");
    assert_eq!(place.lines(), "b\nc\n");
}

#[test]
fn a_run_that_was_not_committed_is_counted_again() {
    let place = Place::new();
    place.append("a\n");
    for _ in 0..3 {
        assert_eq!(place.try_run(now(), false).unwrap().0, "a\n");
        assert!(!place.state.exists());
    }
    assert_eq!(place.lines(), "a\n");
    assert_eq!(place.lines(), "");
}

/// A tmpfs of its own, when the test may mount one.
fn small_disk(at: &Path) -> bool {
    let at = std::ffi::CString::new(at.to_str().unwrap()).unwrap();
    // SAFETY: NUL-terminated strings that live through the call.
    unsafe {
        libc::mount(
            c"tmpfs".as_ptr(),
            at.as_ptr(),
            c"tmpfs".as_ptr(),
            0,
            c"size=64k,nr_inodes=16".as_ptr().cast(),
        ) == 0
    }
}

#[test]
fn a_full_disk_at_the_commit_names_the_file_and_leaves_the_old_position() {
    let mut place = Place::new();
    let disk = place.state.with_file_name("disk");
    fs::create_dir(&disk).unwrap();
    if !small_disk(&disk) {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "mounting needs root");
        return;
    }
    place.state = disk.join("state");
    place.append("a\n");
    place.run();
    let before = fs::read(&place.state).unwrap();
    let filler = File::create(disk.join("filler")).unwrap();
    let mut offset = 0;
    while filler.write_at(&[0; 4096], offset).is_ok() {
        offset += 4096;
    }
    place.append("b\n");
    let error = place.try_run(now(), true).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: No space", place.state.display())), "{error}");
    assert_eq!(fs::read(&place.state).unwrap(), before);
    drop(filler);
    fs::remove_file(disk.join("filler")).unwrap();
    assert_eq!(place.lines(), "b\n");
    let at = std::ffi::CString::new(disk.to_str().unwrap()).unwrap();
    // SAFETY: a NUL-terminated path.
    assert_eq!(unsafe { libc::umount2(at.as_ptr(), libc::MNT_DETACH) }, 0);
}

#[test]
fn a_work_directory_that_is_gone_names_the_file() {
    let mut place = Place::new();
    place.append("a\n");
    place.state = place.dir.join("nowhere/state");
    let error = place.try_run(now(), true).unwrap_err().to_string();
    assert!(error.contains("nowhere/state"), "{error}");
    assert_eq!(fs::metadata(&place.dir).unwrap().permissions().mode() & 0o700, 0o700);
}
