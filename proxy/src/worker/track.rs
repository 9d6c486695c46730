//! Client tracking as clients see it: who tracks, what they read, what they are told to forget. Why this
//! is enough is said in [`crate::tracking`].

use super::fleet::{Question, Tally};
use super::router::{BackendContext, Router};
use crate::backend::connection::ClientKey;
use crate::backend::ledger;
use crate::route::retry::RetryLimits;
use crate::tracking::dial::Watchers;
use crate::tracking::link::{Link, News};
use crate::tracking::mode::{Asked, Redirect, Tracking};
use crate::tracking::table::TableLimits;
use crate::tracking::watch::{Standing, Watch};
use crate::tracking::wire::{self, Forget};
use pointsman_protocol::HostPort;
use pointsman_protocol::command::{CommandSpec, keys};
use pointsman_protocol::resp::Args;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Invalidations are offered to a client's socket at once when this much of them is ready, so that a busy
/// time does not pile up in memory until the turn ends.
const EAGER_BYTES: usize = 64 * 1024;
/// More keys than these are not kept for a client on another worker: it is told to forget everything.
const FORWARD_KEYS_MAX: usize = 10_000;

impl Router {
    /// Begins to track for a client, or goes on in another way.
    pub(crate) fn begin_tracking(&mut self, key: ClientKey, asked: &Asked, redirect: Option<Redirect>) {
        self.read_clock();
        let now = self.now;
        let snapshot = self.snapshot.clone();
        let Some(client) = self.client_mut(key) else { return };
        let before = client.tracking.take().map(|before| *before);
        // What is on its way to the one it redirected to until now is not sorted out.
        let owed = before.as_ref().and_then(|before| before.redirect.as_ref()).is_some_and(|one| one.busy);
        let tracking = asked.over(before, redirect);
        let broadcast = tracking.broadcast;
        let prefixes: Vec<Vec<u8>> = tracking.prefixes.iter().cloned().collect();
        client.tracking = Some(Box::new(tracking));
        let is_first = self.watch.is_none();
        let watch = self.watch.get_or_insert_with(|| Box::new(Watch::new(snapshot, now)));
        let grew = watch.enlist(key, broadcast.then(|| prefixes.iter()));
        if is_first {
            self.move_watch();
        }
        if grew {
            self.all_forget();
        }
        if owed {
            self.invalidate(key, &Told::everything());
        }
        self.note_watch();
    }

    /// Ends a client's tracking: it said so, began anew, or left.
    pub(crate) fn end_tracking(&mut self, key: ClientKey) {
        let now = self.now;
        let Some(tracking) = self.client_mut(key).and_then(|client| client.tracking.take()) else { return };
        if let Some(watch) = &mut self.watch {
            watch.discharge(key, tracking.broadcast.then(|| tracking.prefixes.iter()), now);
        }
        self.note_watch();
    }

    /// True for a client that was told that it tracks.
    pub(crate) fn tracking_is_settled(&mut self, key: ClientKey) -> bool {
        let tracking = self.client_mut(key).and_then(|client| client.tracking.as_ref());
        tracking.is_some_and(|tracking| tracking.settled)
    }

    /// A client is told that it tracks.
    pub(crate) fn settle_tracking(&mut self, key: ClientKey) {
        if let Some(tracking) = self.client_mut(key).and_then(|client| client.tracking.as_mut()) {
            tracking.settled = true;
        }
    }

    /// How it stands with the watch.
    pub(crate) fn watch_standing(&self) -> Standing {
        self.watch.as_ref().map_or(Standing::Partial, |watch| watch.standing())
    }

    /// What tells of it.
    pub(crate) fn watch_changed(&self) -> Option<std::rc::Rc<tokio::sync::Notify>> {
        self.watch.as_ref().map(|watch| watch.changed.clone())
    }

    fn note_watch(&mut self) {
        let (clients, keys) =
            self.watch.as_ref().map_or((0, 0), |watch| (watch.client_count(), watch.table.len()));
        self.counters.tracking.clients.set(clients as u64);
        self.counters.tracking.keys.set(keys as u64);
        self.note_observers();
    }

