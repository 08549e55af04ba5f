//! Which lines are new is told by what the files contain, not by what they are called.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::time::{Duration, SystemTime};

use kojuto_io::follow::Report;

mod place;

use place::{Place, numbered};

/// The names that people, editors and cron jobs give to copies.
const COPIES: [&str; 6] = [
    "access.log.bak",
    "access.log.old",
    "access.log.orig",
    "access.log-20261128",
    "access.log~",
    "access-20261128.log",
];

fn noted(report: &Report, text: &str) -> bool {
    report.notes.iter().any(|note| note.text.contains(text))
}

#[test]
fn a_copy_is_never_counted_whenever_it_was_made() {
    for copy in COPIES {
        for made in 0..6 {
            let place = Place::new();
            let copy_now = |stage: u32, of: &str| {
                if stage == made {
                    fs::copy(place.dir.join(of), place.dir.join(copy)).unwrap();
                }
            };
            place.append(&numbered(0..1000));
            copy_now(0, "access.log");
            let mut counted = place.lines();
            copy_now(1, "access.log");
            place.append(&numbered(1000..1003));
            copy_now(2, "access.log");
            place.rename("access.log.1");
            copy_now(3, "access.log.1");
            place.append(&numbered(1003..1100));
            copy_now(4, "access.log");
            counted += &place.lines();
            copy_now(5, "access.log.1");
            // The next rotation looks at all of them again.
            fs::rename(place.dir.join("access.log.1"), place.dir.join("access.log.2")).unwrap();
            place.rename("access.log.1");
            place.append(&numbered(1100..1105));
            counted += &place.lines();
            assert!(counted == numbered(0..1105), "{copy}, made at {made}");
        }
    }
}

#[test]
fn a_copy_of_what_copytruncate_copied_is_not_counted() {
    for copy in COPIES {
        let place = Place::new();
        place.append(&numbered(0..30));
        place.run();
        place.append(&numbered(30..32));
        fs::copy(&place.log, place.dir.join(copy)).unwrap();
        place.append(&numbered(32..35));
        place.copytruncate("access.log.1");
        place.append(&numbered(35..40));
        assert_eq!(place.lines(), numbered(30..40), "{copy}");
    }
}

#[test]
fn a_backup_of_a_file_from_before_the_first_run_is_not_counted() {
    let place = Place::new();
    fs::write(place.dir.join("access.log.1"), numbered(0..50)).unwrap();
    place.append(&numbered(50..60));
    place.run();
    fs::copy(place.dir.join("access.log.1"), place.dir.join("access.log-20261127")).unwrap();
    place.compress("access.log.1", "gz");
    place.rename("access.log.1");
    place.append(&numbered(60..65));
    assert_eq!(place.lines(), numbered(60..65));
}

#[test]
fn an_archive_job_that_copies_is_not_counted() {
    let mut place = Place::new();
    let archive = place.dir.join("archive");
    fs::create_dir(&archive).unwrap();
    place.options.archive_dirs = vec![archive.clone()];
    place.append(&numbered(0..50));
    place.run();
    for day in 1..4 {
        place.append(&numbered(day * 100..day * 100 + 5));
        let name = format!("access.log-2026112{day}");
        let rotated = place.rename(&name);
        place.append(&numbered(day * 100 + 5..day * 100 + 30));
        let early = day == 2;
        if early {
            fs::copy(&rotated, archive.join(&name)).unwrap();
        }
        assert_eq!(place.lines(), numbered(day * 100..day * 100 + 30), "day {day}");
        fs::copy(&rotated, archive.join(&name)).unwrap();
    }
}

