//! ICMP and ICMPv6 echo messages: encode a request, recognise the reply that belongs to it.
//!
//! RFC 792 (types 0 and 8), RFC 4443 section 4 (types 128 and 129).

/// The bytes before the payload: type, code, checksum, identifier, sequence.
pub const HEADER_BYTES: usize = 8;

/// The bytes of a payload that [`Mark::encode`] fills.
pub const MARK_BYTES: usize = 16;

/// Which of the two protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// ICMP over IPv4.
    V4,
    /// ICMPv6.
    V6,
}

impl Family {
    const fn request_type(self) -> u8 {
        match self {
            Family::V4 => 8,
            Family::V6 => 128,
        }
    }

    const fn reply_type(self) -> u8 {
        match self {
            Family::V4 => 0,
            Family::V6 => 129,
        }
    }
}

/// An echo message without its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Echo<'a> {
    /// Identifier: the sender's socket.
    pub id: u16,
    /// Sequence number.
    pub seq: u16,
    /// What the sender put in and the answerer must give back.
    pub payload: &'a [u8],
}

/// What every request carries at the start of its payload, so that a reply is known to be the
/// answer to exactly this packet of exactly this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Random, one for each run.
    pub token: u64,
    /// Which host of the run.
    pub host: u32,
    /// Which packet to that host.
    pub index: u32,
}

impl Mark {
    /// The mark and then a fixed pattern, `len` bytes in all (at least [`MARK_BYTES`]).
    pub fn encode(&self, len: usize) -> Vec<u8> {
        let mut payload = Vec::with_capacity(len.max(MARK_BYTES));
        payload.extend_from_slice(&self.token.to_be_bytes());
        payload.extend_from_slice(&self.host.to_be_bytes());
        payload.extend_from_slice(&self.index.to_be_bytes());
        for position in MARK_BYTES..len {
            payload.push(position as u8);
        }
        payload
    }

    /// The mark at the start of `payload`, when all that follows is the pattern, unharmed.
    pub fn decode(payload: &[u8]) -> Option<Mark> {
        let (token, rest) = payload.split_first_chunk::<8>()?;
        let (host, rest) = rest.split_first_chunk::<4>()?;
        let (index, rest) = rest.split_first_chunk::<4>()?;
        let whole = rest.iter().enumerate().all(|(i, &byte)| byte == (i + MARK_BYTES) as u8);
        whole.then(|| Mark {
            token: u64::from_be_bytes(*token),
            host: u32::from_be_bytes(*host),
            index: u32::from_be_bytes(*index),
        })
    }
}

/// An echo request. The checksum of ICMPv6 covers a pseudo header, which only the kernel knows;
/// it is left 0 there and the kernel fills it in.
pub fn encode_request(family: Family, echo: Echo<'_>) -> Vec<u8> {
    encode(family, family.request_type(), echo)
}

fn encode(family: Family, kind: u8, echo: Echo<'_>) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER_BYTES + echo.payload.len());
    message.extend_from_slice(&[kind, 0, 0, 0]);
    message.extend_from_slice(&echo.id.to_be_bytes());
    message.extend_from_slice(&echo.seq.to_be_bytes());
    message.extend_from_slice(echo.payload);
    if family == Family::V4 {
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    message
}

/// The Internet checksum (RFC 1071) of `bytes`, over which a correct message sums to 0.
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0u64;
    let mut pairs = bytes.chunks_exact(2);
    for pair in &mut pairs {
        sum += u64::from(u16::from_be_bytes([pair[0], pair[1]]));
    }
    if let [last] = pairs.remainder() {
        sum += u64::from(*last) << 8;
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The echo reply in `message`; None for anything else, and for an IPv4 message whose checksum is
/// wrong. (The kernel has checked that of ICMPv6.)
pub fn parse_reply(family: Family, message: &[u8]) -> Option<Echo<'_>> {
    if family == Family::V4 && checksum(message) != 0 {
        return None;
    }
    parse(family.reply_type(), message)
}

/// Our own echo request as the kernel hands it back: whole with a time stamp, or cut short in the
/// quotation of an ICMP error (at least 8 bytes, RFC 792). No checksum is looked at.
pub fn parse_request(family: Family, message: &[u8]) -> Option<Echo<'_>> {
    parse(family.request_type(), message)
}

