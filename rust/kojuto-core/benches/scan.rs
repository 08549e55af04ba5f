//! How fast the scanners are beside what a well-kept library does for the same lines.
//!
//! `cargo bench -p kojuto-core` prints GB/s (the best of nine rounds over 50 MB that are in no
//! cache) and the ratio of our time to the library's.
#![allow(clippy::print_stdout, missing_docs)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use kojuto_core::access::{Access, Format, Options, TimeField, TimeList};
use kojuto_core::scan::fields::{Keys, Values};
use kojuto_core::scan::json;
use kojuto_core::scan::json::Prefix;
use kojuto_core::scan::ltsv;
use kojuto_core::scan::newlines;
use kojuto_core::scan::number::parse_f64;
use kojuto_core::stats::quantile;

const BYTES: usize = 50_000_000;
const BLOCK: usize = 256 << 10;
const ROUNDS: usize = 9;

fn main() {
    let (ltsv_log, json_log) = (log(ltsv_line), log(json_line));
    let keys = Keys::new(&[(b"ptime", true), (b"status", true)]).expect("two keys");
    println!("{:28} {:>10} {:>10} {:>8}  library", "", "GB/s", "library", "ratio");
    compare(
        "count newlines",
        "memchr",
        &ltsv_log,
        |block| newlines::count(block) as usize,
        |block| memchr::memchr_iter(b'\n', block).count(),
    );
    compare(
        "LTSV, two fields of a line",
        "memchr, a split at each tab",
        &ltsv_log,
        |block| {
            let mut found = 0;
            ltsv::scan(block, &keys, &mut |_: &[u8], values: &Values<'_>| {
                found += values[0].len() + values[1].len();
            });
            found
        },
        |block| lines(block).map(split_ltsv).sum(),
    );
    compare(
        "JSON, two members of a line",
        "serde_json into a struct",
        &json_log,
        |block| {
            let mut found = 0;
            json::scan(block, &keys, Prefix::Refuse, &mut |_: &[u8], values: &Values<'_>| {
                found += values[0].len() + values[1].len();
            });
            found
        },
        |block| lines(block).map(parse_json).sum(),
    );
    for (name, format, log) in [
        ("LTSV access log", Format::Ltsv(Prefix::Refuse), &ltsv_log),
        ("JSON access log", Format::Json(Prefix::Refuse), &json_log),
    ] {
        let options = Options {
            envelope: None,
            format,
            finds_keys: false,
            ptime_key: "ptime".to_owned(),
            status_keys: vec!["status".to_owned()],
            by: None,
            max_groups: 1,
            filter: None,
            time_field: TimeField::Telling,
            time_scale: 1.0,
            time_list: TimeList::Refuse,
        };
        let best = best(|| {
            let mut access = Access::new(&options).expect("valid options");
            blocks(log).for_each(|block| access.block(block));
            access.lines() as usize
        });
        println!("{name:28} {:>10.2}", gigabytes(log.len(), best));
    }
    let texts: Vec<String> = (0..1_000_000).map(|n| format!("{}.{:03}", n % 7, n % 1000)).collect();
    numbers(&texts);
    let values: Vec<f64> = texts.iter().map(|text| text.parse().expect("a number")).collect();
    let ours = best(|| quantile::select(&mut values.clone(), &[0.99, 0.95, 0.9]).len());
    let theirs = best(|| {
        let mut values = values.clone();
        values.sort_unstable_by(f64::total_cmp);
        values.len()
    });
    ratio("three quantiles of 1 million", "slice::sort_unstable", ours, theirs);
}

fn numbers(texts: &[String]) {
    let sum = |read: fn(&str) -> f64| best(|| texts.iter().map(|t| read(t)).sum::<f64>() as usize);
    let ours = sum(|text| parse_f64(text.as_bytes()).unwrap_or_default());
    let theirs = sum(|text| text.parse().unwrap_or_default());
    ratio("parse 1 million numbers", "str::parse", ours, theirs);
}

