//! A worker's watch over the primaries of a backend: which changes are asked for, and of which nodes
//! they are heard right now.
//!
//! No socket is touched here: requests lie in the links' ledgers until their tasks write them. Clients
//! are not touched either: what they must hear is told by what the methods give back.

use super::link::{Link, News, Serial};
use super::prefixes::Prefixes;
use super::table::Table;
use crate::backend::connection::ClientKey;
use crate::route::retry::{RetryLimits, backoff};
use crate::topology::publish::Snapshot;
use pointsman_protocol::{HostPort, Slot};
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// More prefixes than these are not asked for one by one: then all changes are.
const COVER_MAX: usize = 128;
/// A watch that nobody needs is kept this long, in microseconds.
const UNUSED_US: u64 = 10_000_000;

/// Number of the next connection; never used twice, as tasks of an earlier watch may still look for theirs.
static NEXT_LINK: AtomicU64 = AtomicU64::new(1);

/// How it stands with the watch, for who waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Every primary is watched.
    Whole,
    /// Not yet.
    Partial,
    /// A node will not be watched; its words, an error without its first byte.
    Refused(Vec<u8>),
}

/// See the module.
#[derive(Debug)]
pub struct Watch {
    /// Who read what.
    pub table: Table,
    /// Who wants to hear of which prefixes.
    pub prefixes: Prefixes,
    /// Told when [`Self::standing`] may have changed.
    pub changed: Rc<Notify>,
    clients: HashSet<ClientKey>,
    /// How many of them hear of what they read.
    readers: usize,
    links: BTreeMap<u64, Link>,
    /// What is asked for; none of them begins with another.
    cover: Vec<Vec<u8>>,
    serial: Serial,
    snapshot: Arc<Snapshot>,
    /// Every primary is watched.
    whole: bool,
    refused: Option<Vec<u8>>,
    unused_since: u64,
}

impl Watch {
    /// Over the primaries of this map; nobody needs it yet.
    pub fn new(snapshot: Arc<Snapshot>, now: u64) -> Watch {
        Watch {
            table: Table::default(),
            prefixes: Prefixes::default(),
            changed: Rc::default(),
            clients: HashSet::new(),
            readers: 0,
            links: BTreeMap::new(),
            cover: Vec::new(),
            serial: 0,
            snapshot,
            whole: false,
            refused: None,
            unused_since: now,
        }
    }

    /// The clients that track.
    pub fn clients(&self) -> impl Iterator<Item = ClientKey> {
        self.clients.iter().copied()
    }

    /// How many there are.
    pub fn client_count(&self) -> usize {
        self.clients.len()
    }

