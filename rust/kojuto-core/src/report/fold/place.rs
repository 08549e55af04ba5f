//! One place: the labels that stand there, how busy they are, and what becomes of them.

use super::Counted;
use super::label::{Labels, What};
use crate::report::shape::Kind;

/// How many names a place may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// With more it folds; those that were only refused do not count.
    pub(super) above: u64,
    /// With more that were only refused these are one.
    pub(super) refused_above: u64,
}

/// Sums of all keys.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    lines: u64,
    time_ns: u128,
}

impl Totals {
    pub(super) fn of(keys: &[Counted<'_>]) -> Totals {
        keys.iter().fold(Totals::default(), |sums, counted| Totals {
            lines: sums.lines.saturating_add(counted.lines),
            time_ns: sums.time_ns.saturating_add(nanoseconds(counted.time_s)),
        })
    }
}

/// Whole nanoseconds, so that a sum is the same in any order. What is no time is none.
fn nanoseconds(time_s: f64) -> u128 {
    (time_s * 1e9) as u128
}

#[derive(Debug)]
struct Member {
    label: u32,
    lines: u64,
    refused: u64,
    time_ns: u128,
    shown: u32,
}

const NONE: u32 = u32::MAX;

/// A place while it is looked at.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// The member of each label.
    of_label: Vec<u32>,
    members: Vec<Member>,
}

/// A name stays by itself with this share of its place's lines, one in so many.
const OF_PLACE: u64 = 10;

/// Or with this share of all lines or of all time.
const OF_ALL: u64 = 100;

impl Place {
    pub(super) fn add(&mut self, label: u32, counted: &Counted<'_>) {
        if self.of_label.len() <= label as usize {
            self.of_label.resize(label as usize + 1, NONE);
        }
        let at = &mut self.of_label[label as usize];
        if *at == NONE {
            *at = self.members.len() as u32;
            self.members.push(Member { label, lines: 0, refused: 0, time_ns: 0, shown: label });
        }
        let member = &mut self.members[*at as usize];
        member.lines = member.lines.saturating_add(counted.lines);
        member.refused = member.refused.saturating_add(counted.refused);
        member.time_ns = member.time_ns.saturating_add(nanoseconds(counted.time_s));
    }

    /// The label that is shown of one that was added.
    pub(super) fn shown(&self, label: u32) -> u32 {
        self.members[self.of_label[label as usize] as usize].shown
    }

    pub(super) fn clear(&mut self) {
        for member in self.members.drain(..) {
            self.of_label[member.label as usize] = NONE;
        }
    }

    /// Decides what is shown of each label.
    pub(super) fn decide(&mut self, limits: &Limits, totals: &Totals, labels: &mut Labels<'_>) {
        let is_name = |member: &Member| labels.what(member.label) == What::Name;
        let (mut names, mut refused) = (0, 0);
        for member in self.members.iter().filter(|member| is_name(member)) {
            *(if member.is_refused() { &mut refused } else { &mut names }) += 1;
        }
        let folds = names > limits.above;
        let busy = folds.then(|| self.busy(limits, totals, labels));
        let mut stars = Vec::new();
        if let Some(busy) = &busy {
            for member in self.members.iter_mut() {
                if labels.what(member.label) == What::Name && !member.is_refused() {
                    let stays = busy.has(member);
                    let shown =
                        if stays { labels.shown(member.label) } else { labels.star(member.label) };
                    member.shown = shown;
                    if !stays {
                        stars.push(shown);
                    }
                }
            }
            stars.sort_unstable();
            stars.dedup();
        }
        let hex = self.hex_lengths(labels);
        for member in &mut self.members {
            member.shown = match labels.what(member.label) {
                What::Name if !member.is_refused() && folds => member.shown,
                What::Name if member.is_refused() && folds => {
                    let star = labels.star(member.label);
                    if stars.binary_search(&star).is_ok() { star } else { labels.bare_star() }
                }
                What::Name if member.is_refused() && refused > limits.refused_above => {
                    labels.bare_star()
                }
                What::Id(Kind::Token, _) if folds => labels.star(member.label),
                What::Id(Kind::Number, digits) if hex & 1 << digits != 0 => {
                    labels.hex(member.label)
                }
                _ => labels.shown(member.label),
            };
        }
    }

    /// The lengths of the hexadecimal ids, as a set of bits.
    fn hex_lengths(&self, labels: &Labels<'_>) -> u128 {
        self.members.iter().fold(0, |lengths, member| match labels.what(member.label) {
            What::Id(Kind::Hex, digits @ 1..) => lengths | 1 << digits,
            _ => lengths,
        })
    }

    fn busy(&self, limits: &Limits, totals: &Totals, labels: &Labels<'_>) -> Busy {
        let place = self.members.iter().fold(0_u64, |sum, member| sum.saturating_add(member.lines));
        let mut busy = Busy { place, totals: Some(*totals) };
        let names = self.members.iter().filter(|member| {
            labels.what(member.label) == What::Name && !member.is_refused() && busy.has(member)
        });
        // Where that many are busy, none stands out among them: a log of a hundred lines.
        if names.count() as u64 > limits.above {
            busy.totals = None;
        }
        busy
    }
}

/// From when on a name is busy.
struct Busy {
    place: u64,
    totals: Option<Totals>,
}

impl Busy {
    fn has(&self, member: &Member) -> bool {
        let is_share = |part: u64, all: u64, times: u64| {
            u128::from(part) * u128::from(times) >= u128::from(all)
        };
        is_share(member.lines, self.place, OF_PLACE)
            || self.totals.is_some_and(|totals| {
                is_share(member.lines, totals.lines, OF_ALL)
                    || member.time_ns > 0
                        && member.time_ns.saturating_mul(OF_ALL.into()) >= totals.time_ns
            })
    }
}

impl Member {
    /// Whether all its lines were refused.
    fn is_refused(&self) -> bool {
        self.lines > 0 && self.refused >= self.lines
    }
}
