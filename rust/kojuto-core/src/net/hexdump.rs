//! Traffic as text: bytes in hexadecimal and as ASCII, MySQL pings left out.

/// COM_PING with its packet header, as every connection pool sends it.
pub const MYSQL_PING: [u8; 5] = [1, 0, 0, 0, 0x0e];

/// `47 45 54`.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 3);
    for (at, byte) in bytes.iter().enumerate() {
        if at > 0 {
            text.push(' ');
        }
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// The printable ASCII characters, a point for every other byte.
pub fn ascii(bytes: &[u8]) -> String {
    bytes.iter().map(|&b| if (b' '..=b'~').contains(&b) { char::from(b) } else { '.' }).collect()
}

/// Collects the bytes of one direction until they are taken, without the pings if so wanted.
#[derive(Debug)]
pub struct Collector {
    bytes: Vec<u8>,
    drop_pings: bool,
}

impl Collector {
    /// An empty one.
    pub fn new(drop_pings: bool) -> Collector {
        Collector { bytes: Vec::new(), drop_pings }
    }

    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether none wait.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Adds what came.
    pub fn push(&mut self, bytes: &[u8]) {
        // A ping may have begun in what is held already.
        let from = self.bytes.len().saturating_sub(MYSQL_PING.len() - 1);
        self.bytes.extend_from_slice(bytes);
        if !self.drop_pings {
            return;
        }
        // What stays moves up over the pings as they are found, each byte once.
        let (mut at, mut end) = (from, from);
        while at < self.bytes.len() {
            if self.bytes[at..].starts_with(&MYSQL_PING) {
                at += MYSQL_PING.len();
            } else {
                self.bytes[end] = self.bytes[at];
                end += 1;
                at += 1;
            }
        }
        self.bytes.truncate(end);
    }

    /// Takes what can be shown: all of it at the `end`, else all but the beginning of a ping.
    pub fn take(&mut self, end: bool) -> Vec<u8> {
        let kept = if self.drop_pings && !end { self.begun() } else { 0 };
        let rest = self.bytes.split_off(self.bytes.len() - kept);
        std::mem::replace(&mut self.bytes, rest)
    }

    fn begun(&self) -> usize {
        (1..MYSQL_PING.len()).rev().find(|&n| self.bytes.ends_with(&MYSQL_PING[..n])).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_as_text() {
        assert_eq!(hex(b"GE\0\xff"), "47 45 00 ff");
        assert_eq!(ascii(b"GE\0\xff ~\x7f"), "GE.. ~.");
        assert_eq!(hex(b""), "");
    }

    #[test]
    fn many_pings_cost_no_more_than_as_many_other_bytes() {
        let time = |bytes: &[u8]| {
            let mut collector = Collector::new(true);
            let start = std::time::Instant::now();
            collector.push(bytes);
            (start.elapsed(), collector.len())
        };
        let pings = MYSQL_PING.repeat((256 << 10) / MYSQL_PING.len());
        let others = vec![b'x'; pings.len()];
        let best = |bytes: &[u8]| (0..3).map(|_| time(bytes)).min().unwrap();
        let (plain_took, plain_left) = best(&others);
        let (pings_took, pings_left) = best(&pings);
        assert_eq!((plain_left, pings_left), (others.len(), 0));
        // Each ping that moved all that follow would cost thousands of times as much.
        assert!(pings_took < 10 * plain_took, "{pings_took:?}, others {plain_took:?}");
    }

    proptest! {
        #[test]
        fn pings_vanish_wherever_the_cuts_fall(
            parts in prop::collection::vec(prop_oneof![
                Just(MYSQL_PING.to_vec()), prop::collection::vec(2u8..14, 0..4)], 0..8),
            cuts in prop::collection::vec(1usize..6, 1..20), take in any::<bool>(),
        ) {
            // Between pings only bytes that cannot be part of one.
            let whole: Vec<u8> = parts.concat();
            let expected: Vec<u8> =
                parts.iter().filter(|p| p[..] != MYSQL_PING).flatten().copied().collect();
            let mut collector = Collector::new(true);
            let mut kept = Collector::new(false);
            let (mut shown, mut all) = (Vec::new(), Vec::new());
            let mut rest = &whole[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (piece, next) = rest.split_at((*cut).min(rest.len()));
                rest = next;
                collector.push(piece);
                kept.push(piece);
                if take { shown.extend(collector.take(false)); all.extend(kept.take(false)); }
            }
            shown.extend(collector.take(true));
            all.extend(kept.take(true));
            prop_assert_eq!(shown, expected);
            prop_assert_eq!(all, whole);
        }
    }
}
