//! Entries of the Container Runtime Interface: `TIME STREAM TAGS MESSAGE`
//! (kubernetes/design-proposals-archive, node/kubelet-cri-logging.md).

/// One entry, a line or a piece of one.
pub(super) struct Entry<'a> {
    /// 0 is standard output, 1 standard error.
    pub(super) stream: usize,
    /// Whether the line ends with it; its tag is `F` then, else `P`.
    pub(super) is_whole: bool,
    pub(super) content: &'a [u8],
}

/// The longest time stamp: RFC 3339 with nanoseconds and an offset has 35 bytes.
const MOST_TIME_BYTES: usize = 40;

/// What an entry holds, if a line is one.
#[inline]
pub(super) fn entry(line: &[u8]) -> Option<Entry<'_>> {
    if !line.first()?.is_ascii_digit() {
        return None;
    }
    let end = line.iter().take(MOST_TIME_BYTES).position(|&b| b == b' ')?;
    let rest = &line[end + 1..];
    let (stream, rest) = match rest.strip_prefix(b"std")? {
        [b'o', b'u', b't', b' ', rest @ ..] => (0, rest),
        [b'e', b'r', b'r', b' ', rest @ ..] => (1, rest),
        _ => return None,
    };
    let is_whole = match rest.first()? {
        b'F' => true,
        b'P' => false,
        _ => return None,
    };
    let content = match rest[1..].first() {
        // Further tags may follow behind a colon.
        Some(b':') => match memchr::memchr(b' ', rest) {
            Some(blank) => &rest[blank + 1..],
            None => b"",
        },
        Some(b' ') => &rest[2..],
        None => b"",
        Some(_) => return None,
    };
    Some(Entry { stream, is_whole, content })
}
