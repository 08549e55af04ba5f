//! Which key of a log is what: by the names that programs have for it, and by its values.

use std::collections::BTreeMap;

use super::known::{self, FURTHER, NAMES, ROLES, STATUS, TAKEN};
use super::options::Options;
use crate::Error;
use crate::access::{Format, Profile, TimeField, first_lines, read};
use crate::scan::combined;
use crate::scan::fields::{Keys, RowFn};
use crate::scan::json;

/// What a key was taken as: (role, key, unit of a time).
pub type Taken = (&'static str, String, &'static str);

/// How the lines of a log are read.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub(super) format: Format,
    pub(super) keys: Keys,
    pub(super) time_field: TimeField,
    /// What a number of a time is multiplied with to give seconds.
    pub(super) scale: f64,
    /// Where the value of each role is among those of the keys.
    pub(super) places: [Option<usize>; ROLES.len()],
    /// Where those of further fields are, in the order in which they were asked for.
    pub(super) extra: Vec<usize>,
    pub(super) taken: Vec<Taken>,
    /// Times without a zone are UTC's, whatever the zone of the machine.
    pub(super) is_utc: bool,
}

impl Reading {
    /// Reads a block of lines.
    pub(super) fn read<'a>(&self, block: &'a [u8], rows: &mut impl crate::scan::fields::Rows<'a>) {
        read(block, &self.keys, &self.format, &self.time_field, rows);
    }

    /// Whether it fits the lines at the beginning of a block: each of the first few has what every
    /// line must have.
    pub(super) fn fits(&self, block: &[u8]) -> bool {
        let end = memchr::memchr_iter(b'\n', block).nth(3).map_or(block.len(), |at| at + 1);
        let needed = [known::STATUS, known::REQUEST, known::URI].map(|role| self.places[role]);
        let mut fits = end > 0;
        let mut row: RowFn<'_> = &mut |_, values| {
            fits &= needed.iter().flatten().all(|at| !values[*at].is_empty());
        };
        self.read(&block[..end], &mut row);
        fits && needed.iter().any(Option::is_some)
    }
}

/// The fields of the lines at the beginning of a block, and their values.
type Fields<'b> = BTreeMap<Vec<u8>, Vec<&'b [u8]>>;

fn fields<'b>(block: &'b [u8], format: &Format) -> Fields<'b> {
    let mut all = Fields::new();
    let mut put = |name: &[u8], value: &'b [u8]| all.entry(name.to_vec()).or_default().push(value);
    match format {
        Format::Json(prefix) => {
            for line in first_lines(block) {
                json::members(line, *prefix).iter().for_each(|(name, value)| put(name, value));
            }
        }
        Format::Ltsv(_) | Format::Auto(_) => {
            for part in first_lines(block).flat_map(|line| line.split(|b| *b == b'\t')) {
                if let Some(at) = memchr::memchr(b':', part) {
                    put(&part[..at], &part[at + 1..]);
                }
            }
        }
        Format::Combined => combined::FIELDS.iter().for_each(|name| put(name.as_bytes(), b"")),
        Format::Text(text) => text.names().for_each(|name| put(name.as_bytes(), b"")),
        Format::Regex(regex) => {
            regex.capture_names().flatten().for_each(|name| put(name.as_bytes(), b""));
        }
    }
    for values in all.values_mut() {
        values.retain(|value| !matches!(known::bare(value), b"" | b"-" | b"null"));
    }
    all
}

/// Finds the keys of a log by the lines at the beginning of a block.
///
/// # Errors
/// [`Error::Argument`] when more keys are asked for than a scan can look for.
pub(super) fn find(
    block: &[u8],
    format: &Format,
    profile: Option<&'static Profile>,
    options: &Options,
    extra: &[&str],
) -> Result<Reading, Error> {
    let fields = fields(block, format);
    let mut names: [Option<Vec<u8>>; ROLES.len()] = Default::default();
    for role in 0..ROLES.len() {
        let given = options.keys.iter().find(|(name, _)| *name == ROLES[role]);
        let given = given.map(|(_, key)| key.as_bytes().to_vec());
        let of_profile = profile.and_then(|profile| match role {
            TAKEN => Some(profile.time.into()),
            STATUS => Some(profile.status.into()),
            _ => None,
        });
        names[role] = given.or(of_profile).or_else(|| of_role(role, &fields, format, &names));
    }
    let time_field = match profile {
        Some(profile) if profile.is_combined() => TimeField::Name(profile.time.as_bytes().into()),
        _ => options.time_field.clone(),
    };
    keep_one_way(&mut names, &fields);
    options.unasked.iter().for_each(|role| names[*role] = None);
    let is_given = options.keys.iter().any(|(name, _)| *name == ROLES[TAKEN]);
    let (unit, scale) = unit(&names, &fields, format, profile.filter(|_| !is_given), &time_field);
    let scale = options.time_scale.unwrap_or(scale);
    let extra: Vec<_> = extra.iter().map(|name| further(name, &fields)).collect();
    let mut found = reading(format, time_field, names, (unit, scale), &extra)?;
    found.is_utc = profile.is_some_and(Profile::is_utc);
    Ok(found)
}

/// A further field as the log calls it; with what it is for where that is another name.
fn further(name: &str, fields: &Fields<'_>) -> (Option<&'static str>, String) {
    let is_there = |name: &str| fields.contains_key(name.as_bytes());
    let known = FURTHER.iter().find(|(known, _)| *known == name && !is_there(name));
    let found = known.and_then(|(known, names)| {
        let key = names.iter().find(|key| is_there(key))?;
        Some((Some(*known), (*key).to_owned()))
    });
    found.unwrap_or_else(|| (None, name.to_owned()))
}

