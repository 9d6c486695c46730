//! A reply comes back: from a connection to the client that waits for it, or to a second attempt.

use super::detour::Parked;
use super::router::Router;
use crate::admin::counters::Outcome;
use crate::backend::connection::{ClientKey, Connection, InFlight, Phase, Request};
use crate::client::replies::Filled;
use crate::client::state::{Class, Client};
use crate::route::failure::{Failure, FailureKind};
use crate::route::retry::Cause;
use pointsman_protocol::error_code::ErrorCode;
use pointsman_protocol::redirect::Redirect;
use pointsman_protocol::resp3;
use slab::Slab;

/// A reply at least this large, for a client that waits for nothing else, is written from the read
/// buffer straight to its socket.
const DIRECT_BYTES: usize = 4 * 1024;

/// How the reply of an EXEC begins when a command of its transaction was not queued.
const EXECABORT: &[u8] = b"-EXECABORT ";

/// How CLIENT UNBLOCK ends a wait with an error: on purpose, so it is not begun again.
const BY_A_CLIENT: &[u8] = b"-UNBLOCKED client unblocked via CLIENT UNBLOCK";

impl Router {
    /// Takes one whole reply from a connection.
    #[inline]
    pub fn reply(&mut self, id: usize, bytes: &[u8]) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.takes_ahead(bytes) {
            return;
        }
        let Some(entry) = connection.pop() else {
            // More replies than requests: the stream cannot be trusted any more.
            connection.close = Some("it answered more than it was asked");
            return connection.wake();
        };
        if bytes.first() == Some(&b'-') {
            return self.error_reply(id, entry, bytes);
        }
        if entry.request.traits.blocking {
            // How long it waited says nothing about the node.
            self.unblocked(entry.request.client, id);
            if let Some(void) = self.count_is_void(id, &entry.request) {
                return self.settle(&entry.request, &void, Outcome::Error);
            }
        } else if entry.request.traits.attempts == 0 {
            connection.counters.latency(now.saturating_sub(entry.request.since));
        }
        if entry.request.ahead > 0 {
            self.note_executed(id, &entry, bytes);
        }
        if !self.detours.is_empty() {
            self.fail_overtaken(id, &entry);
        }
        self.settle(&entry.request, bytes, Outcome::Ok);
    }

    /// Takes one whole reply from a connection whose node speaks only RESP2, for clients that speak RESP3.
    #[cold]
    pub fn resp2_reply(&mut self, id: usize, bytes: &[u8]) {
        let Some(request) = self.connections.get(id).and_then(|connection| connection.front_bytes()) else {
            return self.reply(id, bytes);
        };
        let mut converted = Vec::with_capacity(bytes.len());
        resp3::reply(request, bytes, &mut converted);
        self.counters.converted_replies.add(1);
        self.reply(id, &converted);
    }

    /// An error is data unless it says that the command was not executed here.
    #[cold]
    fn error_reply(&mut self, id: usize, entry: InFlight, bytes: &[u8]) {
        if entry.request.traits.blocking {
            self.unblocked(entry.request.client, id);
        }
        // A transaction that was refused as a whole because a command of it was: what that was told is the
        // cause, and nothing was executed.
        let refused = self.connections[id].take_refused();
        let bytes = match &refused {
            Some(refused) if bytes.starts_with(EXECABORT) && ErrorCode::of(refused) != ErrorCode::Other => {
                refused
            }
            _ => bytes,
        };
        if entry.request.ahead > 0
            && !entry.request.traits.blocking
            && let Some(kind) = self.transactions_lost(id, &entry.request, bytes)
        {
            return self.settle_failure(&entry.request, kind);
        }
        let connection = &self.connections[id];
        let code = match ErrorCode::of(bytes) {
            code if entry.request.traits.script && !believable(code, bytes) => ErrorCode::Other,
            code => code,
        };
        let cause = match code {
            ErrorCode::Moved => Cause::Moved,
            ErrorCode::Ask => Cause::Ask,
            ErrorCode::TryAgain => Cause::TryAgain,
            ErrorCode::ClusterDown => Cause::ClusterDown,
            ErrorCode::Loading => Cause::Loading,
            ErrorCode::MasterDown => Cause::MasterDown,
            ErrorCode::ReadOnly => Cause::ReadOnly,
            ErrorCode::NoAuth | ErrorCode::WrongPass => Cause::Auth,
            // The node has become a replica, or the key has gone elsewhere.
            ErrorCode::Other
                if entry.request.traits.blocking
                    && bytes.starts_with(b"-UNBLOCKED ")
                    && !bytes.starts_with(BY_A_CLIENT) =>
            {
                Cause::ReadOnly
            }
            ErrorCode::Other if entry.request.traits.script && self.heal_script(id, &entry, bytes) => return,
            ErrorCode::Other => {
                // What a script that writes says on a node that became a replica.
                if bytes.starts_with(b"-READONLY ") {
                    self.context.snapshots.request_refresh("readonly");
                }
                let connection = &self.connections[id];
                if entry.request.traits.attempts == 0 && !entry.request.traits.blocking {
                    connection.counters.latency(self.now.saturating_sub(entry.request.since));
                }
                return self.settle_error(id, &entry, bytes);
            }
        };
        if entry.request.client == ClientKey::NOBODY {
            self.counters.orphan_replies.add(1);
            return;
        }
        if matches!(cause, Cause::ClusterDown | Cause::Loading | Cause::MasterDown) {
            connection.counters.unhealthy.add(1);
            self.note_refusal(id);
        }
        let connection = &self.connections[id];
        let redirect = match cause {
            Cause::Moved | Cause::Ask => Redirect::parse(bytes, &connection.address),
            _ => None,
        };
        // A script that speaks of another slot, or of none, has made it up, and it has run.
        if entry.request.traits.script
            && matches!(cause, Cause::Moved | Cause::Ask)
            && redirect.as_ref().map(|redirect| redirect.slot) != entry.request.slot
        {
            return self.settle_error(id, &entry, bytes);
        }
        // A redirect speaks of the slot that was asked for; and where a script may have put it
        // together itself, it must at least lead to a node that is ours.
        let redirect = redirect.filter(|redirect| {
            let known =
                || self.snapshot.topology.find(&self.context.reachable(redirect.to.clone())).is_some();
            Some(redirect.slot) == entry.request.slot && (!entry.request.traits.script || known())
        });
        if cause == Cause::Auth {
            tracing::error!(node = %connection.address, "the node refuses our credentials; correct username and password of this backend");
        }
        let parked = Parked::new(entry.request, connection.bytes_of(&entry).to_vec());
        match redirect {
            Some(redirect) => {
                let to = self.context.reachable(redirect.to);
                tracing::debug!(slot = %redirect.slot, %to, ask = redirect.asking, "redirected");
                self.attempt_failed(parked, cause, Some(to));
            }
            // A redirect that cannot be read leads nowhere: wait for a better map.
            None if matches!(cause, Cause::Moved | Cause::Ask) => {
                self.attempt_failed(parked, Cause::ClusterDown, None)
            }
            None => self.attempt_failed(parked, cause, None),
        }
    }

    /// Gives a client an error that says its request was executed, and with it that what is parked before it must
    /// not be any more.
    fn settle_error(&mut self, id: usize, entry: &InFlight, bytes: &[u8]) {
        if !self.detours.is_empty() {
            self.fail_overtaken(id, entry);
        }
        self.settle(&entry.request, bytes, Outcome::Error);
    }

    /// Gives a client the answer to a request, for good.
    #[inline]
    pub(super) fn settle(&mut self, request: &Request, bytes: &[u8], outcome: Outcome) {
        let key = request.client;
        let Some(client) =
            self.clients.get_mut(key.index as usize).filter(|client| client.generation == key.generation)
        else {
            if request.traits.guard {
                self.left_guard_answered(key, bytes);
            }
            // ASKING's own reply comes here too; it is expected.
            if key != ClientKey::NOBODY {
                self.counters.orphan_replies.add(1);
            }
            return;
        };
        client.in_flight = client.in_flight.saturating_sub(1);
        client.writes_in_flight -= u32::from(request.traits.write && client.writes_in_flight > 0);
        if request.traits.write {
            client.written.note(request.slot);
        }
        client.replica_reads -= u32::from(request.traits.replica && client.replica_reads > 0);
        match request.part {
            Some(_) if request.traits.guard => return self.guard_answered(request, bytes, outcome),
            Some(_) if request.traits.vigil => return self.vigil_answered(request, bytes),
            Some(part) => match client.replies.fill_part(request.ticket, part, bytes) {
                Filled::Part if client.replies.gathered() > self.context.config.reply_bytes_max => {
                    client.replies.give_up_gather(request.ticket);
                }
                Filled::Part => {}
                Filled::Whole => {
                    if let Some((_, database)) =
                        client.selecting.take_if(|(ticket, _)| *ticket == request.ticket)
                    {
                        selected(client, &mut self.connections, database, bytes, outcome);
                    }
                    self.counters.request(Class::Multi, outcome);
                }
                Filled::Asks(sequel) => return self.ask_on(request, sequel),
            },
            None => {
                let class = if request.traits.write { Class::Write } else { Class::Read };
                self.counters.request(class, outcome);
                let mut rest = bytes;
                if bytes.len() >= DIRECT_BYTES
                    && !client.write_blocked
                    && client.replies.only_waits_for(request.ticket)
                    && let Ok(count) = client.writer.try_write(bytes)
                {
                    rest = &bytes[count..];
                }
                client.replies.fill(request.ticket, rest);
            }
        }
        let (dirty, paused) = (client.dirty, client.paused);
        if client.detour.is_some() {
            self.detour_settled(key, request.slot, request.traits.detour);
        }
        if !dirty {
            self.mark_client(key);
        }
        if paused {
            self.resume(key);
        }
    }

    /// Tells a client that its request came to nothing.
    #[cold]
    pub(super) fn settle_failure(&mut self, request: &Request, kind: FailureKind) {
        self.counters.failure(kind);
        let mut bytes = Vec::new();
        Failure { kind, slot: request.slot }.write(&mut bytes);
        self.settle(request, &bytes, Outcome::Failed);
    }

    /// A connection broke, or could not be made: everything on it fails, in order.
    #[cold]
    pub fn connection_lost(&mut self, id: usize, next: Phase) {
        self.read_clock();
        let Some(connection) = self.connections.get_mut(id) else { return };
        for lost in connection.down(next) {
            if lost.entry.request.client == ClientKey::NOBODY {
                continue;
            }
            let cause = if lost.sent { Cause::LostAfterSend } else { Cause::NotSent };
            self.attempt_failed(Parked::new(lost.entry.request, lost.bytes), cause, None);
        }
    }

    /// A reply larger than allowed is on its way: its request fails, and the connection that carries
    /// it cannot be used any more.
    #[cold]
    pub fn reply_too_large(&mut self, id: usize) {
        if let Some(entry) = self.connections.get_mut(id).and_then(|connection| connection.pop())
            && entry.request.client != ClientKey::NOBODY
        {
            self.settle_failure(&entry.request, FailureKind::ReplyTooLarge);
        }
    }
}

