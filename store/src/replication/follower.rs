//! Follows the primary: dials it, says how far this node is, applies what comes.
//!
//! A lost link is dialled again after a wait that doubles and is drawn at random, so that many replicas
//! do not come back at once. Until then the node goes on serving what it has, as Redis does; but
//! while everything is copied anew it shows nothing rather than a part.

use super::frame::{HEADER_BYTES, Header, Kind};
use super::handshake::{Answer, VERSION};
use crate::command::{Request, execute, resolve};
use crate::number::Decimal;
use crate::server::client::{Client, Kind as ClientKind};
use crate::server::{Node, wall_ms};
use pointsman_protocol::NodeId;
use pointsman_protocol::resp::args::OwnedArgs;
use pointsman_protocol::resp::{Args, RequestDecoder, RequestLimits, encode};
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// Bytes read at a time.
const READ_BYTES: usize = 64 * 1024;
/// The handshake's answer is a line of at most this many bytes.
const LINE_MAX: usize = 256;
/// Commands applied before clients get their turn.
const APPLIED_PER_TURN: usize = 512;
/// Time between two acknowledgements while the stream flows.
const ACK_MIN: Duration = Duration::from_millis(10);

/// Follows the primary for ever.
pub async fn follow(node: Rc<Node>) {
    let Some(primary) = node.executor.borrow().primary().cloned() else { return };
    let mut wait_ms = node.limits.reconnect_min_ms;
    node.executor.borrow_mut().link.down_since_ms = wall_ms();
    loop {
        let mut synced = false;
        let error = match link(&node, &mut synced).await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        {
            let mut executor = node.executor.borrow_mut();
            let link = &mut executor.link;
            if link.up || link.copying || synced {
                tracing::warn!(%primary, %error, offset = link.offset, "the link to the primary is down");
            } else {
                tracing::debug!(%primary, %error, "the primary cannot be followed yet");
            }
            if link.up || link.copying {
                link.down_since_ms = wall_ms();
            }
            link.up = false;
            link.copying = false;
        }
        if synced {
            wait_ms = node.limits.reconnect_min_ms;
        }
        let half = wait_ms / 2;
        let jitter = node.executor.borrow_mut().random.below(wait_ms - half + 1);
        tokio::time::sleep(Duration::from_millis(half + jitter)).await;
        wait_ms = (wait_ms * 2).clamp(node.limits.reconnect_min_ms, node.limits.reconnect_max_ms);
    }
}

/// There is no value of this: a link ends only in an error.
enum Never {}

/// Dials the primary and follows it until the link fails. `synced` becomes true when it has worked.
async fn link(node: &Rc<Node>, synced: &mut bool) -> io::Result<Never> {
    let silence = Duration::from_millis(node.limits.replication_timeout_ms);
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("nothing was heard for {silence:?}"));
    let (address, hello) = {
        let executor = node.executor.borrow();
        let address = executor.primary().map(|primary| (primary.host().to_owned(), primary.port()));
        (address, hello(&executor))
    };
    let Some((host, port)) = address else { return Err(io::Error::other("this node has no primary")) };
    let mut stream =
        timeout(silence, TcpStream::connect((host.as_str(), port))).await.map_err(|_| late())??;
    stream.set_nodelay(true)?;
    stream.write_all(&hello).await?;
    let (peer, local) = (stream.peer_addr()?, stream.local_addr()?);
    let mut input = Vec::with_capacity(READ_BYTES);
    let answer = timeout(silence, read_line(&mut stream, &mut input)).await.map_err(|_| late())??;
    let (answer, epoch) = Answer::parse(&answer).map_err(io::Error::other)?;
    let client = Client::new(0, peer, local, wall_ms());
    client.kind.set(ClientKind::Primary);
    let mut follower = Follower {
        node,
        client,
        stream,
        unapplied: Vec::new(),
        decoder: RequestDecoder::new(),
        group: None,
        log: None,
        received: 0,
        applied: 0,
        replies: Vec::new(),
        acked: None,
    };
    follower.begin(answer, epoch)?;
    let heartbeat = Duration::from_millis(node.limits.replication_heartbeat_ms.max(1));
    loop {
        follower.apply_messages(&mut input, synced).await?;
        follower.acknowledge(heartbeat)?;
        let wait = if follower.ack_is_due() { ACK_MIN } else { heartbeat };
        input.reserve(READ_BYTES);
        match timeout(wait, follower.stream.read_buf(&mut input)).await {
            Ok(Ok(0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(Ok(_)) => node.executor.borrow_mut().link.heard_ms = wall_ms(),
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                let heard_ms = node.executor.borrow().link.heard_ms;
                if wall_ms().saturating_sub(heard_ms) > node.limits.replication_timeout_ms {
                    return Err(late());
                }
            }
        }
    }
}

