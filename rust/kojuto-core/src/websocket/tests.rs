//! RFC 6455 as a table, in the manner of the Autobahn suite, and any stream at any cut.

use super::mask::xor_at;
use super::*;
use crate::scan::simd::Level;
use proptest::prelude::*;

/// What a stream of bytes came to: payload, pings, end, and whether a frame was left open.
type Outcome = (Vec<u8>, Vec<Vec<u8>>, Option<End>, bool);

/// Name, frames, the payload and the end they come to.
type Case<'a> = (&'a str, Vec<Vec<u8>>, &'a [u8], Option<End>);

/// Decodes `wire` in pieces of these sizes, over and over.
fn decode(sender: Sender, wire: &[u8], sizes: &[usize]) -> Outcome {
    let mut decoder = Decoder::new(sender);
    let (mut payload, mut pings) = (Vec::new(), Vec::new());
    let (mut rest, mut at) = (wire, 0);
    while !rest.is_empty() {
        let size = sizes[at % sizes.len()].clamp(1, rest.len());
        let mut piece = rest[..size].to_vec();
        let count = decoder.decode(&mut piece);
        payload.extend_from_slice(&piece[..count]);
        pings.extend(decoder.take_ping().map(|ping| ping.payload().to_vec()));
        rest = &rest[size..];
        at += 1;
    }
    (payload, pings, decoder.end(), decoder.is_between_frames())
}

/// A frame from its parts, right or wrong: first byte, length as in the second byte and behind
/// it, payload; masked when `key` is given.
fn raw(first: u8, second: u8, extended: &[u8], key: Option<Key>, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first, second | if key.is_some() { 0x80 } else { 0 }];
    frame.extend_from_slice(extended);
    frame.extend_from_slice(key.as_ref().map_or(&[], |key| key.as_slice()));
    let start = frame.len();
    frame.extend_from_slice(payload);
    for (i, byte) in frame[start..].iter_mut().enumerate() {
        *byte ^= key.map_or(0, |key| key[i % 4]); // as section 5.3 words it
    }
    frame
}

fn short(first: u8, payload: &[u8]) -> Vec<u8> {
    raw(first, payload.len() as u8, &[], None, payload)
}

fn violation(code: u16, text: &'static str) -> Option<End> {
    Some(End::Violation(Violation { code, text }))
}

/// Checks one case from a server and, each frame masked, from a client, in one piece and bytewise.
fn check(name: &str, frames: &[Vec<u8>], payload: &[u8], end: Option<End>) {
    let wire = frames.concat();
    for sizes in [&[usize::MAX][..], &[1], &[3, 1, 7]] {
        let got = decode(Sender::Server, &wire, sizes);
        assert_eq!((&got.0[..], got.2), (payload, end), "{name}, pieces of {sizes:?}");
    }
}

#[test]
fn frames_that_are_right() {
    let long = vec![0x5a; 70_000];
    let cases: Vec<Case<'_>> = vec![
        ("1.2.1 empty", vec![short(0x82, b"")], b"", None),
        ("1.2.2 of 125", vec![short(0x82, &long[..125])], &long[..125], None),
        ("1.2.3 of 126", vec![raw(0x82, 126, &[0, 126], None, &long[..126])], &long[..126], None),
        (
            "1.2.5 of 65535",
            vec![raw(0x82, 126, &[255; 2], None, &long[..65535])],
            &long[..65535],
            None,
        ),
        (
            "1.2.6 of 65536",
            vec![raw(0x82, 127, &65536u64.to_be_bytes(), None, &long[..65536])],
            &long[..65536],
            None,
        ),
        ("5.5 two fragments", vec![short(0x02, b"frag"), short(0x80, b"ment")], b"fragment", None),
        (
            "5.8 a ping between fragments",
            vec![short(0x02, b"a"), short(0x89, b"ping"), short(0x00, b"b"), short(0x80, b"c")],
            b"abc",
            None,
        ),
        (
            "6.1.2 empty fragments",
            vec![short(0x02, b""), short(0, b""), short(0x80, b"")],
            b"",
            None,
        ),
        ("2.7 a pong nobody asked for", vec![short(0x8a, b"x"), short(0x82, b"y")], b"y", None),
        ("2.4 a ping of 125", vec![short(0x89, &long[..125])], b"", None),
        (
            "7.1.1 close",
            vec![short(0x82, b"z"), short(0x88, &[3, 232])],
            b"z",
            Some(End::Close(1000)),
        ),
        ("7.3.1 without a code", vec![short(0x88, b"")], b"", Some(End::Close(1005))),
        ("7.3.4 with a reason", vec![short(0x88, b"\x03\xe9bye")], b"", Some(End::Close(1001))),
        (
            "7.3.5 with a reason of 123 bytes",
            vec![short(0x88, &[&[3, 232][..], &[b'*'; 123]].concat())],
            b"",
            Some(End::Close(1000)),
        ),
        (
            "7.1.2 nothing is read behind a close",
            vec![short(0x88, &[3, 232]), short(0x82, b"late"), short(0xff, b"")],
            b"",
            Some(End::Close(1000)),
        ),
    ];
    for (name, frames, payload, end) in &cases {
        check(name, frames, payload, *end);
    }
}

