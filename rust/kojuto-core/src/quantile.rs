//! Exact quantiles by selection, by the rule of the Go tools that kojuto replaces.
//!
//! The rule everywhere: sort ascending, take the element at `round_half_away_from_zero(n * p) - 1`
//! with `n * p` computed in `f64`, the index never below 0 nor past the end.

/// The index, in ascending order, of the quantile `fraction` (0 to 1) among `count` values.
///
/// `count` must not be 0.
pub fn rank_index(count: usize, fraction: f64) -> usize {
    let rank = (count as f64 * fraction).round();
    // A float-to-integer cast saturates, so a negative or absurd rank stays inside.
    (rank as usize).saturating_sub(1).min(count - 1)
}

/// The quantiles `fractions` (each 0 to 1) of `values`, in the order asked for; empty without
/// values. `values` is reordered. Expected cost is linear in the number of values.
pub fn select(values: &mut [f64], fractions: &[f64]) -> Vec<f64> {
    if values.is_empty() {
        return Vec::new();
    }
    let wanted: Vec<usize> = fractions.iter().map(|&p| rank_index(values.len(), p)).collect();
    let mut ranks = wanted.clone();
    ranks.sort_unstable();
    ranks.dedup();
    partition(values, 0, &ranks);
    wanted.iter().map(|&index| values[index]).collect()
}

/// Moves to each of the ascending `ranks` (counted from `offset`) the value that sorting would put
/// there.
fn partition(values: &mut [f64], offset: usize, ranks: &[usize]) {
    if ranks.is_empty() || values.len() < 2 {
        return;
    }
    let middle = ranks.len() / 2;
    let at = ranks[middle] - offset;
    let (below, _, above) = values.select_nth_unstable_by(at, f64::total_cmp);
    partition(below, offset, &ranks[..middle]);
    partition(above, offset + at + 1, &ranks[middle + 1..]);
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
}
