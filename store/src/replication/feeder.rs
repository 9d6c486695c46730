//! Feeds one replica: copies what there is, then passes on what happens.
//!
//! The copy is relaxed: no moment in time is frozen. A walker sends the present value of one key after
//! another; a write to a key that it has passed is sent behind it, a write to any other is not sent
//! at all, as the walker will find its outcome. Nothing piles up while the copy lasts, however long
//! it takes, except what the socket does not take; and that has a cap, over which the link is cut.

use super::effects::{EffectLog, Follower, Phase, set_effect};
use super::frame::{Header, Kind};
use super::handshake::Answer;
use crate::keyspace::{Cursor, Handle, Keyspace};
use crate::number::parse_integer;
use crate::server::client::{Client, SyncRequest};
use crate::server::{Node, wall_ms};
use pointsman_protocol::resp::{RequestDecoder, RequestLimits};
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// Bytes of a copy that may wait in a message before it is sent.
const COPY_MESSAGE_BYTES: usize = 64 * 1024;
/// Bytes of acknowledgements that may wait to be read; more are no acknowledgements.
const ACKS_MAX: usize = 4096;
/// Messages sent before the others get their turn.
const MESSAGES_PER_TURN: usize = 16;

/// Removes a follower from the log when its feeder ends, however that comes about.
struct Following<'a> {
    node: &'a Node,
    id: u64,
}

impl Drop for Following<'_> {
    fn drop(&mut self) {
        if let Ok(mut executor) = self.node.executor.try_borrow_mut() {
            executor.log.unfollow(self.id);
        }
    }
}

/// Feeds the replica behind `stream` until the link ends.
pub async fn feed(node: &Node, stream: &TcpStream, client: &Client, request: &SyncRequest) {
    let wake = Rc::new(Notify::new());
    let answer = admit(node, client, request, &wake);
    let _following = Following { node, id: client.id };
    tracing::info!(replica = %client.address, port = request.port, ?answer, "feeding a replica");
    let epoch = node.executor.borrow().epoch();
    let mut feeder = Feeder {
        node,
        id: client.id,
        stream,
        message: answer.to_line(epoch).into_bytes(),
        sent: 0,
        acks: Vec::new(),
        decoder: RequestDecoder::new(),
        heartbeat_due: true,
    };
    match feeder.run(&wake).await {
        Ok(()) => tracing::info!(replica = %client.address, "a replica has gone"),
        Err(error) => tracing::warn!(replica = %client.address, %error, "the link to a replica was cut"),
    }
}

/// Decides between copy and continuation, and begins to follow the log.
fn admit(node: &Node, client: &Client, request: &SyncRequest, wake: &Rc<Notify>) -> Answer {
    let executor = &mut *node.executor.borrow_mut();
    let log = &mut executor.log;
    let own = log.replication_id();
    let known =
        request.known.filter(|(id, offset)| *id == own && log.is_active() && log.backlog().reaches(*offset));
    let (answer, phase, acked) = match known {
        Some((_, offset)) => {
            executor.stats.syncs_partial += 1;
            (Answer::Continue(own), Phase::Streaming { sent: offset }, offset)
        }
        None => {
            executor.stats.syncs_full += 1;
            executor.stats.syncs_partial_failed += u64::from(request.known.is_some());
            (
                Answer::Full(own),
                Phase::Copying { cursor: Cursor::START, pending: Vec::new(), out: Vec::new() },
                0,
            )
        }
    };
    log.follow(Follower {
        id: client.id,
        host: client.address.ip().to_string(),
        port: request.port,
        phase,
        acked,
        acked_ms: wall_ms(),
        overrun: false,
        wake: Rc::clone(wake),
    });
    answer
}

struct Feeder<'a> {
    node: &'a Node,
    id: u64,
    stream: &'a TcpStream,
    /// The message being sent, and how much of it has been.
    message: Vec<u8>,
    sent: usize,
    /// Acknowledgements that have come in part.
    acks: Vec<u8>,
    decoder: RequestDecoder,
    heartbeat_due: bool,
}

