use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use super::super::endpoint::{Cut, Endpoint, Tcp};
use super::*;
use crate::sys::socket as sys;

/// An endpoint of another kind: frames of one length byte and so many bytes, XOR 0x55, in
/// memory; it takes a few bytes at a time and ends by an empty frame.
#[derive(Default)]
struct Framed {
    incoming: VecDeque<u8>,
    outgoing: std::sync::Arc<std::sync::Mutex<Vec<u8>>>,
    refuse_next: bool,
}

impl Endpoint for Framed {
    fn fd(&self) -> RawFd {
        -1
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(&length) = self.incoming.front() else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let frame: Vec<u8> = self.incoming.drain(..=usize::from(length)).skip(1).collect();
        for (to, from) in buffer.iter_mut().zip(&frame) {
            *to = from ^ 0x55;
        }
        Ok(frame.len())
    }

    fn write(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.refuse_next = !self.refuse_next;
        if self.refuse_next {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = bytes.len().min(100);
        let mut out = self.outgoing.lock().unwrap();
        out.push(count as u8);
        out.extend(bytes[..count].iter().map(|b| b ^ 0x55));
        Ok(count)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.outgoing.lock().unwrap().push(0);
        Ok(())
    }

    fn reset(&mut self, _cut: Cut) {}
}

fn frames(bytes: &[u8]) -> Vec<u8> {
    let frame = |part: &[u8]| {
        let mut frame = vec![part.len() as u8];
        frame.extend(part.iter().map(|b| b ^ 0x55));
        frame
    };
    bytes.chunks(100).flat_map(frame).chain([0]).collect()
}

fn socket() -> (Side, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let mut side = Side::new(Box::new(Tcp::new(OwnedFd::from(ours))));
    side.readable = true;
    (side, theirs)
}

#[test]
fn the_pump_does_not_know_which_kind_an_endpoint_is() {
    let body: Vec<u8> = (0..200_000u32).map(|i| (i * 7 % 251) as u8).collect();
    let outgoing = std::sync::Arc::default();
    let framed = Framed {
        incoming: frames(&body).into(),
        outgoing: std::sync::Arc::clone(&outgoing),
        refuse_next: false,
    };
    let mut other = Side::new(Box::new(framed));
    other.readable = true;
    let (mut tcp, mut peer) = socket();
    let (mut up, mut down) = (Pump::default(), Pump::default());
    let mut tools = Tools::new(Arc::default());
    let sent = body.clone();
    let mut writer = peer.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let reader = std::thread::spawn(move || {
        let mut got = Vec::new();
        peer.read_to_end(&mut got).unwrap();
        got
    });
    while !(up.is_done() && down.is_done()) {
        // What epoll would say.
        for side in [&mut tcp, &mut other] {
            side.readable = true;
            side.writable = true;
        }
        for turn in [
            up.turn(&mut tcp, &mut other, &mut tools, None),
            down.turn(&mut other, &mut tcp, &mut tools, None),
        ] {
            assert!(matches!(turn, Turn::Waiting | Turn::Again | Turn::Done), "{turn:?}");
        }
    }
    drop(tcp); // the last direction's end is said by closing
    sender.join().unwrap();
    assert_eq!((up.moved(), down.moved()), (200_000, 200_000));
    assert_eq!(reader.join().unwrap(), body, "from frames to a socket");
    let framed = outgoing.lock().unwrap();
    let (mut rest, mut got) = (&framed[..], Vec::new());
    while let [length @ 1..=100, tail @ ..] = rest {
        let (frame, next) = tail.split_at(usize::from(*length));
        got.extend(frame.iter().map(|b| b ^ 0x55));
        rest = next;
    }
    assert_eq!(got, body, "from a socket to frames");
    assert_eq!(rest, [0]);
}

#[test]
fn a_stream_that_fills_the_buffer_is_spliced_and_small_messages_are_copied_again() {
    let (mut from, mut source) = socket();
    let (mut to, mut sink) = socket();
    let mut pump = Pump::default();
    let mut tools = Tools::new(Arc::default());
    let mut buffer = vec![0; 1 << 20];
    let mut round = |pump: &mut Pump, bytes: &[u8]| {
        source.write_all(bytes).unwrap();
        (from.readable, to.writable) = (true, true);
        let turn = pump.turn(&mut from, &mut to, &mut tools, None);
        assert!(matches!(turn, Turn::Waiting), "{turn:?}");
        sink.read_exact(&mut buffer[..bytes.len()]).unwrap();
        assert_eq!(&buffer[..bytes.len()], bytes);
        assert!(pump.pipe.is_none(), "an idle direction holds no pipe");
    };
    round(&mut pump, &[1; 64]);
    assert!(!pump.splicing);
    for _ in 0..4 {
        round(&mut pump, &[2; 100_000]);
    }
    assert!(pump.splicing);
    for _ in 0..8 {
        round(&mut pump, &[3; 64]);
    }
    assert!(!pump.splicing);
    assert_eq!(pump.moved(), 64 + 400_000 + 8 * 64);
}

/// A connection over loopback: our side of it, and the peer.
fn connection() -> (Side, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let ours = listener.accept().unwrap().0;
    ours.set_nonblocking(true).unwrap();
    (Side::new(Box::new(Tcp::new(OwnedFd::from(ours)))), theirs)
}

/// A stream of one way between two peers of this machine.
struct Stream {
    from: Side,
    source: TcpStream,
    to: Side,
    sink: TcpStream,
    pump: Pump,
    tools: Tools,
}

impl Stream {
    fn new() -> Stream {
        let ((from, source), (to, sink)) = (connection(), connection());
        Stream { from, source, to, sink, pump: Pump::default(), tools: Tools::new(Arc::default()) }
    }

