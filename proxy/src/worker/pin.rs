//! Connections that are one client's own for a while.
//!
//! What a node keeps with a connection cannot live on one that all clients share: the keys that a
//! client watches, and its wait for an element that is not there yet. For as long as that lasts the
//! client holds a connection of its own. It is handed back clean, for the next such client, or closed.
//!
//! Such a connection is never made again when it breaks: what the node kept with it is gone, and its
//! client is told so in the way Redis would (EXEC answers null).

use super::router::Router;
use crate::backend::connection::{ClientKey, Connection, Phase};
use crate::backend::dial;
use crate::backend::lanes::Lane;
use pointsman_protocol::{HostPort, Slot};
use std::collections::VecDeque;

/// The connections of a router that belong to single clients, and those that wait for the next.
#[derive(Debug, Default)]
pub struct Pins {
    /// Free ones, up and clean; the one used last comes last.
    idle: Vec<usize>,
    /// All of them.
    count: usize,
    /// Clients that wait for one, and since when; who came first comes first. None is there twice.
    waiting: VecDeque<(ClientKey, u64)>,
}

/// Whether a client may have a connection of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// There is one for it.
    Now,
    /// Its request is to be looked at again.
    Later,
    /// It has waited for long enough.
    Never,
}

/// Share of the connections in use, in percent, from which on there are called too few of them.
const CROWDED_PERCENT: usize = 80;

/// What a client keeps with the connection of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The connection; `None` once it is lost.
    pub connection: Option<usize>,
    /// The slot of the keys in question.
    pub slot: Slot,
    /// WATCH commands sent over it.
    pub watches: u32,
}

/// Has a node forget the keys it watches for a connection.
pub(super) const UNWATCH: &[u8] = b"*1\r\n$7\r\nUNWATCH\r\n";

impl Router {
    /// A connection to `address` for this client alone; `None` if there are too many already.
    pub(super) fn take_pin(&mut self, address: HostPort, resp3: bool, holder: ClientKey) -> Option<usize> {
        let database = self.client_mut(holder).map_or(0, |client| client.database);
        let lane = Lane { resp3, readonly: false, database, index: 0 };
        // What the client before has on its way is neither waited behind nor cut off.
        let free = |id: &usize| self.connections.get(*id).filter(|connection| connection.waiting() == 0);
        let fits = |id: &usize| {
            free(id).is_some_and(|connection| {
                connection.phase == Phase::Ready
                    && !connection.retiring
                    && connection.close.is_none()
                    && connection.lane == lane
                    && connection.address == address
            })
        };
        if let Some(place) = self.pins.idle.iter().rposition(fits) {
            let id = self.pins.idle.remove(place);
            self.connections[id].holder = holder;
            return Some(id);
        }
        if self.pins.count >= self.context.config.pool.max_active {
            // A free one to another node makes room.
            let id = *self.pins.idle.iter().find(|id| free(id).is_some())?;
            self.close_connection(id, "another client needs its place");
        }
        let counters = self.context.registry.node(&self.context.name, &address);
        let mut connection = Connection::new(address, lane, counters);
        connection.pinned = true;
        connection.holder = holder;
        let id = self.connections.insert(connection);
        self.pins.count += 1;
        self.counters.pinned.set(self.pins.count as u64);
        if let Some(me) = self.me.upgrade() {
            tokio::task::spawn_local(dial::run(me, id));
        }
        Some(id)
    }

    /// Whether it is a client's turn to have a connection of its own. If not, it is woken when it may be; on
    /// [`Turn::Now`] [`Self::take_pin`] finds one in the same turn.
    pub(super) fn pin_turn(&mut self, key: ClientKey) -> Turn {
        let (now, pool) = (self.now, self.context.config.pool);
        let place = self.pins.waiting.iter().position(|(waiting, _)| *waiting == key);
        let first = place.map_or(self.pins.waiting.is_empty(), |place| place == 0);
        if first && self.has_free_pin() {
            self.leave_pin_queue(key);
            return Turn::Now;
        }
        match place.and_then(|place| self.pins.waiting.get(place)) {
            Some((_, since)) if now.saturating_sub(*since) < Self::micros(pool.wait) => Turn::Later,
            None if !pool.wait.is_zero() => {
                self.pins.waiting.push_back((key, now));
                self.counters.pool_waiting.set(self.pins.waiting.len() as u64);
                Turn::Later
            }
            _ => {
                self.leave_pin_queue(key);
                Turn::Never
            }
        }
    }

    /// True if [`Self::take_pin`] would find one.
    fn has_free_pin(&self) -> bool {
        let free = |id: &usize| self.connections.get(*id).is_some_and(|connection| connection.waiting() == 0);
        self.pins.count < self.context.config.pool.max_active || self.pins.idle.iter().any(free)
    }

    /// A client waits for a connection no more.
    pub(super) fn leave_pin_queue(&mut self, key: ClientKey) {
        let Some(place) = self.pins.waiting.iter().position(|(waiting, _)| *waiting == key) else { return };
        if let Some((_, since)) = self.pins.waiting.remove(place) {
            self.counters.pool_waited_us.add(self.now.saturating_sub(since));
        }
        self.counters.pool_waiting.set(self.pins.waiting.len() as u64);
        self.wake_pin_queue();
    }

