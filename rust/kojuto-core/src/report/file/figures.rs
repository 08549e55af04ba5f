//! The figures of a key in the file of a report.

use super::super::classes::CLASSES;
use super::super::counts::Counts;
use super::super::figures::{FEW, Figures, Many};
use super::super::line::{Line, NO_TIME};
use super::super::slices::{Slice, Slices};
use super::super::spread::Spread;
use super::super::steps::{BUCKETS, STEPS};
use super::super::totals::SLICES_OF_ALL;
use super::content::{Content, Read};
use crate::stats::packed::{Reader, write_text, write_varint, write_wide};

/// Nanoseconds of which all times are multiples.
#[derive(Clone, Copy)]
pub(super) struct Unit(pub(super) u64);

const HAS_SLICES: u64 = 1;
const IS_MANY: u64 = 2;

/// Writes figures; without `slices` not what came when, where there are many lines.
pub(super) fn write_figures(out: &mut Vec<u8>, figures: &Figures, unit: Unit, slices: bool) {
    write_varint(out, figures.bytes);
    write_text(out, &figures.example);
    match &figures.many {
        None => {
            let mut lines = figures.lines.clone();
            lines.sort_unstable();
            write_varint(out, 0);
            write_varint(out, lines.len() as u64);
            let mut before = 0;
            for line in lines {
                let nanos = if line.nanos == NO_TIME { 0 } else { line.nanos / unit.0 + 1 };
                write_varint(out, u64::from(line.second - before));
                write_varint(out, nanos << 3 | line.class() as u64);
                before = line.second;
            }
        }
        Some(many) => {
            let slices = many.slices.as_ref().filter(|_| slices);
            write_varint(out, IS_MANY | if slices.is_some() { HAS_SLICES } else { 0 });
            write_classes(out, &figures.classes);
            write_varint(out, figures.timed);
            if figures.timed > 0 {
                write_wide(out, figures.sum / u128::from(unit.0));
                write_wide(out, figures.squares);
                write_varint(out, figures.min / unit.0);
                write_varint(out, (figures.max - figures.min) / unit.0);
                write_buckets(out, &many.spread.0);
            }
            if let Some(slices) = slices {
                write_slices(out, slices);
            }
        }
    }
}

/// Which classes have lines, and how many each.
fn write_classes(out: &mut Vec<u8>, classes: &[u64; CLASSES.len()]) {
    let used = classes.iter().enumerate().filter(|(_, count)| **count > 0);
    write_varint(out, used.clone().fold(0, |bits, (at, _)| bits | 1 << at));
    used.for_each(|(_, count)| write_varint(out, *count));
}

fn write_buckets(out: &mut Vec<u8>, buckets: &Counts) {
    write_varint(out, buckets.used().count() as u64);
    let mut next = 0;
    for (index, count) in buckets.used() {
        // Most follow each other, and most counts are small: one byte for both.
        let skipped = (index - next) as u64;
        if skipped == 0 {
            write_varint(out, count << 1);
        } else {
            write_varint(out, count << 1 | 1);
            write_varint(out, skipped);
        }
        next = index + 1;
    }
}

fn write_slices(out: &mut Vec<u8>, slices: &Slices) {
    write_varint(out, slices.most as u64);
    write_varint(out, u64::from(slices.shift));
    write_varint(out, slices.list.len() as u64);
    let mut next = 0;
    for slice in &slices.list {
        write_varint(out, u64::from(slice.index - next));
        write_classes(out, &slice.classes);
        write_buckets(out, &slice.steps);
        next = slice.index + 1;
    }
}

/// About the memory that figures need; without `slices` where those are not written.
pub(super) fn held_bytes(figures: &Figures, slices: bool) -> usize {
    let detail = match &figures.many {
        None => figures.lines.len() * size_of::<Line>(),
        Some(many) => {
            let slices = many.slices.iter().filter(|_| slices).flat_map(|slices| &slices.list);
            let slices = slices.map(|slice| size_of::<Slice>() + slice.steps.held_bytes());
            size_of::<Many>() + many.spread.0.held_bytes() + slices.sum::<usize>()
        }
    };
    size_of::<Figures>() + figures.example.len() + detail
}

pub(super) fn read_figures(reader: &mut Reader<'_>, unit: Unit) -> Read<Figures> {
    let bytes = reader.varint()?;
    let example = reader.bytes()?;
    let kind = reader.varint()?;
    let mut figures = match kind {
        0 => read_few(reader, unit)?,
        _ => read_many(reader, unit, kind)?,
    };
    figures.bytes = bytes;
    figures.example = example.into();
    Ok(figures)
}

