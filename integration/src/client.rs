//! A small blocking RESP client: sends any bytes, reads one reply at a time, never waits forever.
//!
//! It knows nothing of clusters and never repeats a request: tests must see what a plain client sees.

use crate::reply::{Reply, show_request};
use pointsman_protocol::resp::{ReplyScanner, encode};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long a reply may take before the test fails.
const REPLY_TIMEOUT: Duration = Duration::from_secs(20);
/// No reply in these tests is larger.
const REPLY_BYTES_MAX: usize = 1 << 30;
/// A pipeline is sent in pieces of about this size while replies are read in between, so that
/// neither side's socket buffers can fill up and lock both.
const PIECE_BYTES: usize = 32 * 1024;

/// One connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    scanner: ReplyScanner,
    buffer: Vec<u8>,
    /// Bytes at the front of `buffer` that earlier replies used.
    used: usize,
}

impl Client {
    /// Connects, and fails the test if that does not work.
    #[track_caller]
    pub fn connect(address: impl ToSocketAddrs + std::fmt::Debug) -> Client {
        match Client::try_connect(&address) {
            Ok(client) => client,
            Err(error) => panic!("cannot connect to {address:?}: {error}"),
        }
    }

    /// Connects.
    pub fn try_connect(address: impl ToSocketAddrs) -> io::Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
        stream.set_write_timeout(Some(REPLY_TIMEOUT))?;
        Ok(Client { stream, scanner: ReplyScanner::new(), buffer: Vec::new(), used: 0 })
    }

    /// Sends these bytes as they are.
    #[track_caller]
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server takes what we send");
    }

    /// Sends one request and does not wait.
    #[track_caller]
    pub fn send<W: AsRef<[u8]>>(&mut self, words: &[W]) {
        let mut bytes = Vec::new();
        encode::request(&mut bytes, words);
        self.send_bytes(&bytes);
    }

    /// Sends requests in one write and does not wait.
    #[track_caller]
    pub fn send_all<W: AsRef<[u8]>>(&mut self, requests: &[Vec<W>]) {
        let mut bytes = Vec::new();
        requests.iter().for_each(|words| encode::request(&mut bytes, words));
        self.send_bytes(&bytes);
    }

    /// The next reply; fails the test if none comes in time.
    #[track_caller]
    pub fn read(&mut self) -> Reply {
        match self.try_read() {
            Ok(reply) => reply,
            Err(error) => panic!("no reply: {error}"),
        }
    }

    /// The next reply. `UnexpectedEof` when the server closed, `WouldBlock` or `TimedOut` when
    /// nothing came in time.
    pub fn try_read(&mut self) -> io::Result<Reply> {
        let mut chunk = [0; 64 * 1024];
        loop {
            let pending = &self.buffer[self.used..];
            match self.scanner.next(pending, REPLY_BYTES_MAX) {
                Ok(Some(len)) => {
                    let reply = Reply(pending[..len].to_vec());
                    self.used += len;
                    if self.used == self.buffer.len() {
                        self.buffer.clear();
                        self.used = 0;
                    }
                    return Ok(reply);
                }
                Ok(None) => {}
                Err(error) => {
                    let shown = pending[..pending.len().min(200)].escape_ascii();
                    return Err(io::Error::new(ErrorKind::InvalidData, format!("{error}: \"{shown}\"")));
                }
            }
            let len = match self.stream.read(&mut chunk) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                outcome => outcome?,
            };
            match len {
                0 => {
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed the connection"));
                }
                len => {
                    self.buffer.drain(..self.used);
                    self.used = 0;
                    self.buffer.extend_from_slice(&chunk[..len]);
                }
            }
        }
    }

    /// As [`Self::try_read`], with a time of one's own to wait for each piece of the reply.
    pub fn try_read_within(&mut self, span: Duration) -> io::Result<Reply> {
        self.stream.set_read_timeout(Some(span))?;
        let outcome = self.try_read();
        self.stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
        outcome
    }

    /// The next reply, or `None` if no whole one comes within `span`; fails the test if the connection breaks.
    #[track_caller]
    pub fn read_within(&mut self, span: Duration) -> Option<Reply> {
        match self.try_read_within(span) {
            Ok(reply) => Some(reply),
            Err(error) if is_timeout(&error) => None,
            Err(error) => panic!("the connection broke: {error}"),
        }
    }

    /// True if no byte of a reply arrives within `span`.
    #[track_caller]
    pub fn is_silent_for(&mut self, span: Duration) -> bool {
        match self.read_within(span) {
            None => self.used == self.buffer.len(),
            Some(reply) => {
                println!("not silent: {reply}");
                false
            }
        }
    }

    /// One request, one reply.
    #[track_caller]
    pub fn command<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Reply {
        self.send(words);
        match self.try_read() {
            Ok(reply) => reply,
            Err(error) => panic!("no reply to '{}': {error}", show_request(words)),
        }
    }

    /// As [`Self::command`], with the words of one line split at spaces.
    #[track_caller]
    pub fn line(&mut self, line: &str) -> Reply {
        self.command(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// All requests at once, all replies in order.
    #[track_caller]
    pub fn pipeline<W: AsRef<[u8]>>(&mut self, requests: &[Vec<W>]) -> Vec<Reply> {
        let mut replies = Vec::with_capacity(requests.len());
        let mut bytes = Vec::new();
        let mut sent = 0;
        for (index, words) in requests.iter().enumerate() {
            encode::request(&mut bytes, words);
            if bytes.len() >= PIECE_BYTES || index + 1 == requests.len() {
                self.send_bytes(&bytes);
                bytes.clear();
                // Replies of the piece before the last one: this keeps two pieces under way.
                while replies.len() < sent {
                    replies.push(self.reply_to(replies.len(), requests));
                }
                sent = index + 1;
            }
        }
        while replies.len() < requests.len() {
            replies.push(self.reply_to(replies.len(), requests));
        }
        replies
    }

    /// True once the server has closed the connection; replies still to come are dropped.
    pub fn is_closed_within(&mut self, span: Duration) -> bool {
        let began = std::time::Instant::now();
        loop {
            match self.try_read_within(span) {
                Ok(_) if began.elapsed() < span => continue,
                Ok(_) => return false,
                Err(error) => return !is_timeout(&error),
            }
        }
    }

    /// Says that nothing more will be sent, and goes on reading.
    #[track_caller]
    pub fn finish_sending(&self) {
        self.stream.shutdown(std::net::Shutdown::Write).expect("the server is there");
    }

    /// Leaves without a farewell: the server's next packet meets a reset, as after a crash.
    pub fn reset(self) {
        // Without time to linger a close throws away what was not delivered and sends a reset.
        drop(socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)));
    }

    /// The connection itself, for tests that treat it badly.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    #[track_caller]
    fn reply_to<W: AsRef<[u8]>>(&mut self, index: usize, requests: &[Vec<W>]) -> Reply {
        match self.try_read() {
            Ok(reply) => reply,
            Err(error) => panic!(
                "no reply to request {} of {}, '{}': {error}",
                index + 1,
                requests.len(),
                show_request(&requests[index])
            ),
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// One request from words: `words(&["SET", "k", "v"])`.
pub fn words(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}