    /// Has those that wait for a connection look again: the first if there may be one, and who has waited for long
    /// enough. Also called with each tick, since a connection may become clean without a word.
    pub(super) fn wake_pin_queue(&mut self) {
        let patience = Self::micros(self.context.config.pool.wait);
        let free = self.has_free_pin();
        let mut wake = Vec::new();
        for (place, (key, since)) in self.pins.waiting.iter().enumerate() {
            if self.now.saturating_sub(*since) >= patience || (place == 0 && free) {
                wake.push(*key);
            } else if place > 0 {
                break;
            }
        }
        for key in wake {
            if let Some(client) = self.client_mut(key) {
                client.paused = false;
                client.wake();
            }
        }
    }

    /// Tells how many there are.
    pub(super) fn count_pins(&mut self) {
        let (count, idle) = (self.pins.count, self.pins.idle.len());
        let crowded =
            count.saturating_sub(idle) * 100 > self.context.config.pool.max_active * CROWDED_PERCENT;
        self.counters.pinned.set(count as u64);
        self.counters.pool_idle.set(idle as u64);
        self.counters.pool_crowded.set(u64::from(crowded));
    }

    /// Hands a connection back that has nothing of its client any more, or will not have once what is
    /// on it has been answered.
    pub(super) fn release_pin(&mut self, id: usize) {
        let keep = self.pins.idle.len() < self.context.config.pool.max_idle;
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.holder = ClientKey::NOBODY;
        if keep && connection.phase == Phase::Ready && !connection.retiring && connection.close.is_none() {
            self.pins.idle.push(id);
            self.wake_pin_queue();
        } else {
            // It goes once nothing waits on it any more.
            connection.retiring = true;
            connection.wake();
        }
    }

    /// Hands a client's connection back after it has forgotten the keys that the client watched.
    pub fn unwatch(&mut self, key: ClientKey) {
        let now = self.now;
        let Some(pin) = self.client_mut(key).and_then(|client| client.pin.take()) else { return };
        let Some(id) = pin.connection else { return };
        if let Some(connection) = self.connections.get_mut(id) {
            connection.enqueue_swallowed(UNWATCH, now);
            self.mark_connection(id);
        }
        self.release_pin(id);
    }

    /// Closes the connection that a client holds, with whatever it waits for.
    pub(super) fn close_pin_of(&mut self, key: ClientKey) {
        let pin = self.client_mut(key).and_then(|client| client.pin.take());
        if let Some(id) = pin.and_then(|pin| pin.connection) {
            self.close_connection(id, "its client has no use for it any more");
        }
    }

    /// Closes the connections over which a client waits: nobody is there for what may come.
    pub(super) fn close_waits_of(&mut self, key: ClientKey) {
        let waits = self.client_mut(key).map(|client| client.blocked.clone()).unwrap_or_default();
        waits.into_iter().for_each(|id| self.close_wait_on(key, id));
    }

    /// Closes one of them.
    pub(super) fn close_wait_on(&mut self, key: ClientKey, id: usize) {
        if self.waits_no_more(key, id) {
            self.close_connection(id, "its client has gone, or waited too long");
        }
    }

    /// Notes that a client waits on a connection of its own, over which the node may take its time.
    pub(super) fn waits_on(&mut self, key: ClientKey, id: usize, patient_until: u64) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.patient_until = patient_until;
        }
        let Some(client) = self.client_mut(key) else { return };
        client.blocked.push(id);
        let first = client.blocked.len() == 1;
        // On a second attempt its task sleeps: it must look out again for the client's leaving.
        client.wake();
        if first {
            self.counters.blocked.add(1);
        }
    }

    /// Notes that it does no more. True if it did.
    pub(super) fn waits_no_more(&mut self, key: ClientKey, id: usize) -> bool {
        let Some(client) = self.client_mut(key) else { return false };
        let Some(place) = client.blocked.iter().position(|other| *other == id) else { return false };
        client.blocked.swap_remove(place);
        if client.blocked.is_empty() {
            self.counters.blocked.sub(1);
        }
        true
    }

    /// Closes a connection that its client holds no more.
    pub(super) fn give_up(&mut self, id: usize) {
        self.close_connection(id, "it is of no use any more");
    }

    fn close_connection(&mut self, id: usize, reason: &'static str) {
        self.pins.idle.retain(|idle| *idle != id);
        if let Some(connection) = self.connections.get_mut(id) {
            connection.holder = ClientKey::NOBODY;
            connection.close = Some(reason);
            connection.retiring = true;
            connection.wake();
        }
    }

    /// A connection of a client's own broke, or could not be made: it is forgotten, and what was on it
    /// fails.
    #[cold]
    pub fn pin_lost(&mut self, id: usize) {
        let Some(connection) = self.connections.get(id) else { return };
        let holder = connection.holder;
        if let Some(pin) = self.client_mut(holder).and_then(|client| client.pin.as_mut())
            && pin.connection == Some(id)
        {
            pin.connection = None;
        }
        self.waits_no_more(holder, id);
        self.connection_lost(id, Phase::Down);
        self.remove_connection(id);
    }

    /// Forgets a connection that is gone.
    pub(super) fn forget_pin(&mut self, id: usize) {
        self.pins.idle.retain(|idle| *idle != id);
        self.pins.count = self.pins.count.saturating_sub(1);
        self.counters.pinned.set(self.pins.count as u64);
        self.wake_pin_queue();
    }
}
