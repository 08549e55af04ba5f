//! What a run costs where many rotated files lie.

use std::fs;

#[expect(dead_code, reason = "what other tests of the follower use")]
mod place;

use place::{Place, numbered};

/// Processor time of this thread so far, in seconds.
fn cpu_s() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a place for the answer.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) }, 0);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[test]
fn a_rotation_beside_20_000_rotated_files_costs_a_fifth_of_a_second() {
    let place = Place::new();
    for number in 0..20_000 {
        let name = place.dir.join(format!("access.log-{}", 1_700_000_000 + number));
        fs::write(name, format!("{number}\n")).unwrap();
    }
    place.append(&numbered(0..50));
    place.run();
    place.append(&numbered(50..60));
    place.rename("access.log-1800000000");
    place.append(&numbered(60..70));
    let start = cpu_s();
    let listed =
        fs::read_dir(&place.dir).unwrap().filter(|e| e.as_ref().unwrap().metadata().is_ok());
    assert!(listed.count() > 20_000);
    let listing = cpu_s() - start;
    let start = cpu_s();
    let lines = place.lines();
    let took = cpu_s() - start;
    assert!(lines == numbered(50..70));
    // Where the processor is slow or busy, as many times what it takes just to look at each file.
    assert!(took < f64::max(0.2, 10.0 * listing), "{took} s, and {listing} s to look at each file");
}
