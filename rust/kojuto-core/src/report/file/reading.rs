//! A file of reports read.

use super::super::known::{FURTHER, ROLES};
use super::super::options::MOST_KEYS;
use super::super::roles::Taken;
use super::super::slowest::{MOST_SLOWEST, Slow, Slowest};
use super::super::totals::{Found, MOST_FOUND, MOST_HOSTS, Settings, Span, Totals, drop_into};
use super::content::{Content, Read};
use super::figures::{Unit, held_bytes, read_figures};
use super::settings::read_settings;
use super::{HEAD_BYTES, HELD_BY_KEY_BYTES, MAGIC, VERSION, bad, room_bytes, unpack};
use crate::Error;
use crate::error::ReportFault;
use crate::stats::packed::Reader;

impl Totals {
    /// Reads a file, or several behind each other.
    ///
    /// # Errors
    /// [`Error::Malformed`] for anything else than what [`Totals::to_bytes`] writes, and for reports
    /// whose endpoints are named in different ways.
    pub fn from_bytes(mut bytes: &[u8]) -> Result<Totals, Error> {
        let mut all: Option<Totals> = None;
        loop {
            let (one, used) = read_one(bytes)?;
            match &mut all {
                Some(all) => all.merge(one)?,
                none => *none = Some(one),
            }
            bytes = &bytes[used..];
            match all {
                Some(all) if bytes.is_empty() => return Ok(all),
                _ => {}
            }
        }
    }
}

/// The report at the beginning of some bytes, and how many it takes up.
fn read_one(bytes: &[u8]) -> Result<(Totals, usize), Error> {
    let rest = match bytes.strip_prefix(MAGIC) {
        Some(rest) => rest,
        None if MAGIC.starts_with(bytes) => return Err(bad(ReportFault::CutShort)),
        None => return Err(bad(ReportFault::NotAReport)),
    };
    let (&[found], rest) = rest.split_first_chunk().ok_or(bad(ReportFault::CutShort))?;
    if found != VERSION {
        return Err(bad(ReportFault::Version { found, known: VERSION }));
    }
    let (length, rest) = rest.split_first_chunk().ok_or(bad(ReportFault::CutShort))?;
    let length = u32::from_le_bytes(*length) as usize;
    let (content, rest) = rest.split_at_checked(length).ok_or(bad(ReportFault::CutShort))?;
    let (checksum, _) = rest.split_first_chunk().ok_or(bad(ReportFault::CutShort))?;
    let used = HEAD_BYTES + length;
    if crc32fast::hash(&bytes[..used]) != u32::from_le_bytes(*checksum) {
        return Err(bad(ReportFault::Checksum));
    }
    let room = room_bytes(content.len());
    let content = unpack(content)?;
    let mut reader = Reader { rest: &content };
    let totals = read_totals(&mut reader, room)?;
    match reader.rest {
        [] => Ok((totals, used + 4)),
        _ => Err(bad(ReportFault::Content)),
    }
}

/// Reads a report that takes up no more memory than there is room for.
fn read_totals(reader: &mut Reader<'_>, mut room: usize) -> Read<Totals> {
    let settings = read_settings(reader)?;
    let mut totals = read_counts(reader, settings)?;
    let unit = Unit(totals.resolution.max(1));
    totals.all = read_figures(reader, unit)?;
    let mut key = Vec::new();
    let pool = &mut totals.other;
    let count = reader.varint()?;
    if count > MOST_KEYS as u64 {
        return Err(Content);
    }
    for at in 0..count {
        let same = usize::try_from(reader.varint()?).map_err(|_| Content)?;
        let rest = reader.bytes()?;
        let is_next = at == 0 || key.get(same..).is_some_and(|before: &[u8]| before < rest);
        if same > key.len() || !is_next {
            return Err(Content);
        }
        key.truncate(same);
        key.extend_from_slice(rest);
        let figures = read_figures(reader, unit)?;
        let held = HELD_BY_KEY_BYTES + key.len() + held_bytes(&figures, true);
        room = room.checked_sub(held).ok_or(Content)?;
        let weight = figures.weight();
        totals.held_bytes += figures.allocated_bytes();
        let (_, mine) = totals.keys.place(&key, weight, |figures| drop_into(pool, figures));
        *mine = figures;
    }
    Ok(totals)
}

fn read_counts(reader: &mut Reader<'_>, settings: Settings) -> Read<Totals> {
    let mut totals = Totals::of(settings, MOST_KEYS, 0);
    totals.lines = reader.varint()?;
    totals.left_out = reader.varint()?;
    for reason in 0..totals.bad.counts().len() {
        totals.bad.add_count(reason, reader.varint()?);
    }
    totals.other = (reader.varint()?, reader.wide_varint()?);
    totals.keys.set_lost(reader.varint()?);
    totals.resolution = reader.varint()?;
    if !matches!(totals.resolution, 0 | 1 | 10 | 100 | 1_000 | 10_000 | 100_000 | 1_000_000)
        && !matches!(totals.resolution, 10_000_000 | 100_000_000 | 1_000_000_000)
    {
        return Err(Content);
    }
    if reader.flag()? {
        totals.span = Some(read_span(reader)?);
    }
    let hosts = reader.list(MOST_HOSTS, |reader| Ok(reader.bytes()?.into()))?;
    totals.hosts = hosts.into_iter().collect();
    totals.found = reader.list(MOST_FOUND, read_found)?.into_iter().collect();
    let most = usize::try_from(reader.varint()?).ok().filter(|most| *most <= MOST_SLOWEST);
    totals.slowest = Slowest::new(most.ok_or(Content)?);
    let lines = reader.list(MOST_SLOWEST, read_slow)?;
    lines.into_iter().for_each(|line| totals.slowest.add(line));
    Ok(totals)
}

fn read_span(reader: &mut Reader<'_>) -> Read<Span> {
    let first = i64::try_from(reader.varint()?).map_err(|_| Content)?;
    let last = first.checked_add_unsigned(reader.varint()?).ok_or(Content)?;
    let zone_s = match reader.varint()? {
        0 => None,
        zone @ 1..=172_801 => Some(zone as i32 - 86_401),
        _ => return Err(Content),
    };
    Ok(Span { first, zone_s, last })
}

fn read_found(reader: &mut Reader<'_>) -> Read<(Found, u64)> {
    let format = reader.string()?;
    let envelope = Some(reader.string()?).filter(|name| !name.is_empty());
    let keys = reader.list(ROLES.len() + FURTHER.len(), |reader| -> Read<Taken> {
        let (role, key, unit) = (reader.string()?, reader.string()?, reader.string()?);
        let mut names = ROLES.iter().chain(FURTHER.iter().map(|(name, _)| name));
        let role = names.find(|name| **name == role).ok_or(Content)?;
        let unit = ["", "s", "ms", "us", "ns"].into_iter().find(|name| *name == unit);
        Ok((*role, key, unit.ok_or(Content)?))
    })?;
    Ok((Found { format, envelope, keys }, reader.varint()?))
}

fn read_slow(reader: &mut Reader<'_>) -> Read<Slow> {
    let nanos = reader.varint()?;
    let at = match reader.varint()? {
        0 => None,
        at => Some(i64::try_from(at - 1).map_err(|_| Content)?),
    };
    let status = i64::try_from(reader.varint()?).map_err(|_| Content)?;
    let (method, target) = (reader.bytes()?, reader.bytes()?);
    let mut line = Slow::new(nanos, at, (method, target));
    (line.status, line.key) = (status, reader.bytes()?.into());
    Ok(line)
}
