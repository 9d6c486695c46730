//! What a node knows of one connected client, and the register of all of them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

/// Whether replies are sent (CLIENT REPLY).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replies {
    /// Yes.
    On,
    /// No, until turned on.
    Off,
    /// Not to the next command.
    SkipNext,
    /// Not to this one.
    Skip,
}

/// What kind of peer a connection serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A client.
    Normal,
    /// A replica that this node feeds.
    Replica,
    /// The primary that this node follows: its commands are effects, and are applied as they are.
    Primary,
}

/// A replica's request to be fed (`POINTSMAN SYNC`), for which its connection leaves the commands
/// behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncRequest {
    /// The shard epoch it knows.
    pub epoch: u64,
    /// The log it followed before, and the offset up to which it has applied it.
    pub known: Option<(pointsman_protocol::NodeId, u64)>,
    /// The port it listens on.
    pub port: u16,
}

/// One connection. Shared by its session and the register, on one thread: hence the cells.
#[derive(Debug)]
pub struct Client {
    /// Unique within the node's life, ascending.
    pub id: u64,
    /// Where it comes from.
    pub address: SocketAddr,
    /// Where it came to.
    pub local: SocketAddr,
    /// When it came, in milliseconds since 1970.
    pub connected_ms: u64,
    /// Who it is.
    pub kind: Cell<Kind>,
    /// When its last command came.
    pub last_ms: Cell<u64>,
    /// The name of its last command.
    pub last_command: Cell<&'static str>,
    /// True for RESP3.
    pub resp3: Cell<bool>,
    /// True after READONLY.
    pub readonly: Cell<bool>,
    /// Whether it gets replies.
    pub replies: Cell<Replies>,
    /// True once it is to be closed when its replies are sent.
    pub closing: Cell<bool>,
    /// CLIENT NO-EVICT; told, but of no effect as nothing evicts clients.
    pub no_evict: Cell<bool>,
    /// CLIENT NO-TOUCH: its commands do not count as uses of keys.
    pub no_touch: Cell<bool>,
    /// CLIENT SETNAME.
    pub name: RefCell<Box<[u8]>>,
    /// CLIENT SETINFO LIB-NAME.
    pub library: RefCell<Box<[u8]>>,
    /// CLIENT SETINFO LIB-VER.
    pub library_version: RefCell<Box<[u8]>>,
    /// Set by POINTSMAN SYNC: the connection is to become a replica's.
    pub sync: RefCell<Option<Box<SyncRequest>>>,
}

impl Client {
    /// A client that has just connected.
    pub fn new(id: u64, address: SocketAddr, local: SocketAddr, now_ms: u64) -> Client {
        Client {
            id,
            address,
            local,
            connected_ms: now_ms,
            kind: Cell::new(Kind::Normal),
            last_ms: Cell::new(now_ms),
            last_command: Cell::new("NULL"),
            resp3: Cell::new(false),
            readonly: Cell::new(false),
            replies: Cell::new(Replies::On),
            closing: Cell::new(false),
            no_evict: Cell::new(false),
            no_touch: Cell::new(false),
            name: RefCell::default(),
            library: RefCell::default(),
            library_version: RefCell::default(),
            sync: RefCell::default(),
        }
    }

    /// Back to how it was when it connected (RESET).
    pub fn reset(&self) {
        self.resp3.set(false);
        self.readonly.set(false);
        self.replies.set(Replies::On);
        self.no_evict.set(false);
        self.no_touch.set(false);
        self.name.take();
    }

    /// Appends its line of CLIENT LIST, without line end.
    pub fn describe(&self, now_ms: u64, out: &mut String) {
        use std::fmt::Write;
        let mut flags = String::new();
        match self.kind.get() {
            Kind::Normal => {}
            Kind::Replica => flags.push('S'),
            Kind::Primary => flags.push('M'),
        }
        if self.readonly.get() {
            flags.push('r');
        }
        if self.no_evict.get() {
            flags.push('e');
        }
        if self.no_touch.get() {
            flags.push('T');
        }
        if flags.is_empty() {
            flags.push('N');
        }
        let text = |bytes: &RefCell<Box<[u8]>>| String::from_utf8_lossy(&bytes.borrow()).into_owned();
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "id={} addr={} laddr={} fd=-1 name={} age={} idle={} flags={flags} db=0 sub=0 psub=0 ssub=0 multi=-1 \
             qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r cmd={} \
             user=default redir=-1 resp={} lib-name={} lib-ver={}",
            self.id,
            self.address,
            self.local,
            text(&self.name),
            now_ms.saturating_sub(self.connected_ms) / 1000,
            now_ms.saturating_sub(self.last_ms.get()) / 1000,
            self.last_command.get().to_ascii_lowercase(),
            if self.resp3.get() { 3 } else { 2 },
            text(&self.library),
            text(&self.library_version),
        );
    }
}

/// All connected clients.
#[derive(Debug, Default)]
pub struct Register {
    clients: BTreeMap<u64, Rc<Client>>,
    last_id: u64,
}

impl Register {
    /// An id that was never given before.
    pub fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Adds a client.
    pub fn add(&mut self, client: Rc<Client>) {
        self.clients.insert(client.id, client);
    }

    /// Removes a client.
    pub fn remove(&mut self, id: u64) {
        self.clients.remove(&id);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// All of them, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Rc<Client>> {
        self.clients.values()
    }
}