#[test]
fn frames_that_are_wrong() {
    let bad = |text| violation(1002, text);
    let more = "a length in more bytes than it needs";
    let cases: Vec<Case<'_>> = vec![
        ("3.1 RSV3", vec![short(0x92, b"")], b"", bad("a reserved bit is set")),
        (
            "3.2 RSV2",
            vec![short(0x82, b"ok"), short(0xa2, b"")],
            b"ok",
            bad("a reserved bit is set"),
        ),
        ("3.4 RSV1", vec![short(0xc2, b"x")], b"", bad("a reserved bit is set")),
        ("3.7 RSV1 of a close", vec![short(0xf8, b"")], b"", bad("a reserved bit is set")),
        ("4.1.1 opcode 3", vec![short(0x83, b"")], b"", bad("an unknown opcode")),
        (
            "4.1.5 opcode 7",
            vec![short(0x82, b"x"), short(0x87, b"")],
            b"x",
            bad("an unknown opcode"),
        ),
        ("4.2.1 opcode 11", vec![short(0x8b, b"")], b"", bad("an unknown opcode")),
        ("4.2.5 opcode 15", vec![short(0x8f, b"")], b"", bad("an unknown opcode")),
        (
            "2.5 a ping of 126",
            vec![raw(0x89, 126, &[0, 126], None, &[0; 126])],
            b"",
            bad("a control frame of more than 125 bytes"),
        ),
        (
            "7.3.6 a close of 126",
            vec![raw(0x88, 126, &[0, 126], None, &[0; 126])],
            b"",
            bad("a control frame of more than 125 bytes"),
        ),
        (
            "5.1 a ping in fragments",
            vec![short(0x09, b"")],
            b"",
            bad("a control frame in fragments"),
        ),
        (
            "5.2 a pong in fragments",
            vec![short(0x0a, b"")],
            b"",
            bad("a control frame in fragments"),
        ),
        (
            "5.9 a continuation of nothing",
            vec![short(0x80, b"x")],
            b"",
            bad("a continuation of nothing"),
        ),
        (
            "5.12 a continuation behind the last one",
            vec![short(0x02, b"a"), short(0x80, b"b"), short(0x00, b"c")],
            b"ab",
            bad("a continuation of nothing"),
        ),
        (
            "5.18 two messages at once",
            vec![short(0x02, b"a"), short(0x82, b"b")],
            b"a",
            bad("a new message inside another"),
        ),
        (
            "text",
            vec![short(0x82, b"a"), short(0x81, b"b")],
            b"a",
            violation(1003, "a text frame where only binary ones are taken"),
        ),
        ("125 in two bytes", vec![raw(0x82, 126, &[0, 125], None, &[0; 125])], b"", bad(more)),
        (
            "65535 in eight bytes",
            vec![raw(0x82, 127, &65535u64.to_be_bytes(), None, b"")],
            b"",
            bad(more),
        ),
        ("0 in eight bytes", vec![raw(0x82, 127, &[0; 8], None, b"")], b"", bad(more)),
        (
            "a length with the top bit",
            vec![raw(0x82, 127, &[0x80, 0, 0, 0, 0, 1, 0, 0], None, b"")],
            b"",
            bad("a length of more than 63 bits"),
        ),
        (
            "7.3.2 half a code",
            vec![short(0x88, b"\x03")],
            b"",
            bad("a Close frame with half a code"),
        ),
        (
            "7.5.1 a reason that is no text",
            vec![short(0x88, b"\x03\xe8\xce\xba\xe1\xff")],
            b"",
            violation(1007, "a Close frame whose reason is not UTF-8"),
        ),
        (
            "a masked frame",
            vec![raw(0x82, 1, &[], Some([1; 4]), b"x")],
            b"",
            bad("a server's frame masked"),
        ),
    ];
    for (name, frames, payload, end) in &cases {
        check(name, frames, payload, *end);
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
        let end = bad("a Close frame with a code that must not be sent");
        check(&format!("7.9 code {code}"), &[short(0x88, &u16::to_be_bytes(code))], b"", end);
    }
    for code in [1000, 1001, 1002, 1003, 1007, 1011, 1013, 3000, 3999, 4000, 4999] {
        let frame = short(0x88, &u16::to_be_bytes(code));
        check(&format!("7.7 code {code}"), &[frame], b"", Some(End::Close(code)));
    }
    for code in [1001, 1002, 1005, 1011] {
        assert_eq!(End::Close(code).is_whole(), code == 1005);
    }
}

