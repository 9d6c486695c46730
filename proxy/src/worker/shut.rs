//! Nodes in trouble are shut out: what a worker's connections saw goes to the breaker of the node
//! ([`crate::health::breaker`]), and what the breaker says is set on the connections, whose flag is all that a request
//! looks at.
//!
//! What was sent before stays where it is and has its deadline; only what comes is refused. Connections that are one
//! client's own are left alone: they wait for their node on purpose.

use super::router::Router;
use crate::backend::connection::{ClientKey, Phase, Request};
use crate::health::breaker::{Breaker, Step, Trouble};
use crate::route::failure::FailureKind;
use pointsman_protocol::HostPort;
use pointsman_protocol::topology::NodeIndex;
use std::collections::HashMap;

/// The harmless question.
const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

/// Breakers of the nodes that failed lately.
#[derive(Debug, Default)]
pub struct Breakers {
    of: HashMap<HostPort, Breaker>,
    looked: u64,
}

/// Microseconds between two looks at them.
const LOOK_US: u64 = 40_000;

impl Breakers {
    /// True if requests to a node are not to be sent.
    pub fn is_open(&self, node: &HostPort) -> bool {
        self.of.get(node).is_some_and(Breaker::is_open)
    }
}

impl Router {
    /// True if a node is shut out: a read that may use another copy should.
    #[inline]
    pub(super) fn is_shut_out(&self, node: NodeIndex) -> bool {
        self.nodes[usize::from(node.0)].shut
    }

    /// What a request is told that is not sent because its node is shut out. `None` if it may wait for a better time:
    /// where clients want to wait for a primary, or for a read that may go to another copy.
    #[cold]
    pub(super) fn shut_out(&self, id: usize, request: &Request) -> Option<FailureKind> {
        let breaker = self.breakers.of.get(&self.connections.get(id)?.address)?;
        let (trouble, again) = breaker.trouble(self.now)?;
        let waits = !self.context.config.failover_hold.time.is_zero()
            && matches!(trouble, Trouble::Unreachable | Trouble::Refusing)
            && request.slot.is_some();
        let again_ms = u32::try_from(again.as_millis()).unwrap_or(u32::MAX);
        (!waits && !request.traits.replica).then_some(FailureKind::ShutOut { trouble, again_ms })
    }

    /// Requests got no answer in time on this connection.
    pub(super) fn note_silence(&mut self, id: usize, count: u32) {
        let timeout = Self::micros(self.context.config.request_timeout);
        let Some(connection) = self.connections.get(id) else { return };
        // It is in the middle of an answer, and going on with it.
        if connection.pinned || (connection.mid_reply && self.now.saturating_sub(connection.heard) < timeout)
        {
            return;
        }
        let same = |other: &crate::backend::connection::Connection| other.address == connection.address;
        let heard = self.connections.iter().filter(|(_, other)| same(other)).map(|(_, other)| other.heard);
        // While the node answers others it is not gone.
        let in_a_row = heard.max().is_none_or(|heard| self.now.saturating_sub(heard) >= timeout);
        self.node_failed(id, Trouble::Silent, count, in_a_row);
    }

    /// No connection can be made, or the node closed it without a word.
    #[cold]
    pub fn note_unreachable(&mut self, id: usize) {
        self.node_failed(id, Trouble::Unreachable, 1, true);
    }

    /// The node says that it cannot serve.
    #[cold]
    pub(super) fn note_refusal(&mut self, id: usize) {
        self.node_failed(id, Trouble::Refusing, 1, true);
    }

    /// A connection's queue has been full for long.
    #[cold]
    pub(super) fn note_full(&mut self, id: usize) {
        self.node_failed(id, Trouble::Full, 1, true);
    }

    /// A connection is up.
    pub(super) fn note_connected(&mut self, id: usize) {
        let (Some(limits), Some(connection)) = (&self.context.config.breaker, self.connections.get(id))
        else {
            return;
        };
        let address = connection.address.clone();
        let step = self.breakers.of.get_mut(&address).map(|breaker| breaker.connected(limits));
        self.follow(&address, step.unwrap_or(Step::Stay));
    }

