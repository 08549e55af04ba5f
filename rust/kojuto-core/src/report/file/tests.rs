use super::super::naming::NamingOptions;
use super::super::{Collector, Options};
use super::*;
use proptest::prelude::*;

/// A line: (key, second, status, thousandths).
type Made = (u8, u16, u16, Option<u16>);

fn made() -> impl Strategy<Value = Made> {
    let status = prop_oneof![Just(200u16), Just(499), 100u16..600];
    (0u8..6, 0u16..3000, status, prop::option::of(0u16..2000))
}

fn totals(lines: &[Made]) -> Totals {
    // A part without any time would not tell which key has it.
    let keys = vec![("request_time", "reqtime".to_owned())];
    let mut collector =
        Collector::new(&Options { slowest: 3, keys, ..Options::default() }).unwrap();
    let mut block = String::new();
    for (key, second, status, millis) in lines {
        let at = 1_795_961_201 + u64::from(*second);
        let time = millis.map_or("-".to_owned(), |ms| format!("{}.{:03}", ms / 1000, ms % 1000));
        block += &format!(
            "time:{at}\tvhost:h{}.example\tmethod:GET\turi:/{key}x/{second}\tstatus:{status}\tsize:7\treqtime:{time}\n",
            key % 3
        );
    }
    collector.block(block.as_bytes()).unwrap();
    collector.into_totals()
}

fn read(bytes: &[u8]) -> Result<Totals, ReportFault> {
    Totals::from_bytes(bytes).map_err(|error| match error {
        Error::Malformed(Malformed::Report(fault)) => fault,
        other => panic!("{other}"),
    })
}

#[test]
fn every_cut_and_every_flipped_bit_is_noticed() {
    let lines: Vec<Made> = (0..60).map(|n| (n % 2, n.into(), 200, Some(u16::from(n)))).collect();
    let bytes = totals(&lines).to_bytes().unwrap();
    assert!(read(&bytes).is_ok());
    for cut in 0..bytes.len() {
        assert_eq!(read(&bytes[..cut]).err(), Some(ReportFault::CutShort), "{cut}");
    }
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&flipped).is_err(), "{bit}");
    }
    let mut newer = bytes.clone();
    newer[8] = 9;
    assert_eq!(read(&newer).err(), Some(ReportFault::Version { found: 9, known: VERSION }));
    assert_eq!(read(b"anything else").err(), Some(ReportFault::NotAReport));
}

#[test]
fn reports_of_other_settings_are_not_added_up() {
    let bytes = |group_by: Vec<String>| {
        let options = Options { group_by, ..Options::default() };
        Collector::new(&options).unwrap().into_totals().to_bytes().unwrap()
    };
    let both = [bytes(Vec::new()), bytes(vec!["status".to_owned()])].concat();
    assert_eq!(read(&both).err(), Some(ReportFault::Settings));
}

#[test]
fn what_came_when_is_left_out_of_all_but_the_costliest() {
    let lines: Vec<String> = (0..COSTLIEST + 2)
        .flat_map(|key| (0..40).map(move |n| (key, n)))
        .map(|(key, n)| {
            let at = 1_795_961_201 + n;
            format!("time:{at}\turi:/{}/\u{e9}{key}\tstatus:200\treqtime:0.{key:03}\n", key % 40)
        })
        .collect();
    let naming = NamingOptions { fold: false, ..NamingOptions::default() };
    let mut collector = Collector::new(&Options { naming, ..Options::default() }).unwrap();
    collector.block(lines.concat().as_bytes()).unwrap();
    let totals = collector.into_totals();
    let found = Totals::from_bytes(&totals.to_bytes().unwrap()).unwrap().answer().unwrap();
    assert_eq!(found.endpoints.len(), COSTLIEST + 2);
    for (at, endpoint) in found.endpoints.iter().enumerate() {
        assert_eq!(endpoint.figures.slices().is_some(), at < COSTLIEST, "{at}");
    }
}

