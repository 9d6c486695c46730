//! What would become of a request, told without sending anything (POINTSMAN EXPLAIN).
//!
//! It asks the functions that the data path itself asks: the plan, the division of the keys, the map, the choice of a copy,
//! the table of retries. Nothing is decided here.

use super::router::Router;
use crate::backend::connection::{ClientKey, Phase, Traits};
use crate::backend::lanes::Lane;
use crate::route::plan::{self, Plan, Refusal};
use crate::route::retry::{Cause, Facts, Verdict, decide};
use crate::route::unknown;
use pointsman_protocol::Slot;
use pointsman_protocol::resp::Args;
use pointsman_protocol::topology::{NodeIndex, Shard, ShardIndex};

/// Names and what is told of each, in the order of reading.
pub type Explanation = Vec<(&'static str, String)>;

/// What a client is told, without the marks of the protocol.
fn text_of(refusal: &Refusal, args: Args<'_>) -> String {
    let mut text = Vec::new();
    refusal.write(args, &mut text);
    String::from_utf8_lossy(&text).trim_start_matches('-').trim_end().to_owned()
}

impl Router {
    /// Explains a request as this client would send it now, outside of MULTI.
    pub fn explain(&mut self, key: ClientKey, args: Args<'_>) -> Explanation {
        let mut keys = Vec::new();
        let mut plan = plan::plan(args, true, &self.division, &mut keys);
        let mut told = Explanation::new();
        if let Plan::Refuse(Refusal::Table(refusal)) = plan {
            let announced = self.context.commands.load();
            let rule = self.context.config.unknown_commands;
            plan = unknown::plan(args, refusal, &announced, rule, &self.division, &mut keys);
            told.push(("known", "not by the proxy's own table".to_owned()));
        }
        let computes = self.client_mut(key).is_some_and(|client| client.listener.cross_slot.compute);
        if let Some(spec) = plan.spec() {
            told.push(("command", spec.name.replace('|', " ")));
            told.push(("class", if spec.is_read() { "read" } else { "write" }.to_owned()));
        }
        let route = match &plan {
            Plan::Slot { .. } => "to the shard of its keys",
            Plan::Primary { .. } => "to the primary of its key: its cursor means nothing elsewhere",
            Plan::Split { .. } => "in parts, to the shards of its keys",
            Plan::Across { .. } => {
                "its keys lie in several slots: computed in the proxy where cross_slot allows it"
            }
            Plan::Everyone { .. } => "to the primary of every shard; the replies are joined",
            Plan::Shards { .. } => "to shards, and what they tell is joined by a rule of its own",
            Plan::Local { .. } => "answered by the proxy",
            Plan::Block { .. } => {
                "to the primary of its keys, over a connection of the client's own: it may wait"
            }
            Plan::Wait { .. } => "to the shards that this client wrote to",
            Plan::Publish { .. } => "to the node that messages of this channel go through",
            Plan::Transaction(_) => "part of a transaction, which is sent as one piece with EXEC",
            Plan::Subscription { .. } => "subscriptions, one a worker and topic for all clients",
            Plan::Nothing => "nothing was asked",
            Plan::Refuse(_) => "refused",
        };
        told.push(("route", route.to_owned()));
        match &plan {
            Plan::Across { .. } if !computes => told.push(("error", text_of(&Refusal::CrossSlot, args))),
            Plan::Refuse(refusal) => told.push(("error", text_of(refusal, args))),
            Plan::Slot { spec, slot } => {
                let traits = Traits::of(spec);
                self.explain_slot(key, *slot, traits, true, &mut told);
            }
            Plan::Primary { spec, slot } | Plan::Block { spec, slot } | Plan::Publish { spec, slot } => {
                self.explain_slot(key, *slot, Traits::of(spec), false, &mut told);
            }
            Plan::Split { spec, .. } | Plan::Across { spec } => {
                let mut slots: Vec<Slot> =
                    keys.iter().map(|found| self.division.slot(args.at(found.index as usize))).collect();
                slots.sort();
                slots.dedup();
                told.push(("slots", slots.len().to_string()));
                if let [slot] = slots[..] {
                    self.explain_slot(key, slot, Traits::of(spec), true, &mut told);
                }
            }
            _ => {}
        }
        told
    }

    fn explain_slot(
        &mut self,
        key: ClientKey,
        slot: Slot,
        traits: Traits,
        any_copy: bool,
        told: &mut Explanation,
    ) {
        told.push(("slot", slot.to_string()));
        let Some(shard) = self.snapshot.topology.owner(slot) else {
            told.push(("shard", "none is known to own this slot".to_owned()));
            return self.explain_retry(Cause::ClusterDown, traits, told);
        };
        told.push(("shard", shard.0.to_string()));
        let primary = self.snapshot.topology.shard(shard).primary;
        let (node, why) = match (traits.write, any_copy) {
            (true, _) => (primary, "writes go to the primary"),
            (_, false) => (primary, "only the primary may have it"),
            _ => self.copy_for(key, shard),
        };
        told.push(("node", self.snapshot.topology.node(node).address.to_string()));
        told.push(("copy", if node == primary { "primary" } else { "replica" }.to_owned()));
        told.push(("why", why.to_owned()));
        for replica in self.snapshot.topology.shard(shard).replicas.clone() {
            told.push(("replica", self.describe_copy(replica)));
        }
        let connection = self.describe_connection(key, slot, node, node != primary);
        told.push(("connection", connection));
        self.explain_retry(Cause::LostAfterSend, traits, told);
    }

    /// `host:port`, its lag and whether reads may go there at all.
    pub fn describe_copy(&self, node: NodeIndex) -> String {
        let address = &self.snapshot.topology.node(node).address;
        let copy = self.snapshot.copy(node);
        let Some(bytes) = copy.lag_bytes() else { return format!("{address} lag unknown: not read from") };
        match copy.age(self.now) {
            Some(age) => format!("{address} {bytes} bytes, {} ms behind", age / 1000),
            None => format!("{address} {bytes} bytes behind"),
        }
    }

    /// A line for each replica: its shard's primary, itself, its lag.
    pub fn lags(&self) -> Vec<String> {
        let topology = &self.snapshot.topology;
        let of_shard = |shard: &Shard| {
            let primary = topology.node(shard.primary).address.to_string();
            let lines = shard.replicas.iter().map(|node| self.describe_copy(*node));
            lines.map(|line| format!("{primary} <- {line}")).collect::<Vec<_>>()
        };
        topology.shards().iter().flat_map(of_shard).collect()
    }

    fn describe_connection(&self, key: ClientKey, slot: Slot, node: NodeIndex, readonly: bool) -> String {
        let Some(client) = self.clients.get(key.index as usize) else { return String::new() };
        let per_node = self.context.config.connections_per_node;
        let lane = Lane::of(self.division.spread(slot, key.index), client.resp3, readonly, per_node);
        let lane = Lane { database: client.database, ..lane };
        let Some(id) = self.nodes[usize::from(node.0)].get(lane) else {
            return "opened when first needed".to_owned();
        };
        let connection = &self.connections[id];
        let phase = match connection.phase {
            _ if self.is_shut_out(node) => "its node is shut out (breaker)",
            Phase::Connecting => "being made",
            Phase::Ready => "up",
            Phase::Down => "down",
        };
        format!("{phase}, {} requests wait for replies", connection.waiting())
    }

    /// What happens if this goes wrong, by the table that decides it then.
    fn explain_retry(&mut self, cause: Cause, traits: Traits, told: &mut Explanation) {
        let facts = Facts {
            is_write: traits.write,
            redirects: 0,
            attempts: 0,
            waits: false,
            time_left: self.context.config.request_timeout,
        };
        let retry = &self.context.retry;
        let again = match decide(cause, &facts, retry, 0).0 {
            Verdict::Give(_) => {
                "not sent again once a byte of it went out: it may have been executed".to_owned()
            }
            _ => format!(
                "sent again, at most {} times within {} ms",
                retry.attempts_max,
                self.context.config.request_timeout.as_millis()
            ),
        };
        told.push(("if the connection breaks", again));
    }

    /// The copy that a read of this client would go to now, and why.
    fn copy_for(&mut self, key: ClientKey, shard: ShardIndex) -> (NodeIndex, &'static str) {
        let primary = self.snapshot.topology.shard(shard).primary;
        let Some(client) = self.clients.get(key.index as usize) else { return (primary, "") };
        match client.any_copy(self.now) {
            None => (primary, "reads of this client go to the primary"),
            Some(bound) => match self.replica_of(shard, bound) {
                Some(node) => (node, "it is within the bounds on lag"),
                None => (primary, "no replica is known to be within the bounds on lag"),
            },
        }
    }
}
