//! Names and clocks that contradict each other: the hour that comes twice when summer time ends, a
//! clock that is set back, files numbered by two rotators. What was written counts once all the same.

use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime};

#[expect(dead_code, reason = "what other tests of the follower use")]
mod place;

use place::{Place, gzip, numbered};

/// Lines that are all the same.
fn same(count: u32) -> String {
    "GET /health HTTP/1.1 200 0.001 kube-probe\n".repeat(count as usize)
}

/// What a log holds: lines that tell files apart, or lines that do not.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Content {
    Told,
    Alike,
}

impl Content {
    fn lines(self, first: u32, count: u32) -> String {
        match self {
            Content::Told => numbered(first..first + count),
            Content::Alike => same(count),
        }
    }
}

/// The lines in some order, to be compared as a whole.
fn sorted(lines: &str) -> Vec<&str> {
    let mut all: Vec<&str> = lines.lines().collect();
    all.sort_unstable();
    all
}

/// Waits until the clock of the file system has ticked: what is made from now on is later.
fn tick(place: &Place) {
    let probe = place.dir.with_file_name("probe");
    let made = || {
        let _ = fs::remove_file(&probe);
        File::create(&probe).unwrap().metadata().unwrap().created().unwrap()
    };
    let start = made();
    while made() == start {}
}

fn age(path: &Path, seconds: u64) {
    let times = FileTimes::new().set_modified(SystemTime::now() + Duration::from_secs(seconds));
    File::options().write(true).open(path).unwrap().set_times(times).unwrap();
}

#[test]
fn files_whose_times_contradict_their_names_are_read() {
    use Content::{Alike, Told};
    for (names, what) in [
        // The hour that comes twice; a clock set back between two rotations.
        (["access.log-2026110101", "access.log-2026110102", "access.log-2026110101.1"], "twice"),
        (["access.log-2026112815", "access.log-2026112814", "access.log-2026112813"], "set back"),
        (["access.log-20261128", "access.log-20251231", "access.log-20261129"], "a wrong year"),
        // A date with the day first, a count that begins anew.
        (["access.log-31-10-2026", "access.log-01-11-2026", "access.log-02-11-2026"], "day first"),
        (["access.log.8", "access.log.9", "access.log.1"], "anew"),
    ] {
        for content in [Told, Alike] {
            for packed in ["", "gz"] {
                let place = Place::new();
                let mut written = content.lines(0, 30);
                place.append(&written);
                let mut counted = place.lines();
                for (name, number) in names.iter().zip(1..) {
                    let more = content.lines(number * 100, 40 + number);
                    place.append(&more);
                    written += &more;
                    age(&place.rename(name), number.into());
                    if packed == "gz" && content == Told {
                        place.compress(name, packed);
                    }
                    let more = content.lines(number * 100 + 50, 1);
                    place.append(&more);
                    written += &more;
                }
                let (lines, report) = place.run();
                counted += &lines;
                let is_right = sorted(&counted) == sorted(&written);
                assert!(is_right, "{what} {content:?} {packed}: {:?}", report.notes);
                assert_eq!(place.lines(), "");
            }
        }
    }
}

/// Writes to a dated file and has the link lead to it.
fn write_to(place: &Place, name: &str, text: &str) {
    let mut file = OpenOptions::new().append(true).create(true).open(place.dir.join(name)).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let _ = fs::remove_file(&place.log);
    symlink(name, &place.log).unwrap();
}

#[test]
fn a_file_that_a_link_leads_back_to_counts_from_where_it_was_read_to() {
    for content in [Content::Told, Content::Alike] {
        for steps in [
            // Runs are dots: the clock is set back after the run at 11, or before it.
            &["10", ".", "11", ".", "10", ".", "10", "."][..],
            &["10", ".", "11", "10", ".", "11", "."],
            &["10", ".", "11", ".", "10", "11", "12", ".", "."],
            &["09", ".", "10", "11", ".", "10", "11", "12", ".", "11", "."],
            &["10", ".", "11", ".", "12", ".", "10", "11", ".", "12", ".", "13", "."],
        ] {
            let place = Place::new();
            let (mut written, mut counted) = (String::new(), String::new());
            for (step, number) in steps.iter().zip(1..) {
                if *step == "." {
                    counted += &place.lines();
                    continue;
                }
                let more = content.lines(number * 100, 30 + number);
                write_to(&place, &format!("access.20261101{step}.log"), &more);
                written += &more;
            }
            // What was written to a file that the link has left again is read at the next change.
            let more = content.lines(9000, 3);
            write_to(&place, "access.2026110200.log", &more);
            counted += &place.lines();
            let is_right = sorted(&counted) == sorted(&(written + &more));
            assert!(is_right, "{content:?} {steps:?}");
        }
    }
}

