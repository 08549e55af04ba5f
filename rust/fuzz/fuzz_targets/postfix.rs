//! Any bytes as a mail log: whatever stands in it, nothing panics, lines may be handed over in
//! any blocks, and what is counted is bounded by what is there.
#![no_main]

use std::sync::LazyLock;

use kojuto_core::postfix::{Options, Scanner};
use libfuzzer_sys::fuzz_target;

const MAX_GROUPS: usize = 3;

/// A scanner with and one without a pattern; compiling the pattern takes longer than a run.
static SCANNERS: LazyLock<[Scanner; 2]> = LazyLock::new(|| {
    [None, Some("postfix.*")].map(|pattern| {
        let options = Options {
            programs: ["smtp", "lmtp", "postfix/relay/smtp", "smtpd", "cleanup", "qmgr"]
                .map(str::to_owned)
                .to_vec(),
            syslog_name: pattern.map(str::to_owned),
            by_relay: true,
            by_dsn: true,
            max_groups: MAX_GROUPS,
            edges: Vec::new(),
        };
        Scanner::new(&options).expect("the pattern is right")
    })
});

fuzz_target!(|data: &[u8]| {
    let Some((&first, text)) = data.split_first() else { return };
    let fresh = &SCANNERS[usize::from(first & 1)];
    let scan = |blocks: &mut dyn Iterator<Item = &[u8]>| {
        let mut scanner = fresh.clone();
        blocks.for_each(|block| scanner.block(block));
        scanner.finish()
    };
    let whole = scan(&mut [text].into_iter());
    let by_line = scan(&mut text.split_inclusive(|&b| b == b'\n'));
    assert_eq!(whole, by_line);
    let middle = text.iter().take(text.len() / 2).rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
    let (mut first, mut second) = (fresh.clone(), fresh.clone());
    first.block(&text[..middle]);
    second.block(&text[middle..]);
    first.merge(second);
    assert_eq!(first.finish(), whole);

    let figures = whole.deliveries.expect("delivery programs were asked for");
    let markers = text.windows(8).filter(|window| window == b", delay=").count() as u64;
    let bad: u64 = whole.bad.iter().map(|(_, count)| count).sum();
    assert!(figures.total + bad <= markers);
    assert_eq!(whole.example.is_some(), bad > 0);
    assert!(figures.classes.iter().sum::<u64>() <= figures.total);
    assert_eq!(whole.dsns.iter().map(|(_, count)| count).sum::<u64>(), figures.total);
    assert_eq!(whole.relays.iter().map(|r| r.figures.total).sum::<u64>(), figures.total);
    assert!(whole.dsns.len() <= MAX_GROUPS + 1);
    assert!(whole.relays.len() <= MAX_GROUPS + 1);
    for delay in figures.delays.iter().flatten() {
        assert!(delay.p90 <= delay.p95 && delay.p95 <= delay.p99);
    }
});
