//! Why a connection or an attempt to make one failed, as values; their words for the log are made
//! here and nowhere else.

use std::fmt;
use std::io;
use std::time::Duration;

use super::accept::access::Refusal;
use super::endpoint::{Cut, Party};
use super::unbelieved::Disbelief;
use crate::error::words;

/// Why a connection is over before its streams are.
#[derive(Debug)]
pub(super) enum Failure {
    /// A peer's socket failed.
    Peer { party: Party, source: io::Error },
    /// A peer's socket failed and the system does not say how.
    Lost(Party),
    /// The client's socket failed while there was no upstream yet.
    GoneEarly,
    /// The client's PROXY header is not to be had or not to be believed.
    Header(HeaderFailure),
    /// A client of this address may not connect.
    Refused(Refusal),
    /// The pool is empty.
    NoUpstream,
    /// None of those that may be tried takes the connection.
    NoneReached,
    /// No byte has passed for too long.
    Idle { limit: Duration, half_closed: bool },
    /// A ping could not be sent to the WebSocket peer.
    Ping(io::Error),
    /// The WebSocket peer answers no pings.
    Vanished { silent: Duration },
    /// The system does not watch a socket for us.
    Watch(io::Error),
    /// Its upstream has been replaced, and the time that was given to it is over.
    Replaced,
    /// The right by which it was open was taken away.
    Revoked,
    /// The relay was told to end all connections.
    Stopped,
}

impl Failure {
    /// A peer's socket failed, or its stream is one that may not be.
    pub(super) fn of_peer(party: Party, source: io::Error) -> Failure {
        if source.get_ref().is_some_and(|why| why.is::<Disbelief>()) {
            return Failure::Header(HeaderFailure::Untrusted);
        }
        match source.downcast() {
            Ok(why) => Failure::Header(why),
            Err(source) => Failure::Peer { party, source },
        }
    }

    /// Whether the client has gone without a word of its own, as one that only looks whether the port
    /// is open does.
    pub(super) fn is_departure(&self) -> bool {
        matches!(
            self,
            Failure::Peer { party: Party::Client, .. }
                | Failure::Lost(Party::Client)
                | Failure::GoneEarly
        )
    }

    /// Whether the client has answered what it was sent by a reset, as one that has closed does.
    pub(super) fn is_clients_reset(&self) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionReset};
        matches!(self, Failure::Peer { party: Party::Client, source }
            if matches!(source.kind(), BrokenPipe | ConnectionReset))
    }

    /// How the peers are to see it.
    pub(super) fn cut(&self) -> Cut {
        match self {
            Failure::Stopped => Cut::Leaving,
            Failure::Revoked => Cut::Refused,
            _ => Cut::Broken,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Peer { party, source } => write!(f, "{party}: {}", words(source)),
            Failure::Lost(party) => write!(f, "{party}: connection lost"),
            Failure::GoneEarly => f.write_str("client: gone before an upstream answered"),
            Failure::Header(why) => write!(f, "PROXY header: {why}"),
            Failure::Refused(why) => why.fmt(f),
            Failure::NoUpstream => f.write_str("there is no upstream"),
            Failure::NoneReached => f.write_str("no upstream could be reached"),
            Failure::Idle { limit, half_closed } => {
                let half = if *half_closed { " after one side had ended" } else { "" };
                write!(f, "idle for {} s{half}", limit.as_secs_f64())
            }
            Failure::Ping(error) => write!(f, "ping: {}", words(error)),
            Failure::Vanished { silent } => {
                write!(f, "nothing came for {} s, and no answer to a ping", silent.as_secs_f64())
            }
            Failure::Watch(error) => f.write_str(&words(error)),
            Failure::Replaced => {
                f.write_str("the upstream was replaced and the time to end is over")
            }
            Failure::Revoked => f.write_str("it is no longer allowed"),
            Failure::Stopped => f.write_str("stopped before it ended"),
        }
    }
}

/// What is wrong with the PROXY header of a client.
#[derive(Debug)]
pub(super) enum HeaderFailure {
    /// The client's socket failed before the header was whole.
    Read(io::Error),
    /// The header is not whole in time; so many bytes of it are there.
    Late { seen: usize, limit: Duration },
    /// The stream ended after so many bytes of it.
    Ended { seen: usize },
    /// The stream begins with something else.
    Missing,
    /// The client's word counts for nothing here.
    Untrusted,
    /// It breaks the protocol.
    Malformed(kojuto_core::Error),
}

impl fmt::Display for HeaderFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeaderFailure::Read(error) => write!(f, "client: {}", words(error)),
            HeaderFailure::Late { seen, limit } => {
                write!(f, "{seen} bytes and no end of it within {} s", limit.as_secs_f64())
            }
            HeaderFailure::Ended { seen } => write!(f, "the stream ended after {seen} bytes of it"),
            HeaderFailure::Missing => f.write_str("there is none"),
            HeaderFailure::Untrusted => f.write_str("the peer is not in --trusted-proxies"),
            HeaderFailure::Malformed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for HeaderFailure {}

