//! One relayed connection: its client, and the stage that it has reached.

pub(super) mod listing;

use std::sync::Arc;
use std::time::Duration;

use super::client::Client;
use super::context::Context;
use super::stage::{Event, Stage};
use listing::Row;

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

    /// What a list of the connections says of it.
    pub(super) fn row(&self, now_ms: u64) -> Row {
        let progress = self.stage.progress();
        let silent = progress.active_ms.map(|at_ms| now_ms.saturating_sub(at_ms));
        Row {
            id: self.client.id,
            route: Arc::clone(&self.client.route),
            client: self.client.remote.clone(),
            began: self.client.began,
            silent: silent.map(Duration::from_millis),
            progress,
        }
    }

    /// Closes both sockets, counts the end and tells the log of it.
    pub(super) fn close(self, context: &mut Context) {
        self.stage.into_closing().finish(self.client, context);
    }
}
