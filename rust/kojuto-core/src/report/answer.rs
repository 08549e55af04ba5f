//! The endpoints of a report: keys put together by their names.

use std::collections::{BTreeMap, HashMap};

use super::figures::Figures;
use super::naming::{Counted, Naming};
use super::row::GROUP_SEPARATOR;
use super::slowest::Slow;
use super::totals::{COSTLIEST, Totals, counted};
use crate::Error;

/// An endpoint, or a row of what lines are grouped by.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// Its name; of several fields the values with [`super::GROUP_SEPARATOR`] between them.
    pub name: Box<[u8]>,
    /// Its figures.
    pub figures: Figures,
}

/// What a report says.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Those that took the most time first, then those with the most lines, then by name.
    pub endpoints: Vec<Endpoint>,
    /// The slowest lines, and the endpoint of each.
    pub slowest: Vec<(Slow, Box<[u8]>)>,
}

impl Totals {
    /// Decides which keys are one endpoint.
    ///
    /// # Errors
    /// [`Error::Argument`] for an expression or a route that is none, in what was read from a file.
    pub fn answer(&self) -> Result<Answer, Error> {
        let mut keys: Vec<(&[u8], &Figures)> = self.keys.groups().collect();
        keys.sort_unstable_by_key(|(key, _)| *key);
        let names = self.names(&keys)?;
        let mut rows: HashMap<&[u8], Figures> = HashMap::new();
        for ((_, figures), name) in keys.iter().zip(&names) {
            rows.entry(name).or_default().add_all(figures);
        }
        let rows = rows.into_iter().map(|(name, mut figures)| {
            figures.sort();
            Endpoint { name: name.into(), figures }
        });
        let mut endpoints: Vec<Endpoint> = rows.collect();
        endpoints.sort_unstable_by(|a, b| {
            let cost = |of: &Endpoint| (of.figures.sum, of.figures.count());
            cost(b).cmp(&cost(a)).then_with(|| a.name.cmp(&b.name))
        });
        let slowest = self.slowest.lines.iter().map(|line| {
            let at = keys.binary_search_by_key(&&*line.key, |(key, _)| *key);
            let name = at.map_or(&line.key, |at| &names[at]);
            (line.clone(), name.clone())
        });
        Ok(Answer { endpoints, slowest: slowest.collect() })
    }

    /// The name of each key.
    pub(super) fn names(&self, keys: &[(&[u8], &Figures)]) -> Result<Vec<Box<[u8]>>, Error> {
        let naming = Naming::new(&self.settings.naming)?;
        if self.settings.names_endpoints() {
            return Ok(naming.fold(&counted(keys)));
        }
        Ok(match self.settings.place_of_path() {
            Some(place) => fold_at(place, &naming, keys),
            None => keys.iter().map(|(key, _)| (*key).into()).collect(),
        })
    }
}

/// The values of a key.
fn values(key: &[u8]) -> impl Iterator<Item = &[u8]> {
    key.split(|byte| *byte == GROUP_SEPARATOR)
}

/// The names of keys that have a path among other values: what folds is decided by all requests.
fn fold_at(place: usize, naming: &Naming, keys: &[(&[u8], &Figures)]) -> Vec<Box<[u8]>> {
    let mut paths: BTreeMap<&[u8], Counted<'_>> = BTreeMap::new();
    for of_row in counted(keys) {
        let path: &[u8] = values(of_row.key).nth(place).unwrap_or_default();
        let all = Counted { key: path, lines: 0, refused: 0, time_s: 0.0 };
        let all = paths.entry(path).or_insert(all);
        all.lines += of_row.lines;
        all.refused += of_row.refused;
        all.time_s += of_row.time_s;
    }
    let names: Vec<_> = naming.fold(&paths.values().copied().collect::<Vec<_>>());
    let names: HashMap<&[u8], Box<[u8]>> = paths.into_keys().zip(names).collect();
    let name = |(key, _): &(&[u8], &Figures)| {
        let mut values: Vec<&[u8]> = values(key).collect();
        if let Some(path) = values.get_mut(place) {
            *path = names.get(*path).map_or(*path, |name| &**name);
        }
        values.join(&GROUP_SEPARATOR).into()
    };
    keys.iter().map(name).collect()
}

impl Answer {
    /// The endpoint of that name, if it is one of the costliest, for which there are maps.
    pub fn costly(&self, name: &[u8]) -> Option<&Endpoint> {
        self.endpoints.iter().take(COSTLIEST).find(|endpoint| &*endpoint.name == name)
    }
}