#[test]
fn files_that_begin_with_the_same_kib_are_told_apart_by_what_follows() {
    let banner = "# the same banner in each file, longer than what is remembered\n".repeat(20);
    let place = Place::new();
    place.append(&banner);
    place.append(&numbered(0..50));
    place.run();
    place.rename("access.log.2");
    place.append(&banner);
    place.append(&numbered(50..120));
    place.rename("access.log.1");
    place.append(&banner);
    place.append(&numbered(120..150));
    let expected = [&banner, &numbered(50..120), &banner, &numbered(120..150)];
    assert_eq!(place.lines(), expected.map(String::as_str).concat());
}

#[test]
fn what_cannot_be_unpacked_is_named_once_and_passed_over() {
    let place = Place::new();
    place.append(&numbered(0..50));
    place.run();
    fs::write(place.dir.join("access.log.1.gz"), numbered(900..950)).unwrap();
    for (day, said) in [(1, true), (2, false), (3, false)] {
        place.append(&numbered(day * 100..day * 100 + 5));
        place.rename(&format!("access.log-2026112{day}"));
        place.append(&numbered(day * 100 + 5..day * 100 + 30));
        let (lines, report) = place.run();
        assert_eq!(lines, numbered(day * 100..day * 100 + 30), "day {day}");
        assert_eq!(noted(&report, "access.log.1.gz cannot be read"), said, "{:?}", report.notes);
        assert_eq!(place.lines(), "");
    }
}

/// Has this thread alone be another user, which the system call (not the function of libc) does; root
/// may read everything.
fn become_user(uid: u32) -> bool {
    // SAFETY: the calls have no preconditions.
    unsafe { libc::getuid() == 0 && libc::syscall(libc::SYS_setresuid, -1, uid, -1) == 0 }
}

#[test]
fn what_may_not_be_read_is_named_once_and_passed_over() {
    become_user(65_534);
    let place = Place::new();
    place.append(&numbered(0..50));
    place.run();
    // As root copies a log before it is cut by hand.
    let copy = place.dir.join("access.log.bak");
    let mode = if become_user(0) { 0o600 } else { 0o000 };
    fs::copy(&place.log, &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(mode)).unwrap();
    become_user(65_534);
    for day in [1, 2, 3] {
        place.append(&numbered(day * 100..day * 100 + 10));
        place.rename(&format!("access.log-2026112{day}"));
        place.append(&numbered(day * 100 + 10..day * 100 + 15));
        let (lines, report) = place.run();
        assert_eq!(lines, numbered(day * 100..day * 100 + 15), "{:?}", report.notes);
        assert_eq!(noted(&report, "access.log.bak cannot be read"), day == 1, "{:?}", report.notes);
        assert_eq!(place.lines(), "");
    }
}

#[test]
fn a_rotated_file_that_may_not_be_read_is_named_once_and_the_rest_counts() {
    become_user(65_534);
    let place = Place::new();
    place.append(&numbered(0..50));
    place.run();
    place.append(&numbered(50..60));
    place.rename("access.log.2");
    place.append(&numbered(60..80));
    let closed = place.rename("access.log.1");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    place.append(&numbered(80..90));
    let (lines, report) = place.run();
    assert_eq!(lines, numbered(50..60) + &numbered(80..90));
    assert!(noted(&report, "access.log.1 cannot be read"), "{:?}", report.notes);
    for at in [90, 100] {
        place.rename(&format!("access.log-20261{at:03}"));
        place.append(&numbered(at..at + 5));
        let (lines, report) = place.run();
        assert_eq!(lines, numbered(at..at + 5), "{:?}", report.notes);
        assert!(!noted(&report, "cannot be read"), "{:?}", report.notes);
    }
}

