//! TLS over a TCP socket, as its client: rustls without its buffers.
//!
//! Records are decrypted where they were received, in a buffer that a thread's sessions share, and
//! encrypted straight into another; a session keeps the beginning of a record, what was decrypted
//! and found no room, and what the socket did not take. None of these grows beyond a read.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
    WriteTraffic,
};
use rustls::{CertificateError, ClientConfig};

use super::wire::Wire;
use crate::sys::socket as sys;

/// What is asked of the socket at once.
const READ_BYTES: usize = 64 << 10;
/// A handshake message in pieces (at most 64 KiB), the record behind it, and one read.
const RECORDS_BYTES: usize = 192 << 10;
/// The payload of a full record (RFC 8446, section 5.1).
const RECORD_BYTES: usize = 16 << 10;
/// What is encrypted at once: full records.
const WRITE_BYTES: usize = 4 * RECORD_BYTES;
/// Room for their headers, tags and a message that rustls puts before them.
const SEALED_BYTES: usize = WRITE_BYTES + 4096;

struct Scratch {
    records: Box<[u8]>,
    /// A frame's header and the payload that shares its record.
    first: Box<[u8]>,
    sealed: Box<[u8]>,
}

thread_local! {
    static SCRATCH: RefCell<Option<Scratch>> = const { RefCell::new(None) };
}

fn with_scratch<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    let boxed = |size: usize| vec![0; size].into_boxed_slice();
    SCRATCH.with_borrow_mut(|scratch| {
        work(scratch.get_or_insert_with(|| Scratch {
            records: boxed(RECORDS_BYTES),
            first: boxed(RECORD_BYTES),
            sealed: boxed(SEALED_BYTES),
        }))
    })
}

/// A name of a certificate without the kind that rustls puts it in: `DnsName("example.com")`.
fn bare(presented: &str) -> &str {
    let inside = presented.split_once('(').map_or(presented, |(_, inside)| inside);
    inside.strip_suffix(')').unwrap_or(inside).trim_matches('"')
}

/// What is wrong, in words for whoever has to mend it.
fn refusal(error: &rustls::Error) -> String {
    use rustls::Error as E;
    match error {
        E::InvalidCertificate(problem) => match problem {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the server's certificate has expired".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the server's certificate is not valid yet".to_owned()
            }
            CertificateError::NotValidForName => {
                "the server's certificate is for another name".to_owned()
            }
            CertificateError::NotValidForNameContext { expected, presented } => {
                let names: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
                let names = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
                format!("the server's certificate is not for {} but for {names}", expected.to_str())
            }
            CertificateError::UnknownIssuer => {
                "the server's certificate is not signed by a trusted authority".to_owned()
            }
            CertificateError::Other(other) => match other.0.downcast_ref() {
                Some(webpki::Error::CaUsedAsEndEntity) => {
                    "the server's certificate is an authority's own, as one that signs itself may be, \
                     and not among those that are trusted"
                        .to_owned()
                }
                _ => format!("the server's certificate is refused: {}", other.0),
            },
            other => format!("the server's certificate is refused: {other}"),
        },
        E::AlertReceived(alert) => format!("the server refused: {alert:?}"),
        E::InvalidMessage(_) => format!("the peer does not speak TLS: {error}"),
        other => other.to_string(),
    }
}

/// A TLS client's side of a connection; never waits.
pub(crate) struct Session {
    socket: OwnedFd,
    connection: UnbufferedClientConnection,
    /// The beginning of a record.
    partial: Vec<u8>,
    /// Decrypted, and taken up to `taken`.
    plain: Vec<u8>,
    taken: usize,
    /// Encrypted, and sent up to `sent`.
    out: Vec<u8>,
    sent: usize,
    pub(crate) ready: bool,
    closed: bool,
    drained: bool,
}

type Traffic<'a> = WriteTraffic<'a, ClientConnectionData>;

fn bad(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}

