//! Why a question is refused; its words, for the client and the log.

use std::fmt;

/// What is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The path is not percent-encoded UTF-8.
    Path,
    /// The address in the path is longer than so many bytes.
    LongAddress(usize),
    /// `/auth` without a service.
    NoService,
    /// What stands for the service cannot be the name of one.
    Service,
    /// A parameter is not percent-encoded UTF-8.
    Parameter(&'static str),
    /// A parameter is longer than so many bytes.
    LongParameter(&'static str, usize),
    /// There are more tags than so many.
    Tags(usize),
    /// A peer that is not trusted names an address.
    Untrusted {
        /// The peer.
        remote: String,
    },
    /// The header that names the client is not UTF-8.
    NotText(&'static str),
    /// The header that names the client is there more than once.
    Several(&'static str),
    /// The header holds something else than an address.
    NotAnAddress(&'static str),
    /// A trusted proxy sent no such header.
    Missing {
        /// The proxy.
        remote: String,
        /// What it should have sent.
        header: &'static str,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Path => f.write_str("the path is not percent-encoded UTF-8"),
            Refusal::LongAddress(limit) => write!(f, "the ip is longer than {limit} bytes"),
            Refusal::NoService => f.write_str("no service is named: write /auth?service=NAME"),
            Refusal::Service => {
                f.write_str("not the name of a service: use letters, digits, - and _")
            }
            Refusal::Parameter(name) => write!(f, "{name} is not percent-encoded UTF-8"),
            Refusal::LongParameter(name, limit) => {
                write!(f, "{name} is longer than {limit} bytes")
            }
            Refusal::Tags(limit) => write!(f, "there are more than {limit} tags"),
            Refusal::Untrusted { remote } => {
                write!(f, "{remote} is not a trusted proxy and may not name an ip")
            }
            Refusal::NotText(header) => write!(f, "{header} is not UTF-8"),
            Refusal::Several(header) => {
                write!(f, "there are several {header} headers")
            }
            Refusal::NotAnAddress(header) => {
                write!(f, "{header} does not hold an IP address")
            }
            Refusal::Missing { remote, header } => {
                write!(f, "the proxy {remote} sent no {header} header")
            }
        }
    }
}
