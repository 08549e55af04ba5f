//! One scanner over one file again and again: `passes SCANNER FILE PASSES` prints what it found.
//!
//! For whoever counts what a pass costs, in whichever unit: the difference between two runs that
//! differ in nothing but the number of passes. See benches/guest_instructions.py.
#![allow(clippy::print_stdout)]

use std::hint::black_box;

use kojuto_core::scan::fields::{Keys, Values};
use kojuto_core::scan::json::Prefix;
use kojuto_core::scan::{json, ltsv, newlines};
use kojuto_core::websocket;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [scanner, file, passes] = arguments.as_slice() else {
        panic!("passes SCANNER FILE PASSES, not {arguments:?}");
    };
    let mut bytes = std::fs::read(file).expect("a file that can be read");
    let passes: u32 = passes.parse().expect("a number of passes");
    let mut pass = scan(scanner);
    let found: usize = (0..passes).map(|_| pass(black_box(&mut bytes))).sum();
    println!("{found}");
}

type Pass = Box<dyn FnMut(&mut [u8]) -> usize>;

fn scan(scanner: &str) -> Pass {
    let keys = Keys::new(&[(b"ptime", true), (b"status", true)]).expect("two keys");
    match scanner {
        "newlines" => Box::new(|bytes| newlines::count(bytes) as usize),
        "ltsv" => Box::new(move |bytes| {
            let mut found = 0;
            ltsv::scan(bytes, &keys, &mut |_: &[u8], values: &Values<'_>| {
                found += values[0].len() + values[1].len();
            });
            found
        }),
        "json" => members(keys, Prefix::Refuse),
        "json-full" => members(keys, Prefix::Skip),
        "mask" => Box::new(|bytes| {
            websocket::mask(bytes, *b"mask", 0);
            usize::from(bytes[0])
        }),
        _ => panic!("{scanner}: newlines, ltsv, json, json-full or mask"),
    }
}

fn members(keys: Keys, prefix: Prefix) -> Pass {
    Box::new(move |bytes| {
        let mut found = 0;
        json::scan(bytes, &keys, prefix, &mut |_: &[u8], values: &Values<'_>| {
            found += values[0].len() + values[1].len();
        });
        found
    })
}
