//! A MySQL session of arbitrary bytes never panics and tells the same however it is cut.
#![no_main]

use kojuto_core::mysql::{Event, MAX_TEXT, Session};

/// The input is a row of pieces: direction and length in one byte, then the bytes.
fn feed(data: &[u8], mut session: Session, step: usize) -> Vec<Event> {
    let mut out = Vec::new();
    let mut rest = data;
    while let Some((&head, tail)) = rest.split_first() {
        let (piece, next) = tail.split_at(usize::from(head >> 1).min(tail.len()));
        rest = next;
        for part in piece.chunks(step) {
            if head & 1 == 0 {
                session.from_client(part, 1.0, &mut out);
            } else {
                session.from_server(part, 1.0, &mut out);
            }
        }
    }
    session.end(&mut out);
    out
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&mode, data)) = data.split_first() else { return };
    let start = || match mode & 3 {
        0 => Session::default(),
        1 => Session::logged_in(0),
        2 => Session::logged_in(1 << 24),
        _ => Session::logged_in(1 << 24 | 1 << 27),
    };
    let whole = feed(data, start(), 127);
    assert_eq!(whole, feed(data, start(), 1));
    for event in whole {
        if let Event::Command(command) = event {
            assert!(command.text.len() <= MAX_TEXT);
        }
    }
});
