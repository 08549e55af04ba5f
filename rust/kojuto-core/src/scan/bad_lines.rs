//! Lines that could not be used: counted by reason, with the first one as an example.

/// How much of the first bad line is kept.
pub const EXAMPLE_BYTES: usize = 200;

/// Bad lines by reason; `R` is the parser's own list of reasons, as indexes below `N`.
#[derive(Debug, Clone)]
pub struct BadLines<const N: usize> {
    counts: [u64; N],
    first: Option<(usize, Box<[u8]>)>,
}

impl<const N: usize> Default for BadLines<N> {
    fn default() -> Self {
        BadLines { counts: [0; N], first: None }
    }
}

impl<const N: usize> BadLines<N> {
    /// Counts a line that is bad for `reason`.
    pub fn count(&mut self, reason: usize, line: &[u8]) {
        self.count_many(reason, 1, line);
    }

    /// Counts so many lines that are bad for `reason`, of which none is there.
    pub(crate) fn add_count(&mut self, reason: usize, count: u64) {
        self.counts[reason] += count;
    }

    /// Counts so many lines that are bad for `reason`, of which one is given.
    pub(crate) fn count_many(&mut self, reason: usize, count: u64, line: &[u8]) {
        self.counts[reason] += count;
        if self.first.is_none() {
            // A run of NULs tells nobody anything.
            let is_shown = |at: usize| line[at] != 0 || at > 0 && line[at - 1] != 0;
            let shown = (0..line.len()).filter(|&at| is_shown(at)).map(|at| line[at]);
            self.first = Some((reason, shown.take(EXAMPLE_BYTES).collect()));
        }
    }

    /// Adds what another scan has counted; its example serves when there is none yet.
    pub fn merge(&mut self, other: BadLines<N>) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        if self.first.is_none() {
            self.first = other.first;
        }
    }

    /// How many lines were bad for each reason.
    pub fn counts(&self) -> &[u64; N] {
        &self.counts
    }

    /// The first bad line's reason and its first [`EXAMPLE_BYTES`].
    pub fn first(&self) -> Option<(usize, &[u8])> {
        self.first.as_ref().map(|(reason, line)| (*reason, &**line))
    }
}
