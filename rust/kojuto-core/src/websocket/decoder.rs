//! The reading side: a state machine over bytes in any pieces.

use super::{CONTROL_BYTES, HEADER_BYTES, Key, Opcode, Sender, close, mask};

/// What the peer did that RFC 6455 forbids, and the code to close with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Violation {
    /// For the Close frame.
    pub code: u16,
    /// What was wrong.
    pub text: &'static str,
}

impl Violation {
    const fn protocol(text: &'static str) -> Violation {
        Violation { code: close::PROTOCOL_ERROR, text }
    }
}

/// How the peer's stream of frames ended; what comes after is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By a Close frame with this code, [`close::NO_CODE`] when it has none.
    Close(u16),
    /// By something that is not allowed.
    Violation(Violation),
}

impl End {
    /// Whether the peer said that its stream is whole: a Close frame with 1000 or without a code.
    pub fn is_whole(&self) -> bool {
        matches!(self, End::Close(close::NORMAL | close::NO_CODE))
    }
}

/// The payload of a ping, to be sent back.
#[derive(Clone, Copy)]
pub struct Ping {
    bytes: [u8; CONTROL_BYTES],
    length: u8,
}

impl Ping {
    /// What the pong must carry.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// Where the next byte belongs.
enum State {
    /// To a header.
    Header,
    /// To the payload of a data frame.
    Data,
    /// To the payload of a control frame.
    Control(Opcode),
}

/// Takes frames apart.
pub struct Decoder {
    sender: Sender,
    state: State,
    header: [u8; HEADER_BYTES],
    have: u8,
    /// Bytes of payload that the present frame still has.
    left: u64,
    /// How many it had.
    length: u64,
    key: Key,
    /// A message was begun and its last frame has not come.
    in_message: bool,
    control: [u8; CONTROL_BYTES],
    held: u8,
    ping: Option<Ping>,
    pong: Option<u32>,
    end: Option<End>,
}

impl Decoder {
    /// For the frames that `sender` sends.
    pub fn new(sender: Sender) -> Decoder {
        Decoder {
            sender,
            state: State::Header,
            header: [0; HEADER_BYTES],
            have: 0,
            left: 0,
            length: 0,
            key: [0; 4],
            in_message: false,
            control: [0; CONTROL_BYTES],
            held: 0,
            ping: None,
            pong: None,
            end: None,
        }
    }

    /// Takes the next bytes of the stream and leaves the payload of their data frames, unmasked,
    /// at the front of `bytes`; answers how much that is. What was wrong is said by
    /// [`Decoder::end`], after the payload before it.
    pub fn decode(&mut self, bytes: &mut [u8]) -> usize {
        let (mut at, mut payload) = (0, 0);
        while at < bytes.len() && self.end.is_none() {
            let there = bytes.len() - at;
            let count = usize::try_from(self.left).map_or(there, |left| left.min(there));
            match self.state {
                State::Header => {
                    self.header[usize::from(self.have)] = bytes[at];
                    self.have += 1;
                    at += 1;
                    if let Err(violation) = self.grow() {
                        self.end = Some(End::Violation(violation));
                    }
                }
                State::Data => {
                    mask(&mut bytes[at..at + count], self.key, self.length - self.left);
                    if payload < at {
                        bytes.copy_within(at..at + count, payload);
                    }
                    payload += count;
                    at += count;
                    self.skip(count);
                }
                State::Control(opcode) => {
                    let from = usize::from(self.held);
                    self.control[from..from + count].copy_from_slice(&bytes[at..at + count]);
                    self.held += count as u8;
                    at += count;
                    self.left -= count as u64;
                    if self.left == 0 {
                        self.control_done(opcode);
                    }
                }
            }
        }
        payload
    }

    /// How the stream ended, if it has.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// The last ping that was not taken yet. Those before it need no answer (RFC 6455, 5.5.3).
    pub fn take_ping(&mut self) -> Option<Ping> {
        self.ping.take()
    }

    /// The number of the last pong that has come since this was last asked, of those that answer a
    /// ping of [`super::write_ping`].
    pub fn take_pong(&mut self) -> Option<u32> {
        self.pong.take()
    }

    /// Whether the last byte was the last of a frame.
    pub fn is_between_frames(&self) -> bool {
        matches!(self.state, State::Header) && self.have == 0
    }

    /// How many of the coming bytes belong to the present data frame.
    pub fn data_left(&self) -> u64 {
        if matches!(self.state, State::Data) { self.left } else { 0 }
    }

    /// How many of the coming bytes are payload as it is: nothing has to be taken off or unmasked.
    pub fn plain_left(&self) -> u64 {
        match self.state {
            State::Data if self.key == [0; 4] => self.left,
            _ => 0,
        }
    }

