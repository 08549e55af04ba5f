//! A log whose name leads to one file after the other, and back: what is turned while it is read,
//! copied beside it, or written by one who is late.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use kojuto_io::Never;
use kojuto_io::follow::{Follower, LineSink};

#[expect(dead_code, reason = "what other tests of the follower use")]
mod place;

use place::{Lines, Place, now, numbered};

/// `current/access.log`, where `current` leads to a folder for each day.
struct Daily {
    place: Place,
}

impl Daily {
    fn new() -> Daily {
        let mut place = Place::new();
        place.log = place.dir.join("current/access.log");
        Daily { place }
    }

    fn open(&self, day: u32) -> File {
        let folder = self.place.dir.join(format!("2026-11-{day:02}"));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("access.log");
        OpenOptions::new().append(true).create(true).open(path).unwrap()
    }

    fn lead_to(&self, day: u32) -> File {
        let file = self.open(day);
        let link = self.place.dir.join("current");
        let _ = fs::remove_file(&link);
        symlink(format!("2026-11-{day:02}"), link).unwrap();
        file
    }
}

/// Does something while the first lines are handed out.
struct Meanwhile<F: FnMut()> {
    lines: Lines,
    act: Option<F>,
}

impl<F: FnMut()> LineSink for Meanwhile<F> {
    fn block(&mut self, lines: &[u8]) {
        self.lines.block(lines);
        if let Some(mut act) = self.act.take() {
            act();
        }
    }
}

fn write(mut file: &File, lines: std::ops::Range<u32>) {
    file.write_all(numbered(lines).as_bytes()).unwrap();
}

/// Waits until the clock of the file system has ticked: what is made from now on is later.
fn tick() {
    let start = SystemTime::now();
    while start.elapsed().unwrap_or_default() < Duration::from_millis(30) {
        std::thread::yield_now();
    }
}

fn sorted(lines: &str) -> Vec<&str> {
    let mut all: Vec<&str> = lines.lines().collect();
    all.sort_unstable();
    all
}

#[test]
fn a_link_that_is_turned_while_it_is_read_loses_nothing() {
    let daily = Daily::new();
    write(&daily.lead_to(1), 0..50);
    let mut counted = daily.place.lines();
    write(&daily.open(1), 50..60);
    let act = || write(&daily.lead_to(2), 60..70);
    let mut sink = Meanwhile { lines: Lines::default(), act: Some(act) };
    let Place { log, state, options, .. } = &daily.place;
    let mut follower = Follower::open(log, state, None, options.clone()).unwrap();
    follower.run(now(), &mut sink, &Never).unwrap();
    follower.commit().unwrap();
    counted += std::str::from_utf8(&sink.lines.0).unwrap();
    tick();
    write(&daily.open(2), 70..80);
    for day in 3..6 {
        write(&daily.lead_to(day), day * 100..day * 100 + 10);
    }
    counted += &daily.place.lines();
    let expected: String = (3..6).map(|day| numbered(day * 100..day * 100 + 10)).collect();
    assert_eq!(counted, numbered(0..80) + &expected);
}

#[test]
fn a_copy_that_was_there_at_a_run_without_a_rotation_does_not_count() {
    for ending in [".orig", "~", ".1"] {
        let mut place = Place::new();
        place.log = place.dir.join("current");
        let turn = |day: u32, lines| {
            let target = place.dir.join(format!("access-202611{day:02}.log"));
            let file = OpenOptions::new().append(true).create(true).open(&target).unwrap();
            write(&file, lines);
            let _ = fs::remove_file(&place.log);
            symlink(&target, &place.log).unwrap();
            target
        };
        let first = turn(1, 0..50);
        let mut counted = place.lines();
        write(&OpenOptions::new().append(true).open(&first).unwrap(), 50..60);
        // Shorter than what is read of the file next.
        let copy = format!("{}{ending}", first.display());
        fs::copy(&first, copy).unwrap();
        tick();
        write(&OpenOptions::new().append(true).open(&first).unwrap(), 60..70);
        counted += &place.lines();
        turn(2, 70..80);
        counted += &place.lines();
        assert!(counted == numbered(0..80), "{ending}");
    }
}

