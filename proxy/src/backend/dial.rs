//! The task of one connection: dials, reads replies, and dials again when it breaks, for as long as
//! the node is in the topology.

use super::connection::Phase;
use super::handshake::{self, Verdict};
use super::lanes::Lane;
use super::transactions;
use crate::route::retry::{RetryLimits, backoff};
use crate::worker::inbound::Inbound;
use crate::worker::router::{BackendContext, Router, SharedRouter};
use crate::worker::turn;
use pointsman_config::BackendKind;
use pointsman_protocol::HostPort;
use pointsman_protocol::resp::{ReplyError, ReplyScanner, reply};
use socket2::{SockRef, TcpKeepalive};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;

/// Reads of one connection before others get their turn.
const READS_PER_TURN: usize = 4;
/// Silence after which the kernel asks whether the node is still there.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// A reply of the handshake is short.
const HANDSHAKE_BYTES_MAX: usize = 64 * 1024;
/// Pause between two looks at the dial budget.
const BUDGET_PAUSE: Duration = Duration::from_millis(10);

/// Keeps a connection up until its node leaves the topology.
pub async fn run(router: SharedRouter, id: usize) {
    let mut failures: u8 = 0;
    loop {
        let Some((context, address, lane, timeout)) = facts(&router, id) else { return };
        while context.dials.check().is_err() {
            tokio::time::sleep(BUDGET_PAUSE).await;
        }
        let dialled = tokio::time::timeout(timeout, open(&router, id, &context, &address, lane)).await;
        match dialled.unwrap_or_else(|_| Err(format!("no connection within {timeout:?}"))) {
            // Given up while it was dialled: what waits on it must not be sent any more.
            Ok(_) if is_given_up(&router, id) => return router.borrow_mut().pin_lost(id),
            Ok(dialled) => {
                let transactions = !dialled.refuses_transactions;
                tracing::debug!(node = %address, ?lane, transactions, "connected");
                if dialled.resp2_only {
                    tracing::info!(node = %address, "it speaks only RESP2; its replies to clients of RESP3 are converted");
                }
                let reason = serve(&router, id, dialled).await;
                let mut router = router.borrow_mut();
                let Some(connection) = router.connection(id) else { return };
                // A node that accepts connections only to close them is not run at without a pause.
                let answered = connection.answered;
                failures = if answered { 0 } else { failures.saturating_add(1) };
                let (waiting, retiring) = (connection.waiting(), connection.retiring);
                connection.counters.connections.sub(1);
                if connection.pinned {
                    tracing::debug!(node = %address, reason, waiting, "a client's own connection closed");
                    return router.pin_lost(id);
                }
                if retiring {
                    tracing::debug!(node = %address, reason, "connection closed");
                } else {
                    connection.counters.connections_lost.add(1);
                    tracing::info!(node = %address, reason, waiting, "connection lost");
                }
                let next = if answered { Phase::Connecting } else { Phase::Down };
                router.connection_lost(id, next);
                if !answered {
                    router.note_unreachable(id);
                }
                router.context.snapshots.request_refresh("connection_lost");
            }
            Err(reason) => {
                let mut router = router.borrow_mut();
                let Some(connection) = router.connection(id) else { return };
                connection.counters.connect_failures.add(1);
                if connection.pinned {
                    tracing::debug!(node = %address, reason, "a client's own connection cannot be made");
                    return router.pin_lost(id);
                }
                // Told once for each outage; the counter tells the rest.
                if failures == 0 && !connection.retiring {
                    tracing::warn!(node = %address, reason, "a node cannot be reached; trying again");
                }
                router.connection_lost(id, Phase::Down);
                router.note_unreachable(id);
                router.context.snapshots.request_refresh("connect_failed");
            }
        }
        let pause = {
            let mut router = router.borrow_mut();
            let Some(connection) = router.connection(id) else { return };
            if connection.retiring && connection.waiting() == 0 {
                return router.remove_connection(id);
            }
            match connection.phase {
                Phase::Connecting => Duration::ZERO,
                _ => {
                    let limits = RetryLimits {
                        redirects_max: 0,
                        attempts_max: 0,
                        backoff: context.config.reconnect.backoff,
                        backoff_max: context.config.reconnect.backoff_max,
                    };
                    let pause = backoff(failures, &limits, router.jitter());
                    failures = failures.saturating_add(1);
                    pause
                }
            }
        };
        tokio::time::sleep(pause).await;
    }
}

