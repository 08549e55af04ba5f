//! What `auto` finds in a block of lines: their format, their keys, and the unit of the time.

use super::Access;
use super::options::{self, Format, TimeField};
use super::patterns;
use super::recognise::{self, Found, Profile};
use crate::scan::json::Prefix;

/// A block from the first lines on that are in any format: a program may tell of its start before it
/// tells of requests.
pub(crate) fn telling(block: &[u8], prefix: Prefix) -> &[u8] {
    let tells = |from: &&[u8]| {
        Format::detect(from, prefix).is_some() || patterns::of(from, false).is_some()
    };
    options::looks(block).find(tells).unwrap_or(block)
}

impl Found {
    /// Finds the format of a block of lines that begins with [`telling`] ones, and if asked to, whose
    /// keys and unit they have.
    pub(crate) fn look(
        &mut self,
        block: &[u8],
        prefix: Prefix,
        finds_keys: bool,
    ) -> Option<&'static Profile> {
        let detected = Format::detect(block, prefix);
        let is_most = detected.as_ref().is_some_and(|(_, is_most)| *is_most);
        // A block in which no line is in any format is what the last one was.
        let format = detected.map(|(format, _)| format).or(self.format.take());
        let format = format.unwrap_or(Format::Ltsv(prefix));
        if !finds_keys {
            self.format = Some(format);
            return None;
        }
        let mut profile = recognise::profile(block, &format, self.profile);
        let in_combined = is_most && matches!(format, Format::Combined) && profile.is_none();
        self.format = Some(format);
        if self.pattern().is_some() {
            self.profile = None;
        }
        // Where some lines have the keys of a profile, it holds for them, few as they may be.
        if (in_combined || !is_most && profile.is_none())
            && let Some((pattern, regex)) = patterns::of(block, in_combined)
        {
            self.format = Some(Format::Regex(Box::new(regex.clone())));
            profile = Some(pattern);
        }
        profile
    }
}

impl Access {
    /// Finds the format of a block, and the keys and the unit that its lines have.
    pub(super) fn find(&mut self, block: &[u8]) {
        let Format::Auto(prefix) = self.format else { return };
        if !self.found.is_still_of_pattern(block) {
            let profile = self.found.look(telling(block, prefix), prefix, self.finds_keys);
            self.take_keys(profile);
        }
    }

    /// Takes the keys and the unit of a profile.
    fn take_keys(&mut self, profile: Option<&'static Profile>) {
        if profile.is_none() || profile == self.found.profile {
            return;
        }
        self.found.profile = profile;
        if let Some(profile) = profile
            && let Ok((keys, by)) =
                options::wanted(profile.time, &[profile.status], self.group_key.as_deref())
        {
            self.keys = keys;
            self.counter.by = by;
            self.counter.time_scale = profile.scale();
            if profile.is_combined() {
                self.time_field = TimeField::Name(profile.time.as_bytes().into());
            }
        }
    }
}