impl Session {
    /// Before the handshake. `socket` must be non-blocking.
    pub(crate) fn new(
        socket: OwnedFd,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Session> {
        let connection =
            UnbufferedClientConnection::new(config, name).map_err(|error| bad(refusal(&error)))?;
        Ok(Session {
            socket,
            connection,
            partial: Vec::new(),
            plain: Vec::new(),
            taken: 0,
            out: Vec::new(),
            sent: 0,
            ready: false,
            closed: false,
            drained: false,
        })
    }

    /// Works through `records`: payload goes to `take`, what must be sent to `out`, and once
    /// there is nothing left to do and payload may be sent, `give` is called. Answers how many
    /// bytes of `records` are done with.
    fn work(
        &mut self,
        records: &mut [u8],
        take: &mut dyn FnMut(&[u8]),
        give: &mut dyn FnMut(&mut Traffic<'_>) -> io::Result<()>,
    ) -> io::Result<usize> {
        let mut used = 0;
        loop {
            let UnbufferedStatus { mut discard, state, .. } =
                self.connection.process_tls_records(&mut records[used..]);
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(|error| bad(refusal(&error)))?;
                        discard += record.discard;
                        take(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    let start = self.out.len();
                    let mut room = 4096;
                    loop {
                        self.out.resize(start + room, 0);
                        match data.encode(&mut self.out[start..]) {
                            Ok(count) => break self.out.truncate(start + count),
                            Err(EncodeError::InsufficientSize(InsufficientSizeError {
                                required_size,
                            })) if required_size > room => room = required_size,
                            Err(error) => return Err(bad(format!("TLS: {error}"))),
                        }
                    }
                }
                // It lies in `out`, before all that comes after.
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.closed = true,
                Ok(ConnectionState::Closed) => {
                    self.closed = true;
                    return Ok(used + discard);
                }
                Ok(ConnectionState::BlockedHandshake) => return Ok(used + discard),
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    self.ready = true;
                    give(&mut traffic)?;
                    return Ok(used + discard);
                }
                Ok(_) => return Err(bad("TLS: a state that this client does not know")),
                Err(error) => {
                    self.alert(&mut records[used + discard..]);
                    return Err(bad(refusal(&error)));
                }
            }
            used += discard;
        }
    }

    /// Sends the peer the reason for a failure, if it can be had and sent at once. `records` are
    /// those that are left: rustls looks into them once more.
    fn alert(&mut self, records: &mut [u8]) {
        let mut used = 0;
        for _ in 0..4 {
            let status = self.connection.process_tls_records(&mut records[used..]);
            used += status.discard;
            match status.state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    let mut alert = [0; 256];
                    if let Ok(count) = data.encode(&mut alert) {
                        self.out.extend_from_slice(&alert[..count]);
                    }
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                _ => break,
            }
        }
        let _ = self.flush();
    }

    /// Receives once and works through it: answers how much payload was put into `buffer`, or
    /// None at the end of the socket's stream.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        with_scratch(|scratch| {
            let held = self.partial.len();
            scratch.records[..held].copy_from_slice(&self.partial);
            let end = RECORDS_BYTES.min(held + READ_BYTES);
            let count = sys::recv(self.socket.as_raw_fd(), &mut scratch.records[held..end])?;
            if count == 0 {
                return Ok(None);
            }
            self.drained = held + count < end;
            let mut filled = 0;
            let mut plain = std::mem::take(&mut self.plain);
            let mut take = |payload: &[u8]| {
                let direct = payload.len().min(buffer.len() - filled);
                buffer[filled..filled + direct].copy_from_slice(&payload[..direct]);
                filled += direct;
                plain.extend_from_slice(&payload[direct..]);
            };
            let records = &mut scratch.records[..held + count];
            let worked = self.work(records, &mut take, &mut |_| Ok(()));
            self.plain = plain;
            let used = worked?;
            self.partial.clear();
            self.partial.extend_from_slice(&records[used..]);
            if self.partial.is_empty() {
                self.partial = Vec::new(); // an idle session holds no memory
            }
            Ok(Some(filled))
        })
    }

    /// Begins the handshake, or continues it with what was received; `ready` tells its end.
    pub(crate) fn shake(&mut self) -> io::Result<()> {
        self.seal(&mut |_| Ok(()))
    }

    /// Whether something waits for room in the socket.
    pub(crate) fn is_sending(&self) -> bool {
        self.sent < self.out.len()
    }

    /// Lets `give` encrypt, behind whatever else has to be sent first.
    fn seal(&mut self, give: &mut dyn FnMut(&mut Traffic<'_>) -> io::Result<()>) -> io::Result<()> {
        let mut records = std::mem::take(&mut self.partial);
        let mut plain = std::mem::take(&mut self.plain);
        let worked = self.work(&mut records, &mut |bytes| plain.extend_from_slice(bytes), give);
        self.plain = plain;
        records.drain(..worked?);
        self.partial = records;
        Ok(())
    }
}

