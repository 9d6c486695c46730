//! What the proxy answers itself: the handshake, and everything about the connection between it and
//! its client. Texts and shapes are those of redis-server 7, on which client libraries rely.
//!
//! The proxy presents itself as one standalone server: no backend's address, id or role is told.

use super::info;
use super::state::Client;
use crate::admin::counters::Outcome;
use crate::backend::connection::ClientKey;
use crate::route::plan::Refusal;
use crate::worker::dispatch::Step;
use crate::worker::router::Router;
use pointsman_protocol::command::{self, CommandSpec};
use pointsman_protocol::resp::{Args, encode};
use std::time::{SystemTime, UNIX_EPOCH};

/// The server version that clients are told, so that they choose well-trodden paths.
pub const REDIS_VERSION: &str = "7.2.4";

/// A reply that is an error; the text begins with its code.
type Refused = String;

/// Answers a request that needs no backend.
pub fn answer(router: &mut Router, key: ClientKey, spec: &'static CommandSpec, args: Args<'_>) -> Step {
    let Some(client) = router.client_mut(key) else { return Step::Close };
    let speaks = client.resp3;
    // The protocol version decides which connections its requests use; they change only when nothing
    // is on its way, so that no request overtakes another.
    if client.in_flight > 0 && matches!(spec.name, "HELLO" | "RESET") {
        client.paused = true;
        return Step::Wait;
    }
    let mut out = Vec::new();
    let result = match spec.name {
        "PING" => ping(args, &mut out),
        "ECHO" => {
            encode::bulk(&mut out, args.at(1));
            Ok(())
        }
        "SELECT" => select(args, &mut out),
        "AUTH" => auth(client, args).map(|()| encode::simple(&mut out, "OK")),
        "HELLO" => hello(client, args, &mut out),
        "QUIT" => {
            encode::simple(&mut out, "OK");
            client.closing = true;
            Ok(())
        }
        "RESET" => {
            reset(client);
            router.leave_subscriptions(key);
            encode::simple(&mut out, "RESET");
            Ok(())
        }
        "TIME" => {
            time(&mut out);
            Ok(())
        }
        "LOLWUT" => {
            encode::bulk(&mut out, format!("The points are set. Redis ver. {REDIS_VERSION}\n").as_bytes());
            Ok(())
        }
        "READONLY" | "READWRITE" => Err(NO_CLUSTER.to_owned()),
        "INFO" => {
            info::info(router, args, speaks, &mut out);
            Ok(())
        }
        "CONFIG|GET" => {
            config_get(args, speaks, &mut out);
            Ok(())
        }
        name if name.starts_with("CLIENT") => client_command(router, key, spec, args, &mut out),
        name if name.starts_with("COMMAND") => info::command(spec, args, speaks, &mut out),
        name if name.starts_with("CLUSTER") => Err(NO_CLUSTER.to_owned()),
        _ => Err(refusal(Refusal::NotThroughProxy(spec), args)),
    };
    let outcome = match result {
        Ok(()) => Outcome::Ok,
        Err(text) => {
            out.clear();
            encode::error(&mut out, &text);
            Outcome::Error
        }
    };
    router.answer(key, outcome, |replies| replies.extend_from_slice(&out));
    match router.client_mut(key) {
        Some(client) if !client.closing => Step::Done,
        _ => Step::Close,
    }
}

const NO_CLUSTER: &str = "ERR This instance has cluster support disabled";

fn refusal(refusal: Refusal, args: Args<'_>) -> Refused {
    let mut out = Vec::new();
    refusal.write(args, &mut out);
    String::from_utf8_lossy(&out).trim_start_matches('-').trim_end().to_owned()
}

fn ping(args: Args<'_>, out: &mut Vec<u8>) -> Result<(), Refused> {
    match args.len() {
        1 => encode::simple(out, "PONG"),
        2 => encode::bulk(out, args.at(1)),
        _ => return Err("ERR wrong number of arguments for 'ping' command".to_owned()),
    }
    Ok(())
}

