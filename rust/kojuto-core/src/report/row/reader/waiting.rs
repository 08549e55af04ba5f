//! Lines whose targets are known by their hashes, a few at a time.
//!
//! What is known of a target, and its figures, are in no cache of the processor as a rule. One line
//! behind the other would wait for memory three times each; so all that a few lines need is asked
//! for first, which memory answers together, and they are counted after that.

use std::array;

use super::super::super::figures::Figures;
use super::super::super::line::{Line, NO_TIME, weight_of};
use super::super::super::path::request;
use super::super::super::targets::Hash;
use super::super::{By, Counter};
use super::Reader;
use crate::stats::space_saving::Place;

/// So many lines wait for each other.
const MOST: usize = 32;

/// What is counted of a line under its key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting<'t> {
    pub(super) method: &'t [u8],
    pub(super) target: &'t [u8],
    pub(super) hash: Hash,
    pub(super) line: Line,
    pub(super) bytes: u64,
}

/// The lines that wait.
#[derive(Debug, Default)]
pub(in super::super) struct Queue<'a> {
    lines: Vec<Waiting<'a>>,
}

impl<'a> Reader<'_, 'a> {
    /// Has a line be counted with those that wait.
    #[inline(always)]
    pub(super) fn wait(&mut self, line: Waiting<'a>) {
        self.counter.targets.bring_near(line.hash);
        self.queue.lines.push(line);
        if self.queue.lines.len() == MOST {
            self.count_waiting();
        }
    }

    /// Counts the lines that wait.
    #[inline(never)]
    pub(in super::super) fn count_waiting(&mut self) {
        let mut lines = std::mem::take(&mut self.queue.lines);
        let targets = &self.counter.targets;
        let forgotten = targets.forgotten();
        let places: [_; MOST] =
            array::from_fn(|at| lines.get(at).and_then(|line| targets.find(line.hash)));
        let keys = &self.counter.totals.keys;
        places.iter().flatten().for_each(|place| keys.bring_near(*place));
        let known = places.iter().flatten().filter_map(|place| keys.look(*place));
        known.for_each(Figures::bring_near);
        for (line, place) in lines.drain(..).zip(places) {
            // Once places are forgotten, others may be where these were.
            self.count_at(line, place.filter(|_| self.counter.targets.forgotten() == forgotten));
        }
        self.queue.lines = lines;
        let Counter { naming, targets, totals, .. } = &mut *self.counter;
        if totals.is_over() {
            totals.save_memory(naming);
            targets.forget();
        }
    }

    /// Counts a line now, behind those that wait.
    #[inline(never)]
    pub(super) fn count_now(&mut self, line: Waiting<'_>) {
        self.count_waiting();
        self.count_at(line, None);
    }

    #[inline(always)]
    fn count_at(&mut self, waiting: Waiting<'_>, place: Option<Place>) {
        let Waiting { method, target, hash, line, bytes } = waiting;
        let weight = if line.nanos == NO_TIME { 1 } else { 1 + weight_of(line.nanos) };
        let is_request = matches!(self.naming, By::Request);
        let example = || match request::of_line(target).filter(|_| is_request) {
            Some(request) => request.target,
            None if target.is_empty() => b"-",
            None => target,
        };
        let totals = &mut self.counter.totals;
        if let Some(figures) = place.and_then(|place| totals.keys.again(place, weight)) {
            totals.held_bytes += figures.add(line, bytes, example);
            return;
        }
        let place = self.place(hash, method, target);
        let totals = &mut self.counter.totals;
        if let Some(figures) = totals.keys.again(place, weight) {
            totals.held_bytes += figures.add(line, bytes, example);
        }
    }
}
