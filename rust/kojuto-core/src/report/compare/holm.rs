//! Many questions at once: Holm's procedure ("A simple sequentially rejective multiple test
//! procedure", Scandinavian Journal of Statistics 6, 1979).

/// The probabilities as they count when all questions are asked together, in the order given: the
/// least one times all of the weights, over its own, the next times the weights without that, and so
/// on; never below the one before, at most 1.
///
/// Args: (probability, weight above 0) of each.
pub(super) fn adjusted(asked: &[(f64, f64)]) -> Vec<f64> {
    let each = |at: usize| asked[at].0 / asked[at].1;
    let mut order: Vec<usize> = (0..asked.len()).collect();
    order.sort_by(|&a, &b| each(a).total_cmp(&each(b)));
    let mut left: f64 = asked.iter().map(|(_, weight)| weight).sum();
    let mut adjusted = vec![1.0; asked.len()];
    let mut least: f64 = 0.0;
    for at in order {
        least = least.max(each(at) * left).min(1.0);
        left -= asked[at].1;
        adjusted[at] = least;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::adjusted;

    fn close(asked: &[(f64, f64)], exact: &[f64]) -> bool {
        let found = adjusted(asked);
        found.len() == exact.len() && found.iter().zip(exact).all(|(a, b)| (a - b).abs() < 1e-12)
    }

    #[test]
    fn equal_weights_give_the_procedure_as_it_is_known() {
        // 4 * 0.005, 3 * 0.01, 2 * 0.03, and 1 * 0.04 is not below the one before.
        let asked = [0.01, 0.04, 0.03, 0.005].map(|probability| (probability, 1.0));
        assert!(close(&asked, &[0.03, 0.06, 0.06, 0.02]));
    }

    #[test]
    fn a_question_of_less_weight_takes_less_from_the_others() {
        assert!(close(&[(0.01, 1.0), (0.01, 0.25)], &[0.0125, 0.0125]));
        assert!(close(&[(0.02, 1.0), (0.001, 0.25)], &[0.02, 0.005]));
    }

    #[test]
    fn none_is_above_one_and_one_alone_stays() {
        assert!(close(&[(0.9, 1.0), (0.8, 1.0)], &[1.0, 1.0]));
        assert!(close(&[(0.04, 0.25)], &[0.04]));
        assert!(adjusted(&[]).is_empty());
    }
}