#[test]
fn what_a_link_led_to_and_back_counts_at_the_next_run() {
    for hard in [false, true] {
        let mut place = Place::new();
        place.log = place.dir.join("current");
        let turn = |day: u32, lines| {
            let target = place.dir.join(format!("access-202611{day:02}.log"));
            let file = OpenOptions::new().append(true).create(true).open(&target).unwrap();
            write(&file, lines);
            let _ = fs::remove_file(&place.log);
            match hard {
                true => fs::hard_link(&target, &place.log).unwrap(),
                false => symlink(&target, &place.log).unwrap(),
            }
        };
        turn(1, 0..50);
        place.run();
        turn(2, 100..150);
        let mut counted = place.lines();
        for round in 2..5 {
            turn(1, round * 1000..round * 1000 + 10);
            turn(3, round * 1000 + 10..round * 1000 + 20);
            turn(2, round * 1000 + 20..round * 1000 + 30);
            counted += &place.lines();
        }
        let later = (2..5).map(|round| numbered(round * 1000..round * 1000 + 30));
        let expected = numbered(100..150) + &later.collect::<String>();
        assert!(sorted(&counted) == sorted(&expected), "hard {hard}");
        assert_eq!(place.lines(), "");
    }
}

#[test]
fn a_writer_that_is_late_two_folders_back_loses_nothing() {
    let daily = Daily::new();
    let late = daily.lead_to(1);
    write(&late, 0..50);
    let mut counted = daily.place.lines();
    let mut expected = numbered(0..50);
    for day in 2..6 {
        write(&daily.lead_to(day), day * 100..day * 100 + 10);
        write(&late, day * 1000..day * 1000 + 5);
        expected += &(numbered(day * 100..day * 100 + 10) + &numbered(day * 1000..day * 1000 + 5));
        tick();
        counted += &daily.place.lines();
        write(&late, day * 1000 + 5..day * 1000 + 8);
        expected += &numbered(day * 1000 + 5..day * 1000 + 8);
        counted += &daily.place.lines();
    }
    assert!(sorted(&counted) == sorted(&expected));
}

#[test]
fn a_link_that_leads_back_to_the_file_of_a_late_writer_goes_on_where_that_was_read_to() {
    for copied in [false, true] {
        let daily = Daily::new();
        let mut late = daily.lead_to(1);
        write(&late, 0..50);
        let mut counted = daily.place.lines();
        write(&daily.lead_to(2), 50..60);
        late.write_all(b"the beginning ").unwrap();
        counted += &daily.place.lines();
        if copied {
            let folder = daily.place.dir.join("2026-11-01");
            fs::copy(folder.join("access.log"), folder.join("access.log.bak")).unwrap();
        }
        daily.lead_to(1);
        late.write_all(b"and the end of a line\n").unwrap();
        write(&late, 60..70);
        counted += &daily.place.lines();
        let line = "the beginning and the end of a line\n";
        assert_eq!(counted, numbered(0..60) + line + &numbered(60..70), "copied {copied}");
    }
}

#[test]
fn a_link_that_leads_back_to_a_file_that_was_empty_loses_nothing() {
    let daily = Daily::new();
    daily.lead_to(1);
    let mut counted = daily.place.lines();
    write(&daily.lead_to(2), 0..10);
    counted += &daily.place.lines();
    tick();
    write(&daily.lead_to(1), 10..20);
    daily.lead_to(3);
    counted += &daily.place.lines();
    write(&daily.lead_to(1), 20..30);
    counted += &daily.place.lines();
    assert_eq!(counted, numbered(0..30));
}

#[test]
fn a_link_that_was_never_turned_before_loses_nothing_when_it_leads_back() {
    let daily = Daily::new();
    write(&daily.lead_to(1), 0..10);
    daily.place.run();
    tick();
    write(&daily.lead_to(2), 10..20);
    write(&daily.lead_to(1), 20..30);
    assert!(sorted(&daily.place.lines()) == sorted(&numbered(10..30)));
    assert_eq!(daily.place.lines(), "");
}