    /// Sends bytes through, as they come.
    fn carry(&mut self, count: usize) {
        let bytes: Vec<u8> = (0..count).map(|i| (i % 253) as u8).collect();
        let (mut source, mut sink) =
            (self.source.try_clone().unwrap(), self.sink.try_clone().unwrap());
        let mut got = vec![0; count];
        std::thread::scope(|scope| {
            scope.spawn(|| source.write_all(&bytes).unwrap());
            let reader = scope.spawn(|| sink.read_exact(&mut got).unwrap());
            while !reader.is_finished() {
                (self.from.readable, self.to.writable) = (true, true);
                let turn = self.pump.turn(&mut self.from, &mut self.to, &mut self.tools, None);
                assert!(matches!(turn, Turn::Waiting | Turn::Again), "{turn:?}");
            }
        });
        assert_eq!(got, bytes);
    }

    fn low_water(&self) -> i32 {
        near::tests::option(self.from.end.fd(), libc::SO_RCVLOWAT)
    }
}

#[test]
fn a_long_stream_is_awaited_much_at_a_time_until_it_rests() {
    let mut stream = Stream::new();
    stream.carry(1 << 20);
    assert!(!stream.pump.waits_for_much());
    assert_eq!(stream.low_water(), 1);
    stream.carry(4 << 20);
    assert!(stream.pump.waits_for_much());
    assert_eq!(stream.low_water(), 128 << 10);
    // It rests: the next bytes count one by one, and waiting for much must be earned anew.
    stream.from.readable = false;
    stream.pump.stop_waiting_for_much(&mut stream.from);
    assert!(stream.from.readable);
    assert!(!stream.pump.waits_for_much());
    assert_eq!(stream.low_water(), 1);
    stream.carry(1 << 20);
    assert!(!stream.pump.waits_for_much());
}

#[test]
fn a_stream_that_is_answered_is_never_awaited_so() {
    let mut stream = Stream::new();
    for _ in 0..8 {
        stream.carry(1 << 20);
        stream.pump.note_rest();
    }
    assert!(!stream.pump.waits_for_much());
    assert_eq!(stream.low_water(), 1);
}

#[test]
fn what_goes_to_this_machine_is_not_paced_and_has_a_short_queue() {
    let mut stream = Stream::new();
    let sink = stream.to.end.fd();
    sys::set_congestion_control(sink, b"bbr"); // where the kernel has it
    let paced = sys::congestion_control(sink).starts_with(b"bbr\0");
    stream.carry(1 << 20);
    assert!(!paced || sys::congestion_control(sink).starts_with(b"reno\0"));
    let size = near::tests::option(sink, libc::SO_SNDBUF);
    assert!(size <= 512 << 10, "{size}");
}