fn parse(kind: u8, message: &[u8]) -> Option<Echo<'_>> {
    let (header, payload) = message.split_first_chunk::<HEADER_BYTES>()?;
    let [actual, code, _, _, id1, id2, seq1, seq2] = *header;
    (actual == kind && code == 0).then(|| Echo {
        id: u16::from_be_bytes([id1, id2]),
        seq: u16::from_be_bytes([seq1, seq2]),
        payload,
    })
}

/// What follows the IPv4 header that a raw socket delivers before the message.
pub fn strip_ipv4_header(packet: &[u8]) -> Option<&[u8]> {
    let first = *packet.first()?;
    let header = usize::from(first & 0x0f) * 4;
    if first >> 4 != 4 || header < 20 {
        return None;
    }
    packet.get(header..)
}

/// Whether an ICMP message says that the packet it quotes is lost. A redirect, a source quench and
/// "fragmentation needed" (RFC 792, RFC 4443 section 3.2, RFC 4861 section 4.5) are advice: the
/// packet may well have been delivered.
pub fn is_verdict(family: Family, kind: u8, code: u8) -> bool {
    !matches!(
        (family, kind, code),
        (Family::V4, 3, 4) | (Family::V4, 4 | 5, _) | (Family::V6, 2 | 137, _)
    )
}

