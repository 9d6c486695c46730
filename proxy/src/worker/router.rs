//! What one worker knows about one backend: its clients, its connections, and the snapshot it
//! plans with. Everything here runs on the worker's own thread; nothing is locked or shared with
//! another worker but the published snapshot and the counters.
//!
//! The methods are spread by subject: a request comes in ([`super::dispatch`]), a reply comes back
//! ([`super::answer`]), what waits is written ([`flush`]), connections are opened and forgotten ([`connections`]), a
//! request goes a second time ([`super::detour`]), time passes ([`super::tick`]).

mod connections;
mod context;
mod flush;

pub use context::BackendContext;

use super::guard::LeftGuard;
use super::monitor::{Allowance, Feed};
use super::pin::Pins;
use super::scripts::Seen;
use super::shut::Breakers;
use crate::admin::counters::WorkerCounters;
use crate::backend::connection::{ClientKey, Connection};
use crate::backend::lanes::{Lane, NodeLanes};
use crate::client::session;
use crate::client::state::{Admission, Client, ListenerContext};
use crate::pubsub::hub::Hub;
use crate::route::budget::Budget;
use crate::route::division::Division;
use crate::route::split::Placed;
use crate::topology::publish::Snapshot;
use crate::tracking::watch::Watch;
use crate::worker::fleet::Pause;
use pointsman_protocol::HostPort;
use pointsman_protocol::command::keys::KeyRef;
use slab::Slab;
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// A router as its tasks hold it. They borrow it for one turn and never across an await.
pub type SharedRouter = Rc<RefCell<Router>>;

/// CLIENT ID of the next client of any worker.
static NEXT_CLIENT_ID: AtomicU64 = AtomicU64::new(1);

/// See the module's head.
pub struct Router {
    /// The backend.
    pub context: Arc<BackendContext>,
    pub(super) me: Weak<RefCell<Router>>,
    pub(super) clients: Slab<Client>,
    pub(super) generation: u32,
    pub(super) connections: Slab<Connection>,
    pub(super) by_lane: HashMap<(HostPort, Lane), usize>,
    /// Connections that are one client's own for a while.
    pub(super) pins: Pins,
    /// Clients that wait for keys of several slots.
    pub(super) vigils: usize,
    /// Transactions over several slots whose clients have gone, at most `pool.max_active`.
    pub(super) left_guards: HashMap<ClientKey, LeftGuard>,
    /// The lanes of each node of the snapshot.
    pub(super) nodes: Vec<NodeLanes>,
    pub(super) snapshot: Arc<Snapshot>,
    /// How the keys of the backend are divided.
    pub(super) division: Division,
    /// Reads go round over the replicas.
    pub(super) turn: usize,
    /// What the next flush must write.
    dirty_connections: Vec<u32>,
    dirty_clients: Vec<ClientKey>,
    flusher: Option<Waker>,
    /// Clients whose ready replies wait for the rest of their batch, and since when; oldest first.
    held: VecDeque<(ClientKey, u64)>,
    pub(super) holder: Rc<Notify>,
    /// Clients with requests on a detour, and whether the next flush must look at them.
    pub(super) detours: Vec<ClientKey>,
    pub(super) detours_due: bool,
    /// Scratch space, kept between requests.
    scratch: Box<[u8]>,
    pub(super) placed: Vec<Placed>,
    pub(super) keys: Vec<KeyRef>,
    pub(super) scripts_seen: Seen,
    pub(super) counters: Arc<WorkerCounters>,
    /// The clock of the turn, in microseconds of the backend's clock.
    pub(super) now: u64,
    started: Instant,
    pub(super) random: u64,
    /// Set while the process shuts down.
    pub(super) draining: bool,
    /// Of nodes that failed lately.
    pub(super) breakers: Breakers,
    /// What second attempts there may be.
    pub(super) budget: Budget,
    /// CLIENT PAUSE, while one is in force.
    pub(super) pause: Option<Pause>,
    /// Lags were sampled lately; looked at with each tick.
    pub(super) lag_is_fresh: bool,
    pub(super) ticker: Rc<Notify>,
    pub(super) swept: u64,
    /// What clients are subscribed to, from the first subscription on.
    pub(super) pubsub: Option<Box<Hub>>,
    /// What clients keep and how changes to it are heard, from the first client that tracks on.
    pub(super) watch: Option<Box<Watch>>,
    /// Who wants to see every request.
    pub(super) monitors: Vec<Feed>,
    pub(super) monitor_allowance: Allowance,
    /// A client tracks, or somebody wants to see every request.
    pub(super) observed: bool,
}

/// Size of the buffer that all connections of a router read into.
const SCRATCH_BYTES: usize = 256 * 1024;

impl Router {
    /// A router without clients. `seed` makes its jitter its own.
    pub fn new(context: Arc<BackendContext>, seed: u64) -> SharedRouter {
        let snapshot = context.snapshots.load();
        let counters = context.registry.worker(&context.name);
        Rc::new_cyclic(|me| {
            let mut router = Router {
                me: me.clone(),
                clients: Slab::new(),
                generation: 0,
                connections: Slab::new(),
                by_lane: HashMap::new(),
                pins: Pins::default(),
                vigils: 0,
                left_guards: HashMap::new(),
                nodes: Vec::new(),
                turn: seed as usize,
                dirty_connections: Vec::new(),
                dirty_clients: Vec::new(),
                flusher: None,
                held: VecDeque::new(),
                holder: Rc::new(Notify::new()),
                detours: Vec::new(),
                detours_due: false,
                scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
                placed: Vec::new(),
                keys: Vec::new(),
                scripts_seen: Seen::default(),
                counters,
                now: 0,
                started: context.snapshots.started(),
                random: seed | 1,
                draining: false,
                breakers: Breakers::default(),
                budget: Budget::default(),
                pause: None,
                lag_is_fresh: false,
                ticker: Rc::new(Notify::new()),
                swept: 0,
                pubsub: None,
                watch: None,
                monitors: Vec::new(),
                monitor_allowance: Allowance::default(),
                observed: false,
                snapshot,
                division: Division::of(&context.config.kind),
                context,
            };
            router.build_nodes();
            RefCell::new(router)
        })
    }

