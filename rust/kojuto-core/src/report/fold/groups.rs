//! The rows of a place put together by what is shown of them.

use std::ops::Range;

const NONE: u32 = u32::MAX;

/// Groups of rows, in the order in which their labels are met.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// The group of each label.
    of_label: Vec<u32>,
    found: Vec<Group>,
}

#[derive(Debug)]
struct Group {
    label: u32,
    count: usize,
    next: usize,
}

impl Groups {
    /// Counts a row of this label.
    pub(super) fn count(&mut self, label: u32) {
        if self.of_label.len() <= label as usize {
            self.of_label.resize(label as usize + 1, NONE);
        }
        let group = &mut self.of_label[label as usize];
        if *group == NONE {
            *group = self.found.len() as u32;
            self.found.push(Group { label, count: 0, next: 0 });
        }
        self.found[*group as usize].count += 1;
    }

    /// Gives each group its range, one behind the other from `start` on.
    pub(super) fn begin(&mut self, start: usize, mut each: impl FnMut(Range<usize>)) {
        let mut start = start;
        for group in &mut self.found {
            group.next = start;
            start += group.count;
            each(group.next..start);
        }
    }

    /// The next place for a row of this label.
    pub(super) fn next(&mut self, label: u32) -> usize {
        let group = &mut self.found[self.of_label[label as usize] as usize];
        group.next += 1;
        group.next - 1
    }

    /// Forgets the groups; where the last one ends.
    pub(super) fn clear(&mut self, start: usize) -> usize {
        let end = start + self.found.iter().map(|group| group.count).sum::<usize>();
        for group in self.found.drain(..) {
            self.of_label[group.label as usize] = NONE;
        }
        end
    }
}
