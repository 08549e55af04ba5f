//! Exact quantiles by selection, by the rule of the Go tools that kojuto replaces.
//!
//! The rule everywhere: sort ascending, take the element at `round_half_away_from_zero(n * p) - 1`
//! with `n * p` computed in `f64`, the index never below 0 nor past the end.

use std::cmp::Ordering;

/// The index, in ascending order, of the quantile `fraction` (0 to 1) among `count` values.
///
/// `count` must not be 0.
pub fn rank_index(count: usize, fraction: f64) -> usize {
    let rank = (count as f64 * fraction).round();
    // A float-to-integer cast saturates, so a negative or absurd rank stays inside.
    (rank as usize).saturating_sub(1).min(count - 1)
}

/// The quantiles `fractions` (each 0 to 1) of `values`, in the order asked for; empty without
/// values. `values` may be reordered. Cost is linear in the number of values; beside them at most
/// 10 MiB are used.
pub fn select(values: &mut [f64], fractions: &[f64]) -> Vec<f64> {
    match extremes(values) {
        Some(ends) => select_between(values, fractions, ends),
        None => Vec::new(),
    }
}

/// The smallest and the largest value in the order of [`f64::total_cmp`]; none without values.
pub(crate) fn extremes(values: &[f64]) -> Option<(f64, f64)> {
    let (low, high) = values.iter().fold((u64::MAX, 0), |(low, high), &value| {
        let key = key(value);
        (low.min(key), high.max(key))
    });
    (!values.is_empty()).then(|| (value_of(low), value_of(high)))
}

/// [`select`] among at least one value whose [`extremes`] are known.
pub(crate) fn select_between(
    values: &mut [f64],
    fractions: &[f64],
    (min, max): (f64, f64),
) -> Vec<f64> {
    let wanted: Vec<usize> = fractions.iter().map(|&p| rank_index(values.len(), p)).collect();
    let mut ranks = wanted.clone();
    ranks.sort_unstable();
    ranks.dedup();
    if values.len() < RADIX_FROM || values.len() >= u32::MAX as usize {
        partition(values, 0, &ranks);
        return wanted.iter().map(|&index| values[index]).collect();
    }
    let found = select_by_radix(values, &ranks, (min, max));
    let of = |rank: &usize| ranks.binary_search(rank).map_or(f64::NAN, |at| found[at]);
    wanted.iter().map(of).collect()
}

/// Moves to each of the ascending `ranks` (counted from `offset`) the value that sorting would put
/// there.
fn partition<T: Copy + Ordered>(values: &mut [T], offset: usize, ranks: &[usize]) {
    if ranks.is_empty() || values.len() < 2 {
        return;
    }
    let middle = ranks.len() / 2;
    let at = ranks[middle] - offset;
    let (below, _, above) = values.select_nth_unstable_by(at, T::order);
    partition(below, offset, &ranks[..middle]);
    partition(above, offset + at + 1, &ranks[middle + 1..]);
}

trait Ordered {
    fn order(&self, other: &Self) -> Ordering;
}

impl Ordered for f64 {
    fn order(&self, other: &Self) -> Ordering {
        self.total_cmp(other)
    }
}

impl Ordered for u64 {
    fn order(&self, other: &Self) -> Ordering {
        self.cmp(other)
    }
}

// -- many values ---------------------------------------------------------------------------------

/// Below this, partitioning costs less than a histogram.
const RADIX_FROM: usize = 1 << 15;
/// So many counters of 4 bytes stay in the second cache.
const BUCKET_BITS: u32 = 16;
/// The most keys that are copied out at a time: 8 MiB.
const GATHER: usize = 1 << 20;

/// The bits of a double as an integer of the same order (that of [`f64::total_cmp`]).
#[inline]
fn key(value: f64) -> u64 {
    let bits = value.to_bits();
    bits ^ (((bits as i64) >> 63) as u64 | 1 << 63)
}

#[inline]
fn value_of(key: u64) -> f64 {
    f64::from_bits(key ^ (!((key as i64) >> 63) as u64 | 1 << 63))
}

/// Keys `low` to `high`, of which `count` occur and `below` are smaller, and the ranks among them.
struct Region<'a> {
    low: u64,
    high: u64,
    below: usize,
    count: usize,
    ranks: &'a [usize],
}

/// The values at the ascending `ranks`, in their order: passes over `values` count how many keys
/// lie in each of 2^16 equal ranges, until those around a rank are few enough to be copied out.
fn select_by_radix(values: &[f64], ranks: &[usize], (min, max): (f64, f64)) -> Vec<f64> {
    let (low, high) = (key(min), key(max));
    let mut found = Vec::with_capacity(ranks.len());
    let whole = Region { low, high, below: 0, count: values.len(), ranks };
    narrow(values, &whole, &mut vec![0; 1 << BUCKET_BITS], &mut found);
    found.sort_unstable_by_key(|&(rank, _)| rank);
    found.into_iter().map(|(_, value)| value).collect()
}

