//! How a relay is to behave.

use std::time::Duration;

use kojuto_core::net::cidr::Cidr;

/// Whether clients begin with a PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderIn {
    /// They do not; whatever comes is payload.
    Off,
    /// They may; a connection without one is relayed as it is.
    Optional,
    /// They may; whether one does is not waited for, and the upstream is connected to meanwhile.
    Lazy,
    /// They must.
    Require,
}

/// Whether the upstream is told who the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderOut {
    /// It is not.
    Off,
    /// By a version 1 header.
    V1,
    /// By a version 2 header.
    V2,
}

/// Two or three times what a sleep and a wake-up cost on a virtual machine.
pub const BUSY_POLL: Duration = Duration::from_micros(80);

/// The settings of one relay. A duration of zero means: no limit.
#[derive(Debug, Clone)]
pub struct Options {
    /// For each attempt to reach an upstream.
    pub connect_timeout: Duration,
    /// How long a connection may be silent.
    pub idle_timeout: Duration,
    /// How long it may be silent once one direction has ended.
    pub half_close_timeout: Duration,
    /// The same once the relay was told to stop, if it is shorter.
    pub leaving_timeout: Duration,
    /// How long the PROXY header may take.
    pub header_timeout: Duration,
    /// Whose headers are believed; empty: everybody's.
    pub trusted: Vec<Cidr>,
    /// Whose addresses may connect; empty: everybody's.
    pub allow: Vec<Cidr>,
    /// Whose may not, whatever is allowed.
    pub deny: Vec<Cidr>,
    /// A client whose header says LOCAL is a health check of a proxy; it is connected to an upstream
    /// although it says nothing more.
    pub probe_upstream: bool,
    /// What upstreams are told.
    pub header_out: HeaderOut,
    /// The most connections at a time; 0: no limit.
    pub max_connections: usize,
    /// The most upstreams that are tried for one connection; 0: all.
    pub max_attempts: usize,
    /// Threads; 0: one for each core, at most 4.
    pub threads: usize,
    /// A wait that is expected to be shorter is spent awake; zero: none is.
    pub busy_poll: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            connect_timeout: Duration::from_secs(60),
            idle_timeout: Duration::ZERO,
            half_close_timeout: Duration::from_secs(3600),
            leaving_timeout: Duration::from_secs(60),
            header_timeout: Duration::from_secs(5),
            trusted: Vec::new(),
            allow: Vec::new(),
            deny: Vec::new(),
            probe_upstream: false,
            header_out: HeaderOut::Off,
            max_connections: 0,
            max_attempts: 3,
            threads: 0,
            busy_poll: BUSY_POLL,
        }
    }
}
