//! One client's connection: reads what has come and hands it to the round; sends what the round could
//! not.
//!
//! A connection that waits holds no buffer: requests are read into one that all sessions of the node
//! share, and only what is left over, a request that has come in part, is kept. The same holds for
//! replies. A client that does not take its replies is not read from once enough of them wait.

use super::Node;
use super::batch::{Budget, Input};
use super::client::{Client, Kind};
use super::round::READ_BYTES;
use crate::replication::feeder;
use pointsman_protocol::resp::RequestDecoder;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// A connection, as its own task and the round share it.
#[derive(Debug)]
pub struct Session {
    /// Who is connected.
    pub client: Rc<Client>,
    write: OwnedWriteHalf,
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What has been read and not executed: a request in part, or requests that wait for their turn.
    input: Vec<u8>,
    /// What was found in that part so far.
    decoder: Option<Box<RequestDecoder>>,
    /// True if `input` may begin with a whole request.
    more: bool,
    /// True while the round has what was read: nothing further is read until it gives it back.
    in_round: bool,
    /// True if the session wants to know when that is.
    wake: bool,
    /// True if the connection cannot be used any further.
    failed: bool,
    /// Replies, of which the first `sent` bytes have been sent.
    replies: Vec<u8>,
    sent: usize,
    waker: Option<Waker>,
}

impl State {
    /// Bytes of replies that have not been sent.
    fn unsent(&self) -> usize {
        self.replies.len() - self.sent
    }
}

/// How a connection's time as a client's ends.
enum Outcome {
    /// It is over.
    Over,
    /// It becomes a replica's.
    Feed,
}

/// Serves a connection until it ends.
pub async fn serve(node: Rc<Node>, stream: TcpStream, client: Rc<Client>) {
    let (mut read, write) = stream.into_split();
    let session = Rc::new(Session { client: Rc::clone(&client), write, state: RefCell::default() });
    let outcome = poll_fn(|context| session.poll(context, &node, &mut read)).await;
    session.forget_replies(&node);
    if let (Outcome::Feed, Some(request)) = (outcome, client.sync.take()) {
        // In a box of its own: ten thousand clients must not hold room for what one replica needs.
        Box::pin(feeder::feed(&node, read.as_ref(), &client, &request)).await;
    }
}

impl Session {
    fn poll(
        self: &Rc<Self>,
        context: &mut Context<'_>,
        node: &Node,
        read: &mut OwnedReadHalf,
    ) -> Poll<Outcome> {
        if !self.state.borrow().replies.is_empty()
            && let Poll::Ready(Err(_)) = self.poll_send(context, node)
        {
            return Poll::Ready(Outcome::Over);
        }
        let state = &mut *self.state.borrow_mut();
        if state.failed {
            return Poll::Ready(Outcome::Over);
        }
        if state.in_round {
            state.wake = true;
            return Poll::Pending;
        }
        let feeds = self.client.kind.get() == Kind::Replica;
        if self.client.closing.get() || feeds || node.stopping.get() {
            return match (state.unsent(), feeds) {
                (0, true) => Poll::Ready(Outcome::Feed),
                (0, false) => Poll::Ready(Outcome::Over),
                _ => Poll::Pending,
            };
        }
        if state.unsent() >= node.limits.output_bytes_pause {
            return Poll::Pending;
        }
        if state.waker.as_ref().is_none_or(|waker| !waker.will_wake(context.waker())) {
            state.waker = Some(context.waker().clone());
        }
        let input = if state.more {
            Input::Own(std::mem::take(&mut state.input))
        } else {
            let read = if state.input.is_empty() {
                node.round.borrow_mut().poll_read(context, node, Pin::new(&mut *read))
            } else {
                poll_read_on(context, state, read)
            };
            match ready!(read) {
                Ok(input) => input,
                Err(_) => return Poll::Ready(Outcome::Over),
            }
        };
        state.in_round = true;
        state.more = false;
        let budget = Budget {
            commands: node.limits.commands_per_turn.max(1),
            reply_bytes: node.limits.output_bytes_pause.saturating_sub(state.unsent()).max(1),
        };
        node.round.borrow_mut().add(node, self, input, state.decoder.take(), budget);
        // The next wake-up is for what comes next, unless that is there already.
        if read.as_ref().poll_read_ready(context).is_ready() {
            state.wake = true;
        }
        Poll::Pending
    }

