//! Thousands of random steps of writing, rotating, compressing, truncating and killed runs: every
//! line that was written is counted by exactly one committed run.
//!
//! A failure prints its seed; `KOJUTO_FOLLOW_SEED=N` runs that one alone, and
//! `KOJUTO_FOLLOW_SEEDS=N` runs N seeds (300 unless told) from
//! `KOJUTO_FOLLOW_FIRST=N` on (1 unless told).

mod world;

use world::World;

const STEPS: u32 = 60;

fn run_seed(seed: u64) -> Result<u32, String> {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.step()?;
    }
    world.finish()?;
    Ok(STEPS)
}

#[test]
fn every_line_is_counted_exactly_once_whatever_happens_to_the_files() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("KOJUTO_FOLLOW_SEED") {
        Some(seed) => seed..=seed,
        None => {
            let first = number("KOJUTO_FOLLOW_FIRST").unwrap_or(1);
            first..=first - 1 + number("KOJUTO_FOLLOW_SEEDS").unwrap_or(300)
        }
    };
    let mut failures = Vec::new();
    let mut steps = 0;
    for seed in seeds {
        match std::panic::catch_unwind(|| run_seed(seed)) {
            Ok(Ok(count)) => steps += count,
            Ok(Err(story)) => failures.push((seed, story)),
            Err(_) => failures.push((seed, "panicked".to_owned())),
        }
    }
    if let Some((_, story)) = failures.first() {
        let seeds: Vec<u64> = failures.iter().map(|(seed, _)| *seed).collect();
        panic!("failing seeds: {seeds:?}\nthe first one:\n{story}");
    }
    assert!(steps > 0);
}
