//! The state of a fake cluster: who owns what, what each node believes, what is stored, what came.

use super::rules::Rule;
use crate::model::KeyValues;
use crate::ports::Port;
use pointsman_protocol::Slot;
use std::collections::HashMap;
use std::net::TcpStream;

/// All of a fake cluster. Tests edit it through [`super::Fake::change`].
#[derive(Debug)]
pub struct World {
    /// The truth about slots and roles.
    pub view: View,
    /// Nodes that believe something else.
    pub old_views: HashMap<usize, View>,
    /// The nodes; a node's number is its place.
    pub nodes: Vec<NodeState>,
    /// What each shard stores.
    pub data: Vec<KeyValues>,
    /// Slots on their way: slot number to (from shard, to shard).
    pub moves: HashMap<u16, (usize, usize)>,
    /// What changes single answers.
    pub rules: Vec<Rule>,
    /// Everything that arrived; see [`Self::forget_received`].
    pub received: Vec<Received>,
    /// False: HELLO is an unknown command, as before Redis 6.
    pub knows_hello: bool,
    /// False: CLUSTER SHARDS is an unknown subcommand, as before Redis 7.
    pub knows_shards: bool,
    /// False: CLUSTER SLOTS is an unknown subcommand.
    pub knows_slots: bool,
    /// What AUTH must give, if anything.
    pub password: Option<String>,
    /// The primaries' replication offset.
    pub offset: u64,
    pub(super) stopping: bool,
    pub(super) connections: u64,
    /// How many have been taken out of `received`: a request keeps its number.
    forgotten: usize,
}

/// One view of the cluster.
#[derive(Clone, Debug)]
pub struct View {
    /// Slot to shard; `None` is a hole.
    pub owner: Vec<Option<usize>>,
    /// The shards.
    pub shards: Vec<ShardView>,
    /// The highest configuration epoch.
    pub epoch: u64,
}

/// One shard of a view.
#[derive(Clone, Debug)]
pub struct ShardView {
    /// Its primary's node number.
    pub primary: usize,
    /// Its replicas' node numbers.
    pub replicas: Vec<usize>,
}

/// How a node names itself in topologies and redirects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// By its address.
    Address,
    /// By this host (a name, an IPv6 address), with its port.
    Host(String),
    /// By this address, where something else may be.
    Elsewhere(String, u16),
    /// Not at all: an empty host, "the one you asked".
    Empty,
    /// Not at all: NULL, as with `cluster-preferred-endpoint-type unknown-endpoint`.
    Null,
    /// By `?`, as with a preferred host name that is not set.
    Question,
}

/// One node.
#[derive(Debug)]
pub struct NodeState {
    /// Its 40 digits.
    pub id: String,
    /// Where it listens.
    pub port: Port,
    /// How it is named.
    pub endpoint: Endpoint,
    /// False: it refuses connections.
    pub up: bool,
    /// True: it answers nothing.
    pub frozen: bool,
    /// As a replica: its link to the primary.
    pub link_up: bool,
    /// As a replica: a full copy is under way.
    pub syncing: bool,
    /// It reads its data from disk (only told; see [`super::Act::Error`] for the answer itself).
    pub loading: bool,
    /// As a replica: how many bytes it is behind.
    pub behind: u64,
    /// More flags in CLUSTER NODES (`fail?`, `noaddr`, ...); any of them shows as not online.
    pub flags: Vec<&'static str>,
    /// False: no topology tells of it.
    pub listed: bool,
    /// Open connections, to be closed from outside.
    pub connections: HashMap<u64, TcpStream>,
}

impl NodeState {
    pub(super) fn new(number: usize, port: Port) -> NodeState {
        NodeState {
            id: format!("{:040x}", 0xfa4e_0000 + number),
            port,
            endpoint: Endpoint::Address,
            up: true,
            frozen: false,
            link_up: true,
            syncing: false,
            loading: false,
            behind: 0,
            flags: Vec::new(),
            listed: true,
            connections: HashMap::new(),
        }
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        self.port.address()
    }
}

