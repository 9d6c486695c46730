//! What fake nodes say about themselves and their cluster, in the forms of redis-server 7.0.

use super::session::{Session, error, ok};
use super::world::{Endpoint, NodeState, View, World};
use pointsman_protocol::resp::encode;
use std::fmt::Write;

/// An address that nobody has, where the real one must not be used (documentation range).
const NOWHERE: &str = "192.0.2.1";
/// The distance from a port to its cluster bus port, as told.
const BUS: u16 = 10_000;

/// HELLO [version [AUTH user password] [SETNAME name]].
pub(super) fn hello(world: &World, session: &mut Session, words: &[Vec<u8>]) -> Vec<u8> {
    let version = words.get(1).map(|word| word.as_slice());
    if !matches!(version, None | Some(b"2" | b"3")) {
        return error("NOPROTO unsupported protocol version");
    }
    if let Some(at) = words.iter().position(|word| word.eq_ignore_ascii_case(b"AUTH")) {
        let reply = auth(world, session, words.get(at + 2).map_or(&b""[..], |word| word));
        if reply != ok() {
            return reply;
        }
    } else if world.password.is_some() && !session.authenticated {
        return error(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
        );
    }
    if let Some(version) = version {
        session.resp3 = version == b"3";
    }
    let mut out = Vec::new();
    encode::map_head(&mut out, 7, session.resp3);
    let mut pair = |name: &str, value: &dyn Fn(&mut Vec<u8>)| {
        encode::bulk(&mut out, name.as_bytes());
        value(&mut out);
    };
    pair("server", &|out| encode::bulk(out, b"redis"));
    pair("version", &|out| encode::bulk(out, b"7.0.15"));
    pair("proto", &|out| encode::integer(out, if session.resp3 { 3 } else { 2 }));
    pair("id", &|out| encode::integer(out, session.connection as i64));
    pair("mode", &|out| encode::bulk(out, b"cluster"));
    pair("role", &|out| encode::bulk(out, role_name(world, session.node).as_bytes()));
    pair("modules", &|out| encode::array_head(out, 0));
    out
}

/// AUTH.
pub(super) fn auth(world: &World, session: &mut Session, password: &[u8]) -> Vec<u8> {
    match &world.password {
        None => error(
            "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?",
        ),
        Some(wanted) if wanted.as_bytes() == password => {
            session.authenticated = true;
            ok()
        }
        Some(_) => error("WRONGPASS invalid username-password pair or user is disabled."),
    }
}

/// CLUSTER SHARDS, SLOTS, NODES, INFO, MYID, KEYSLOT.
pub(super) fn cluster(world: &World, session: &Session, words: &[Vec<u8>]) -> Vec<u8> {
    let name = words.get(1).map(|word| word.to_ascii_uppercase()).unwrap_or_default();
    let view = world.view_of(session.node);
    match &name[..] {
        b"SHARDS" if world.knows_shards => shards(world, view, session.resp3),
        b"SLOTS" if world.knows_slots => slots(world, view, session.resp3),
        b"NODES" => bulk(&nodes(world, view, session.node)),
        b"INFO" => bulk(&cluster_info(world, view)),
        b"MYID" => bulk(&world.nodes[session.node].id),
        b"KEYSLOT" => {
            let slot = pointsman_protocol::Slot::of(words.get(2).map_or(&b""[..], |word| word));
            format!(":{slot}\r\n").into_bytes()
        }
        _ => error(&format!(
            "ERR unknown subcommand '{}'. Try CLUSTER HELP.",
            words.get(1).map(|word| String::from_utf8_lossy(word)).unwrap_or_default()
        )),
    }
}

/// INFO: what matters of its replication section, with the headings that parsers expect.
pub(super) fn info(world: &World, me: usize) -> Vec<u8> {
    let node = &world.nodes[me];
    let mut text = format!(
        "# Server\r\nredis_version:7.0.15\r\nredis_mode:cluster\r\n\r\n# Persistence\r\nloading:{}\r\n\r\n# Replication\r\n",
        u8::from(node.loading)
    );
    let mut line = |line: String| write!(text, "{line}\r\n").expect("a string takes everything");
    let shard = world.view_of(me).shards.iter().find(|shard| shard.replicas.contains(&me));
    match shard {
        Some(shard) => {
            let primary = &world.nodes[shard.primary];
            let offset = world.offset.saturating_sub(node.behind);
            line("role:slave".into());
            line("master_host:127.0.0.1".into());
            line(format!("master_port:{}", primary.port.number()));
            line(format!("master_link_status:{}", if node.link_up { "up" } else { "down" }));
            line("master_last_io_seconds_ago:0".into());
            line(format!("master_sync_in_progress:{}", u8::from(node.syncing)));
            line(format!("slave_read_repl_offset:{offset}"));
            line(format!("slave_repl_offset:{offset}"));
            line("slave_priority:100".into());
            line("slave_read_only:1".into());
            line("connected_slaves:0".into());
        }
        None => {
            line("role:master".into());
            let shard = world.view_of(me).shards.iter().find(|shard| shard.primary == me);
            let replicas = shard.map(|shard| shard.replicas.as_slice()).unwrap_or_default();
            line(format!("connected_slaves:{}", replicas.len()));
            for (index, replica) in replicas.iter().enumerate() {
                let replica = &world.nodes[*replica];
                let offset = world.offset.saturating_sub(replica.behind);
                let state = if replica.link_up && !replica.syncing { "online" } else { "wait_bgsave" };
                line(format!(
                    "slave{index}:ip=127.0.0.1,port={},state={state},offset={offset},lag=0",
                    replica.port.number()
                ));
            }
        }
    }
    line(format!("master_replid:{:040x}", 0xfa4e));
    line(format!("master_repl_offset:{}", world.offset.saturating_sub(node.behind)));
    bulk(&text)
}

