//! Deliveries in a Postfix mail log: delays, outcomes, relays.
//!
//! The caller hands over blocks of whole lines. A block is searched as one piece for the text
//! that every delivery has (`, delay=`); only around each place where it stands is anything
//! looked at closely, so that the lines of the other daemons cost next to nothing.

mod activity;
mod fields;
mod lanes;
mod programs;
mod relays;
mod samples;
mod tally;

use std::collections::{BTreeMap, HashMap};

use crate::Error;
use crate::scan::bad_lines::{BadLines, EXAMPLE_BYTES};
use crate::scan::simd::Level;
use crate::stats::group_name::GroupName;
pub use activity::Activity;
use lanes::MARKER;
pub use programs::syslog_name_pattern;
use programs::{Programs, Wanted, Writer};
use relays::Relays;
use tally::Tally;

/// What to look for.
#[derive(Debug, Clone)]
pub struct Options {
    /// Daemons (`smtp`) or whole names as they stand in the log (`postfix/relay/smtp`).
    pub programs: Vec<String>,
    /// A regular expression for the syslog names of the daemons; None is plain `postfix`.
    pub syslog_name: Option<String>,
    /// Keep figures of each relay.
    pub by_relay: bool,
    /// Count each whole DSN.
    pub by_dsn: bool,
    /// The most relays and the most DSNs to report; the others are pooled.
    pub max_groups: usize,
    /// Ascending edges, in seconds, of the histograms of all deliveries; empty for none.
    pub edges: Vec<f64>,
}

/// Average and percentiles of one delay, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs)]
pub struct Delay {
    pub average: f64,
    pub p99: f64,
    pub p95: f64,
    pub p90: f64,
}

/// The figures of a group of deliveries.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// All deliveries, whatever their class.
    pub total: u64,
    /// Those of the DSN classes 2, 4 and 5.
    pub classes: [u64; 3],
    /// Total, before the queue manager, in it, connection, transmission; None without deliveries.
    pub delays: Option<[Delay; 5]>,
    /// How many of each delay lie between the edges, as by [`crate::stats::buckets::count`]; None without
    /// edges and for a relay.
    pub histograms: Option<[Vec<u64>; 5]>,
}

/// The figures of one relay.
#[derive(Debug, Clone, PartialEq)]
pub struct Relay {
    /// The host in small letters, or the pool.
    pub host: GroupName,
    /// Its deliveries.
    pub figures: Figures,
}

/// Why a delivery could not be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bad {
    /// `delay=` without `delays=A/B/C/D` behind it (Postfix before 2.3, or a line cut short).
    NoDelays,
    /// A delay that is no number.
    Number,
    /// No `dsn=N.` before the status.
    NoDsn,
}

impl Bad {
    const ALL: [Bad; 3] = [Bad::NoDelays, Bad::Number, Bad::NoDsn];

