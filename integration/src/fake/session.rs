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

/// A request and its number in the record.
type Arrived = (usize, Vec<Vec<u8>>);

/// Records each request and passes it on.
fn read(
    shared: &Shared,
    node: usize,
    connection: u64,
    mut stream: TcpStream,
    requests: &mpsc::Sender<Arrived>,
) {
    let mut decoder = RequestDecoder::new();
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
        let act = world.rules.iter_mut().find_map(|rule| rule.take(node, &words));
        drop(world);

        let answer_now = |session: &mut Session| {
            let mut world = shared.lock();
            let (reply, executed) = answer(&mut world, session, &words);
            if let Some(record) = world.recorded(number) {
                record.executed = executed;
            }
            reply
        };
        let reply = match act {
            None => answer_now(&mut session),
            Some(Act::Answer(bytes)) => bytes,
            Some(Act::Error(text)) => error(&text),
            Some(Act::Redirect { to, asking }) => route::redirect(&shared.lock(), to, asking, &words),
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
                for piece in reply.chunks(bytes) {
                    if stream.write_all(piece).is_err() {
                        return;
                    }
                    thread::sleep(PIECE_PAUSE);
                }
                continue;
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

/// The reply of a node that behaves, and whether the model executed something.
fn answer(world: &mut World, session: &mut Session, words: &[Vec<u8>]) -> (Vec<u8>, bool) {
    let name = words[0].to_ascii_uppercase();
    let asking = std::mem::take(&mut session.asking);
    let needs_password = world.password.is_some() && !session.authenticated;
    if needs_password && !matches!(&name[..], b"AUTH" | b"HELLO" | b"QUIT" | b"RESET") {
        return (error("NOAUTH Authentication required."), false);
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

pub(super) fn ok() -> Vec<u8> {
    b"+OK\r\n".to_vec()
}

pub(super) fn error(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    encode::error(&mut out, text);
    out
}