/// ROLE.
pub(super) fn role(world: &World, me: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let offset = world.offset.saturating_sub(world.nodes[me].behind);
    match world.view_of(me).shards.iter().find(|shard| shard.replicas.contains(&me)) {
        Some(shard) => {
            encode::array_head(&mut out, 5);
            encode::bulk(&mut out, b"slave");
            encode::bulk(&mut out, b"127.0.0.1");
            encode::integer(&mut out, i64::from(world.nodes[shard.primary].port.number()));
            encode::bulk(&mut out, if world.nodes[me].link_up { b"connected" } else { b"connect" });
            encode::integer(&mut out, offset as i64);
        }
        None => {
            encode::array_head(&mut out, 3);
            encode::bulk(&mut out, b"master");
            encode::integer(&mut out, offset as i64);
            encode::array_head(&mut out, 0);
        }
    }
    out
}

/// `host:port` as a redirect writes it.
pub(super) fn redirect_address(node: &NodeState) -> String {
    let port = node.port.number();
    match &node.endpoint {
        Endpoint::Address => node.address(),
        Endpoint::Host(host) => format!("{host}:{port}"),
        Endpoint::Elsewhere(host, port) => format!("{host}:{port}"),
        Endpoint::Empty | Endpoint::Null => format!(":{port}"),
        Endpoint::Question => format!("?:{port}"),
    }
}

/// The inclusive slot ranges of a shard.
fn ranges(view: &View, shard: usize) -> Vec<(usize, usize)> {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for (slot, _) in view.owner.iter().enumerate().filter(|(_, owner)| **owner == Some(shard)) {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == slot => *last = slot,
            _ => ranges.push((slot, slot)),
        }
    }
    ranges
}

/// The listed members of a shard, the primary first.
fn members<'a>(world: &'a World, view: &View, shard: usize) -> Vec<(&'a NodeState, bool)> {
    let shard = &view.shards[shard];
    let all =
        std::iter::once((shard.primary, true)).chain(shard.replicas.iter().map(|replica| (*replica, false)));
    all.map(|(node, primary)| (&world.nodes[node], primary)).filter(|(node, _)| node.listed).collect()
}

fn port(node: &NodeState) -> u16 {
    match &node.endpoint {
        Endpoint::Elsewhere(_, port) => *port,
        _ => node.port.number(),
    }
}

fn shards(world: &World, view: &View, resp3: bool) -> Vec<u8> {
    let mut out = Vec::new();
    encode::array_head(&mut out, view.shards.len());
    for shard in 0..view.shards.len() {
        encode::map_head(&mut out, 2, resp3);
        encode::bulk(&mut out, b"slots");
        let ranges = ranges(view, shard);
        encode::array_head(&mut out, 2 * ranges.len());
        for (first, last) in ranges {
            encode::integer(&mut out, first as i64);
            encode::integer(&mut out, last as i64);
        }
        encode::bulk(&mut out, b"nodes");
        let members = members(world, view, shard);
        encode::array_head(&mut out, members.len());
        for (node, primary) in members {
            shard_node(&mut out, world, node, primary, resp3);
        }
    }
    out
}

fn shard_node(out: &mut Vec<u8>, world: &World, node: &NodeState, primary: bool, resp3: bool) {
    // The address is wrong wherever the endpoint is another: only the endpoint may be used.
    let (ip, endpoint) = match &node.endpoint {
        Endpoint::Address => ("127.0.0.1", Some("127.0.0.1")),
        Endpoint::Host(host) => (NOWHERE, Some(host.as_str())),
        Endpoint::Elsewhere(host, _) => (host.as_str(), Some(host.as_str())),
        Endpoint::Empty => ("", Some("")),
        // Here redis-server 7.0 writes an empty endpoint, later ones a null; both beside the address.
        Endpoint::Null => (NOWHERE, if resp3 { None } else { Some("") }),
        Endpoint::Question => ("127.0.0.1", Some("?")),
    };
    let health = match (node.flags.is_empty(), node.loading) {
        (false, _) => "fail",
        (true, true) => "loading",
        (true, false) => "online",
    };
    encode::map_head(out, 7, resp3);
    encode::bulk(out, b"id");
    encode::bulk(out, node.id.as_bytes());
    encode::bulk(out, b"port");
    encode::integer(out, i64::from(port(node)));
    encode::bulk(out, b"ip");
    encode::bulk(out, ip.as_bytes());
    encode::bulk(out, b"endpoint");
    match endpoint {
        Some(endpoint) => encode::bulk(out, endpoint.as_bytes()),
        None => encode::null(out, resp3),
    }
    encode::bulk(out, b"role");
    encode::bulk(out, if primary { b"master" } else { b"replica" });
    encode::bulk(out, b"replication-offset");
    encode::integer(out, world.offset.saturating_sub(node.behind) as i64);
    encode::bulk(out, b"health");
    encode::bulk(out, health.as_bytes());
}

