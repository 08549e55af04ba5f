use super::super::Collector;
use super::*;

/// A word for each number, that has no shape of an id.
fn word(mut number: usize) -> String {
    let mut word = String::from("q");
    while number > 0 {
        word.push((b'a' + (number % 13) as u8) as char);
        number /= 13;
    }
    word
}

/// So many names that each have `lines` lines with times of many sizes, at many seconds; the first
/// of them take far more time than the others.
fn log_of(costly: usize, names: usize, lines: usize) -> String {
    let line = |n: usize| {
        let (name, turn) = (word(n % names), n / names);
        let least = if n % names < costly { 100.0 } else { 0.0 };
        let (second, time) = (1_700_000_000 + turn * 60, (n * 7919 % 100_003) as f64 / 1e4 + least);
        format!("time:{second}\tstatus:200\tmethod:GET\turi:/posts/{name}\treqtime:{time:.4}\n")
    };
    (0..names * lines).map(line).collect()
}

fn log(names: usize, lines: usize) -> String {
    log_of(0, names, lines)
}

fn counted(options: &Options, log: &str) -> Totals {
    let mut collector = Collector::new(options).unwrap();
    collector.block(log.as_bytes()).unwrap();
    collector.into_totals()
}

fn names(totals: &Totals) -> Vec<(String, u64)> {
    let endpoints = totals.answer().unwrap().endpoints.into_iter();
    let name = |name: &[u8]| String::from_utf8(name.to_vec()).unwrap();
    endpoints.map(|row| (name(&row.name), row.figures.count())).collect()
}

const ROOM_BYTES: usize = 1 << 20;

/// With a thousand names that have forty lines each, and so are more than a few.
fn options(fold: bool) -> Options {
    let naming = NamingOptions { fold, ..NamingOptions::default() };
    Options { naming, room_bytes: ROOM_BYTES, ..Options::default() }
}

#[test]
fn names_that_fold_are_put_together_when_memory_is_scarce() {
    let totals = counted(&options(true), &log(1000, 40));
    assert!(totals.bytes() < ROOM_BYTES, "{}", totals.bytes());
    assert_eq!(names(&totals), [("GET /posts/*".to_owned(), 40_000)]);
    assert_eq!(totals.other(), (0, 0.0, 0));
    assert_eq!(totals.all().count(), 40_000);
    assert!(totals.answer().unwrap().endpoints[0].figures.slices().is_some());
}

#[test]
fn what_came_when_is_forgotten_before_any_name_is_but_of_the_costliest() {
    let room_bytes = 6 << 20;
    let log = log_of(COSTLIEST, COSTLIEST * 4, 40);
    let whole = counted(&Options { room_bytes: usize::MAX, ..options(false) }, &log);
    let totals = counted(&Options { room_bytes, ..options(false) }, &log);
    let bytes = [whole.bytes(), totals.bytes()];
    assert!(bytes[0] > room_bytes && bytes[1] < room_bytes, "{bytes:?}");
    assert_eq!(totals.other(), (0, 0.0, 0), "{}", whole.bytes());
    assert!(names(&totals) == names(&whole));
    let endpoints = totals.answer().unwrap().endpoints;
    let (costly, others) = endpoints.split_at(COSTLIEST);
    assert!(costly.iter().all(|row| row.figures.slices().is_some()));
    assert!(others.iter().any(|row| row.figures.slices().is_none()));
    let rest = |endpoints: Vec<super::super::Endpoint>| -> Vec<_> {
        endpoints.into_iter().map(|row| row.figures.quantiles_s(&[0.5, 0.99])).collect()
    };
    assert_eq!(rest(endpoints), rest(whole.answer().unwrap().endpoints));
}

#[test]
fn names_that_do_not_fold_lose_their_places_when_memory_is_scarce() {
    let busy = "time:1700000000\tstatus:200\tmethod:GET\turi:/busy\treqtime:0.5\n".repeat(3_000);
    let log = log(1000, 40);
    let half = log.len() / 2;
    let (first, second) = log.split_at(half + log[half..].find('\n').map_or(0, |at| at + 1));
    let mut totals = counted(&options(false), &[first, &busy].concat());
    assert!(totals.bytes() < ROOM_BYTES, "{}", totals.bytes());
    let other = counted(&options(false), &[second, &busy].concat());
    totals.merge(other).unwrap();
    assert!(totals.bytes() < ROOM_BYTES, "{}", totals.bytes());
    let rows = names(&totals);
    let busy = rows.iter().find(|(name, _)| name == "GET /busy").map(|(_, lines)| *lines);
    let (dropped, seconds, off_by) = totals.other();
    assert_eq!((busy, totals.all().count()), (Some(6_000), 46_000));
    assert_eq!(rows.iter().map(|(_, lines)| lines).sum::<u64>() + dropped, 46_000);
    assert!(off_by >= 40 && seconds > 0.0 && rows.len() > 50, "{off_by} {}", rows.len());
}

#[test]
fn a_file_that_is_read_knows_what_it_holds() {
    let totals = counted(&options(true), &log(40, 40));
    let read = Totals::from_bytes(&totals.to_bytes().unwrap()).unwrap();
    assert!(read.held_bytes > 40 * 2000, "{}", read.held_bytes);
}