fn read_few(reader: &mut Reader<'_>, unit: Unit) -> Read<Figures> {
    let mut figures = Figures::default();
    let mut second = 0u32;
    let count = reader.varint()?;
    if count > FEW as u64 {
        return Err(Content);
    }
    for _ in 0..count {
        let step = u32::try_from(reader.varint()?).map_err(|_| Content)?;
        second = second.checked_add(step).ok_or(Content)?;
        let packed = reader.varint()?;
        let class = (packed & 7) as u8;
        let nanos = match packed >> 3 {
            0 => NO_TIME,
            nanos => (nanos - 1).checked_mul(unit.0).filter(|n| *n != NO_TIME).ok_or(Content)?,
        };
        if usize::from(class) >= CLASSES.len() {
            return Err(Content);
        }
        figures.add(Line::of_class(second, class, nanos), 0, || b"");
    }
    figures.settle();
    Ok(figures)
}

fn read_many(reader: &mut Reader<'_>, unit: Unit, kind: u64) -> Read<Figures> {
    if kind & IS_MANY == 0 || kind > (IS_MANY | HAS_SLICES) {
        return Err(Content);
    }
    let mut figures = Figures::default();
    figures.classes = read_classes(reader)?;
    figures.timed = reader.varint()?;
    let mut spread = Spread::default();
    if figures.timed > 0 {
        let wide = u128::from(unit.0);
        figures.sum = reader.wide_varint()?.checked_mul(wide).ok_or(Content)?;
        figures.squares = reader.wide_varint()?;
        figures.min = reader.varint()?.checked_mul(unit.0).ok_or(Content)?;
        let more = reader.varint()?.checked_mul(unit.0).ok_or(Content)?;
        figures.max = figures.min.checked_add(more).ok_or(Content)?;
        figures.slowest = figures.max.checked_add(1).ok_or(Content)?;
        let total;
        (spread.0, total) = read_buckets(reader, BUCKETS)?;
        if total != figures.timed {
            return Err(Content);
        }
    }
    let slices = (kind & HAS_SLICES > 0).then(|| read_slices(reader)).transpose()?;
    figures.many = Some(Box::new(Many { spread, slices }));
    let lines = figures.classes.iter().try_fold(0u64, |sum, count| sum.checked_add(*count));
    match lines {
        Some(lines) if lines >= figures.timed => Ok(figures),
        _ => Err(Content),
    }
}

fn read_classes(reader: &mut Reader<'_>) -> Read<[u64; CLASSES.len()]> {
    let used = reader.varint()?;
    let mut classes = [0; CLASSES.len()];
    for (at, count) in classes.iter_mut().enumerate() {
        if used >> at & 1 == 1 {
            *count = reader.varint()?;
        }
    }
    if used >> CLASSES.len() > 0 { Err(Content) } else { Ok(classes) }
}

/// Buckets below `most`, and the sum of their counts.
fn read_buckets(reader: &mut Reader<'_>, most: usize) -> Read<(Counts, u64)> {
    let mut buckets = Counts::default();
    let (mut next, mut total) = (0u64, 0u64);
    for _ in 0..reader.varint()? {
        let packed = reader.varint()?;
        let skipped = if packed & 1 == 1 { reader.varint()? } else { 0 };
        let index = next.checked_add(skipped).filter(|index| *index < most as u64);
        let index = index.filter(|_| packed > 1).ok_or(Content)?;
        total = total.checked_add(packed >> 1).ok_or(Content)?;
        buckets.add(index as usize, packed >> 1);
        next = index + 1;
    }
    Ok((buckets, total))
}

fn read_slices(reader: &mut Reader<'_>) -> Read<Slices> {
    let mut slices = Slices::new(reader.varint()? as usize);
    slices.shift = u32::try_from(reader.varint()?).map_err(|_| Content)?;
    let mut next = 0u64;
    let count = reader.varint()?;
    if slices.shift > 31 || slices.most > SLICES_OF_ALL || count > slices.most as u64 {
        return Err(Content);
    }
    for _ in 0..count {
        let index = next.checked_add(reader.varint()?).and_then(|index| u32::try_from(index).ok());
        let mut slice = Slice::new(index.ok_or(Content)?);
        slice.classes = read_classes(reader)?;
        (slice.steps, _) = read_buckets(reader, STEPS)?;
        next = u64::from(slice.index) + 1;
        slices.list.push(slice);
    }
    Ok(slices)
}
