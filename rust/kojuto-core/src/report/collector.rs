//! Reads lines, block by block, and counts them under their keys.

use super::cells::Columns;
use super::known::{self, ROLES};
use super::naming::Naming;
use super::options::Options;
use super::roles::{self, Reading};
use super::row::{Counter, Extra};
use super::totals::{Found, OVERLONG, Totals};
use crate::Error;
use crate::access::{Format, Found as Said, telling};
use crate::error::Argument;
use crate::scan::envelope::{Envelope, Opener};
use crate::scan::fields::MAX_KEYS;
use crate::scan::json::Prefix;

/// Counts the lines of logs.
#[derive(Debug, Clone)]
pub struct Collector {
    options: Options,
    opener: Opener,
    envelope: Option<Envelope>,
    said: Said,
    reading: Option<Reading>,
    /// The fields that are read beside those of roles.
    extra: Vec<Extra>,
    counter: Counter,
    /// What is asked of each line, where lines are not counted but put into columns.
    columns: Option<Columns>,
}

impl Collector {
    /// One that has counted nothing yet.
    ///
    /// # Errors
    /// [`Error::Argument`] for an expression or a route that is none.
    pub fn new(options: &Options) -> Result<Collector, Error> {
        let naming = Naming::new(&options.naming)?;
        let groups = options.group_by.iter().map(|name| Extra::of_group(name));
        let conditions = options.conditions.iter().map(|condition| Extra::of(&condition.key));
        Ok(Collector {
            options: options.clone(),
            opener: Opener::default(),
            envelope: None,
            said: Said::default(),
            reading: None,
            extra: groups.chain(conditions).collect(),
            counter: Counter::new(naming, options),
            columns: None,
        })
    }

    /// One that puts the lines that the options want into columns: of each its time of writing
    /// (`time`), another of [`ROLES`], the `path`, or a field as it stands in the log.
    ///
    /// # Errors
    /// [`Error::Argument`] as [`Collector::new`].
    pub fn of_columns(options: &Options, names: &[String]) -> Result<Collector, Error> {
        let conditions = options.conditions.iter().map(|condition| Extra::of(&condition.key));
        let asked: Vec<Extra> = names.iter().map(|name| Extra::of_column(name)).collect();
        // Every role has its key beside them.
        let (count, most) = (asked.iter().filter_map(Extra::field).count(), MAX_KEYS - ROLES.len());
        if count > most {
            return Err(Error::Argument(Argument::Keys { count, most }));
        }
        let columns = Some(Columns::named(names));
        let extra: Vec<Extra> = asked.into_iter().chain(conditions).collect();
        // Whether a line counts does not hang on these: without them its end need not be looked at.
        let unasked = [known::BYTES, known::HOST].into_iter();
        let unasked = unasked.filter(|role| !extra.contains(&Extra::Role(*role))).collect();
        let options =
            Options { group_by: Vec::new(), unasked, capacity: 1, slowest: 0, ..options.clone() };
        Ok(Collector { extra, columns, ..Collector::new(&options)? })
    }

    /// The columns of the lines that were read since they were taken last.
    pub fn columns(&mut self) -> Option<&mut Columns> {
        self.columns.as_mut()
    }

    /// One that reads as this one does and has counted nothing.
    #[must_use]
    pub fn another(&self) -> Collector {
        Collector { counter: self.counter.another(&self.options), ..self.clone() }
    }

    /// One of so many that count side by side and are put together in the end: it reads as this one
    /// does, has counted nothing, and keeps its share of what all keep.
    #[must_use]
    pub fn one_of(&self, collectors: usize) -> Collector {
        let options = self.options.shared(collectors);
        Collector { counter: self.counter.another(&options), options, ..self.clone() }
    }

    /// Looks at the beginning of a log, of which nothing is counted.
    ///
    /// # Errors
    /// [`Error::Argument`] when more keys are asked for than a line can be searched for.
    pub fn look(&mut self, block: &[u8]) -> Result<(), Error> {
        let end = memchr::memrchr(b'\n', block).map_or(0, |at| at + 1);
        let mut opener = std::mem::take(&mut self.opener);
        let block = &block[..end];
        self.find_envelope(block);
        let lines = match self.envelope {
            Some(envelope) => opener.open(envelope, block),
            None => block,
        };
        let found = self.find(lines);
        self.opener = Opener::default();
        found
    }

