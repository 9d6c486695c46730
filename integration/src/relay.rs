//! A relay in front of a server that hands on what the server says later than it came: put between a primary and
//! its replica, it makes the replica lag by a known time while it answers as ever.
//!
//! What goes to the server passes at once, so that acknowledgements and questions are not late as well. It looks
//! into nothing and changes no byte. At most [`CHUNKS_MAX`] pieces of [`CHUNK_BYTES`] wait in each connection; a
//! server that sends more is not read from.

use crate::ports::{self, Port};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The largest piece that is handed on in one go.
const CHUNK_BYTES: usize = 16 * 1024;
/// Pieces of one connection that may wait for their time.
const CHUNKS_MAX: usize = 16 * 1024;
/// How often a waiting thread looks whether it is still wanted, and whether the stream flows again.
const LOOK: Duration = Duration::from_millis(2);
/// How many ports are tried.
const TRIES_MAX: usize = 10;

/// A running relay; its connections are closed when it is dropped.
#[derive(Debug)]
pub struct Relay {
    port: Port,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// Where the server is.
    server: String,
    delay_us: AtomicU64,
    held: AtomicBool,
    stopped: AtomicBool,
    /// Both ends of every connection, to be closed.
    streams: Mutex<Vec<TcpStream>>,
}

impl Relay {
    /// A relay to the server at this address, without delay.
    #[track_caller]
    pub fn start(server: impl Into<String>) -> Relay {
        // A stranger may have taken the port in between.
        let bound = (0..TRIES_MAX).find_map(|_| {
            let port = ports::reserve();
            TcpListener::bind(port.address()).ok().map(|listener| (port, listener))
        });
        let (port, listener) = bound.expect("a port can be bound");
        listener.set_nonblocking(true).expect("a listener can be polled");
        let shared = Arc::new(Shared {
            server: server.into(),
            delay_us: AtomicU64::new(0),
            held: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            streams: Mutex::default(),
        });
        let accepting = thread::spawn({
            let shared = shared.clone();
            move || accept(&listener, &shared)
        });
        Relay { port, shared, accepting: Some(accepting) }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// What comes from the server from now on is handed on so much later.
    pub fn delay(&self, delay: Duration) {
        self.shared.delay_us.store(delay.as_micros() as u64, Ordering::Relaxed);
    }

    /// Hands nothing on any more (`true`), or all that has come meanwhile (`false`).
    pub fn hold(&self, held: bool) {
        self.shared.held.store(held, Ordering::Relaxed);
    }

    /// Closes all connections; new ones are accepted.
    pub fn cut(&self) {
        for stream in self.shared.streams().drain(..) {
            // One that is closed already is what is wanted.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        if let Some(accepting) = self.accepting.take() {
            // It ends by itself within one look, and nothing it could say matters any more.
            let _ = accepting.join();
        }
        self.cut();
    }
}

impl Shared {
    fn streams(&self) -> MutexGuard<'_, Vec<TcpStream>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.stopped.load(Ordering::Relaxed) {
        match listener.accept() {
            // A server that is down refuses whoever comes by us, too: the connection is closed.
            Ok((client, _)) => drop(connect(client, shared)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(LOOK),
            Err(error) => panic!("the relay cannot accept: {error}"),
        }
    }
}

fn connect(client: TcpStream, shared: &Arc<Shared>) -> std::io::Result<()> {
    client.set_nonblocking(false)?;
    let server = TcpStream::connect(&shared.server)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    shared.streams().extend([client.try_clone()?, server.try_clone()?]);
    let (sender, receiver) = sync_channel(CHUNKS_MAX);
    let (from_client, to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || pass(from_client, to_server));
    thread::spawn({
        let shared = shared.clone();
        move || take(server, &sender, &shared)
    });
    let shared = shared.clone();
    thread::spawn(move || hand_on(client, &receiver, &shared));
    Ok(())
}

/// Client to server: at once.
fn pass(mut client: TcpStream, mut server: TcpStream) {
    // However it ends, the other side learns by the connection's end.
    let _ = std::io::copy(&mut client, &mut server);
    let _ = server.shutdown(Shutdown::Both);
}

/// From the server: each piece with the moment at which it is due.
fn take(mut server: TcpStream, sender: &SyncSender<(Instant, Vec<u8>)>, shared: &Shared) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(len @ 1..) = server.read(&mut chunk) {
        let due = Instant::now() + Duration::from_micros(shared.delay_us.load(Ordering::Relaxed));
        if sender.send((due, chunk[..len].to_vec())).is_err() {
            break;
        }
    }
}

/// To the client: when it is due, and while the stream is not held. A shorter delay than before does not overtake.
fn hand_on(mut client: TcpStream, receiver: &Receiver<(Instant, Vec<u8>)>, shared: &Shared) {
    while let Ok((due, chunk)) = receiver.recv() {
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if shared.stopped.load(Ordering::Relaxed) {
                return;
            }
            match (left.is_zero(), shared.held.load(Ordering::Relaxed)) {
                (true, false) => break,
                (true, true) => thread::sleep(LOOK),
                (false, _) => thread::sleep(left.min(LOOK)),
            }
        }
        if client.write_all(&chunk).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
}
