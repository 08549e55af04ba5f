//! A WebSocket as an endpoint: payload of binary frames in and out, their end by a Close frame.
//!
//! Nothing is gathered. What is read is unmasked where it was read to; what is written is masked
//! where it lies and goes out behind its header in one system call. Only headers and control
//! frames are kept here: a ping that cannot be answered yet gives way to the next one, so that a
//! peer that never reads costs a few hundred bytes.
//!
//! A direction ends by its Close frame, the socket only with both. Peers that know no half-open
//! WebSocket answer a Close at once, which ends the other direction too. Whatever else ends a
//! stream (the end of the socket, another code than 1000) is a failure.

use std::cell::RefCell;
use std::io;
use std::os::fd::RawFd;

use kojuto_core::websocket::{
    Decoder, End, HEADER_BYTES, Key, Opcode, Ping, Sender, close, mask, write_close, write_control,
    write_header, write_ping,
};

use crate::relay::endpoint::{Cut, Endpoint, Heard};
use crate::sys::socket as sys;
use crate::tls::Wire;

/// The most payload of a frame that is sent; intermediaries and peers hold whole frames.
pub(super) const FRAME_BYTES: usize = 256 << 10;
/// The length of the header of an unmasked frame of 64 KiB or more.
const LARGE_HEADER_BYTES: usize = 10;
/// What is left of a frame is read by itself from so much on.
const LARGE_BYTES: usize = 16 << 10;
/// What is left of a frame is spliced from so much on.
const SPLICE_BYTES: u64 = 16 << 10;
/// Reads without any payload (pings, say) before others have their turn.
const FRUITLESS_READS: u32 = 16;

/// Masking keys, bought by the hundred: RFC 6455, section 5.3, wants them unpredictable.
struct Keys {
    bytes: [u8; 256],
    used: usize,
}

thread_local! {
    static KEYS: RefCell<Keys> = const { RefCell::new(Keys { bytes: [0; 256], used: 256 }) };
}

fn new_key() -> Key {
    KEYS.with_borrow_mut(|keys| {
        if keys.used == keys.bytes.len() {
            crate::sys::random::fill(&mut keys.bytes).expect("getrandom or /dev/urandom");
            keys.used = 0;
        }
        let key = std::array::from_fn(|i| keys.bytes[keys.used + i]);
        keys.used += 4;
        key
    })
}

pub(super) struct WebSocket<W: Wire> {
    wire: W,
    masked: bool,
    /// The peer may end its stream between two frames without a Close frame.
    lenient: bool,
    decoder: Decoder,
    /// What was read past the handshake.
    early: Vec<u8>,
    /// Whole control frames and, behind them, the header of the present frame; sent up to `sent`.
    head: Vec<u8>,
    sent: usize,
    /// Bytes of the present frame's payload that the wire has not taken; they are masked already.
    frame_left: usize,
    pong: Option<Ping>,
    /// The number of a ping of ours that waits to be sent.
    ping: Option<u32>,
    /// Bytes have come since somebody asked.
    heard: bool,
    /// Payload was given to the peer after its last bytes had come: it may be busy with that.
    given: bool,
    /// Our Close frame is in `head` or gone.
    closed: bool,
    /// The peer has closed its socket: whatever is sent to it now is answered by a reset, and that
    /// would take with it what is not read yet.
    left: bool,
    /// The last read stopped for the sake of others.
    more: bool,
    /// The peer sends large frames that are not masked.
    large: bool,
}

impl<W: Wire> WebSocket<W> {
    /// `masked`: we are the client of the handshake, which masks; `lenient`: the peer may end its
    /// stream without a Close frame; `early`: bytes after the handshake.
    pub(super) fn new(wire: W, masked: bool, lenient: bool, early: Vec<u8>) -> WebSocket<W> {
        let peer = if masked { Sender::Server } else { Sender::Client };
        WebSocket {
            wire,
            masked,
            lenient,
            decoder: Decoder::new(peer),
            early,
            head: Vec::new(),
            sent: 0,
            frame_left: 0,
            pong: None,
            ping: None,
            heard: false,
            given: false,
            closed: false,
            left: false,
            more: false,
            large: false,
        }
    }

    fn key(&self) -> Option<Key> {
        self.masked.then(new_key)
    }

    /// Puts owed control frames before the next data frame.
    fn queue_owed_control(&mut self) {
        if self.frame_left > 0 || self.closed || self.left {
            return;
        }
        // A peer that has ended its stream waits for no pong.
        if let Some(ping) = self.pong.take().filter(|_| self.decoder.end().is_none()) {
            let key = self.key();
            write_control(Opcode::Pong, ping.payload(), key, &mut self.head);
        }
        if let Some(number) = self.ping.take() {
            let key = self.key();
            write_ping(number, key, &mut self.head);
        }
    }

