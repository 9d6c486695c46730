//! One client's task: reads requests, hands them on, and ends the client.
//!
//! It never waits for a reply: replies are written by whoever brings them
//! ([`crate::worker::router::Router::flush`]). What it does wait for is the socket, or the moment
//! when a client that was stopped (too many requests in flight, replies unread, a slot on the move)
//! may go on.

use crate::backend::connection::ClientKey;
use crate::worker::dispatch::Step;
use crate::worker::inbound::Inbound;
use crate::worker::router::{Router, SharedRouter};
use crate::worker::turn;
use pointsman_protocol::resp::{RequestDecoder, RequestLimits};
use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use tokio::net::tcp::OwnedReadHalf;

/// Reads of one client before others get their turn.
const READS_PER_TURN: usize = 4;
/// Bytes read at once from a client that has not authenticated: room for its largest request.
const STRANGER_BYTES: usize = 96 * 1024;
/// Bytes of further requests read from a client that waits in a blocking command.
const KEPT_WHILE_BLOCKED: usize = 64 * 1024;
/// How a client that wants TLS begins; no request does.
const TLS_HANDSHAKE: &[u8] = &[0x16, 0x03];
/// Argument ranges a decoder may keep between requests.
const RANGES_KEPT: usize = 32;

/// The reading side of a client.
struct Session {
    key: ClientKey,
    reader: OwnedReadHalf,
    decoder: RequestDecoder,
    inbound: Inbound,
    /// Bytes are held that have not been looked at since the client was last stopped.
    unread: bool,
    /// The client will send nothing more.
    ended: bool,
}

/// Serves a client until it leaves or must go.
pub async fn run(router: SharedRouter, key: ClientKey, reader: OwnedReadHalf) {
    let mut session = Session {
        key,
        reader,
        decoder: RequestDecoder::new(),
        inbound: Inbound::default(),
        unread: false,
        ended: false,
    };
    poll_fn(|cx| session.poll(&mut router.borrow_mut(), cx)).await;
    router.borrow_mut().remove_client(key);
}

impl Session {
    fn poll(&mut self, router: &mut Router, cx: &mut Context<'_>) -> Poll<()> {
        router.read_clock();
        router.adopt();
        let Some(client) = router.client_mut(self.key) else { return Poll::Ready(()) };
        if !client.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            client.waker = Some(cx.waker().clone());
        }
        // Until the kernel is full again and will tell: only then is this task woken for it.
        while let Some(client) = router.client_mut(self.key).filter(|client| client.write_blocked) {
            match client.writer.as_ref().poll_write_ready(cx) {
                Poll::Ready(Ok(())) => router.flush_client(self.key),
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => break,
            }
            if router.client_mut(self.key).is_none_or(|client| client.broken) {
                return Poll::Ready(());
            }
        }
        for _ in 0..READS_PER_TURN {
            let Some(client) = router.client_mut(self.key) else { return Poll::Ready(()) };
            if client.is_finished() {
                return Poll::Ready(());
            }
            if client.paused && client.is_blocked() {
                return self.look_for_the_end(router, cx);
            }
            if client.paused || client.closing {
                return Poll::Pending;
            }
            if self.unread {
                self.unread = false;
                let mut scratch = router.take_scratch();
                self.serve(router, &mut scratch);
                router.give_scratch(scratch);
                continue;
            }
            // Who waits for something to come, and has gone, must not get it.
            if self.ended && client.is_blocked() {
                return Poll::Ready(());
            }
            if self.ended {
                // Every request was read; the client goes when it has its replies.
                client.closing = true;
                if client.is_finished() {
                    return Poll::Ready(());
                }
                return Poll::Pending;
            }
            match ready!(self.read(router, cx)) {
                Ok(0) => self.ended = true,
                Ok(_) => {}
                Err(_) => return Poll::Ready(()),
            }
        }
        turn::end(cx)
    }

    /// Reads on while a blocking command keeps the client's next requests waiting, to learn if it leaves.
    fn look_for_the_end(&mut self, router: &mut Router, cx: &mut Context<'_>) -> Poll<()> {
        while self.inbound.len() < KEPT_WHILE_BLOCKED {
            let mut scratch = router.take_scratch();
            let polled = self.inbound.poll_read(cx, &mut self.reader, &mut scratch, 0);
            if let Poll::Ready(Ok(_)) = polled {
                self.inbound.consume(0, &scratch);
            }
            router.give_scratch(scratch);
            match ready!(polled) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => self.unread = true,
            }
        }
        Poll::Pending
    }

    /// One read, and everything that can be done with what it brought.
    fn read(&mut self, router: &mut Router, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        let authenticated = router.client_mut(self.key).is_some_and(|client| client.authenticated);
        let mut scratch = router.take_scratch();
        // A stranger cannot make us hold more than a stranger's request may take.
        let room = if authenticated { scratch.len() } else { STRANGER_BYTES.min(scratch.len()) };
        let missing = self.decoder.missing(self.inbound.len());
        let polled = self.inbound.poll_read(cx, &mut self.reader, &mut scratch[..room], missing);
        if let Poll::Ready(Ok(_)) = polled {
            router.mark_active(self.key);
            self.serve(router, &mut scratch);
        }
        router.give_scratch(scratch);
        polled
    }

    /// Hands on every whole request, until none is left or the client must wait.
    fn serve(&mut self, router: &mut Router, scratch: &mut [u8]) {
        let bytes = self.inbound.bytes(scratch);
        let mut at = 0;
        let Some(client) = router.client_mut(self.key) else { return };
        let listener = client.listener.clone();
        while let Some(client) = router.client_mut(self.key) {
            let limits =
                if client.authenticated { &listener.request_limits } else { &RequestLimits::BEFORE_AUTH };
            let rest = &bytes[at..];
            match self.decoder.next(rest, limits) {
                Ok(Some(len)) => {
                    let args = self.decoder.args(&rest[..len]);
                    match router.request(self.key, &rest[..len], args, self.decoder.was_inline()) {
                        Step::Done => {
                            if router.is_observed() {
                                router.observe(self.key, args);
                            }
                            at += len;
                        }
                        Step::Wait => {
                            // The same request is looked at again later.
                            self.decoder.reset();
                            self.unread = true;
                            break;
                        }
                        Step::Close => {
                            at = bytes.len();
                            break;
                        }
                    }
                }
                Ok(None) => {
                    if rest.starts_with(TLS_HANDSHAKE) {
                        router.close_tls(self.key);
                        at = bytes.len();
                    }
                    break;
                }
                Err(error) => {
                    router.protocol_error(self.key, error);
                    at = bytes.len();
                    break;
                }
            }
        }
        self.inbound.consume(at, scratch);
        if let Some(client) = router.client_mut(self.key) {
            client.replies.end_of_batch();
        }
        if self.inbound.is_empty() {
            self.decoder.shrink(RANGES_KEPT);
        }
    }
}