/// The key of a role: the first known name that a log has with a value that fits, or the only key
/// whose values all tell.
fn of_role(
    role: usize,
    fields: &Fields<'_>,
    format: &Format,
    taken: &[Option<Vec<u8>>],
) -> Option<Vec<u8>> {
    let is_free = |name: &[u8]| !taken.iter().flatten().any(|other| other == name);
    let has_values = matches!(format, Format::Json(_) | Format::Ltsv(_) | Format::Auto(_));
    // Where the values are not known, what is called a host is the client as a rule.
    let is_sure = |name: &str| has_values || role != known::HOST || name != "host";
    let known = NAMES[role].iter().find(|name| {
        let values = fields.get(name.as_bytes()).filter(|_| is_free(name.as_bytes()));
        values.is_some_and(|values| match has_values {
            true => values.iter().any(|value| known::fits(role, value)),
            false => is_sure(name),
        })
    });
    if let Some(name) = known {
        return Some(name.as_bytes().to_vec());
    }
    let mut telling = fields.iter().filter(|(name, values)| {
        let all = || values.iter().all(|value| known::tells(role, name, value));
        // `2026/11/30 20:11:00 [error] …` is no label and its value.
        let is_name = matches!(format, Format::Json(_)) || !name.contains(&b' ');
        has_values && is_name && is_free(name) && !values.is_empty() && all()
    });
    let first = telling.next()?;
    telling.next().is_none().then(|| first.0.clone())
}

/// A request line is taken alone, or a target with its method.
fn keep_one_way(names: &mut [Option<Vec<u8>>; ROLES.len()], fields: &Fields<'_>) {
    let [_, _, request, uri, method, ..] = names;
    let is_line = |name: &Vec<u8>| {
        let values = fields.get(name);
        values.is_none_or(|values| {
            values.iter().all(|value| value.is_empty() || known::fits(known::REQUEST, value))
        })
    };
    if request.as_ref().is_some_and(is_line) {
        (*uri, *method) = (None, None);
    } else if uri.is_some() {
        *request = None;
    }
}

/// The unit of the times, and what a number of it is multiplied with to give seconds.
fn unit(
    names: &[Option<Vec<u8>>; ROLES.len()],
    fields: &Fields<'_>,
    format: &Format,
    profile: Option<&'static Profile>,
    time_field: &TimeField,
) -> (&'static str, f64) {
    let unit = match (format, &names[TAKEN]) {
        (Format::Text(_), _) => match format.time_scale(time_field) {
            scale if scale >= 1.0 => "s",
            scale if scale > 0.5e-3 => "ms",
            _ => "us",
        },
        (_, Some(name)) => match profile {
            Some(profile) => profile.unit,
            None => known::unit(name, fields.get(name).map_or(&[], |values| values)),
        },
        _ => "s",
    };
    (unit, scale_of(unit))
}

/// What a number of a unit is multiplied with to give seconds.
pub(super) fn scale_of(unit: &str) -> f64 {
    match unit {
        "ms" => 1e-3,
        "us" => 1e-6,
        "ns" => 1e-9,
        _ => 1.0,
    }
}

/// The keys of a scan: first that of the time taken, which a format without names finds by itself.
fn reading(
    format: &Format,
    time_field: TimeField,
    names: [Option<Vec<u8>>; ROLES.len()],
    (unit, scale): (&'static str, f64),
    further: &[(Option<&'static str>, String)],
) -> Result<Reading, Error> {
    let mut wanted: Vec<Vec<u8>> = Vec::new();
    let mut places = [None; ROLES.len()];
    let mut taken: Vec<Taken> = Vec::new();
    let shown = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    let by_place = match format {
        Format::Text(text) => text.time_name(&time_field).map(str::to_owned),
        Format::Combined => Some(match &time_field {
            TimeField::Name(name) => shown(name),
            TimeField::Number(number) => format!("field {number}"),
            _ => "last field".to_owned(),
        }),
        _ => None,
    };
    let is_by_place = matches!(format, Format::Text(_) | Format::Combined);
    // It is not looked for where there is none: no field is called so.
    wanted.push(names[TAKEN].clone().filter(|_| !is_by_place).unwrap_or_else(|| b"\0".to_vec()));
    if is_by_place || names[TAKEN].is_some() {
        places[TAKEN] = Some(0);
        let name = by_place.or_else(|| names[TAKEN].as_deref().filter(|_| !is_by_place).map(shown));
        taken.extend(name.map(|name| (ROLES[TAKEN], name, unit)));
    }
    for (role, name) in names.iter().enumerate().skip(1) {
        if let Some(name) = name {
            places[role] = Some(place(&mut wanted, name));
            // A combined line may have one before its client, and seldom has.
            if role == known::HOST && matches!(format, Format::Combined) {
                continue;
            }
            taken.push((ROLES[role], shown(name), ""));
        }
    }
    let extra = further.iter().map(|(_, key)| place(&mut wanted, key.as_bytes())).collect();
    taken.extend(further.iter().filter_map(|(what, key)| Some(((*what)?, key.clone(), ""))));
    let needed: Vec<(&[u8], bool)> =
        wanted.iter().map(|name| (&name[..], **name != *b"\0")).collect();
    let keys = Keys::new(&needed)?;
    let (format, is_utc) = (format.clone(), false);
    Ok(Reading { format, keys, time_field, scale, places, extra, taken, is_utc })
}

/// Where a name is among those that are wanted.
fn place(wanted: &mut Vec<Vec<u8>>, name: &[u8]) -> usize {
    wanted.iter().position(|other| other == name).unwrap_or_else(|| {
        wanted.push(name.to_vec());
        wanted.len() - 1
    })
}