proptest! {
    #[test]
    fn what_was_written_is_read(lines in prop::collection::vec(made(), 0..200)) {
        let whole = totals(&lines);
        let bytes = whole.to_bytes().unwrap();
        let read = Totals::from_bytes(&bytes).unwrap();
        prop_assert_eq!(read.to_bytes().unwrap(), bytes);
        prop_assert_eq!(read.answer().unwrap(), whole.answer().unwrap());
        prop_assert_eq!(read.found(), whole.found());
        prop_assert_eq!(read.span(), whole.span());
    }

    /// However lines are spread over files, and in whatever order and groups these are put
    /// together, the same bytes come of it.
    #[test]
    fn neither_order_nor_grouping_matters(
        lines in prop::collection::vec(made(), 1..250),
        parts in prop::collection::vec(0usize..4, 250),
        order in Just([0usize, 1, 2, 3]).prop_shuffle(),
    ) {
        let whole = totals(&lines).to_bytes().unwrap();
        let part = |at: usize| -> Vec<u8> {
            let of = lines.iter().zip(&parts).filter(|(_, part)| **part == at);
            totals(&of.map(|(line, _)| *line).collect::<Vec<_>>()).to_bytes().unwrap()
        };
        let [a, b, c, d] = order.map(part);
        let one_by_one = Totals::from_bytes(&[&a[..], &b, &c, &d].concat()).unwrap();
        prop_assert!(one_by_one.to_bytes().unwrap() == whole);
        let pair = |a: &[u8], b: &[u8]| Totals::from_bytes(&[a, b].concat()).unwrap();
        let mut pairs = pair(&d, &b);
        pairs.merge(pair(&c, &a)).unwrap();
        prop_assert!(pairs.to_bytes().unwrap() == whole);
    }

    #[test]
    fn no_bytes_make_it_fail_otherwise(
        lines in prop::collection::vec(made(), 0..60),
        at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        // Changed within, and sealed again.
        let whole = totals(&lines).to_bytes().unwrap();
        let mut content = unpack(&whole[HEAD_BYTES..whole.len() - 4]).unwrap();
        let place = at.index(content.len());
        content[place] = byte;
        let packed = pack(&content, Compression::best());
        let mut bytes = whole[..HEAD_BYTES - 4].to_vec();
        bytes.extend((packed.len() as u32).to_le_bytes());
        bytes.extend(packed);
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        if let Ok(totals) = Totals::from_bytes(&bytes) {
            let _ = totals.to_bytes();
        }
    }
}

/// A file of so many keys whose figures are as they are written.
fn made_up(keys: u64, figures: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let nothing = totals(&[]);
    let mut content = Vec::new();
    write_settings(&mut content, &nothing.settings);
    nothing.write_counts(&mut content);
    write_figures(&mut content, &nothing.all, Unit(1), true);
    write_varint(&mut content, keys);
    for key in 0..keys {
        write_varint(&mut content, 0);
        write_text(&mut content, &key.to_be_bytes());
        figures(&mut content);
    }
    seal(&content, 0).unwrap()
}

/// Two lines whose times are in buckets that are far from each other.
fn far(out: &mut Vec<u8>) {
    // bytes, example, detail, classes, timed, sum, squares, min, max, buckets
    [0, 0, 2, 2, 2, 2, 1, 1, 1, 0, 2, 2, 3, 2200]
        .iter()
        .for_each(|number| write_varint(out, *number));
}

#[test]
fn a_small_file_cannot_take_up_much_memory() {
    assert!(read(&made_up(1000, far)).is_ok());
    // Each key of a few bytes has 2,202 buckets of 8 bytes: 2 GB.
    let large = made_up(120_000, far);
    assert!(large.len() < 1 << 20, "{}", large.len());
    assert_eq!(read(&large).err(), Some(ReportFault::Content));
    // A megabyte of content for each kilobyte of the file.
    let zeros = pack(&vec![0; 100 << 20], Compression::best());
    assert!(zeros.len() < 120 << 10, "{}", zeros.len());
    assert!(unpack(&zeros).is_err());
    let few = |out: &mut Vec<u8>| [0, 0, 0, 0].iter().for_each(|n| write_varint(out, *n));
    assert!(read(&made_up(120_000, few)).is_ok());
    assert_eq!(read(&made_up(120_001, few)).err(), Some(ReportFault::Content));
}

#[test]
fn no_list_is_longer_than_a_report_makes_it() {
    let mut whole = totals(&[(0, 0, 200, Some(5))]);
    whole.slowest.most = 1000;
    assert!(read(&whole.to_bytes().unwrap()).is_ok());
    whole.slowest.most = 1001;
    assert_eq!(read(&whole.to_bytes().unwrap()).err(), Some(ReportFault::Content));
    let mut whole = totals(&[]);
    whole.hosts = (0..17u8).map(|n| vec![n].into()).collect();
    assert_eq!(read(&whole.to_bytes().unwrap()).err(), Some(ReportFault::Content));
}

#[test]
fn a_report_that_packs_too_well_to_be_read_again_is_written_as_it_is() {
    let line = |key: usize, n: usize| {
        let time = if n.is_multiple_of(2) { "0.000001" } else { "600" };
        format!("uri:/{key:06}x\tstatus:200\treqtime:{time}\n")
    };
    let lines = (0..6_000).flat_map(|key| (0..33).map(move |n| line(key, n)));
    let naming = NamingOptions { fold: false, ..NamingOptions::default() };
    let options = Options { naming, room_bytes: usize::MAX, ..Options::default() };
    let mut collector = Collector::new(&options).unwrap();
    collector.block(lines.collect::<String>().as_bytes()).unwrap();
    let mut totals = collector.into_totals();
    // So often that each count needs more than a byte.
    (0..4).for_each(|_| totals.merge(totals.clone()).unwrap());
    let bytes = totals.to_bytes().unwrap();
    let packed = pack(&unpack(&bytes[HEAD_BYTES..bytes.len() - 4]).unwrap(), Compression::best());
    assert!(packed.len() * 3 < bytes.len(), "{} {}", packed.len(), bytes.len());
    let read = Totals::from_bytes(&bytes).unwrap();
    assert!(read.to_bytes().unwrap() == bytes);
}