fn select(args: Args<'_>, out: &mut Vec<u8>) -> Result<(), Refused> {
    match std::str::from_utf8(args.at(1)).ok().and_then(|text| text.parse::<i64>().ok()) {
        Some(0) => {
            encode::simple(out, "OK");
            Ok(())
        }
        Some(_) => Err("ERR DB index is out of range".to_owned()),
        None => Err("ERR value is not an integer or out of range".to_owned()),
    }
}

/// `AUTH password` or `AUTH default password`. A wrong one leaves things as they were.
fn auth(client: &mut Client, args: Args<'_>) -> Result<(), Refused> {
    match args.len() {
        2 => authenticate(client, b"default", args.at(1)),
        3 => authenticate(client, args.at(1), args.at(2)),
        _ => Err("ERR syntax error".to_owned()),
    }
}

fn authenticate(client: &mut Client, user: &[u8], password: &[u8]) -> Result<(), Refused> {
    let wrong = || Err("WRONGPASS invalid username-password pair or user is disabled.".to_owned());
    let Some(secret) = &client.listener.password else {
        return if user == b"default" {
            Err("ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?".to_owned())
        } else {
            wrong()
        };
    };
    if user != b"default" || !secret.matches(password) {
        tracing::info!(client = %client.address, listener = client.listener.name, "a client gave a wrong password");
        return wrong();
    }
    client.authenticated = true;
    Ok(())
}

/// `HELLO [2|3 [AUTH user password] [SETNAME name]]`.
fn hello(client: &mut Client, args: Args<'_>, out: &mut Vec<u8>) -> Result<(), Refused> {
    let resp3 = match args.get(1) {
        None => client.resp3,
        Some(b"2") => false,
        Some(b"3") => true,
        Some(other) if other.iter().all(u8::is_ascii_digit) && !other.is_empty() => {
            return Err("NOPROTO unsupported protocol version".to_owned());
        }
        Some(_) => return Err("ERR Protocol version is not an integer or out of range".to_owned()),
    };
    let (mut credentials, mut name) = (None, None);
    let mut at = 2;
    while let Some(option) = args.get(at) {
        if option.eq_ignore_ascii_case(b"AUTH") && at + 2 < args.len() {
            credentials = Some((args.at(at + 1), args.at(at + 2)));
            at += 3;
        } else if option.eq_ignore_ascii_case(b"SETNAME") && at + 1 < args.len() {
            name = Some(args.at(at + 1));
            at += 2;
        } else {
            return Err(format!("ERR Syntax error in HELLO option '{}'", String::from_utf8_lossy(option)));
        }
    }
    if let Some((user, password)) = credentials {
        // Without a password of our own, whoever says "default" is the default user already.
        if client.listener.password.is_some() || user != b"default" {
            authenticate(client, user, password)?;
        }
    }
    if !client.authenticated {
        return Err("NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time".to_owned());
    }
    if let Some(name) = name {
        set_name(client, name)?;
    }
    client.resp3 = resp3;
    encode::map_head(out, 7, resp3);
    for (field, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
        encode::bulk(out, field.as_bytes());
        encode::bulk(out, value.as_bytes());
    }
    encode::bulk(out, b"proto");
    encode::integer(out, if resp3 { 3 } else { 2 });
    encode::bulk(out, b"id");
    encode::integer(out, client.id as i64);
    for (field, value) in [("mode", "standalone"), ("role", "master")] {
        encode::bulk(out, field.as_bytes());
        encode::bulk(out, value.as_bytes());
    }
    encode::bulk(out, b"modules");
    encode::array_head(out, 0);
    Ok(())
}

/// Back to how the connection began.
fn reset(client: &mut Client) {
    client.resp3 = false;
    client.authenticated = client.listener.password.is_none();
    if let Some(identity) = &mut client.identity {
        identity.name.clear();
    }
}