fn compare(
    name: &str,
    library: &str,
    log: &[u8],
    mut ours: impl FnMut(&[u8]) -> usize,
    mut theirs: impl FnMut(&[u8]) -> usize,
) {
    assert_eq!(
        blocks(log).map(&mut ours).sum::<usize>(),
        blocks(log).map(&mut theirs).sum::<usize>(),
        "{name}: both must find the same"
    );
    let our_time = best(|| blocks(log).map(&mut ours).sum());
    let their_time = best(|| blocks(log).map(&mut theirs).sum());
    println!(
        "{name:28} {:>10.2} {:>10.2} {:>8.3}  {library}",
        gigabytes(log.len(), our_time),
        gigabytes(log.len(), their_time),
        our_time.as_secs_f64() / their_time.as_secs_f64()
    );
}

fn ratio(name: &str, library: &str, ours: Duration, theirs: Duration) {
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    println!("{name:28} {:>7.1} ms {:>7.1} ms {ratio:>8.3}  {library}", ms(ours), ms(theirs));
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn gigabytes(bytes: usize, time: Duration) -> f64 {
    bytes as f64 / time.as_secs_f64() / 1e9
}

fn best(mut work: impl FnMut() -> usize) -> Duration {
    let rounds = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        black_box(work());
        start.elapsed()
    });
    rounds.min().expect("at least one round")
}

/// The log in blocks of whole lines, as a follower hands them over.
fn blocks(log: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = log;
    std::iter::from_fn(move || {
        let end = memchr::memrchr(b'\n', &rest[..rest.len().min(BLOCK)])? + 1;
        let (block, behind) = rest.split_at(end);
        rest = behind;
        Some(block)
    })
}

fn lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    block.split_inclusive(|&b| b == b'\n').map(|line| &line[..line.len() - 1])
}

fn split_ltsv(line: &[u8]) -> usize {
    let mut found = 0;
    let mut start = 0;
    for end in memchr::memchr_iter(b'\t', line).chain([line.len()]) {
        let field = &line[start..end];
        start = end + 1;
        if let Some(value) = field.strip_prefix(b"ptime:").or(field.strip_prefix(b"status:")) {
            found += value.len();
        }
    }
    found
}

#[derive(serde::Deserialize)]
struct Record<'a> {
    ptime: &'a str,
    status: &'a str,
}

fn parse_json(line: &[u8]) -> usize {
    let record: Record<'_> = serde_json::from_slice(line).expect("valid JSON");
    record.ptime.len() + record.status.len()
}

fn log(line: fn(u32, &mut dyn FnMut() -> u32) -> String) -> Vec<u8> {
    let mut state = 7u32;
    let mut random = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 8
    };
    let mut bytes = Vec::new();
    let mut number = 0;
    while bytes.len() < BYTES {
        bytes.extend_from_slice(line(number, &mut random).as_bytes());
        bytes.push(b'\n');
        number += 1;
    }
    bytes
}

const STATUSES: [u32; 8] = [200, 200, 200, 200, 304, 404, 499, 503];

fn ltsv_line(number: u32, random: &mut dyn FnMut() -> u32) -> String {
    let status = STATUSES[random() as usize % 8];
    format!(
        "time:2026-11-22T21:00:{:02}+00:00\thost:10.0.{}.{}\tmethod:GET\turi:/items/{}?page=3\t\
         status:{status}\tsize:{}\treferer:-\tua:Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101\t\
         ptime:0.{:03}\tapptime:0.001\tvhost:www.example.com",
        number % 60,
        random() % 256,
        random() % 256,
        random(),
        random() % 50_000,
        random() % 1000,
    )
}

fn json_line(number: u32, random: &mut dyn FnMut() -> u32) -> String {
    let fields = ltsv_line(number, random);
    let members: Vec<String> = fields
        .split('\t')
        .filter_map(|field| field.split_once(':'))
        .map(|(name, value)| format!("\"{name}\":\"{value}\""))
        .collect();
    format!("{{{}}}", members.join(","))
}