fn facts(router: &SharedRouter, id: usize) -> Option<(Arc<BackendContext>, HostPort, Lane, Duration)> {
    let mut router = router.borrow_mut();
    let context = router.context.clone();
    let connection = router.connection(id)?;
    let timeout =
        if connection.pinned { context.config.pool.connect_timeout } else { context.config.connect_timeout };
    Some((context, connection.address.clone(), connection.lane, timeout))
}

fn is_given_up(router: &SharedRouter, id: usize) -> bool {
    let mut router = router.borrow_mut();
    router.connection(id).is_some_and(|connection| connection.pinned && connection.close.is_some())
}

/// A connection that is up.
pub(crate) struct Dialled {
    pub stream: TcpStream,
    /// RESP3 was wanted, and the node does not speak it.
    pub resp2_only: bool,
    /// The node does not let us execute transactions; asked only for requests.
    pub refuses_transactions: bool,
}

/// Dials a connection of this router. One that is to be a client's own learns how the node names it: by
/// that name its client can be unblocked.
async fn open(
    router: &SharedRouter,
    id: usize,
    context: &BackendContext,
    address: &HostPort,
    lane: Lane,
) -> Result<Dialled, String> {
    let mut dialled = dial(context, address, lane).await?;
    // Where none is sent, none need be possible: to replicas, beside a script, to bundled nodes.
    let bundled = matches!(context.config.kind, BackendKind::Bundled(_));
    let none_sent = lane.readonly || lane.index == Lane::ASIDE || bundled;
    dialled.refuses_transactions = !none_sent && !transactions::are_allowed(&mut dialled.stream).await?;
    if router.borrow_mut().connection(id).is_some_and(|connection| connection.pinned) {
        let stream = &mut dialled.stream;
        stream.write_all(b"*2\r\n$6\r\nCLIENT\r\n$2\r\nID\r\n").await.map_err(|error| error.to_string())?;
        let number = reply::integer(&read_reply(stream).await?);
        if let Some(connection) = router.borrow_mut().connection(id) {
            connection.number = number.and_then(|number| u64::try_from(number).ok());
        }
    }
    Ok(dialled)
}

/// Connects and says the handshake. The host name is looked up anew each time.
pub(crate) async fn dial(
    context: &BackendContext,
    address: &HostPort,
    lane: Lane,
) -> Result<Dialled, String> {
    let mut stream =
        TcpStream::connect((address.host(), address.port())).await.map_err(|error| error.to_string())?;
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream)
        .set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE));
    // Only a cluster's replicas want to hear READONLY.
    let lane = Lane { readonly: lane.readonly && context.config.kind.is_cluster(), ..lane };
    let mut resp2_only = false;
    for step in handshake::steps(lane, context.config.username.as_deref(), context.config.password.as_ref()) {
        stream.write_all(&step.bytes).await.map_err(|error| error.to_string())?;
        let reply = read_reply(&mut stream).await?;
        match step.judge(&reply) {
            Verdict::Fine => {}
            Verdict::OnlyResp2 => resp2_only = true,
            Verdict::Refused => {
                let text = String::from_utf8_lossy(&reply);
                return Err(format!(
                    "it refused to {}: {}",
                    step.purpose,
                    text.trim_start_matches('-').trim_end()
                ));
            }
        }
    }
    Ok(Dialled { stream, resp2_only, refuses_transactions: false })
}