    /// Goes on with another log, at which a collector may have looked.
    pub fn turn_to(&mut self, name: &str, looked: Option<&Collector>) {
        self.counter.turn_to(name);
        self.opener = Opener::default();
        self.envelope = looked.and_then(|looked| looked.envelope);
        self.said = looked.map(|looked| looked.said.clone()).unwrap_or_default();
        self.reading = looked.and_then(|looked| looked.reading.clone());
    }

    /// Lines were dropped, since they were too long.
    pub fn add_overlong(&mut self, lines: u64, first: &[u8]) {
        if lines > 0 {
            self.counter.totals.lines += lines;
            self.counter.totals.bad.count_many(OVERLONG, lines, first);
        }
    }

    /// What stands around the lines.
    pub fn envelope(&self) -> Option<Envelope> {
        self.envelope
    }

    fn find_envelope(&mut self, block: &[u8]) {
        self.envelope = match self.options.envelope {
            Some(Envelope::Auto) => Envelope::detect(block).or(self.envelope),
            given => given,
        };
    }

    /// Counts a block of whole lines, each ended by `\n`; of what an envelope splits, all pieces are in
    /// one block.
    ///
    /// # Errors
    /// [`Error::Argument`] when more keys are asked for than a line can be searched for.
    pub fn block(&mut self, block: &[u8]) -> Result<(), Error> {
        self.find_envelope(block);
        let mut opener = std::mem::take(&mut self.opener);
        let counted = match self.envelope {
            Some(envelope) => self.lines_of(opener.open(envelope, block)),
            None => self.lines_of(block),
        };
        self.opener = opener;
        counted
    }

    fn lines_of(&mut self, block: &[u8]) -> Result<(), Error> {
        self.find(block)?;
        let Some(reading) = &self.reading else { return Ok(()) };
        let before = self.counter.totals.lines;
        match &mut self.columns {
            None => self.counter.count(reading, &self.options, &self.extra, block),
            Some(columns) => {
                self.counter.gather(reading, &self.options, &self.extra, columns, block);
            }
        }
        let lines = self.counter.totals.lines - before;
        if lines > 0 {
            let found = self.found(reading);
            self.counter.totals.add_found(found, lines);
        }
        Ok(())
    }

    /// Finds how the lines of a block are to be read, unless it is as before.
    fn find(&mut self, block: &[u8]) -> Result<(), Error> {
        if block.is_empty() || self.reading.as_ref().is_some_and(|reading| reading.fits(block)) {
            return Ok(());
        }
        let is_still = self.said.is_still_of_pattern(block);
        let prefix = match self.options.format {
            Format::Auto(prefix) => prefix,
            _ => Prefix::Refuse,
        };
        let block = if is_still { block } else { telling(block, prefix) };
        let format = match self.options.format {
            Format::Auto(prefix) => {
                if !is_still {
                    self.said.profile = self.said.look(block, prefix, true);
                }
                self.said.format.clone().unwrap_or(Format::Ltsv(prefix))
            }
            ref given => given.clone(),
        };
        let names: Vec<&str> = self.extra.iter().filter_map(Extra::field).collect();
        let reading = roles::find(block, &format, self.said.profile, &self.options, &names)?;
        // Lines in which nothing is found say nothing of those behind them.
        let is_told = |reading: &Reading| {
            [known::STATUS, known::REQUEST, known::URI].iter().any(|r| reading.places[*r].is_some())
        };
        if self.reading.is_none() || is_told(&reading) {
            self.reading = Some(reading);
        }
        Ok(())
    }

    fn found(&self, reading: &Reading) -> Found {
        let format = self.said.pattern().unwrap_or(reading.format.name());
        let mut keys = reading.taken.clone();
        // What is no role stands behind those that are.
        keys.sort_by_key(|(role, ..)| {
            ROLES.iter().position(|name| name == role).unwrap_or(ROLES.len())
        });
        keys.dedup();
        Found {
            format: format.to_owned(),
            envelope: self.envelope.map(|envelope| envelope.name().to_owned()),
            keys,
        }
    }

    /// How many lines were read.
    pub fn lines(&self) -> u64 {
        self.counter.totals.lines
    }

    /// What was counted since it was last taken; the next lines are counted from nothing.
    pub fn take(&mut self) -> Totals {
        let next = self.counter.another(&self.options);
        std::mem::replace(&mut self.counter, next).into_totals()
    }

    /// What was counted.
    pub fn into_totals(self) -> Totals {
        self.counter.into_totals()
    }
}

#[cfg(test)]
mod tests;
