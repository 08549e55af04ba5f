//! Predecessors that a rotator compressed, by whatever logrotate's `compresscmd` may be.

use std::fs::{self, File, OpenOptions};
use std::io::Write;

#[expect(dead_code, reason = "what other tests need of it")]
mod place;

use place::{Place, numbered};

const ENDINGS: [&str; 5] = ["gz", "zst", "xz", "bz2", "lz4"];

#[test]
fn each_compressor_s_files_are_read_where_the_last_run_stood_and_whole() {
    for ending in ENDINGS {
        let place = Place::new();
        place.append(&numbered(0..1000));
        assert_eq!(place.lines(), numbered(0..1000));
        place.append(&numbered(1000..1200));
        place.append("no line end");
        place.rename("access.log.2");
        place.compress("access.log.2", ending);
        place.append(&numbered(1200..5000));
        place.rename("access.log.1");
        place.compress("access.log.1", ending);
        place.append(&numbered(5000..5100));
        let (lines, report) = place.run();
        let expected = numbered(1000..1200) + "no line end\n" + &numbered(1200..5100);
        assert!(lines == expected, "{ending}: {:?}", report.notes);
        // Each moves on, and what was plain is packed: nothing of it is new.
        for number in [2, 1] {
            let name = |number: u32| place.dir.join(format!("access.log.{number}.{ending}"));
            fs::rename(name(number), name(number + 1)).unwrap();
        }
        place.append(&numbered(5100..5105));
        place.rename("access.log.1");
        place.compress("access.log.1", ending);
        place.append(&numbered(5105..5110));
        assert_eq!(place.lines(), numbered(5100..5110), "{ending}");
        assert_eq!(place.lines(), "", "{ending}");
    }
}

#[test]
fn a_damaged_one_is_named_once_what_can_be_read_counts_and_reading_goes_on() {
    for ending in ENDINGS {
        for of_mark in [true, false] {
            let place = Place::new();
            place.append(&numbered(0..10));
            place.run();
            if of_mark {
                place.append(&numbered(10..150_000));
                place.rename("access.log.1");
            } else {
                place.rename("access.log.2");
                place.append(&numbered(10..150_000));
                place.rename("access.log.1");
            }
            place.compress("access.log.1", ending);
            let packed = place.dir.join(format!("access.log.1.{ending}"));
            let size = fs::metadata(&packed).unwrap().len();
            OpenOptions::new().write(true).open(&packed).unwrap().set_len(size * 3 / 4).unwrap();
            place.append(&numbered(900_000..900_010));
            let (lines, report) = place.run();
            let (what, notes) = (
                format!("{ending} {of_mark}"),
                report.notes.iter().map(|note| &*note.text).collect::<Vec<_>>().join("\n"),
            );
            assert_eq!(notes.matches(&*packed.to_string_lossy()).count(), 2, "{what}: {notes}");
            assert!(notes.contains("damaged after byte"), "{what}: {notes}");
            let read = lines.strip_suffix(&numbered(900_000..900_010)).unwrap();
            assert!(!read.is_empty() && numbered(10..150_000).starts_with(read), "{what}");
            place.append(&numbered(900_010..900_020));
            let (lines, report) = place.run();
            assert_eq!((lines, report.notes.len()), (numbered(900_010..900_020), 0), "{what}");
        }
    }
}

#[test]
fn one_that_is_not_even_the_beginning_of_what_its_name_says_is_named_once() {
    let head = [
        &b"\x1f\x8b\x08"[..],
        b"\x28\xb5\x2f\xfd",
        b"\xfd7zXZ\0",
        b"BZh91AY&SY",
        b"\x04\x22\x4d\x18",
    ];
    for (ending, head) in ENDINGS.into_iter().zip(head) {
        for content in [b"", head, &[head, b"and no more of it"].concat(), b"plain text\n"] {
            let place = Place::new();
            place.append(&numbered(0..50));
            place.run();
            let packed = place.dir.join(format!("access.log.1.{ending}"));
            File::create(&packed).unwrap().write_all(content).unwrap();
            let mut told = 0;
            for day in 1..4 {
                place.append(&numbered(day * 100..day * 100 + 5));
                place.rename(&format!("access.log-2026112{day}"));
                place.append(&numbered(day * 100 + 5..day * 100 + 30));
                let (lines, report) = place.run();
                assert_eq!(lines, numbered(day * 100..day * 100 + 30), "{ending} {content:?}");
                let text = format!("{} cannot be read, passed over", packed.display());
                told += report.notes.iter().filter(|note| note.text.contains(&text)).count();
                assert_eq!(place.lines(), "");
            }
            assert_eq!(told, 1, "{ending} {content:?}");
        }
    }
}

#[test]
fn no_process_is_left_behind() {
    let place = Place::new();
    place.append(&numbered(0..10));
    place.run();
    // More than a pipe holds, so that the program is still at work when its reader has seen enough.
    place.append(&numbered(10..50_000));
    place.rename("access.log.1");
    place.compress("access.log.1", "bz2");
    place.append(&numbered(50_000..50_010));
    assert!(place.lines() == numbered(10..50_010));
    let left = fs::read_to_string("/proc/thread-self/children").unwrap();
    assert_eq!(left, "");
}
