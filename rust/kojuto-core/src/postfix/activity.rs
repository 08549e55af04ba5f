//! What the daemons without delays report: mail taken in, refused, queued, expired, removed.

/// How many messages went through each station.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Activity {
    /// Mail taken from a client (smtpd `QID: client=`) or from a local sender (pickup `QID: uid=`).
    pub received: u64,
    /// Commands and messages refused: `reject:`, `milter-reject:`, `proxy-reject:`.
    pub rejected: u64,
    /// Messages that cleanup worked on (`QID: message-id=`), bounces included.
    pub queued: u64,
    /// Times that a message came into the active queue; a deferred one comes at each try.
    pub active: u64,
    /// Messages that left the queue.
    pub removed: u64,
    /// Messages that were too long in the queue and went back to their sender.
    pub expired: u64,
}

impl Activity {
    pub(super) fn add(&mut self, other: Activity) {
        self.received += other.received;
        self.rejected += other.rejected;
        self.queued += other.queued;
        self.active += other.active;
        self.removed += other.removed;
        self.expired += other.expired;
    }

    /// Counts one message: the text from `start` to the line's end.
    pub(super) fn count(&mut self, daemon: &[u8], text: &[u8]) {
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let id = text.iter().take_while(|b| b.is_ascii_alphanumeric()).count();
        let Some(rest) = text[id..].strip_prefix(b": ") else { return };
        if id == 0 {
            return;
        }
        let accepted = &text[..id] != b"NOQUEUE";
        match daemon {
            b"smtpd" | b"postscreen" | b"cleanup" if is_reject(rest) => self.rejected += 1,
            b"smtpd" if accepted && rest.starts_with(b"client=") => self.received += 1,
            b"pickup" if rest.starts_with(b"uid=") => self.received += 1,
            b"cleanup" if rest.starts_with(b"message-id=") => self.queued += 1,
            b"qmgr" if rest.starts_with(b"removed") => self.removed += 1,
            b"qmgr" if rest.starts_with(b"from=") => {
                // The sender may be any text, so only the end of the line is believed.
                if rest.ends_with(b" (queue active)") {
                    self.active += 1;
                } else if EXPIRED.iter().any(|end| rest.ends_with(end)) {
                    self.expired += 1;
                }
            }
            _ => {}
        }
    }
}

/// How the queue manager ends the line of a message that is too old (qmgr(8)), or that postsuper(1)
/// was told to expire.
const EXPIRED: [&[u8]; 2] =
    [b", status=expired, returned to sender", b", status=force-expired, returned to sender"];

fn is_reject(rest: &[u8]) -> bool {
    [&b"reject: "[..], b"milter-reject: ", b"proxy-reject: "].iter().any(|p| rest.starts_with(p))
}