#[test]
fn a_copy_that_was_left_out_and_is_younger_than_all_that_changed_does_not_count_later() {
    let daily = Daily::new();
    write(&daily.lead_to(1), 0..50);
    let mut counted = daily.place.lines();
    let late = daily.lead_to(2);
    write(&late, 50..100);
    write(&daily.lead_to(3), 200..250);
    tick();
    let folder = daily.place.dir.join("2026-11-02");
    fs::copy(folder.join("access.log"), folder.join("access.log.orig")).unwrap();
    write(&late, 100..110);
    drop(late);
    counted += &daily.place.lines();
    for day in 4..6 {
        write(&daily.lead_to(day), day * 100..day * 100 + 10);
        counted += &daily.place.lines();
    }
    let expected = numbered(0..110) + &numbered(200..250) + &numbered(400..410);
    assert!(counted == expected + &numbered(500..510), "{counted}");
}

/// Has `current` lead to a file, and writes to it.
fn turn(place: &Place, name: &str, lines: std::ops::Range<u32>) {
    let target = place.dir.join(name);
    write(&OpenOptions::new().append(true).create(true).open(&target).unwrap(), lines);
    let _ = fs::remove_file(&place.log);
    symlink(&target, &place.log).unwrap();
}

#[test]
fn what_a_link_led_to_on_another_day_before_it_led_back_counts() {
    // Back to a file that was there at the last run, and to one that came since.
    for (before, back) in [(1, 1), (0, 2)] {
        let mut place = Place::new();
        place.log = place.dir.join("current");
        turn(&place, &format!("access20260101_00{before}.log"), 0..50);
        turn(&place, "access20260101_004.log", 50..60);
        let mut counted = place.lines();
        turn(&place, &format!("access20260101_00{back}.log"), 60..70);
        turn(&place, "access20260102_000.log", 70..80);
        turn(&place, &format!("access20260101_00{back}.log"), 80..90);
        counted += &place.lines();
        turn(&place, "access20260101_005.log", 90..100);
        counted += &place.lines();
        assert!(sorted(&counted) == sorted(&numbered(50..100)), "{back}: {counted}");
    }
}

#[test]
fn a_file_that_was_read_under_another_name_is_read_on_when_the_link_leads_back_between_two_runs() {
    let mut place = Place::new();
    place.log = place.dir.join("current");
    turn(&place, "alpha.log", 0..30);
    let mut counted = place.lines();
    for (day, lines) in [(1, 30..40), (2, 40..50)] {
        turn(&place, &format!("beta-{day}.log"), lines);
        counted += &place.lines();
    }
    tick();
    turn(&place, "alpha.log", 50..60);
    turn(&place, "beta-3.log", 60..70);
    counted += &place.lines();
    assert!(counted == numbered(0..70), "{counted}");
}

#[test]
fn of_a_file_and_a_copy_that_says_so_the_file_is_read_and_goes_on() {
    let mut place = Place::new();
    place.log = place.dir.join("current");
    turn(&place, "access-20261101.log", 0..30);
    let mut counted = place.lines();
    turn(&place, "access-20261102.log", 30..40);
    let file = place.dir.join("access-20261102.log");
    turn(&place, "access-20261103.log", 40..50);
    turn(&place, "access-20261104.log", 50..60);
    // The name of the file contradicts its time, and that of the copy does not.
    let time = SystemTime::now() + Duration::from_secs(10);
    let copy = place.dir.join("access-20261104.log.bak");
    fs::copy(&file, &copy).unwrap();
    for path in [&file, &copy] {
        OpenOptions::new().write(true).open(path).unwrap().set_modified(time).unwrap();
    }
    counted += &place.lines();
    turn(&place, "access-20261102.log", 60..70);
    counted += &place.lines();
    assert!(sorted(&counted) == sorted(&numbered(0..70)), "{counted}");
}
