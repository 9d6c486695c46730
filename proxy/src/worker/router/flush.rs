//! What waits is written: one write a socket for all that a turn of the loop brings.
//!
//! Requests to a node go out with the next flush; a client's ready replies may wait a moment for the rest of their
//! batch. Nothing here blocks: what the kernel does not take waits for its word.

use super::Router;
use crate::backend::connection::ClientKey;
use std::task::{Context, Poll};

/// Replies wait at most this long for the rest of their batch, in microseconds; then the timer's own
/// grain comes on top while nothing else happens.
const HOLD_US: u64 = 500;

impl Router {
    /// Has the next flush write to this connection.
    #[inline]
    pub(in crate::worker) fn mark_connection(&mut self, id: usize) {
        if let Some(connection) = self.connections.get_mut(id)
            && !connection.dirty
        {
            connection.dirty = true;
            self.dirty_connections.push(id as u32);
            self.wake_flusher();
        }
    }

    /// Has the next flush write to this client.
    #[inline]
    pub(in crate::worker) fn mark_client(&mut self, key: ClientKey) {
        if let Some(client) = self.client_mut(key)
            && !client.dirty
        {
            client.dirty = true;
            self.dirty_clients.push(key);
            self.wake_flusher();
        }
    }

    #[inline]
    pub(in crate::worker) fn wake_flusher(&mut self) {
        if let Some(flusher) = self.flusher.take() {
            flusher.wake();
        }
    }

    /// The flush of a batch. It is a task of its own, woken by the first request or reply of a
    /// batch; the scheduler runs it behind all tasks that were ready then, so whatever they bring
    /// goes out with one write a socket.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.read_clock();
        self.release_held();
        loop {
            self.adopt();
            if std::mem::take(&mut self.detours_due) {
                self.run_detours();
            }
            if self.dirty_connections.is_empty() && self.dirty_clients.is_empty() {
                break;
            }
            self.flush();
        }
        self.flusher = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Writes what waits, one write a socket.
    pub fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty_connections);
        for id in dirty.drain(..) {
            let Some(connection) = self.connections.get_mut(id as usize) else { continue };
            if let Err(error) = connection.flush(self.now) {
                // The reading side will say the same; this only makes it sooner.
                tracing::debug!(node = %connection.address, %error, "a write to a node failed");
                connection.close = Some("a write failed");
                connection.wake();
            }
        }
        if self.dirty_connections.is_empty() {
            self.dirty_connections = dirty;
        }
        let mut dirty = std::mem::take(&mut self.dirty_clients);
        for key in dirty.drain(..) {
            if !self.hold(key) {
                self.flush_client(key);
            }
        }
        if self.dirty_clients.is_empty() {
            self.dirty_clients = dirty;
        }
    }

    /// Keeps a client's ready replies back while the rest of their batch is on its way.
    #[inline]
    fn hold(&mut self, key: ClientKey) -> bool {
        let now = self.now;
        let Some(client) = self.client_mut(key) else { return false };
        if !client.replies.is_mid_batch() || client.paused {
            return false;
        }
        client.dirty = false;
        if client.held_since.is_none() {
            client.held_since = Some(now);
            if self.held.is_empty() {
                self.holder.notify_one();
            }
            self.held.push_back((key, now));
        }
        true
    }

    /// Writes what has been kept back for long enough. True while something is still kept back.
    pub(in crate::worker) fn release_held(&mut self) -> bool {
        while let Some((key, since)) = self.held.front().copied() {
            if self.now.saturating_sub(since) < HOLD_US {
                return true;
            }
            self.held.pop_front();
            let Some(client) = self.client_mut(key) else { continue };
            // An entry of a batch that was completed meanwhile is of no use any more.
            if client.held_since == Some(since) {
                client.replies.end_hold();
                self.flush_client(key);
            }
        }
        false
    }

    /// Offers a client's replies to the kernel.
    pub fn flush_client(&mut self, key: ClientKey) {
        let Some(client) =
            self.clients.get_mut(key.index as usize).filter(|client| client.generation == key.generation)
        else {
            return;
        };
        client.dirty = false;
        client.held_since = None;
        let mut wrote = 0;
        loop {
            let ready = client.replies.ready();
            if ready.is_empty() {
                client.write_blocked = false;
                break;
            }
            match client.writer.try_write(ready) {
                Ok(count) => {
                    client.replies.wrote(count);
                    wrote += count;
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    if !std::mem::replace(&mut client.write_blocked, true) {
                        client.wake();
                    }
                    break;
                }
                Err(_) => {
                    client.broken = true;
                    client.wake();
                    return;
                }
            }
        }
        if let Some(rates) = &mut client.rates {
            rates.answered(client.replies.span().0, wrote);
        }
        // One reply may be as large as `reply_bytes_max` allows; it is what piles up behind it that
        // tells a client which does not read.
        let piled_up = client.replies.piled_up().saturating_sub(client.replies.largest());
        if piled_up > client.listener.limits.output_bytes_max {
            // It may be written to once more before its task ends.
            if !client.broken {
                tracing::warn!(client = %client.address, bytes = client.replies.held(), "a client does not read its replies; closing it (client_limits.output_bytes_max)");
                self.counters.clients_overflowed.add(1);
            }
            client.broken = true;
            client.wake();
            return;
        }
        // Small buffers stay for the next batch; the sweep takes them from clients that went quiet.
        if client.replies.is_idle() && !client.replies.is_small() {
            client.replies.shrink();
        }
        self.resume(key);
    }
}