impl Feeder<'_> {
    async fn run(&mut self, wake: &Notify) -> io::Result<()> {
        let period = Duration::from_millis(self.node.limits.replication_heartbeat_ms.max(1));
        let mut heartbeat = tokio::time::interval(period);
        heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let blocked = self.send_some()?;
            let busy = !blocked && self.has_more();
            tokio::select! {
                biased;
                _ = heartbeat.tick() => {
                    self.heartbeat_due = true;
                    self.check_silence()?;
                }
                readable = self.stream.readable() => {
                    readable?;
                    if self.read_acks()? {
                        return Ok(());
                    }
                }
                writable = self.stream.writable(), if blocked => writable?,
                () = wake.notified(), if !busy && !blocked => {}
                () = tokio::task::yield_now(), if busy => {}
            }
        }
    }

    /// Sends messages until there is none, the socket takes no more (then true), or the turn is over.
    fn send_some(&mut self) -> io::Result<bool> {
        for _ in 0..MESSAGES_PER_TURN {
            while self.sent < self.message.len() {
                match self.stream.try_write(&self.message[self.sent..]) {
                    Ok(sent) => self.sent += sent,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.check_overrun()?;
                        return Ok(true);
                    }
                    Err(error) => return Err(error),
                }
            }
            self.message.clear();
            self.message.shrink_to(4 * COPY_MESSAGE_BYTES);
            self.sent = 0;
            self.check_overrun()?;
            self.next_message();
            if self.message.is_empty() {
                break;
            }
        }
        Ok(false)
    }

    /// Fills `message`, if there is anything to tell.
    fn next_message(&mut self) {
        let executor = &mut *self.node.executor.borrow_mut();
        let epoch = executor.epoch();
        let end = executor.log.offset();
        let heartbeat = std::mem::take(&mut self.heartbeat_due);
        let entries = executor.spec.limits.copy_entries_per_turn;
        // A copying follower is changed while the key space is read; one that streams reads the log.
        let Some(follower) = executor.log.follower_mut(self.id) else { return };
        let header = |kind, offset, length| Header { kind, epoch, offset, length }.to_bytes();
        match &mut follower.phase {
            Phase::Copying { cursor, pending, out } => {
                *cursor = copy_some(&executor.keyspace, *cursor, pending, entries, out);
                let mut commands = std::mem::take(out);
                let done = *cursor == Cursor::END && pending.is_empty();
                if !commands.is_empty() {
                    self.message.extend_from_slice(&header(Kind::Copy, end, commands.len()));
                    self.message.append(&mut commands);
                }
                if done {
                    self.message.extend_from_slice(&header(Kind::CopyEnd, end, 0));
                    follower.phase = Phase::Streaming { sent: end };
                }
            }
            Phase::Streaming { sent } => {
                let from = *sent;
                let part = executor.log.backlog().read(from);
                if !part.is_empty() {
                    self.message.extend_from_slice(&header(Kind::Stream, from, part.len()));
                    self.message.extend_from_slice(part);
                    let to = from + part.len() as u64;
                    if let Some(Follower { phase: Phase::Streaming { sent }, .. }) =
                        executor.log.follower_mut(self.id)
                    {
                        *sent = to;
                    }
                }
            }
        }
        if heartbeat {
            self.message.extend_from_slice(&header(Kind::Heartbeat, end, 0));
        }
    }

    /// True if another message could be made at once.
    fn has_more(&self) -> bool {
        let executor = self.node.executor.borrow();
        let follower = executor.log.followers().iter().find(|follower| follower.id == self.id);
        follower.is_some_and(|follower| match follower.phase {
            Phase::Copying { .. } => true,
            Phase::Streaming { sent } => sent < executor.log.offset(),
        })
    }

    fn check_overrun(&self) -> io::Result<()> {
        let executor = self.node.executor.borrow();
        match find(&executor.log, self.id) {
            Some(follower) if !follower.overrun && reaches(&executor.log, follower) => Ok(()),
            Some(_) => Err(io::Error::other(format!(
                "more than {} bytes wait for it; it will have to start over",
                executor.log.waiting_bytes_max()
            ))),
            None => Err(io::Error::other("it is not followed any more")),
        }
    }

    fn check_silence(&self) -> io::Result<()> {
        let executor = self.node.executor.borrow();
        let acked_ms = find(&executor.log, self.id).map_or(0, |follower| follower.acked_ms);
        let silence_ms = wall_ms().saturating_sub(acked_ms);
        if silence_ms > self.node.limits.replication_timeout_ms {
            return Err(io::Error::other(format!("nothing was heard of it for {silence_ms} ms")));
        }
        Ok(())
    }

    /// Reads acknowledgements. True at the end of the connection.
    fn read_acks(&mut self) -> io::Result<bool> {
        match self.stream.try_read_buf(&mut self.acks) {
            Ok(0) => return Ok(true),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
        let limits = RequestLimits::BEFORE_AUTH;
        loop {
            let length = match self.decoder.next(&self.acks, &limits) {
                Ok(Some(length)) => length,
                Ok(None) if self.acks.len() < ACKS_MAX => return Ok(false),
                Ok(None) => return Err(io::Error::other("it sent something that is no acknowledgement")),
                Err(error) => return Err(io::Error::other(error)),
            };
            let args = self.decoder.args(&self.acks);
            let offset = parse_integer(args.at(2)).and_then(|offset| u64::try_from(offset).ok());
            let Some(offset) = offset.filter(|_| args.at(1).eq_ignore_ascii_case(b"ACK")) else {
                return Err(io::Error::other("it sent something that is no acknowledgement"));
            };
            self.acks.drain(..length);
            if let Some(follower) = self.node.executor.borrow_mut().log.follower_mut(self.id) {
                follower.acked = follower.acked.max(offset);
                follower.acked_ms = wall_ms();
            }
        }
    }
}