fn slots(world: &World, view: &View, resp3: bool) -> Vec<u8> {
    let rows: Vec<(usize, (usize, usize))> = (0..view.shards.len())
        .flat_map(|shard| ranges(view, shard).into_iter().map(move |range| (shard, range)))
        .collect();
    let mut out = Vec::new();
    encode::array_head(&mut out, rows.len());
    for (shard, (first, last)) in rows {
        // A failed replica is left out, as redis-server does.
        let members: Vec<_> = members(world, view, shard)
            .into_iter()
            .filter(|(node, primary)| *primary || node.flags.is_empty())
            .collect();
        encode::array_head(&mut out, 2 + members.len());
        encode::integer(&mut out, first as i64);
        encode::integer(&mut out, last as i64);
        for (node, _) in members {
            let (endpoint, metadata) = match &node.endpoint {
                Endpoint::Address => (Some("127.0.0.1"), None),
                Endpoint::Host(host) => (Some(host.as_str()), Some(NOWHERE)),
                Endpoint::Elsewhere(host, _) => (Some(host.as_str()), None),
                Endpoint::Empty => (Some(""), None),
                Endpoint::Null => (None, Some(NOWHERE)),
                Endpoint::Question => (Some("?"), Some("127.0.0.1")),
            };
            encode::array_head(&mut out, 4);
            match endpoint {
                Some(endpoint) => encode::bulk(&mut out, endpoint.as_bytes()),
                None => encode::null(&mut out, resp3),
            }
            encode::integer(&mut out, i64::from(port(node)));
            encode::bulk(&mut out, node.id.as_bytes());
            encode::map_head(&mut out, usize::from(metadata.is_some()), resp3);
            if let Some(ip) = metadata {
                encode::bulk(&mut out, b"ip");
                encode::bulk(&mut out, ip.as_bytes());
            }
        }
    }
    out
}

fn nodes(world: &World, view: &View, me: usize) -> String {
    let mut text = String::new();
    for shard in 0..view.shards.len() {
        let primary_id = &world.nodes[view.shards[shard].primary].id;
        for (node, primary) in members(world, view, shard) {
            let host = match &node.endpoint {
                Endpoint::Elsewhere(host, _) => host.as_str(),
                Endpoint::Empty => "",
                _ => "127.0.0.1",
            };
            let name = match &node.endpoint {
                Endpoint::Host(host) => format!(",{host}"),
                _ => String::new(),
            };
            let mut flags = vec![if primary { "master" } else { "slave" }];
            if node.id == world.nodes[me].id {
                flags.insert(0, "myself");
            }
            flags.extend(&node.flags);
            let port = port(node);
            write!(
                text,
                "{} {host}:{port}@{}{name} {} {} 0 1700000000000 {} {}",
                node.id,
                port.saturating_add(BUS),
                flags.join(","),
                if primary { "-" } else { primary_id },
                view.epoch,
                if node.flags.is_empty() { "connected" } else { "disconnected" },
            )
            .expect("a string takes everything");
            if primary {
                for (first, last) in ranges(view, shard) {
                    let range = if first == last { format!(" {first}") } else { format!(" {first}-{last}") };
                    text.push_str(&range);
                }
            }
            text.push('\n');
        }
    }
    text
}

fn cluster_info(world: &World, view: &View) -> String {
    let assigned = view.owner.iter().flatten().count();
    format!(
        "cluster_enabled:1\r\ncluster_state:{}\r\ncluster_slots_assigned:{assigned}\r\ncluster_slots_ok:{assigned}\r\n\
         cluster_slots_pfail:0\r\ncluster_slots_fail:0\r\ncluster_known_nodes:{}\r\ncluster_size:{}\r\n\
         cluster_current_epoch:{}\r\ncluster_my_epoch:{}\r\n",
        if assigned == view.owner.len() { "ok" } else { "fail" },
        world.nodes.iter().filter(|node| node.listed).count(),
        view.shards.len(),
        view.epoch,
        view.epoch,
    )
}

fn role_name(world: &World, me: usize) -> &'static str {
    let is_replica = world.view_of(me).shards.iter().any(|shard| shard.replicas.contains(&me));
    if is_replica { "replica" } else { "master" }
}

fn bulk(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    encode::bulk(&mut out, text.as_bytes());
    out
}
