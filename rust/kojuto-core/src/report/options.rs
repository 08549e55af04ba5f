//! What to read from logs, and what to make of it.

use super::condition::Condition;
use super::naming::NamingOptions;
use super::targets::MOST as MOST_TARGETS;
use crate::access::{Format, TimeField};
use crate::scan::envelope::Envelope;
use crate::scan::instant::Zone;
use crate::scan::json::Prefix;

/// The most keys of which figures are kept apart in one report.
pub const MOST_KEYS: usize = 120_000;

/// The memory that the figures of all keys may take up, about. To answer takes as much again.
pub(super) const MOST_BYTES: usize = 64 << 20;

/// No collector of several that count side by side has fewer keys or targets, unless one alone has.
const LEAST_SHARED: usize = 1 << 10;

impl Options {
    /// Those of each of so many collectors that count side by side: together they keep half as many
    /// keys again as one alone, in half as much memory again, and eight times its targets, so that
    /// their memory is bounded whatever their number.
    #[must_use]
    pub fn shared(&self, collectors: usize) -> Options {
        let part = |all: usize| (all / collectors.max(1)).max(LEAST_SHARED);
        Options {
            capacity: self.capacity.min(part(self.capacity / 2 * 3)),
            room_bytes: self.room_bytes.min(part(self.room_bytes / 2 * 3)),
            targets: self.targets.min(part(self.targets * 8)),
            ..self.clone()
        }
    }
}

/// What to read from logs, and what to make of it.
#[derive(Debug, Clone)]
pub struct Options {
    /// What stands around each line.
    pub envelope: Option<Envelope>,
    /// How the lines are written.
    pub format: Format,
    /// Which field is the time taken, in the formats whose fields have no keys.
    pub time_field: TimeField,
    /// The keys that are given, by the name of what they are for (of [`super::ROLES`]).
    pub keys: Vec<(&'static str, String)>,
    /// Roles that are not looked for, since nothing is asked of them.
    pub unasked: Vec<usize>,
    /// What a time without a unit of its own is multiplied with to give seconds, if it is given.
    pub time_scale: Option<f64>,
    /// How endpoints are named.
    pub naming: NamingOptions,
    /// The fields whose values name the rows, instead of the endpoint.
    pub group_by: Vec<String>,
    /// What a line must be to count.
    pub conditions: Vec<Condition>,
    /// Only lines written from this moment on, in nanoseconds since the epoch.
    pub since: Option<i64>,
    /// Only lines written before this moment.
    pub until: Option<i64>,
    /// The clock of moments that tell no zone.
    pub zone: Zone,
    /// How many of the slowest lines are kept.
    pub slowest: usize,
    /// How many keys are kept apart.
    pub capacity: usize,
    /// The memory that their figures may take up, about.
    pub room_bytes: usize,
    /// Of how many targets it is remembered under which key they count.
    pub targets: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            envelope: Some(Envelope::Auto),
            format: Format::Auto(Prefix::Refuse),
            time_field: TimeField::Telling,
            keys: Vec::new(),
            unasked: Vec::new(),
            time_scale: None,
            naming: NamingOptions::default(),
            group_by: Vec::new(),
            conditions: Vec::new(),
            since: None,
            until: None,
            zone: Zone::default(),
            slowest: 10,
            capacity: MOST_KEYS,
            room_bytes: MOST_BYTES,
            targets: MOST_TARGETS,
        }
    }
}