#[test]
fn another_log_under_the_same_name_of_the_position_starts_as_a_new_one() {
    let mut place = Place::new();
    let mut writer = place.append(&numbered(0..50));
    place.run();
    let old = std::mem::replace(&mut place.log, place.dir.join("other.log"));
    place.append(&numbered(500..520));
    let (lines, report) = place.run();
    assert_eq!((lines, report.duration_s), (numbered(500..520), None));
    assert!(noted(&report, &format!("the last run read {}", old.display())), "{:?}", report.notes);
    writer.write_all(numbered(50..60).as_bytes()).unwrap();
    place.append(&numbered(520..530));
    assert_eq!(place.lines(), numbered(520..530));
    // The same log under another path is no other log: moved, or reached through a link.
    let moved = place.dir.join("moved.log");
    fs::rename(&place.log, &moved).unwrap();
    place.log = moved.clone();
    place.append(&numbered(530..540));
    assert_eq!(place.lines(), numbered(530..540));
    place.log = place.dir.join("link.log");
    std::os::unix::fs::symlink(&moved, &place.log).unwrap();
    place.append(&numbered(540..545));
    assert_eq!(place.lines(), numbered(540..545));
}

#[test]
fn a_hole_at_the_beginning_of_a_live_log_counts_nothing_again() {
    let place = Place::new();
    place.append(&numbered(0..1000));
    place.run();
    let log = OpenOptions::new().write(true).open(&place.log).unwrap();
    log.write_all_at(&[0; 8192], 0).unwrap();
    assert_eq!(place.lines(), "");
    place.append(&numbered(1000..1005));
    assert_eq!(place.lines(), numbered(1000..1005));
}

#[test]
fn a_log_that_was_cut_in_place_goes_on_behind_what_was_read() {
    for copied in [false, true] {
        for added in [0, 5] {
            let place = Place::new();
            place.append(&numbered(0..1000));
            place.run();
            if copied {
                fs::copy(&place.log, place.dir.join("access.log.old")).unwrap();
            }
            let inode = fs::metadata(&place.log).unwrap().ino();
            // tail -n 500 log > new; cat new > log
            fs::write(&place.log, numbered(500..1000 + added)).unwrap();
            assert_eq!(fs::metadata(&place.log).unwrap().ino(), inode);
            let (lines, report) = place.run();
            assert_eq!(lines, numbered(1000..1000 + added), "{copied} {:?}", report.notes);
            place.append(&numbered(2000..2005));
            assert_eq!(place.lines(), numbered(2000..2005));
        }
    }
    let place = Place::new();
    place.append(&numbered(0..1000));
    place.run();
    fs::write(&place.log, numbered(0..500)).unwrap();
    assert_eq!(place.lines(), "");
    place.append(&numbered(1000..1005));
    assert_eq!(place.lines(), numbered(1000..1005));
}

#[test]
fn a_banner_that_all_files_begin_with_is_no_proof() {
    let banner = "starting, with the same settings as ever\n".repeat(30);
    let place = Place::new();
    place.append(&(banner.clone() + &numbered(0..500)));
    let mut counted = place.lines();
    place.append(&numbered(500..510));
    place.rename("access.log.2");
    place.append(&(banner.clone() + &numbered(510..800))); // shorter than what was read
    place.rename("access.log.1");
    place.append(&(banner.clone() + &numbered(800..900)));
    counted += &place.lines();
    assert_eq!(counted.replace(&banner, ""), numbered(0..900));
}

#[test]
fn more_files_than_are_remembered_are_not_new_when_all_are_compressed() {
    let place = Place::new();
    let write = |name: &str, text: &str| {
        fs::write(place.dir.join(name), text).unwrap();
        let file = fs::File::options().write(true).open(place.dir.join(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
    };
    let text = |at: usize| format!("{at} was here long before\n").repeat(10);
    for at in 1..600 {
        write(&format!("access.log.{at}"), &text(at));
    }
    place.append(&numbered(0..10));
    let mut counted = place.lines();
    for at in 1..600 {
        fs::remove_file(place.dir.join(format!("access.log.{at}"))).unwrap();
        write(&format!("access.log.{}", at + 1), &text(at));
    }
    place.rename("access.log.1");
    place.append(&numbered(10..20));
    counted += &place.lines();
    assert_eq!(counted, numbered(0..20));
}