    /// Sends the rest of `head` and of the present frame, whose payload is the front of `bytes`;
    /// answers how much of that was taken.
    fn push(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let count = match self.wire.send(&self.head[self.sent..], bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            };
            let of_head = count.min(self.head.len() - self.sent);
            self.sent += of_head;
            if self.sent == self.head.len() {
                self.head.clear();
                self.sent = 0;
            }
            self.given |= count > of_head;
            if count > of_head || (bytes.is_empty() && self.head.is_empty()) {
                self.frame_left -= count - of_head;
                return Ok(count - of_head);
            }
        }
    }

    /// What the end of the peer's frames means for the stream in them.
    fn ended(&self, end: End) -> io::Result<usize> {
        match end {
            _ if end.is_whole() => Ok(0),
            End::Close(code) => Err(io::Error::other(format!(
                "the WebSocket was closed with code {code}, in the middle of its stream"
            ))),
            End::Violation(violation) => {
                let text = format!("WebSocket protocol: {}", violation.text);
                Err(io::Error::new(io::ErrorKind::InvalidData, text))
            }
        }
    }

    fn cut_short(&self) -> io::Error {
        let text = if self.decoder.is_between_frames() {
            "the WebSocket ended without a Close frame"
        } else {
            "the WebSocket ended in the middle of a frame"
        };
        io::Error::new(io::ErrorKind::UnexpectedEof, text)
    }
}

