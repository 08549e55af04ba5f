use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::report::naming::NamingOptions;

const SECOND: i64 = 1_000_000_000;
/// A slice is ten seconds then.
const WINDOW: Duration = Duration::from_secs(300);
const NOW_S: i64 = 1_796_000_000;

fn line(at_s: i64, path: &str) -> String {
    format!("time:{at_s}\tmethod:GET\turi:{path}\tstatus:200\treqtime:0.5\n")
}

struct Log {
    window: Window,
    collector: Collector,
    clock: Clock,
}

impl Log {
    fn new(options: &Options) -> Log {
        let window = Window::new(options, WINDOW).unwrap();
        let collector = Collector::new(&Window::options(options)).unwrap();
        Log { window, collector, clock: Clock::default() }
    }

    fn read(&mut self, text: &str, now_s: i64) {
        let mut part = self.window.part();
        part.block(&mut self.collector, text.as_bytes()).unwrap();
        self.window.add(part, &mut self.clock, now_s * SECOND).unwrap();
    }

    fn count(&mut self, now_s: i64) -> u64 {
        self.window.slide(now_s * SECOND);
        self.window.totals().unwrap().all().count()
    }

    fn rows(&mut self) -> Vec<(String, u64)> {
        let endpoints = self.window.totals().unwrap().answer().unwrap().endpoints;
        let row = |row: &crate::report::Endpoint| {
            (String::from_utf8_lossy(&row.name).into_owned(), row.figures.count())
        };
        endpoints.iter().map(row).collect()
    }
}

#[test]
fn lines_leave_when_they_are_older_than_the_window() {
    let mut log = Log::new(&Options::default());
    assert_eq!(log.count(NOW_S), 0);
    log.read(&[line(NOW_S - 200, "/a"), line(NOW_S - 1, "/b")].concat(), NOW_S);
    log.read(&line(NOW_S + 4, "/b"), NOW_S + 5);
    assert_eq!(log.rows(), [("GET /b".to_owned(), 2), ("GET /a".to_owned(), 1)]);
    let counts = [100, 111, 298, 309, 310, 4000].map(|after| log.count(NOW_S + after));
    assert_eq!(counts, [3, 2, 2, 1, 0, 0]);
    assert!(log.window.slices.is_empty());
    assert!(!log.window.slide((NOW_S + 4000) * SECOND));
}

#[test]
fn a_long_absence_gives_the_lines_of_the_window_and_no_more_slices() {
    let mut log = Log::new(&Options::default());
    let hours: String = (0..=7200).map(|at| line(NOW_S - 7200 + at, "/a")).collect();
    log.read(&hours, NOW_S);
    assert_eq!(log.window.slices.len(), SLICES as usize + 1);
    assert_eq!(log.count(NOW_S), 301);
}

#[test]
fn a_log_whose_clock_is_another_is_read_by_its_own() {
    for ahead_s in [-9 * 3600, -400, 0, 5, 3600] {
        let mut log = Log::new(&Options::default());
        for at in 0..600 {
            log.read(&line(NOW_S + at + ahead_s, "/a"), NOW_S + at);
        }
        // Both clocks tick in steps of a slice.
        let count = log.count(NOW_S + 600);
        assert!((290..=311).contains(&count), "{ahead_s}: {count}");
        assert!(log.window.slices.len() <= SLICES as usize + 1);
    }
    let idle = Clock::of((NOW_S - 9 * 3600) * SECOND, NOW_S * SECOND, WINDOW);
    assert_eq!(idle.theirs(NOW_S * SECOND), (NOW_S - 9 * 3600) * SECOND);
    assert_eq!(Clock::of((NOW_S - 2) * SECOND, NOW_S * SECOND, WINDOW), Clock::default());
}

#[test]
fn one_line_of_another_year_does_not_empty_the_window_for_long() {
    let mut log = Log::new(&Options::default());
    log.read(&line(NOW_S, "/a").repeat(10), NOW_S);
    log.read(&line(NOW_S + 40_000_000, "/future"), NOW_S + 1);
    log.read(&line(NOW_S + 2, "/a"), NOW_S + 2);
    log.read(&[line(NOW_S - 400_000, "/old"), line(NOW_S + 3, "/a")].concat(), NOW_S + 3);
    assert_eq!(log.rows(), [("GET /a".to_owned(), 12), ("GET /future".to_owned(), 1)]);
}

