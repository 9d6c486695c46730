//! A worker: one thread, one event loop, and everything its clients and connections need.
//!
//! Workers share nothing but published snapshots and counters. A client stays with the worker that
//! the acceptor gave it to ([`crate::accept`]); its requests never cross a thread.

pub mod across;
pub mod answer;
pub mod block;
pub mod detour;
pub mod dispatch;
mod explain;
pub mod fleet;
pub mod guard;
pub mod hold;
pub mod inbound;
pub mod limited;
pub mod monitor;
pub mod observe;
pub mod pin;
pub mod router;
pub mod scripts;
pub mod shards;
pub mod shut;
pub mod subscribe;
pub mod tick;
pub mod track;
pub mod transact;
pub(crate) mod turn;
pub mod unblock;
pub mod vigil;
pub mod wait;

#[cfg(test)]
mod stage;

use crate::client::state::{Admission, ListenerContext};
use crate::limit::rate::Throttle;
use router::{BackendContext, Router, SharedRouter};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};

/// Clients on their way from the acceptor to a worker, at most.
const HANDOVER_MAX: usize = 1024;
/// Ready tasks that run before sockets are looked at again. Larger than tokio's default, so that a
/// batch of ready clients is served whole before the flush behind it.
const EVENT_INTERVAL: u32 = 256;

/// What a worker is told.
#[derive(Debug)]
pub enum Message {
    /// A client for this worker.
    Client {
        /// Its socket, not blocking.
        stream: std::net::TcpStream,
        /// Where it connects from.
        address: SocketAddr,
        /// The listener it came by.
        listener: usize,
        /// Its place among those admitted.
        admission: Admission,
    },
    /// Close clients as soon as they have their replies.
    Drain,
    /// A question about the clients of one backend ([`fleet`]).
    Ask {
        /// The backend's name.
        backend: Arc<str>,
        /// The question.
        question: fleet::Question,
        /// Where the answer goes.
        answer: oneshot::Sender<fleet::Tally>,
    },
}

/// What a worker needs to know of a listener.
#[derive(Clone, Debug)]
pub struct ListenerPlan {
    /// The configuration.
    pub config: pointsman_config::Listener,
    /// What clients may ask for in a while.
    pub throttle: Arc<Throttle>,
}

/// A running worker, as others see it.
#[derive(Debug)]
pub struct WorkerHandle {
    messages: mpsc::Sender<Message>,
    clients: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl WorkerHandle {
    /// Clients it has or was given.
    pub fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }

    /// The count that [`Admission`] keeps.
    pub fn client_count(&self) -> Arc<AtomicUsize> {
        self.clients.clone()
    }

    /// Tells it something; waits while it has too much to hear.
    pub async fn tell(&self, message: Message) {
        // It only fails when the worker is gone, and then the process is going down anyway.
        let _ = self.messages.send(message).await;
    }

    /// Where it is told things.
    pub fn messages(&self) -> mpsc::WeakSender<Message> {
        self.messages.downgrade()
    }

    /// True once its thread has ended, which it does only by a bug.
    pub fn is_gone(&self) -> bool {
        self.thread.is_finished()
    }
}

/// Starts a worker with a router for each backend.
pub fn start(
    index: usize,
    listeners: Vec<ListenerPlan>,
    backends: Vec<Arc<BackendContext>>,
) -> std::io::Result<WorkerHandle> {
    let (messages, inbox) = mpsc::channel(HANDOVER_MAX);
    let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .event_interval(EVENT_INTERVAL)
            .build_local(LocalOptions::default());
        match runtime {
            Ok(runtime) => runtime.block_on(run(index, listeners, backends, inbox)),
            Err(error) => {
                tracing::error!(worker = index, %error, "the worker's event loop cannot be started")
            }
        }
    })?;
    Ok(WorkerHandle { messages, clients: Arc::new(AtomicUsize::new(0)), thread })
}

async fn run(
    index: usize,
    listeners: Vec<ListenerPlan>,
    backends: Vec<Arc<BackendContext>>,
    mut inbox: mpsc::Receiver<Message>,
) {
    let routers: Vec<SharedRouter> = backends
        .into_iter()
        .enumerate()
        .map(|(backend, context)| Router::new(context, seed(index, backend)))
        .collect();
    for router in &routers {
        let flushed = router.clone();
        tokio::task::spawn_local(async move { poll_fn(|cx| flushed.borrow_mut().poll_flush(cx)).await });
        tokio::task::spawn_local(tick::run(router.clone()));
        tokio::task::spawn_local(tick::release(router.clone()));
    }
    let contexts: Vec<(Rc<ListenerContext>, SharedRouter)> = listeners
        .iter()
        .map(|listener| {
            (
                Rc::new(ListenerContext::new(&listener.config, listener.throttle.clone())),
                routers[listener.config.backend].clone(),
            )
        })
        .collect();
    while let Some(message) = inbox.recv().await {
        match message {
            Message::Client { stream, address, listener, admission } => match TcpStream::from_std(stream) {
                Ok(stream) => {
                    let (context, router) = &contexts[listener];
                    router.borrow_mut().add_client(stream, address, context.clone(), admission);
                }
                Err(error) => tracing::warn!(client = %address, %error, "a client's socket cannot be used"),
            },
            Message::Ask { backend, question, answer } => {
                let router = routers.iter().find(|router| router.borrow().context.name == backend);
                if let Some(router) = router {
                    fleet::consider(router, &question, answer);
                }
            }
            Message::Drain => routers.iter().for_each(|router| router.borrow_mut().drain()),
        }
    }
}

/// Jitter differs between workers, and between processes started at the same moment.
fn seed(worker: usize, backend: usize) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one((worker, backend))
}