/// Why an attempt to reach an upstream failed; another one may be tried.
#[derive(Debug)]
pub(super) enum AttemptFailure {
    /// The system or the upstream said no.
    Refused(io::Error),
    /// Nothing was heard in time.
    TimedOut,
    /// It has not answered for so long, and another one has.
    Overtaken(Duration),
    /// It accepts no connections for so long that no more of them may wait.
    BacklogFull,
    /// It took the connection and ended it without a word.
    ClosedEarly,
    /// It has left the pool meanwhile.
    Withdrawn,
}

impl fmt::Display for AttemptFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttemptFailure::Refused(error) => f.write_str(&words(error)),
            AttemptFailure::TimedOut => f.write_str("timed out"),
            AttemptFailure::Overtaken(after) => {
                write!(
                    f,
                    "no answer within {:.1} s, and another upstream answered",
                    after.as_secs_f64()
                )
            }
            AttemptFailure::BacklogFull => f.write_str("the backlog of its socket is full"),
            AttemptFailure::ClosedEarly => f.write_str("closed before its first byte"),
            AttemptFailure::Withdrawn => f.write_str("no upstream any more"),
        }
    }
}

/// What keeps us from accepting for a moment.
#[derive(Debug)]
pub(super) enum Shortage {
    /// As many connections are open as may be.
    Connections { limit: usize },
    /// The system has no descriptor or no memory for another socket.
    System(io::Error),
}

impl Shortage {
    /// Tells our own want of descriptors or memory, which passes, from failures of others.
    pub(super) fn of(error: io::Error) -> Result<Shortage, io::Error> {
        match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                Ok(Shortage::System(error))
            }
            _ => Err(error),
        }
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shortage::Connections { limit } => {
                write!(f, "the limit of {limit} connections is reached")
            }
            Shortage::System(error) => f.write_str(&words(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reset() -> io::Error {
        io::Error::from_raw_os_error(libc::ECONNRESET)
    }

    #[test]
    fn the_words_are_those_that_logs_are_searched_for() {
        let header = |why| Failure::Header(why).to_string();
        let limit = Duration::from_millis(2500);
        let source = reset();
        for (said, words) in [
            (
                Failure::Peer { party: Party::Client, source }.to_string(),
                "client: Connection reset by peer",
            ),
            (Failure::Lost(Party::Upstream).to_string(), "upstream: connection lost"),
            (Failure::Idle { limit, half_closed: false }.to_string(), "idle for 2.5 s"),
            (
                Failure::Idle { limit, half_closed: true }.to_string(),
                "idle for 2.5 s after one side had ended",
            ),
            (
                Failure::Vanished { silent: Duration::from_secs(55) }.to_string(),
                "nothing came for 55 s, and no answer to a ping",
            ),
            (Failure::Watch(reset()).to_string(), "Connection reset by peer"),
            (Failure::Stopped.to_string(), "stopped before it ended"),
            (
                header(HeaderFailure::Read(reset())),
                "PROXY header: client: Connection reset by peer",
            ),
            (
                header(HeaderFailure::Late { seen: 3, limit }),
                "PROXY header: 3 bytes and no end of it within 2.5 s",
            ),
            (
                header(HeaderFailure::Ended { seen: 3 }),
                "PROXY header: the stream ended after 3 bytes of it",
            ),
            (header(HeaderFailure::Missing), "PROXY header: there is none"),
            (AttemptFailure::Refused(reset()).to_string(), "Connection reset by peer"),
            (AttemptFailure::TimedOut.to_string(), "timed out"),
            (
                AttemptFailure::Overtaken(Duration::from_millis(1014)).to_string(),
                "no answer within 1.0 s, and another upstream answered",
            ),
            (
                Shortage::Connections { limit: 7 }.to_string(),
                "the limit of 7 connections is reached",
            ),
        ] {
            assert_eq!(said, words);
        }
    }

    #[test]
    fn only_a_connection_that_we_end_ourselves_is_closed_in_its_own_protocol() {
        assert_eq!(Failure::Stopped.cut(), Cut::Leaving);
        assert_eq!(Failure::Revoked.cut(), Cut::Refused);
        assert_eq!(Failure::Replaced.cut(), Cut::Broken);
        assert_eq!(Failure::Lost(Party::Client).cut(), Cut::Broken);
    }

    #[test]
    fn our_own_want_is_told_from_the_failures_of_others() {
        for code in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM] {
            let found = Shortage::of(io::Error::from_raw_os_error(code));
            assert!(matches!(found, Ok(Shortage::System(_))), "{code}");
        }
        assert!(Shortage::of(reset()).is_err());
        assert!(Shortage::of(io::ErrorKind::OutOfMemory.into()).is_err(), "no word of the system");
    }
}
