//! EXEC of a transaction over several slots while keys are watched (`multi_across_slots: best_effort`).
//!
//! Watched keys share a slot. The block of that slot goes first, alone, over the connection that watches, even if it
//! has no commands; the others are sent only once it was executed. So a watched key that has changed still keeps
//! everything from being done, which is what compare-and-set asks for. What is not had is that all blocks become
//! visible together: others may see the first before the rest.
//!
//! A client that breaks off after EXEC gets no answer, but all of its transaction is done or none, as on one server: the
//! other blocks are sent for nobody. Only redirects and refusals are not followed then, so that a slot which moves
//! at that very moment, or a shard which fails, leaves its block undone.

use super::router::Router;
use crate::admin::counters::Outcome;
use crate::backend::connection::{ClientKey, Request, Traits};
use crate::backend::lanes::Lane;
use crate::client::blocks::Block;
use crate::client::gather::Gather;
use crate::client::join::Special;
use crate::client::replies::Ticket;
use crate::client::state::Class;
use pointsman_protocol::resp::reply;

/// A transaction whose first block is on its way.
#[derive(Debug)]
pub struct Guarded {
    ticket: Ticket,
    blocks: Vec<Block>,
    local: Vec<(u32, Vec<u8>)>,
}

/// What is left of one whose client has gone.
#[derive(Debug)]
pub struct LeftGuard {
    blocks: Vec<Block>,
    resp3: bool,
    database: u16,
}

impl Router {
    /// A client that may have a transaction under way has left.
    pub(super) fn leave_guarded(&mut self, key: ClientKey) {
        let Some(client) = self.client_mut(key) else { return };
        let (resp3, database) = (client.resp3, client.database);
        let Some(guarded) = client.guarded.take() else { return };
        // Each has its first block on its way, and is forgotten with the answer, which comes or fails in time.
        if self.left_guards.len() < self.context.config.pool.max_active {
            self.left_guards.insert(key, LeftGuard { blocks: guarded.blocks, resp3, database });
        }
    }

    /// The block of the watched keys was answered, or failed, and its client has gone.
    #[cold]
    pub(super) fn left_guard_answered(&mut self, key: ClientKey, bytes: &[u8]) {
        let Some(LeftGuard { blocks, resp3, database }) = self.left_guards.remove(&key) else { return };
        if reply::elements(bytes).is_none() {
            return;
        }
        for block in blocks.iter().skip(1) {
            self.note_scripts_in(&block.bytes);
            let Some(shard) = self.snapshot.topology.owner(block.slot) else { continue };
            let node = self.snapshot.topology.shard(shard).primary;
            let spread = self.division.spread(block.slot, key.index);
            let lane = Lane::of(spread, resp3, false, self.context.config.connections_per_node);
            let id = self.connection_of(node, Lane { database, ..lane });
            let request = self.block_request(ClientKey::NOBODY, Ticket(0), 0, block);
            self.enqueue(id, request, |out| out.extend_from_slice(&block.bytes));
        }
    }

    /// Sends the block of the watched keys over the connection that watches, and keeps the others.
    #[cold]
    pub(super) fn execute_guarded(
        &mut self,
        key: ClientKey,
        id: usize,
        blocks: Vec<Block>,
        local: Vec<(u32, Vec<u8>)>,
    ) {
        let Some(first) = blocks.first().cloned() else { return };
        let Some(client) = self.client_mut(key) else { return };
        // A plain place: what the guard is answered may be the whole answer.
        let ticket = client.replies.open();
        client.in_flight += 1;
        client.writes_in_flight += u32::from(first.writes);
        // What comes behind it goes over other connections, and must not overtake it.
        client.version = u64::MAX;
        client.guarded = Some(Box::new(Guarded { ticket, blocks, local }));
        let mut request = self.block_request(key, ticket, 0, &first);
        request.traits = Traits { pinned: true, guard: true, ..request.traits };
        self.enqueue(id, request, |out| out.extend_from_slice(&first.bytes));
        // EXEC leaves nothing behind: the next client may have it at once, behind what is on it.
        self.release_pin(id);
    }

    /// The block of the watched keys was answered. If it was executed, the others go; if not, that is the answer.
    #[cold]
    pub(super) fn guard_answered(&mut self, request: &Request, bytes: &[u8], outcome: Outcome) {
        let key = request.client;
        if self.client_mut(key).is_some_and(|client| client.detour.is_some()) {
            self.detour_settled(key, request.slot, request.traits.detour);
        }
        let Some(client) = self.client_mut(key) else { return };
        let Some(guarded) = client.guarded.take() else { return };
        let Guarded { ticket, blocks, local } = *guarded;
        if reply::elements(bytes).is_none() {
            client.replies.fill(ticket, bytes);
            self.counters.request(Class::Multi, outcome);
            self.mark_client(key);
            return self.resume(key);
        }
        let places = blocks.iter().map(|block| block.places.clone()).collect();
        client
            .replies
            .gather_at(ticket, Gather::special(Special::Blocks(places, local), blocks.len() as u32));
        client.replies.fill_part(ticket, 0, bytes);
        blocks.iter().skip(1).for_each(|block| self.note_scripts_in(&block.bytes));
        self.send_blocks(key, ticket, (0..).zip(&blocks).skip(1));
    }
}
