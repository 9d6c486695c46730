//! A node's life: what it is told to be, its thread, its end.

use crate::NodeLimits;
use crate::cluster::map::ClusterMap;
use crate::random::Random;
use crate::server::listener;
use pointsman_protocol::{HostPort, NodeId};
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// What a node is in its shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// It takes the writes.
    Primary,
    /// It follows the primary at this address.
    ReplicaOf(HostPort),
}

/// What a node is told to be.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// Its id.
    pub id: NodeId,
    /// Its address as the others are told it, which need not be the one it is bound to.
    pub address: HostPort,
    /// What it is in its shard.
    pub role: Role,
    /// Who owns which slots.
    pub cluster: Arc<ClusterMap>,
    /// Its caps.
    pub limits: NodeLimits,
}

impl NodeSpec {
    /// A node outside of any cluster, which owns every slot.
    pub fn standalone(address: HostPort, role: Role, limits: NodeLimits) -> NodeSpec {
        let cluster = ClusterMap::standalone(address.clone());
        let id = cluster.shards()[0].primary.id;
        NodeSpec { id, address, role, cluster: Arc::new(cluster), limits }
    }
}

/// A running node. Dropping it stops the node without waiting for it.
#[derive(Debug)]
pub struct NodeHandle {
    address: HostPort,
    keys: Arc<AtomicU64>,
    /// Dropping it is the signal to stop.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl NodeHandle {
    /// Stops the node: no further connection or command is taken, replies that clients have not taken
    /// yet get `drain_ms` to be taken, then everything is closed. Returns when the thread has ended.
    pub fn stop(mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(node = %self.address, "the node's thread ended in a panic");
        }
    }

    /// How many keys it holds, as of its last batch of commands.
    pub fn keys(&self) -> u64 {
        self.keys.load(Ordering::Relaxed)
    }

    /// Its address as the others are told it.
    pub fn address(&self) -> &HostPort {
        &self.address
    }

    /// True once its thread has ended, by itself or because it was stopped.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

/// Starts a node on `listener`, on a thread of its own. Connections are accepted from then on; a
/// replica begins to follow its primary at once.
///
/// # Errors
/// If the listener cannot be used, or the thread or its runtime cannot be made.
pub fn start(spec: NodeSpec, listener: TcpListener) -> io::Result<NodeHandle> {
    listener.set_nonblocking(true)?;
    let address = spec.address.clone();
    let keys = Arc::new(AtomicU64::new(0));
    let (stop, stopped) = oneshot::channel();
    let (ready, is_ready) = std::sync::mpsc::sync_channel::<io::Result<()>>(1);
    let shown_keys = Arc::clone(&keys);
    let thread = std::thread::Builder::new().name(format!("store-{}", address.port())).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .event_interval(EVENT_INTERVAL)
            .build_local(tokio::runtime::LocalOptions::default());
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return drop(ready.send(Err(error))),
        };
        runtime.block_on(async move {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => {
                    drop(ready.send(Ok(())));
                    listener::run(spec, listener, stopped, shown_keys, Random::seed()).await;
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        });
    })?;
    let started =
        is_ready.recv().unwrap_or_else(|_| Err(io::Error::other("the node's thread ended at once")));
    started?;
    Ok(NodeHandle { address, keys, stop: Some(stop), thread: Some(thread) })
}

/// Tasks that run between two looks at the sockets. As a task serves a whole batch of one connection,
/// looking more often only costs calls.
const EVENT_INTERVAL: u32 = 256;
