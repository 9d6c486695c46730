//! Bytes read from a socket, up to the first incomplete frame.
//!
//! All connections of a worker read into one large scratch buffer; a connection owns memory only
//! while it waits for the rest of a frame. An idle client therefore costs no buffer at all, and a
//! busy one reads its whole pipeline with one system call.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::tcp::OwnedReadHalf;

/// Reads are at least this large.
const READ_MIN: usize = 16 * 1024;

/// What has arrived on one connection and not been consumed.
#[derive(Debug, Default)]
pub struct Inbound {
    /// Kept bytes are `kept[start..end]`; the rest of it is spare.
    kept: Vec<u8>,
    start: usize,
    end: usize,
    /// If set, the bytes are the first so many of the scratch buffer instead.
    in_scratch: Option<usize>,
}

impl Inbound {
    /// Reads once. `missing` is how many bytes the frame being assembled is known to need. Gives
    /// how many arrived; 0 is the end of the stream. [`Self::bytes`] and [`Self::consume`] must
    /// follow before the scratch buffer is used for anything else.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut OwnedReadHalf,
        scratch: &mut [u8],
        missing: usize,
    ) -> Poll<io::Result<usize>> {
        debug_assert!(self.in_scratch.is_none());
        let held = self.end - self.start;
        // The usual case: little or nothing is held, so it joins the new bytes in the scratch. A frame that
        // claims to be large gets memory of its own only once much of it is here: the claim costs nothing.
        if held + missing.max(READ_MIN) <= scratch.len() || held <= scratch.len() / 4 {
            if held > 0 {
                scratch[..held].copy_from_slice(&self.kept[self.start..self.end]);
            }
            let mut buffer = ReadBuf::new(&mut scratch[held..]);
            return match Pin::new(reader).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) => {
                    let count = buffer.filled().len();
                    self.in_scratch = Some(held + count);
                    Poll::Ready(Ok(count))
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => Poll::Pending,
            };
        }
        // A large frame is assembled in a buffer of its own, which at most doubles with each read.
        if self.start > 0 {
            self.kept.copy_within(self.start..self.end, 0);
            self.start = 0;
            self.end = held;
        }
        let wanted = held + missing.clamp(READ_MIN, READ_MIN.max(held));
        if self.kept.len() < wanted {
            self.kept.resize(wanted, 0);
        }
        let mut buffer = ReadBuf::new(&mut self.kept[held..]);
        match Pin::new(reader).poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) => {
                let count = buffer.filled().len();
                self.end = held + count;
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// What is there, oldest first.
    pub fn bytes<'a>(&'a self, scratch: &'a [u8]) -> &'a [u8] {
        match self.in_scratch {
            Some(len) => &scratch[..len],
            None => &self.kept[self.start..self.end],
        }
    }

    /// Drops the first `count` bytes and keeps the others beyond the scratch buffer's next use.
    pub fn consume(&mut self, count: usize, scratch: &[u8]) {
        if let Some(len) = self.in_scratch.take() {
            let rest = &scratch[count..len];
            self.start = 0;
            self.end = rest.len();
            if rest.is_empty() {
                self.release();
            } else {
                if self.kept.len() < rest.len() {
                    self.kept = Vec::new();
                    self.kept.resize(rest.len(), 0);
                }
                self.kept[..rest.len()].copy_from_slice(rest);
            }
        } else {
            self.start += count;
            if self.start >= self.end {
                self.start = 0;
                self.end = 0;
                self.release();
            }
        }
    }

    /// True if nothing is held.
    pub fn is_empty(&self) -> bool {
        self.start == self.end && self.in_scratch.is_none()
    }

    /// Bytes held.
    pub fn len(&self) -> usize {
        self.in_scratch.unwrap_or(self.end - self.start)
    }

    fn release(&mut self) {
        if self.kept.capacity() > 0 {
            self.kept = Vec::new();
        }
    }
}
