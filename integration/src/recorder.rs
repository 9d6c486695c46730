//! A relay in front of Pointsman that writes down what a client library says, and what it hears.
//!
//! The counterpart of `integration/python/recorder.py` for libraries that live in this process: the same
//! golden files (`integration/golden`), the same lines.

use crate::reply::Reply;
use pointsman_protocol::resp::{ReplyScanner, RequestDecoder, RequestLimits};
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

/// What ends a library's start-up: the key that its first command asks for.
pub const MARKER: &str = "golden:start";
/// No reply in these tests is larger.
const REPLY_BYTES_MAX: usize = 1 << 24;

/// Both directions of one connection.
#[derive(Debug, Default)]
struct Recorded {
    sent: Arc<Mutex<Vec<u8>>>,
    received: Arc<Mutex<Vec<u8>>>,
}

/// Relays connections to one port.
#[derive(Debug)]
pub struct Recorder {
    port: u16,
    connections: Arc<Mutex<Vec<Recorded>>>,
}

impl Recorder {
    /// Relays every connection to `upstream`.
    pub fn start(upstream: u16) -> Recorder {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it listens").port();
        let connections: Arc<Mutex<Vec<Recorded>>> = Arc::default();
        let kept = connections.clone();
        // It ends with the process: a test has no more than a few of these.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", upstream)) else { continue };
                let recorded = Recorded::default();
                for (source, target, bytes) in
                    [(&client, &server, &recorded.sent), (&server, &client, &recorded.received)]
                {
                    let _ = source.set_nodelay(true);
                    if let (Ok(source), Ok(target)) = (source.try_clone(), target.try_clone()) {
                        let bytes = bytes.clone();
                        thread::spawn(move || relay(source, target, &bytes));
                    }
                }
                kept.lock().expect("nobody panicked").push(recorded);
            }
        });
        Recorder { port, connections }
    }

    /// Where libraries connect.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What was said before [`MARKER`] on the connection that asked for it, as lines: requests with `> `, the
    /// replies with `< `.
    #[track_caller]
    pub fn start_up(&self) -> Vec<String> {
        for recorded in self.connections.lock().expect("nobody panicked").iter() {
            let requests = requests(&recorded.sent.lock().expect("nobody panicked"));
            let Some(end) = requests.iter().position(|request| request.iter().any(|word| word == MARKER))
            else {
                continue;
            };
            let replies = replies(&recorded.received.lock().expect("nobody panicked"));
            return requests[..end]
                .iter()
                .enumerate()
                .flat_map(|(place, request)| {
                    [
                        format!("> {}", masked(request)),
                        format!("< {}", replies.get(place).map_or("nothing", shape)),
                    ]
                })
                .collect();
        }
        panic!("no connection asked for {MARKER}");
    }

    /// Fails the test if a library begins otherwise than its golden file says, or meets an error.
    /// `POINTSMAN_REGENERATE=1` writes the file.
    #[track_caller]
    pub fn judge_start_up(&self, name: &str) {
        let lines = self.start_up();
        let errors: Vec<_> = lines.iter().filter(|line| line.starts_with("< -")).collect();
        assert!(errors.is_empty(), "{name} meets errors: {lines:#?}");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("golden/{name}.txt"));
        if std::env::var_os("POINTSMAN_REGENERATE").is_some() {
            fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>())
                .expect("the golden file can be written");
        }
        let golden = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            lines,
            golden.lines().collect::<Vec<_>>(),
            "{name} begins otherwise than golden/{name}.txt says"
        );
    }
}

fn relay(mut source: TcpStream, mut target: TcpStream, kept: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = source.read(&mut buffer) {
        kept.lock().expect("nobody panicked").extend_from_slice(&buffer[..count]);
        if target.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    // Whichever side left, the other is to know.
    let _ = source.shutdown(Shutdown::Both);
    let _ = target.shutdown(Shutdown::Both);
}

fn requests(mut bytes: &[u8]) -> Vec<Vec<String>> {
    let (mut decoder, mut found) = (RequestDecoder::new(), Vec::new());
    while let Ok(Some(len)) = decoder.next(bytes, &RequestLimits::AUTHENTICATED) {
        let words = decoder.args(&bytes[..len]);
        found.push(words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect());
        bytes = &bytes[len..];
    }
    found
}

/// The replies without pushes.
fn replies(mut bytes: &[u8]) -> Vec<Reply> {
    let (mut scanner, mut found) = (ReplyScanner::new(), Vec::new());
    while let Ok(Some(len)) = scanner.next(bytes, REPLY_BYTES_MAX) {
        if bytes[0] != b'>' {
            found.push(Reply(bytes[..len].to_vec()));
        }
        bytes = &bytes[len..];
    }
    found
}

fn masked(request: &[String]) -> String {
    let mut words = Vec::new();
    let mut before = "";
    for word in request {
        words.push(if before.eq_ignore_ascii_case("LIB-VER") { "<version>" } else { word.as_str() });
        before = word;
    }
    words.join(" ")
}

/// What kind of answer it is: its words where they are a status or an error.
fn shape(reply: &Reply) -> &str {
    match reply.0.first() {
        Some(b'%') => "a map",
        Some(b'*' | b'~') => "an array",
        Some(b':') => "an integer",
        Some(b'_') => "null",
        Some(b'$') if reply.is_null() => "null",
        Some(b'$') => "a string",
        Some(b'=') => "of type =",
        _ => std::str::from_utf8(&reply.0).unwrap_or("no text").trim_end(),
    }
}