    /// The reason in words.
    pub fn reason(self) -> &'static str {
        match self {
            Bad::NoDelays => "no delays=A/B/C/D",
            Bad::Number => "a delay that is not a number",
            Bad::NoDsn => "no dsn=",
        }
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// All deliveries together; None when no program asked for makes any.
    pub deliveries: Option<Figures>,
    /// The relays with most deliveries, then the pool of the others if it has any.
    pub relays: Vec<Relay>,
    /// The most frequent DSNs with their counts, then `other` if there are more.
    pub dsns: Vec<(String, u64)>,
    /// None when no program asked for is of that kind.
    pub activity: Option<Activity>,
    /// The daemons asked for under other syslog names: how many deliveries each made that do not
    /// count, the most first.
    pub others: Vec<(String, u64)>,
    /// The reasons that were met, with their counts.
    pub bad: Vec<(&'static str, u64)>,
    /// Why the first of them was bad, and the line, cut short.
    pub example: Option<(&'static str, Vec<u8>)>,
}

/// So many other instances are told apart.
const MAX_OTHERS: usize = 64;

/// So many different DSNs are told apart; more are nobody's real log.
const MAX_DSNS: usize = 4096;

/// Reads blocks of lines and keeps the figures.
#[derive(Debug, Clone)]
pub struct Scanner {
    level: Level,
    programs: Programs,
    deliveries: Option<Tally>,
    relays: Option<Relays>,
    dsns: Option<Dsns>,
    activity: Option<Activity>,
    max_groups: usize,
    edges: Vec<f64>,
    /// Deliveries of the same daemons under syslog names that are not asked for.
    others: BTreeMap<Box<[u8]>, u64>,
    bad: BadLines<3>,
}

impl Scanner {
    /// Makes a scanner.
    ///
    /// # Errors
    /// [`Error::Argument`] when the syslog name is no regular expression.
    pub fn new(options: &Options) -> Result<Scanner, Error> {
        let programs = Programs::new(options)?;
        Ok(Scanner {
            level: Level::best(),
            deliveries: programs.any(Wanted::Deliveries).then(Tally::default),
            relays: options.by_relay.then(Relays::default),
            dsns: options.by_dsn.then(HashMap::new),
            activity: programs.any(Wanted::Activity).then(Activity::default),
            max_groups: options.max_groups,
            edges: options.edges.clone(),
            programs,
            others: BTreeMap::new(),
            bad: BadLines::default(),
        })
    }

    /// Counts the deliveries in a block of lines, each ended by a newline (the last may lack it).
    pub fn block(&mut self, lines: &[u8]) {
        if self.deliveries.is_some() {
            self.find_deliveries(lines);
        }
        if self.activity.is_some() {
            self.count_activity(lines);
        }
    }

    fn find_deliveries(&mut self, lines: &[u8]) {
        let level = self.level;
        let mut from = 0;
        // Some place in the last line that was judged: what follows on it is text of others.
        let mut judged = None;
        while let Some(hit) = lanes::marker(level, lines, from) {
            from = hit + MARKER.len();
            let newline = lanes::rfind(level, lines, judged.unwrap_or(0), hit, b'\n');
            if newline.is_some() || judged.is_none() {
                from = self.judge(lines, newline.map_or(0, |at| at + 1), hit).unwrap_or(from);
            }
            judged = Some(hit);
        }
    }

    /// Counts the line that starts at `start` and has its first marker at `hit`, if it is a
    /// delivery of a wanted program. Returns where its fields ended.
    #[inline]
    fn judge(&mut self, lines: &[u8], start: usize, hit: usize) -> Option<usize> {
        let (name, name_end, message) = match programs::writer(self.level, lines, start, hit) {
            Writer::Found(name, name_end, message) => (name, name_end, message),
            Writer::Nobody => return None,
            Writer::NotYet => return self.judge_late(lines, start),
        };
        if self.programs.wanted(&lines[name..name_end]) != Wanted::Deliveries {
            return self.judge_message(lines, start, (name, name_end, message), hit);
        }
        self.judge_delivery(lines, start, message, hit)
    }

    /// A line of another program: its message may be a line of a wanted one.
    #[cold]
    fn judge_message(
        &mut self,
        lines: &[u8],
        start: usize,
        outer: (usize, usize, usize),
        hit: usize,
    ) -> Option<usize> {
        let (name, name_end, message) =
            match programs::inner_writer(self.level, lines, outer.2, hit) {
                Writer::Found(name, name_end, message) => (name, name_end, message),
                _ => outer,
            };
        let name = &lines[name..name_end];
        if self.programs.wanted(name) == Wanted::Deliveries {
            return self.judge_delivery(lines, start, message, hit);
        }
        if self.programs.is_another_instance(name) {
            let message = programs::behind_message_id(lines, message);
            fields::delivery_start(lines, message, hit)?;
            if let Some(count) = self.others.get_mut(name) {
                *count += 1;
            } else if self.others.len() < MAX_OTHERS {
                self.others.insert(name.into(), 1);
            }
        }
        None
    }

    /// Counts the delivery that a wanted program's message reports.
    #[inline]
    fn judge_delivery(
        &mut self,
        lines: &[u8],
        start: usize,
        message: usize,
        hit: usize,
    ) -> Option<usize> {
        let message = programs::behind_message_id(lines, message);
        let fields = fields::delivery_start(lines, message, hit)?;
        let hit = fields::unquoted_marker(self.level, lines, fields, hit);
        match fields::read(lines, hit) {
            Ok((delivery, end)) => {
                if let Some(tally) = &mut self.deliveries {
                    tally.add(&delivery);
                }
                if let Some(relays) = &mut self.relays {
                    relays.add(fields::relay_host(lines, fields, hit), &delivery);
                }
                if let Some(dsns) = &mut self.dsns {
                    count_dsn(dsns, delivery.dsn, 1);
                }
                Some(end)
            }
            Err(bad) => {
                self.count_bad(bad, &lines[start..]);
                None
            }
        }
    }

    /// A line whose program stands behind the first marker.
    #[cold]
    fn judge_late(&mut self, lines: &[u8], start: usize) -> Option<usize> {
        let end = lanes::find(self.level, lines, start, lines.len(), b'\n').unwrap_or(lines.len());
        let line = &lines[start..end];
        let Writer::Found(_, _, message) = programs::writer(self.level, line, 0, line.len()) else {
            return None;
        };
        let hit = lanes::marker(self.level, line, message)?;
        // The program is now before the marker, so this cannot come back here.
        self.judge(line, 0, hit).map(|used| start + used)
    }

    #[cold]
    fn count_bad(&mut self, bad: Bad, from_start: &[u8]) {
        let shown = &from_start[..from_start.len().min(EXAMPLE_BYTES)];
        let line = shown.split(|&b| b == b'\n').next().unwrap_or(shown);
        self.bad.count(bad as usize, line.strip_suffix(b"\r").unwrap_or(line));
    }

    fn count_activity(&mut self, lines: &[u8]) {
        let Some(activity) = &mut self.activity else { return };
        let mut start = 0;
        while start < lines.len() {
            let end =
                lanes::find(self.level, lines, start, lines.len(), b'\n').unwrap_or(lines.len());
            let mut found = programs::writer(self.level, lines, start, end);
            if let Writer::Found(name, name_end, message) = found
                && self.programs.wanted(&lines[name..name_end]) == Wanted::No
            {
                found = programs::inner_writer(self.level, lines, message, end);
            }
            if let Writer::Found(name, name_end, message) = found
                && self.programs.wanted(&lines[name..name_end]) == Wanted::Activity
            {
                let daemon = lines[name..name_end].rsplit(|&b| b == b'/').next().unwrap_or(b"");
                let message = programs::behind_message_id(lines, message).min(end);
                activity.count(daemon, &lines[message..end]);
            }
            start = end + 1;
        }
    }

    /// Adds what another scanner with the same options has counted.
    pub fn merge(&mut self, other: Scanner) {
        if let (Some(tally), Some(more)) = (&mut self.deliveries, other.deliveries) {
            tally.absorb(more);
        }
        if let (Some(relays), Some(more)) = (&mut self.relays, other.relays) {
            relays.absorb(more);
        }
        if let (Some(dsns), Some(more)) = (&mut self.dsns, other.dsns) {
            for (dsn, count) in more {
                count_dsn(dsns, dsn, count);
            }
        }
        if let (Some(activity), Some(more)) = (&mut self.activity, other.activity) {
            activity.add(more);
        }
        for (name, count) in other.others {
            *self.others.entry(name).or_default() += count;
        }
        self.bad.merge(other.bad);
    }

    /// The figures of all blocks.
    pub fn finish(self) -> Summary {
        let first = self.bad.first();
        let name =
            |(name, count): (Box<[u8]>, u64)| (String::from_utf8_lossy(&name).into_owned(), count);
        let mut others: Vec<_> = self.others.into_iter().map(name).collect();
        others.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let reasons = Bad::ALL.iter().zip(*self.bad.counts()).filter(|&(_, count)| count > 0);
        Summary {
            deliveries: self.deliveries.map(|tally| tally.figures(&self.edges)),
            relays: self.relays.map_or_else(Vec::new, |relays| relays.report(self.max_groups)),
            dsns: self.dsns.map_or_else(Vec::new, |dsns| top_dsns(dsns, self.max_groups)),
            activity: self.activity,
            others,
            bad: reasons.map(|(bad, count)| (bad.reason(), count)).collect(),
            example: first.map(|(reason, line)| (Bad::ALL[reason].reason(), line.to_vec())),
        }
    }
}

/// By DSN; None stands for all that are not of the form `N.x.y` or came too late to be told apart.
type Dsns = HashMap<Option<u32>, u64>;

fn count_dsn(dsns: &mut Dsns, dsn: Option<u32>, count: u64) {
    let known = dsns.len() < MAX_DSNS || dsns.contains_key(&dsn);
    *dsns.entry(dsn.filter(|_| known)).or_default() += count;
}

fn top_dsns(mut dsns: Dsns, max_groups: usize) -> Vec<(String, u64)> {
    let mut other = dsns.remove(&None).unwrap_or(0);
    let mut list: Vec<(u32, u64)> =
        dsns.into_iter().filter_map(|(dsn, count)| Some((dsn?, count))).collect();
    list.sort_unstable_by_key(|&(dsn, count)| (std::cmp::Reverse(count), dsn));
    other += list.iter().skip(max_groups).map(|&(_, count)| count).sum::<u64>();
    list.truncate(max_groups);
    let text = |dsn: u32| format!("{}.{}.{}", dsn / 1_000_000, dsn / 1000 % 1000, dsn % 1000);
    let mut named: Vec<(String, u64)> = list.into_iter().map(|(d, n)| (text(d), n)).collect();
    if other > 0 {
        named.push(("other".to_owned(), other));
    }
    named
}

#[cfg(test)]
mod tests;
