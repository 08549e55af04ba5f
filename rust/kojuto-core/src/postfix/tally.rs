//! The running figures of one group of deliveries.

use super::Figures;
use super::fields::Delivery;
use super::samples::Column;

#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) total: u64,
    /// By the first digit of the DSN.
    by_digit: [u64; 10],
    delays: [Column; 5],
}

impl Tally {
    #[inline(always)]
    pub(super) fn add(&mut self, delivery: &Delivery) {
        self.total += 1;
        self.by_digit[usize::from(delivery.class)] += 1;
        for (column, delay) in self.delays.iter_mut().zip(delivery.delays) {
            column.push(delay);
        }
    }

    pub(super) fn absorb(&mut self, other: Tally) {
        self.total += other.total;
        for (count, more) in self.by_digit.iter_mut().zip(other.by_digit) {
            *count += more;
        }
        for (column, more) in self.delays.iter_mut().zip(other.delays) {
            column.absorb(more);
        }
    }

    /// Its figures, with histograms if there are `edges`.
    pub(super) fn figures(mut self, edges: &[f64]) -> Figures {
        let histograms = (!edges.is_empty())
            .then(|| self.delays.each_mut().map(|column| column.histogram(edges)));
        let [total, a, b, c, d] = self.delays.map(Column::figures);
        let delays = match (total, a, b, c, d) {
            (Some(total), Some(a), Some(b), Some(c), Some(d)) => Some([total, a, b, c, d]),
            _ => None,
        };
        let classes = [2, 4, 5].map(|class: usize| self.by_digit[class]);
        Figures { total: self.total, classes, delays, histograms }
    }
}
