//! The connections of fake nodes: one thread reads and records, one executes and answers, so that
//! what arrives is seen even while an answer is held back.

use super::route;
use super::rules::Act;
use super::shapes;
use super::world::{Received, World};
use pointsman_protocol::resp::{RequestDecoder, RequestLimits, encode};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, mpsc};
use std::thread;
use std::time::Duration;

/// Between the pieces of a split answer: enough for the other side to read them one by one.
const PIECE_PAUSE: Duration = Duration::from_millis(1);

/// The state of a fake cluster and the news that it changed.
#[derive(Debug)]
pub struct Shared {
    world: Mutex<World>,
    pub(super) changed: Condvar,
}

impl Shared {
    pub(super) fn new(world: World) -> Shared {
        Shared { world: Mutex::new(world), changed: Condvar::new() }
    }

    /// A test that panics while it edits the world must not hide its own message behind ours.
    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Waits until `ready` holds; `None` when the fake is being dropped.
    fn wait(&self, ready: impl Fn(&World) -> bool) -> Option<MutexGuard<'_, World>> {
        let mut world = self.lock();
        while !world.stopping && !ready(&world) {
            world = self.changed.wait(world).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        if world.stopping { None } else { Some(world) }
    }
}

/// What one connection has agreed on.
#[derive(Debug, Default)]
pub(super) struct Session {
    pub node: usize,
    pub connection: u64,
    pub resp3: bool,
    pub asking: bool,
    pub readonly: bool,
    pub authenticated: bool,
    pub transaction: Option<Transaction>,
}

/// What came since MULTI.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    queued: Vec<Vec<Vec<u8>>>,
    /// A command was refused.
    aborted: bool,
}

/// Accepts a node's connections until it is taken down.
pub(super) fn serve(shared: Arc<Shared>, node: usize, listener: TcpListener) {
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { continue };
            let mut world = shared.lock();
            if world.stopping || !world.nodes[node].up {
                return;
            }
            world.connections += 1;
            let connection = world.connections;
            let Ok(kept) = stream.try_clone() else { continue };
            world.nodes[node].connections.insert(connection, kept);
            drop(world);
            connect(&shared, node, connection, stream);
        }
    });
}

fn connect(shared: &Arc<Shared>, node: usize, connection: u64, stream: TcpStream) {
    let Ok(reading) = stream.try_clone() else { return };
    drop(stream.set_nodelay(true));
    let (requests, queue) = mpsc::channel();
    let (for_reader, for_executor) = (shared.clone(), shared.clone());
    thread::spawn(move || read(&for_reader, node, connection, reading, &requests));
    thread::spawn(move || {
        let session = Session { node, connection, ..Session::default() };
        execute(&for_executor, session, &stream, &queue);
        for_executor.lock().nodes[node].connections.remove(&connection);
        drop(stream.shutdown(Shutdown::Both));
    });
}

/// A request and its number in the record; [`UNRECORDED`] if it has none.
type Arrived = (usize, Vec<Vec<u8>>);

/// The number of what is neither recorded nor subject to rules.
const UNRECORDED: usize = usize::MAX;

/// True for the empty transaction with which the proxy begins a connection: no test means it.
fn begins_a_connection(fresh: &mut bool, words: &[Vec<u8>]) -> bool {
    let name = words[0].to_ascii_uppercase();
    let probe = *fresh && matches!(&name[..], b"MULTI" | b"EXEC");
    *fresh &= matches!(&name[..], b"AUTH" | b"HELLO" | b"READONLY" | b"CLIENT" | b"SELECT" | b"MULTI");
    probe
}

