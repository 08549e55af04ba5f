use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use kojuto_core::report::naming::NamingOptions;

use super::pieces::{Handle, Part};
use super::*;
use crate::Never;

fn line(at: usize) -> String {
    let (path, pad) = (at % 7, "x".repeat(at % 50));
    format!(
        "time:{}\tmethod:GET\turi:/p{path}/{at}\tstatus:200\treqtime:0.00{path}\tua:{pad}\n",
        1_795_961_201 + at / 9
    )
}

fn lines(count: usize) -> String {
    (0..count).map(line).collect()
}

fn scanned(sources: &[Source], jobs: usize) -> Scanned {
    scan(sources, &Options::default(), jobs, &Progress::default(), &Never).unwrap()
}

fn paths(paths: &[&std::path::Path]) -> Vec<Source> {
    paths.iter().map(|path| Source::Path(path.to_path_buf())).collect()
}

fn open(reader: std::io::PipeReader) -> Source {
    Source::Open(Arc::new(File::from(OwnedFd::from(reader))), "standard input".to_owned())
}

#[test]
fn a_large_file_is_cut_at_line_ends_and_each_line_counts_once() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("access.log");
    // The last line has no end.
    let text = lines(300_000);
    fs::write(&log, text.trim_end()).unwrap();
    let collector = Collector::new(&Options::default()).unwrap();
    let plan =
        plan(&paths(&[&log]), &collector, Cut { most: 12, ..Cut::default() }, &Progress::default())
            .unwrap();
    assert!(plan.pieces.len() > 3, "{} bytes", text.len());
    let progress = Progress::default();
    let cut = scan(&paths(&[&log]), &Options::default(), 3, &progress, &Never).unwrap();
    assert_eq!(cut.totals.lines(), 300_000);
    let whole = scanned(&paths(&[&log]), 1);
    assert!(cut.totals.to_bytes().unwrap() == whole.totals.to_bytes().unwrap());
    let told = [&progress.lines, &progress.total_bytes].map(|n| n.load(Ordering::Relaxed));
    assert_eq!(told, [300_000, text.len() as u64 - 1]);
    assert!(progress.bytes.load(Ordering::Relaxed) >= told[1]);
}

#[test]
fn every_cut_gives_each_line_to_one_piece() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("access.log");
    let text = lines(30);
    fs::write(&log, &text).unwrap();
    let file = std::sync::Arc::new(fs::File::open(&log).unwrap());
    let count = |from: u64, to: u64| {
        let (name, part) = (String::new(), Part::Lines(from, to));
        let piece =
            Piece { name, file: Handle::Open(std::sync::Arc::clone(&file)), part, looked: None };
        let mut collector = Collector::new(&Options::default()).unwrap();
        piece.read(&mut collector, &Progress::default(), &Never, &mut |_| {}).unwrap();
        collector.lines()
    };
    for cut in 1..text.len() as u64 {
        let begins = text[..cut as usize].matches('\n').count() as u64;
        let before = begins + u64::from(!text[..cut as usize].ends_with('\n'));
        assert_eq!((count(0, cut), count(cut, u64::MAX)), (before, 30 - before), "{cut}");
    }
}

#[test]
fn of_many_files_some_are_closed_until_they_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let logs = ["a", "b", "c"].map(|name| dir.path().join(name));
    for log in &logs {
        fs::write(log, lines(30)).unwrap();
    }
    let collector = Collector::new(&Options::default()).unwrap();
    let cut = Cut { most_open: 1, ..Cut::default() };
    let sources = paths(&[&logs[0], &logs[1], &logs[2]]);
    let plan = plan(&sources, &collector, cut, &Progress::default()).unwrap();
    let is_open = |piece: &Piece| matches!(piece.file, Handle::Open(_));
    assert!(plan.pieces.iter().map(is_open).eq([true, false, false]));
    fs::rename(&logs[0], &logs[2]).unwrap();
    let read = |piece: &Piece| {
        let mut collector = Collector::new(&Options::default()).unwrap();
        piece.read(&mut collector, &Progress::default(), &Never, &mut |_| {}).unwrap_or_else(
            |error| {
                let told = format!("{}: another file has its name by now", logs[2].display());
                assert_eq!(error.to_string(), told);
            },
        );
        collector.lines()
    };
    assert!(plan.pieces.iter().map(read).eq([30, 30, 0]));
}

#[test]
fn pipes_and_compressed_files_are_read_and_one_named_twice_once() {
    let dir = tempfile::tempdir().unwrap();
    let (plain, packed) = (dir.path().join("a.log"), dir.path().join("b.log.zst"));
    fs::write(&plain, lines(100)).unwrap();
    fs::write(&packed, zstd::encode_all(lines(50).as_bytes(), 1).unwrap()).unwrap();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&plain, &link).unwrap();
    let missing = dir.path().join("missing");
    for jobs in [1, 4] {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(lines(7).as_bytes()).unwrap();
        drop(writer);
        let mut sources = paths(&[&plain, &packed, &link, &missing, dir.path()]);
        sources.push(open(reader));
        let found = scanned(&sources, jobs);
        assert_eq!(found.totals.lines(), 157);
        assert_eq!(found.twice, [link.display().to_string()]);
        assert_eq!(found.read.len(), 3);
        let failed: Vec<_> = found.failed.iter().map(|(_, error)| error.code()).collect();
        assert_eq!(failed, [Some(libc::ENOENT), Some(libc::EISDIR)]);
    }
}

