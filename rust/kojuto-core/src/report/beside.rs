//! Two sides beside each other: their endpoints named together, and compared.

use std::collections::{BTreeMap, HashMap};

use super::classes::CLASSES;
use super::compare::{Comparison, Options, Pair, Run, Side, Slice, compare};
use super::figures::Figures;
use super::totals::Totals;
use crate::Error;

/// Where [`CLASSES`] has the statuses of failures.
const FAILED: usize = 5;
const _: () = assert!(matches!(CLASSES[FAILED].as_bytes(), b"5xx"));

/// Two sides, and what has changed.
#[derive(Debug, Clone)]
pub struct Beside {
    /// All lines before and after.
    pub all: [Figures; 2],
    /// Each endpoint that either has, by name.
    pub rows: Vec<Row>,
    /// What is found of them, in this order.
    pub comparison: Comparison,
}

/// An endpoint on both sides.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its name.
    pub name: Box<[u8]>,
    /// Its figures before and after; `None` where it is not.
    pub sides: [Option<Figures>; 2],
}

/// Compares two sides of one or more runs each. Which keys are one endpoint is decided by all of
/// them together, so that it has one name on both sides.
///
/// # Errors
/// [`Error::Malformed`] when their keys are made in different ways, [`Error::Argument`] for an
/// expression or a route that is none, in what was read from a file.
pub fn beside(sides: [&[&Totals]; 2], fail_above: Option<f64>) -> Result<Beside, Error> {
    let names = names_of(&sides)?;
    let counted = sides.map(|runs| -> Vec<BTreeMap<&[u8], Figures>> {
        runs.iter().map(|run| by_name(run, &names)).collect()
    });
    let mut rows: BTreeMap<&[u8], [Option<Figures>; 2]> = BTreeMap::new();
    for (at, runs) in counted.iter().enumerate() {
        for (name, figures) in runs.iter().flatten() {
            let sides = rows.entry(name).or_default();
            sides[at].get_or_insert_default().add_all(figures);
        }
    }
    let all = sides.map(|runs| {
        let mut all = Figures::default();
        runs.iter().for_each(|run| all.add_all(run.all()));
        all
    });
    let side_of = |at: usize, whole: &Figures, of_run: &dyn Fn(usize) -> Option<Figures>| {
        let runs = sides[at].iter().enumerate();
        side(whole, runs.map(|(run, totals)| run_of(totals, of_run(run).as_ref())).collect())
    };
    let whole = [0, 1].map(|at| side_of(at, &all[at], &|run| Some(sides[at][run].all().clone())));
    let told: Vec<[Option<Side>; 2]> = rows
        .iter()
        .map(|(name, both)| {
            [0, 1].map(|at| {
                let figures = both[at].as_ref()?;
                Some(side_of(at, figures, &|run| counted[at][run].get(name).cloned()))
            })
        })
        .collect();
    let pairs: Vec<Pair<'_>> =
        told.iter().map(|[old, new]| Pair { old: old.as_ref(), new: new.as_ref() }).collect();
    let resolutions =
        sides.iter().flat_map(|runs| runs.iter()).filter_map(|run| run.resolution_s());
    let options = Options { resolution_s: resolutions.fold(0.0, f64::max), fail_above };
    let comparison = compare(Pair { old: Some(&whole[0]), new: Some(&whole[1]) }, &pairs, options);
    let rows = rows.into_iter().map(|(name, sides)| Row { name: name.into(), sides }).collect();
    Ok(Beside { all, rows, comparison })
}

/// The endpoint of each key.
type Names = HashMap<Box<[u8]>, Box<[u8]>>;

fn names_of(sides: &[&[&Totals]; 2]) -> Result<Names, Error> {
    let mut whole: Option<Totals> = None;
    for run in sides.iter().flat_map(|runs| runs.iter()) {
        match &mut whole {
            Some(whole) => whole.merge((*run).clone())?,
            None => whole = Some((*run).clone()),
        }
    }
    let Some(whole) = whole else { return Ok(HashMap::new()) };
    let mut keys: Vec<(&[u8], &Figures)> = whole.keys.groups().collect();
    keys.sort_unstable_by_key(|(key, _)| *key);
    let names = whole.names(&keys)?;
    Ok(keys.iter().zip(names).map(|((key, _), name)| ((*key).into(), name)).collect())
}