    /// A request of a tracking client is on its way: whoever changes its keys from now on is to be heard
    /// of. `caching` is what CLIENT CACHING said for it.
    pub(super) fn note_reads(
        &mut self,
        key: ClientKey,
        spec: &'static CommandSpec,
        args: Args<'_>,
        caching: bool,
    ) {
        let Some(mut watch) = self.watch.take() else { return };
        let mut found = std::mem::take(&mut self.keys);
        let division = self.division.clone();
        let mut unheard = Vec::new();
        if let Some(tracking) = self.client_mut(key).and_then(|client| client.tracking.as_mut()) {
            let reads = Tracking::reads(spec);
            tracking.clean &= !reads;
            let minds = tracking.minds(spec, caching);
            if (minds || (reads && tracking.broadcast)) && keys::find(spec, args, &mut found).is_ok() {
                for place in found.iter().filter(|place| !place.access.not_key) {
                    let name = args.at(place.index as usize);
                    if !watch.covers_slot(division.slot(name)) {
                        unheard.push(name.into());
                    } else if minds {
                        watch.table.note(name, key);
                    }
                }
            }
        }
        let limits = TableLimits {
            readers_max: self.context.config.tracking_keys_max,
            bytes_max: self.context.config.tracking_bytes_max,
        };
        let mut excess = Vec::new();
        while let Some(given_up) = watch.table.take_excess(&limits) {
            excess.push(given_up);
        }
        self.counters.tracking.keys.set(watch.table.len() as u64);
        found.clear();
        self.keys = found;
        self.watch = Some(watch);
        for (name, readers) in excess {
            self.counters.tracking.given_up.add(1);
            let told = Told::keys(vec![(*name).into()]);
            readers.into_iter().for_each(|reader| self.invalidate(reader, &told));
        }
        if !unheard.is_empty() {
            self.invalidate(key, &Told::keys(unheard));
        }
    }

    /// A request of a tracking client goes to a node that nobody chose when it was sent first.
    #[cold]
    pub(super) fn note_second_attempt(&mut self, key: ClientKey, connection: usize) {
        let Some(connection) = self.connections.get(connection) else { return };
        if self.watch.as_ref().is_some_and(|watch| watch.covers(&connection.address)) {
            return;
        }
        if let Some(tracking) = self.client_mut(key).and_then(|client| client.tracking.as_mut()) {
            tracking.clean = false;
            self.invalidate(key, &Told::everything());
        }
    }

    /// Keys have changed: whoever keeps them is told.
    fn keys_changed(&mut self, names: &[&[u8]]) {
        let Some(mut watch) = self.watch.take() else { return };
        let mut by_prefix: BTreeMap<&[u8], Vec<Box<[u8]>>> = BTreeMap::new();
        for name in names {
            let readers = watch.table.take(name);
            if !readers.is_empty() {
                let told = Told::keys(vec![(*name).into()]);
                for reader in readers {
                    // What it waits for may still bring the old value, behind this.
                    if self.client_mut(reader).is_some_and(|client| client.is_blocked()) {
                        watch.table.note(name, reader);
                    }
                    self.invalidate(reader, &told);
                }
            }
            if !watch.prefixes.is_empty() {
                for prefix in watch.prefixes.of(name) {
                    by_prefix.entry(prefix).or_default().push((*name).into());
                }
            }
        }
        for (prefix, names) in by_prefix {
            let told = Told::keys(names);
            watch.prefixes.clients(prefix).for_each(|client| self.invalidate(client, &told));
        }
        self.counters.tracking.keys.set(watch.table.len() as u64);
        self.watch = Some(watch);
    }

    /// Nothing that tracking clients keep can be relied on any more.
    fn all_forget(&mut self) {
        let Some(watch) = &mut self.watch else { return };
        watch.table.clear();
        let clients: Vec<ClientKey> = watch.clients().collect();
        let told = Told::everything();
        clients.into_iter().for_each(|client| self.invalidate(client, &told));
    }

    /// A node is watched that was not for a while. What is read by clients that track was called invalid
    /// meanwhile; who hears of prefixes may keep what it read over connections that do not.
    fn gap_is_over(&mut self) {
        let clients: Vec<ClientKey> = self.watch.iter().flat_map(|watch| watch.clients()).collect();
        let told = Told::everything();
        for key in clients {
            let tracking = self.client_mut(key).and_then(|client| client.tracking.as_ref());
            if tracking.is_some_and(|tracking| tracking.broadcast) {
                self.invalidate(key, &told);
            }
        }
    }