#[test]
fn a_compressed_stream_is_unpacked_and_what_is_before_damage_counts() {
    let dir = tempfile::tempdir().unwrap();
    let packed = zstd::encode_all(lines(2000).as_bytes(), 1).unwrap();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let whole = packed.clone();
    let writing = thread::spawn(move || writer.write_all(&whole));
    let found = scanned(&[open(reader)], 1);
    writing.join().unwrap().unwrap();
    assert_eq!(found.totals.lines(), 2000);
    let mut child =
        Command::new("gzip").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(lines(5000).as_bytes()).unwrap();
    drop(input);
    let mut packed = child.wait_with_output().unwrap().stdout;
    packed.truncate(packed.len() / 2);
    let cut = dir.path().join("cut.gz");
    fs::write(&cut, packed).unwrap();
    let found = scanned(&paths(&[&cut]), 1);
    assert!((1..5000).contains(&found.totals.lines()), "{}", found.totals.lines());
    assert!(found.failed[0].1.to_string().contains("damaged gzip file"), "{:?}", found.failed);
}

#[test]
fn one_who_cancels_ends_all_threads() {
    struct Stop;
    impl Cancel for Stop {
        fn check(&self) -> Result<()> {
            Err(Error::Cancelled)
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("access.log");
    fs::write(&log, lines(100_000)).unwrap();
    for jobs in [1, 2] {
        let found = scan(&paths(&[&log]), &Options::default(), jobs, &Progress::default(), &Stop);
        assert!(jobs > 1 || matches!(found, Err(Error::Cancelled)));
        assert!(found.is_ok() || matches!(found, Err(Error::Cancelled)));
    }
}

#[test]
fn pieces_of_a_split_line_stay_together() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("0.log");
    let json = r#"{"status":200,"method":"GET","uri":"/j","request_time":0.5}"#;
    let entry = |mark: &str, text: &str| format!("2026-11-29T14:06:41.1Z stdout {mark} {text}\n");
    let both = [entry("P", &json[..20]), entry("F", &json[20..])].concat();
    fs::write(&log, both.repeat(60_000)).unwrap();
    let found = scanned(&paths(&[&log]), 4);
    assert_eq!((found.totals.lines(), found.totals.bad().first()), (60_000, None));
}

#[test]
fn names_are_as_the_options_say() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("access.log");
    fs::write(&log, lines(3)).unwrap();
    let naming = NamingOptions { fold: false, ..NamingOptions::default() };
    let options = Options { naming, ..Options::default() };
    let found = scan(&paths(&[&log]), &options, 1, &Progress::default(), &Never).unwrap();
    assert_eq!(found.totals.answer().unwrap().endpoints.len(), 3);
}

#[test]
fn parts_that_are_named_are_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("access.log");
    let text = lines(3000);
    fs::write(&log, &text).unwrap();
    let whole = scanned(&paths(&[&log]), 1).totals.to_bytes().unwrap();
    let part = |from: u64, to: u64| Source::Lines(log.clone(), "a part".to_owned(), from, to);
    let third = text.len() as u64 / 3;
    let ends = [(0, third), (third, third + 1), (third + 1, u64::MAX)];
    let parts = ends.map(|(from, to)| part(from, to));
    let found = scanned(&parts, 2);
    assert_eq!((found.read.len(), found.twice.len(), found.failed.len()), (3, 0, 0));
    assert_eq!(found.read[0], "a part");
    assert!(found.totals.to_bytes().unwrap() == whole);
    let nothing = scanned(&[part(5, 5), Source::Lines("/no".into(), "no".to_owned(), 0, 9)], 1);
    assert_eq!((nothing.totals.lines(), nothing.failed.len()), (0, 1));
}

#[test]
fn a_part_is_read_as_the_beginning_of_its_log_tells() {
    let line = |uri: &str, time: u32| format!("uri:/{uri}\tstatus:200\tduration:{time}\n");
    let log = [line("a", 250), line("b", 1)].concat();
    let read = |head: &[u8]| {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(line("b", 1).as_bytes()).unwrap();
        drop(writer);
        let file = Arc::new(File::from(OwnedFd::from(reader)));
        let source = Source::Begun(file, "b.log".to_owned(), head.to_vec());
        scanned(&[source], 1).totals.all().sum_s()
    };
    // Whole numbers that are above 1 are milliseconds.
    assert_eq!((read(log.as_bytes()), read(b"")), (0.001, 1.0));
}

#[test]
fn a_stream_may_begin_with_a_byte_order_mark() {
    for jobs in [1, 2] {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(format!("\u{feff}{}", lines(3)).as_bytes()).unwrap();
        drop(writer);
        let found = scanned(&[open(reader)], jobs);
        assert_eq!((found.totals.lines(), found.totals.bad().first()), (3, None));
    }
}
