//! A round: what all sessions that were ready have read, executed together.
//!
//! The first session that reads wakes the round's task, which the runtime puts behind all sessions
//! that are ready as well. So when it runs, it finds what has come on all of them, and no look at the
//! sockets lies in between.

use super::batch::{Batch, Budget, End, Input, Part};
use super::session::{Session, poll_read_into};
use super::{Node, wall_ms};
use pointsman_protocol::resp::RequestDecoder;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::net::tcp::OwnedReadHalf;

/// Bytes that one read takes at most.
pub const READ_BYTES: usize = 64 * 1024;
/// Bytes that sessions read before a round runs even if more of them are ready.
const ROUND_BYTES: usize = 4 * READ_BYTES;
/// Sessions that read before a round runs even if more of them are ready: enough to fill the window of a
/// batch, few enough that the first of them need not wait long for its reply.
const ROUND_SESSIONS: usize = 64;
/// Room for replies that is kept between rounds.
const REPLY_BYTES_KEPT: usize = 256 * 1024;

/// See the module.
#[derive(Debug)]
pub struct Round {
    /// What sessions have read, one behind the other.
    shared: Box<[u8]>,
    filled: usize,
    parts: Vec<Part<Rc<Session>>>,
    batch: Batch,
    replies: Vec<u8>,
}

impl Default for Round {
    fn default() -> Self {
        Round {
            shared: vec![0; ROUND_BYTES].into_boxed_slice(),
            filled: 0,
            parts: Vec::new(),
            batch: Batch::default(),
            replies: Vec::new(),
        }
    }
}

/// Runs rounds, for ever.
pub async fn run_rounds(node: Rc<Node>) {
    let () = poll_fn(|context| {
        let waker = &mut *node.round_waker.borrow_mut();
        if waker.as_ref().is_none_or(|waker| !waker.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
        node.round.borrow_mut().run(&node);
        Poll::Pending
    })
    .await;
}

impl Round {
    /// Reads once from a connection into the shared buffer.
    #[inline]
    pub fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        node: &Node,
        read: Pin<&mut OwnedReadHalf>,
    ) -> Poll<io::Result<Input>> {
        if self.shared.len() - self.filled < READ_BYTES || self.parts.len() >= ROUND_SESSIONS {
            self.run(node);
        }
        let start = self.filled;
        let length = ready!(poll_read_into(context, read, &mut self.shared[start..start + READ_BYTES]))?;
        self.filled += length;
        Poll::Ready(Ok(Input::Shared(start..start + length)))
    }

    /// Adds what a session has read, or has kept from before.
    #[inline]
    pub fn add(
        &mut self,
        node: &Node,
        session: &Rc<Session>,
        input: Input,
        decoder: Option<Box<RequestDecoder>>,
        budget: Budget,
    ) {
        if self.parts.is_empty()
            && let Some(waker) = &*node.round_waker.borrow()
        {
            waker.wake_by_ref();
        }
        self.parts.push(Part::new(Rc::clone(session), Rc::clone(&session.client), input, decoder, budget));
    }

    /// Executes what is there and sends the replies.
    fn run(&mut self, node: &Node) {
        if self.parts.is_empty() {
            return;
        }
        {
            let executor = &mut *node.executor.borrow_mut();
            executor.set_time(wall_ms());
            let offset = executor.log.offset();
            self.batch.run(executor, &self.shared[..self.filled], &mut self.parts, &mut self.replies);
            executor.stats.input_bytes += self.parts.iter().map(|part| part.consumed as u64).sum::<u64>();
            executor.stats.output_bytes += self.replies.len() as u64;
            if executor.log.offset() != offset {
                executor.log.wake_followers();
            }
            node.publish(executor);
        }
        for mut part in self.parts.drain(..) {
            let left = match &mut part.input {
                _ if part.end == Some(End::Last) => Vec::new(),
                Input::Shared(range) => self.shared[range.start + part.consumed..range.end].to_vec(),
                Input::Own(bytes) if part.consumed == bytes.len() => Vec::new(),
                Input::Own(bytes) => {
                    bytes.drain(..part.consumed);
                    std::mem::take(bytes)
                }
            };
            let decoder = part.decoder.filter(|_| !left.is_empty());
            let more = part.end == Some(End::More) && !left.is_empty();
            part.owner.take_back(left, decoder, more);
            let replies = self.replies.get(part.replies).unwrap_or_default();
            part.owner.send(node, replies, node.limits.output_bytes_max);
        }
        self.filled = 0;
        self.replies.clear();
        if self.replies.capacity() > REPLY_BYTES_KEPT {
            self.replies = Vec::new();
        }
    }
}
