//! One relayed connection: its client, and the stage that it has reached.

use super::client::Client;
use super::context::Context;
use super::stage::{Event, Stage};

pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) stage: Stage,
}

impl Connection {
    /// Goes on to what follows from an event.
    pub(super) fn on_event(&mut self, event: Event<'_>, context: &mut Context) {
        self.stage.on_event(event, &mut self.client, context);
    }

    /// Whether nothing is left but to close it.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Closing(_))
    }

    /// Closes both sockets, counts the end and tells the log of it.
    pub(super) fn close(self, context: &mut Context) {
        self.stage.into_closing().finish(self.client, context);
    }
}