/// Records each request and passes it on.
fn read(
    shared: &Shared,
    node: usize,
    connection: u64,
    mut stream: TcpStream,
    requests: &mpsc::Sender<Arrived>,
) {
    let (mut decoder, mut fresh) = (RequestDecoder::new(), true);
    let mut buffer: Vec<u8> = Vec::new();
    let mut chunk = [0; 64 * 1024];
    loop {
        let mut used = 0;
        loop {
            match decoder.next(&buffer[used..], &RequestLimits::AUTHENTICATED) {
                Ok(Some(len)) => {
                    let words: Vec<Vec<u8>> =
                        decoder.args(&buffer[used..]).iter().map(<[u8]>::to_vec).collect();
                    used += len;
                    if words.is_empty() {
                        continue;
                    }
                    if begins_a_connection(&mut fresh, &words) {
                        if requests.send((UNRECORDED, words)).is_err() {
                            return;
                        }
                        continue;
                    }
                    let mut world = shared.lock();
                    let kept = words.clone();
                    let record = Received { node, connection, words, executed: false, readonly: false };
                    let number = world.record(record);
                    drop(world);
                    if requests.send((number, kept)).is_err() {
                        return;
                    }
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
        buffer.drain(..used);
        match stream.read(&mut chunk) {
            Ok(len) if len > 0 => buffer.extend_from_slice(&chunk[..len]),
            _ => return,
        }
    }
}

fn execute(shared: &Shared, mut session: Session, mut stream: &TcpStream, queue: &mpsc::Receiver<Arrived>) {
    for (number, words) in queue {
        let node = session.node;
        let Some(mut world) = shared.wait(|world| !world.nodes[node].frozen) else { return };
        if let Some(record) = world.recorded(number) {
            record.readonly = session.readonly;
        }
        let mut rules = world.rules.iter_mut().filter(|_| number != UNRECORDED);
        let act = rules.find_map(|rule| rule.take(node, &words));
        drop(world);

        let answer_now = |session: &mut Session| {
            let mut world = shared.lock();
            let (reply, executed) = answer(&mut world, session, &words);
            if let Some(record) = world.recorded(number) {
                record.executed = executed;
            }
            reply
        };
        // What a redirect speaks of: of EXEC, the keys of what it would execute.
        let mut subject = words.clone();
        // A command that is refused aborts the transaction it is in.
        if let (Some(Act::Error(_) | Act::Redirect { .. }), Some(open)) = (&act, &mut session.transaction) {
            open.aborted = true;
            if words[0].eq_ignore_ascii_case(b"EXEC") {
                subject = open.queued.first().cloned().unwrap_or(subject);
                session.transaction = None;
                session.asking = false;
            }
        }
        let reply = match act {
            None => answer_now(&mut session),
            Some(Act::Answer(bytes)) => bytes,
            Some(Act::Error(text)) => error(&text),
            Some(Act::Redirect { to, asking }) => route::redirect(&shared.lock(), to, asking, &subject),
            Some(Act::Flood(bytes)) => {
                while stream.write_all(&bytes).is_ok() {}
                return;
            }
            Some(Act::Hold(gate)) => {
                if shared.wait(|_| gate.is_open()).is_none() {
                    return;
                }
                answer_now(&mut session)
            }
            Some(Act::HoldReply(gate)) => {
                let reply = answer_now(&mut session);
                if shared.wait(|_| gate.is_open()).is_none() {
                    return;
                }
                reply
            }
            Some(Act::Split(bytes)) => {
                let reply = answer_now(&mut session);
                if send_pieces(stream, reply.chunks(bytes)).is_err() {
                    return;
                }
                continue;
            }
            Some(Act::CutAt(bytes)) => {
                let reply = answer_now(&mut session);
                let (first, rest) = reply.split_at(bytes.min(reply.len()));
                if send_pieces(stream, [first, rest].into_iter()).is_err() {
                    return;
                }
                continue;
            }
            Some(Act::HoldWithin(bytes, gate)) => {
                let reply = answer_now(&mut session);
                let (first, rest) = reply.split_at(bytes.min(reply.len()));
                if stream.write_all(first).is_err() || shared.wait(|_| gate.is_open()).is_none() {
                    return;
                }
                rest.to_vec()
            }
            Some(Act::CloseWithin(bytes)) => {
                let reply = answer_now(&mut session);
                drop(stream.write_all(&reply[..bytes.min(reply.len())]));
                return;
            }
            Some(Act::CloseBefore) => return,
            Some(Act::CloseAfter) => {
                answer_now(&mut session);
                return;
            }
        };
        if stream.write_all(&reply).is_err() {
            return;
        }
    }
}

/// Sends pieces so far apart that the other side reads them one by one.
fn send_pieces<'a>(mut stream: &TcpStream, pieces: impl Iterator<Item = &'a [u8]>) -> std::io::Result<()> {
    for piece in pieces {
        stream.write_all(piece)?;
        thread::sleep(PIECE_PAUSE);
    }
    Ok(())
}

/// The reply of a node that behaves, and whether the model executed something.
fn answer(world: &mut World, session: &mut Session, words: &[Vec<u8>]) -> (Vec<u8>, bool) {
    let name = words[0].to_ascii_uppercase();
    let asking = std::mem::take(&mut session.asking);
    let needs_password = world.password.is_some() && !session.authenticated;
    if needs_password && !matches!(&name[..], b"AUTH" | b"HELLO" | b"QUIT" | b"RESET") {
        return (error("NOAUTH Authentication required."), false);
    }
    let in_transaction = matches!(&name[..], b"MULTI" | b"EXEC" | b"DISCARD" | b"WATCH" | b"UNWATCH");
    if in_transaction || session.transaction.is_some() {
        let outcome = transaction(world, session, asking, &name, words);
        // Within a transaction ASKING counts until its end.
        session.asking = asking && session.transaction.is_some();
        return outcome;
    }
    let reply = match &name[..] {
        b"HELLO" if world.knows_hello => shapes::hello(world, session, words),
        b"HELLO" => error("ERR unknown command `HELLO`, with args beginning with: `3`, "),
        b"AUTH" => shapes::auth(world, session, words.last().map_or(&b""[..], |word| word)),
        b"ASKING" => {
            session.asking = true;
            ok()
        }
        b"READONLY" | b"READWRITE" => {
            session.readonly = name == b"READONLY";
            ok()
        }
        b"CLUSTER" => shapes::cluster(world, session, words),
        b"INFO" => shapes::info(world, session.node),
        b"ROLE" => shapes::role(world, session.node),
        b"CLIENT" if words.get(1).is_some_and(|word| word.eq_ignore_ascii_case(b"ID")) => {
            format!(":{}\r\n", session.connection).into_bytes()
        }
        b"CLIENT" | b"SELECT" | b"RESET" | b"QUIT" => ok(),
        b"COMMAND" | b"CONFIG" => b"*0\r\n".to_vec(),
        _ => return route::run(world, session, asking, words),
    };
    (reply, false)
}

/// MULTI, EXEC and what comes in between, as a node does it. Watched keys are not watched: WATCH is only
/// agreed to.
fn transaction(
    world: &mut World,
    session: &mut Session,
    asking: bool,
    name: &[u8],
    words: &[Vec<u8>],
) -> (Vec<u8>, bool) {
    if name == b"WATCH" {
        let refusal = route::judge(world, session, asking, words).err();
        return (refusal.unwrap_or_else(ok), false);
    }
    let Some(open) = session.transaction.take() else {
        return match name {
            b"MULTI" => {
                session.transaction = Some(Transaction::default());
                (ok(), false)
            }
            b"UNWATCH" => (ok(), false),
            _ => (error(&format!("ERR {} without MULTI", String::from_utf8_lossy(name))), false),
        };
    };
    match name {
        b"DISCARD" => (ok(), false),
        b"EXEC" if open.aborted => {
            (error("EXECABORT Transaction discarded because of previous errors."), false)
        }
        b"EXEC" => {
            let mut out = Vec::new();
            encode::array_head(&mut out, open.queued.len());
            for words in &open.queued {
                out.extend(route::run(world, session, asking, words).0);
            }
            (out, true)
        }
        _ => {
            let refusal = route::judge(world, session, asking, words).err();
            let mut open = open;
            open.aborted |= refusal.is_some();
            open.queued.push(words.to_vec());
            session.transaction = Some(open);
            (refusal.unwrap_or_else(|| b"+QUEUED\r\n".to_vec()), false)
        }
    }
}

pub(super) fn ok() -> Vec<u8> {
    b"+OK\r\n".to_vec()
}

pub(super) fn error(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    encode::error(&mut out, text);
    out
}
