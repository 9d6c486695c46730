//! CLIENT: what a node tells about connections, and what they may say of themselves.

use super::failure::{Failure, Outcome, SYNTAX};
use super::{Call, Handler};
use crate::number::parse_integer;
use crate::server::client::{Kind, Replies};
use pointsman_protocol::resp::encode;

/// See the module.
pub const COMMANDS: &[(&str, Handler)] = &[
    ("CLIENT|ID", id),
    ("CLIENT|GETNAME", getname),
    ("CLIENT|SETNAME", setname),
    ("CLIENT|SETINFO", setinfo),
    ("CLIENT|INFO", info),
    ("CLIENT|LIST", list),
    ("CLIENT|NO-EVICT", no_evict),
    ("CLIENT|NO-TOUCH", no_touch),
    ("CLIENT|REPLY", reply),
    ("CLIENT|GETREDIR", getredir),
    ("CLIENT|HELP", help),
];

fn id(call: &mut Call<'_>) -> Outcome {
    call.reply_integer(call.client.id as i64);
    Ok(())
}

fn getname(call: &mut Call<'_>) -> Outcome {
    let name = call.client.name.borrow();
    if name.is_empty() {
        call.reply_null();
    } else {
        call.reply_bulk(&name);
    }
    Ok(())
}

fn setname(call: &mut Call<'_>) -> Outcome {
    set_name(call, call.arg(2))?;
    call.ok();
    Ok(())
}

/// Names the client, for CLIENT SETNAME and HELLO.
pub fn set_name(call: &Call<'_>, name: &[u8]) -> Outcome {
    if !is_plain(name) {
        return Err(Failure::Text("ERR Client names cannot contain spaces, newlines or special characters."));
    }
    call.client.name.replace(name.into());
    Ok(())
}

fn is_plain(text: &[u8]) -> bool {
    text.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

fn setinfo(call: &mut Call<'_>) -> Outcome {
    let (option, value) = (call.arg(2), call.arg(3));
    let place = if call.is_word(2, "LIB-NAME") {
        &call.client.library
    } else if call.is_word(2, "LIB-VER") {
        &call.client.library_version
    } else {
        let shown = String::from_utf8_lossy(option).into_owned();
        return Err(Failure::Made(format!("ERR Unrecognized option '{shown}'")));
    };
    if !is_plain(value) {
        let shown = String::from_utf8_lossy(option).to_ascii_lowercase();
        return Err(Failure::Made(format!(
            "ERR {shown} cannot contain spaces, newlines or special characters."
        )));
    }
    place.replace(value.into());
    call.ok();
    Ok(())
}

fn info(call: &mut Call<'_>) -> Outcome {
    let mut text = String::new();
    call.client.describe(call.node.now_ms, &mut text);
    text.push('\n');
    call.reply_text(&text);
    Ok(())
}

fn list(call: &mut Call<'_>) -> Outcome {
    let mut kind = None;
    let mut ids: Option<Vec<u64>> = None;
    if call.args.len() == 4 && call.is_word(2, "TYPE") {
        kind = Some(if call.is_word(3, "NORMAL") {
            Some(Kind::Normal)
        } else if call.is_word(3, "REPLICA") || call.is_word(3, "SLAVE") {
            Some(Kind::Replica)
        } else if call.is_word(3, "MASTER") {
            Some(Kind::Primary)
        } else if call.is_word(3, "PUBSUB") {
            None
        } else {
            let shown = String::from_utf8_lossy(call.arg(3)).into_owned();
            return Err(Failure::Made(format!("ERR Unknown client type '{shown}'")));
        });
    } else if call.args.len() > 3 && call.is_word(2, "ID") {
        let parse = |text| parse_integer(text).and_then(|id| u64::try_from(id).ok());
        let parsed: Option<Vec<u64>> = call.args.iter().skip(3).map(parse).collect();
        ids = Some(parsed.ok_or(Failure::Text("ERR Invalid client ID"))?);
    } else if call.args.len() != 2 {
        return Err(SYNTAX);
    }
    let mut text = String::new();
    for client in call.node.register.iter() {
        let kind_fits = kind.is_none_or(|kind| kind == Some(client.kind.get()));
        let id_fits = ids.as_ref().is_none_or(|ids| ids.contains(&client.id));
        if kind_fits && id_fits {
            client.describe(call.node.now_ms, &mut text);
            text.push('\n');
        }
    }
    call.reply_text(&text);
    Ok(())
}

/// Reads `on` or `off` at argument 2.
fn switch(call: &Call<'_>) -> Result<bool, Failure> {
    if call.is_word(2, "ON") {
        Ok(true)
    } else if call.is_word(2, "OFF") {
        Ok(false)
    } else {
        Err(SYNTAX)
    }
}

fn no_evict(call: &mut Call<'_>) -> Outcome {
    call.client.no_evict.set(switch(call)?);
    call.ok();
    Ok(())
}

fn no_touch(call: &mut Call<'_>) -> Outcome {
    call.client.no_touch.set(switch(call)?);
    call.ok();
    Ok(())
}

fn reply(call: &mut Call<'_>) -> Outcome {
    if call.is_word(2, "ON") {
        call.client.replies.set(Replies::On);
        call.ok();
    } else if call.is_word(2, "OFF") {
        call.client.replies.set(Replies::Off);
    } else if call.is_word(2, "SKIP") {
        if call.client.replies.get() == Replies::On {
            call.client.replies.set(Replies::SkipNext);
        }
    } else {
        return Err(SYNTAX);
    }
    Ok(())
}

/// Nothing is ever redirected: there is no tracking here.
fn getredir(call: &mut Call<'_>) -> Outcome {
    call.reply_integer(-1);
    Ok(())
}

fn help(call: &mut Call<'_>) -> Outcome {
    call.reply_help(
        "CLIENT",
        &[
            "GETNAME",
            "    Return the name of the current connection.",
            "GETREDIR",
            "    Return -1: this server does not track keys.",
            "ID",
            "    Return the ID of the current connection.",
            "INFO",
            "    Return information about the current client connection.",
            "LIST [options ...]",
            "    Return information about client connections. Options:",
            "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
            "      Return clients of specified type.",
            "    * ID id [id ...]",
            "      Return clients of specified IDs only.",
            "NO-EVICT (ON|OFF)",
            "    Accepted; this server does not evict clients.",
            "NO-TOUCH (ON|OFF)",
            "    Will not touch LRU/LFU stats when this mode is on.",
            "REPLY (ON|OFF|SKIP)",
            "    Control the replies sent to the current connection.",
            "SETINFO <option> <value>",
            "    Set client meta attr. Options are:",
            "    * LIB-NAME: the client lib name.",
            "    * LIB-VER: the client lib version.",
            "SETNAME <name>",
            "    Assign the name <name> to the current connection.",
        ],
    );
    Ok(())
}

/// The error that ends a connection beyond the cap.
pub fn too_many(out: &mut Vec<u8>) {
    encode::error(out, "ERR max number of clients reached");
}
