//! What the proxy answers itself: the handshake, and everything about the connection between it and
//! its client. Texts and shapes are those of redis-server 7, on which client libraries rely.
//!
//! The proxy presents itself as one standalone server, or where the listener says so as a cluster of
//! one node ([`cluster`]): no backend's address, id or role is told.

pub mod cluster;
pub mod command;
pub mod config;
pub mod connection;
pub mod filter;
pub mod greeting;
pub mod info;
pub mod line;
pub mod pointsman;
pub mod tracking;
pub mod words;

use crate::admin::counters::Outcome;
use crate::backend::connection::ClientKey;
use crate::route::plan::Refusal;
use crate::worker::dispatch::Step;
use crate::worker::router::Router;
use pointsman_protocol::command::CommandSpec;
use pointsman_protocol::resp::{Args, encode};
use std::time::{SystemTime, UNIX_EPOCH};

/// The server version that clients are told, so that they choose well-trodden paths.
pub const REDIS_VERSION: &str = "7.2.4";

/// An error to be told; the text begins with its code. It may quote bytes of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub Vec<u8>);

impl Refused {
    /// An error that quotes what the client sent, up to the first zero byte, as Redis does.
    fn quoting(before: &str, quoted: &[u8], after: &str) -> Refused {
        const QUOTED_MAX: usize = 128;
        let quoted = &quoted[..quoted.len().min(QUOTED_MAX)];
        let quoted = quoted.split(|byte| *byte == 0).next().unwrap_or_default();
        Refused([before.as_bytes(), quoted, after.as_bytes()].concat())
    }

    /// Appends the error reply; a line end inside becomes a space.
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'-');
        out.extend(self.0.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }));
        out.extend_from_slice(b"\r\n");
    }
}

impl From<&str> for Refused {
    fn from(text: &str) -> Refused {
        Refused(text.into())
    }
}

/// What became of a request that was understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The reply has been written.
    Ready,
    /// There is none, on purpose.
    Silent,
    /// It comes later, in its place; nothing more is to be done here.
    Later,
    /// The reply has been written; close behind it.
    Close,
}

/// Answers a request that needs no backend.
pub fn answer(router: &mut Router, key: ClientKey, spec: &'static CommandSpec, args: Args<'_>) -> Step {
    let Some(client) = router.client_mut(key) else { return Step::Close };
    // The protocol version and the database decide which connections its requests use; they change only when nothing
    // is on its way, so that no request overtakes another. What asks others speaks of a moment, which
    // comes after what the client sent before.
    if client.in_flight > 0 && (matches!(spec.name, "HELLO" | "RESET" | "SELECT") || is_asked_of_others(spec))
    {
        client.paused = true;
        return Step::Wait;
    }
    let mut out = Vec::new();
    let answer = match write(router, key, spec, args, &mut out) {
        Ok(answer) => answer,
        Err(refused) => {
            out.clear();
            refused.write(&mut out);
            router.answer(key, Outcome::Error, |replies| replies.extend_from_slice(&out));
            return Step::Done;
        }
    };
    match answer {
        Answer::Ready | Answer::Close => {
            router.answer(key, Outcome::Ok, |replies| replies.extend_from_slice(&out));
        }
        Answer::Silent | Answer::Later => {}
    }
    match router.client_mut(key) {
        Some(client) if answer == Answer::Close => {
            client.closing = true;
            Step::Close
        }
        Some(_) => Step::Done,
        None => Step::Close,
    }
}

/// True for commands whose reply may come from others than this worker, and so not at once, or not at
/// all: they have no place between MULTI and EXEC. `facade`: the proxy presents itself as a cluster.
pub fn needs_others(spec: &CommandSpec, facade: bool) -> bool {
    (facade && cluster::asks_a_node(spec))
        || is_asked_of_others(spec)
        || matches!(spec.name, "CONFIG|GET" | "COMMAND|DOCS" | "COMMAND|LIST" | "CLIENT|REPLY")
}

/// The reply to a request that needs neither a backend nor another worker ([`needs_others`]).
pub fn reply(
    router: &mut Router,
    key: ClientKey,
    spec: &'static CommandSpec,
    args: Args<'_>,
) -> (Outcome, Vec<u8>) {
    let mut out = Vec::new();
    match write(router, key, spec, args, &mut out) {
        Ok(Answer::Ready | Answer::Close) => (Outcome::Ok, out),
        // A reply of its own would follow, or none come: what the client reads from then on would not be what it
        // asked for. Only a command that `needs_others` leaves out gets here.
        Ok(Answer::Later | Answer::Silent) => {
            tracing::error!(
                command = spec.name,
                "a queued command was not answered at once; closing its client"
            );
            if let Some(client) = router.client_mut(key) {
                client.broken = true;
                client.wake();
            }
            out.clear();
            encode::error(
                &mut out,
                "ERR this command is not available between MULTI and EXEC through the proxy",
            );
            (Outcome::Error, out)
        }
        Err(refused) => {
            out.clear();
            refused.write(&mut out);
            (Outcome::Error, out)
        }
    }
}

fn is_asked_of_others(spec: &CommandSpec) -> bool {
    connection::asks_everyone(spec) || matches!(spec.name, "INFO" | "CONFIG|SET")
}

