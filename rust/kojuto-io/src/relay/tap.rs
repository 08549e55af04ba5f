//! Who looks at the bytes of the connections as they pass.

use super::remote::Remote;
use super::upstream::Address;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the upstream.
    ToUpstream,
    /// From the upstream to the client.
    ToClient,
}

/// Who has logged in on a connection, as far as its bytes tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Session {
    /// The user's name.
    pub user: Vec<u8>,
    /// The default schema; empty: none.
    pub database: Vec<u8>,
}

/// Is told of every connection and of the bytes it asks for. It must never wait.
pub trait Tap: Send + Sync {
    /// Whether it wants the bytes of a direction.
    fn wants(&self, direction: Direction) -> bool;
    /// A connection was made; `id` is new for each.
    fn opened(&self, id: u64, listener: &str, client: &Remote, upstream: &Address);
    /// The client of an open connection has another name.
    fn introduced(&self, id: u64, client: &Remote);
    /// Bytes have come, in order within one direction of one connection.
    fn bytes(&self, id: u64, direction: Direction, bytes: &[u8]);
    /// A connection has ended.
    fn closed(&self, id: u64);

    /// Who has logged in on an open connection, where that is known.
    fn session(&self, id: u64) -> Option<Session>;
}
