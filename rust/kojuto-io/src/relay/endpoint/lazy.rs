//! A client that is connected before it has said whether it begins with a PROXY header: a header is
//! taken out of its stream if and when it comes.

use std::io;
use std::os::fd::RawFd;

use kojuto_core::net::proxy_protocol::{Header, Step, is_begun, parse};

use super::{Beginning, Cut, Endpoint, HEADER_BYTES, Tcp};
use crate::relay::failure::HeaderFailure;

pub(in crate::relay) struct Lazy {
    socket: Tcp,
    /// What has come while it may still be the beginning of a header; None: it is decided.
    seen: Option<Vec<u8>>,
    /// What is to be read before the socket.
    rest: Vec<u8>,
    header: Option<Box<Header>>,
    /// The last read was one of the socket.
    direct: bool,
}

impl Lazy {
    pub(in crate::relay) fn new(socket: Tcp) -> Lazy {
        let seen = Some(Vec::new());
        Lazy { socket, seen, rest: Vec::new(), header: None, direct: false }
    }

    /// Looks whether a stream that begins with `seen` and then `more` begins with a header; without
    /// more it has ended.
    fn decide(&mut self, mut seen: Vec<u8>, more: &[u8]) -> io::Result<()> {
        seen.extend_from_slice(more);
        let step = parse(&seen, HEADER_BYTES);
        match step.map_err(|why| io::Error::other(HeaderFailure::Malformed(why)))? {
            Step::NeedMore if !more.is_empty() => self.seen = Some(seen),
            Step::NeedMore if is_begun(&seen) => {
                return Err(io::Error::other(HeaderFailure::Ended { seen: seen.len() }));
            }
            Step::NeedMore | Step::NotProxy => self.rest = seen,
            Step::Done { header, used } => {
                self.rest = seen.split_off(used);
                self.header = Some(Box::new(header));
            }
        }
        Ok(())
    }
}

impl Endpoint for Lazy {
    fn fd(&self) -> RawFd {
        self.socket.fd()
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.direct = false;
        while let Some(seen) = self.seen.take() {
            let mut more = [0; 1024];
            match self.socket.read(&mut more) {
                Ok(count) => self.decide(seen, &more[..count])?,
                Err(error) => {
                    self.seen = Some(seen);
                    return Err(error);
                }
            }
        }
        if self.rest.is_empty() {
            self.direct = true;
            return self.socket.read(buffer);
        }
        let count = self.rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.rest[..count]);
        self.rest.drain(..count);
        Ok(count)
    }

    fn write(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.socket.write(bytes)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.socket.finish()
    }

    fn finishes_on_drop(&self) -> bool {
        self.socket.finishes_on_drop()
    }

    fn reset(&mut self, cut: Cut) {
        self.socket.reset(cut);
    }

    fn drained(&self, got: usize, asked: usize) -> bool {
        self.direct && self.socket.drained(got, asked)
    }

    fn splice_source(&mut self) -> Option<(RawFd, usize)> {
        if self.is_plain() { self.socket.splice_source() } else { None }
    }

    fn splice_sink(&self) -> Option<RawFd> {
        self.socket.splice_sink()
    }

    fn is_plain(&self) -> bool {
        self.seen.is_none() && self.rest.is_empty()
    }

    fn beginning(&mut self) -> Beginning {
        match (self.header.take(), &self.seen) {
            (Some(header), _) => Beginning::Header(header),
            (None, Some(seen)) if !seen.is_empty() => Beginning::Held { seen: seen.len() },
            _ => Beginning::Nothing,
        }
    }

    fn release(&mut self) -> bool {
        match self.seen.take() {
            Some(seen) if is_begun(&seen) => {
                self.seen = Some(seen);
                false
            }
            seen => {
                self.rest = seen.unwrap_or_default();
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    const HEADER: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 443\r\n";

    /// What is read of pieces that come one after the other, in reads of so many bytes, and then
    /// whether there was a header; None: a failure.
    fn read(pieces: &[&[u8]], at_once: usize, ends: bool) -> Option<(Vec<u8>, bool, Lazy)> {
        let (mut client, server) = UnixStream::pair().unwrap();
        server.set_nonblocking(true).unwrap();
        let mut end = Lazy::new(Tcp::new(server.into()));
        let (mut got, mut introduced) = (Vec::new(), false);
        let mut client_end = Some(&mut client);
        for at in 0..=pieces.len() {
            match (pieces.get(at), &mut client_end) {
                (Some(piece), Some(client)) => client.write_all(piece).unwrap(),
                _ if ends => {
                    client_end.take().unwrap().shutdown(std::net::Shutdown::Write).unwrap()
                }
                _ => {}
            }
            loop {
                let mut buffer = vec![0; at_once];
                match end.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => got.extend_from_slice(&buffer[..count]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => {
                        assert!(error.downcast::<HeaderFailure>().is_ok());
                        return None;
                    }
                }
            }
            introduced |= matches!(end.beginning(), Beginning::Header(_));
        }
        Some((got, introduced, end))
    }

    #[test]
    fn a_header_is_taken_out_wherever_it_is_cut() {
        let stream = [HEADER, b"hello"].concat();
        for at_once in [1, 3, 100] {
            for at in 1..stream.len() {
                let (got, introduced, end) =
                    read(&[&stream[..at], &stream[at..]], at_once, true).unwrap();
                assert!(got == b"hello" && introduced && end.is_plain(), "{at}");
            }
        }
    }

    #[test]
    fn what_is_none_is_passed_on_as_it_came() {
        for stream in [&b"hello"[..], b"P", b"PROXZ x", b"\r\n\r\nGET /", b"PROXYPROXY ", b""] {
            for at in 0..=stream.len() {
                let (got, introduced, _) = read(&[&stream[..at], &stream[at..]], 2, true).unwrap();
                assert!(got == stream && !introduced, "{at} of {stream:?}");
            }
        }
    }

    #[test]
    fn what_may_be_a_header_is_held_until_it_is_released() {
        for (held, released) in [(&b"P"[..], true), (b"\r\n", true), (b"PROXY ", false)] {
            let (got, _, mut end) = read(&[held], 10, false).unwrap();
            assert_eq!(got, b"");
            assert!(matches!(end.beginning(), Beginning::Held { seen } if seen == held.len()));
            assert_eq!(end.release(), released);
            let mut buffer = [0; 10];
            let count = end.read(&mut buffer).unwrap_or(0);
            assert_eq!(&buffer[..count], if released { held } else { b"" });
        }
    }

    #[test]
    fn a_wrong_header_or_half_a_one_is_a_failure() {
        assert!(read(&[b"PROXY TCP4 no\r\n"], 10, false).is_none());
        assert!(read(&[&HEADER[..20]], 10, true).is_none());
    }
}