#[test]
fn a_client_must_mask() {
    let unmasked = decode(Sender::Client, &short(0x82, b"x"), &[1]);
    assert_eq!(unmasked.2, violation(1002, "a client's frame unmasked"));
    let key = [0x12, 0x34, 0x56, 0x78];
    let frames = [
        raw(0x02, 5, &[], Some(key), b"hello"),
        raw(0x89, 3, &[], Some([9, 9, 0, 1]), b"you"),
        raw(0x80, 6, &[], Some([0; 4]), b" there"),
        raw(0x88, 2, &[], Some(key), &[3, 232]),
    ];
    for sizes in [&[usize::MAX][..], &[1], &[2, 5]] {
        let (payload, pings, end, between) = decode(Sender::Client, &frames.concat(), sizes);
        assert_eq!((&payload[..], end), (&b"hello there"[..], Some(End::Close(1000))));
        assert_eq!(pings, [b"you"]);
        assert!(between);
    }
}

#[test]
fn an_end_in_the_middle_of_a_frame_shows() {
    let frame = raw(0x82, 126, &[1, 0], None, &[7; 256]);
    for cut in 0..=frame.len() {
        let (payload, _, end, between) = decode(Sender::Server, &frame[..cut], &[usize::MAX]);
        assert_eq!(payload.len(), cut.saturating_sub(4));
        assert_eq!(end, None);
        assert_eq!(between, cut == 0 || cut == frame.len(), "cut at {cut}");
    }
}

#[test]
fn payload_that_needs_no_decoding_may_go_by() {
    let mut decoder = Decoder::new(Sender::Server);
    let mut head = raw(0x82, 127, &100_000u64.to_be_bytes(), None, b"");
    assert_eq!(decoder.plain_left(), 0);
    assert_eq!(decoder.decode(&mut head), 0);
    assert_eq!(decoder.plain_left(), 100_000);
    decoder.skip(99_000);
    assert_eq!(decoder.decode(&mut [1; 900]), 900);
    assert_eq!(decoder.plain_left(), 100);
    decoder.skip(100);
    assert!(decoder.is_between_frames());
    assert_eq!(decoder.decode(&mut short(0x88, b"")), 0);
    assert_eq!(decoder.end(), Some(End::Close(1005)));
    let mut masked = Decoder::new(Sender::Client);
    masked.decode(&mut raw(0x82, 100, &[], Some([1, 2, 3, 4]), b""));
    assert_eq!(masked.plain_left(), 0);
}