    /// Tells a client, or the one it redirects to, what to forget.
    fn invalidate(&mut self, key: ClientKey, told: &Told) {
        let Some(client) = self.client_mut(key) else { return };
        let Some(tracking) = &mut client.tracking else { return };
        if told.what == Forget::Everything {
            // Who hears of prefixes may keep what it read over other connections: it is always told.
            if !tracking.settled || (tracking.clean && !tracking.broadcast) {
                return;
            }
            tracking.clean = true;
        }
        if let Some(redirect) = &mut tracking.redirect {
            redirect.waiting.and(&told.what, FORWARD_KEYS_MAX);
            if !std::mem::replace(&mut redirect.busy, true) {
                let to = redirect.id;
                self.forward(key, to);
            }
            return;
        }
        // RESP2 has no place for it, as in Redis.
        if !client.resp3 || client.closing || client.broken {
            return;
        }
        // What a client waits for may take for ever; it has nothing else on its way.
        match told.frame.split_first() {
            Some((first, rest)) if client.is_blocked() => client.replies.push(*first, rest),
            _ => client.replies.push_behind(&told.frame),
        }
        self.counters.tracking.told.add(1);
        self.written_aside(key);
    }

    /// Has what was pushed to a client written: soon, or at once if it is much.
    pub(super) fn written_aside(&mut self, key: ClientKey) {
        let Some(client) = self.client_mut(key) else { return };
        if client.replies.piled_up() >= EAGER_BYTES {
            self.flush_client(key);
        } else {
            self.mark_client(key);
        }
    }

    /// Brings what a client is to forget to the one it redirects to, which may be another worker's: one
    /// message at a time, so that what comes meanwhile adds up and stays bounded. It ends when the client
    /// redirects to another one than `to`.
    fn forward(&mut self, key: ClientKey, to: u64) {
        let me = self.me.clone();
        tokio::task::spawn_local(async move {
            loop {
                let next = me.upgrade().and_then(|router| router.borrow_mut().next_forward(key, to));
                let Some((context, worker, question)) = next else { return };
                let told = context.fleet.ask_one(worker, context.name.clone(), question).await;
                let Some(router) = me.upgrade() else { return };
                router.borrow_mut().forwarded(key, to, matches!(told, Some(Tally::Told(true))));
            }
        });
    }

    /// What is to be said next to the client that this one redirects to; `None` for nothing, and if that is not
    /// `to` any more.
    fn next_forward(&mut self, key: ClientKey, to: u64) -> Option<(Arc<BackendContext>, usize, Question)> {
        let context = self.context.clone();
        let redirect = self.redirect_to(key, to)?;
        let what = std::mem::take(&mut redirect.waiting);
        if what == Forget::Nothing {
            redirect.busy = false;
            return None;
        }
        let question = Question::Invalidate { client: redirect.client, id: redirect.id, what };
        Some((context, redirect.worker, question))
    }

    /// A client's redirect, if it still goes there.
    fn redirect_to(&mut self, key: ClientKey, to: u64) -> Option<&mut Redirect> {
        let redirect = self.client_mut(key)?.tracking.as_mut()?.redirect.as_mut()?;
        (redirect.id == to).then_some(redirect)
    }

    /// It was told, or it is not there any more. What became of an earlier redirect says nothing of this one.
    fn forwarded(&mut self, key: ClientKey, to: u64, told: bool) {
        self.counters.tracking.told.add(u64::from(told));
        if told || self.redirect_to(key, to).is_none() {
            return;
        }
        let Some(client) = self.client_mut(key) else { return };
        let Some(tracking) = &mut client.tracking else { return };
        tracking.broken = true;
        if client.resp3 {
            let mut frame = Vec::new();
            wire::redirect_broken(&mut frame, to);
            client.replies.push_behind(&frame);
            self.written_aside(key);
        }
    }

    /// A client of another worker, or of this, redirects to one of ours. False if that one has gone.
    pub(super) fn invalidate_for_another(&mut self, key: ClientKey, id: u64, what: &Forget) -> bool {
        let Some(client) = self.client_mut(key).filter(|client| client.id == id) else { return false };
        if client.closing || client.broken {
            return false;
        }
        let mut frame = Vec::new();
        if client.resp3 {
            wire::invalidate(&mut frame, what);
        } else if client.is_subscribed() {
            wire::invalidate_as_message(&mut frame, what);
        }
        if let Some((first, rest)) = frame.split_first() {
            client.replies.push(*first, rest);
            self.written_aside(key);
        }
        true
    }

    /// The place of a client, by its CLIENT ID.
    pub(super) fn find_client(&self, id: u64) -> Option<ClientKey> {
        let (index, client) = self.clients.iter().find(|(_, client)| client.id == id && !client.broken)?;
        Some(ClientKey { index: index as u32, generation: client.generation })
    }

    /// A newer map was taken over.
    pub(super) fn move_watch(&mut self) {
        let (snapshot, now) = (self.snapshot.clone(), self.now);
        let Some(watch) = &mut self.watch else { return };
        let (dials, changed) = watch.adopt(snapshot, now);
        for id in dials {
            if let Some(me) = self.me.upgrade() {
                tokio::task::spawn_local(ledger::run::<Watchers>(me, id));
            }
        }
        if changed {
            self.all_forget();
        }
    }

