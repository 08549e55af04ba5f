//! Frames never panic, come out the same at every cut, and give no more payload than was there.
#![no_main]

use kojuto_core::websocket::{Decoder, End, Sender};

fn decode(sender: Sender, wire: &[u8], size: usize) -> (Vec<u8>, Option<End>, bool) {
    let mut decoder = Decoder::new(sender);
    let mut payload = Vec::new();
    for piece in wire.chunks(size.max(1)) {
        let mut piece = piece.to_vec();
        let count = decoder.decode(&mut piece);
        assert!(count <= piece.len());
        payload.extend_from_slice(&piece[..count]);
        if let Some(ping) = decoder.take_ping() {
            assert!(ping.payload().len() <= 125);
        }
    }
    (payload, decoder.end(), decoder.is_between_frames())
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let [first, size, wire @ ..] = data else { return };
    let sender = if first & 1 == 0 { Sender::Server } else { Sender::Client };
    let whole = decode(sender, wire, usize::MAX);
    assert!(whole.0.len() <= wire.len());
    assert_eq!(decode(sender, wire, 1), whole);
    assert_eq!(decode(sender, wire, usize::from(*size)), whole);
});
