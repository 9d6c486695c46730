//! How a client introduces itself: AUTH, HELLO, SELECT, RESET.

use super::{REDIS_VERSION, Refused, decimal, integer, valid_name};
use crate::client::replies::Withhold;
use crate::client::state::Client;
use pointsman_protocol::resp::{Args, encode};

/// `SELECT index`, of so many databases: gives the index.
pub fn select(args: Args<'_>, databases: u16) -> Result<u16, Refused> {
    let index = decimal(args.at(1))?;
    match u16::try_from(index) {
        Ok(index) if index < databases => Ok(index),
        // Beyond those there are it is wrong as it is where there is one.
        _ => database(index.max(1)).map(|()| 0),
    }
}

/// `SWAPDB a b` where there is only one.
pub fn swapdb(args: Args<'_>, out: &mut Vec<u8>) -> Result<(), Refused> {
    let index = |at, text: &'static str| {
        integer(args.at(at)).filter(|index| i32::try_from(*index).is_ok()).ok_or(text)
    };
    let first = index(1, "ERR invalid first DB index")?;
    let second = index(2, "ERR invalid second DB index")?;
    database(first)?;
    database(second)?;
    encode::simple(out, "OK");
    Ok(())
}

/// `MOVE key db` where there is only one.
pub fn move_key(args: Args<'_>) -> Refused {
    match decimal(args.at(2)).and_then(database) {
        Ok(()) => "ERR source and destination objects are the same".into(),
        Err(refused) => refused,
    }
}

fn database(index: i64) -> Result<(), Refused> {
    match index {
        0 => Ok(()),
        index if i32::try_from(index).is_err() => {
            Err("ERR value is out of range, value must between -2147483648 and 2147483647".into())
        }
        _ => Err("ERR DB index is out of range".into()),
    }
}

/// `AUTH password` or `AUTH user password`. A wrong one leaves things as they were.
pub fn auth(client: &mut Client, args: Args<'_>) -> Result<(), Refused> {
    match args.len() {
        2 if client.listener.password.is_none() => {
            Err("ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?".into())
        }
        2 => authenticate(client, b"default", args.at(1)),
        3 => authenticate(client, args.at(1), args.at(2)),
        _ => Err("ERR syntax error".into()),
    }
}

/// There is one user. Without a password of its own it is let in with any.
fn authenticate(client: &mut Client, user: &[u8], password: &[u8]) -> Result<(), Refused> {
    let right =
        user == b"default" && client.listener.password.as_ref().is_none_or(|secret| secret.matches(password));
    if !right {
        tracing::info!(client = %client.address, listener = client.listener.name, "a client gave a wrong password");
        return Err("WRONGPASS invalid username-password pair or user is disabled.".into());
    }
    client.authenticated = true;
    Ok(())
}

/// `HELLO [2|3 [AUTH user password] [SETNAME name]]`. All is read before anything is done, as Redis
/// does since 7.2: a HELLO that is refused changes nothing.
pub fn hello(client: &mut Client, args: Args<'_>, out: &mut Vec<u8>) -> Result<(), Refused> {
    let resp3 = match args.get(1).map(integer) {
        None => client.resp3,
        Some(Some(2)) => false,
        Some(Some(3)) => true,
        Some(Some(_)) => return Err("NOPROTO unsupported protocol version".into()),
        Some(None) => return Err("ERR Protocol version is not an integer or out of range".into()),
    };
    let (mut credentials, mut name) = (None, None);
    let mut at = 2;
    while let Some(option) = args.get(at) {
        if option.eq_ignore_ascii_case(b"AUTH") && at + 2 < args.len() {
            credentials = Some((args.at(at + 1), args.at(at + 2)));
            at += 3;
        } else if option.eq_ignore_ascii_case(b"SETNAME") && at + 1 < args.len() {
            name = Some(valid_name(args.at(at + 1))?);
            at += 2;
        } else {
            return Err(Refused::quoting("ERR Syntax error in HELLO option '", option, "'"));
        }
    }
    if let Some((user, password)) = credentials {
        authenticate(client, user, password)?;
    }
    if !client.authenticated {
        return Err("NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time".into());
    }
    if let Some(name) = name {
        client.identity_mut().name = name.to_vec();
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
    let mode = if client.listener.facade { "cluster" } else { "standalone" };
    for (field, value) in [("mode", mode), ("role", "master")] {
        encode::bulk(out, field.as_bytes());
        encode::bulk(out, value.as_bytes());
    }
    encode::bulk(out, b"modules");
    encode::array_head(out, 0);
    Ok(())
}

/// Back to how the connection began; what protects it from eviction stays, as in Redis.
pub fn reset(client: &mut Client) {
    client.resp3 = false;
    client.database = 0;
    client.authenticated = client.listener.password.is_none();
    client.replies.withhold(Withhold::Nothing);
    client.monitor = None;
    if let Some(identity) = &mut client.identity {
        identity.name.clear();
        identity.no_touch = false;
    }
}
