//! Several rotations between two runs, under names that do not begin with the log's own; and the
//! neighbours that are called much the same and never count.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime};

#[expect(dead_code, reason = "what other tests of the follower use")]
mod place;

use place::{Place, numbered};

/// A log whose name leads to one file after the other.
struct Linked {
    place: Place,
    link: &'static str,
    hard: bool,
}

impl Linked {
    fn new(link: &'static str, hard: bool) -> Linked {
        let mut place = Place::new();
        place.log = place.dir.join(link);
        Linked { place, link, hard }
    }

    /// Writes to a file and has the log's name lead to it (or, in a folder, to the folder).
    fn lead_to(&self, target: &str, lines: Range<u32>) {
        write(&self.place.dir, target, lines);
        let first = Path::new(self.link).iter().next().unwrap();
        let link = self.place.dir.join(first);
        let target = if first == self.link { target } else { target.rsplit_once('/').unwrap().0 };
        let _ = fs::remove_file(&link);
        match self.hard {
            true => fs::hard_link(self.place.dir.join(target), &link).unwrap(),
            false => symlink(target, &link).unwrap(),
        }
    }
}

fn write(dir: &Path, name: &str, lines: Range<u32>) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(numbered(lines.clone()).as_bytes()).unwrap();
    set_time(&file, lines.end);
}

/// Has a file be written to later than one with earlier lines, though the clock has not ticked.
fn set_time(file: &File, line: u32) {
    file.set_modified(SystemTime::now() + Duration::from_millis(line.into())).unwrap();
}

/// The link, whether it is a hard one, and what it leads to from rotation to rotation.
const TARGETS: [(&str, bool, [&str; 4]); 9] = [
    // relaxlogs
    ("current", false, ["a.20261127", "a.20261128", "a.20261128.1", "a.20261129"]),
    // rotatelogs -L
    ("current", true, ["a.20261127.log", "a.20261128.log", "a.20261129.log", "a.20261130.log"]),
    ("access.log", false, ["27-11-2026.log", "30-11-2026.log", "01-12-2026.log", "02-12-2026.log"]),
    // The same hour and the same number, days later.
    ("app", false, ["app20261127_001", "app20261127_002", "app20261128_002", "app20261129_001"]),
    ("app", false, ["app-9.log", "app-10.log", "app-11.log", "app-12.log"]),
    ("web1", false, ["web1-1127.log", "web1-1128.log", "web1-1129.log", "web1-1130.log"]),
    // Folders, which the file's link or the folder's leads to.
    (
        "app.log",
        false,
        ["2026-11-27/app.log", "2026-11-28/app.log", "2026-11-29/app.log", "2026-11-30/app.log"],
    ),
    (
        "current/app.log",
        false,
        ["2026-11-27/app.log", "2026-11-28/app.log", "2026-11-29/app.log", "2026-11-30/app.log"],
    ),
    (
        "app.log",
        false,
        ["2026/11/30/app.log", "2026/12/01/app.log", "2026/12/02/app.log", "2026/12/03/app.log"],
    ),
];

#[test]
fn every_file_that_a_link_led_to_between_two_runs_is_read() {
    for (link, hard, targets) in TARGETS {
        for packed in ["", "gz", "zst"] {
            let linked = Linked::new(link, hard);
            linked.lead_to(targets[0], 0..50);
            assert!(linked.place.lines() == numbered(0..50), "{link} {targets:?}");
            linked.lead_to(targets[0], 50..60);
            for (target, day) in targets[1..].iter().zip(1..) {
                linked.lead_to(target, day * 100..day * 100 + 10 + day);
            }
            if !packed.is_empty() {
                targets[..3].iter().for_each(|target| linked.place.compress(target, packed));
            }
            let expected = numbered(50..60)
                + &(1..4).map(|day| numbered(day * 100..day * 100 + 10 + day)).collect::<String>();
            let (lines, report) = linked.place.run();
            assert!(lines == expected, "{link} {targets:?} {packed} {:?}", report.notes);
            linked.lead_to(targets[3], 500..505);
            assert!(linked.place.lines() == numbered(500..505), "{link} {targets:?} {packed}");
        }
    }
}

#[test]
fn what_a_link_led_to_is_found_by_the_position_of_a_go_tool_too() {
    let linked = Linked::new("current", false);
    linked.lead_to("a.20261127.log", 0..50);
    linked.place.run();
    let state = fs::read_to_string(&linked.place.state).unwrap();
    fs::write(&linked.place.state, state.split(",\"born\"").next().unwrap().to_owned() + "}")
        .unwrap();
    linked.lead_to("a.20261127.log", 50..60);
    for (day, lines) in [(28, 60..90), (29, 90..120), (30, 120..150)] {
        linked.lead_to(&format!("a.202611{day}.log"), lines);
    }
    assert_eq!(linked.place.lines(), numbered(50..150));
}