    /// Reads the clock once for all that happens in this turn.
    #[inline]
    pub fn read_clock(&mut self) {
        self.now = self.started.elapsed().as_micros() as u64;
    }

    /// Time between two readings of the worker's clock.
    pub(super) fn micros(duration: Duration) -> u64 {
        u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
    }

    /// Takes over a newer snapshot, if there is one.
    #[inline]
    pub fn adopt(&mut self) {
        if self.context.snapshots.version() != self.snapshot.version {
            self.adopt_newest();
        }
    }

    /// The clock of this turn, in microseconds of the backend's clock.
    #[inline]
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Takes in a client. Its task runs until it leaves.
    pub fn add_client(
        &mut self,
        stream: TcpStream,
        address: SocketAddr,
        listener: Rc<ListenerContext>,
        admission: Admission,
    ) {
        let (reader, writer) = stream.into_split();
        self.read_clock();
        self.generation = self.generation.wrapping_add(1);
        let rates = listener.throttle.admit(address);
        let client = Client {
            generation: self.generation,
            id: NEXT_CLIENT_ID.fetch_add(1, Ordering::Relaxed),
            address,
            connected: Instant::now(),
            authenticated: listener.password.is_none(),
            listener,
            admission,
            replies: Default::default(),
            writer,
            waker: None,
            in_flight: 0,
            writes_in_flight: 0,
            written: Default::default(),
            replica_reads: 0,
            version: self.snapshot.version,
            identity: None,
            rates,
            transaction: None,
            pin: None,
            blocked: Vec::new(),
            vigil: None,
            guarded: None,
            detour: None,
            tracking: None,
            monitor: None,
            last: None,
            active: self.now,
            dirty: false,
            held_since: None,
            write_blocked: false,
            paused: false,
            closing: false,
            broken: false,
            resp3: false,
            database: 0,
            selecting: None,
            subscriptions: Default::default(),
        };
        let key = ClientKey { index: self.clients.insert(client) as u32, generation: self.generation };
        self.counters.clients.add(1);
        self.counters.clients_total.add(1);
        if let Some(me) = self.me.upgrade() {
            tokio::task::spawn_local(session::run(me, key, reader));
        }
    }

    /// Forgets a client whose task ends; replies that still come for it are thrown away.
    pub fn remove_client(&mut self, key: ClientKey) {
        if self.client_mut(key).is_some() {
            self.leave_pin_queue(key);
            self.close_pin_of(key);
            self.leave_guarded(key);
            self.leave_vigil(key);
            self.close_waits_of(key);
            self.leave_subscriptions(key);
            self.end_tracking(key);
            self.clients.remove(key.index as usize);
            self.counters.clients.sub(1);
            if self.clients.is_empty() {
                self.clients.shrink_to_fit();
            }
        }
    }

    /// A client, if it is still the same.
    #[inline]
    pub fn client_mut(&mut self, key: ClientKey) -> Option<&mut Client> {
        self.clients.get_mut(key.index as usize).filter(|client| client.generation == key.generation)
    }

    /// Itself, for tasks that outlive the turn.
    pub fn myself(&self) -> Weak<RefCell<Router>> {
        self.me.clone()
    }

    /// How many clients there are.
    pub fn client_count(&self) -> usize {
        self.clients.len()
    }

    /// The clients, for CLIENT LIST.
    pub fn clients(&self) -> impl Iterator<Item = &Client> {
        self.clients.iter().map(|(_, client)| client)
    }

    /// Notes that a client sent something.
    pub fn mark_active(&mut self, key: ClientKey) {
        let now = self.now;
        if let Some(client) = self.client_mut(key) {
            client.active = now;
        }
    }

    /// Takes the shared read buffer; give it back before the turn ends.
    #[inline]
    pub fn take_scratch(&mut self) -> Box<[u8]> {
        std::mem::take(&mut self.scratch)
    }

    /// Gives the shared read buffer back.
    #[inline]
    pub fn give_scratch(&mut self, scratch: Box<[u8]>) {
        self.scratch = scratch;
    }

    /// Lets a client that was stopped go on, if it may; wakes one that is to be closed.
    #[inline]
    pub(super) fn resume(&mut self, key: ClientKey) {
        let version = self.snapshot.version;
        let Some(client) = self.client_mut(key) else { return };
        if client.closing {
            if client.is_finished() {
                client.wake();
            }
            return;
        }
        if !client.paused {
            return;
        }
        let limits = &client.listener.limits;
        let barred = (client.version != version || client.detour.is_some()) && client.in_flight > 0;
        let crowded = client.in_flight as usize > limits.inflight_max / 2
            || client.replies.open_count() > limits.inflight_max / 2;
        let unread = client.replies.held() > client.output_pause_bytes() / 2;
        if !barred && !crowded && !unread {
            client.paused = false;
            client.wake();
        }
    }

    /// A random number for jitter (xorshift; nothing depends on its quality).
    pub fn jitter(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 32) as u32
    }

    /// Begins the end: clients are closed as soon as they have their replies.
    pub fn drain(&mut self) {
        self.draining = true;
        self.end_pause();
        self.ticker.notify_one();
    }

    /// Wakes the task that looks at deadlines, which sleeps long while there is nothing to wait for.
    pub(super) fn wake_ticker(&self) {
        self.ticker.notify_one();
    }
}
