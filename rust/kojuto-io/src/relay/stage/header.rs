//! The PROXY header with which a client's connection may begin.

use std::io;
use std::sync::atomic::Ordering::Relaxed;

use kojuto_core::net::proxy_protocol::{self, Step};

use super::{Closing, Event, Stage, announce_and_connect, failed};
use crate::relay::client::Client;
use crate::relay::context::Context;
use crate::relay::endpoint::{HEADER_BYTES, Party};
use crate::relay::failure::{Failure, HeaderFailure};
use crate::relay::options::HeaderIn;
use crate::relay::remote::Remote;

#[derive(Default)]
pub(in crate::relay) struct Header {
    /// What has come of it.
    seen: Vec<u8>,
    /// It was whole and said LOCAL: a health check, for which this relay answers by having accepted,
    /// unless more comes.
    probe: Option<Box<proxy_protocol::Header>>,
}

impl Header {
    pub(super) fn begin(client: &mut Client, context: &mut Context) -> Stage {
        if !is_trusted(&client.remote, context) {
            return failed(Failure::Header(HeaderFailure::Untrusted));
        }
        let deadline_ms = context.after(context.shared.options.header_timeout);
        client.set_timer(deadline_ms, context);
        Stage::Header(Header::default())
    }

    pub(super) fn on_event(
        self,
        event: Event<'_>,
        client: &mut Client,
        context: &mut Context,
    ) -> Stage {
        match event {
            Event::Ready { party: Party::Client, mask } => {
                client.side.saw(mask);
                self.read(client, context)
            }
            Event::TimedOut if self.probe.is_some() => unworthy(client),
            // A client that waits for the server to speak first, or begins much as a header does.
            Event::TimedOut if is_optional(client) && !proxy_protocol::is_begun(&self.seen) => {
                announce_and_connect(self.seen, None, client, context)
            }
            Event::TimedOut => {
                let (seen, limit) = (self.seen.len(), context.shared.options.header_timeout);
                refuse(HeaderFailure::Late { seen, limit })
            }
            _ => Stage::Header(self),
        }
    }

    fn read(mut self, client: &mut Client, context: &mut Context) -> Stage {
        while client.side.readable {
            let count = match client.side.end.read(&mut context.tools.buffer[..HEADER_BYTES]) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    client.side.readable = false;
                    break;
                }
                // A check of the port, or of more, has seen enough.
                Err(_) if self.seen.is_empty() || self.probe.is_some() => return unworthy(client),
                Err(error) => return refuse(HeaderFailure::Read(error)),
            };
            if let Some(header) = self.probe.take_if(|_| count > 0) {
                let payload = context.tools.buffer[..count].to_vec();
                return announce_and_connect(payload, Some(*header), client, context);
            }
            if self.probe.is_some() {
                return unworthy(client);
            }
            self.seen.extend_from_slice(&context.tools.buffer[..count]);
            match proxy_protocol::parse(&self.seen, HEADER_BYTES) {
                // Not a whole header, and nothing more will come: relayed as it is.
                Ok(Step::NeedMore) if count == 0 && is_optional(client) => {
                    return announce_and_connect(self.seen, None, client, context);
                }
                Ok(Step::NeedMore) if count == 0 && self.seen.is_empty() => {
                    return unworthy(client);
                }
                Ok(Step::NeedMore) if count == 0 => {
                    return refuse(HeaderFailure::Ended { seen: self.seen.len() });
                }
                Ok(Step::NeedMore) => {}
                Ok(Step::NotProxy) if is_optional(client) => {
                    return announce_and_connect(self.seen, None, client, context);
                }
                Ok(Step::NotProxy) => return refuse(HeaderFailure::Missing),
                Ok(Step::Done { header, used }) => {
                    let payload = self.seen[used..].to_vec();
                    if header.local {
                        client.probe = true;
                        context.shared.stats.probes.fetch_add(1, Relaxed);
                        if payload.is_empty() && !context.shared.options.probe_upstream {
                            self.probe = Some(Box::new(header));
                            continue;
                        }
                    }
                    return accept(header, payload, client, context);
                }
                Err(error) => return refuse(HeaderFailure::Malformed(error)),
            }
        }
        Stage::Header(self)
    }
}

fn is_optional(client: &Client) -> bool {
    client.route.header_in == HeaderIn::Optional
}

/// Whether the client is one whose header is believed.
pub(in crate::relay) fn is_trusted(remote: &Remote, context: &Context) -> bool {
    let trusted = &context.shared.options.trusted;
    trusted.is_empty()
        || remote.ip().is_some_and(|ip| trusted.iter().any(|range| range.contains(ip)))
}

/// Believes a whole header.
fn accept(
    header: proxy_protocol::Header,
    payload: Vec<u8>,
    client: &mut Client,
    context: &mut Context,
) -> Stage {
    client.introduce(&header);
    announce_and_connect(payload, Some(header), client, context)
}

/// The end of a health check: of a connection without a byte that would be worth a line in the log.
fn unworthy(client: &mut Client) -> Stage {
    client.probe = true;
    Stage::Closing(Closing::default())
}

fn refuse(why: HeaderFailure) -> Stage {
    failed(Failure::Header(why))
}
