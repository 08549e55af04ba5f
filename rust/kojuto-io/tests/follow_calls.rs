//! What a run without a rotation opens and looks at: no more than it must, however many rotated files
//! lie there or are remembered.
//!
//! The test runs itself as a child under strace(1), which counts the calls that name a path of the log's
//! folder or are about a file in it.

#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::time::Duration;

#[expect(dead_code, reason = "what other tests of the follower use")]
mod place;

use place::{Place, numbered};

const CHILD: &str = "KOJUTO_FOLLOW_CALLS_OF";

/// The child: one run.
#[test]
fn child() {
    let Some(log) = std::env::var_os(CHILD) else { return };
    let mut place = Place::new();
    place.log = log.into();
    place.state = place.log.with_file_name("../state");
    place.run();
}

/// How often a run makes each call about a file of the log's folder.
fn calls(place: &Place) -> BTreeMap<String, usize> {
    let out = place.dir.join("../strace");
    let child = std::env::current_exe().unwrap();
    let status = Command::new("strace")
        .args(["-f", "-y", "-qq", "-e", "trace=openat,statx,newfstatat,fstat,getdents64", "-o"])
        .args([out.as_os_str(), child.as_os_str()])
        .args(["--exact", "child", "--test-threads=1"])
        .env(CHILD, &place.log)
        .stdout(Stdio::null())
        .status()
        .unwrap_or_else(|error| panic!("strace: {error} (make servers installs it)"));
    assert!(status.success());
    let folder = place.dir.to_str().unwrap();
    let mut counted = BTreeMap::new();
    for line in fs::read_to_string(out).unwrap().lines() {
        let call = line.split_once(' ').and_then(|(_, call)| call.trim_start().split_once('('));
        if let Some((name, rest)) = call
            && rest.contains(folder)
            && !rest.contains("/../")
        {
            *counted.entry(name.to_owned()).or_default() += 1;
        }
    }
    counted
}

/// Rotated files, of which half are there before the first run and half come later.
fn rotate(place: &Place, count: u32, rename: impl Fn(u32)) {
    for number in 0..count {
        place.append(&numbered(number * 10..number * 10 + 5));
        rename(number);
        if number == count / 2 {
            place.append(&numbered(number * 10 + 5..number * 10 + 8));
            place.run();
        }
    }
}

/// Waits until the clock of the file system has ticked, and what the follower takes for a tick is over.
fn tick(place: &Place) {
    let file = File::create(place.dir.with_file_name("probe")).unwrap();
    let start = file.metadata().unwrap().created().unwrap();
    while start.elapsed().unwrap_or_default() < Duration::from_millis(30) {
        std::thread::yield_now();
    }
}

fn opened(calls: &BTreeMap<String, usize>) -> (usize, usize) {
    let of = |names: &[&str]| names.iter().filter_map(|&name| calls.get(name)).sum();
    (of(&["openat"]), of(&["statx", "newfstatat", "fstat"]))
}

#[test]
fn a_run_without_a_rotation_opens_one_file_however_many_are_known() {
    let mut seen = Vec::new();
    for rotated in [0, 4, 300] {
        let place = Place::new();
        rotate(&place, rotated, |number| {
            place.rename(&format!("access.log-{}", 1_700_000_000 + number));
        });
        place.append(&numbered(90_000..90_050));
        place.run();
        place.append(&numbered(90_050..90_060));
        let calls = calls(&place);
        assert_eq!(calls.get("getdents64"), None, "{calls:?}");
        seen.push(opened(&calls));
    }
    assert_eq!(seen, [(2, 11); 3]);
}

#[test]
fn a_link_that_was_not_turned_is_all_that_is_looked_at_beside_its_file() {
    let mut seen = Vec::new();
    for rotated in [0, 4, 300] {
        let mut place = Place::new();
        place.log = place.dir.join("current");
        let turn = |number: u32| {
            let target = place.dir.join(format!("access-{}.log", 1_700_000_000 + number));
            let _ = fs::remove_file(&place.log);
            symlink(&target, &place.log).unwrap();
        };
        turn(0);
        rotate(&place, rotated, |number| turn(number + 1));
        place.append(&numbered(90_000..90_050));
        // A link that was made within one tick of the clock may be younger than the run.
        tick(&place);
        place.run();
        place.append(&numbered(90_050..90_060));
        let calls = calls(&place);
        assert_eq!(calls.get("getdents64"), None, "{calls:?}");
        seen.push(opened(&calls));
    }
    assert_eq!(seen, [(2, 16); 3]);
}
