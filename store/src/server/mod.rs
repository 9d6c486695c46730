//! Connections: accepting them, reading requests, writing replies.

pub mod batch;
pub mod client;
pub mod listener;
pub mod session;

use crate::NodeLimits;
use crate::executor::Executor;
use pointsman_protocol::resp::RequestDecoder;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;

/// Bytes that one read takes at most.
const READ_BYTES: usize = 64 * 1024;
/// The reply buffer keeps at most this much between batches.
const REPLY_BYTES_KEPT: usize = 256 * 1024;

/// What the tasks of one node share, on its one thread. Nobody holds a borrow over an await.
pub struct Node {
    /// Its caps.
    pub limits: NodeLimits,
    /// The data and all that belongs to it.
    pub executor: RefCell<Executor>,
    /// Buffers that any session may use for the length of a batch.
    pub scratch: RefCell<Scratch>,
    /// Sessions whose replies have not been taken yet.
    pub unsent: Cell<usize>,
    /// Wakes who waits for that to become zero.
    pub sent: Notify,
    /// True once nothing more is to be read.
    pub stopping: Cell<bool>,
    /// Shown to other threads.
    keys: Arc<AtomicU64>,
}

/// See [`Node::scratch`].
pub struct Scratch {
    read: Box<[u8]>,
    replies: Vec<u8>,
    decoder: RequestDecoder,
    batch: batch::Batch,
}

impl Node {
    /// Around an executor.
    pub fn new(executor: Executor, keys: Arc<AtomicU64>) -> Node {
        Node {
            limits: executor.spec.limits.clone(),
            executor: RefCell::new(executor),
            scratch: RefCell::new(Scratch {
                read: vec![0; READ_BYTES].into_boxed_slice(),
                replies: Vec::new(),
                decoder: RequestDecoder::new(),
                batch: batch::Batch::default(),
            }),
            unsent: Cell::new(0),
            sent: Notify::new(),
            stopping: Cell::new(false),
            keys,
        }
    }

    /// Shows other threads how many keys there are.
    #[inline]
    pub fn publish(&self, executor: &Executor) {
        self.keys.store(executor.keyspace.len(), Ordering::Relaxed);
    }
}

/// Milliseconds since 1970.
#[inline]
pub fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
