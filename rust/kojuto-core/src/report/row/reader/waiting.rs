//! Lines whose targets are known by their hashes, a few at a time.
//!
//! What is known of a target, and its figures, are in no cache of the processor as a rule. One line
//! behind the other would wait for memory three times each; so all that a few lines need is read
//! first, which memory answers together, and they are counted after that.

use std::array;
use std::hint::black_box;

use super::super::super::figures::Line;
use super::super::super::path::request;
use super::super::super::targets::Hash;
use super::super::By;
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
    pub(super) weight: u64,
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
        for (line, place) in lines.iter().zip(&places) {
            if let Some(figures) = place.and_then(|place| self.counter.totals.keys.look(place)) {
                black_box(figures.near(line.line));
            }
        }
        for (line, place) in lines.drain(..).zip(places) {
            // Once places are forgotten, others may be where these were.
            self.count_at(line, place.filter(|_| self.counter.targets.forgotten() == forgotten));
        }
        self.queue.lines = lines;
    }

    /// Counts a line now, behind those that wait.
    #[inline(never)]
    pub(super) fn count_now(&mut self, line: Waiting<'_>) {
        self.count_waiting();
        self.count_at(line, None);
    }

    #[inline(always)]
    fn count_at(&mut self, waiting: Waiting<'_>, place: Option<Place>) {
        let Waiting { method, target, hash, line, weight, bytes } = waiting;
        let is_request = matches!(self.naming, By::Request);
        let example = || match request::of_line(target).filter(|_| is_request) {
            Some(request) => request.target,
            None if target.is_empty() => b"-",
            None => target,
        };
        if let Some(figures) = place.and_then(|place| self.counter.totals.keys.again(place, weight))
        {
            return figures.add(line, bytes, example);
        }
        let place = self.place(hash, method, target);
        if let Some(figures) = self.counter.totals.keys.again(place, weight) {
            figures.add(line, bytes, example);
        }
    }
}
