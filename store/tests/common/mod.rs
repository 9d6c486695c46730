//! What the tests of whole nodes share: nodes on free ports, a plain client, waiting for conditions.
#![allow(dead_code, missing_docs)]

use pointsman_integration::RedisServer;
use pointsman_protocol::HostPort;
use pointsman_protocol::resp::{ReplyScanner, encode};
use pointsman_store::{NodeHandle, NodeLimits, NodeSpec, Role, start};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `condition` gives something; `what` names it if it never does.
#[track_caller]
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn listen() -> (TcpListener, HostPort) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, HostPort::new("127.0.0.1", port))
}

pub fn primary(limits: NodeLimits) -> NodeHandle {
    let (listener, address) = listen();
    start(NodeSpec::standalone(address, Role::Primary, limits), listener).unwrap()
}

pub fn replica(of: HostPort, limits: NodeLimits) -> NodeHandle {
    let (listener, address) = listen();
    start(NodeSpec::standalone(address, Role::ReplicaOf(of), limits), listener).unwrap()
}

/// A client that sends and waits.
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub fn connect(address: &HostPort) -> Client {
        Client::connect_to((address.host().to_owned() + ":" + &address.port().to_string()).parse().unwrap())
    }

    pub fn connect_to(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client { stream, buffer: Vec::new() }
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub fn send<W: AsRef<[u8]>>(&mut self, words: &[W]) {
        let mut bytes = Vec::new();
        encode::request(&mut bytes, words);
        self.send_bytes(&bytes);
    }

    /// The next reply, as its bytes.
    pub fn receive(&mut self) -> Vec<u8> {
        let mut scanner = ReplyScanner::new();
        loop {
            if let Some(length) = scanner.next(&self.buffer, usize::MAX / 4).unwrap() {
                let rest = self.buffer.split_off(length);
                return std::mem::replace(&mut self.buffer, rest);
            }
            let mut part = [0; 65536];
            let length = self.stream.read(&mut part).expect("a reply");
            assert!(length > 0, "the connection ended instead of a reply; so far: {:?}", self.shown());
            self.buffer.extend_from_slice(&part[..length]);
        }
    }

    /// All that comes until the other side closes.
    pub fn receive_all(&mut self) -> Vec<u8> {
        let mut all = std::mem::take(&mut self.buffer);
        // A reset after the last byte is an end, too.
        let _ = self.stream.read_to_end(&mut all);
        all
    }

    pub fn call<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Vec<u8> {
        self.send(words);
        self.receive()
    }

    /// Calls with words parted by spaces, and gives the reply as text.
    pub fn ask(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        String::from_utf8_lossy(&self.call(&words)).into_owned()
    }

    #[track_caller]
    pub fn expect(&mut self, line: &str, reply: &str) {
        assert_eq!(self.ask(line), reply, "{line}");
    }

    /// A field of INFO.
    pub fn info(&mut self, field: &str) -> String {
        let text = self.ask("INFO everything");
        let prefix = format!("{field}:");
        let line = text.lines().find_map(|line| line.strip_prefix(&prefix));
        line.unwrap_or_else(|| panic!("no {field} in {text}")).trim_end().to_owned()
    }

    pub fn local_address(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.buffer).into_owned()
    }
}

/// Where a redis-server listens.
pub fn address_of(redis: &RedisServer) -> HostPort {
    HostPort::new("127.0.0.1", redis.port())
}

/// Everything a node holds: key, value, absolute expiry; by one SCAN.
pub fn contents(client: &mut Client) -> std::collections::BTreeMap<Vec<u8>, (Vec<u8>, i64)> {
    use pointsman_protocol::resp::reply::{elements, integer, payload};
    let mut all = std::collections::BTreeMap::new();
    let mut cursor = b"0".to_vec();
    loop {
        let reply = client.call(&[&b"SCAN"[..], &cursor, b"COUNT", b"1000"]);
        let parts: Vec<&[u8]> = elements(&reply).expect("an array").collect();
        for key in elements(parts[1]).unwrap() {
            let key = payload(key).unwrap().to_vec();
            let value = client.call(&[&b"GET"[..], &key]);
            let expiry = client.call(&[&b"PEXPIRETIME"[..], &key]);
            if let Some(value) = payload(&value) {
                all.insert(key, (value.to_vec(), integer(&expiry).unwrap()));
            }
        }
        cursor = payload(parts[0]).unwrap().to_vec();
        if cursor == b"0" {
            return all;
        }
    }
}

/// Numbers that look random; the same ones for the same seed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len() as u64) as usize]
    }
}
