//! A control connection to one node: asks, and waits for the answer, both bounded.
//!
//! For the questions that the proxy asks on its own behalf (who owns what, how far replicas are);
//! they are few, so full decoding by the redis-protocol crate is worth its price here.

use crate::backend::handshake;
use crate::backend::lanes::Lane;
use pointsman_config::Backend;
use pointsman_protocol::HostPort;
use pointsman_protocol::resp::{ReplyScanner, encode};
use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::types::OwnedFrame;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// No answer to a control question is larger: CLUSTER NODES of a thousand nodes is 150 KiB.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// See the module's head.
#[derive(Debug)]
pub struct Control {
    stream: TcpStream,
    patience: Duration,
}

impl Control {
    /// Connects and authenticates.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub async fn connect(address: &HostPort, backend: &Backend) -> Result<Control, String> {
        let patience = backend.connect_timeout;
        let stream = timeout(patience, TcpStream::connect((address.host(), address.port())))
            .await
            .map_err(|_| format!("no connection within {patience:?}"))?
            .map_err(|error| error.to_string())?;
        let mut control = Control { stream, patience };
        let lane = Lane { resp3: false, readonly: false, database: 0, index: 0 };
        for step in handshake::steps(lane, backend.username.as_deref(), backend.password.as_ref()) {
            let answer = control.exchange(&step.bytes).await?;
            if let OwnedFrame::Error(text) = answer
                && step.is_refused_by(format!("-{text}").as_bytes())
            {
                return Err(format!("it refused to {}: {text}", step.purpose));
            }
        }
        Ok(control)
    }

    /// Asks, and gives the answer; an error reply is an error.
    ///
    /// # Errors
    /// What went wrong, in words. The connection must not be used again: who wants to go on after an error
    /// reply uses [`Self::try_ask`].
    pub async fn ask(&mut self, words: &[&str]) -> Result<OwnedFrame, String> {
        self.try_ask(words).await?
    }

    /// Asks what the node may refuse: the inner error is its error reply, after which the connection is as
    /// good as before.
    ///
    /// # Errors
    /// What went wrong with the connection, in words. It must not be used again: an answer that comes late
    /// would be taken for that to the next question.
    pub async fn try_ask(&mut self, words: &[&str]) -> Result<Result<OwnedFrame, String>, String> {
        let mut request = Vec::new();
        encode::request(&mut request, words);
        Ok(match self.exchange(&request).await? {
            OwnedFrame::Error(text) => Err(format!("{} answered: {text}", words.join(" "))),
            frame => Ok(frame),
        })
    }

    /// Asks, and gives the bytes of the answer as they came, which may be an error reply.
    ///
    /// # Errors
    /// What went wrong, in words. The connection must not be used again.
    pub async fn ask_bytes(&mut self, words: &[&str]) -> Result<Vec<u8>, String> {
        let mut request = Vec::new();
        encode::request(&mut request, words);
        self.exchange_bytes(&request).await
    }

    /// Asks for messages and hands over whatever comes, until the connection ends; gives why. Where nothing
    /// comes for `silence` the other side is asked whether it is there, and once more is the end.
    pub async fn listen(
        mut self,
        words: &[&str],
        silence: Duration,
        mut hear: impl FnMut(&OwnedFrame),
    ) -> String {
        let mut request = Vec::new();
        encode::request(&mut request, words);
        let (mut bytes, mut scanner, mut asked) = (Vec::new(), ReplyScanner::new(), false);
        loop {
            if let Err(error) = self.stream.write_all(&request).await {
                return error.to_string();
            }
            request.clear();
            loop {
                match scanner.next(&bytes, ANSWER_BYTES_MAX) {
                    Ok(None) => break,
                    Ok(Some(len)) => {
                        match decode(&bytes[..len]) {
                            Ok(Some((OwnedFrame::Error(text), _))) => return text,
                            Ok(Some((frame, _))) => hear(&frame),
                            Ok(None) | Err(_) => return "it sent what cannot be read".to_owned(),
                        }
                        bytes.drain(..len);
                        asked = false;
                    }
                    Err(error) => return error.to_string(),
                }
            }
            match timeout(silence, self.stream.read_buf(&mut bytes)).await {
                Ok(Ok(0)) => return "it closed the connection".to_owned(),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return error.to_string(),
                Err(_) if asked => return "it is silent".to_owned(),
                Err(_) => {
                    asked = true;
                    encode::request(&mut request, &["PING"]);
                }
            }
        }
    }

    async fn exchange(&mut self, request: &[u8]) -> Result<OwnedFrame, String> {
        let bytes = self.exchange_bytes(request).await?;
        let decoded = decode(&bytes).map_err(|error| error.to_string())?;
        decoded.map(|(frame, _)| frame).ok_or_else(|| "an answer that cannot be read".to_owned())
    }

    async fn exchange_bytes(&mut self, request: &[u8]) -> Result<Vec<u8>, String> {
        let patience = self.patience;
        timeout(patience, self.exchange_unbounded(request))
            .await
            .map_err(|_| format!("no answer within {patience:?}"))?
    }

    async fn exchange_unbounded(&mut self, request: &[u8]) -> Result<Vec<u8>, String> {
        self.stream.write_all(request).await.map_err(|error| error.to_string())?;
        let (mut bytes, mut scanner) = (Vec::new(), ReplyScanner::new());
        loop {
            if scanner.next(&bytes, ANSWER_BYTES_MAX).map_err(|error| error.to_string())?.is_some() {
                return Ok(bytes);
            }
            if self.stream.read_buf(&mut bytes).await.map_err(|error| error.to_string())? == 0 {
                return Err("it closed the connection".to_owned());
            }
        }
    }
}

/// The bytes of a string frame.
pub fn text(frame: &OwnedFrame) -> Option<&[u8]> {
    match frame {
        OwnedFrame::BulkString(bytes) | OwnedFrame::SimpleString(bytes) => Some(bytes),
        _ => None,
    }
}
