//! What is made of each line, field by field: for a person who asks why it counts or does not.

use super::options::Format;
use super::{Access, Counter, Options, REASONS, read};
use crate::Error;
use crate::scan::beginning::behind_nuls;
use crate::scan::envelope::Envelope;
use crate::scan::fields::{Keys, MAX_KEYS, RowFn};
use crate::scan::number::{parse_f64, parse_i64};
use crate::scan::{combined, duration, json};

/// What a field was taken as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The time taken.
    Time,
    /// The status.
    Status,
    /// What parts the lines into groups.
    Group,
}

/// A field of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: Vec<u8>,
    /// Its text as it stands in the line.
    pub text: Vec<u8>,
    /// What it was taken as, if as anything.
    pub role: Option<Role>,
}

/// Whether a line counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// As this status, with this time in seconds if it has one.
    Counted {
        /// The status.
        status: i64,
        /// The time taken.
        seconds: Option<f64>,
    },
    /// The filter leaves it out.
    Filtered,
    /// It cannot be read: the reason.
    Bad(&'static str),
}

/// What was made of a line.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    /// What stood around it.
    pub envelope: Option<Envelope>,
    /// The line itself.
    pub line: Vec<u8>,
    /// The name of its format.
    pub format: &'static str,
    /// The keys that were looked for: of the time, then of the status.
    pub keys: Vec<Vec<u8>>,
    /// Its fields, in their order.
    pub fields: Vec<Field>,
    /// The unit of its time: that of the key, or `its own`, or `a list`.
    pub unit: &'static str,
    /// Whether it counts.
    pub verdict: Verdict,
}

/// Where a text stands in a line, and how long it is.
type Span = (usize, usize);

/// Explains each line of a block of whole lines, read as the beginning of a log.
///
/// # Errors
/// [`Error::Argument`] for an empty or too many keys.
pub fn explain(options: &Options, block: &[u8]) -> Result<Vec<Explained>, Error> {
    let empty = Access::new(options)?.counter;
    let mut access = Access::new(options)?;
    access.block(block);
    let envelope = access.found.envelope;
    let mut opener = std::mem::take(&mut access.opener);
    let lines = match envelope {
        Some(envelope) => opener.open(envelope, block),
        None => block,
    };
    let lines = lines.strip_suffix(b"\n").unwrap_or(lines);
    Ok(lines.split(|&b| b == b'\n').map(|line| access.explain(&empty, line)).collect())
}

impl Access {
    fn explain(&self, empty: &Counter, line: &[u8]) -> Explained {
        let format = self.found.format.as_ref().unwrap_or(&self.format);
        let line = behind_nuls(line.strip_suffix(b"\r").unwrap_or(line));
        let block = &[line, b"\n"].concat()[..];
        let mut counter = Counter {
            by: self.counter.by,
            escapes: self.counter.escapes,
            time_optional: self.counter.time_optional,
            time_scale: self.counter.time_scale,
            ..empty.clone()
        };
        read(block, &self.keys, format, &self.time_field, &mut counter);
        let spans = self.spans(block, &self.keys, format);
        let text = |span: Option<Span>| span.map(|(at, length)| &block[at..at + length]);
        let status = (1..=counter.statuses).find_map(|at| spans[at]);
        let roles = [
            (Role::Time, 0, spans[0]),
            (Role::Status, 1, status),
            (Role::Group, counter.by.unwrap_or(0), counter.by.and_then(|by| spans[by])),
        ];
        let taken = text(spans[0]).unwrap_or_default();
        Explained {
            envelope: self.found.envelope,
            line: line.to_vec(),
            format: self.format_name(),
            keys: self.keys.list()[..=counter.statuses].iter().map(|k| k.name.to_vec()).collect(),
            fields: self.with_roles(&self.fields(block, format), &roles, block),
            unit: unit(&counter, taken),
            verdict: verdict(&counter, text(status).unwrap_or_default()),
        }
    }