#[test]
fn what_is_written_is_what_the_rfc_shows() {
    // RFC 6455, section 5.7, with the opcodes of this tunnel.
    let mut out = Vec::new();
    write_control(Opcode::Ping, b"Hello", None, &mut out);
    assert_eq!(out, b"\x89\x05Hello");
    out.clear();
    write_control(Opcode::Pong, b"Hello", Some([0x37, 0xfa, 0x21, 0x3d]), &mut out);
    assert_eq!(out, b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
    out.clear();
    write_header(Opcode::Binary, 256, None, &mut out);
    assert_eq!(out, b"\x82\x7e\x01\x00");
    out.clear();
    write_header(Opcode::Binary, 65536, None, &mut out);
    assert_eq!(out, b"\x82\x7f\0\0\0\0\0\x01\0\0");
    out.clear();
    write_close(close::FAILED, None, &mut out);
    assert_eq!(out, b"\x88\x02\x03\xf3");
}

#[test]
fn a_pong_tells_which_ping_it_answers() {
    let mut decoder = Decoder::new(Sender::Server);
    let mut receive = |pongs: &[&[u8]]| {
        let mut bytes = Vec::new();
        for payload in pongs {
            write_control(Opcode::Pong, payload, None, &mut bytes);
        }
        assert_eq!(decoder.decode(&mut bytes), 0);
        [decoder.take_pong(), decoder.take_pong()]
    };
    let mut ping = Vec::new();
    write_ping(0x0102_0304, None, &mut ping);
    assert_eq!(ping, [0x89, 4, 1, 2, 3, 4]);
    assert_eq!(receive(&[&ping[2..]]), [Some(0x0102_0304), None]);
    assert_eq!(receive(&[b"", b"unasked"]), [None, None]);
    assert_eq!(receive(&[&[0, 0, 0, 1], &[0, 0, 0, 2], b"unasked"]), [Some(2), None]);
}

#[test]
fn every_length_around_the_vector_sizes_is_masked_alike() {
    let key = [1, 20, 130, 255];
    let bytes: Vec<u8> = (0..1100u32).map(|i| (i * 31) as u8).collect();
    for length in (0..140).chain(250..400).chain([1024, 1100]) {
        for offset in 0..5 {
            let mut got = bytes[..length].to_vec();
            mask(&mut got, key, offset);
            for (i, (got, byte)) in got.iter().zip(&bytes).enumerate() {
                assert_eq!(*got, byte ^ key[(i + offset as usize) % 4], "{i} of {length}");
            }
        }
        for level in Level::all() {
            let (mut got, mut expected) = (bytes[..length].to_vec(), bytes[..length].to_vec());
            xor_at(level, &mut got, key);
            mask(&mut expected, key, 0);
            assert_eq!(got, expected, "{level:?}");
        }
    }
}

/// A frame that is right where it stands: kind (0 data, 1 ping, 2 pong), payload, whether it ends
/// the message.
fn frame() -> impl Strategy<Value = (u8, Vec<u8>, bool)> {
    let sizes = prop_oneof![0..130usize, 120..140usize, 65_530..65_545usize];
    (0..4u8, sizes, any::<u8>(), any::<bool>()).prop_map(|(kind, size, byte, last)| {
        let size = if kind > 0 && kind < 3 { size.min(125) } else { size };
        (kind, (0..size).map(|i| (i as u8).wrapping_mul(7) ^ byte).collect(), last)
    })
}

fn stream(frames: &[(u8, Vec<u8>, bool)], key: Option<Key>) -> (Vec<u8>, Vec<u8>) {
    let (mut wire, mut payload, mut begun) = (Vec::new(), Vec::new(), false);
    for (kind, bytes, last) in frames {
        let start = wire.len();
        match kind {
            1 => write_control(Opcode::Ping, bytes, key, &mut wire),
            2 => write_control(Opcode::Pong, bytes, key, &mut wire),
            _ => {
                let opcode = if begun { Opcode::Continuation } else { Opcode::Binary };
                write_header(opcode, bytes.len() as u64, key, &mut wire);
                if !last {
                    wire[start] &= 0x7f;
                }
                begun = !last;
                let body = wire.len();
                wire.extend_from_slice(bytes);
                mask(&mut wire[body..], key.unwrap_or_default(), 0);
                payload.extend_from_slice(bytes);
            }
        }
    }
    (wire, payload)
}

proptest! {
    #[test]
    fn any_split_gives_the_same(
        frames in proptest::collection::vec(frame(), 0..6),
        key in proptest::option::of(any::<Key>()),
        sizes in proptest::collection::vec(1..5000usize, 1..8),
        tail in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let sender = if key.is_some() { Sender::Client } else { Sender::Server };
        let (mut wire, payload) = stream(&frames, key);
        let whole = decode(sender, &wire, &[usize::MAX]);
        prop_assert_eq!(&whole.0, &payload);
        prop_assert_eq!(whole.2, None);
        wire.extend_from_slice(&tail);
        let one = decode(sender, &wire, &[usize::MAX]);
        let cut = decode(sender, &wire, &sizes);
        prop_assert_eq!((&one.0, one.2, one.3), (&cut.0, cut.2, cut.3));
    }

    #[test]
    fn masking_does_not_depend_on_the_cut(
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
        key in any::<Key>(),
        cut in 0..2000usize,
    ) {
        let cut = cut.min(bytes.len());
        let mut whole = bytes.clone();
        mask(&mut whole, key, 0);
        let mut parts = bytes.clone();
        let (first, second) = parts.split_at_mut(cut);
        mask(first, key, 0);
        mask(second, key, cut as u64);
        prop_assert_eq!(&whole, &parts);
        mask(&mut whole, key, 0);
        prop_assert_eq!(whole, bytes);
    }
}