/// The endpoints of a run. A key that lost its place when all were put together is of none.
fn by_name<'n>(run: &Totals, names: &'n Names) -> BTreeMap<&'n [u8], Figures> {
    let mut found: BTreeMap<&[u8], Figures> = BTreeMap::new();
    for (key, figures) in run.keys.groups() {
        if let Some(name) = names.get(key) {
            found.entry(name).or_default().add_all(figures);
        }
    }
    found
}

fn side(figures: &Figures, runs: Vec<Run>) -> Side {
    Side {
        lines: figures.count(),
        failed: figures.classes[FAILED],
        time_s: figures.sum_s(),
        latencies: figures.spread().buckets().collect(),
        runs,
    }
}

fn run_of(run: &Totals, figures: Option<&Figures>) -> Run {
    let (first, _, last) = run.span().unwrap_or_default();
    let slices = figures.and_then(Figures::slices);
    let width_s = slices.as_ref().map_or(1, |slices| slices.width_s()) as f64;
    let slices = slices.iter().flat_map(|slices| slices.each()).map(|(start_s, slice)| Slice {
        start_s: start_s as f64,
        width_s,
        lines: slice.lines(),
        failed: slice.classes[FAILED],
        steps: slice.steps().collect(),
    });
    Run { from_s: first as f64 / 1e9, to_s: last as f64 / 1e9, slices: slices.collect() }
}

#[cfg(test)]
mod tests {
    use super::super::collector::Collector;
    use super::super::compare::Verdict;
    use super::*;

    /// 1,280 requests in 320 seconds: one in four of `/users/NAME` with 30 names of this side, the
    /// others of `/search`, which takes about so long.
    fn run(side: &str, search_s: f64, begin_s: u32) -> Totals {
        let mut lines = String::new();
        for n in 0..1280u32 {
            let (at, spread) = (begin_s + n / 4, f64::from(n * 7919 % 100) / 100.0 + 0.5);
            let (uri, time) = if n % 4 == 0 {
                (format!("/users/{side}{}", char::from(b'a' + (n / 4 % 26) as u8)), 0.2 * spread)
            } else {
                ("/search".to_owned(), search_s * spread)
            };
            let (status, more) = (200, if n % 4 == 0 { n / 4 % 30 / 26 } else { 0 });
            let uri = if more > 0 { format!("{uri}x") } else { uri };
            lines +=
                &format!("time:{at}\tmethod:GET\turi:{uri}\tstatus:{status}\treqtime:{time:.4}\n");
        }
        let mut collector = Collector::new(&super::super::Options::default()).unwrap();
        collector.block(lines.as_bytes()).unwrap();
        collector.into_totals()
    }

    fn verdicts(found: &Beside) -> Vec<(String, Verdict)> {
        let name = |row: &Row| String::from_utf8_lossy(&row.name).into_owned();
        let findings = found.comparison.endpoints.iter().map(|finding| finding.verdict);
        found.rows.iter().map(name).zip(findings).collect()
    }

    #[test]
    fn an_endpoint_has_one_name_on_both_sides() {
        let (old, new) = (run("old", 0.1, 1_700_000_000), run("new", 0.13, 1_700_009_000));
        let found = beside([&[&old], &[&new]], None).unwrap();
        assert_eq!(
            verdicts(&found),
            [
                ("GET /search".to_owned(), Verdict::Slower),
                ("GET /users/*".to_owned(), Verdict::Same),
            ]
        );
        assert_eq!(found.rows[1].sides.clone().map(|side| side.unwrap().count()), [320; 2]);
        assert_eq!(found.all.clone().map(|all| all.count()), [1280; 2]);
    }

    #[test]
    fn several_runs_are_one_side() {
        let old = run("old", 0.1, 1_700_000_000);
        let (new, again) = (run("old", 0.13, 1_700_009_000), run("old", 0.13, 1_700_900_000));
        let found = beside([&[&old], &[&new, &again]], Some(0.1)).unwrap();
        assert_eq!(found.all[1].count(), 2560);
        let search = found.rows.iter().position(|row| &*row.name == b"GET /search").unwrap();
        assert_eq!(found.comparison.endpoints[search].verdict, Verdict::Slower);
        assert!(found.comparison.endpoints[search].above);
        let none = beside([&[], &[]], None).unwrap();
        assert!(none.rows.is_empty());
    }
}
