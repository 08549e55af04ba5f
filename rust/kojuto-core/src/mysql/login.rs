//! The login of a session: what the server greets with, who logs in, and what both understand.

use super::wire::{error_of, skip_auth, u16_at, u32_at, until_nul};
use super::{Event, Expect, Phase, Session};

const CONNECT_WITH_DB: u32 = 1 << 3;
const COMPRESS: u32 = 1 << 5;
const SSL: u32 = 1 << 11;
const ZSTD: u32 = 1 << 26;
/// Not set by MariaDB, whose extended capabilities are then valid.
const LONG_PASSWORD: u32 = 1;

impl Session {
    pub(super) fn greeting(&mut self, head: &[u8], out: &mut Vec<Event>) {
        if head.first() == Some(&0xff) {
            out.push(Event::Login { error: Some(error_of(head)) });
            self.phase = Phase::Response;
            return;
        }
        let version_end = head.iter().skip(1).position(|&b| b == 0).map(|at| at + 2);
        let parsed = version_end.filter(|_| head[0] == 10).and_then(|at| {
            // thread id 4, salt 8, filler 1, capabilities 2, charset 1, status 2, capabilities 2
            let low = u16_at(head, at + 13)?;
            let high = u16_at(head, at + 18).unwrap_or(0);
            let extended = u32_at(head, at + 27).unwrap_or(0);
            Some((u32::from(high) << 16 | u32::from(low), extended))
        });
        let Some((capabilities, extended)) = parsed else {
            return self.opaque("the server's greeting is not MySQL", out);
        };
        self.capabilities = capabilities;
        self.server_extended = if capabilities & LONG_PASSWORD == 0 { extended } else { 0 };
        self.phase = Phase::Response;
    }

    pub(super) fn handshake_response(&mut self, out: &mut Vec<Event>) {
        let head = std::mem::take(&mut self.client.head);
        let Some(wanted) = u32_at(&head, 0).filter(|_| head.len() >= 32) else {
            return self.opaque("the handshake is older than MySQL 4.1", out);
        };
        if wanted & SSL != 0 && head.len() == 32 {
            return self.opaque("TLS", out);
        }
        let client_extended =
            if wanted & LONG_PASSWORD == 0 { u32_at(&head, 28).unwrap_or(0) } else { 0 };
        self.extended = self.server_extended & client_extended;
        self.capabilities &= wanted;
        let mut rest = &head[32..];
        self.user = until_nul(&mut rest);
        skip_auth(&mut rest, self.capabilities);
        if self.capabilities & CONNECT_WITH_DB != 0 {
            self.database = until_nul(&mut rest);
        }
        self.phase = Phase::Authentication;
    }

    pub(super) fn authentication(&mut self, head: &[u8], out: &mut Vec<Event>) {
        match head.first() {
            Some(0) => {
                out.push(Event::Login { error: None });
                self.phase = Phase::Commands;
                self.expect = Expect::Start;
                if self.capabilities & (COMPRESS | ZSTD) != 0 {
                    self.opaque("compressed", out);
                }
            }
            Some(0xff) => out.push(Event::Login { error: Some(error_of(head)) }),
            _ => {} // another round
        }
    }
}
