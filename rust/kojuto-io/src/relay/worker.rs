//! The event loop of one thread: connections, and who is told of what has happened.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::busy_poll::Waiter;
use super::client::Client;
use super::connection::Connection;
use super::connection::listing::{AT_ONCE, Listing};
use super::context::Context;
use super::endpoint::Side;
use super::listener::Route;
use super::remote::Remote;
use super::shared::{Command, Shared};
use super::slab::{Place, Slab};
use super::stage::{self, Event};

const EVENTS: usize = 256;
/// How long a worker sleeps before it looks for bytes that no event tells of.
const WAIT_FOR_MUCH: Duration = Duration::from_micros(200);

const WAKE_TOKEN: u64 = u64::MAX;
pub(super) const LISTENER_TOKEN: u64 = 1 << 63;

pub(super) struct Worker {
    pub(super) context: Context,
    connections: Slab<Connection>,
    /// Those who wait for a list of the connections.
    listings: Vec<Listing>,
    index: usize,
    epoch: Instant,
    waiter: Waiter,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, index: usize) -> std::io::Result<Worker> {
        let context = Context::new(shared, index)?;
        context.epoll.add_wake(context.shared.wakes[index].fd(), WAKE_TOKEN)?;
        Ok(Worker {
            context,
            connections: Slab::new(),
            listings: Vec::new(),
            index,
            epoch: Instant::now(),
            waiter: Waiter::default(),
        })
    }

    pub(super) fn run(mut self) {
        let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        loop {
            let timeout_ms = self.timeout_ms();
            let Context { epoll, shared, waiting_for_much, .. } = &self.context;
            let most = (!waiting_for_much.is_empty()).then_some(WAIT_FOR_MUCH);
            let count = self.waiter.wait(epoll, &shared.polling, &mut events, timeout_ms, most);
            self.context.now_ms = self.epoch.elapsed().as_millis() as u64;
            for event in &events[..count] {
                let (mask, token) = (event.events, event.u64);
                if token == WAKE_TOKEN {
                    self.handle_commands();
                    self.refill();
                } else if token & LISTENER_TOKEN != 0 {
                    self.accept_some((token & !LISTENER_TOKEN) as usize);
                } else {
                    let (place, party) = Place::of_token(token);
                    let event = party.map_or(Event::Rival, |party| Event::Ready { party, mask });
                    self.tell(place, event);
                }
            }
            for _ in 0..self.context.run_queue.len() {
                let Some(place) = self.context.run_queue.pop_front() else { break };
                self.tell(place, Event::Turn);
            }
            self.list_some();
            self.look_for_quiet_ones(count == 0 && timeout_ms != 0);
            self.keep_time();
            if self.context.stopping && self.connections.is_empty() {
                return;
            }
        }
    }

    fn timeout_ms(&mut self) -> i32 {
        let context = &mut self.context;
        if !context.run_queue.is_empty() || !self.listings.is_empty() {
            return 0;
        }
        context.keep_alives.forget(|place| !self.connections.is_current(place));
        let now_ms = context.now_ms;
        let pause = context.paused_until.map(|until| until.saturating_sub(now_ms));
        let room = context.room.map(|room| room.at_ms.saturating_sub(now_ms));
        let (timers, keep_alives) =
            (context.timers.next_ms(now_ms), context.keep_alives.next_ms(now_ms));
        let next = [pause, room, timers, keep_alives];
        let next = next.into_iter().flatten().min();
        next.map_or(-1, |ms| ms.min(60_000) as i32 + 1)
    }

    /// Lets a connection go on, and ends it when that was its last step.
    fn tell(&mut self, place: Place, event: Event<'_>) {
        let Some(connection) = self.connections.current(place) else { return };
        connection.on_event(event, &mut self.context);
        if connection.is_over() {
            self.end(place);
        }
    }

    fn tell_all(&mut self, event: Event<'_>) {
        for place in self.connections.places() {
            self.tell(place, event);
        }
    }

    // -- time -------------------------------------------------------------------------------

    /// Tells everybody whose time has come.
    fn keep_time(&mut self) {
        let now_ms = self.context.now_ms;
        while let Some(slot) = self.context.timers.due(now_ms) {
            let Some(connection) = self.connections.get(slot) else { break };
            connection.client.set_timer(None, &mut self.context);
            let place = connection.client.place;
            self.tell(place, Event::TimedOut);
        }
        while let Some(place) = self.context.keep_alives.due(now_ms) {
            self.tell(place, Event::Aged);
        }
        if self.context.paused_until.is_some_and(|until| until <= now_ms) {
            self.context.resume();
        }
        self.context.tell_of_room();
    }

    /// Looks at the streams that wait for much and have moved nothing for a moment; `idle`: the
    /// worker has slept for one and nothing came.
    fn look_for_quiet_ones(&mut self, idle: bool) {
        let mut at = 0;
        while let Some(&place) = self.context.waiting_for_much.get(at) {
            let now_ms = self.context.now_ms;
            let connection = self.connections.current(place);
            if connection.is_some_and(|it| !idle && !it.stage.is_quiet(now_ms)) {
                at += 1;
            } else {
                self.context.waiting_for_much.swap_remove(at);
                self.tell(place, Event::Quiet);
            }
        }
    }

    // -- commands ---------------------------------------------------------------------------

    fn handle_commands(&mut self) {
        self.context.shared.wakes[self.index].clear();
        let commands = {
            let queues = &self.context.shared.commands;
            let mut queues = queues.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut queues[self.index])
        };
        for command in commands {
            self.handle_command(command);
        }
    }

    fn handle_command(&mut self, command: Command) {
        match command {
            Command::Listen(listener) => self.context.listen(listener),
            Command::Unlisten(pool) => self.context.unlisten(&pool),
            Command::Adopt(adopted) => {
                let place = self.connections.reserve();
                let (client, stage) = adopted.begin(place, &mut self.context);
                self.put(Connection { client, stage });
            }
            Command::Stop => {
                self.unlisten();
                self.context.paused_until = None;
                self.context.stopping = true;
                self.tell_all(Event::Stop);
            }
            Command::List(to) => self.listings.push(Listing { to, next: 0 }),
            Command::Cut(pool, address) => self.tell_all(Event::Cut(&pool, address)),
            Command::Revoke(grants) => self.tell_all(Event::Revoke(&grants)),
            Command::Abort => self.tell_all(Event::Abort),
        }
    }

    /// Tells somebody who asks of a few connections more.
    fn list_some(&mut self) {
        let Some(mut listing) = self.listings.pop() else { return };
        let now_ms = self.context.now_ms;
        let some = self.connections.some(listing.next, AT_ONCE);
        let taken = listing.to.send(some.map(|one| one.row(now_ms)).collect()).is_ok();
        listing.next += AT_ONCE;
        if taken && listing.next < self.connections.len() {
            self.listings.push(listing);
        }
    }

    // -- begin and end ----------------------------------------------------------------------

    pub(super) fn begin(&mut self, route: Arc<Route>, side: Side, remote: Remote) {
        self.waiter.expect_nothing();
        self.context.shared.stats.accepted.fetch_add(1, Relaxed);
        let place = self.connections.reserve();
        let mut client = Client::new(place, route, remote, side, &self.context);
        let stage = stage::begin(&mut client, &mut self.context);
        self.put(Connection { client, stage });
    }

    /// Gives a connection its place among the others, unless it is over already.
    fn put(&mut self, connection: Connection) {
        let place = connection.client.place;
        let over = connection.is_over();
        self.connections.fill(place.slot, Box::new(connection));
        if over {
            self.end(place);
        }
    }

    fn end(&mut self, place: Place) {
        let Some(connection) = self.connections.release(place.slot) else { return };
        self.waiter.expect_nothing();
        connection.close(&mut self.context);
        self.context.shared.give_place_back();
    }
}
