//! One connection's plumbing: connecting with the login, and the buffer that replies arrive in.
//!
//! Who sends what, and when, is decided in [`super::closed`] and [`super::open`].

use super::spec::{LoadSpec, Login};
use crate::tally;
use pointsman_protocol::resp::{ReplyScanner, encode};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A connection cannot be used any more: its code for the tally, and why.
#[derive(Debug)]
pub struct Lost {
    /// One of the codes of [`tally`].
    pub code: &'static str,
    /// For the report.
    pub why: String,
}

impl Lost {
    /// By the connection's end or an error of the system.
    pub fn connection(why: impl std::fmt::Display) -> Self {
        Lost { code: tally::CONNECTION, why: why.to_string() }
    }
}

/// The waits between attempts to connect again: doubling from the first to the last.
const BACKOFF_FIRST: Duration = Duration::from_millis(10);
const BACKOFF_LAST: Duration = Duration::from_secs(1);

/// The wait before attempt `attempt` (from 0) to connect again.
pub fn backoff(attempt: u32) -> Duration {
    BACKOFF_FIRST.saturating_mul(1 << attempt.min(16)).min(BACKOFF_LAST)
}

/// Connects and logs in. The error names the address and what went wrong.
pub async fn connect(spec: &LoadSpec) -> Result<TcpStream, String> {
    let address = &spec.address;
    let within = spec.limits.connect_timeout;
    let attempt = async {
        let mut stream = TcpStream::connect((address.host(), address.port()))
            .await
            .map_err(|error| format!("cannot connect to {address}: {error}"))?;
        stream.set_nodelay(true).map_err(|error| format!("{address}: cannot set TCP_NODELAY: {error}"))?;
        log_in(&mut stream, &spec.login).await.map_err(|why| format!("{address}: {why}"))?;
        Ok(stream)
    };
    match timeout(within, attempt).await {
        Ok(result) => result,
        Err(_) => Err(format!("cannot connect to {address} within {} ms", within.as_millis())),
    }
}

async fn log_in(stream: &mut TcpStream, login: &Login) -> Result<(), String> {
    let mut request = Vec::new();
    match (login.resp3, &login.password) {
        (false, None) => return Ok(()),
        (false, Some(password)) => encode::request(&mut request, &["AUTH", password]),
        (true, None) => encode::request(&mut request, &["HELLO", "3"]),
        (true, Some(password)) => encode::request(&mut request, &["HELLO", "3", "AUTH", "default", password]),
    }
    stream.write_all(&request).await.map_err(|error| format!("the login could not be sent: {error}"))?;
    let mut inbox = Inbox::new();
    loop {
        let count =
            stream.read(inbox.space()).await.map_err(|error| format!("no answer to the login: {error}"))?;
        if count == 0 {
            return Err("the connection was closed during the login".to_owned());
        }
        inbox.filled(count);
        if let Some(reply) = inbox.next(LOGIN_BYTES_MAX).map_err(|lost| lost.why)? {
            return match reply {
                [b'-' | b'!', ..] => Err(format!("the login was refused: {}", tally::error_text(reply))),
                _ => Ok(()),
            };
        }
    }
}

/// The answer to HELLO is a map of a few hundred bytes, and of the modules that are loaded.
const LOGIN_BYTES_MAX: usize = 64 * 1024;
const INBOX_BYTES: usize = 16 * 1024;

/// The bytes that have arrived and have not been taken as replies yet.
#[derive(Debug)]
pub struct Inbox {
    bytes: Vec<u8>,
    /// `bytes[start..end]` has arrived; a reply begins at `start`.
    start: usize,
    end: usize,
    scanner: ReplyScanner,
}

impl Inbox {
    /// An empty one.
    pub fn new() -> Self {
        Inbox { bytes: vec![0; INBOX_BYTES], start: 0, end: 0, scanner: ReplyScanner::new() }
    }

    /// Where the next bytes may be read to; never empty.
    #[inline]
    pub fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.bytes.len() {
            self.make_room();
        }
        &mut self.bytes[self.end..]
    }

    #[cold]
    fn make_room(&mut self) {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        } else {
            // One reply fills the buffer: `next` has refused it if it is above the limit.
            self.bytes.resize(self.bytes.len() * 2, 0);
        }
    }

    /// So many bytes have been read into the space.
    #[inline]
    pub fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
    }

    /// Takes the next whole reply, if there is one.
    #[inline]
    pub fn next(&mut self, bytes_max: usize) -> Result<Option<&[u8]>, Lost> {
        if self.start == self.end {
            return Ok(None);
        }
        match self.scanner.next(&self.bytes[self.start..self.end], bytes_max) {
            Ok(None) => Ok(None),
            Ok(Some(len)) => {
                let from = self.start;
                self.start += len;
                Ok(Some(&self.bytes[from..from + len]))
            }
            Err(error) => {
                let shown = &self.bytes[self.start..self.end.min(self.start + 40)];
                let shown = String::from_utf8_lossy(shown).escape_debug().to_string();
                Err(Lost { code: tally::MALFORMED, why: format!("{error}, in a reply that begins {shown}") })
            }
        }
    }

    /// True if nothing has arrived that has not been taken.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `bytes` in pieces of `piece` and gives the replies found.
    fn feed(bytes: &[u8], piece: usize) -> Result<Vec<Vec<u8>>, String> {
        let mut inbox = Inbox::new();
        let mut replies = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let space = inbox.space();
            let count = piece.min(space.len()).min(rest.len());
            space[..count].copy_from_slice(&rest[..count]);
            rest = &rest[count..];
            inbox.filled(count);
            while let Some(reply) = inbox.next(1 << 20).map_err(|lost| lost.why)? {
                replies.push(reply.to_vec());
            }
        }
        assert!(inbox.is_empty());
        Ok(replies)
    }

    #[test]
    fn replies_arrive_whole_however_they_are_cut() {
        let large = format!("$50000\r\n{}\r\n", "v".repeat(50_000));
        let replies: Vec<String> =
            ["+OK\r\n", ":12\r\n", &large, "$-1\r\n", "*2\r\n$1\r\na\r\n:1\r\n"].map(str::to_owned).to_vec();
        let bytes = replies.concat().into_bytes();
        for piece in [1, 2, 7, 1_000, INBOX_BYTES, 100_000] {
            let found = feed(&bytes, piece).unwrap();
            assert_eq!(found, replies.iter().map(|reply| reply.clone().into_bytes()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_no_reply_is_shown() {
        let error = feed(b"+OK\r\nHTTP/1.1 400 Bad Request\r\n", 100).unwrap_err();
        assert!(error.contains("HTTP/1.1 400"), "{error}");
    }

    #[test]
    fn the_limit_stops_growth() {
        let error = feed(format!("${}\r\n", 1 << 20).as_bytes(), 100).unwrap_err();
        assert!(error.contains("limit"), "{error}");
    }

    #[test]
    fn waiting_grows_and_ends_growing() {
        assert_eq!(backoff(0), Duration::from_millis(10));
        assert_eq!(backoff(1), Duration::from_millis(20));
        assert_eq!(backoff(u32::MAX), Duration::from_secs(1));
    }
}
