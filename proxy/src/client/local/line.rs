//! A client as CLIENT LIST and CLIENT INFO show it: the fields of Redis 7.2, in its order.
//!
//! What only a server with one buffer a client can tell (`qbuf`, `argv-mem`) is 0 here.

use super::tracking::redirected_to;
use crate::client::state::{Client, Kind};
use std::fmt::Write;
use std::os::fd::AsRawFd;

/// One line with its end; `now` is the worker's clock, in microseconds.
pub fn of(client: &Client, now: u64) -> String {
    let empty = Default::default();
    let identity = client.identity.as_deref().unwrap_or(&empty);
    let held = client.replies.held();
    let [channels, patterns, shards] = client.subscriptions;
    let queued = client.transaction.as_ref().map_or(-1, |transaction| i64::from(transaction.commands()));
    let mut line = String::with_capacity(320);
    // Writing to a string cannot fail.
    let _ = writeln!(
        line,
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub={channels} psub={patterns} ssub={shards} multi={queued} \
         qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl={held} oll=0 omem={held} tot-mem={} \
         events={} cmd={} user=default redir={} resp={} lib-name={} lib-ver={}",
        client.id,
        client.address,
        client.own_address(),
        client.writer.as_ref().as_raw_fd(),
        String::from_utf8_lossy(&identity.name),
        client.connected.elapsed().as_secs(),
        now.saturating_sub(client.active) / 1_000_000,
        flags(client, identity.no_evict, identity.no_touch),
        client.database,
        held + size_of::<Client>(),
        if client.write_blocked { "rw" } else { "r" },
        client.last.map_or_else(|| "NULL".to_owned(), |spec| spec.name.to_lowercase()),
        redirected_to(client),
        if client.resp3 { 3 } else { 2 },
        String::from_utf8_lossy(&identity.lib_name),
        String::from_utf8_lossy(&identity.lib_version),
    );
    line
}

fn flags(client: &Client, no_evict: bool, no_touch: bool) -> String {
    let tracks = client.tracking.as_deref();
    letters([
        (client.monitor.is_some(), 'O'),
        (client.kind() == Kind::Pubsub, 'P'),
        (client.transaction.is_some(), 'x'),
        (client.is_blocked(), 'b'),
        (tracks.is_some(), 't'),
        (tracks.is_some_and(|tracking| tracking.broken), 'R'),
        (tracks.is_some_and(|tracking| tracking.broadcast), 'B'),
        (no_evict, 'e'),
        (no_touch, 'T'),
    ])
}

fn letters(set: [(bool, char); 9]) -> String {
    let flags: String = set.into_iter().filter(|(set, _)| *set).map(|(_, flag)| flag).collect();
    if flags.is_empty() { "N".to_owned() } else { flags }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t27_flags_of_a_client() {
        let flags = |set: &str| {
            letters(['O', 'P', 'x', 'b', 't', 'R', 'B', 'e', 'T'].map(|flag| (set.contains(flag), flag)))
        };
        assert_eq!(flags(""), "N");
        assert_eq!(flags("Te"), "eT");
        assert_eq!(flags("Pbx"), "Pxb");
        assert_eq!(flags("BtO"), "OtB");
    }
}
