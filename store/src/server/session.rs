//! One client's connection: read what has come, execute it, write the replies, once each.
//!
//! A connection that waits holds no buffer: requests are read into one that all sessions of the node
//! share, and only what is left over, a request that has come in part, is kept. The same holds for
//! replies. A client that does not take its replies is not read from once enough of them wait.

use super::batch::{Budget, End};
use super::client::{Client, Kind};
use super::{Node, READ_BYTES, REPLY_BYTES_KEPT, Scratch, wall_ms};
use crate::replication::feeder;
use pointsman_protocol::resp::RequestDecoder;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What one wake-up has led to.
enum Turn {
    /// There is more to do, after the others.
    Again,
    /// The connection is at its end.
    Over,
    /// The connection becomes a replica's.
    Feed,
}

struct Session {
    client: Rc<Client>,
    /// What has been read and not executed: a request in part, or requests that wait for a turn.
    input: Vec<u8>,
    /// What was found in that part so far.
    decoder: Option<Box<RequestDecoder>>,
    /// True if `input` may begin with a whole request.
    more: bool,
    /// Replies, of which the first `sent` bytes have been sent.
    replies: Vec<u8>,
    sent: usize,
}

/// Serves a connection until it ends.
pub async fn serve(node: Rc<Node>, mut stream: TcpStream, client: Rc<Client>) {
    let mut session = Session {
        client: Rc::clone(&client),
        input: Vec::new(),
        decoder: None,
        more: false,
        replies: Vec::new(),
        sent: 0,
    };
    loop {
        match poll_fn(|context| session.poll_turn(context, &node, &mut stream)).await {
            Turn::Again => tokio::task::yield_now().await,
            Turn::Over => break,
            Turn::Feed => {
                let request = client.sync.take();
                session.forget_replies(&node);
                drop(session);
                if let Some(request) = request {
                    feeder::feed(&node, stream, &client, &request).await;
                }
                return;
            }
        }
    }
    session.forget_replies(&node);
}

impl Session {
    fn poll_turn(&mut self, context: &mut Context<'_>, node: &Node, stream: &mut TcpStream) -> Poll<Turn> {
        loop {
            if !self.replies.is_empty() {
                if let Poll::Ready(Err(_)) = self.poll_send(context, node, stream) {
                    return Poll::Ready(Turn::Over);
                }
            }
            let feeds = self.client.kind.get() == Kind::Replica;
            if self.client.closing.get() || feeds || node.stopping.get() {
                return match (self.waiting(), feeds) {
                    (0, true) => Poll::Ready(Turn::Feed),
                    (0, false) => Poll::Ready(Turn::Over),
                    _ => Poll::Pending,
                };
            }
            if self.waiting() >= node.limits.output_bytes_pause {
                return Poll::Pending;
            }
            let done = if self.more {
                self.execute(node, stream, None)
            } else if self.input.is_empty() {
                ready!(self.poll_read(context, node, stream))
            } else {
                ready!(self.poll_read_on(context, node, stream))
            };
            if done.is_err() {
                return Poll::Ready(Turn::Over);
            }
            if self.more {
                return Poll::Ready(Turn::Again);
            }
        }
    }

