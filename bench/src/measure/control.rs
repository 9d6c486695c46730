//! A connection for a few questions: is the server there, what does it know. One question at a time,
//! blocking, with a time limit; no load.

use crate::tally::error_text;
use pointsman_protocol::resp::reply::payload;
use pointsman_protocol::resp::{ReplyScanner, encode};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(5);
const REPLY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One connection to a server on the loopback interface.
#[derive(Debug)]
pub struct Control {
    stream: TcpStream,
    port: u16,
    received: Vec<u8>,
}

impl Control {
    /// Connects. The error names the port.
    pub fn connect(port: u16) -> Result<Control, String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let failed = |error: std::io::Error| format!("port {port}: {error}");
        let stream = TcpStream::connect_timeout(&address, TIMEOUT).map_err(failed)?;
        stream.set_read_timeout(Some(TIMEOUT)).map_err(failed)?;
        stream.set_write_timeout(Some(TIMEOUT)).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        Ok(Control { stream, port, received: Vec::new() })
    }

    /// Asks; gives the whole reply. An error reply is an error.
    pub fn ask<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Result<Vec<u8>, String> {
        let mut request = Vec::new();
        encode::request(&mut request, words);
        let name = words
            .first()
            .map_or_else(String::new, |word| String::from_utf8_lossy(word.as_ref()).into_owned());
        let place = format!("port {}, {name}", self.port);
        self.stream.write_all(&request).map_err(|error| format!("{place}: {error}"))?;
        let reply = self.next_reply().map_err(|why| format!("{place}: {why}"))?;
        match reply.first() {
            Some(b'-' | b'!') => Err(format!("{place}: {}", error_text(&reply))),
            _ => Ok(reply),
        }
    }

    /// Asks; gives the text of the reply.
    pub fn ask_text(&mut self, words: &[&str]) -> Result<String, String> {
        let reply = self.ask(words)?;
        let text = payload(&reply)
            .ok_or_else(|| format!("port {}: {} was answered with no text", self.port, words[0]))?;
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    fn next_reply(&mut self) -> Result<Vec<u8>, String> {
        let mut scanner = ReplyScanner::new();
        let mut space = [0; 16 * 1024];
        loop {
            match scanner.next(&self.received, REPLY_BYTES_MAX) {
                Ok(Some(len)) => {
                    let rest = self.received.split_off(len.min(self.received.len()));
                    return Ok(std::mem::replace(&mut self.received, rest));
                }
                Ok(None) => {}
                Err(error) => return Err(error.to_string()),
            }
            match self.stream.read(&mut space) {
                Ok(0) => return Err("the connection was closed".to_owned()),
                Ok(count) => self.received.extend_from_slice(&space[..count]),
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A server that gives one answer, in two pieces.
    fn server(answer: &'static [u8]) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 100];
            let _ = stream.read(&mut request).unwrap();
            let (first, second) = answer.split_at(answer.len() / 2);
            stream.write_all(first).unwrap();
            stream.write_all(second).unwrap();
        });
        port
    }

    #[test]
    fn answers_and_errors() {
        let text = Control::connect(server(b"$5\r\nhello\r\n")).unwrap().ask_text(&["GET", "k"]);
        assert_eq!(text.unwrap(), "hello");
        let error =
            Control::connect(server(b"-ERR no such thing\r\n")).unwrap().ask(&["GET", "k"]).unwrap_err();
        assert!(error.contains("GET: ERR no such thing"), "{error}");
        let error = Control::connect(server(b"$5\r\nhel")).unwrap().ask(&["GET", "k"]).unwrap_err();
        assert!(error.contains("closed"), "{error}");
    }
}
