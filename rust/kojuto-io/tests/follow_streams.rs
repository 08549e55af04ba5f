//! A log that copytruncate cuts, with copies beside it: each line counts once, also one that was cut
//! in two.

use std::fs::{self, OpenOptions};
use std::time::{Duration, SystemTime};

#[expect(dead_code, reason = "what other tests of the follower use")]
mod place;

use place::{Place, numbered};

/// Gives a file a time of its own: the clock may not have ticked since the last one.
fn set_time(place: &Place, name: &str, second: u64) {
    let time = SystemTime::now() - Duration::from_secs(1000 - second);
    let file = OpenOptions::new().write(true).open(place.dir.join(name)).unwrap();
    file.set_modified(time).unwrap();
}

#[test]
fn a_copy_that_was_left_out_does_not_count_after_a_line_that_was_cut() {
    let place = Place::new();
    place.append(&numbered(0..10));
    place.run();
    place.append(&numbered(10..14));
    fs::copy(&place.log, place.dir.join("access.log.old")).unwrap();
    place.append(&numbered(14..20));
    place.copytruncate("access.log.2");
    place.append("the beginning ");
    place.copytruncate("access.log.1");
    // The line goes on in the live log.
    let mut counted = place.lines();
    counted += &place.lines();
    place.append("and the end of a line\n");
    place.append(&numbered(20..25));
    counted += &place.lines();
    let line = "the beginning and the end of a line\n";
    assert_eq!(counted, numbered(10..20) + line + &numbered(20..25));
    assert_eq!(place.lines(), "");
}

#[test]
fn of_a_cut_file_and_a_copy_of_it_the_one_whose_name_agrees_with_the_times_is_read() {
    for copy in ["access-20250102.log", "20250103__access.log", "access.log-20250101"] {
        let place = Place::new();
        place.append(&numbered(0..30));
        place.run();
        let mut expected = String::new();
        for day in 1..4 {
            let begun = if day > 1 { "and its end\n" } else { "" };
            place.append(begun);
            place.append(&numbered(day * 100..day * 100 + 20));
            place.append(&format!("a line that is cut on day {day} "));
            if day == 2 {
                fs::copy(&place.log, place.dir.join(copy)).unwrap();
                set_time(&place, copy, 20);
            }
            let name = format!("access-2026112{day}.log");
            place.copytruncate(&name);
            set_time(&place, &name, u64::from(day * 10 + 1));
            expected += &numbered(day * 100..day * 100 + 20);
            expected += &format!("a line that is cut on day {day} and its end\n");
        }
        place.append("and its end\n");
        let (lines, report) = place.run();
        assert!(lines == expected, "{copy}: {lines} {:?}", report.notes);
    }
}

#[test]
fn the_file_of_a_short_mark_has_what_was_read_of_it() {
    let place = Place::new();
    place.append("a short line\n");
    place.run();
    place.append(&numbered(0..20));
    place.copytruncate("access.log-20261128");
    place.append(&numbered(20..30));
    // A copy of the live log, whose name says that it is older.
    fs::copy(&place.log, place.dir.join("access.log-20250101")).unwrap();
    assert_eq!(place.lines(), numbered(0..30));
}

#[test]
fn a_copy_that_copytruncate_has_not_cut_from_the_log_yet_counts_once() {
    for (rotations, preserves_time) in [(1, true), (1, false), (2, true), (2, false), (3, false)] {
        let place = Place::new();
        place.append(&numbered(0..50));
        place.run();
        let mut expected = String::new();
        for rotation in 1..=rotations {
            let lines = numbered(rotation * 100..rotation * 100 + 40 * rotation);
            place.append(&lines);
            expected += &lines;
            for number in (1..rotation).rev() {
                let name = |number: u32| place.dir.join(format!("access.log.{number}"));
                fs::rename(name(number), name(number + 1)).unwrap();
            }
            if rotation < rotations {
                place.copytruncate("access.log.1");
            }
        }
        fs::copy(&place.log, place.dir.join("access.log.1")).unwrap();
        if preserves_time {
            let time = fs::metadata(&place.log).unwrap().modified().unwrap();
            let copy = OpenOptions::new().write(true).open(place.dir.join("access.log.1")).unwrap();
            copy.set_modified(time).unwrap();
        }
        let (lines, report) = place.run();
        let about = format!("{rotations} {preserves_time}: {:?}", report.notes);
        assert!(lines == expected, "{lines} {about}");
        fs::write(&place.log, "").unwrap();
        place.append(&numbered(0..5));
        let (lines, report) = place.run();
        assert!(lines == numbered(0..5), "{lines} {about} {:?}", report.notes);
        assert_eq!(place.lines(), "");
    }
}