impl<W: Wire> Endpoint for WebSocket<W> {
    fn fd(&self) -> RawFd {
        self.wire.fd()
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.more = false;
        for _ in 0..FRUITLESS_READS {
            if let Some(end) = self.decoder.end() {
                return self.ended(end);
            }
            let count = if self.early.is_empty() {
                // A read that ends behind the next header leaves no payload to be moved over it.
                let left = usize::try_from(self.decoder.data_left()).unwrap_or(usize::MAX);
                let limit = if left < LARGE_BYTES { usize::MAX } else { left };
                let limit = limit.saturating_add(HEADER_BYTES).min(buffer.len());
                match self.wire.recv(&mut buffer[..limit])? {
                    0 if self.lenient && self.decoder.is_between_frames() => {
                        self.left = true; // and no Close frame finds it
                        return Ok(0);
                    }
                    0 => return Err(self.cut_short()),
                    count => {
                        (self.heard, self.given) = (true, false);
                        count
                    }
                }
            } else {
                let count = self.early.len().min(buffer.len());
                buffer[..count].copy_from_slice(&self.early[..count]);
                self.early.drain(..count);
                count
            };
            let payload = self.decoder.decode(&mut buffer[..count]);
            self.large = self.decoder.plain_left() >= SPLICE_BYTES;
            if let Some(ping) = self.decoder.take_ping() {
                self.pong = Some(ping);
            }
            if payload > 0 {
                return Ok(payload);
            }
        }
        self.more = true;
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn write(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.closed || self.left {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.frame_left == 0 {
            self.queue_owed_control();
            let length = bytes.len().min(FRAME_BYTES);
            let key = self.key();
            if let Some(key) = key {
                mask(&mut bytes[..length], key, 0);
            }
            write_header(Opcode::Binary, length as u64, key, &mut self.head);
            self.frame_left = length;
        }
        self.push(&bytes[..bytes.len().min(self.frame_left)])
    }

    fn finish(&mut self) -> io::Result<()> {
        if !self.closed && !self.left {
            self.queue_owed_control();
            let key = self.key();
            write_close(close::NORMAL, key, &mut self.head);
            self.closed = true;
        }
        self.flush()
    }

    fn reset(&mut self, cut: Cut) {
        // A Close frame fits only between frames; else, and when it does not get away, the peer
        // sees a reset.
        if !self.closed && !self.left && self.frame_left == 0 {
            let code = match (self.decoder.end(), cut) {
                (Some(End::Violation(violation)), _) => violation.code,
                (_, Cut::Broken) => close::FAILED,
                (_, Cut::Leaving) => close::GOING_AWAY,
                (_, Cut::Refused) => close::POLICY,
            };
            let key = self.key();
            write_close(code, key, &mut self.head);
            self.closed = true;
            if self.flush().is_ok() {
                self.wire.send_close_notify();
                return;
            }
        }
        sys::reset_on_close(self.wire.fd());
    }

    fn drained(&self, _got: usize, _asked: usize) -> bool {
        self.early.is_empty() && self.decoder.end().is_none() && self.wire.drained()
    }

    fn splice_source(&mut self) -> Option<(RawFd, usize)> {
        if !self.large || !self.wire.is_bare() || !self.early.is_empty() {
            return None;
        }
        let fd = self.wire.fd();
        if self.decoder.is_between_frames() && self.decoder.end().is_none() {
            // The header of another large frame is taken by itself, anything else is read.
            let mut header = [0; LARGE_HEADER_BYTES];
            self.large = matches!(sys::peek(fd, &mut header), Ok(LARGE_HEADER_BYTES))
                && header[1] == 127
                && matches!(sys::recv(fd, &mut header), Ok(LARGE_HEADER_BYTES));
            if self.large {
                self.decoder.decode(&mut header);
            }
        }
        let left = self.decoder.plain_left();
        (left >= SPLICE_BYTES).then(|| (fd, usize::try_from(left).unwrap_or(usize::MAX)))
    }

    fn spliced_out(&mut self, count: usize) {
        (self.heard, self.given) = (true, false);
        self.decoder.skip(count);
    }

    fn splice_sink(&self) -> Option<RawFd> {
        (!self.masked && self.wire.is_bare()).then(|| self.wire.fd())
    }

    fn announce(&mut self, count: usize) -> io::Result<usize> {
        if self.closed || self.left {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.frame_left == 0 {
            self.queue_owed_control();
            self.frame_left = count.min(FRAME_BYTES);
            write_header(Opcode::Binary, self.frame_left as u64, None, &mut self.head);
        }
        while self.sent < self.head.len() {
            self.sent += sys::send_ahead(self.wire.fd(), &self.head[self.sent..])?;
        }
        self.head.clear();
        self.sent = 0;
        Ok(count.min(self.frame_left))
    }

    fn spliced_in(&mut self, count: usize) {
        self.given = true;
        self.frame_left -= count;
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.left {
            return Ok(());
        }
        self.queue_owed_control();
        if !self.head.is_empty() {
            self.push(&[])?;
        }
        self.wire.flush()
    }

    fn has_more(&self) -> bool {
        self.more
    }

    fn has_left(&mut self, ending: bool) -> bool {
        self.left |= ending && self.lenient;
        self.left
    }

    fn ping(&mut self, number: u32) {
        self.ping = (!self.closed && !self.left).then_some(number);
    }

    fn heard(&mut self) -> Heard {
        match (std::mem::take(&mut self.heard), self.decoder.take_pong()) {
            (_, Some(number)) => Heard::Pong(number),
            (true, _) => Heard::Bytes,
            _ => Heard::Nothing,
        }
    }

    fn must_answer(&self) -> bool {
        let speaks = self.decoder.end().is_none() && !self.closed && !self.left;
        speaks && !self.given && self.ping.is_none() && self.head.is_empty() && self.frame_left == 0
    }
}

impl<W: Wire> Drop for WebSocket<W> {
    fn drop(&mut self) {
        if self.closed && self.decoder.end().is_some_and(|end| end.is_whole()) {
            self.wire.send_close_notify();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;

    use super::*;

    /// A wire that takes as many bytes at a time as it is told, 0 for `WouldBlock`.
    #[derive(Default)]
    struct Wired {
        room: VecDeque<usize>,
        sent: Arc<Mutex<Vec<u8>>>,
        incoming: VecDeque<Vec<u8>>,
        /// How much each read asked for.
        asked: Vec<usize>,
    }

    impl Wire for Wired {
        fn fd(&self) -> RawFd {
            -1
        }

        fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.asked.push(buffer.len());
            let Some(mut bytes) = self.incoming.pop_front() else {
                return Err(io::ErrorKind::WouldBlock.into());
            };
            let rest = bytes.split_off(bytes.len().min(buffer.len()));
            if !rest.is_empty() {
                self.incoming.push_front(rest);
            }
            buffer[..bytes.len()].copy_from_slice(&bytes);
            Ok(bytes.len())
        }

        fn drained(&self) -> bool {
            self.incoming.is_empty()
        }

        fn send(&mut self, head: &[u8], body: &[u8]) -> io::Result<usize> {
            let room = self.room.pop_front().unwrap_or(usize::MAX);
            if room == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let mut all = [head, body].concat();
            all.truncate(room);
            self.sent.lock().unwrap().extend_from_slice(&all);
            Ok(all.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }

        fn send_close_notify(&mut self) {}
    }

    fn until_ready<T>(mut step: impl FnMut() -> io::Result<T>) -> T {
        loop {
            match step() {
                Ok(value) => return value,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
    }

    fn ping(payload: &[u8], masked: bool) -> Vec<u8> {
        let mut frame = Vec::new();
        write_control(Opcode::Ping, payload, masked.then_some([7, 1, 9, 3]), &mut frame);
        frame
    }

    #[test]
    fn the_rest_of_a_large_frame_is_read_with_the_next_header_and_no_more() {
        let mut bytes = Vec::new();
        for length in [100_000usize, 100_000, 10] {
            let key = [3, 1, 4, 1];
            write_header(Opcode::Binary, length as u64, Some(key), &mut bytes);
            let mut payload = vec![length as u8; length];
            mask(&mut payload, key, 0);
            bytes.extend(payload);
        }
        let wire = Wired { incoming: [bytes].into(), ..Wired::default() };
        let mut end = WebSocket::new(wire, false, false, Vec::new());
        let (mut buffer, mut counts) = (vec![0; 40_000], Vec::new());
        while let Ok(count) = end.read(&mut buffer) {
            assert!(buffer[..count].iter().all(|&byte| byte == 100_000usize as u8 || byte == 10));
            counts.push(count);
        }
        assert_eq!(counts.iter().sum::<usize>(), 200_010);
        assert_eq!(end.wire.asked[..3], [40_000, 40_000, 20_014 + HEADER_BYTES]);
    }

    proptest! {
        /// However little the wire takes at a time, the frames hold what was written, and a pong
        /// stands between frames.
        #[test]
        fn frames_are_whole_however_the_wire_takes_them(
            pieces in proptest::collection::vec(1..200_000usize, 1..5),
            room in proptest::collection::vec(prop_oneof![Just(0), 1..40usize, 1..90_000usize], 0..60),
            masked in any::<bool>(),
        ) {
            let wire = Wired { room: room.into(), ..Wired::default() };
            let sent = Arc::clone(&wire.sent);
            let mut end = WebSocket::new(wire, masked, false, Vec::new());
            let mut expected = Vec::new();
            for (at, size) in pieces.iter().enumerate() {
                let mut bytes: Vec<u8> = (0..*size).map(|i| (i * 7 + at) as u8).collect();
                expected.extend_from_slice(&bytes);
                end.wire.incoming.push_back(ping(&[at as u8], !masked));
                let error = end.read(&mut [0; 200]).unwrap_err();
                prop_assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                let mut rest = &mut bytes[..];
                while !rest.is_empty() {
                    let count = until_ready(|| end.write(rest));
                    rest = &mut rest[count..];
                }
                until_ready(|| end.flush());
            }
            until_ready(|| end.finish());
            let mut wire = sent.lock().unwrap().clone();
            let sender = if masked { Sender::Client } else { Sender::Server };
            let mut decoder = Decoder::new(sender);
            let count = decoder.decode(&mut wire);
            prop_assert_eq!(decoder.end(), Some(End::Close(close::NORMAL)));
            prop_assert!(wire[..count] == expected);
        }
    }

    #[test]
    fn a_flood_of_pings_gives_others_their_turn_and_keeps_the_last() {
        let wire = Wired { room: VecDeque::from([0; 200]), ..Wired::default() };
        let sent = Arc::clone(&wire.sent);
        let mut end = WebSocket::new(wire, false, false, Vec::new());
        let mut reads = 0;
        end.wire.incoming = (0..100u8).map(|i| ping(&[i], true)).collect();
        while !end.wire.incoming.is_empty() {
            let error = end.read(&mut [0; 200]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            assert_eq!(end.has_more(), !end.wire.incoming.is_empty());
            reads += 1;
        }
        assert!(reads > 5);
        end.wire.room.clear();
        end.flush().unwrap();
        assert_eq!(*sent.lock().unwrap(), [0x8a, 1, 99]);
    }

    #[test]
    fn nothing_follows_our_close_and_a_cut_is_told_by_its_code() {
        let mut end = WebSocket::new(Wired::default(), false, false, Vec::new());
        let sent = Arc::clone(&end.wire.sent);
        end.finish().unwrap();
        assert!(end.write(&mut [1]).is_err());
        end.wire.incoming.push_back(ping(b"x", true));
        assert!(end.read(&mut [0; 200]).is_err());
        end.ping(1);
        end.flush().unwrap();
        assert_eq!(*sent.lock().unwrap(), [0x88, 2, 3, 232]);
        for (cut, code) in [(Cut::Broken, 1011u16), (Cut::Leaving, 1001), (Cut::Refused, 1008)] {
            let mut end = WebSocket::new(Wired::default(), false, false, Vec::new());
            let sent = Arc::clone(&end.wire.sent);
            end.reset(cut);
            assert_eq!(sent.lock().unwrap()[2..], code.to_be_bytes());
        }
    }
}
