//! Puts a connection that was handed over among the others.

use std::sync::Arc;

use kojuto_core::net::balance::Balance;

use super::Adopted;
use crate::relay::client::Client;
use crate::relay::context::Context;
use crate::relay::endpoint::Side;
use crate::relay::health::Limits;
use crate::relay::listener::Route;
use crate::relay::options::HeaderIn;
use crate::relay::slab::Place;
use crate::relay::stage::{Pumping, Stage};
use crate::relay::upstream::Pool;

impl Adopted {
    /// Begins in the middle: both sides are connected.
    pub(in crate::relay) fn begin(self, place: Place, context: &mut Context) -> (Client, Stage) {
        let [client, upstream] = [self.client, self.upstream].map(|end| {
            let mut side = Side::new(end);
            side.readable = true; // what was read before may hide what is there now
            side
        });
        let pool = Arc::new(Pool::new(Balance::First, Limits::default(), String::new()));
        let route = Arc::new(Route { name: self.listener, pool, header_in: HeaderIn::Off });
        let mut client = Client::new(place, route, self.remote, client, context);
        if client.is_logged(context) {
            let line = self.tunnel.describe(client.line("info", "log"));
            context.shared.log.write(&line.text("status", "Connected").end());
        }
        let (tunnel, said) = (Box::new(self.tunnel), [&*self.client_data, &*self.upstream_data]);
        let stage = Pumping::adopt(upstream, tunnel, self.peer, said, &mut client, context);
        (client, stage)
    }
}