    /// Takes back what the round has not executed: `input` without what was consumed.
    pub fn take_back(&self, input: Vec<u8>, decoder: Option<Box<RequestDecoder>>, more: bool) {
        let state = &mut *self.state.borrow_mut();
        state.in_round = false;
        state.more = more;
        state.input = input;
        state.decoder = decoder;
        state.wake |= more;
    }

    /// Sends replies, or keeps what the connection does not take. `close_above` is the most bytes it may
    /// keep.
    pub fn send(&self, node: &Node, replies: &[u8], close_above: usize) {
        let state = &mut *self.state.borrow_mut();
        if !replies.is_empty() {
            let sent = match state.replies.is_empty() {
                true => match self.write.try_write(replies) {
                    Ok(sent) => sent,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                    Err(_) => {
                        state.failed = true;
                        state.wake = true;
                        replies.len()
                    }
                },
                false => 0,
            };
            if sent < replies.len() {
                if state.replies.is_empty() {
                    node.unsent.set(node.unsent.get() + 1);
                }
                state.replies.extend_from_slice(&replies[sent..]);
                state.wake = true;
            }
        }
        if state.unsent() > close_above {
            state.failed = true;
            node.executor.borrow_mut().stats.output_overruns += 1;
            tracing::warn!(
                client = %self.client.address,
                waiting_bytes = state.unsent(),
                output_bytes_max = close_above,
                "a client is disconnected: more replies wait for it than it may hold up"
            );
        }
        let ends = self.client.closing.get() || self.client.kind.get() == Kind::Replica;
        if (std::mem::take(&mut state.wake) || ends)
            && let Some(waker) = &state.waker
        {
            waker.wake_by_ref();
        }
    }

    /// Sends replies that are kept.
    fn poll_send(&self, context: &mut Context<'_>, node: &Node) -> Poll<io::Result<()>> {
        loop {
            let state = &mut *self.state.borrow_mut();
            if state.unsent() == 0 {
                break;
            }
            ready!(self.write.as_ref().poll_write_ready(context))?;
            match self.write.try_write(&state.replies[state.sent..]) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(sent) => state.sent += sent,
                // Then it is not ready any more, and the next round of this loop waits.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        self.forget_replies(node);
        Poll::Ready(Ok(()))
    }

    fn forget_replies(&self, node: &Node) {
        let state = &mut *self.state.borrow_mut();
        if !state.replies.is_empty() {
            state.replies = Vec::new();
            state.sent = 0;
            node.unsent.set(node.unsent.get() - 1);
            if node.unsent.get() == 0 {
                node.sent.notify_one();
            }
        }
    }
}

/// Reads behind the part of a request that is there already.
fn poll_read_on(
    context: &mut Context<'_>,
    state: &mut State,
    read: &mut OwnedReadHalf,
) -> Poll<io::Result<Input>> {
    let have = state.input.len();
    // How much is missing is a claim: memory follows what has really come, at most doubling.
    let missing = state.decoder.as_ref().map_or(0, |decoder| decoder.missing(have));
    let room = missing.clamp(READ_BYTES, READ_BYTES.max(have));
    if state.input.capacity() - have < READ_BYTES {
        state.input.reserve_exact(room);
    }
    let length = ready!(pin!(read.read_buf(&mut state.input)).poll(context))?;
    if length == 0 {
        return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
    }
    Poll::Ready(Ok(Input::Own(std::mem::take(&mut state.input))))
}

/// Reads once into `buffer`, which is not filled yet. Gives how many bytes came.
pub fn poll_read_into(
    context: &mut Context<'_>,
    read: Pin<&mut OwnedReadHalf>,
    buffer: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(buffer);
    ready!(read.poll_read(context, &mut buffer))?;
    match buffer.filled().len() {
        0 => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
        length => Poll::Ready(Ok(length)),
    }
}