#[test]
fn files_that_nothing_is_known_of_do_not_count_when_a_link_leads_back() {
    let place = Place::new();
    for day in 10..27 {
        write_to(
            &place,
            &format!("access.202611{day}00.log"),
            &numbered(day * 100..day * 100 + 30),
        );
    }
    write_to(&place, "access.2026112700.log", &numbered(0..50));
    let made = fs::metadata(&place.dir).unwrap().modified().unwrap();
    let has_ticked = || SystemTime::now() > made + Duration::from_millis(25);
    while !has_ticked() {
        std::thread::yield_now(); // what is made from now on is known to be later
    }
    let mut counted = place.lines();
    // As after a version that remembered the rotated forms of the link's own name alone.
    let state = fs::read_to_string(&place.state).unwrap();
    let (before, rest) = state.split_once("\"known\":[").unwrap();
    let (_, after) = rest.split_once("]]").unwrap();
    fs::write(&place.state, format!("{before}\"known\":[]{after}")).unwrap();
    for (day, lines) in [(28, 50..90), (27, 90..100)] {
        write_to(&place, &format!("access.202611{day}00.log"), &numbered(lines));
        counted += &place.lines();
    }
    assert!(counted == numbered(0..100));
}

#[test]
fn what_a_writer_adds_to_a_file_long_after_its_rotation_counts() {
    let place = Place::new();
    place.append(&numbered(0..50));
    place.run();
    let rotated = place.rename("access.log-20261127");
    place.append(&numbered(50..90));
    place.run();
    let mut late = OpenOptions::new().append(true).open(rotated).unwrap();
    late.write_all(numbered(500..505).as_bytes()).unwrap();
    drop(late);
    place.rename("access.log-20261128");
    place.append(&numbered(90..120));
    assert!(sorted(&place.lines()) == sorted(&(numbered(90..120) + &numbered(500..505))));
    assert_eq!(place.lines(), "");
}

#[test]
fn two_ways_of_naming_on_one_log_neither_lose_nor_double() {
    use Content::{Alike, Told};
    for content in [Told, Alike] {
        for packed in [false, true] {
            for rotations in 1..4 {
                let place = Place::new();
                let mut written = content.lines(0, 60);
                place.append(&written);
                let mut counted = place.lines();
                for round in 1..6 {
                    for turn in 0..rotations {
                        let number = round * rotations + turn;
                        // Every other rotation is by the other rotator.
                        if number % 2 == 0 {
                            for number in (1..20).rev() {
                                for ending in ["", ".gz"] {
                                    let name = |number| format!("access.log.{number}{ending}");
                                    let from = place.dir.join(name(number));
                                    let _ = fs::rename(from, place.dir.join(name(number + 1)));
                                }
                            }
                            place.rename("access.log.1");
                        } else {
                            let name = format!("access.log-202611{number:02}");
                            place.rename(&name);
                            if packed {
                                let path = place.dir.join(&name);
                                let packed = gzip(&fs::read(&path).unwrap());
                                fs::write(place.dir.join(format!("{name}.gz")), packed).unwrap();
                                fs::remove_file(path).unwrap();
                            }
                        }
                        // Two schemes have no common order but that of the times: of two files that
                        // were written in one tick of the clock nothing tells which is the older.
                        tick(&place);
                        let more = content.lines(number * 100, 40);
                        place.append(&more);
                        written += &more;
                    }
                    let (lines, report) = place.run();
                    counted += &lines;
                    let is_right = sorted(&counted) == sorted(&written);
                    let counts = (counted.lines().count(), written.lines().count());
                    let setting = (content, packed, rotations, round, counts);
                    assert!(is_right, "{setting:?}: {:?}", report.notes);
                }
            }
        }
    }
}