pub(super) async fn read_reply(stream: &mut TcpStream) -> Result<Vec<u8>, String> {
    let (mut bytes, mut scanner) = (Vec::new(), ReplyScanner::new());
    loop {
        // One request is outstanding, so what arrives is its reply and nothing behind it.
        match scanner.next(&bytes, HANDSHAKE_BYTES_MAX) {
            Ok(Some(_)) => return Ok(bytes),
            Ok(None) => {}
            Err(error) => return Err(error.to_string()),
        }
        match stream.read_buf(&mut bytes).await {
            Ok(0) => return Err("it closed the connection during the handshake".to_owned()),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Reads replies until the connection ends; gives why it did.
async fn serve(router: &SharedRouter, id: usize, dialled: Dialled) -> String {
    let (reader, writer) = dialled.stream.into_split();
    {
        let mut router = router.borrow_mut();
        router.read_clock();
        router.connection_up(id, writer, !dialled.refuses_transactions);
    }
    let (scanner, inbound) = (ReplyScanner::new(), Inbound::default());
    let mut side = ReadingSide { id, reader, scanner, inbound, converts: dialled.resp2_only };
    poll_fn(|cx| side.poll(&mut router.borrow_mut(), cx)).await
}

struct ReadingSide {
    id: usize,
    reader: OwnedReadHalf,
    scanner: ReplyScanner,
    inbound: Inbound,
    /// Its replies are RESP2, and RESP3 is wanted.
    converts: bool,
}

impl ReadingSide {
    fn poll(&mut self, router: &mut Router, cx: &mut Context<'_>) -> Poll<String> {
        router.read_clock();
        for _ in 0..READS_PER_TURN {
            let now = router.now();
            let Some(connection) = router.connection(self.id) else {
                return Poll::Ready("forgotten".to_owned());
            };
            if let Some(reason) = connection.close {
                return Poll::Ready(reason.to_owned());
            }
            if !connection.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                connection.waker = Some(cx.waker().clone());
            }
            // Until the kernel is full again and will tell: only then is this task woken for it.
            while connection.write_blocked
                && let Poll::Ready(ready) = self.reader.as_ref().poll_write_ready(cx)
            {
                if let Err(error) = ready.and_then(|()| connection.flush(now)) {
                    return Poll::Ready(error.to_string());
                }
            }
            let mut scratch = router.take_scratch();
            let missing = self.scanner.missing(self.inbound.len());
            let polled = self.inbound.poll_read(cx, &mut self.reader, &mut scratch, missing);
            let taken = match &polled {
                Poll::Ready(Ok(count)) if *count > 0 => self.take(router, &scratch, *count),
                _ => Ok(()),
            };
            router.give_scratch(scratch);
            match (polled, taken) {
                (Poll::Pending, _) => return Poll::Pending,
                (Poll::Ready(Err(error)), _) => return Poll::Ready(error.to_string()),
                (Poll::Ready(Ok(0)), _) => return Poll::Ready("it closed the connection".to_owned()),
                (_, Err(error)) => {
                    if error == ReplyError::TooLarge {
                        router.reply_too_large(self.id);
                    }
                    return Poll::Ready(error.to_string());
                }
                (Poll::Ready(Ok(_)), Ok(())) => {}
            }
        }
        turn::end(cx)
    }

    /// Hands on every whole reply.
    fn take(&mut self, router: &mut Router, scratch: &[u8], count: usize) -> Result<(), ReplyError> {
        router.received(self.id, count);
        let bytes_max = router.context.config.reply_bytes_max;
        let bytes = self.inbound.bytes(scratch);
        let mut at = 0;
        let scanned = loop {
            match self.scanner.next(&bytes[at..], bytes_max) {
                // A push is no reply to anything: it must not take a request's place.
                Ok(Some(len)) if bytes[at] == b'>' => at += len,
                Ok(Some(len)) => {
                    let reply = &bytes[at..at + len];
                    if self.converts {
                        router.resp2_reply(self.id, reply)
                    } else {
                        router.reply(self.id, reply)
                    }
                    at += len;
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.inbound.consume(at, scratch);
        if let Some(connection) = router.connection(self.id) {
            connection.mid_reply = !self.inbound.is_empty();
            connection.release();
        }
        scanned
    }
}
