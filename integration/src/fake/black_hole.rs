//! An address that neither accepts nor refuses: what a machine without power looks like.
//!
//! Its queue of waiting connections is full, so the kernel drops further attempts to connect.

use crate::ports::{self, Port};
use socket2::{Domain, Socket, Type};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An attempt that gets no answer within this time finds the queue full. On the loopback address an
/// accepted attempt takes microseconds.
const FULL_AFTER: Duration = Duration::from_millis(200);
/// The kernel's shortest queue is a few places long.
const FILLERS_MAX: usize = 64;
/// How many ports are tried.
const TRIES_MAX: usize = 10;

/// Holds the address; it refuses connections again when dropped.
#[derive(Debug)]
pub struct BlackHole {
    port: Port,
    _listener: Socket,
    _fillers: Vec<TcpStream>,
}

impl BlackHole {
    /// A new one.
    #[track_caller]
    pub fn start() -> BlackHole {
        // A stranger may have taken the port in between.
        let (port, address, listener) = (0..TRIES_MAX).find_map(|_| bind()).expect("a port can be bound");
        listener.listen(0).expect("a bound socket can listen");
        let mut fillers = Vec::new();
        while let Ok(filler) = TcpStream::connect_timeout(&address, FULL_AFTER) {
            fillers.push(filler);
            assert!(fillers.len() < FILLERS_MAX, "the queue of {address} does not fill up");
        }
        BlackHole { port, _listener: listener, _fillers: fillers }
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        self.port.address()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port.number()
    }
}

fn bind() -> Option<(Port, SocketAddr, Socket)> {
    let port = ports::reserve();
    let address: SocketAddr = port.address().parse().expect("it is an address");
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket can be made");
    // Earlier connections of the same port may linger.
    listener.set_reuse_address(true).expect("a socket has options");
    listener.bind(&address.into()).ok()?;
    Some((port, address, listener))
}