    /// Time passes for the watch, too.
    pub(super) fn tick_watch(&mut self) {
        let stall = Self::micros(self.context.config.stall_timeout);
        let now = self.now;
        if let Some(watch) = &mut self.watch
            && !watch.tick(now, stall)
        {
            watch.end();
            self.watch = None;
            self.note_watch();
        }
    }

    /// Where a watching connection goes, and how long to wait first. `None` if it is not wanted any more.
    pub(crate) fn watcher_facts(&mut self, id: u64) -> Option<(Arc<BackendContext>, HostPort, Duration)> {
        let (context, jitter) = (self.context.clone(), self.jitter());
        let reconnect = context.config.reconnect;
        let limits = RetryLimits {
            redirects_max: 0,
            attempts_max: 0,
            backoff: reconnect.backoff,
            backoff_max: reconnect.backoff_max,
        };
        let watch = self.watch.as_mut()?;
        let pause = watch.pause_before_dial(id, &limits, jitter);
        let address = watch.link(id)?.address.clone();
        Some((context, address, pause))
    }

    /// A watching connection, for its own task.
    pub(crate) fn watcher_link(&mut self, id: u64) -> Option<&mut Link> {
        self.watch.as_mut()?.link(id)
    }

    /// A watching connection stands.
    pub(crate) fn watcher_up(&mut self, id: u64) {
        self.read_clock();
        let now = self.now;
        if let Some(watch) = &mut self.watch {
            watch.link_up(id, now);
        }
    }

    /// A watching connection broke (it `stood`), or could not be made.
    pub(crate) fn watcher_lost(&mut self, id: u64, reason: &str, stood: bool) {
        self.read_clock();
        let Some(watch) = &mut self.watch else { return };
        let Some((address, failures)) = watch.link(id).map(|link| (link.address.clone(), link.failures))
        else {
            return;
        };
        let missed = watch.link_down(id);
        if reason == ledger::NO_RESP3 {
            watch.refuse(reason);
        }
        if stood {
            self.counters.tracking.connections_lost.add(1);
            tracing::info!(node = %address, reason, "a connection that watches changes was lost");
        } else if failures <= 1 {
            tracing::warn!(node = %address, reason, "a node cannot be watched for changes; trying again");
        }
        if missed {
            self.all_forget();
        }
    }

    /// Takes one frame from a watching connection.
    ///
    /// # Errors
    /// The connection cannot be trusted any more.
    pub(crate) fn watcher_heard(&mut self, id: u64, bytes: &[u8]) -> Result<(), &'static str> {
        let now = self.now;
        let Some(watch) = &mut self.watch else { return Ok(()) };
        match watch.frame(id, bytes, now) {
            News::Changed(names) => self.keys_changed(&names),
            News::ChangedAll => self.all_forget(),
            News::Watched => self.gap_is_over(),
            News::Nothing => {}
            News::Refused(text) => {
                // Told once for each row of refusals.
                let link =
                    self.watch.as_mut().and_then(|watch| watch.link(id)).filter(|link| link.failures == 0);
                if let Some(link) = link {
                    let text = String::from_utf8_lossy(text);
                    tracing::warn!(node = %link.address, %text, "a node refuses to tell what changes; what clients read from it is called invalid at once");
                }
                return Err("it refuses to tell what changes");
            }
            News::Broken(reason) => return Err(reason),
        }
        Ok(())
    }
}

/// What clients are to forget, and the push that says so.
struct Told {
    what: Forget,
    frame: Vec<u8>,
}

impl Told {
    fn keys(names: Vec<Box<[u8]>>) -> Told {
        Told::new(Forget::Keys(names))
    }

    fn everything() -> Told {
        Told::new(Forget::Everything)
    }

    fn new(what: Forget) -> Told {
        let mut frame = Vec::new();
        wire::invalidate(&mut frame, &what);
        Told { what, frame }
    }
}

/// Finds the client that another wants to redirect to, whichever worker has it.
pub(crate) async fn find_redirect(context: Arc<BackendContext>, id: i64) -> Option<Redirect> {
    let id = u64::try_from(id).ok()?;
    for worker in 0..context.fleet.worker_count() {
        let tally = context.fleet.ask_one(worker, context.name.clone(), Question::Find(id)).await;
        if let Some(Tally::Found(Some(client))) = tally {
            return Some(Redirect { id, worker, client, waiting: Forget::Nothing, busy: false });
        }
    }
    None
}

#[cfg(test)]
#[path = "track_tests.rs"]
mod tests;
