//! The settings of a report in its file.

use super::super::naming::{NamingOptions, QueryRule};
use super::super::totals::Settings;
use super::content::{Content, Read};
use crate::stats::packed::{Reader, write_text, write_varint};

/// The most texts of one kind: more than a file of routes has lines.
const MOST_TEXTS: usize = 1 << 20;
const RULES: [QueryRule; 3] = [QueryRule::Drop, QueryRule::Keys, QueryRule::Keep];

pub(super) fn write_settings(out: &mut Vec<u8>, settings: &Settings) {
    let naming = &settings.naming;
    write_varint(out, u64::from(naming.fold));
    write_varint(out, naming.fold_above);
    let rule = RULES.iter().position(|rule| *rule == naming.query).unwrap_or(0);
    write_varint(out, rule as u64);
    write_varint(out, naming.query_values.len() as u64);
    naming.query_values.iter().for_each(|name| write_text(out, name));
    for texts in [&naming.matches, &naming.routes, &settings.group_by] {
        write_varint(out, texts.len() as u64);
        texts.iter().for_each(|text| write_text(out, text.as_bytes()));
    }
}

pub(super) fn read_settings(reader: &mut Reader<'_>) -> Read<Settings> {
    let fold = reader.flag()?;
    let fold_above = reader.varint()?;
    let query = *RULES.get(reader.varint()? as usize).ok_or(Content)?;
    let query_values = reader.list(MOST_TEXTS, |reader| Ok(reader.bytes()?.into()))?;
    let mut texts = || reader.list(MOST_TEXTS, |reader| reader.string());
    let (matches, routes, group_by) = (texts()?, texts()?, texts()?);
    let naming = NamingOptions { fold, fold_above, query, query_values, matches, routes };
    Ok(Settings { naming, group_by })
}