/// One request that arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// Which node.
    pub node: usize,
    /// Which of all connections to all nodes.
    pub connection: u64,
    /// The request.
    pub words: Vec<Vec<u8>>,
    /// True once it was executed on the model.
    pub executed: bool,
    /// True if the connection had sent READONLY when it was answered.
    pub readonly: bool,
}

impl Received {
    /// True for a command of this name, in any case; `CLUSTER SHARDS` compares two words.
    pub fn is(&self, name: &str) -> bool {
        super::rules::has_name(&self.words, name)
    }

    /// True if this is its first key.
    pub fn has_key(&self, key: &str) -> bool {
        self.words.get(1).is_some_and(|word| word == key.as_bytes())
    }

    /// The request as text.
    pub fn line(&self) -> String {
        crate::reply::show_request(&self.words)
    }
}

impl World {
    pub(super) fn new(nodes: Vec<NodeState>, shards: usize, replicas: usize) -> World {
        let shard = |index: usize| {
            let primary = index * (1 + replicas);
            ShardView { primary, replicas: (primary + 1..=primary + replicas).collect() }
        };
        World {
            view: View {
                owner: Slot::all().map(|slot| Some(share_of(slot, shards))).collect(),
                shards: (0..shards).map(shard).collect(),
                epoch: 1,
            },
            old_views: HashMap::new(),
            nodes,
            data: vec![KeyValues::default(); shards],
            moves: HashMap::new(),
            rules: Vec::new(),
            received: Vec::new(),
            knows_hello: true,
            knows_shards: true,
            knows_slots: true,
            password: None,
            offset: 1000,
            stopping: false,
            connections: 0,
            forgotten: 0,
        }
    }

    /// How many connections have been accepted so far, by all nodes.
    pub fn connections_made(&self) -> u64 {
        self.connections
    }

    /// Forgets what has arrived so far.
    pub fn forget_received(&mut self) {
        self.forgotten += self.received.len();
        self.received.clear();
    }

    /// Records a request and gives its number.
    pub(super) fn record(&mut self, received: Received) -> usize {
        self.received.push(received);
        self.forgotten + self.received.len() - 1
    }

    /// The record of a request, unless it has been forgotten.
    pub(super) fn recorded(&mut self, number: usize) -> Option<&mut Received> {
        self.received.get_mut(number.checked_sub(self.forgotten)?)
    }

    /// What a node believes.
    pub fn view_of(&self, node: usize) -> &View {
        self.old_views.get(&node).unwrap_or(&self.view)
    }

    /// A key's value, wherever it is.
    pub fn value(&self, key: &str) -> Option<String> {
        let found = self.data.iter().find_map(|data| data.get(key.as_bytes()))?;
        Some(String::from_utf8_lossy(found).into_owned())
    }

    /// See [`super::Fake::move_slot`].
    pub fn move_slot(&mut self, slot: Slot, shard: usize) {
        self.moves.remove(&slot.number());
        self.view.owner[slot.index()] = Some(shard);
        self.view.epoch += 1;
        for from in 0..self.data.len() {
            let keys: Vec<Vec<u8>> =
                self.data[from].keys().filter(|key| Slot::of(key) == slot).map(<[u8]>::to_vec).collect();
            for key in keys {
                self.move_key(&key, shard);
            }
        }
    }

    /// Begins to move a slot: its keys stay where they are until [`Self::move_key`].
    pub fn begin_move(&mut self, slot: Slot, to: usize) {
        let from = self.view.owner[slot.index()].expect("a slot in a hole cannot be moved");
        self.moves.insert(slot.number(), (from, to));
    }

    /// Puts one key on this shard.
    pub fn move_key(&mut self, key: &[u8], to: usize) {
        let value = self.data.iter_mut().find_map(|data| data.take(key));
        if let Some(value) = value {
            self.data[to].put(key, &value);
        }
    }
}

/// The shard that has this slot at the start.
pub(super) fn share_of(slot: Slot, shards: usize) -> usize {
    slot.index() * shards / usize::from(pointsman_protocol::slot::SLOTS)
}