#[test]
fn every_known_form_of_a_rotated_name_is_read() {
    for (log, names) in [
        ("access.log", ["20261127__access.log", "20261128__access.log", "20261129__access.log"]),
        ("access.log", ["2026-11-27_access.log", "2026-11-28_access.log", "2026-11-29_access.log"]),
        ("app.log", ["app.3.log", "app.2.log", "app.1.log"]),
        ("app", ["app.3.log", "app.2.log", "app.1.log"]),
        ("app.log", ["app20261127_001.log", "app20261127_002.log", "app20261128_001.log"]),
        ("app.log", ["app.7.log", "app.8.log", "app.9.log"]),
    ] {
        for packed in ["", "gz"] {
            let mut place = Place::new();
            place.log = place.dir.join(log);
            place.append(&numbered(0..50));
            place.run();
            for (name, day) in names.iter().zip(1..) {
                set_time(&place.append(&numbered(day * 100..day * 100 + 40)), day * 100);
                place.rename(name);
                if !packed.is_empty() {
                    place.compress(name, packed);
                }
            }
            place.append(&numbered(400..410));
            let expected: String = (1..4).map(|day| numbered(day * 100..day * 100 + 40)).collect();
            let (lines, report) = place.run();
            let expected = expected + &numbered(400..410);
            assert!(lines == expected, "{names:?} {packed} {:?}", report.notes);
            assert_eq!(place.lines(), "");
        }
    }
}

#[test]
fn a_neighbour_that_grows_beside_a_log_never_counts() {
    for (log, neighbour) in [
        ("worker1.log", "worker2.log"),
        ("worker.log", "worker1.log"),
        ("access.log", "access_443.log"),
        ("access.log", "access-443.log"),
        ("access.log", "access.443.log"),
        ("access.log", "443.access.log"),
        ("access.log", "1_access.log"),
        ("site1_access.log", "site2_access.log"),
        ("access.log", "site1_access.log"),
        ("app1", "app2"),
    ] {
        for is_there in [false, true] {
            let mut place = Place::new();
            place.log = place.dir.join(log);
            place.append(&numbered(0..50));
            if is_there {
                write(&place.dir, neighbour, 5000..5050);
            }
            place.run();
            for day in 1..4 {
                place.append(&numbered(day * 100..day * 100 + 10));
                place.rename(&format!("{log}.{}", 4 - day));
                write(&place.dir, neighbour, day * 1000..day * 1000 + 30);
                write(&place.dir, &format!("{neighbour}.{}", 4 - day), day * 2000..day * 2000 + 30);
                place.append(&numbered(day * 100 + 10..day * 100 + 30));
            }
            let expected: String = (1..4).map(|day| numbered(day * 100..day * 100 + 30)).collect();
            assert!(place.lines() == expected, "{log} beside {neighbour}, {is_there}");
        }
    }
}

#[test]
fn the_files_of_two_links_in_one_folder_are_each_counted_for_their_own() {
    for (names, rotations) in [
        (["web1", "web2"], 1),
        (["web1", "web2"], 3),
        (["web-1", "web-2"], 3),
        (["app1/app.log", "app2/app.log"], 3),
    ] {
        let mut place = Place::new();
        let state = place.state.clone();
        let target = |name: &str, day: u32| match name.rsplit_once('/') {
            None if name.contains('-') => format!("web-202611{day}-{}.log", &name[4..]),
            None => format!("{name}-202611{day}.log"),
            Some((folder, file)) => format!("{folder}/202611{day}/{file}"),
        };
        let mut expected = [String::new(), String::new()];
        let mut lead_to = |place: &Place, which: usize, day: u32, lines: Range<u32>| {
            let target = target(names[which], day);
            write(&place.dir, &target, lines.clone());
            let link = place.dir.join(names[which]);
            let _ = fs::remove_file(&link);
            symlink(place.dir.join(target), link).unwrap();
            expected[which] += &numbered(lines);
        };
        let mut counted = [String::new(), String::new()];
        let mut run = |place: &mut Place| {
            for which in [0, 1] {
                place.log = place.dir.join(names[which]);
                place.state = state.with_extension(which.to_string());
                counted[which] += &place.lines();
            }
        };
        for (which, first) in [(0, 0), (1, 5000)] {
            lead_to(&place, which, 20, first..first + 50);
        }
        run(&mut place);
        let mut day = 20;
        for round in 0..3 {
            for _ in 0..rotations {
                day += 1;
                for (which, first) in [(0, 0), (1, 5000)] {
                    let first = first + day * 100 + round;
                    lead_to(&place, which, day, first..first + 20);
                }
            }
            run(&mut place);
        }
        assert!(counted == expected, "{names:?}, {rotations} rotations at once");
    }
}

#[test]
fn files_of_the_same_form_from_before_the_first_run_do_not_count() {
    for hard in [false, true] {
        let linked = Linked::new("current", hard);
        for day in 10..27 {
            write(&linked.place.dir, &format!("a.202611{day}.log"), day * 100..day * 100 + 30);
        }
        linked.lead_to("a.20261127.log", 0..50);
        let mut counted = linked.place.lines();
        // Where the file system tells no birth, only what is remembered tells.
        let state = fs::read_to_string(&linked.place.state).unwrap();
        let changed = state.split("\"changed\":").nth(1).unwrap().split(',').next().unwrap();
        fs::write(
            &linked.place.state,
            state.replace(&format!("\"changed\":{changed}"), "\"changed\":1"),
        )
        .unwrap();
        linked.lead_to("a.20261128.log", 50..60);
        linked.lead_to("a.20261129.log", 60..70);
        counted += &linked.place.lines();
        assert!(counted == numbered(0..70), "{hard}");
    }
}