fn exhausted(error: &EncryptError) -> io::Error {
    bad(format!("TLS: {error}"))
}

impl Wire for Session {
    fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken < self.plain.len() {
            let count = buffer.len().min(self.plain.len() - self.taken);
            buffer[..count].copy_from_slice(&self.plain[self.taken..self.taken + count]);
            self.taken += count;
            if self.taken == self.plain.len() {
                self.plain = Vec::new();
                self.taken = 0;
            }
            return Ok(count);
        }
        loop {
            if self.closed {
                return Ok(0);
            }
            match self.receive(buffer)? {
                None => return Ok(0),
                Some(0) => {} // a ticket, say, or half a record
                Some(count) => return Ok(count),
            }
        }
    }

    fn drained(&self) -> bool {
        self.drained && self.plain.is_empty() && !self.closed
    }

    fn send(&mut self, head: &[u8], body: &[u8]) -> io::Result<usize> {
        self.flush()?;
        let total = (head.len() + body.len()).min(WRITE_BYTES);
        // The first record holds the header and the payload next to it, the others payload only.
        let head = &head[..head.len().min(RECORD_BYTES)];
        let beside = (total - head.len().min(total)).min(RECORD_BYTES - head.len());
        let (near, far) = body[..total - head.len().min(total)].split_at(beside);
        with_scratch(|scratch| {
            let Scratch { first, sealed, .. } = scratch;
            first[..head.len()].copy_from_slice(head);
            first[head.len()..head.len() + near.len()].copy_from_slice(near);
            let first = &first[..head.len() + near.len()];
            let mut length = 0;
            self.seal(&mut |traffic| {
                for part in [first, far] {
                    let room = &mut sealed[length..];
                    length += traffic.encrypt(part, room).map_err(|error| exhausted(&error))?;
                }
                Ok(())
            })?;
            let mut rest = &sealed[..length];
            if self.out.is_empty() {
                match sys::send(self.socket.as_raw_fd(), rest) {
                    Ok(count) => rest = &rest[count..],
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            self.out.extend_from_slice(rest);
            Ok(head.len() + near.len() + far.len())
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.sent < self.out.len() {
            match sys::send(self.socket.as_raw_fd(), &self.out[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if !self.out.is_empty() {
            self.out = Vec::new();
            self.sent = 0;
        }
        Ok(())
    }

    fn send_close_notify(&mut self) {
        let mut alert = [0; 256];
        let mut length = 0;
        let queued = self.seal(&mut |traffic| {
            length = traffic.queue_close_notify(&mut alert).map_err(|error| exhausted(&error))?;
            Ok(())
        });
        if queued.is_ok() {
            self.out.extend_from_slice(&alert[..length]);
            let _ = self.flush();
        }
    }
}

#[cfg(test)]
mod tests;
