//! A real redis-server to ask, and chance that can be repeated.

use pointsman_protocol::resp::{ReplyScanner, encode};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const START_TIMEOUT: Duration = Duration::from_secs(10);
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// A redis-server of its own, on a unix socket, so that no two tests can want the same port.
pub struct RedisServer {
    process: Child,
    directory: PathBuf,
}

impl RedisServer {
    /// Starts one; `None` if there is no redis-server, which is then said aloud.
    pub fn start(test: &str) -> Option<RedisServer> {
        let directory = std::env::temp_dir().join(format!("pointsman-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory for the socket");
        let socket = directory.join("socket");
        let spawned = Command::new("redis-server")
            .args([
                "--port",
                "0",
                "--save",
                "",
                "--appendonly",
                "no",
                "--loglevel",
                "warning",
                "--unixsocket",
            ])
            .arg(&socket)
            .arg("--dir")
            .arg(&directory)
            .stdout(Stdio::null())
            .spawn();
        let process = match spawned {
            Ok(process) => process,
            Err(error) => {
                let _ = std::fs::remove_dir_all(&directory);
                // Not with eprintln: the harness keeps that of a test that passes to itself.
                let _ = writeln!(std::io::stderr(), "SKIPPED {test}: redis-server cannot be run ({error})");
                return None;
            }
        };
        let mut server = RedisServer { process, directory };
        let deadline = Instant::now() + START_TIMEOUT;
        while UnixStream::connect(&socket).is_err() {
            let exited = server.process.try_wait().expect("the state of the process");
            assert!(exited.is_none(), "redis-server ended at once: {exited:?}");
            assert!(Instant::now() < deadline, "redis-server does not listen on {}", socket.display());
            std::thread::sleep(Duration::from_millis(5));
        }
        Some(server)
    }

    /// A new connection.
    pub fn connect(&self) -> Connection {
        let stream = UnixStream::connect(self.directory.join("socket")).expect("a connection");
        stream.set_read_timeout(Some(REPLY_TIMEOUT)).expect("a timeout");
        Connection { stream, buf: Vec::new() }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A client that sends bytes and gets whole replies.
pub struct Connection {
    stream: UnixStream,
    buf: Vec<u8>,
}

impl Connection {
    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("redis-server reads");
    }

    /// The next reply's bytes; `None` once the server has closed the connection.
    pub fn reply(&mut self) -> Option<Vec<u8>> {
        let mut scanner = ReplyScanner::new();
        loop {
            if let Some(len) = scanner.next(&self.buf, 1 << 30).expect("redis-server speaks RESP") {
                return Some(self.buf.drain(..len).collect());
            }
            let mut part = [0; 16 * 1024];
            match self.stream.read(&mut part) {
                Ok(0) => return None,
                Ok(len) => self.buf.extend_from_slice(&part[..len]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no reply from redis-server: {error}"),
            }
        }
    }

    /// Sends one request and gets its reply.
    pub fn ask<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode::request(&mut bytes, words);
        self.send(&bytes);
        self.reply().expect("redis-server answers")
    }
}

/// SplitMix64: small, good enough, and the same everywhere for a seed.
pub struct Chance(u64);

impl Chance {
    /// The sequence that belongs to `seed`.
    pub fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// One of `choices`, which are some.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}