/// An ICMP error in words (RFC 792, RFC 1122 section 3.2.2.1, RFC 4443 section 3).
pub fn error_words(family: Family, kind: u8, code: u8) -> &'static str {
    match (family, kind, code) {
        (Family::V4, 3, 0 | 6) => "network unreachable",
        (Family::V4, 3, 1 | 7) | (Family::V6, 1, 3) => "host unreachable",
        (Family::V4, 3, 2) => "protocol unreachable",
        (Family::V4, 3, 3) | (Family::V6, 1, 4) => "port unreachable",
        (Family::V4, 3, 4) | (Family::V6, 2, _) => "packet too big",
        (Family::V4, 3, 9 | 10 | 13) | (Family::V6, 1, 1 | 5) => "administratively prohibited",
        (Family::V6, 1, 0) => "no route to destination",
        (Family::V6, 1, 6) => "rejected by a route",
        (Family::V4, 3, _) | (Family::V6, 1, _) => "destination unreachable",
        (Family::V4, 11, _) | (Family::V6, 3, _) => "time to live exceeded",
        (Family::V4, 12, _) | (Family::V6, 4, _) => "parameter problem",
        (Family::V4, 4, _) => "source quench",
        (Family::V4, 5, _) | (Family::V6, 137, _) => "redirect",
        _ => "ICMP error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MARK: Mark = Mark { token: 0x0102_0304_0506_0708, host: 9, index: 10 };

    #[test]
    fn a_request_is_what_rfc_792_draws() {
        let message = encode_request(Family::V4, Echo { id: 0x1234, seq: 1, payload: b"ab" });
        // 0800 + 1234 + 0001 + 6162 = 7b97, whose complement is 8468
        assert_eq!(message, [8, 0, 0x84, 0x68, 0x12, 0x34, 0, 1, b'a', b'b']);
        assert_eq!(checksum(&message), 0);
        let message = encode_request(Family::V6, Echo { id: 1, seq: 2, payload: b"" });
        assert_eq!(message, [128, 0, 0, 0, 0, 1, 0, 2]);
    }

    #[test]
    fn only_a_reply_with_a_right_checksum_is_a_reply() {
        let echo = Echo { id: 7, seq: 8, payload: b"payload" };
        let reply = encode(Family::V4, 0, echo);
        assert_eq!(parse_reply(Family::V4, &reply), Some(echo));
        for position in 0..reply.len() {
            let mut broken = reply.clone();
            broken[position] ^= 1;
            assert_eq!(parse_reply(Family::V4, &broken), None, "byte {position}");
        }
        assert_eq!(parse_reply(Family::V4, &encode_request(Family::V4, echo)), None);
        assert_eq!(parse_reply(Family::V6, &encode(Family::V6, 129, echo)), Some(echo));
        assert_eq!(parse_reply(Family::V6, &encode(Family::V6, 128, echo)), None);
    }

    #[test]
    fn a_mark_survives_only_with_its_whole_pattern() {
        let payload = MARK.encode(56);
        assert_eq!(payload.len(), 56);
        assert_eq!(Mark::decode(&payload), Some(MARK));
        let mut broken = payload.clone();
        broken[40] ^= 0x80;
        assert_eq!(Mark::decode(&broken), None);
        assert_eq!(Mark::decode(&payload[..15]), None);
        assert_eq!(Mark::decode(&MARK.encode(0)), Some(MARK));
    }

    #[test]
    fn only_code_0_is_an_echo() {
        let echo = Echo { id: 1, seq: 2, payload: b"ab" };
        for (family, kind) in [(Family::V4, 0), (Family::V6, 129)] {
            let mut message = encode(family, kind, echo);
            message[1] = 1;
            message[2..4].fill(0);
            let sum = checksum(&message);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
            assert_eq!(parse_reply(family, &message), None);
        }
    }

    /// The codes of RFC 792, RFC 1122 (section 3.2.2.1), RFC 1812 (section 5.2.7.1), RFC 4443.
    #[test]
    fn every_code_has_its_words() {
        let v4 = |code| error_words(Family::V4, 3, code);
        let unreachable = "destination unreachable";
        let prohibited = "administratively prohibited";
        let expected = [
            "network unreachable",
            "host unreachable",
            "protocol unreachable",
            "port unreachable",
            "packet too big",
            unreachable,
            "network unreachable",
            "host unreachable",
            unreachable,
            prohibited,
            prohibited,
            unreachable,
            unreachable,
            prohibited,
            unreachable,
            unreachable,
        ];
        assert_eq!(std::array::from_fn(|code| v4(code as u8)), expected);
        let v6 = |code| error_words(Family::V6, 1, code);
        let expected = [
            "no route to destination",
            prohibited,
            unreachable,
            "host unreachable",
            "port unreachable",
            prohibited,
            "rejected by a route",
            unreachable,
        ];
        assert_eq!(std::array::from_fn(|code| v6(code as u8)), expected);
    }

    #[test]
    fn advice_is_no_verdict() {
        for (family, kind, code) in [
            (Family::V4, 3, 4),
            (Family::V4, 4, 0),
            (Family::V4, 5, 1),
            (Family::V6, 2, 0),
            (Family::V6, 137, 0),
        ] {
            assert!(!is_verdict(family, kind, code), "{family:?} {kind} {code}");
        }
        for (family, kind, code) in
            [(Family::V4, 3, 1), (Family::V4, 11, 0), (Family::V6, 1, 3), (Family::V6, 3, 0)]
        {
            assert!(is_verdict(family, kind, code), "{family:?} {kind} {code}");
        }
        assert_eq!(error_words(Family::V4, 5, 0), "redirect");
        assert_eq!(error_words(Family::V6, 137, 0), "redirect");
    }

    #[test]
    fn an_ipv4_header_with_options_is_stripped_whole() {
        let mut packet = vec![0x46; 24];
        packet.extend_from_slice(b"rest");
        assert_eq!(strip_ipv4_header(&packet), Some(&b"rest"[..]));
        assert_eq!(strip_ipv4_header(&packet[..23]), None);
        assert_eq!(strip_ipv4_header(&[0x44; 40]), None);
        assert_eq!(strip_ipv4_header(&[0x65; 40]), None);
        assert_eq!(strip_ipv4_header(b""), None);
    }

    proptest! {
        #[test]
        fn every_reply_comes_back_as_it_was(
            id: u16, seq: u16, payload in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let echo = Echo { id, seq, payload: &payload };
            for (family, kind) in [(Family::V4, 0), (Family::V6, 129)] {
                let message = encode(family, kind, echo);
                prop_assert_eq!(parse_reply(family, &message), Some(echo));
            }
            let request = encode_request(Family::V4, echo);
            prop_assert_eq!(parse_request(Family::V4, &request), Some(echo));
        }

        #[test]
        fn any_bytes_are_answered_without_a_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..120), kind: u8, code: u8,
        ) {
            for family in [Family::V4, Family::V6] {
                let _ = parse_reply(family, &bytes);
                let _ = parse_request(family, &bytes);
                let _ = error_words(family, kind, code);
            }
            if let Some(rest) = strip_ipv4_header(&bytes) {
                prop_assert!(rest.len() <= bytes.len() - 20);
            }
            if let Some(mark) = Mark::decode(&bytes) {
                prop_assert_eq!(mark.encode(bytes.len()), bytes);
            }
        }
    }
}
