//! The connection itself: greeting, identity, protocol version, end.

use super::failure::{DATABASE, Failure, Outcome, SYNTAX};
use super::{Call, Handler};
use crate::number::parse_integer;
use pointsman_protocol::resp::encode;

/// See the module.
pub const COMMANDS: &[(&str, Handler)] = &[
    ("PING", ping),
    ("ECHO", echo),
    ("SELECT", select),
    ("AUTH", auth),
    ("HELLO", hello),
    ("QUIT", quit),
    ("RESET", reset),
    ("READONLY", |call| set_readonly(call, true)),
    ("READWRITE", |call| set_readonly(call, false)),
    ("ASKING", asking),
];

fn ping(call: &mut Call<'_>) -> Outcome {
    match call.args.len() {
        1 => call.out.extend_from_slice(b"+PONG\r\n"),
        2 => call.reply_bulk(call.arg(1)),
        _ => return Err(Failure::Arity),
    }
    Ok(())
}

fn echo(call: &mut Call<'_>) -> Outcome {
    call.reply_bulk(call.arg(1));
    Ok(())
}

fn select(call: &mut Call<'_>) -> Outcome {
    let number = call.integer(1)?;
    if i32::try_from(number).is_err() {
        return Err(Failure::Made(format!(
            "ERR value is out of range, value must between {} and {}",
            i32::MIN,
            i32::MAX
        )));
    }
    if number != 0 {
        return Err(match call.node.spec.cluster.enabled() {
            true => Failure::Text("ERR SELECT is not allowed in cluster mode"),
            false => DATABASE,
        });
    }
    call.ok();
    Ok(())
}

/// No password is configured: the default user may come in with any.
fn auth(call: &mut Call<'_>) -> Outcome {
    match call.args.len() {
        2 => Err(Failure::Text(
            "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
             configuration is correct?",
        )),
        3 => {
            check_user(call.arg(1))?;
            call.ok();
            Ok(())
        }
        _ => Err(SYNTAX),
    }
}

fn check_user(user: &[u8]) -> Outcome {
    if user == b"default" {
        return Ok(());
    }
    Err(Failure::Text("WRONGPASS invalid username-password pair or user is disabled."))
}

fn hello(call: &mut Call<'_>) -> Outcome {
    let mut version = None;
    if call.args.len() > 1 {
        let asked = parse_integer(call.arg(1))
            .ok_or(Failure::Text("ERR Protocol version is not an integer or out of range"))?;
        if !(2..=3).contains(&asked) {
            return Err(Failure::Text("NOPROTO unsupported protocol version"));
        }
        version = Some(asked);
    }
    let mut name = None;
    let mut at = 2;
    while at < call.args.len() {
        let more = call.args.len() - at - 1;
        if call.is_word(at, "AUTH") && more >= 2 {
            check_user(call.arg(at + 1))?;
            at += 3;
        } else if call.is_word(at, "SETNAME") && more >= 1 {
            name = Some(call.arg(at + 1));
            at += 2;
        } else {
            let shown = String::from_utf8_lossy(call.arg(at)).into_owned();
            return Err(Failure::Made(format!("ERR Syntax error in HELLO option '{shown}'")));
        }
    }
    if let Some(name) = name {
        super::client::set_name(call, name)?;
    }
    if let Some(version) = version {
        call.client.resp3.set(version == 3);
    }
    let replica = call.node.is_replica();
    let clustered = call.node.spec.cluster.enabled();
    call.reply_map(7);
    let pairs: [(&str, &str); 2] = [("server", "redis"), ("version", crate::REDIS_VERSION)];
    for (field, value) in pairs {
        call.reply_bulk(field.as_bytes());
        call.reply_bulk(value.as_bytes());
    }
    call.reply_bulk(b"proto");
    call.reply_integer(if call.client.resp3.get() { 3 } else { 2 });
    call.reply_bulk(b"id");
    call.reply_integer(call.client.id as i64);
    call.reply_bulk(b"mode");
    call.reply_bulk(if clustered { b"cluster" } else { b"standalone" });
    call.reply_bulk(b"role");
    call.reply_bulk(if replica { b"replica" } else { b"master" });
    call.reply_bulk(b"modules");
    call.reply_array(0);
    Ok(())
}

fn quit(call: &mut Call<'_>) -> Outcome {
    call.client.closing.set(true);
    call.ok();
    Ok(())
}

fn reset(call: &mut Call<'_>) -> Outcome {
    call.client.reset();
    encode::simple(call.out, "RESET");
    Ok(())
}

fn set_readonly(call: &mut Call<'_>, readonly: bool) -> Outcome {
    cluster_only(call)?;
    call.client.readonly.set(readonly);
    call.ok();
    Ok(())
}

/// Accepted, and without effect: the slot map does not change, so no slot is ever half here.
fn asking(call: &mut Call<'_>) -> Outcome {
    cluster_only(call)?;
    call.ok();
    Ok(())
}

fn cluster_only(call: &Call<'_>) -> Outcome {
    if call.node.spec.cluster.enabled() {
        return Ok(());
    }
    Err(Failure::Text("ERR This instance has cluster support disabled"))
}
