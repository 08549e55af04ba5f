//! Logs whose files have the same content: a line that never changes, a banner, long runs of one
//! byte. Content tells nothing there; what is counted must be right all the same.

use std::fs::{self, File, FileTimes};
use std::time::{Duration, SystemTime};

mod place;

use place::{Place, gzip, numbered};

/// Lines that are all the same.
fn same(count: usize) -> String {
    "GET /health HTTP/1.1 200 0.001 kube-probe\n".repeat(count)
}

/// Rotates by numbers, as logrotate does: all names move one up.
fn rotate(place: &Place) {
    for number in (1..50).rev() {
        for ending in ["", ".gz"] {
            let from = place.dir.join(format!("access.log.{number}{ending}"));
            let to = place.dir.join(format!("access.log.{}{ending}", number + 1));
            if from.exists() {
                fs::rename(from, to).unwrap();
            }
        }
    }
    if place.log.exists() {
        place.rename("access.log.1");
    }
}

/// Compresses as a script does that keeps no time.
fn compress_plainly(place: &Place, name: &str) {
    let from = place.dir.join(name);
    fs::write(place.dir.join(format!("{name}.gz")), gzip(&fs::read(&from).unwrap())).unwrap();
    fs::remove_file(from).unwrap();
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Packing {
    Never,
    AtOnce,
    AtOnceWithoutTimes,
    NextTime,
    NextTimeWithoutTimes,
}

#[test]
fn files_of_one_line_over_and_over_are_counted_once_each() {
    use Packing::*;
    for packing in [Never, AtOnce, AtOnceWithoutTimes, NextTime, NextTimeWithoutTimes] {
        for lines in [1, 3, 20, 60] {
            for rotations in 0..4 {
                let place = Place::new();
                place.append(&same(lines));
                let (mut written, mut counted) = (lines, place.lines().lines().count());
                for _ in 0..5 {
                    for _ in 0..rotations {
                        rotate(&place);
                        place.append(&same(lines));
                        written += lines;
                        let is_at_once = matches!(packing, AtOnce | AtOnceWithoutTimes);
                        let name = format!("access.log.{}", if is_at_once { 1 } else { 2 });
                        if packing == Never || !place.dir.join(&name).exists() {
                            continue;
                        }
                        match packing {
                            AtOnce | NextTime => place.compress(&name, "gz"),
                            _ => compress_plainly(&place, &name),
                        }
                    }
                    place.append(&same(lines));
                    written += lines;
                    counted += place.lines().lines().count();
                    assert_eq!(
                        counted, written,
                        "{packing:?}, {lines} lines in a file, {rotations} rotations"
                    );
                }
            }
        }
    }
}

#[test]
fn whole_files_that_are_alike_are_counted_once_each_with_a_run_behind_each_rotation() {
    for ending in ["", "gz"] {
        for before in [0, 5, 20] {
            let place = Place::new();
            let (mut written, mut counted) = (0, 0);
            for _ in 0..6 {
                place.append(&same(before));
                counted += place.lines().lines().count();
                place.append(&same(20 - before));
                written += 20;
                rotate(&place);
                if !ending.is_empty() {
                    place.compress("access.log.1", ending);
                }
            }
            place.append("");
            counted += place.lines().lines().count();
            assert_eq!(counted, written, "{ending:?}, a run after {before} lines");
        }
    }
}

#[test]
fn copies_that_copytruncate_makes_of_one_line_over_and_over_are_counted_once_each() {
    for packing in [Packing::Never, Packing::NextTime, Packing::NextTimeWithoutTimes] {
        let place = Place::new();
        place.append(&same(20));
        let (mut written, mut counted) = (20, place.lines().lines().count());
        // Less than was read is there each time, so that the truncation is seen.
        for (copies, left) in [(1, 15), (1, 12), (2, 9), (1, 6), (3, 3)] {
            for _ in 0..copies {
                place.append(&same(7));
                place.rename("live");
                rotate(&place);
                fs::rename(place.dir.join("live"), &place.log).unwrap();
                place.copytruncate("access.log.1");
                if place.dir.join("access.log.2").exists() {
                    match packing {
                        Packing::Never => {}
                        Packing::NextTime => place.compress("access.log.2", "gz"),
                        _ => compress_plainly(&place, "access.log.2"),
                    }
                }
                place.append(&same(left));
                written += 7 + left;
            }
            counted += place.lines().lines().count();
            assert_eq!(counted, written, "{packing:?}, {copies} copies");
        }
    }
}

#[test]
fn a_service_that_says_the_same_at_each_start_is_counted_each_time() {
    let words = numbered(0..40);
    for ending in ["", "gz"] {
        for starts in 1..4 {
            let place = Place::new();
            let (mut written, mut counted) = (0, 0);
            for _ in 0..5 {
                for _ in 0..if written == 0 { 1 } else { starts } {
                    if written > 0 {
                        rotate(&place);
                        if !ending.is_empty() {
                            place.compress("access.log.1", ending);
                        }
                    }
                    place.append(&words);
                    written += 40;
                }
                counted += place.lines().lines().count();
                assert_eq!(counted, written, "{ending:?}, {starts} starts");
            }
        }
    }
}

#[test]
fn packed_files_that_begin_with_70_000_equal_bytes_are_told_by_what_follows() {
    let begin = "x".repeat(70_000) + "\n";
    let place = Place::new();
    place.append(&begin);
    place.append(&numbered(0..50));
    let mut counted = place.lines();
    for day in 1..5 {
        place.append(&numbered(day * 100..day * 100 + 10));
        rotate(&place);
        place.compress("access.log.1", "gz");
        place.append(&begin);
        place.append(&numbered(day * 100 + 10..day * 100 + 30));
        rotate(&place);
        place.compress("access.log.1", "gz");
        place.append(&begin);
        place.append(&numbered(day * 100 + 30..day * 100 + 40));
        counted += &place.lines();
    }
    let expected = (1..5).map(|day| numbered(day * 100..day * 100 + 40)).collect::<String>();
    assert!(counted.replace(&begin, "") == numbered(0..50) + &expected);
    assert_eq!(counted.matches(&begin).count(), 9);
}

#[test]
fn files_from_before_an_upgrade_of_the_same_second_do_not_count_again() {
    let place = Place::new();
    let second = SystemTime::now();
    let times = FileTimes::new().set_modified(second);
    for (number, lines) in [(3, 0..30), (2, 30..60), (1, 60..90)] {
        let path = place.dir.join(format!("access.log.{number}"));
        fs::write(&path, numbered(lines)).unwrap();
        File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
    }
    place.append(&numbered(90..100));
    place.run();
    // What a position file said before it remembered files by their content.
    let state = fs::read_to_string(&place.state).unwrap();
    let known = state.find(",\"changed\":").unwrap();
    let newest = state[state.find("\"known\":[").unwrap() + 9..].split(']').nth(2).unwrap();
    let [len, hash, inode] =
        newest.trim_matches([',', '[']).split(',').take(3).collect::<Vec<_>>()[..]
    else {
        panic!()
    };
    let old = format!("{},\"rotated\":[{len},{hash},{inode}]}}", &state[..known]);
    fs::write(&place.state, old).unwrap();
    place.append(&numbered(100..110));
    rotate(&place);
    place.append(&numbered(110..120));
    rotate(&place);
    place.append(&numbered(120..130));
    assert_eq!(place.lines(), numbered(100..130));
}

#[test]
fn a_file_whose_time_was_put_back_counts_all_the_same() {
    for days in [2, 20] {
        let place = Place::new();
        place.append(&numbered(0..50));
        place.run();
        place.append(&numbered(50..60));
        rotate(&place);
        place.append(&numbered(60..90));
        rotate(&place);
        let times =
            FileTimes::new().set_modified(SystemTime::now() - Duration::from_secs(days * 86_400));
        let moved = place.dir.join("access.log.1");
        File::options().write(true).open(moved).unwrap().set_times(times).unwrap();
        place.append(&numbered(90..100));
        assert_eq!(place.lines(), numbered(50..100), "{days} days");
    }
}