fn time(out: &mut Vec<u8>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    encode::array_head(out, 2);
    encode::bulk(out, now.as_secs().to_string().as_bytes());
    encode::bulk(out, now.subsec_micros().to_string().as_bytes());
}

/// The settings that clients and tools look at; the nodes' own are not shown.
fn config_get(args: Args<'_>, resp3: bool, out: &mut Vec<u8>) {
    const SETTINGS: [(&str, &str); 7] = [
        ("appendonly", "no"),
        ("databases", "1"),
        ("maxmemory", "0"),
        ("maxmemory-policy", "noeviction"),
        ("proto-max-bulk-len", "536870912"),
        ("save", ""),
        ("timeout", "0"),
    ];
    let found: Vec<_> = SETTINGS
        .iter()
        .filter(|(name, _)| {
            args.iter()
                .skip(2)
                .any(|pattern| pattern == b"*" || pattern.eq_ignore_ascii_case(name.as_bytes()))
        })
        .collect();
    encode::map_head(out, found.len(), resp3);
    for (name, value) in found {
        encode::bulk(out, name.as_bytes());
        encode::bulk(out, value.as_bytes());
    }
}

fn client_command(
    router: &mut Router,
    key: ClientKey,
    spec: &'static CommandSpec,
    args: Args<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Refused> {
    if spec.name == "CLIENT|LIST" {
        let text: String = router.clients().map(|client| info::client_line(client) + "\n").collect();
        encode::bulk(out, text.as_bytes());
        return Ok(());
    }
    let Some(client) = router.client_mut(key) else { return Ok(()) };
    match spec.name {
        "CLIENT|ID" => encode::integer(out, client.id as i64),
        "CLIENT|GETNAME" => match client.identity.as_ref().map(|identity| identity.name.as_slice()) {
            Some(name) if !name.is_empty() => encode::bulk(out, name),
            _ => encode::null(out, client.resp3),
        },
        "CLIENT|SETNAME" => {
            set_name(client, args.at(2))?;
            encode::simple(out, "OK");
        }
        "CLIENT|SETINFO" => {
            set_info(client, args.at(2), args.at(3))?;
            encode::simple(out, "OK");
        }
        "CLIENT|INFO" => encode::bulk(out, (info::client_line(client) + "\n").as_bytes()),
        "CLIENT|NO-EVICT" | "CLIENT|NO-TOUCH" => {
            if !args.at(2).eq_ignore_ascii_case(b"ON") && !args.at(2).eq_ignore_ascii_case(b"OFF") {
                return Err("ERR syntax error".to_owned());
            }
            encode::simple(out, "OK");
        }
        _ => return Err(refusal(Refusal::NotYet(spec), args)),
    }
    Ok(())
}

fn set_name(client: &mut Client, name: &[u8]) -> Result<(), Refused> {
    if !name.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        return Err("ERR Client names cannot contain spaces, newlines or special characters.".to_owned());
    }
    client.identity_mut().name = name.to_vec();
    Ok(())
}

fn set_info(client: &mut Client, field: &[u8], value: &[u8]) -> Result<(), Refused> {
    if !value.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        let field = String::from_utf8_lossy(field).to_lowercase();
        return Err(format!("ERR {field} cannot contain spaces, newlines or special characters."));
    }
    if field.eq_ignore_ascii_case(b"LIB-NAME") {
        client.identity_mut().lib_name = value.to_vec();
    } else if field.eq_ignore_ascii_case(b"LIB-VER") {
        client.identity_mut().lib_version = value.to_vec();
    } else {
        return Err(format!("ERR Unrecognized option '{}'", String::from_utf8_lossy(field)));
    }
    Ok(())
}

/// The rows that COMMAND speaks of.
pub fn commands() -> &'static [CommandSpec] {
    command::all()
}