/// What was to select a database for a client was answered: a transaction, or a SELECT over the connection of its own.
#[cold]
fn selected(
    client: &mut Client,
    connections: &mut Slab<Connection>,
    database: u16,
    bytes: &[u8],
    outcome: Outcome,
) {
    let pin = client.pin.as_deref_mut();
    match bytes {
        // A transaction is executed if it is answered neither null nor an error. It left its connection as it was.
        [b'*', next, ..] if *next != b'-' => client.database = database,
        [b'+', ..] => {
            client.database = database;
            if let Some(id) = pin.and_then(|pin| pin.connection)
                && let Some(connection) = connections.get_mut(id)
            {
                connection.lane.database = database;
            }
        }
        // No answer: nobody knows in which database it is now, so EXEC will answer null.
        _ if outcome == Outcome::Failed => {
            if let Some(id) = pin.and_then(|pin| pin.connection.take())
                && let Some(connection) = connections.get_mut(id)
            {
                connection.holder = ClientKey::NOBODY;
                connection.retiring = true;
                connection.close = Some("it is not known which database it has");
                connection.wake();
            }
        }
        _ => {}
    }
}

/// Whether an error that a script's reply begins with is the node's own. A script may return any text,
/// and what it returns it returns after it ran: only the node's exact words mean that it did not run.
fn believable(code: ErrorCode, reply: &[u8]) -> bool {
    let words: &[&[u8]] = match code {
        ErrorCode::Moved | ErrorCode::Ask => return true,
        ErrorCode::TryAgain => &[b"-TRYAGAIN Multiple keys request during rehashing of slot"],
        ErrorCode::ClusterDown => {
            &[b"-CLUSTERDOWN The cluster is down", b"-CLUSTERDOWN Hash slot not served"]
        }
        ErrorCode::Loading => &[b"-LOADING Redis is loading", b"-LOADING Valkey is loading"],
        ErrorCode::MasterDown => &[b"-MASTERDOWN Link with MASTER is down"],
        ErrorCode::NoAuth => &[b"-NOAUTH Authentication required"],
        ErrorCode::ReadOnly | ErrorCode::WrongPass | ErrorCode::Other => &[],
    };
    words.iter().any(|words| reply.starts_with(words))
}