/// The request to be fed.
fn hello(executor: &crate::executor::Executor) -> Vec<u8> {
    let link = &executor.link;
    let (id, offset) = match link.replication_id {
        Some(id) => (id.to_string(), link.offset as i64),
        None => ("?".to_owned(), -1),
    };
    let words = [
        "POINTSMAN".to_owned(),
        "SYNC".to_owned(),
        VERSION.to_string(),
        link.epoch.to_string(),
        id,
        offset.to_string(),
        executor.spec.address.port().to_string(),
    ];
    let mut hello = Vec::new();
    encode::request(&mut hello, &words);
    hello
}

/// Reads up to the first line end; what came behind it stays in `input`.
async fn read_line(stream: &mut TcpStream, input: &mut Vec<u8>) -> io::Result<String> {
    loop {
        if let Some(end) = memchr::memchr(b'\n', input) {
            let line = String::from_utf8_lossy(&input[..end]).trim_end().to_owned();
            input.drain(..=end);
            return Ok(line);
        }
        if input.len() > LINE_MAX {
            return Err(io::Error::other("the primary's answer is no line"));
        }
        if stream.read_buf(input).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

struct Follower<'a> {
    node: &'a Rc<Node>,
    /// Whose commands the effects are.
    client: Client,
    stream: TcpStream,
    /// Commands that have come and are not applied: the beginning of one, at most.
    unapplied: Vec<u8>,
    decoder: RequestDecoder,
    /// The commands behind a MULTI whose EXEC has not come.
    group: Option<Vec<OwnedArgs>>,
    /// The log that the primary has named.
    log: Option<NodeId>,
    /// The offset up to which the stream has come.
    received: u64,
    /// The offset up to which it has been applied, a group that is not complete included.
    applied: u64,
    replies: Vec<u8>,
    /// What was acknowledged last, and when.
    acked: Option<(u64, Instant)>,
}

impl Follower<'_> {
    /// Prepares for what the primary has announced.
    fn begin(&mut self, answer: Answer, epoch: u64) -> io::Result<()> {
        self.check_epoch(epoch)?;
        let executor = &mut *self.node.executor.borrow_mut();
        executor.link.heard_ms = wall_ms();
        match answer {
            Answer::Full(id) => {
                tracing::info!(node = %executor.spec.address, log = %id, "copying everything from the primary");
                executor.keyspace.clear();
                self.log = Some(id);
                // Until the copy is complete there is nothing to go on from.
                executor.link.replication_id = None;
                executor.link.copying = true;
                executor.link.incomplete = true;
                executor.link.copied = 0;
                executor.link.offset = 0;
            }
            Answer::Continue(id) => {
                let offset = executor.link.offset;
                tracing::info!(node = %executor.spec.address, log = %id, offset, "following the primary again");
                executor.link.up = true;
                (self.log, self.received, self.applied) = (Some(id), offset, offset);
            }
        }
        self.node.publish(executor);
        Ok(())
    }

    /// What comes from an older epoch than was ever seen is not to be applied: another primary has
    /// taken over since.
    fn check_epoch(&self, epoch: u64) -> io::Result<()> {
        let link = &mut self.node.executor.borrow_mut().link;
        if epoch < link.epoch {
            return Err(io::Error::other(format!(
                "the primary's epoch {epoch} is older than {}",
                link.epoch
            )));
        }
        link.epoch = epoch;
        Ok(())
    }

    /// Applies the whole messages in `input` and leaves the rest there.
    async fn apply_messages(&mut self, input: &mut Vec<u8>, synced: &mut bool) -> io::Result<()> {
        let mut at = 0;
        while let Some(header) = Header::read(&input[at..]).map_err(io::Error::other)? {
            let start = at + HEADER_BYTES;
            let Some(payload) = input.get(start..start + header.length) else { break };
            self.check_epoch(header.epoch)?;
            match header.kind {
                Kind::Copy => self.apply(payload, true).await?,
                Kind::CopyEnd => self.finish_copy(header.offset)?,
                Kind::Stream if header.offset != self.received => {
                    return Err(io::Error::other(format!(
                        "the stream goes on at {} where {} was expected",
                        header.offset, self.received
                    )));
                }
                Kind::Stream => {
                    self.received += header.length as u64;
                    self.apply(payload, false).await?;
                }
                Kind::Heartbeat => {}
            }
            let link = &mut self.node.executor.borrow_mut().link;
            if header.kind != Kind::Copy {
                link.primary_offset = link.primary_offset.max(header.offset + header.length as u64);
            }
            *synced |= link.up;
            at = start + header.length;
        }
        input.drain(..at);
        input.shrink_to(4 * READ_BYTES);
        Ok(())
    }

    fn finish_copy(&mut self, offset: u64) -> io::Result<()> {
        if !self.unapplied.is_empty() || self.group.is_some() {
            return Err(io::Error::other("the copy ends within a command"));
        }
        (self.received, self.applied) = (offset, offset);
        let executor = &mut *self.node.executor.borrow_mut();
        executor.link.replication_id = self.log;
        executor.link.offset = offset;
        executor.link.primary_offset = offset;
        executor.link.copying = false;
        executor.link.incomplete = false;
        executor.link.up = true;
        tracing::info!(node = %executor.spec.address, keys = executor.keyspace.len(), offset, "the copy is complete");
        Ok(())
    }

    /// Applies the commands in `payload`, which may end, and have begun, within one.
    async fn apply(&mut self, payload: &[u8], copy: bool) -> io::Result<()> {
        self.unapplied.extend_from_slice(payload);
        let commands = std::mem::take(&mut self.unapplied);
        let mut at = 0;
        loop {
            let (consumed, all) = self.apply_some(&commands[at..], copy)?;
            at += consumed;
            if all {
                break;
            }
            tokio::task::yield_now().await;
        }
        self.unapplied = commands;
        self.unapplied.drain(..at);
        self.unapplied.shrink_to(4 * READ_BYTES);
        Ok(())
    }

    /// Applies at most a turn's worth of commands. Gives the bytes consumed, and true if no whole
    /// command is left.
    fn apply_some(&mut self, commands: &[u8], copy: bool) -> io::Result<(usize, bool)> {
        let executor = &mut *self.node.executor.borrow_mut();
        executor.set_time(wall_ms());
        let mut at = 0;
        let mut all = false;
        for _ in 0..APPLIED_PER_TURN {
            let rest = &commands[at..];
            let Some(length) =
                self.decoder.next(rest, &RequestLimits::AUTHENTICATED).map_err(io::Error::other)?
            else {
                all = true;
                break;
            };
            at += length;
            let args = self.decoder.args(rest);
            let name = args.at(0);
            match &mut self.group {
                None if name == b"MULTI" => self.group = Some(Vec::new()),
                None => apply_one(executor, &self.client, args, &mut self.replies)?,
                Some(_) if name == b"EXEC" => {
                    for command in self.group.take().unwrap_or_default() {
                        apply_one(executor, &self.client, command.args(), &mut self.replies)?;
                    }
                }
                Some(group) => group.push(OwnedArgs::new(&args.iter().collect::<Vec<_>>())),
            }
            if copy {
                executor.link.copied += 1;
            } else {
                self.applied += length as u64;
                if self.group.is_none() {
                    executor.link.offset = self.applied;
                }
            }
        }
        self.node.publish(executor);
        Ok((at, all))
    }

    /// True if the primary does not know yet how far this node is.
    fn ack_is_due(&self) -> bool {
        let link = &self.node.executor.borrow().link;
        link.up && self.acked.is_none_or(|(offset, _)| offset < link.offset)
    }

    /// Tells the primary how far this node is: soon after something was applied, and at every heartbeat.
    fn acknowledge(&mut self, heartbeat: Duration) -> io::Result<()> {
        let wait = if self.ack_is_due() { ACK_MIN } else { heartbeat };
        if self.acked.is_some_and(|(_, at)| at.elapsed() < wait) {
            return Ok(());
        }
        let offset = self.node.executor.borrow().link.offset;
        let mut ack = Vec::new();
        encode::request(&mut ack, &[&b"POINTSMAN"[..], b"ACK", Decimal::unsigned(offset).bytes()]);
        match self.stream.try_write(&ack) {
            Ok(sent) if sent == ack.len() => self.acked = Some((offset, Instant::now())),
            // Half an acknowledgement would garble the next; the primary does not read, so begin anew.
            Ok(_) => return Err(io::Error::other("the primary does not take acknowledgements")),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Applies one effect. An error means that this node does not hold what the primary holds: it has to
/// begin anew.
fn apply_one(
    executor: &mut crate::executor::Executor,
    client: &Client,
    args: Args<'_>,
    replies: &mut Vec<u8>,
) -> io::Result<()> {
    replies.clear();
    let resolved = resolve(executor, args);
    execute(executor, client, Request { args, frame: &[], places: &[], resolved }, replies);
    if replies.first() == Some(&b'-') {
        executor.link.replication_id = None;
        let command = String::from_utf8_lossy(args.at(0)).into_owned();
        let reply = String::from_utf8_lossy(replies).trim_end().to_owned();
        return Err(io::Error::other(format!(
            "the effect {command} failed here ({reply}): everything will be copied"
        )));
    }
    Ok(())
}
