//! WebSocket frames (RFC 6455): written, and read from bytes that come in any pieces.
//!
//! A tunnel cares for the payload of data frames and not for where a message ends, so nothing is
//! ever gathered: [`Decoder::decode`] strips and unmasks the bytes where they lie, whatever the
//! size of their frame. Only the header of a frame (14 bytes) and the payload of a control frame
//! (125 bytes) are kept from call to call.

mod decoder;
mod mask;
#[cfg(test)]
mod tests;

pub use decoder::{Decoder, End, Ping, Violation};
pub use mask::mask;

/// The longest header of a frame, in bytes (RFC 6455, section 5.2).
pub const HEADER_BYTES: usize = 14;
/// The longest payload of a control frame, in bytes (RFC 6455, section 5.5).
pub const CONTROL_BYTES: usize = 125;

/// A masking key (RFC 6455, section 5.3): of one frame, and not to be foreseen.
pub type Key = [u8; 4];

/// Who sends the frames of a direction: a client masks them, a server must not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// The side that opened the connection.
    Client,
    /// The side that accepted it.
    Server,
}

/// What a frame is (RFC 6455, section 11.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// The message goes on.
    Continuation = 0,
    /// A message of UTF-8 text begins.
    Text = 1,
    /// A message of bytes begins.
    Binary = 2,
    /// The sender's stream ends.
    Close = 8,
    /// The peer is asked for a pong with the same payload.
    Ping = 9,
    /// The answer to a ping, or a sign of life.
    Pong = 10,
}

impl Opcode {
    fn from_bits(bits: u8) -> Option<Opcode> {
        Some(match bits {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return None,
        })
    }

    fn is_control(self) -> bool {
        self as u8 & 8 != 0
    }
}

/// Codes of a Close frame (RFC 6455, section 7.4.1).
pub mod close {
    /// The stream is whole.
    pub const NORMAL: u16 = 1000;
    /// The endpoint goes away: what was sent may not be all.
    pub const GOING_AWAY: u16 = 1001;
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: u16 = 1002;
    /// Data of a kind that is not taken: text.
    pub const UNSUPPORTED: u16 = 1003;
    /// What [`super::End::Close`] says of a Close frame without a code; never sent.
    pub const NO_CODE: u16 = 1005;
    /// A text that is not UTF-8.
    pub const BAD_TEXT: u16 = 1007;
    /// The peer may not, or not any more.
    pub const POLICY: u16 = 1008;
    /// The endpoint failed, so that what was sent is not all.
    pub const FAILED: u16 = 1011;
}

/// Appends the header of a final, unfragmented frame with `length` bytes of payload. What follows
/// is masked with `key` where there is one.
pub fn write_header(opcode: Opcode, length: u64, key: Option<Key>, out: &mut Vec<u8>) {
    let masked = if key.is_some() { 0x80 } else { 0 };
    out.push(0x80 | opcode as u8);
    match length {
        0..=125 => out.push(masked | length as u8),
        126..=0xffff => {
            out.push(masked | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(masked | 127);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
    out.extend_from_slice(key.as_ref().map_or(&[], |key| key.as_slice()));
}

/// Appends a whole control frame; of `payload`, what is beyond [`CONTROL_BYTES`] is left out.
pub fn write_control(opcode: Opcode, payload: &[u8], key: Option<Key>, out: &mut Vec<u8>) {
    let payload = &payload[..payload.len().min(CONTROL_BYTES)];
    write_header(opcode, payload.len() as u64, key, out);
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(key) = key {
        mask(&mut out[start..], key, 0);
    }
}

/// Appends a ping with a number, by which its pong is known ([`Decoder::take_pong`]).
pub fn write_ping(number: u32, key: Option<Key>, out: &mut Vec<u8>) {
    write_control(Opcode::Ping, &number.to_be_bytes(), key, out);
}

/// Appends a Close frame with a code and no reason.
pub fn write_close(code: u16, key: Option<Key>, out: &mut Vec<u8>) {
    write_control(Opcode::Close, &code.to_be_bytes(), key, out);
}
