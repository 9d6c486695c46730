//! The node as a whole: its clock, its role, its replicas' progress.

use super::failure::{Failure, Outcome};
use super::{Call, Handler};
use crate::number::{Decimal, parse_integer};

/// See the module.
pub const COMMANDS: &[(&str, Handler)] = &[("TIME", time), ("WAIT", wait), ("ROLE", role)];

fn time(call: &mut Call<'_>) -> Outcome {
    // The batch's own time would do for others, but who asks for the time wants it now.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    call.reply_array(2);
    call.reply_bulk(Decimal::unsigned(now.as_secs()).bytes());
    call.reply_bulk(Decimal::unsigned(u64::from(now.subsec_micros())).bytes());
    Ok(())
}

/// Tells at once how many replicas have acknowledged everything written so far. It does not wait: a
/// client that wants more of them asks again.
fn wait(call: &mut Call<'_>) -> Outcome {
    if call.node.is_replica() {
        return Err(Failure::Text(
            "ERR WAIT cannot be used with replica instances. Please also note that writes to replicas are just local \
             and are not propagated.",
        ));
    }
    call.integer(1)?;
    match parse_integer(call.arg(2)) {
        None => return Err(Failure::Text("ERR timeout is not an integer or out of range")),
        Some(timeout) if timeout < 0 => return Err(Failure::Text("ERR timeout is negative")),
        Some(_) => {}
    }
    let offset = call.node.log.offset();
    let acked = call.node.log.followers().iter().filter(|follower| follower.acked >= offset).count();
    call.reply_integer(acked as i64);
    Ok(())
}

fn role(call: &mut Call<'_>) -> Outcome {
    if let Some(primary) = call.node.primary().cloned() {
        let link = &call.node.link;
        let (state, offset) = match (link.up, link.copying) {
            (true, _) => ("connected", link.offset as i64),
            (false, true) => ("sync", -1),
            (false, false) => ("connect", -1),
        };
        call.reply_array(5);
        call.reply_bulk(b"slave");
        call.reply_bulk(primary.host().as_bytes());
        call.reply_integer(i64::from(primary.port()));
        call.reply_bulk(state.as_bytes());
        call.reply_integer(offset);
        return Ok(());
    }
    let followers: Vec<(String, u16, u64)> = call
        .node
        .log
        .followers()
        .iter()
        .map(|follower| (follower.host.clone(), follower.port, follower.acked))
        .collect();
    call.reply_array(3);
    call.reply_bulk(b"master");
    call.reply_integer(call.node.log.offset() as i64);
    call.reply_array(followers.len());
    for (host, port, acked) in followers {
        call.reply_array(3);
        call.reply_bulk(host.as_bytes());
        call.reply_bulk(Decimal::unsigned(u64::from(port)).bytes());
        call.reply_bulk(Decimal::unsigned(acked).bytes());
    }
    Ok(())
}