    /// Where the values of keys stand in a line.
    fn spans(&self, block: &[u8], keys: &Keys, format: &Format) -> Vec<Option<Span>> {
        let mut spans = vec![None; MAX_KEYS];
        let mut row: RowFn<'_> = &mut |_, values| {
            for (span, value) in spans.iter_mut().zip(values) {
                *span = span_of(block, value);
            }
        };
        read(block, keys, format, &self.time_field, &mut row);
        spans
    }

    /// The fields of a line that have one, by name.
    fn fields(&self, block: &[u8], format: &Format) -> Vec<(Vec<u8>, Option<Span>)> {
        let line = block.strip_suffix(b"\n").unwrap_or(block);
        let names: Vec<Vec<u8>> = match format {
            Format::Json(prefix) => {
                let members = json::members(block, *prefix).into_iter();
                return members.map(|(name, text)| (name, span_of(block, text))).collect();
            }
            Format::Ltsv(_) | Format::Auto(_) => {
                let parts = line.split(|&b| b == b'\t');
                let part = |part: &[u8]| match memchr::memchr(b':', part) {
                    Some(at) => (part[..at].to_vec(), span_of(block, &part[at + 1..])),
                    None => (Vec::new(), span_of(block, part)),
                };
                return parts.map(part).collect();
            }
            Format::Combined => {
                combined::FIELDS.iter().map(|name| name.as_bytes().to_vec()).collect()
            }
            Format::Text(text) => text.names().map(|name| name.as_bytes().to_vec()).collect(),
            Format::Regex(regex) => {
                let names = regex.capture_names().flatten();
                names.map(|name| name.as_bytes().to_vec()).collect()
            }
        };
        let mut all = Vec::new();
        for part in names.chunks(MAX_KEYS - 1) {
            // The first key is that of the time, in any of these formats.
            let wanted = std::iter::once((&b"\0"[..], true));
            let wanted: Vec<_> = wanted.chain(part.iter().map(|name| (&name[..], true))).collect();
            let Ok(keys) = Keys::new(&wanted) else { continue };
            let spans = self.spans(block, &keys, format);
            let found = part.iter().zip(&spans[1..]);
            all.extend(found.filter(|(_, span)| span.is_some()).map(|(n, s)| (n.clone(), *s)));
        }
        all
    }

    /// The fields with what each was taken as; what was found where there is no field comes last.
    fn with_roles(
        &self,
        fields: &[(Vec<u8>, Option<Span>)],
        roles: &[(Role, usize, Option<Span>); 3],
        block: &[u8],
    ) -> Vec<Field> {
        let text = |span: Option<Span>| span.map(|(at, n)| block[at..at + n].to_vec());
        let mut all: Vec<Field> = Vec::new();
        for (name, span) in fields {
            let role = roles.iter().find(|(_, _, taken)| taken.is_some() && taken == span);
            let role = role.map(|(role, ..)| *role);
            all.push(Field { name: name.clone(), text: text(*span).unwrap_or_default(), role });
        }
        for (role, key, span) in roles.iter().filter(|(_, _, span)| span.is_some()) {
            if !fields.iter().any(|(_, field)| field == span) {
                let name = self.keys.list()[*key].name.to_vec();
                let text = text(*span).unwrap_or_default();
                all.push(Field { name, text, role: Some(*role) });
            }
        }
        all
    }
}

/// Where a text that was cut out of a block stands in it, unless it is empty.
fn span_of(block: &[u8], text: &[u8]) -> Option<Span> {
    let at = (text.as_ptr() as usize).checked_sub(block.as_ptr() as usize)?;
    (!text.is_empty() && at + text.len() <= block.len()).then_some((at, text.len()))
}

fn verdict(counter: &Counter, status: &[u8]) -> Verdict {
    if let Some((reason, _)) = counter.bad.first() {
        return Verdict::Bad(REASONS[reason]);
    }
    match parse_i64(counter.resolved(status).trim_ascii()) {
        Some(status) if counter.all.total() > 0 => {
            let seconds = counter.all.latencies.iter().next().map(|(seconds, _)| seconds);
            Verdict::Counted { status, seconds }
        }
        _ => Verdict::Filtered,
    }
}

/// The unit of a time.
fn unit(counter: &Counter, time: &[u8]) -> &'static str {
    let text = counter.resolved(time);
    let text = text.trim_ascii();
    if parse_f64(text).is_some() {
        return match counter.time_scale {
            scale if scale >= 1.0 => "s",
            scale if scale > 0.5e-3 => "ms",
            scale if scale > 0.5e-6 => "us",
            _ => "ns",
        };
    }
    match (duration::seconds(text), counter.time(text)) {
        (Some(_), _) => "its own",
        (None, Some(_)) => "a list",
        (None, None) => "",
    }
}