    /// Reads once into the shared buffer and executes what has come.
    #[inline]
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        node: &Node,
        stream: &mut TcpStream,
    ) -> Poll<io::Result<()>> {
        let length = {
            let scratch = &mut *node.scratch.borrow_mut();
            let mut buffer = ReadBuf::new(&mut scratch.read);
            ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer))?;
            buffer.filled().len()
        };
        if length == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        Poll::Ready(self.execute(node, stream, Some(length)))
    }

    /// Reads behind the part of a request that is there already, and executes what has become whole.
    fn poll_read_on(
        &mut self,
        context: &mut Context<'_>,
        node: &Node,
        stream: &mut TcpStream,
    ) -> Poll<io::Result<()>> {
        let have = self.input.len();
        // How much is missing is a claim: memory follows what has really come, at most doubling.
        let missing = self.decoder.as_ref().map_or(0, |decoder| decoder.missing(have));
        let room = missing.clamp(READ_BYTES, READ_BYTES.max(have));
        if self.input.capacity() - have < room.min(READ_BYTES) {
            self.input.reserve_exact(room);
        }
        let length = ready!(pin!(stream.read_buf(&mut self.input)).poll(context))?;
        if length == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        Poll::Ready(self.execute(node, stream, None))
    }

    /// Executes what has been read: the first `length` bytes of the shared buffer, or what this session
    /// has kept. Keeps what is left over; sends the replies.
    #[inline]
    fn execute(&mut self, node: &Node, stream: &TcpStream, length: Option<usize>) -> io::Result<()> {
        let Scratch { read, replies, decoder, batch } = &mut *node.scratch.borrow_mut();
        let executor = &mut *node.executor.borrow_mut();
        executor.set_time(wall_ms());
        let offset = executor.log.offset();
        let budget = Budget {
            commands: node.limits.commands_per_turn,
            reply_bytes: node.limits.output_bytes_pause.saturating_sub(self.waiting()).max(1),
        };
        let input = match length {
            Some(length) => &read[..length],
            None => &self.input[..],
        };
        let own = self.decoder.as_deref_mut();
        let (consumed, end) =
            batch.run(executor, &self.client, own.unwrap_or(decoder), input, replies, budget);
        let left = input.len() - consumed;
        self.more = end == End::More && left > 0;
        if left == 0 || end != End::Read {
            self.decoder = None;
        } else if self.decoder.is_none() {
            self.decoder = Some(Box::new(std::mem::take(decoder)));
        }
        if end == End::Last {
            decoder.reset();
        }
        match length {
            Some(length) if left > 0 => self.input = read[consumed..length].to_vec(),
            Some(_) => {}
            None if left == 0 || end == End::Last => self.input = Vec::new(),
            None => drop(self.input.drain(..consumed)),
        }
        executor.stats.input_bytes += consumed as u64;
        executor.stats.output_bytes += replies.len() as u64;
        if executor.log.offset() != offset {
            executor.log.wake_followers();
        }
        node.publish(executor);
        let sent = self.send(node, stream, replies);
        if sent.is_ok() && self.waiting() > node.limits.output_bytes_max {
            executor.stats.output_overruns += 1;
            tracing::warn!(
                client = %self.client.address,
                waiting_bytes = self.waiting(),
                output_bytes_max = node.limits.output_bytes_max,
                "a client is disconnected: more replies wait for it than it may hold up"
            );
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        sent
    }

    /// Sends a batch's replies, or puts them behind those that wait. Leaves `replies` empty.
    #[inline]
    fn send(&mut self, node: &Node, stream: &TcpStream, replies: &mut Vec<u8>) -> io::Result<()> {
        if replies.is_empty() {
            return Ok(());
        }
        let sent = match self.replies.is_empty() {
            true => match stream.try_write(replies) {
                Ok(sent) => sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => {
                    replies.clear();
                    return Err(error);
                }
            },
            false => 0,
        };
        if sent < replies.len() {
            if self.replies.is_empty() {
                self.replies = std::mem::take(replies);
                self.sent = sent;
                node.unsent.set(node.unsent.get() + 1);
            } else {
                self.replies.append(replies);
            }
        }
        replies.clear();
        if replies.capacity() > REPLY_BYTES_KEPT {
            replies.shrink_to(REPLY_BYTES_KEPT);
        }
        Ok(())
    }

    /// Sends replies that wait.
    fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        node: &Node,
        stream: &mut TcpStream,
    ) -> Poll<io::Result<()>> {
        while self.waiting() > 0 {
            let part = &self.replies[self.sent..];
            let sent = ready!(Pin::new(&mut *stream).poll_write(context, part))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += sent;
        }
        self.forget_replies(node);
        Poll::Ready(Ok(()))
    }

    /// Bytes of replies that have not been sent.
    #[inline]
    fn waiting(&self) -> usize {
        self.replies.len() - self.sent
    }

    fn forget_replies(&mut self, node: &Node) {
        if !self.replies.is_empty() {
            self.replies = Vec::new();
            self.sent = 0;
            node.unsent.set(node.unsent.get() - 1);
            if node.unsent.get() == 0 {
                node.sent.notify_one();
            }
        }
    }
}
