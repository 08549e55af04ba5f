//! Cuts a stream of bytes into blocks of whole lines, without copying the lines.
//!
//! The caller reads straight into [`Cutter::space`] and says with [`Cutter::filled`] how much came;
//! what it gets back is the buffer itself up to the last line end. Only the unfinished last line
//! is moved to the front for the next read.

use crate::logs::position::WINDOW_BYTES;
use crate::scan::beginning::MARK;

/// What one read brings at most, and the size of a block unless a single line is longer.
pub const BLOCK_BYTES: usize = 256 * 1024;

/// How many bytes of an over-long line are kept as an example.
pub const EXAMPLE_BYTES: usize = 80;

/// The lines that were longer than the limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overlong {
    /// How many there were.
    pub lines: u64,
    /// The first bytes (at most [`EXAMPLE_BYTES`]) of the first one.
    pub first: Vec<u8>,
}

/// Holds the unfinished line and hands out the finished ones.
#[derive(Debug)]
pub struct Cutter {
    buffer: Vec<u8>,
    /// Bytes of the unfinished line at the front of the buffer.
    pending: usize,
    max_line_bytes: usize,
    /// How many bytes of whole lines may be handed out; those behind belong to what is yet to come.
    whole: fn(&[u8]) -> usize,
    /// Inside a line that is too long: everything up to its end is dropped.
    skipping: bool,
    overlong: Overlong,
    /// The last bytes of the stream before the unfinished line.
    before: Vec<u8>,
}

impl Cutter {
    /// A cutter that drops lines of more than `max_line_bytes` (without the line end).
    pub fn new(max_line_bytes: usize) -> Self {
        Cutter {
            buffer: vec![0; BLOCK_BYTES],
            pending: 0,
            max_line_bytes,
            whole: <[u8]>::len,
            skipping: false,
            overlong: Overlong::default(),
            before: Vec::new(),
        }
    }

    /// Has it hand out only the first `whole(lines)` bytes of the finished lines; the others are kept
    /// like an unfinished line.
    #[must_use]
    pub fn keeping(mut self, whole: fn(&[u8]) -> usize) -> Self {
        self.whole = whole;
        self
    }

    /// Whether the stream stands inside a line, of which there is more than NULs.
    pub fn is_in_line(&self) -> bool {
        self.skipping || self.buffer[..self.pending].iter().any(|&byte| byte != 0)
    }

    /// Where the next bytes of the stream are to be put; never empty.
    pub fn space(&mut self) -> &mut [u8] {
        if self.pending == self.buffer.len() {
            // One byte more than the limit is enough to know that a line is too long.
            let wanted = (self.buffer.len() * 2).min(self.max_line_bytes.saturating_add(1));
            self.buffer.resize(wanted.max(self.pending + 1), 0);
        }
        &mut self.buffer[self.pending..]
    }

    /// Takes the byte order mark off the `count` bytes that a file begins with, put into
    /// [`Cutter::space`]; answers how many are left for [`Cutter::filled`].
    pub fn without_mark(&mut self, count: usize) -> usize {
        let read = self.pending..self.pending + count;
        if !self.buffer[read.clone()].starts_with(MARK) {
            return count;
        }
        self.buffer.copy_within(read.start + MARK.len()..read.end, read.start);
        count - MARK.len()
    }

    /// Takes note of `count` bytes put into [`Cutter::space`] and hands every finished line that
    /// is not too long to `emit`, in blocks whose last byte is a line feed.
    pub fn filled(&mut self, count: usize, mut emit: impl FnMut(&[u8])) {
        let end = self.pending + count;
        let mut start = 0;
        if self.skipping {
            match self.buffer[..end].iter().position(|&byte| byte == b'\n') {
                Some(at) => {
                    self.skipping = false;
                    start = at + 1;
                }
                None => {
                    self.remember(end);
                    self.pending = 0;
                    return;
                }
            }
        }
        let fresh = self.pending.max(start);
        let cut = match self.buffer[fresh..end].iter().rposition(|&byte| byte == b'\n') {
            Some(at) => start + (self.whole)(&self.buffer[start..=fresh + at]),
            None => start,
        };
        if cut > start {
            // Only a block longer than the limit can hold a line longer than it.
            if cut - start - 1 > self.max_line_bytes {
                self.emit_short_lines(start, cut, &mut emit);
            } else {
                emit(&self.buffer[start..cut]);
            }
        }
        if end - cut > self.max_line_bytes {
            self.note_overlong(cut, end);
            self.skipping = true;
            self.remember(end);
            self.pending = 0;
        } else {
            self.remember(cut);
            self.buffer.copy_within(cut..end, 0);
            self.pending = end - cut;
        }
        if self.buffer.len() > BLOCK_BYTES && self.pending < BLOCK_BYTES {
            self.buffer.truncate(BLOCK_BYTES);
            self.buffer.shrink_to_fit();
        }
    }

