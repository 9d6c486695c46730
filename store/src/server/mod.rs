//! Connections: accepting them, reading requests, writing replies.
//!
//! A [`session`] reads what has come on its connection and hands it to the [`round`]; once all sessions
//! that had something to read have done so, the round runs as one [`batch`] and sends the replies.

pub mod batch;
pub mod client;
pub mod listener;
pub mod round;
pub mod session;

use crate::NodeLimits;
use crate::executor::Executor;
use round::Round;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;

/// What the tasks of one node share, on its one thread. Nobody holds a borrow over an await.
pub struct Node {
    /// Its caps.
    pub limits: NodeLimits,
    /// The data and all that belongs to it.
    pub executor: RefCell<Executor>,
    /// What waits to be executed.
    pub round: RefCell<Round>,
    /// Wakes the task that runs the round.
    pub round_waker: RefCell<Option<Waker>>,
    /// Sessions whose replies have not been taken yet.
    pub unsent: Cell<usize>,
    /// Wakes who waits for that to become zero.
    pub sent: Notify,
    /// True once nothing more is to be read.
    pub stopping: Cell<bool>,
    /// Shown to other threads.
    keys: Arc<AtomicU64>,
}

impl Node {
    /// Around an executor.
    pub fn new(executor: Executor, keys: Arc<AtomicU64>) -> Node {
        Node {
            limits: executor.spec.limits.clone(),
            executor: RefCell::new(executor),
            round: RefCell::default(),
            round_waker: RefCell::default(),
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
