//! Copies that are made while a run reads, or come back later: of what a file had been, and shorter
//! than what was read of it.

use std::fs::{self, File};
use std::io::Write;
use std::time::{Duration, SystemTime};

use kojuto_io::Never;
use kojuto_io::follow::{Follower, LineSink};

#[expect(dead_code, reason = "what other tests of the follower use")]
mod place;

use place::{Lines, Place, now, numbered};

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

fn run_while(place: &Place, act: impl FnMut()) -> String {
    let mut sink = Meanwhile { lines: Lines::default(), act: Some(act) };
    let Place { log, state, options, .. } = place;
    let mut follower = Follower::open(log, state, None, options.clone()).unwrap();
    follower.run(now(), &mut sink, &Never).unwrap();
    follower.commit().unwrap();
    assert!(sink.act.is_none(), "it happened");
    String::from_utf8(sink.lines.0).unwrap()
}

/// Waits until the clock of the file system has ticked.
fn tick(place: &Place) {
    let probe = place.dir.with_file_name("probe");
    let made = || {
        let _ = fs::remove_file(&probe);
        File::create(&probe).unwrap().metadata().unwrap().created().unwrap()
    };
    let start = made();
    while made() == start {}
}

/// What follows the tick happens within the next one, as a rule: then the copy is as old as the last
/// change of the directory.
#[test]
fn a_copy_that_was_left_out_does_not_count_when_the_log_comes_back_during_the_run() {
    for attempt in 0..50 {
        let place = Place::new();
        drop(place.append(&numbered(0..5)));
        let mut counted = place.lines();
        place.rename("access20260101_003.log");
        let mut late = place.append("");
        let late_path = place.rename("access20260101_004.log");
        late.write_all(numbered(5..60).as_bytes()).unwrap();
        tick(&place);
        fs::copy(&late_path, place.dir.join("access.log.orig")).unwrap();
        late.write_all(numbered(60..67).as_bytes()).unwrap();
        drop((late, place.append("")));
        place.rename("access20260102_000.log");
        counted += &run_while(&place, || drop(place.append("")));
        place.append(&numbered(67..70));
        counted += &place.lines();
        assert!(counted == numbered(0..70), "attempt {attempt}: {counted}");
    }
}

#[test]
fn a_packed_file_of_a_few_bytes_is_no_copy_of_one_that_has_its_time_and_begins_like_it() {
    let place = Place::new();
    place.append("");
    place.run();
    place.append("000");
    place.rename("access.log-20261128");
    let live = place.append(&numbered(0..5));
    let time = SystemTime::now() - Duration::from_secs(5);
    let rotated = File::options().append(true).open(place.dir.join("access.log-20261128")).unwrap();
    rotated.set_modified(time).unwrap();
    live.set_modified(time).unwrap();
    place.compress("access.log-20261128", "gz");
    assert_eq!(place.lines(), format!("000\n{}", numbered(0..5)));
}

#[test]
fn what_says_that_it_is_a_copy_is_none_of_a_shorter_file_that_it_begins_like() {
    let place = Place::new();
    place.append("");
    place.run();
    place.append("000");
    place.rename("access.log-20261127");
    place.append(&numbered(0..5));
    place.rename("access.log-20261128");
    place.compress("access.log-20261127", "gz");
    fs::copy(place.dir.join("access.log-20261128"), place.dir.join("access.log.bak")).unwrap();
    place.append(&numbered(5..10));
    assert_eq!(place.lines(), format!("000\n{}", numbered(0..10)));
}
