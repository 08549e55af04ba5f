//! Cuts a byte stream that arrives in arbitrary pieces into whole lines.

/// The longest line that is looked at, without its newline; longer ones are dropped as they come.
pub const MAX_LINE_BYTES: usize = 1 << 20;

/// How much of a line that is too long is kept, to show it.
pub const HEAD_BYTES: usize = 80;

/// What the cutter hands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// One or more whole lines, each ending in a newline. One of them may still be longer than
    /// [`MAX_LINE_BYTES`] when it arrived in one piece.
    Lines(&'a [u8]),
    /// A line over [`MAX_LINE_BYTES`]: its beginning.
    TooLong(&'a [u8]),
}

/// Keeps the unfinished tail of a stream between two pieces; at most [`MAX_LINE_BYTES`] of it.
#[derive(Debug, Default)]
pub struct LineCutter {
    tail: Vec<u8>,
    too_long: bool,
}

impl LineCutter {
    /// Takes the next piece of the stream and hands on what is now complete.
    pub fn feed(&mut self, mut chunk: &[u8], mut on: impl FnMut(Piece<'_>)) {
        if self.too_long || !self.tail.is_empty() {
            let Some(end) = memchr::memchr(b'\n', chunk) else {
                self.keep(chunk);
                return;
            };
            self.keep(&chunk[..end]);
            self.hand_on_tail(&mut on);
            chunk = &chunk[end + 1..];
        }
        let whole = memchr::memrchr(b'\n', chunk).map_or(0, |end| end + 1);
        if whole > 0 {
            on(Piece::Lines(&chunk[..whole]));
        }
        self.keep(&chunk[whole..]);
    }

    /// The stream has ended: hands on a last line without a newline.
    pub fn finish(&mut self, mut on: impl FnMut(Piece<'_>)) {
        if self.too_long || !self.tail.is_empty() {
            self.hand_on_tail(&mut on);
        }
    }

    fn keep(&mut self, part: &[u8]) {
        let room = if self.too_long { HEAD_BYTES } else { MAX_LINE_BYTES } - self.tail.len();
        if part.len() <= room && !self.too_long {
            self.tail.extend_from_slice(part);
            return;
        }
        self.tail.extend_from_slice(&part[..part.len().min(room)]);
        self.tail.truncate(HEAD_BYTES);
        self.too_long = true;
    }

    fn hand_on_tail(&mut self, on: &mut impl FnMut(Piece<'_>)) {
        if self.too_long {
            on(Piece::TooLong(&self.tail));
        } else {
            self.tail.push(b'\n');
            on(Piece::Lines(&self.tail));
        }
        self.tail.clear();
        self.too_long = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Each line and whether it was too long, whichever way the stream was cut.
    fn cut(stream: &[u8], sizes: &[usize]) -> Vec<(Vec<u8>, bool)> {
        let mut found = Vec::new();
        let mut on = |piece: Piece<'_>| match piece {
            Piece::TooLong(head) => found.push((head.to_vec(), true)),
            Piece::Lines(lines) => {
                for line in lines.strip_suffix(b"\n").unwrap().split(|&byte| byte == b'\n') {
                    let long = line.len() > MAX_LINE_BYTES;
                    found.push((line[..if long { HEAD_BYTES } else { line.len() }].into(), long));
                }
            }
        };
        let mut cutter = LineCutter::default();
        let mut rest = stream;
        for &size in sizes {
            let (piece, left) = rest.split_at(size.min(rest.len()));
            cutter.feed(piece, &mut on);
            rest = left;
        }
        cutter.feed(rest, &mut on);
        cutter.finish(&mut on);
        assert!(cutter.tail.capacity() <= 2 * MAX_LINE_BYTES + 2);
        found
    }

    #[test]
    fn a_line_at_the_limit_is_kept_and_one_byte_more_is_not() {
        for (length, long) in [(MAX_LINE_BYTES, false), (MAX_LINE_BYTES + 1, true)] {
            let mut stream = b"1\n".to_vec();
            stream.resize(2 + length, b'x');
            stream.extend(b"\n2");
            for sizes in [&[][..], &[1, 1, 1], &[length / 2, length / 2], &[length + 2], &[length]]
            {
                let lines = cut(&stream, sizes);
                assert_eq!(lines.len(), 3, "{sizes:?}");
                assert_eq!((&lines[0].0[..], &lines[2].0[..]), (&b"1"[..], &b"2"[..]));
                assert_eq!(lines[1].1, long, "{sizes:?}");
                assert_eq!(lines[1].0.len(), if long { HEAD_BYTES } else { length });
            }
        }
    }

    proptest! {
        #[test]
        fn no_cut_changes_the_lines(
            stream in proptest::collection::vec(proptest::sample::select(b"1\n\r ".to_vec()), 0..200),
            sizes in proptest::collection::vec(0usize..30, 0..20),
        ) {
            prop_assert_eq!(cut(&stream, &sizes), cut(&stream, &[]));
        }
    }
}