    /// Counts bytes that went by without [`Decoder::decode`], at most [`Decoder::plain_left`].
    pub fn skip(&mut self, count: usize) {
        self.left -= count as u64;
        if self.left == 0 {
            self.state = State::Header;
        }
    }

    /// Looks at the header as far as it is there; a mistake is told at the byte that makes it.
    fn grow(&mut self) -> Result<(), Violation> {
        let (first, second) = (self.header[0], self.header[1]);
        match self.have {
            1 => return self.check_first(first),
            2 => self.check_second(first, second)?,
            _ => {}
        }
        let extended = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let masked = second & 0x80 != 0;
        let have = usize::from(self.have);
        if have == 2 + extended {
            self.length = self.read_length(extended)?;
        }
        if have == 2 + extended + if masked { 4 } else { 0 } {
            self.key =
                if masked { std::array::from_fn(|i| self.header[have - 4 + i]) } else { [0; 4] };
            self.begin(first);
        }
        Ok(())
    }

    fn check_first(&self, first: u8) -> Result<(), Violation> {
        if first & 0x70 != 0 {
            return Err(Violation::protocol("a reserved bit is set"));
        }
        let Some(opcode) = Opcode::from_bits(first & 0x0f) else {
            return Err(Violation::protocol("an unknown opcode"));
        };
        match opcode {
            _ if opcode.is_control() && first & 0x80 == 0 => {
                Err(Violation::protocol("a control frame in fragments"))
            }
            Opcode::Continuation if !self.in_message => {
                Err(Violation::protocol("a continuation of nothing"))
            }
            Opcode::Text | Opcode::Binary if self.in_message => {
                Err(Violation::protocol("a new message inside another"))
            }
            Opcode::Text => {
                let text = "a text frame where only binary ones are taken";
                Err(Violation { code: close::UNSUPPORTED, text })
            }
            _ => Ok(()),
        }
    }

    fn check_second(&self, first: u8, second: u8) -> Result<(), Violation> {
        match (self.sender, second & 0x80 != 0) {
            (Sender::Client, false) => {
                return Err(Violation::protocol("a client's frame unmasked"));
            }
            (Sender::Server, true) => return Err(Violation::protocol("a server's frame masked")),
            _ => {}
        }
        if first & 0x08 != 0 && second & 0x7f > 125 {
            return Err(Violation::protocol("a control frame of more than 125 bytes"));
        }
        Ok(())
    }

    fn read_length(&self, extended: usize) -> Result<u64, Violation> {
        let bytes = &self.header[2..2 + extended];
        let length = bytes.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
        match extended {
            2 if length < 126 => Err(Violation::protocol("a length in more bytes than it needs")),
            8 if length <= 0xffff => {
                Err(Violation::protocol("a length in more bytes than it needs"))
            }
            8 if length >> 63 != 0 => Err(Violation::protocol("a length of more than 63 bits")),
            0 => Ok(u64::from(self.header[1] & 0x7f)),
            _ => Ok(length),
        }
    }

    /// The header is whole.
    fn begin(&mut self, first: u8) {
        self.have = 0;
        self.left = self.length;
        let control = Opcode::from_bits(first & 0x0f).filter(|opcode| opcode.is_control());
        if let Some(opcode) = control {
            self.held = 0;
            self.state = State::Control(opcode);
            if self.left == 0 {
                self.control_done(opcode);
            }
        } else {
            self.in_message = first & 0x80 == 0;
            self.state = if self.left == 0 { State::Header } else { State::Data };
        }
    }

    fn control_done(&mut self, opcode: Opcode) {
        self.state = State::Header;
        let payload = &mut self.control[..usize::from(self.held)];
        mask(payload, self.key, 0);
        match opcode {
            Opcode::Ping => self.ping = Some(Ping { bytes: self.control, length: self.held }),
            Opcode::Pong => {
                let number = <[u8; 4]>::try_from(&*payload).ok().map(u32::from_be_bytes);
                self.pong = number.or(self.pong);
            }
            Opcode::Close => self.end = Some(closed(payload)),
            _ => {}
        }
    }
}

/// What a Close frame's payload says (RFC 6455, sections 5.5.1 and 7.4).
fn closed(payload: &[u8]) -> End {
    let [high, low, reason @ ..] = payload else {
        return if payload.is_empty() {
            End::Close(close::NO_CODE)
        } else {
            End::Violation(Violation::protocol("a Close frame with half a code"))
        };
    };
    match u16::from_be_bytes([*high, *low]) {
        code @ (1000..=1003 | 1007..=1014 | 3000..=4999) => {
            if std::str::from_utf8(reason).is_ok() {
                End::Close(code)
            } else {
                let text = "a Close frame whose reason is not UTF-8";
                End::Violation(Violation { code: close::BAD_TEXT, text })
            }
        }
        _ => End::Violation(Violation::protocol("a Close frame with a code that must not be sent")),
    }
}
