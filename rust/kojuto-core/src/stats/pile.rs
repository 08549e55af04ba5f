//! The numbers of a group: as they are, or in a sketch once they are many.

use crate::stats::group_name::GroupName;
use crate::stats::samples::{self, Summary};
use crate::stats::sketch::Sketch;

/// So many numbers take no more memory than a sketch of them.
const FEW: usize = 64;

/// The numbers of a group.
#[derive(Debug, Clone, PartialEq)]
pub enum Pile {
    /// All of them.
    Numbers(Vec<f64>),
    /// How many there are of each size.
    Sketch(Box<Sketch>),
}

impl Default for Pile {
    fn default() -> Pile {
        Pile::Numbers(Vec::new())
    }
}

impl Pile {
    /// Adds a number; with a `blank` sketch it becomes one when there are many.
    #[inline]
    pub fn add(&mut self, number: f64, blank: Option<&Sketch>) {
        match self {
            Pile::Numbers(numbers) => {
                numbers.push(number);
                if let Some(blank) = blank
                    && numbers.len() > FEW
                {
                    self.sketch(blank);
                }
            }
            Pile::Sketch(sketch) => sketch.add(number),
        }
    }

    /// Adds all numbers of another pile of the same kind, which has none afterwards.
    pub fn absorb(&mut self, other: &mut Pile, blank: Option<&Sketch>) {
        match (&mut *self, &mut *other, blank) {
            (Pile::Numbers(mine), Pile::Numbers(theirs), None) => mine.append(theirs),
            (_, Pile::Numbers(theirs), _) => theirs.drain(..).for_each(|n| self.add(n, blank)),
            (_, Pile::Sketch(theirs), _) => {
                let mut blank = blank.unwrap_or(theirs).clone();
                blank.clear();
                let merged = self.sketch(&blank).merge(theirs);
                debug_assert!(merged.is_ok(), "one accuracy, and no 2^64 numbers");
                *other = Pile::default();
            }
        }
    }

    /// Makes a sketch of it, if it is none.
    pub fn sketch(&mut self, blank: &Sketch) -> &mut Sketch {
        if let Pile::Numbers(numbers) = self {
            let mut sketch = Box::new(blank.clone());
            numbers.iter().for_each(|&number| sketch.add(number));
            *self = Pile::Sketch(sketch);
        }
        match self {
            Pile::Sketch(sketch) => sketch,
            Pile::Numbers(_) => unreachable!("it was made a sketch"),
        }
    }

    /// How many numbers there are.
    pub fn count(&self) -> u64 {
        match self {
            Pile::Numbers(numbers) => numbers.len() as u64,
            Pile::Sketch(sketch) => sketch.count,
        }
    }

    /// Their figures, of a sketch within its accuracy; `None` without numbers.
    pub fn summarise(&mut self, fractions: &[f64]) -> Option<Summary> {
        match self {
            Pile::Numbers(numbers) => samples::summarise(numbers, fractions),
            Pile::Sketch(sketch) => sketch.summarise(fractions),
        }
    }

    /// Calls `take` with each number, or the middle of each bucket of a sketch, and how many they are.
    pub fn each(&self, mut take: impl FnMut(f64, u64)) {
        match self {
            Pile::Numbers(numbers) => numbers.iter().for_each(|&number| take(number, 1)),
            Pile::Sketch(sketch) => {
                sketch.buckets().for_each(|(middle, count)| take(middle, count));
            }
        }
    }
}

/// The groups, the largest first and the pool last; it takes in what is over `most` values. Those
/// without numbers are left out, and with a `blank` all are sketches.
pub fn pooled(
    mut values: Vec<(GroupName, Pile)>,
    missing: Pile,
    mut other: Pile,
    most: usize,
    blank: Option<&Sketch>,
) -> Vec<(GroupName, Pile)> {
    let sort = |groups: &mut Vec<(GroupName, Pile)>| {
        groups.sort_unstable_by(|(name_a, a), (name_b, b)| {
            b.count().cmp(&a.count()).then_with(|| name_a.cmp(name_b))
        });
    };
    sort(&mut values);
    for (_, mut pile) in values.split_off(most.min(values.len())) {
        other.absorb(&mut pile, blank);
    }
    values.push((GroupName::Missing, missing));
    sort(&mut values);
    values.push((GroupName::Other, other));
    values.retain(|(_, pile)| pile.count() > 0);
    if let Some(blank) = blank {
        for (_, pile) in &mut values {
            pile.sketch(blank);
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pile(numbers: &[f64], blank: Option<&Sketch>) -> Pile {
        let mut pile = Pile::default();
        numbers.iter().for_each(|&number| pile.add(number, blank));
        pile
    }

    #[test]
    fn with_a_blank_sketch_many_numbers_take_bounded_memory() {
        let blank = Sketch::new(0.01).unwrap();
        let few = pile(&[1.0; FEW], Some(&blank));
        assert_eq!(few, Pile::Numbers(vec![1.0; FEW]));
        assert!(matches!(pile(&[1.0; FEW + 1], Some(&blank)), Pile::Sketch(_)));
        assert!(matches!(pile(&[1.0; FEW + 1], None), Pile::Numbers(_)));
    }

    #[test]
    fn the_largest_groups_come_first_and_the_pool_last() {
        let value = |name: &str, count| {
            (GroupName::Value(name.as_bytes().into()), pile(&vec![1.0; count], None))
        };
        let values =
            vec![value("a", 1), value("b", 3), value("c", 3), value("d", 1), value("e", 0)];
        let found = pooled(values, pile(&[2.0; 2], None), pile(&[5.0; 9], None), 3, None);
        let found: Vec<_> = found
            .iter()
            .map(|(name, pile)| (name.parts().0, name.parts().1, pile.count()))
            .collect();
        let expected: [(&str, &[u8], u64); 5] = [
            ("value", b"b", 3),
            ("value", b"c", 3),
            ("missing", b"", 2),
            ("value", b"a", 1),
            ("other", b"", 10),
        ];
        assert_eq!(found, expected);
        assert_eq!(pooled(Vec::new(), Pile::default(), Pile::default(), 3, None), []);
    }

    proptest! {
        #[test]
        fn what_was_absorbed_is_there_and_nothing_is_left(
            a in prop::collection::vec(-1e3f64..1e3, 0..90),
            b in prop::collection::vec(-1e3f64..1e3, 0..90),
            sketches in any::<bool>(),
        ) {
            let blank = sketches.then(|| Sketch::new(0.01).unwrap());
            let blank = blank.as_ref();
            let (mut all, mut part) = (pile(&a, blank), pile(&b, blank));
            all.absorb(&mut part, blank);
            prop_assert_eq!((part.count(), all.count()), (0, (a.len() + b.len()) as u64));
            let mut expected = pile(&[&a[..], &b[..]].concat(), blank);
            if let Some(blank) = blank {
                prop_assert_eq!(all.sketch(blank), expected.sketch(blank));
            } else {
                prop_assert_eq!(all, expected);
            }
        }
    }
}
