//! A client of the closed loop: one batch out, all its replies in, and again.

use super::client::{Inbox, Lost};
use super::thread::{Context, reconnect};
use crate::keys::{KeySource, share_start};
use crate::load::spec::End;
use crate::random::Random;
use crate::tally;
use crate::workload::Batch;
use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{self, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Runs client `index` until the run is over; connects again whenever its connection is lost.
pub async fn run(mut stream: TcpStream, index: usize, context: Rc<Context>) {
    let mut client = Client::new(index, &context);
    let progress = Cell::new(Instant::now());
    let limit = context.spec.limits.reply_timeout;
    loop {
        let lost = tokio::select! {
            biased;
            ended = client.session(&mut stream, &progress) => match ended {
                Ok(()) => return,
                Err(lost) => lost,
            },
            lost = stalled(&progress, limit) => lost,
        };
        drop(stream);
        context.recorder.lost(lost.code, client.unanswered as u64, &lost.why);
        client.unanswered = 0;
        let now = Instant::now();
        if client.next_count(now).is_none() {
            return;
        }
        match reconnect(&context).await {
            Ok(again) => stream = again,
            Err(why) => {
                context.recorder.lost(tally::CONNECT, client.remaining.unwrap_or(1), &why);
                return;
            }
        }
        progress.set(Instant::now());
    }
}

/// Ends when there has been no progress for `limit`.
pub async fn stalled(progress: &Cell<Instant>, limit: Duration) -> Lost {
    loop {
        let due = progress.get() + limit;
        if Instant::now() >= due {
            return Lost { code: tally::TIMEOUT, why: format!("no reply within {} ms", limit.as_millis()) };
        }
        tokio::time::sleep_until(due.into()).await;
    }
}

struct Client {
    context: Rc<Context>,
    batch: Batch,
    keys: KeySource,
    /// Requests still to be sent; `None` = until the deadline.
    remaining: Option<u64>,
    /// Requests of the last batch that have not been answered.
    unanswered: usize,
}

impl Client {
    fn new(index: usize, context: &Rc<Context>) -> Self {
        let spec = &context.spec;
        let (index, clients) = (index as u64, spec.clients as u64);
        let remaining = match spec.end {
            End::Duration(_) => None,
            End::Requests(whole) => {
                Some(share_start(whole, index + 1, clients) - share_start(whole, index, clients))
            }
        };
        Client {
            batch: Batch::new(&spec.shape, spec.pipeline, Random::stream(!spec.seed, index)),
            keys: KeySource::new(spec.distribution, spec.keys, spec.seed, index, clients),
            remaining,
            unanswered: 0,
            context: Rc::clone(context),
        }
    }

    /// How many requests to send now; `None` = the run is over.
    fn next_count(&self, now: Instant) -> Option<usize> {
        let pipeline = self.context.spec.pipeline;
        match self.remaining {
            _ if self.context.over(now) => None,
            None => Some(pipeline),
            Some(0) => None,
            Some(remaining) => Some(usize::try_from(remaining).unwrap_or(usize::MAX).min(pipeline)),
        }
    }

    async fn session(&mut self, stream: &mut TcpStream, progress: &Cell<Instant>) -> Result<(), Lost> {
        let bytes_max = self.context.spec.limits.reply_bytes_max;
        let mut inbox = Inbox::new();
        let mut now = Instant::now();
        while let Some(count) = self.next_count(now) {
            self.batch.fill(count, &mut self.keys);
            self.unanswered = count;
            if let Some(remaining) = &mut self.remaining {
                *remaining -= count as u64;
            }
            // The moment the last batch was answered is the moment this one is sent.
            let sent = now;
            let mut written = 0;
            while self.unanswered > 0 {
                progress.set(now);
                let read =
                    poll_fn(|task| exchange(task, stream, self.batch.bytes(), &mut written, inbox.space()))
                        .await
                        .map_err(Lost::connection)?;
                if read == 0 {
                    return Err(Lost::connection("the server closed the connection"));
                }
                inbox.filled(read);
                now = Instant::now();
                let before = self.unanswered;
                while let Some(reply) = inbox.next(bytes_max)? {
                    let op = self.batch.op(count - self.unanswered);
                    if self.context.recorder.check(op, reply) {
                        self.unanswered = self.unanswered.checked_sub(1).ok_or_else(|| Lost {
                            code: tally::UNEXPECTED,
                            why: "more replies than requests".to_owned(),
                        })?;
                    }
                }
                self.context.recorder.answered(sent, now, (before - self.unanswered) as u64);
            }
        }
        Ok(())
    }
}

/// Writes what can be written and ends with what has been read. Both at once: a server that stops
/// reading until its replies are taken would otherwise wait for us while we wait for it.
fn exchange(
    task: &mut task::Context<'_>,
    stream: &mut TcpStream,
    bytes: &[u8],
    written: &mut usize,
    space: &mut [u8],
) -> Poll<io::Result<usize>> {
    while *written < bytes.len() {
        match Pin::new(&mut *stream).poll_write(task, &bytes[*written..]) {
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(count)) => *written += count,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => break,
        }
    }
    let mut space = ReadBuf::new(space);
    match Pin::new(stream).poll_read(task, &mut space) {
        Poll::Ready(Ok(())) => Poll::Ready(Ok(space.filled().len())),
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        Poll::Pending => Poll::Pending,
    }
}
