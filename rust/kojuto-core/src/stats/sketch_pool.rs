//! Sketches of many files put together, group by group.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::stats::group_name::GroupName;
use crate::stats::pile::{self, Pile};
use crate::stats::sketch::Sketch;
use crate::stats::sketch_file::Part;

/// Sketches of one accuracy, all of groups of one key or all of none. What comes out of it does not
/// depend on the order in which they came.
#[derive(Debug, Clone)]
pub struct SketchPool {
    /// An empty sketch of the accuracy, once there is one.
    blank: Option<Sketch>,
    /// The key that parts the groups of the first, once there is a first.
    by: Option<Option<Box<[u8]>>>,
    /// By group; `None` for all numbers.
    sketches: BTreeMap<Option<GroupName>, Sketch>,
}

impl SketchPool {
    /// No sketches yet. The first decides the accuracy, unless a `blank` one does.
    pub fn new(blank: Option<Sketch>) -> SketchPool {
        SketchPool { blank, by: None, sketches: BTreeMap::new() }
    }

    /// An empty sketch of the accuracy, if that is decided.
    pub fn blank(&self) -> Option<&Sketch> {
        self.blank.as_ref()
    }

    /// The key by whose values the lines were parted, if they were.
    pub fn by(&self) -> Option<&[u8]> {
        self.by.as_ref()?.as_deref()
    }

    /// Takes in a sketch.
    ///
    /// # Errors
    /// [`Error::Accuracy`] when it is of another accuracy, [`Error::Groups`] when it is of groups of
    /// another key, [`Error::Argument`] when a count would overflow.
    pub fn take(&mut self, part: Part) -> Result<(), Error> {
        let Part { group, mut sketch } = part;
        let (by, name) = group.map(|group| (group.by, group.name)).unzip();
        let blank = self.blank.get_or_insert_with(|| {
            let mut blank = sketch.clone();
            blank.clear();
            blank
        });
        let ours = self.by.get_or_insert_with(|| by.clone());
        if *ours != by {
            let text =
                |by: Option<Box<[u8]>>| by.map(|by| String::from_utf8_lossy(&by).into_owned());
            return Err(Error::Groups { theirs: text(by), ours: text(ours.clone()) });
        }
        if sketch.accuracy() != blank.accuracy() {
            return Err(Error::Accuracy { theirs: sketch.accuracy(), ours: blank.accuracy() });
        }
        if let Some(ours) = self.sketches.get(&name) {
            sketch.merge(ours)?;
        }
        self.sketches.insert(name, sketch);
        Ok(())
    }

    /// The sketch of all numbers; an error where they are of groups.
    ///
    /// # Errors
    /// [`Error::Groups`] with the key that parts them.
    pub fn into_whole(mut self) -> Result<Option<Sketch>, Error> {
        match self.by() {
            Some(by) => {
                let theirs = Some(String::from_utf8_lossy(by).into_owned());
                Err(Error::Groups { theirs, ours: None })
            }
            None => Ok(self.sketches.remove(&None)),
        }
    }

