//! How many numbers lie between ascending edges: the buckets of a histogram.

/// Counts values between `edges`, which ascend.
///
/// Gives one count more than there are edges: below the first, from each edge to below the next,
/// from the last on. A value on an edge is above it; who wants it below, as Prometheus does with
/// its bounds, gives the next larger double as the edge.
pub fn count(edges: &[f64], values: impl Iterator<Item = (f64, u64)>) -> Vec<u64> {
    let mut counts = vec![0; edges.len() + 1];
    for (value, times) in values {
        counts[edges.partition_point(|edge| *edge <= value)] += times;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_an_edge_is_above_it_and_the_one_just_below_is_not() {
        let edges = [0.1, 1.0];
        let of = |value: f64| count(&edges, [(value, 3)].into_iter());
        assert_eq!(of(0.1_f64.next_down()), [3, 0, 0]);
        assert_eq!(of(0.1), [0, 3, 0]);
        assert_eq!(of(1.0_f64.next_down()), [0, 3, 0]);
        assert_eq!(of(1.0), [0, 0, 3]);
        assert_eq!((of(-5.0), of(1e300)), (vec![3, 0, 0], vec![0, 0, 3]));
        assert_eq!(count(&[], [(1.0, 2), (2.0, 1)].into_iter()), [3]);
    }
}