#[test]
fn lines_without_a_time_are_of_now_and_bad_ones_too() {
    let mut log = Log::new(&Options::default());
    let text = "method:GET\turi:/a\tstatus:200\n".repeat(3) + "method:GET\turi:/a\tstatus:x\n";
    log.read(&text, NOW_S);
    let totals = log.window.totals().unwrap();
    assert_eq!((totals.all().count(), totals.lines()), (3, 4));
    assert_eq!([log.count(NOW_S + 299), log.count(NOW_S + 320)], [3, 0]);
    assert_eq!(log.window.totals().unwrap().lines(), 0);
}

#[test]
fn what_folds_is_decided_by_the_whole_window() {
    let naming = NamingOptions { fold_above: 9, ..NamingOptions::default() };
    let mut log = Log::new(&Options { naming, ..Options::default() });
    let names = |names: &str, at_s: i64| -> String {
        names.chars().map(|c| line(at_s, &format!("/u/{c}{c}{c}x/z"))).collect()
    };
    log.read(&names("abcdef", NOW_S - 250), NOW_S);
    log.read(&names("ghijkl", NOW_S), NOW_S);
    assert_eq!(log.rows(), [("GET /u/*/z".to_owned(), 12)]);
    assert_eq!((log.count(NOW_S + 100), log.rows().len()), (6, 6));
}

/// With a thousand names that do not fold, of which each slice has forty lines with times of many sizes.
#[test]
fn a_full_window_takes_up_bounded_memory() {
    let naming = NamingOptions { fold: false, ..NamingOptions::default() };
    let mut log = Log::new(&Options { naming, ..Options::default() });
    for read in 0..8 {
        let line = |n: i64| {
            let time = (n * 7919 % 100_003) as f64 / 1e4;
            let at_s = NOW_S + read * 5 + n % 5;
            format!("time:{at_s}\turi:/{}\tstatus:200\treqtime:{time:.4}\n", n % 1000)
        };
        let lines: String = (0..20_000).map(line).collect();
        log.read(&lines, NOW_S + read * 5 + 4);
    }
    let bytes: Vec<usize> = log.window.slices.values().map(Totals::bytes).collect();
    assert!(bytes.len() >= 4 && bytes.iter().all(|one| *one <= BYTES_OF_A_SLICE), "{bytes:?}");
    assert!(bytes.iter().any(|one| *one > BYTES_OF_A_SLICE / 2), "{bytes:?}");
    let totals = log.window.totals().unwrap();
    assert!(totals.bytes() <= BYTES && totals.all().count() == 160_000, "{}", totals.bytes());
}

#[test]
fn a_slice_keeps_the_largest_of_many_keys() {
    let options = Options {
        naming: NamingOptions { fold: false, ..NamingOptions::default() },
        ..Options::default()
    };
    let mut log = Log::new(&options);
    for block in 0..10 {
        let text: String = (0..1000).map(|at| line(NOW_S, &format!("/{block}/{at}"))).collect();
        log.read(&(text + &line(NOW_S, "/most").repeat(100)), NOW_S);
    }
    let totals = log.window.totals().unwrap();
    assert_eq!(totals.all().count(), 11_000);
    let rows = log.rows();
    assert_eq!((rows.len(), &rows[0]), (KEYS_OF_A_SLICE, &("GET /most".to_owned(), 1000)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The window has what a report of its lines has, however they came.
    #[test]
    fn neither_blocks_nor_reads_matter(
        steps in prop::collection::vec((0i64..20, 0u8..3), 1..120),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut at_s = NOW_S - steps.iter().map(|(step, _)| step).sum::<i64>();
        let mut lines = Vec::new();
        for (step, path) in &steps {
            at_s += step;
            lines.push((at_s, line(at_s, &format!("/{path}"))));
        }
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(lines.len() + 1)).collect();
        cuts.extend([0, lines.len()]);
        cuts.sort_unstable();
        let mut log = Log::new(&Options::default());
        for cut in cuts.windows(2) {
            let part = &lines[cut[0]..cut[1]];
            let Some((now_s, _)) = part.last() else { continue };
            log.read(&part.iter().map(|(_, line)| &**line).collect::<String>(), *now_s);
        }
        let count = log.count(NOW_S);
        let since = |seconds: i64| lines.iter().filter(|(at_s, _)| NOW_S - at_s < seconds).count();
        // A block of less than a slice counts where its last line does.
        prop_assert!(count >= since(290) as u64, "{count}");
        prop_assert!(count <= since(321) as u64, "{count}");
    }
}
