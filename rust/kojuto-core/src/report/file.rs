//! The file of a report: what it has counted, the same bytes for the same lines, so that files put
//! behind each other are a file, and reading it adds them up.
//!
//! | bytes | what |
//! | --- | --- |
//! | 8 | `KJREPORT` |
//! | 1 | version |
//! | 4 | how many bytes of content follow, little endian |
//! | | deflated (RFC 1951): settings, counts, the figures of all lines, those of each key |
//! | 4 | CRC-32 (IEEE 802.3) of all before, little endian |
//!
//! Numbers are varints (LEB128); times are in units of the resolution. Texts have their length before
//! them, the keys ascend, and of each only what differs from the one before is written.

mod content;
mod figures;
mod reading;
mod settings;

use std::collections::HashSet;
use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use self::figures::{Unit, held_bytes, write_figures};
use self::settings::write_settings;
use super::figures::Figures;
use super::totals::{COSTLIEST, Totals};
use crate::Error;
use crate::error::{Malformed, ReportFault};
use crate::stats::packed::{write_text, write_varint, write_wide};

const MAGIC: &[u8; 8] = b"KJREPORT";
const VERSION: u8 = 1;
/// The content of a file, and what is made of it, may each need so much memory and
/// [`ROOM_A_BYTE`] for each byte of the file, and no more than [`MOST_ROOM_BYTES`]: nobody who reads
/// a small file needs much. What packs better than that is not packed.
const LEAST_ROOM_BYTES: usize = 32 << 20;
const ROOM_A_BYTE: usize = 512;
const MOST_ROOM_BYTES: usize = 4 << 30;
/// What a key needs beside its figures and its text.
const HELD_BY_KEY_BYTES: usize = 128;
/// What stands before the content.
const HEAD_BYTES: usize = MAGIC.len() + 1 + 4;

/// Bytes deflated.
fn pack(content: &[u8], level: Compression) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), level);
    // A vector takes all that is written to it.
    let written = encoder.write_all(content).and_then(|()| encoder.finish());
    written.unwrap_or_default()
}

/// How much memory a file of so many bytes may take up.
fn room_bytes(packed: usize) -> usize {
    packed.saturating_mul(ROOM_A_BYTE).saturating_add(LEAST_ROOM_BYTES).min(MOST_ROOM_BYTES)
}

/// Bytes inflated.
fn unpack(packed: &[u8]) -> Result<Vec<u8>, Error> {
    let mut content = Vec::new();
    let mut decoder = DeflateDecoder::new(packed);
    let most = room_bytes(packed.len()) as u64;
    let count = decoder.by_ref().take(most).read_to_end(&mut content);
    let is_whole = count.is_ok_and(|count| (count as u64) < most);
    // What stands behind it was not written.
    if is_whole && decoder.total_in() == packed.len() as u64 {
        Ok(content)
    } else {
        Err(bad(ReportFault::Content))
    }
}

/// The file of some content, which takes `held` bytes of memory when it is read: packed, with what stands
/// before it and its checksum.
///
/// # Errors
/// [`Error::Malformed`] for 4 GiB, and for what nobody could read.
pub fn seal(content: &[u8], held: usize) -> Result<Vec<u8>, Error> {
    let is_readable = |packed: &[u8]| room_bytes(packed.len()) >= held.max(content.len());
    let mut packed = pack(content, Compression::best());
    if !is_readable(&packed) {
        packed = pack(content, Compression::none());
        if !is_readable(&packed) {
            return Err(bad(ReportFault::Content));
        }
    }
    let length = u32::try_from(packed.len()).map_err(|_| bad(ReportFault::Content))?;
    let mut out = MAGIC.to_vec();
    out.push(VERSION);
    out.extend(length.to_le_bytes());
    out.extend(packed);
    let checksum = crc32fast::hash(&out);
    out.extend(checksum.to_le_bytes());
    Ok(out)
}

fn bad(fault: ReportFault) -> Error {
    Error::Malformed(Malformed::Report(fault))
}

impl Totals {
    /// The bytes of the file. Of endpoints that are not among the costliest, what came when is left
    /// out where they have more than a few lines.
    ///
    /// # Errors
    /// [`Error::Argument`] as [`Totals::answer`], and [`Error::Malformed`] for a report of 4 GiB.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let mut content = Vec::new();
        write_settings(&mut content, &self.settings);
        self.write_counts(&mut content);
        let unit = Unit(self.resolution.max(1));
        write_figures(&mut content, &self.all, unit, true);
        let held = self.write_keys(&mut content, unit)?;
        seal(&content, held)
    }

    fn write_counts(&self, out: &mut Vec<u8>) {
        write_varint(out, self.lines);
        write_varint(out, self.left_out);
        self.bad.counts().iter().for_each(|count| write_varint(out, *count));
        write_varint(out, self.other.0);
        write_wide(out, self.other.1);
        write_varint(out, self.keys.off_by());
        write_varint(out, self.resolution);
        write_varint(out, u64::from(self.span.is_some()));
        if let Some(span) = self.span {
            // No moment is before the epoch.
            write_varint(out, span.first.unsigned_abs());
            write_varint(out, span.last.abs_diff(span.first));
            // More than a day is none.
            let zone = span.zone_s.map_or(0, |zone| zone + 86_401);
            write_varint(out, u64::from(zone.unsigned_abs()));
        }
        write_varint(out, self.hosts.len() as u64);
        self.hosts.iter().for_each(|host| write_text(out, host));
        write_varint(out, self.found.len() as u64);
        for (found, lines) in &self.found {
            write_text(out, found.format.as_bytes());
            write_text(out, found.envelope.as_deref().unwrap_or_default().as_bytes());
            write_varint(out, found.keys.len() as u64);
            for (role, key, unit) in &found.keys {
                [role, &**key, unit].iter().for_each(|text| write_text(out, text.as_bytes()));
            }
            write_varint(out, *lines);
        }
        write_varint(out, self.slowest.most as u64);
        write_varint(out, self.slowest.lines.len() as u64);
        for line in &self.slowest.lines {
            write_varint(out, line.nanos.0);
            write_varint(out, line.at.map_or(0, |at| at.unsigned_abs() + 1));
            write_varint(out, line.status.unsigned_abs());
            [&line.method, &line.target, &line.key].iter().for_each(|text| write_text(out, text));
        }
    }

    /// Writes the keys, and tells how much memory they need.
    fn write_keys(&self, out: &mut Vec<u8>, unit: Unit) -> Result<usize, Error> {
        let mut keys: Vec<(&[u8], &Figures)> = self.keys.groups().collect();
        keys.sort_unstable_by_key(|(key, _)| *key);
        let answer = self.answer()?;
        let costly: HashSet<&[u8]> =
            answer.endpoints.iter().take(COSTLIEST).map(|endpoint| &*endpoint.name).collect();
        let names = self.names(&keys)?;
        write_varint(out, keys.len() as u64);
        let mut before: &[u8] = b"";
        let mut held = 0;
        for ((key, figures), name) in keys.into_iter().zip(names) {
            let same = key.iter().zip(before).take_while(|(a, b)| a == b).count();
            write_varint(out, same as u64);
            write_text(out, &key[same..]);
            let has_slices = costly.contains(&*name);
            write_figures(out, figures, unit, has_slices);
            held += HELD_BY_KEY_BYTES + key.len() + held_bytes(figures, has_slices);
            before = key;
        }
        Ok(held)
    }
}

#[cfg(test)]
mod tests;
