//! Who a client is, and where it stands.

use super::replies::{Replies, Ticket};
use super::transaction::Transaction;
use super::vigil::Vigil;
use super::written::Written;
use crate::limit::rate::{Rates, Throttle};
use crate::pubsub::wire;
use crate::tracking::mode::Tracking;
use crate::worker::detour::Detour;
use crate::worker::guard::Guarded;
use crate::worker::pin::Pin;
use pointsman_config::{ClientLimits, CrossSlot, MultiAcrossSlots, Reads, Secret};
use pointsman_protocol::HostPort;
use pointsman_protocol::command::CommandSpec;
use pointsman_protocol::resp::RequestLimits;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};
use tokio::net::tcp::OwnedWriteHalf;

/// What kind of request it was, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Reads only.
    Read,
    /// May write.
    Write,
    /// Went to several slots or shards.
    Multi,
    /// Answered by the proxy itself.
    Local,
}

impl Class {
    /// How many there are.
    pub const COUNT: usize = 4;
    /// All of them with their labels.
    pub const ALL: [(Class, &'static str); Class::COUNT] =
        [(Class::Read, "read"), (Class::Write, "write"), (Class::Multi, "multi"), (Class::Local, "local")];
}

/// What all clients of a listener have in common.
#[derive(Debug)]
pub struct ListenerContext {
    /// Its name.
    pub name: String,
    /// Its own address, as clients see it.
    pub listen: SocketAddr,
    /// The password clients must give, if any.
    pub password: Option<Secret>,
    /// Where reads may go.
    pub reads: Reads,
    /// Whether its clients may see what all clients of the backend send.
    pub monitor: bool,
    /// What becomes of set algebra over several slots.
    pub cross_slot: CrossSlot,
    /// What becomes of transactions over several slots.
    pub multi_across_slots: MultiAcrossSlots,
    /// Keys of several slots may be waited for: the longest rest between two looks at them.
    pub blocking_across_slots: Option<Duration>,
    /// The proxy presents itself as a cluster of one node.
    pub facade: bool,
    /// The address of that node, if clients are not to be told the one they connected to.
    pub advertise: Option<HostPort>,
    /// Other proxies that clients are told of with it.
    pub siblings: Vec<HostPort>,
    /// Bounds on one client.
    pub limits: ClientLimits,
    /// What they may ask for in a while.
    pub throttle: Arc<Throttle>,
    /// Bounds on one request of an authenticated client.
    pub request_limits: RequestLimits,
}

impl ListenerContext {
    /// Derives it from the configuration.
    pub fn new(config: &pointsman_config::Listener, throttle: Arc<Throttle>) -> ListenerContext {
        ListenerContext {
            name: config.name.clone(),
            listen: config.listen,
            password: config.password.clone(),
            reads: config.reads,
            monitor: config.monitor,
            cross_slot: config.cross_slot,
            multi_across_slots: config.multi_across_slots,
            blocking_across_slots: config.blocking_across_slots.then_some(config.blocking_poll),
            facade: config.cluster_facade,
            advertise: config.advertise.clone(),
            siblings: config.siblings.clone(),
            request_limits: RequestLimits {
                args_max: config.limits.args_max,
                bulk_bytes_max: config.limits.bulk_bytes_max,
                request_bytes_max: config.limits.request_bytes_max,
                inline_bytes_max: config.limits.inline_bytes_max,
            },
            limits: config.limits,
            throttle,
        }
    }
}

/// Counts a client with its worker and its listener for as long as it lives.
#[derive(Debug)]
pub struct Admission {
    worker: Arc<AtomicUsize>,
    listener: Arc<AtomicUsize>,
}

impl Admission {
    /// Counts one more on both.
    pub fn new(worker: Arc<AtomicUsize>, listener: Arc<AtomicUsize>) -> Admission {
        worker.fetch_add(1, Ordering::Relaxed);
        listener.fetch_add(1, Ordering::Relaxed);
        Admission { worker, listener }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.worker.fetch_sub(1, Ordering::Relaxed);
        self.listener.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a client said about itself. Most say nothing, so it lives apart.
#[derive(Debug, Default)]
pub struct Identity {
    /// CLIENT SETNAME.
    pub name: Vec<u8>,
    /// CLIENT SETINFO LIB-NAME.
    pub lib_name: Vec<u8>,
    /// CLIENT SETINFO LIB-VER.
    pub lib_version: Vec<u8>,
    /// CLIENT NO-EVICT. Shown, no more: we evict nobody but who does not read its replies.
    pub no_evict: bool,
    /// CLIENT NO-TOUCH. Shown, no more.
    pub no_touch: bool,
}

/// What CLIENT LIST and KILL call a client's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Asks and is answered.
    Normal,
    /// Has subscriptions.
    Pubsub,
}

/// Unread replies that a client which has not authenticated may let pile up.
const STRANGER_OUTPUT_BYTES: usize = 16 * 1024;

/// One connected client.
#[derive(Debug)]
pub struct Client {
    /// Its number among all that had this place in the table.
    pub generation: u32,
    /// CLIENT ID: unique and growing within the process.
    pub id: u64,
    /// Where it connects from.
    pub address: SocketAddr,
    /// When it connected.
    pub connected: Instant,
    /// Its listener.
    pub listener: Rc<ListenerContext>,
    /// Its place among those admitted.
    pub admission: Admission,
    /// FIFO 1.
    pub replies: Replies,
    /// Its socket, the writing half.
    pub writer: OwnedWriteHalf,
    /// Its task's waker.
    pub waker: Option<Waker>,
    /// Requests (and parts of requests) that no backend has answered yet.
    pub in_flight: u32,
    /// Those of them that may write.
    pub writes_in_flight: u32,
    /// Where it has written, for WAIT.
    pub written: Written,
    /// Reads on their way to replicas: a write of the same client waits for them.
    pub replica_reads: u32,
    /// Version of the snapshot that its requests in flight were planned with.
    pub version: u64,
    /// What it said about itself.
    pub identity: Option<Box<Identity>>,
    /// The connection of its own that it holds.
    pub pin: Option<Box<Pin>>,
    /// The connections over which it waits: for something to come, or for its writes to arrive.
    pub blocked: Vec<usize>,
    /// Its wait for keys of several slots.
    pub vigil: Option<Box<Vigil>>,
    /// Its transaction over several slots, until the block of the watched keys has been answered.
    pub guarded: Option<Box<Guarded>>,
    /// What it draws from, if its listener has limits.
    pub rates: Option<Box<Rates>>,
    /// What it queued since MULTI.
    pub transaction: Option<Box<Transaction>>,
    /// Requests that are being sent a second time.
    pub detour: Option<Box<Detour>>,
    /// How it tracks what changes.
    pub tracking: Option<Box<Tracking>>,
    /// It sees what all clients send; the number of its MONITOR among all.
    pub monitor: Option<u64>,
    /// The command it sent last.
    pub last: Option<&'static CommandSpec>,
    /// Last time it sent something, in microseconds of the worker's clock.
    pub active: u64,
    /// It waits for the next flush.
    pub dirty: bool,
    /// Since when its ready replies wait for the rest of their batch, in microseconds.
    pub held_since: Option<u64>,
    /// The kernel's send buffer is full.
    pub write_blocked: bool,
    /// Its next requests wait for earlier ones, or for it to read its replies.
    pub paused: bool,
    /// Close once every reply is written.
    pub closing: bool,
    /// Close now.
    pub broken: bool,
    /// It gave the password, or none is needed.
    pub authenticated: bool,
    /// It speaks RESP3.
    pub resp3: bool,
    /// The database it selected.
    pub database: u16,
    /// The database it will have once the transaction with this ticket was executed.
    pub selecting: Option<(Ticket, u16)>,
    /// Its subscriptions: channels, patterns, shard channels.
    pub subscriptions: [u32; wire::Kind::COUNT],
}

impl Client {
    /// Unread replies beyond which its requests wait.
    #[inline]
    pub fn output_pause_bytes(&self) -> usize {
        if self.authenticated { self.listener.limits.output_pause_bytes } else { STRANGER_OUTPUT_BYTES }
    }

    /// True if it is subscribed to anything.
    #[inline]
    pub fn is_subscribed(&self) -> bool {
        self.subscriptions != [0; wire::Kind::COUNT]
    }

    /// True while it waits for something to come, in a blocking command.
    #[inline]
    pub fn is_blocked(&self) -> bool {
        !self.blocked.is_empty() || self.vigil.is_some()
    }

    /// True if there is nothing left to do for it but close.
    pub fn is_finished(&self) -> bool {
        self.broken || (self.closing && self.replies.is_idle())
    }

    /// Has its task look at it.
    pub fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// What it is to CLIENT LIST.
    pub fn kind(&self) -> Kind {
        if self.is_subscribed() { Kind::Pubsub } else { Kind::Normal }
    }

    /// Where it connected to: more than its listener's address, which may stand for all of the machine.
    pub fn own_address(&self) -> SocketAddr {
        self.writer.as_ref().local_addr().unwrap_or(self.listener.listen)
    }

    /// What it said about itself, to be changed.
    pub fn identity_mut(&mut self) -> &mut Identity {
        self.identity.get_or_insert_default()
    }
}