    /// A client begins to track; its prefixes, if it wants to hear of those. True if the watch had to
    /// grow for it: for a moment the others' changes are not heard.
    pub fn enlist<'p>(
        &mut self,
        client: ClientKey,
        prefixes: Option<impl Iterator<Item = &'p Vec<u8>>>,
    ) -> bool {
        let is_new = self.clients.insert(client);
        match prefixes {
            Some(prefixes) => prefixes.for_each(|prefix| self.prefixes.add(prefix, client)),
            None => self.readers += usize::from(is_new),
        }
        self.grow()
    }

    /// A client tracks no more; what it gave to [`Self::enlist`].
    pub fn discharge<'p>(
        &mut self,
        client: ClientKey,
        prefixes: Option<impl Iterator<Item = &'p Vec<u8>>>,
        now: u64,
    ) {
        if !self.clients.remove(&client) {
            return;
        }
        match prefixes {
            Some(prefixes) => prefixes.for_each(|prefix| self.prefixes.remove(prefix, client)),
            None => self.readers -= 1,
        }
        if self.clients.is_empty() {
            self.table.clear();
            self.unused_since = now;
        }
    }

    /// Asks for more if what is asked for is not enough. It never becomes less while somebody tracks,
    /// as that would cost the others what they keep.
    fn grow(&mut self) -> bool {
        let mut wanted = if self.readers > 0 { vec![Vec::new()] } else { self.prefixes.cover() };
        if wanted.len() > COVER_MAX {
            wanted = vec![Vec::new()];
        }
        let is_asked = |prefix: &Vec<u8>| self.cover.iter().any(|asked| prefix.starts_with(asked));
        if wanted.iter().all(is_asked) {
            return false;
        }
        self.cover = wanted;
        self.serial += 1;
        self.refused = None;
        for link in self.links.values_mut().filter(|link| link.up) {
            link.watch(&self.cover, self.serial);
        }
        self.judge();
        true
    }

    /// Takes over a newer map. Gives the connections to be made, and whether others than before are to be
    /// watched.
    pub fn adopt(&mut self, snapshot: Arc<Snapshot>, now: u64) -> (Vec<u64>, bool) {
        self.snapshot = snapshot;
        let topology = &self.snapshot.topology;
        // Also of shards without slots: slots may be on their way to them.
        let primaries: HashSet<&HostPort> =
            topology.shards().iter().map(|shard| &topology.node(shard.primary).address).collect();
        let before = self.links.len();
        self.links.retain(|_, link| {
            let stays = primaries.contains(&link.address);
            if !stays {
                // Its task finds it gone and ends.
                link.wake();
            }
            stays
        });
        let mut changed = self.links.len() != before;
        let mut dials = Vec::new();
        for address in primaries {
            if !self.links.values().any(|link| link.address == *address) {
                let id = NEXT_LINK.fetch_add(1, Ordering::Relaxed);
                self.links.insert(id, Link::new(address.clone(), now));
                dials.push(id);
                changed = true;
            }
        }
        self.judge();
        (dials, changed)
    }

    fn judge(&mut self) {
        let before = self.whole;
        self.whole = !self.links.is_empty() && self.links.values().all(|link| self.is_watched(link));
        if self.whole != before || self.refused.is_some() {
            self.changed.notify_waiters();
        }
    }

    fn is_watched(&self, link: &Link) -> bool {
        link.up && link.watched == Some(self.serial)
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        match &self.refused {
            _ if self.whole => Standing::Whole,
            Some(text) => Standing::Refused(text.clone()),
            None => Standing::Partial,
        }
    }

    /// True if every change that this node makes from now on will be heard, or its loss told.
    pub fn covers(&self, address: &HostPort) -> bool {
        self.links.values().any(|link| link.address == *address && self.is_watched(link))
    }

    /// The same for the primary of a slot.
    pub fn covers_slot(&self, slot: Slot) -> bool {
        self.whole || self.snapshot.topology.primary_of(slot).is_some_and(|address| self.covers(address))
    }

    /// A connection, for its own task.
    pub fn link(&mut self, id: u64) -> Option<&mut Link> {
        self.links.get_mut(&id)
    }

    /// How long the next attempt to connect must wait.
    pub fn pause_before_dial(&self, id: u64, limits: &RetryLimits, jitter: u32) -> Duration {
        match self.links.get(&id).map_or(0, |link| link.failures) {
            // Once lost, a connection is made again at once.
            0 | 1 => Duration::ZERO,
            failures => backoff(failures - 2, limits, jitter),
        }
    }

    /// A connection stands.
    pub fn link_up(&mut self, id: u64, now: u64) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.connected(now);
        link.watch(&self.cover, self.serial);
    }

    /// A connection broke, or could not be made. True if changes may have been missed by that.
    pub fn link_down(&mut self, id: u64) -> bool {
        let Some(link) = self.links.get_mut(&id) else { return false };
        let watched = link.watched.is_some();
        link.disconnected();
        self.judge();
        watched
    }

    /// A node cannot be watched at all.
    pub fn refuse(&mut self, reason: &str) {
        self.refused = Some(reason.as_bytes().to_vec());
        self.judge();
    }

    /// Takes one frame from a node.
    pub fn frame<'a>(&mut self, id: u64, bytes: &'a [u8], now: u64) -> News<'a> {
        let Some(link) = self.links.get_mut(&id) else { return News::Nothing };
        let news = link.frame(bytes, now);
        match &news {
            News::Watched => {
                self.refused = None;
                self.judge();
            }
            News::Refused(text) => {
                let text = String::from_utf8_lossy(text);
                self.refuse(text.trim_start_matches('-'));
            }
            _ => {}
        }
        news
    }

    /// Looks at everything that has a deadline: a node silent for long is asked, and given up if it stays
    /// silent. False if nobody has needed the watch for a while.
    pub fn tick(&mut self, now: u64, stall_us: u64) -> bool {
        for link in self.links.values_mut().filter(|link| link.up && link.close.is_none()) {
            let silent = now.saturating_sub(link.heard);
            if silent > stall_us && link.owed() > 0 {
                tracing::warn!(node = %link.address, "a node stopped answering; closing the connection that watches it (stall_timeout_ms)");
                link.shut("it stopped answering");
            } else if silent > stall_us / 2 && link.owed() == 0 {
                // The silence counts from here: a node that had nothing to say is not at fault.
                link.heard = now;
                link.ping();
            }
        }
        !self.clients.is_empty() || now.saturating_sub(self.unused_since) < UNUSED_US
    }

    /// Ends it: the tasks find their links gone.
    pub fn end(&mut self) {
        std::mem::take(&mut self.links).values_mut().for_each(Link::wake);
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