    fn node_failed(&mut self, id: usize, trouble: Trouble, count: u32, in_a_row: bool) {
        let Some(limits) = self.context.config.breaker else { return };
        let Some(connection) = self.connections.get(id).filter(|connection| !connection.pinned) else {
            return;
        };
        let address = connection.address.clone();
        let (answered, now) = (self.answered_by(&address), self.now);
        let new = || Breaker::new(answered, now, &limits);
        let breaker = self.breakers.of.entry(address.clone()).or_insert_with(new);
        let before = breaker.look(answered, now, &limits);
        let step = breaker.failed(trouble, count, in_a_row, now, &limits);
        if before == Step::Probe {
            self.probe(&address);
        }
        self.follow(&address, if before == Step::Closed && step == Step::Stay { before } else { step });
        if step == Step::Opened {
            tracing::warn!(node = %address, ?trouble, "requests to a node fail at once until it can be reached again (breaker)");
            self.counters.breaker_opened.add(1);
        }
    }

    /// Looks at the breakers, now and then.
    pub(super) fn tick_breakers(&mut self) {
        let Some(limits) = self.context.config.breaker else { return };
        if self.breakers.of.is_empty() || self.now.saturating_sub(self.breakers.looked) < LOOK_US {
            return;
        }
        self.breakers.looked = self.now;
        let addresses: Vec<HostPort> = self.breakers.of.keys().cloned().collect();
        for address in addresses {
            let (answered, now) = (self.answered_by(&address), self.now);
            let Some(breaker) = self.breakers.of.get_mut(&address) else { continue };
            let step = breaker.look(answered, now, &limits);
            self.follow(&address, step);
        }
    }

    /// Replies of a node over the connections that there are.
    fn answered_by(&self, address: &HostPort) -> u64 {
        let counted = self.connections.iter().filter(|(_, connection)| connection.address == *address);
        counted.map(|(_, connection)| connection.counters.latencies().iter().sum::<u64>()).sum()
    }

    /// Does what a breaker wants.
    fn follow(&mut self, address: &HostPort, step: Step) {
        let shut = match step {
            Step::Stay => return,
            Step::Probe => return self.probe(address),
            Step::Forget => {
                self.breakers.of.remove(address);
                false
            }
            Step::Opened => true,
            Step::Closed => {
                tracing::info!(node = %address, "a node answers again (breaker)");
                false
            }
        };
        for (_, connection) in self.connections.iter_mut() {
            if connection.address == *address && !connection.pinned {
                connection.set_shut_out(shut);
            }
        }
        if let Some(node) = self.snapshot.topology.find(address) {
            self.nodes[usize::from(node.0)].shut = shut;
        }
        let open = self.breakers.of.values().filter(|breaker| breaker.is_open()).count();
        self.counters.breakers_open.set(open as u64);
        self.detours_due |= !shut;
        self.wake_flusher();
    }

    /// Asks a node whether it is there. Where something is unanswered already, that is the question; where there is
    /// no connection, the next one that is made is.
    fn probe(&mut self, address: &HostPort) {
        let now = self.now;
        let mut asked = Vec::new();
        for (id, connection) in self.connections.iter_mut() {
            let idle = connection.phase == Phase::Ready && connection.waiting() == 0 && !connection.pinned;
            if idle && connection.address == *address {
                connection.enqueue_swallowed(PING, now);
                asked.push(id);
            }
        }
        for id in asked {
            self.mark_connection(id);
        }
    }

    /// Takes the number of requests that one connection let wait too long, of those that were sent.
    pub(super) fn note_late(&mut self, late: &[(usize, Request, bool)]) {
        let mut rest = late;
        while let Some((id, ..)) = rest.first() {
            let of_it = rest.iter().take_while(|(other, ..)| other == id).count();
            let (these, behind) = rest.split_at(of_it);
            let counts = |(_, request, sent): &&(usize, Request, bool)| {
                *sent && !request.traits.blocking && request.client != ClientKey::NOBODY
            };
            let count = these.iter().filter(counts).count();
            if count > 0 {
                self.note_silence(*id, u32::try_from(count).unwrap_or(u32::MAX));
            }
            rest = behind;
        }
    }
}
