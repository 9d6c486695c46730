//! A router's connections to nodes: opened when first needed, found by node and lane, told of a newer map, and
//! forgotten. What goes over them is [`crate::worker::dispatch`]'s.

use super::Router;
use crate::backend::connection::Connection;
use crate::backend::dial;
use crate::backend::lanes::{Lane, NodeLanes};
use pointsman_protocol::HostPort;
use pointsman_protocol::topology::NodeIndex;
use tokio::net::tcp::OwnedWriteHalf;

impl Router {
    /// Takes over the newest snapshot.
    #[cold]
    pub(super) fn adopt_newest(&mut self) {
        self.snapshot = self.context.snapshots.load();
        self.build_nodes();
        let topology = &self.snapshot.topology;
        let primaries: Vec<HostPort> =
            topology.shards().iter().map(|shard| topology.node(shard.primary).address.clone()).collect();
        // What left the topology is closed once nothing waits on it; what came back is kept.
        for (_, connection) in self.connections.iter_mut() {
            // One that was a client's own goes when it has been given up, too.
            connection.retiring = (connection.pinned && connection.retiring)
                || self.snapshot.topology.find(&connection.address).is_none();
            if connection.retiring {
                connection.wake();
            }
            // A wait at a node that was replaced, and does not know it or cannot say so, would see nothing.
            if !self.division.is_cluster()
                && connection.patient_until > self.now
                && !primaries.contains(&connection.address)
            {
                connection.close = Some("its node is not the primary any more");
                connection.wake();
            }
        }
        self.detours_due = true;
        self.wake_flusher();
        self.move_subscriptions();
        self.move_watch();
    }

    /// Finds the lanes of each node of the snapshot.
    pub(super) fn build_nodes(&mut self) {
        let lanes = NodeLanes::new(self.context.config.connections_per_node);
        self.nodes = vec![lanes; self.snapshot.topology.nodes().len()];
        for (place, node) in self.snapshot.topology.nodes().iter().enumerate() {
            self.nodes[place].shut = self.breakers.is_open(&node.address);
        }
        for ((address, lane), id) in &self.by_lane {
            if let Some(node) = self.snapshot.topology.find(address) {
                self.nodes[usize::from(node.0)].set(*lane, *id);
            }
        }
    }

    /// The connection of a node's lane, opened if this is its first use.
    #[inline]
    pub(in crate::worker) fn connection_of(&mut self, node: NodeIndex, lane: Lane) -> usize {
        match self.nodes[usize::from(node.0)].get(lane) {
            Some(id) => id,
            None => {
                let address = self.snapshot.topology.node(node).address.clone();
                self.connection_to(address, lane)
            }
        }
    }

    /// The connection of a lane to an address, opened if this is its first use. A redirect may name
    /// a node that the snapshot does not know.
    #[cold]
    pub(in crate::worker) fn connection_to(&mut self, address: HostPort, lane: Lane) -> usize {
        if let Some(id) = self.by_lane.get(&(address.clone(), lane)) {
            return *id;
        }
        let counters = self.context.registry.node(&self.context.name, &address);
        let mut connection = Connection::new(address.clone(), lane, counters);
        connection.set_shut_out(self.breakers.is_open(&address));
        let id = self.connections.insert(connection);
        if let Some(node) = self.snapshot.topology.find(&address) {
            self.nodes[usize::from(node.0)].set(lane, id);
        }
        self.by_lane.insert((address, lane), id);
        if let Some(me) = self.me.upgrade() {
            tokio::task::spawn_local(dial::run(me, id));
        }
        id
    }

    /// Forgets a connection whose task ends.
    pub fn remove_connection(&mut self, id: usize) {
        let Some(connection) = self.connections.try_remove(id) else { return };
        if connection.pinned {
            return self.forget_pin(id);
        }
        self.by_lane.remove(&(connection.address, connection.lane));
        self.build_nodes();
    }

    /// A connection is up: what waited for it goes out with the next flush.
    pub fn connection_up(&mut self, id: usize, writer: OwnedWriteHalf, transactions: bool) {
        let now = self.now;
        if !transactions {
            self.refuse_waiting_transactions(id);
        }
        if let Some(connection) = self.connections.get_mut(id) {
            connection.counters.connections.add(1);
            connection.refuses_transactions = !transactions;
            connection.up(writer, now);
            connection.dirty = false;
            self.mark_connection(id);
        }
        self.note_connected(id);
    }

    /// Notes that bytes arrived on a connection.
    #[inline]
    pub fn received(&mut self, id: usize, count: usize) {
        let now = self.now;
        if let Some(connection) = self.connections.get_mut(id) {
            connection.progressed(now);
            connection.counters.received_bytes.add(count as u64);
        }
    }

    /// A connection, for its own task.
    #[inline]
    pub fn connection(&mut self, id: usize) -> Option<&mut Connection> {
        self.connections.get_mut(id)
    }
}
