//! A client that may have no PROXY header because it would not be believed: its stream is passed on,
//! and fails where it begins as a header does.

use std::fmt;
use std::io;
use std::os::fd::RawFd;

use kojuto_core::net::proxy_protocol::{BEGIN_BYTES, is_begun, may_begin};

use super::endpoint::{Cut, Endpoint, Tcp};

/// Why a read failed: there is a header after all.
#[derive(Debug)]
pub(super) struct Disbelief;

impl fmt::Display for Disbelief {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a PROXY header that is not believed")
    }
}

impl std::error::Error for Disbelief {}

pub(super) struct Unbelieved {
    socket: Tcp,
    /// What has come while it may still be the beginning of a header; None: it was none.
    seen: Option<Vec<u8>>,
}

impl Unbelieved {
    pub(super) fn new(socket: Tcp) -> Unbelieved {
        Unbelieved { socket, seen: Some(Vec::new()) }
    }

    fn look(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(seen) = &mut self.seen else { return Ok(()) };
        let room = BEGIN_BYTES - seen.len();
        seen.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if is_begun(seen) {
            return Err(io::Error::other(Disbelief));
        }
        if !may_begin(seen) {
            self.seen = None;
        }
        Ok(())
    }
}

impl Endpoint for Unbelieved {
    fn fd(&self) -> RawFd {
        self.socket.fd()
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.socket.read(buffer)?;
        self.look(&buffer[..count])?;
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
        self.socket.drained(got, asked)
    }

    fn splice_source(&mut self) -> Option<(RawFd, usize)> {
        if self.seen.is_some() { None } else { self.socket.splice_source() }
    }

    fn splice_sink(&self) -> Option<RawFd> {
        self.socket.splice_sink()
    }

    fn is_plain(&self) -> bool {
        self.seen.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// What is passed on of pieces, and whether that ends in a failure.
    fn passed(pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let (mut client, server) = UnixStream::pair().unwrap();
        let mut end = Unbelieved::new(Tcp::new(server.into()));
        let mut passed = Vec::new();
        for piece in pieces {
            client.write_all(piece).unwrap();
            let mut buffer = [0; 64];
            match end.read(&mut buffer) {
                Ok(count) => passed.extend_from_slice(&buffer[..count]),
                Err(error) => {
                    assert!(error.get_ref().unwrap().is::<Disbelief>());
                    return (passed, true);
                }
            }
        }
        assert_eq!(end.is_plain(), end.splice_source().is_some());
        (passed, false)
    }

    #[test]
    fn a_header_fails_wherever_it_is_cut_and_is_never_passed_on_whole() {
        for header in [&b"PROXY TCP4 192.0.2.1 "[..], b"\r\n\r\n\0\r\nQUIT\n\x21"] {
            for at in 1..header.len() {
                let (begun, failed) = passed(&[&header[..at], &header[at..]]);
                assert!(failed && !is_begun(&begun), "{at}");
            }
            assert_eq!(passed(&[header]), (Vec::new(), true));
        }
    }

    #[test]
    fn what_is_none_is_passed_on_also_when_it_begins_much_the_same() {
        for stream in [&b"hello"[..], b"P", b"PROXZ x", b"\r\n\r\nGET /", b"PROXYPROXY "] {
            for at in 1..=stream.len() {
                let pieces = [&stream[..at], b"PROXY TCP4 ", b"\r\n\r\n\0\r\nQUIT\n"];
                let whole = if at == stream.len() && stream != b"P" { 3 } else { 1 };
                let (found, failed) = passed(&pieces[..whole]);
                assert!(!failed && found == pieces[..whole].concat(), "{at}: {found:?}");
            }
        }
    }
}