    /// The sketches: that of all numbers, or those of the groups, the largest first and the pool
    /// last; it takes in what is over `most` values.
    pub fn into_sorted(mut self, most: usize) -> Vec<(Option<GroupName>, Pile)> {
        let pile = |sketch: Sketch| Pile::Sketch(Box::new(sketch));
        if let Some(sketch) = self.sketches.remove(&None) {
            return vec![(None, pile(sketch))];
        }
        let mut special = |name| self.sketches.remove(&Some(name)).map(pile).unwrap_or_default();
        let (missing, other) = (special(GroupName::Missing), special(GroupName::Other));
        let values = self.sketches.into_iter().filter_map(|(name, of)| Some((name?, pile(of))));
        let mut found = pile::pooled(values.collect(), missing, other, most, self.blank.as_ref());
        if found.is_empty() {
            // What says that there are groups, though none has a number.
            found.extend(self.blank.map(|blank| (GroupName::Other, pile(blank))));
        }
        found.into_iter().map(|(name, pile)| (Some(name), pile)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::sketch_file::GroupOf;
    use proptest::prelude::*;

    fn part(by: &str, name: GroupName, accuracy: f64, numbers: &[f64]) -> Part {
        let mut sketch = Sketch::new(accuracy).unwrap();
        numbers.iter().for_each(|&number| sketch.add(number));
        Part { group: Some(GroupOf { by: by.as_bytes().into(), name }), sketch }
    }

    fn value(name: &str) -> GroupName {
        GroupName::Value(name.as_bytes().into())
    }

    #[test]
    fn sketches_of_other_groups_or_accuracies_are_refused_and_none_is_lost() {
        let mut pool = SketchPool::new(None);
        pool.take(part("uri", value("/"), 0.01, &[1.0])).unwrap();
        let whole = Part { group: None, ..part("", GroupName::Other, 0.01, &[]) };
        for (other, why) in [
            (part("status", value("/"), 0.01, &[]), "its groups are of status, not of uri"),
            (whole.clone(), "it has no groups, and those before it are of groups of uri"),
            (part("uri", value("/"), 0.02, &[]), "its accuracy is 2 %, not 1 %"),
            (part("uri", value("/b"), 0.02, &[]), "its accuracy is 2 %, not 1 %"),
        ] {
            assert_eq!(pool.take(other).unwrap_err().to_string(), why);
        }
        assert_eq!(pool.by(), Some(&b"uri"[..]));
        let found = pool.into_sorted(9);
        assert_eq!((found.len(), found[0].1.count()), (1, 1));
        let mut pool = SketchPool::new(None);
        pool.take(whole).unwrap();
        let why = pool.take(part("uri", value("/"), 0.01, &[])).unwrap_err().to_string();
        assert_eq!(why, "it is of a group of uri, and those before it are of none");
        assert_eq!(pool.by(), None);
        assert_eq!(pool.into_sorted(9)[0].0, None);
        let mut pool = SketchPool::new(Some(Sketch::new(0.02).unwrap()));
        assert!(pool.take(part("uri", value("/"), 0.01, &[])).is_err());
    }

    #[test]
    fn the_sketch_of_all_numbers_is_not_one_of_groups() {
        let mut pool = SketchPool::new(None);
        assert_eq!(pool.clone().into_whole().unwrap(), None);
        let whole = Part { group: None, ..part("", GroupName::Other, 0.01, &[1.0]) };
        pool.take(whole.clone()).unwrap();
        pool.take(whole).unwrap();
        assert_eq!(pool.into_whole().unwrap().unwrap().count(), 2);
        let mut pool = SketchPool::new(None);
        pool.take(part("uri", value("/"), 0.01, &[1.0])).unwrap();
        assert!(matches!(pool.into_whole(), Err(Error::Groups { .. })));
    }

    #[test]
    fn groups_without_a_number_still_say_that_there_are_groups() {
        let mut pool = SketchPool::new(None);
        pool.take(part("uri", value("/"), 0.01, &[])).unwrap();
        let found = pool.into_sorted(9);
        assert_eq!((found[0].0.clone(), found[0].1.count()), (Some(GroupName::Other), 0));
        assert_eq!(SketchPool::new(None).into_sorted(9), []);
    }

    proptest! {
        /// However numbers are spread over files, and in whatever order these come, the same groups
        /// come out of them as out of one.
        #[test]
        fn neither_order_nor_parts_matter(
            lines in prop::collection::vec((0usize..6, -9f64..9.0, 0usize..4), 0..120),
            most in 1usize..7, backwards in any::<bool>(),
        ) {
            let names = [value("a"), value("b"), value("c"), value("other"),
                GroupName::Missing, GroupName::Other];
            let pool = |files: &[usize]| {
                let mut pool = SketchPool::new(None);
                for file in files {
                    for (at, name) in names.iter().enumerate() {
                        let of = |&(group, number, part): &(usize, f64, usize)| {
                            (group == at && (part == *file || files.len() == 1)).then_some(number)
                        };
                        let numbers: Vec<f64> = lines.iter().filter_map(of).collect();
                        pool.take(part("k", name.clone(), 0.01, &numbers)).unwrap();
                    }
                }
                pool.into_sorted(most)
            };
            let files = if backwards { [3, 1, 2, 0] } else { [0, 1, 2, 3] };
            prop_assert_eq!(pool(&files), pool(&[0]));
        }
    }
}