fn narrow(values: &[f64], region: &Region<'_>, counts: &mut [u32], found: &mut Vec<(usize, f64)>) {
    if region.low == region.high {
        found.extend(region.ranks.iter().map(|&rank| (rank, value_of(region.low))));
        return;
    }
    let width = region.high - region.low;
    let shift = (u64::BITS - width.leading_zeros()).saturating_sub(BUCKET_BITS);
    counts.fill(0);
    for &value in values {
        let at = key(value).wrapping_sub(region.low);
        if at <= width {
            counts[(at >> shift) as usize] += 1;
        }
    }
    let mut small = Vec::new();
    let mut large = Vec::new();
    let (mut below, mut ranks) = (region.below, region.ranks);
    for (bucket, &count) in counts.iter().enumerate() {
        let inside = ranks.partition_point(|&rank| rank < below + count as usize);
        if inside > 0 {
            let low = region.low + ((bucket as u64) << shift);
            let high = region.high.min(low + ((1 << shift) - 1));
            let part = Region { low, high, below, count: count as usize, ranks: &ranks[..inside] };
            if part.count <= GATHER {
                small.push(part)
            } else {
                large.push(part)
            }
            ranks = &ranks[inside..];
        }
        if ranks.is_empty() {
            break;
        }
        below += count as usize;
    }
    while !small.is_empty() {
        let mut total = 0;
        let fit = small.iter().position(|part| {
            total += part.count;
            total > GATHER
        });
        let fit = fit.unwrap_or(small.len()).min(usize::from(u16::MAX));
        let batch: Vec<Region<'_>> = small.drain(..fit).collect();
        gather(values, region.low, shift, &batch, found);
    }
    for part in large {
        narrow(values, &part, counts, found);
    }
}

/// Copies the keys of the buckets `parts` out in one pass and selects among them.
fn gather(
    values: &[f64],
    low: u64,
    shift: u32,
    parts: &[Region<'_>],
    found: &mut Vec<(usize, f64)>,
) {
    // The place of each bucket's next key, or none.
    let mut slots = vec![u16::MAX; 1 << BUCKET_BITS];
    for (slot, part) in parts.iter().enumerate() {
        slots[((part.low - low) >> shift) as usize] = slot as u16;
    }
    let mut keys: Vec<Vec<u64>> = parts.iter().map(|part| Vec::with_capacity(part.count)).collect();
    let first = parts[0].low;
    let width = parts[parts.len() - 1].high - first;
    for &value in values {
        let key = key(value);
        if key.wrapping_sub(first) <= width {
            let slot = slots[((key - low) >> shift) as usize];
            if slot != u16::MAX {
                keys[usize::from(slot)].push(key);
            }
        }
    }
    for (part, keys) in parts.iter().zip(&mut keys) {
        partition(keys, part.below, part.ranks);
        found.extend(part.ranks.iter().map(|&rank| (rank, value_of(keys[rank - part.below]))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_sample_and_a_low_quantile_gives_the_minimum() {
        assert_eq!(rank_index(1, 0.25), 0);
        assert_eq!(rank_index(1, 0.0), 0);
        assert_eq!(rank_index(3, 1.0), 2);
        assert_eq!(rank_index(3, 5.0), 2);
        assert_eq!(select(&mut [7.0], &[0.01, 0.99]), [7.0, 7.0]);
        assert_eq!(select(&mut [], &[0.5]), [] as [f64; 0]);
    }

    #[test]
    fn halves_round_away_from_zero_and_the_product_is_a_double() {
        assert_eq!(rank_index(10, 0.95), 9); // 9.5 rounds to 10
        assert_eq!(rank_index(50, 0.99), 49); // 49.5 rounds to 50
        assert_eq!(rank_index(150, 0.99), 148); // 148.5 rounds to 149
        // 50 * 0.57 is 28.499999999999996 in doubles: the original picks 28, and so do we.
        assert_eq!(rank_index(50, 0.57), 27);
    }

    proptest! {
        #[test]
        fn selection_picks_what_sorting_picks(
            mut values in proptest::collection::vec(-1e6f64..1e6, 1..300),
            fractions in proptest::collection::vec(0.0f64..=1.0, 0..8),
        ) {
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            let expected: Vec<f64> =
                fractions.iter().map(|&p| sorted[rank_index(sorted.len(), p)]).collect();
            prop_assert_eq!(select(&mut values, &fractions), expected);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn selection_among_many_picks_what_sorting_picks(
            seed in any::<u64>(), shape in 0usize..6, extra in 0usize..1000,
            fractions in proptest::collection::vec(0.0f64..=1.0, 1..8),
        ) {
            let mut values = many(seed, shape, RADIX_FROM + extra);
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            let expected: Vec<u64> = fractions
                .iter()
                .map(|&p| sorted[rank_index(sorted.len(), p)].to_bits())
                .collect();
            let got: Vec<u64> =
                select(&mut values, &fractions).into_iter().map(f64::to_bits).collect();
            prop_assert_eq!(got, expected);
        }
    }

    /// Values of several shapes: spread, narrow, few different, signed zeros, any bits, one far out.
    fn many(seed: u64, shape: usize, count: usize) -> Vec<f64> {
        let mut state = seed | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut values: Vec<f64> = (0..count)
            .map(|_| {
                let bits = next();
                match shape {
                    0 => (bits >> 11) as f64 / 1e12 - 4000.0,
                    1 => 1.0 + (bits >> 44) as f64 * f64::EPSILON,
                    2 => (bits % 3) as f64,
                    3 => [0.0, -0.0][(bits % 2) as usize],
                    4 => Some(f64::from_bits(bits)).filter(|v| !v.is_nan()).unwrap_or(0.0),
                    _ => 0.25,
                }
            })
            .collect();
        if shape == 5 {
            values[count / 2] = -1e300;
        }
        values
    }

    #[test]
    fn a_bucket_too_large_to_copy_is_narrowed_again() {
        // 1.3 million values inside one bucket of the first pass, which two far ones widen.
        let mut values: Vec<f64> = (0..1_300_000u64)
            .map(|i| f64::from_bits(1f64.to_bits() + i * 7919 % 1_300_000))
            .collect();
        values.push(-1e300);
        values.push(1e300);
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let fractions = [0.0, 0.5, 0.75, 0.99, 1.0];
        let expected: Vec<f64> =
            fractions.iter().map(|&p| sorted[rank_index(sorted.len(), p)]).collect();
        assert_eq!(select(&mut values, &fractions), expected);
    }
}
