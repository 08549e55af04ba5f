//! The file of a report: what it has counted, the same bytes for the same lines, so that files put
//! behind each other are a file, and reading it adds them up.
//!
//! | bytes | what |
//! | --- | --- |
//! | 8 | `KJREPORT` |
//! | 1 | version |
//! | 4 | how many bytes of content follow, little endian |
//! | | settings, counts, the figures of all lines, those of each key |
//! | 4 | CRC-32 (IEEE 802.3) of all before, little endian |
//!
//! Numbers are varints (LEB128); times are in units of the resolution. Texts have their length before
//! them, the keys ascend, and of each only what differs from the one before is written.

mod content;
mod figures;
mod reading;
mod settings;

use std::collections::HashSet;

use self::figures::{Unit, write_figures};
use self::settings::write_settings;
use super::answer::COSTLIEST;
use super::figures::Figures;
use super::totals::Totals;
use crate::Error;
use crate::error::{Malformed, ReportFault};
use crate::stats::packed::{write_text, write_varint, write_wide};

const MAGIC: &[u8; 8] = b"KJREPORT";
const VERSION: u8 = 1;
/// What stands before the content.
const HEAD_BYTES: usize = MAGIC.len() + 1 + 4;

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
        let mut out = MAGIC.to_vec();
        out.push(VERSION);
        out.extend([0; 4]);
        write_settings(&mut out, &self.settings);
        self.write_counts(&mut out);
        let unit = Unit(self.resolution.max(1));
        write_figures(&mut out, &self.all, unit, true);
        self.write_keys(&mut out, unit)?;
        let content = u32::try_from(out.len() - HEAD_BYTES);
        let content = content.map_err(|_| bad(ReportFault::Content))?;
        out[HEAD_BYTES - 4..HEAD_BYTES].copy_from_slice(&content.to_le_bytes());
        let checksum = crc32fast::hash(&out);
        out.extend(checksum.to_le_bytes());
        Ok(out)
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

    fn write_keys(&self, out: &mut Vec<u8>, unit: Unit) -> Result<(), Error> {
        let mut keys: Vec<(&[u8], &Figures)> = self.keys.groups().collect();
        keys.sort_unstable_by_key(|(key, _)| *key);
        let answer = self.answer()?;
        let costly: HashSet<&[u8]> =
            answer.endpoints.iter().take(COSTLIEST).map(|endpoint| &*endpoint.name).collect();
        let names = self.names(&keys)?;
        write_varint(out, keys.len() as u64);
        let mut before: &[u8] = b"";
        for ((key, figures), name) in keys.into_iter().zip(names) {
            let same = key.iter().zip(before).take_while(|(a, b)| a == b).count();
            write_varint(out, same as u64);
            write_text(out, &key[same..]);
            write_figures(out, figures, unit, costly.contains(&*name));
            before = key;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