    fn emit_short_lines(&mut self, start: usize, cut: usize, emit: &mut impl FnMut(&[u8])) {
        let mut good = start; // start of the run of lines that are short enough
        let mut line = start;
        while line < cut {
            let length = self.buffer[line..cut].iter().position(|&byte| byte == b'\n');
            let next = line + length.unwrap_or(cut - line - 1) + 1;
            if next - line - 1 > self.max_line_bytes {
                if line > good {
                    emit(&self.buffer[good..line]);
                }
                self.note_overlong(line, next - 1);
                good = next;
            }
            line = next;
        }
        if cut > good {
            emit(&self.buffer[good..cut]);
        }
    }

    /// Keeps the last bytes of the first `count` in the buffer, which are about to be dropped.
    fn remember(&mut self, count: usize) {
        let fresh = &self.buffer[count.saturating_sub(WINDOW_BYTES)..count];
        let excess = (self.before.len() + fresh.len()).saturating_sub(WINDOW_BYTES);
        self.before.drain(..excess);
        self.before.extend_from_slice(fresh);
    }

    fn note_overlong(&mut self, start: usize, end: usize) {
        if self.overlong.lines == 0 {
            self.overlong.first =
                self.buffer[start..end.min(start.saturating_add(EXAMPLE_BYTES))].to_vec();
        }
        self.overlong.lines += 1;
    }

    /// How many bytes of an unfinished line are held.
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// Whether what is held are finished lines, kept back because they go on.
    pub fn keeps_lines(&self) -> bool {
        self.buffer[..self.pending].last() == Some(&b'\n')
    }

    /// Whether the stream stands inside a line whose beginning was dropped.
    pub fn is_skipping(&self) -> bool {
        self.skipping
    }

    /// Ends the unfinished line, as if a line feed had come.
    pub fn finish_line(&mut self, mut emit: impl FnMut(&[u8])) {
        if self.pending > 0 {
            self.space()[0] = b'\n';
            let is_ended = self.buffer[self.pending - 1] == b'\n';
            emit(&self.buffer[..self.pending + usize::from(!is_ended)]);
            self.remember(self.pending);
        }
        self.forget_line(false);
    }

    /// Forgets the unfinished line. With `skip`, what follows up to the next line end is dropped
    /// too, uncounted: it belongs to a line that was counted or skipped before.
    pub fn forget_line(&mut self, skip: bool) {
        self.pending = 0;
        self.skipping = skip;
    }

    /// Goes on with another stream, of which `before` are the bytes just before its next one.
    pub fn restart(&mut self, before: &[u8], skip: bool) {
        self.forget_line(skip);
        self.before.clear();
        self.before.extend_from_slice(&before[before.len().saturating_sub(WINDOW_BYTES)..]);
    }

    /// The last bytes (at most [`WINDOW_BYTES`]) of the stream before the unfinished line.
    pub fn before(&self) -> &[u8] {
        &self.before
    }

