//! A scriptable cluster of fake nodes, for what real servers do too seldom: wrong answers, late
//! answers, closed connections, strange topologies.
//!
//! Without a script the nodes behave: they own slots, redirect, have replicas, and execute string
//! commands on a small model. [`Rule`]s change single answers; [`Fake::change`] edits the cluster
//! itself. Whatever arrives is recorded, in order and per connection, also while a node is held up.
//!
//! Threads and a lock, no speed: this is for tests of behaviour, not of load.

mod black_hole;
mod route;
mod rules;
mod session;
mod shapes;
mod world;

pub use black_hole::BlackHole;
pub use rules::{Act, Gate, Rule};
pub use world::{Endpoint, NodeState, Received, View, World};

use crate::eventually::eventually;
use crate::ports;
use pointsman_protocol::Slot;
use session::Shared;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;

/// A running fake cluster.
#[derive(Debug)]
pub struct Fake {
    shared: Arc<Shared>,
}

impl Fake {
    /// `shards` shards with equal shares of the slots, each a primary with `replicas` replicas.
    /// Node numbers go shard by shard, each primary before its replicas.
    #[track_caller]
    pub fn start(shards: usize, replicas: usize) -> Fake {
        let count = shards * (1 + replicas);
        let mut nodes = Vec::new();
        let mut listeners = Vec::new();
        while nodes.len() < count {
            let port = ports::reserve();
            // A stranger may have taken the port in between.
            let Ok(listener) = TcpListener::bind(port.address()) else { continue };
            listeners.push(listener);
            nodes.push(NodeState::new(nodes.len(), port));
        }
        let shared = Arc::new(Shared::new(World::new(nodes, shards, replicas)));
        for (node, listener) in listeners.into_iter().enumerate() {
            session::serve(shared.clone(), node, listener);
        }
        Fake { shared }
    }

    /// `127.0.0.1:port` of a node.
    pub fn address(&self, node: usize) -> String {
        self.change(|world| world.nodes[node].address())
    }

    /// The addresses of all nodes.
    pub fn addresses(&self) -> Vec<String> {
        self.change(|world| world.nodes.iter().map(NodeState::address).collect())
    }

    /// The primary of shard `shard`.
    pub fn primary(&self, shard: usize) -> usize {
        self.change(|world| world.view.shards[shard].primary)
    }

    /// The replicas of shard `shard`.
    pub fn replicas(&self, shard: usize) -> Vec<usize> {
        self.change(|world| world.view.shards[shard].replicas.clone())
    }

    /// Looks at the cluster or edits it.
    pub fn change<T>(&self, edit: impl FnOnce(&mut World) -> T) -> T {
        let outcome = edit(&mut self.shared.lock());
        self.shared.changed.notify_all();
        outcome
    }

    /// Adds a rule; the first one that fits a request and is not used up decides.
    pub fn rule(&self, rule: Rule) {
        self.change(|world| world.rules.push(rule));
    }

    /// A closed gate, for [`Act::Hold`] and [`Act::HoldReply`].
    pub fn gate(&self) -> Gate {
        Gate::new(self.shared.clone())
    }

    /// Everything that arrived and fits.
    pub fn received(&self, fits: impl Fn(&Received) -> bool) -> Vec<Received> {
        self.change(|world| world.received.iter().filter(|received| fits(received)).cloned().collect())
    }

    /// How often a command with this name (`GET`, `CLUSTER SHARDS`) and this first key arrived.
    pub fn count(&self, name: &str, key: &str) -> usize {
        self.received(|received| received.is(name) && received.has_key(key)).len()
    }

    /// Waits until `count` requests that fit have arrived, and gives them.
    #[track_caller]
    pub fn wait_for(&self, what: &str, count: usize, fits: impl Fn(&Received) -> bool) -> Vec<Received> {
        eventually(what, || {
            let found = self.received(&fits);
            if found.len() >= count { Ok(found) } else { Err(found.len()) }
        })
    }

    /// Closes all connections of a node; those made later are served.
    pub fn close_connections(&self, node: usize) {
        self.change(|world| {
            for (_, stream) in world.nodes[node].connections.drain() {
                drop(stream.shutdown(Shutdown::Both));
            }
        });
    }

    /// A node goes away: connections are closed and new ones refused.
    pub fn take_down(&self, node: usize) {
        let address = self.change(|world| {
            world.nodes[node].up = false;
            world.nodes[node].address()
        });
        // Wakes the listener's thread, which then sees that it should go.
        drop(TcpStream::connect(&address));
        eventually("the fake node refuses connections", || match TcpStream::connect(&address) {
            Ok(_) => Err("it accepts"),
            Err(_) => Ok(()),
        });
        self.close_connections(node);
    }

    /// A node that was taken down listens again.
    #[track_caller]
    pub fn bring_up(&self, node: usize) {
        let address = self.change(|world| {
            world.nodes[node].up = true;
            world.nodes[node].address()
        });
        let listener = eventually("the fake node can listen again", || {
            TcpListener::bind(&address).map_err(|error| error.to_string())
        });
        session::serve(self.shared.clone(), node, listener);
    }

    /// Lets a node listen on the IPv6 loopback address as well, with the same port. False where the
    /// machine has no IPv6.
    pub fn listen_on_ipv6(&self, node: usize) -> bool {
        let port = self.change(|world| world.nodes[node].port.number());
        match TcpListener::bind(("::1", port)) {
            Ok(listener) => {
                session::serve(self.shared.clone(), node, listener);
                true
            }
            Err(_) => false,
        }
    }

    /// A node stops answering and keeps its connections, as a frozen machine would.
    pub fn freeze(&self, node: usize) {
        self.change(|world| world.nodes[node].frozen = true);
    }

    /// Ends [`Self::freeze`]: it answers all that has arrived.
    pub fn thaw(&self, node: usize) {
        self.change(|world| world.nodes[node].frozen = false);
    }

    /// From now on a node tells and believes the topology as it is now, whatever changes.
    pub fn keep_old_view(&self, node: usize) {
        self.change(|world| {
            let view = world.view.clone();
            world.old_views.insert(node, view);
        });
    }

    /// A slot changes hands, at once and with its keys; the epoch goes up.
    pub fn move_slot(&self, slot: Slot, shard: usize) {
        self.change(|world| world.move_slot(slot, shard));
    }

    /// A replica takes its primary's place; the epoch goes up.
    pub fn fail_over(&self, shard: usize) {
        self.change(|world| {
            let shard = &mut world.view.shards[shard];
            let new = shard.replicas.remove(0);
            let old = std::mem::replace(&mut shard.primary, new);
            shard.replicas.push(old);
            world.view.epoch += 1;
        });
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let addresses: Vec<String> = self.change(|world| {
            world.stopping = true;
            world.nodes.iter().filter(|node| node.up).map(NodeState::address).collect()
        });
        for (node, address) in addresses.into_iter().enumerate() {
            drop(TcpStream::connect(address));
            self.close_connections(node);
        }
    }
}

/// The `number`th key (from 0) whose slot belongs to shard `shard` of `shards` equal ones, as
/// [`Fake::start`] shares them out. `name` makes the keys of one test its own.
pub fn key_on(shard: usize, shards: usize, name: &str, number: usize) -> String {
    let on = |key: &String| world::share_of(Slot::of(key.as_bytes()), shards) == shard;
    (0..).map(|n| format!("{name}:{n}")).filter(on).nth(number).expect("there are keys for every slot")
}
