//! The node's main task: accepts connections, keeps house, and ends everything in order.

use super::client::Client;
use super::{Node, round, session, wall_ms};
use crate::NodeSpec;
use crate::command::too_many_clients;
use crate::executor::Executor;
use crate::replication::follower;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::spawn_local;

/// Seconds of silence after which a peer is asked whether it is still there.
const KEEPALIVE_S: u64 = 300;
/// Wait after a failed accept (out of descriptors, most often): trying on at once would only spin.
const ACCEPT_PAUSE_MS: u64 = 100;
/// Wait before housekeeping goes on that ran out of its budget.
const UNFINISHED_PAUSE_MS: u64 = 10;

/// Runs a node until `stopped` is sent or dropped.
pub async fn run(
    spec: NodeSpec,
    listener: TcpListener,
    stopped: oneshot::Receiver<()>,
    keys: Arc<AtomicU64>,
    seed: u64,
) {
    let address = spec.address.clone();
    let follows = spec.role != crate::Role::Primary;
    let drain = Duration::from_millis(spec.limits.drain_ms);
    let node = Rc::new(Node::new(Executor::new(spec, seed, wall_ms()), keys));
    // Tasks are not kept track of: they end with the runtime, which the caller drops.
    spawn_local(round::run_rounds(Rc::clone(&node)));
    spawn_local(keep_house(Rc::clone(&node)));
    if follows {
        spawn_local(follower::follow(Rc::clone(&node)));
    }
    tracing::info!(node = %address, replica = follows, "node started");
    tokio::select! {
        _ = stopped => {}
        _ = accept(&node, &listener) => {}
    }
    drop(listener);
    node.stopping.set(true);
    // A wake-up may be left over from before: look again each time.
    let drained = async {
        while node.unsent.get() > 0 {
            node.sent.notified().await;
        }
    };
    if tokio::time::timeout(drain, drained).await.is_err() {
        tracing::info!(node = %address, clients = node.unsent.get(), "stopping though replies were not taken");
    }
    tracing::info!(node = %address, "node stopped");
}

/// Accepts connections for ever.
async fn accept(node: &Rc<Node>, listener: &TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => admit(node, stream, peer),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
            }
        }
    }
}

/// Gives a connection a task, or tells it that there are too many.
fn admit(node: &Rc<Node>, stream: TcpStream, peer: SocketAddr) {
    let mut executor = node.executor.borrow_mut();
    executor.stats.connections += 1;
    if executor.register.len() >= node.limits.clients_max {
        executor.stats.connections_rejected += 1;
        let mut text = Vec::new();
        too_many_clients(&mut text);
        // If it cannot take even that, it will see the end of the connection.
        drop(stream.try_write(&text));
        return;
    }
    // Without these the connection works all the same, only worse.
    drop(stream.set_nodelay(true));
    let keepalive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(KEEPALIVE_S));
    drop(socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive));
    let local = stream.local_addr().unwrap_or(peer);
    let client = Rc::new(Client::new(executor.register.next_id(), peer, local, wall_ms()));
    executor.register.add(Rc::clone(&client));
    drop(executor);
    let registration = Registration { node: Rc::clone(node), client: Rc::clone(&client) };
    let node = Rc::clone(node);
    spawn_local(async move {
        let _registration = registration;
        session::serve(node, stream, client).await;
    });
}

/// A client is in the register for as long as its task lives, however that ends.
struct Registration {
    node: Rc<Node>,
    client: Rc<Client>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        // Only a panic within the executor could still hold it; then the register does not matter.
        if let Ok(mut executor) = self.node.executor.try_borrow_mut() {
            executor.register.remove(self.client.id);
        }
    }
}

/// Removes expired keys and takes the rates, for ever.
async fn keep_house(node: Rc<Node>) {
    let tick = Duration::from_millis(node.limits.tick_ms.max(1));
    let budget = Duration::from_micros(node.limits.expiry_budget_us);
    let mut last_rates = Instant::now();
    loop {
        let unfinished = {
            let mut executor = node.executor.borrow_mut();
            let now_ms = wall_ms();
            executor.set_time(now_ms);
            let began = Instant::now();
            let unfinished = executor.expire_some(|| began.elapsed() >= budget);
            executor.stats.expiry_budget_reached += u64::from(unfinished);
            if last_rates.elapsed() >= tick {
                let memory = crate::command::used_memory(&executor);
                executor.stats.tick(now_ms, memory);
                last_rates = Instant::now();
            }
            node.publish(&executor);
            unfinished
        };
        let pause = if unfinished { tick.min(Duration::from_millis(UNFINISHED_PAUSE_MS)) } else { tick };
        tokio::time::sleep(pause).await;
    }
}