fn write(
    router: &mut Router,
    key: ClientKey,
    spec: &'static CommandSpec,
    args: Args<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Refused> {
    let Some(client) = router.client_mut(key) else { return Ok(Answer::Close) };
    let (resp3, facade) = (client.resp3, client.listener.facade);
    match spec.name {
        "PING" => ping(args, out)?,
        "ECHO" => encode::bulk(out, args.at(1)),
        "SELECT" => {
            let database = greeting::select(args, router.databases())?;
            if !router.select(key, database) {
                return Ok(Answer::Later);
            }
            encode::simple(out, "OK");
        }
        "SWAPDB" => greeting::swapdb(args, out)?,
        "MOVE" => return Err(greeting::move_key(args)),
        "AUTH" => {
            greeting::auth(client, args)?;
            encode::simple(out, "OK");
        }
        "HELLO" => greeting::hello(client, args, out)?,
        "QUIT" => {
            encode::simple(out, "OK");
            return Ok(Answer::Close);
        }
        "RESET" => {
            greeting::reset(client);
            router.unwatch(key);
            router.end_tracking(key);
            router.leave_subscriptions(key);
            encode::simple(out, "RESET");
        }
        "TIME" => time(out),
        "ROLE" => role(out),
        "LOLWUT" => verbatim(out, &format!("The points are set. Redis ver. {REDIS_VERSION}\n"), resp3),
        "ACL|WHOAMI" => encode::bulk(out, b"default"),
        "ACL|USERS" => {
            encode::array_head(out, 1);
            encode::bulk(out, b"default");
        }
        "MONITOR" if !client.listener.monitor => {
            return Err("ERR MONITOR is switched off here (listeners[].monitor)".into());
        }
        // As in Redis, a second one is not even answered.
        "MONITOR" if client.monitor.is_some() => {
            client.replies.unanswered();
            return Ok(Answer::Silent);
        }
        "MONITOR" => {
            router.begin_monitor(key);
            return Ok(Answer::Later);
        }
        "INFO" => return Ok(info::info(router, key, args, resp3, out)),
        // Where reads go is the listener's to say.
        "READONLY" | "READWRITE" | "ASKING" if facade => encode::simple(out, "OK"),
        "READONLY" | "READWRITE" | "ASKING" => return Err(NO_CLUSTER.into()),
        name if name.starts_with("CONFIG") => return config::config(router, key, spec, args, resp3, out),
        name if name.starts_with("CLIENT") => return connection::client(router, key, spec, args, out),
        name if name.starts_with("COMMAND") => return command::command(router, key, spec, args, resp3, out),
        name if name.starts_with("POINTSMAN") => return pointsman::pointsman(router, key, spec, args, out),
        name if name.starts_with("CLUSTER") && facade => {
            return cluster::cluster(router, key, spec, args, out);
        }
        name if name.starts_with("CLUSTER") => return Err(NO_CLUSTER.into()),
        _ => return Err(refusal(Refusal::NotThroughProxy(spec), args)),
    }
    Ok(Answer::Ready)
}

const NO_CLUSTER: &str = "ERR This instance has cluster support disabled";

fn refusal(refusal: Refusal, args: Args<'_>) -> Refused {
    let mut out = Vec::new();
    refusal.write(args, &mut out);
    let text = out.strip_prefix(b"-").unwrap_or(&out);
    Refused(text.strip_suffix(b"\r\n").unwrap_or(text).to_vec())
}

fn ping(args: Args<'_>, out: &mut Vec<u8>) -> Result<(), Refused> {
    match args.len() {
        1 => encode::simple(out, "PONG"),
        2 => encode::bulk(out, args.at(1)),
        _ => return Err("ERR wrong number of arguments for 'ping' command".into()),
    }
    Ok(())
}

fn time(out: &mut Vec<u8>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    encode::array_head(out, 2);
    encode::bulk(out, now.as_secs().to_string().as_bytes());
    encode::bulk(out, now.subsec_micros().to_string().as_bytes());
}

/// A primary without replicas, whatever stands behind.
fn role(out: &mut Vec<u8>) {
    encode::array_head(out, 3);
    encode::bulk(out, b"master");
    encode::integer(out, 0);
    encode::array_head(out, 0);
}

/// A name as CLIENT SETNAME takes it.
fn valid_name(name: &[u8]) -> Result<&[u8], Refused> {
    if name.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        Ok(name)
    } else {
        Err("ERR Client names cannot contain spaces, newlines or special characters.".into())
    }
}

/// An integer in the only form that Redis takes: no plus sign, no leading zeros.
fn integer(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let value: i64 = text.parse().ok()?;
    (value.to_string() == text).then_some(value)
}

/// The same, or Redis' error.
pub(crate) fn decimal(text: &[u8]) -> Result<i64, Refused> {
    integer(text).ok_or_else(|| "ERR value is not an integer or out of range".into())
}

/// Appends text for people: a verbatim string in RESP3.
fn verbatim(out: &mut Vec<u8>, text: &str, resp3: bool) {
    if resp3 {
        out.extend_from_slice(format!("={}\r\ntxt:{text}\r\n", text.len() + 4).as_bytes());
    } else {
        encode::bulk(out, text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_those_of_redis() {
        for (text, value) in [
            ("0", Some(0)),
            ("-5", Some(-5)),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("+1", None),
            ("01", None),
            ("-0", None),
            ("", None),
            (" 1", None),
            ("1.5", None),
        ] {
            assert_eq!(integer(text.as_bytes()), value, "{text}");
        }
    }

    #[test]
    fn quoted_bytes_cannot_end_the_error() {
        let mut out = Vec::new();
        Refused::quoting("ERR '", b"a\r\n+OK\0rest", "'").write(&mut out);
        assert_eq!(out, b"-ERR 'a  +OK'\r\n");
    }
}