fn find(log: &EffectLog, id: u64) -> Option<&Follower> {
    log.followers().iter().find(|follower| follower.id == id)
}

/// True if the stream can be read on from where the follower is. The log sees to that for all who are not
/// overrun; a follower that waits for bytes that are gone would wait for ever.
fn reaches(log: &EffectLog, follower: &Follower) -> bool {
    match follower.phase {
        Phase::Copying { .. } => true,
        Phase::Streaming { sent } => log.backlog().reaches(sent),
    }
}

/// Appends the present values of some entries: those of pending keys first, then those from `cursor` on.
/// A message is not made larger than it should be by more than one value; what does not fit of a piece
/// of the walk becomes pending. Gives the position behind that piece.
fn copy_some(
    keyspace: &Keyspace,
    mut cursor: Cursor,
    pending: &mut Vec<Box<[u8]>>,
    entries: usize,
    out: &mut Vec<u8>,
) -> Cursor {
    let mut copied = 0;
    let copy = |handle: Handle, out: &mut Vec<u8>| {
        set_effect(out, keyspace.key(handle), keyspace.bytes(handle), keyspace.expire_at(handle));
    };
    while out.len() < COPY_MESSAGE_BYTES {
        let Some(key) = pending.pop() else { break };
        copied += 1;
        if let Some(handle) = keyspace.find(keyspace.place(&key), &key) {
            copy(handle, out);
        }
    }
    while cursor < Cursor::END && copied < entries && out.len() < COPY_MESSAGE_BYTES {
        cursor = keyspace.walk(cursor, |handle| {
            copied += 1;
            if out.len() < COPY_MESSAGE_BYTES {
                copy(handle, out);
            } else {
                pending.push(keyspace.key(handle).into());
            }
        });
    }
    if keyspace.walk_is_over(cursor) { Cursor::END } else { cursor }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::{Encoding, Payload};

    #[test]
    fn messages_of_a_copy_stay_small_whatever_the_values_are() {
        let mut keyspace = Keyspace::new((1, 2));
        let value = vec![b'v'; 30_000];
        for number in 0..400 {
            // One slot, one segment: one piece of the walk.
            let key = format!("{{tag}}:{number}");
            let place = keyspace.place(key.as_bytes());
            keyspace.put(place, key.as_bytes(), Payload::Slice(&value), Encoding::Raw, None).unwrap();
        }
        let (mut cursor, mut pending, mut sent, mut messages) = (Cursor::START, Vec::new(), 0, 0);
        while cursor < Cursor::END || !pending.is_empty() {
            let mut out = Vec::new();
            cursor = copy_some(&keyspace, cursor, &mut pending, 256, &mut out);
            assert!(out.len() < COPY_MESSAGE_BYTES + value.len() + 100, "{}", out.len());
            sent += out.len() / value.len();
            messages += 1;
        }
        assert_eq!(sent, 400);
        assert!(messages > 100);
    }
}