    /// The lines that were too long so far.
    pub fn overlong(&self) -> &Overlong {
        &self.overlong
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(pieces: &[&[u8]], max_line_bytes: usize) -> (Vec<u8>, Cutter) {
        let mut cutter = Cutter::new(max_line_bytes);
        let mut out = Vec::new();
        for piece in pieces {
            let mut piece = *piece;
            while !piece.is_empty() {
                let space = cutter.space();
                let count = space.len().min(piece.len());
                space[..count].copy_from_slice(&piece[..count]);
                cutter.filled(count, |block| {
                    assert_eq!(block.last(), Some(&b'\n'));
                    out.extend_from_slice(block);
                });
                piece = &piece[count..];
            }
        }
        (out, cutter)
    }

    #[test]
    fn a_line_has_begun_with_its_first_byte_that_is_no_nul() {
        for (bytes, begun) in
            [(&b""[..], false), (b"a\n", false), (b"a\n\0\0", false), (b"\0b", true)]
        {
            assert_eq!(cut(&[bytes], 9).1.is_in_line(), begun, "{bytes:?}");
        }
        assert!(cut(&[b"longer than it may be"], 9).1.is_in_line());
    }

    #[test]
    fn a_line_at_the_limit_passes_and_one_past_it_is_skipped_and_counted() {
        let (out, cutter) = cut(&[b"12345\n123456\n1\n12345"], 5);
        assert_eq!(out, b"12345\n1\n");
        assert_eq!((cutter.pending(), cutter.is_skipping()), (5, false));
        assert_eq!(cutter.overlong(), &Overlong { lines: 1, first: b"123456".to_vec() });
        let (out, cutter) = cut(&[b"123", b"456", b"789\nok", b"\n"], 5);
        assert_eq!(out, b"ok\n");
        assert_eq!(cutter.overlong().lines, 1);
    }

    #[test]
    fn a_line_longer_than_a_block_is_one_block_and_memory_shrinks_again() {
        let long = vec![b'x'; 3 * BLOCK_BYTES + 7];
        let (out, mut cutter) = cut(&[b"a\n", &long, b"\nb\n", b"c"], 64 << 20);
        assert_eq!(out.len(), 2 + long.len() + 1 + 2);
        assert_eq!(cutter.buffer.len(), BLOCK_BYTES);
        let mut last = Vec::new();
        cutter.finish_line(|block| last.extend_from_slice(block));
        assert_eq!(last, b"c\n");
    }

    #[test]
    fn an_endless_line_needs_no_more_memory_than_the_limit() {
        let mut cutter = Cutter::new(1 << 20);
        for _ in 0..100 {
            let count = cutter.space().len();
            cutter.space().fill(b'x');
            cutter.filled(count, |_| panic!("nothing ends"));
            assert!(cutter.buffer.len() <= (1 << 20) + 1);
        }
        assert!(cutter.is_skipping());
        assert_eq!(cutter.overlong().lines, 1);
        assert_eq!(cutter.overlong().first, [b'x'; EXAMPLE_BYTES]);
    }

    #[test]
    fn a_mark_of_the_encoding_is_taken_off() {
        let mut cutter = Cutter::new(100);
        for (read, left) in [(&b"\xef\xbb\xbfa\n"[..], 2), (b"a\xef\xbb\xbf", 4), (b"\xef\xbb", 2)]
        {
            cutter.space()[..read.len()].copy_from_slice(read);
            assert_eq!(cutter.without_mark(read.len()), left);
        }
    }

    #[test]
    fn what_is_not_whole_is_kept_like_an_unfinished_line() {
        // A line that ends in `+` goes on in the next one.
        fn whole(lines: &[u8]) -> usize {
            let mut end = lines.len();
            while lines[..end].ends_with(b"+\n") {
                end = memchr::memrchr(b'\n', &lines[..end - 1]).map_or(0, |at| at + 1);
            }
            end
        }
        let mut cutter = Cutter::new(100).keeping(whole);
        let feed = |cutter: &mut Cutter, text: &[u8]| {
            let mut out = Vec::new();
            cutter.space()[..text.len()].copy_from_slice(text);
            cutter.filled(text.len(), |block| out.extend_from_slice(block));
            (String::from_utf8(out).unwrap(), cutter.pending())
        };
        assert_eq!(feed(&mut cutter, b"a\nb+\n"), ("a\n".to_owned(), 3));
        assert_eq!(feed(&mut cutter, b"c+\nd"), (String::new(), 7));
        assert_eq!(cutter.before(), b"a\n");
        assert_eq!(feed(&mut cutter, b"\ne+\n"), ("b+\nc+\nd\n".to_owned(), 3));
        let mut last = Vec::new();
        cutter.finish_line(|block| last.extend_from_slice(block));
        assert_eq!((&last[..], cutter.pending()), (&b"e+\n"[..], 0));
    }

    proptest! {
        #[test]
        fn every_way_to_cut_the_stream_gives_the_same_lines(
            text in "[ab\n\0\r]{0,200}", cuts in proptest::collection::vec(0usize..200, 0..6),
            max in 1usize..20,
        ) {
            let text = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|c| c % (text.len() + 1)).collect();
            cuts.push(0);
            cuts.push(text.len());
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &text[w[0]..w[1]]).collect();
            let (out, cutter) = cut(&pieces, max);
            let mut lines: Vec<&[u8]> = text.split_inclusive(|&b| b == b'\n').collect();
            let rest = if text.last() == Some(&b'\n') { None } else { lines.pop() };
            let expected: Vec<u8> =
                lines.iter().filter(|line| line.len() - 1 <= max).copied().flatten().copied().collect();
            prop_assert_eq!(out, expected);
            let rest = rest.unwrap_or(b"");
            let long = lines.iter().filter(|line| line.len() - 1 > max).count();
            if rest.len() > max {
                prop_assert!(cutter.is_skipping());
                prop_assert_eq!(cutter.overlong().lines, long as u64 + 1);
            } else {
                prop_assert_eq!(cutter.pending(), rest.len());
                prop_assert_eq!(cutter.overlong().lines, long as u64);
                prop_assert_eq!(cutter.before(), &text[..text.len() - rest.len()]);
            }
        }
    }
}
