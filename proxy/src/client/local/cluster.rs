//! CLUSTER where a listener has `cluster_facade`: the proxy as a cluster of one node, which owns every slot,
//! for clients that speak the cluster protocol only.
//!
//! One primary however many shards and proxies there are. Any proxy serves every slot and answers for the whole
//! store: to a second primary a client would send DBSIZE and SCAN as well, and count everything twice. Other proxies
//! (`siblings`) are therefore told as replicas: a client finds them when this one is gone, each then
//! calls itself the primary, and reads meant for replicas are right anywhere. Nobody asks whether they are up;
//! that is for the client, as with any replica.
//!
//! A node's id comes from its address, so several proxies that are told to advertise the same address are the same
//! node, and a client may ask any of them.
//!
//! Nothing here names a backend; what would change a cluster is refused.

use super::{Answer, Refused, decimal, integer, refusal, verbatim};
use crate::backend::connection::ClientKey;
use crate::route::plan::Refusal;
use crate::worker::router::Router;
use pointsman_protocol::command::CommandSpec;
use pointsman_protocol::resp::{Args, encode};
use pointsman_protocol::slot::SLOTS;
use pointsman_protocol::{HostPort, NodeId, Slot};
use sha1::{Digest, Sha1};
use std::net::{IpAddr, SocketAddr};

/// The epoch of a map that never changes.
const EPOCH: u64 = 1;
/// From a node's port to that of its bus, as Redis has it where nothing else is said.
const BUS_PORT_OFFSET: u16 = 10_000;

/// True for what only the owner of a slot can answer.
pub fn asks_a_node(spec: &CommandSpec) -> bool {
    matches!(spec.name, "CLUSTER|COUNTKEYSINSLOT" | "CLUSTER|GETKEYSINSLOT")
}

/// Answers CLUSTER and its subcommands for a client of a listener that is a facade.
pub fn cluster(
    router: &mut Router,
    key: ClientKey,
    spec: &'static CommandSpec,
    args: Args<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Refused> {
    let Some(client) = router.client_mut(key) else { return Ok(Answer::Close) };
    let resp3 = client.resp3;
    let listener = &client.listener;
    let view = View::of(listener.advertise.as_ref(), &listener.siblings, client.own_address());
    match spec.name {
        "CLUSTER|SLOTS" => view?.slots(resp3, out),
        "CLUSTER|SHARDS" => view?.shards(resp3, out),
        "CLUSTER|NODES" => verbatim(out, &view?.lines(), resp3),
        "CLUSTER|MYID" => encode::bulk(out, view?.own.id.to_string().as_bytes()),
        "CLUSTER|MYSHARDID" => encode::bulk(out, view?.own.shard_id().to_string().as_bytes()),
        "CLUSTER|INFO" => {
            let known = 1 + view?.others.len();
            let served = router.context.snapshots.load().topology.slots_covered();
            verbatim(out, &info(served, known), resp3);
        }
        "CLUSTER|KEYSLOT" => encode::integer(out, i64::from(Slot::of(args.at(2)).number())),
        "CLUSTER|LINKS" => encode::array_head(out, 0),
        "CLUSTER|REPLICAS" | "CLUSTER|SLAVES" => view?.replicas(args.at(2), out)?,
        "CLUSTER|COUNT-FAILURE-REPORTS" => {
            view?.known(args.at(2))?;
            encode::integer(out, 0);
        }
        "CLUSTER|COUNTKEYSINSLOT" | "CLUSTER|GETKEYSINSLOT" => {
            let slot = slot_asked_about(args)?;
            router.send_to_owner(key, slot, args);
            return Ok(Answer::Later);
        }
        _ => return Err(refusal(Refusal::NotThroughProxy(spec), args)),
    }
    Ok(Answer::Ready)
}

/// `COUNTKEYSINSLOT slot` and `GETKEYSINSLOT slot count`.
fn slot_asked_about(args: Args<'_>) -> Result<Slot, Refused> {
    let number = decimal(args.at(2))?;
    let slot = u16::try_from(number).ok().and_then(Slot::new);
    match args.get(3) {
        None => slot.ok_or_else(|| "ERR Invalid slot".into()),
        Some(count) => {
            let count = integer(count).ok_or("ERR value is not an integer or out of range")?;
            slot.filter(|_| count >= 0).ok_or_else(|| "ERR Invalid slot or number of keys".into())
        }
    }
}

/// The text of CLUSTER INFO where so many slots have an owner behind the proxy, and so many nodes are told.
fn info(served: usize, known: usize) -> String {
    let all = usize::from(SLOTS);
    let state = if served == all { "ok" } else { "fail" };
    format!(
        "cluster_state:{state}\r\n\
         cluster_slots_assigned:{all}\r\n\
         cluster_slots_ok:{served}\r\n\
         cluster_slots_pfail:0\r\n\
         cluster_slots_fail:{}\r\n\
         cluster_known_nodes:{known}\r\n\
         cluster_size:1\r\n\
         cluster_current_epoch:{EPOCH}\r\n\
         cluster_my_epoch:{EPOCH}\r\n\
         cluster_stats_messages_sent:0\r\n\
         cluster_stats_messages_received:0\r\n\
         total_cluster_links_buffer_limit_exceeded:0\r\n",
        all.saturating_sub(served)
    )
}

/// The cluster that clients are shown.
#[derive(Debug, PartialEq, Eq)]
struct View {
    /// This proxy.
    own: Node,
    /// The others, none of them at the same address.
    others: Vec<Node>,
}

impl View {
    /// This proxy as the operator wants it advertised; else where the client that asks connected to, which is an
    /// address that works for it.
    fn of(
        advertise: Option<&HostPort>,
        siblings: &[HostPort],
        connected_to: SocketAddr,
    ) -> Result<View, Refused> {
        let address = match advertise {
            Some(address) => address.clone(),
            None => {
                // A socket for both families shows IPv4 in the form of IPv6, which not every client reads.
                let ip = connected_to.ip().to_canonical();
                if ip.is_unspecified() {
                    return Err("ERR the proxy does not know by which address it was reached; its operator can give one (listeners[].advertise)".into());
                }
                HostPort::new(ip.to_string(), connected_to.port())
            }
        };
        let mut others: Vec<Node> = Vec::new();
        for sibling in siblings {
            if *sibling != address && others.iter().all(|other| other.address != *sibling) {
                others.push(Node::at(sibling.clone()));
            }
        }
        Ok(View { own: Node::at(address), others })
    }

    /// This proxy first.
    fn nodes(&self) -> impl Iterator<Item = &Node> {
        std::iter::once(&self.own).chain(&self.others)
    }

    /// The node of this id.
    fn known(&self, id: &[u8]) -> Result<&Node, Refused> {
        self.nodes()
            .find(|node| node.id.to_string().as_bytes() == id)
            .ok_or_else(|| Refused::quoting("ERR Unknown node ", id, ""))
    }

    /// CLUSTER SLOTS: one range, with its first slot, its last, and the nodes.
    fn slots(&self, resp3: bool, out: &mut Vec<u8>) {
        encode::array_head(out, 1);
        encode::array_head(out, 3 + self.others.len());
        encode::integer(out, 0);
        encode::integer(out, i64::from(SLOTS) - 1);
        for node in self.nodes() {
            encode::array_head(out, 4);
            encode::bulk(out, node.address.host().as_bytes());
            encode::integer(out, i64::from(node.address.port()));
            encode::bulk(out, node.id.to_string().as_bytes());
            // Other addresses of the same node: there are none.
            encode::map_head(out, 0, resp3);
        }
    }

    /// CLUSTER SHARDS: one shard, with all nodes.
    fn shards(&self, resp3: bool, out: &mut Vec<u8>) {
        encode::array_head(out, 1);
        encode::map_head(out, 2, resp3);
        encode::bulk(out, b"slots");
        encode::array_head(out, 2);
        encode::integer(out, 0);
        encode::integer(out, i64::from(SLOTS) - 1);
        encode::bulk(out, b"nodes");
        encode::array_head(out, 1 + self.others.len());
        for node in self.nodes() {
            node.describe(if *node == self.own { "master" } else { "replica" }, resp3, out);
        }
    }

    /// The text of CLUSTER NODES.
    fn lines(&self) -> String {
        let last = SLOTS - 1;
        let own = self.own.line("myself,master", "-", &format!("connected 0-{last}"));
        std::iter::once(own).chain(self.replica_lines()).map(|line| line + "\n").collect()
    }

    fn replica_lines(&self) -> impl Iterator<Item = String> {
        let primary = self.own.id.to_string();
        self.others.iter().map(move |node| node.line("slave", &primary, "connected"))
    }

    /// `CLUSTER REPLICAS id`.
    fn replicas(&self, id: &[u8], out: &mut Vec<u8>) -> Result<(), Refused> {
        if *self.known(id)? != self.own {
            return Err("ERR The specified node is not a master".into());
        }
        encode::array_head(out, self.others.len());
        self.replica_lines().for_each(|line| encode::bulk(out, line.as_bytes()));
        Ok(())
    }
}

/// A proxy, as one node of that cluster.
#[derive(Debug, PartialEq, Eq)]
struct Node {
    address: HostPort,
    id: NodeId,
}

impl Node {
    fn at(address: HostPort) -> Node {
        Node { id: digest("node", &address), address }
    }

    fn shard_id(&self) -> NodeId {
        digest("shard", &self.address)
    }

    /// The host, if it is a name.
    fn name(&self) -> Option<&str> {
        let host = self.address.host();
        host.parse::<IpAddr>().is_err().then_some(host)
    }

    /// As CLUSTER SHARDS tells it.
    fn describe(&self, role: &str, resp3: bool, out: &mut Vec<u8>) {
        let host = self.address.host();
        encode::map_head(out, if self.name().is_some() { 8 } else { 7 }, resp3);
        field(out, "id", &self.id.to_string());
        encode::bulk(out, b"port");
        encode::integer(out, i64::from(self.address.port()));
        field(out, "ip", host);
        field(out, "endpoint", host);
        if let Some(name) = self.name() {
            field(out, "hostname", name);
        }
        field(out, "role", role);
        encode::bulk(out, b"replication-offset");
        encode::integer(out, 0);
        field(out, "health", "online");
    }

    /// Its line of CLUSTER NODES. There is no bus; its port is what clients expect to read.
    fn line(&self, flags: &str, primary: &str, state: &str) -> String {
        let (host, port) = (self.address.host(), self.address.port());
        let bus = port.checked_add(BUS_PORT_OFFSET).unwrap_or(0);
        let name = self.name().map(|name| format!(",{name}")).unwrap_or_default();
        format!("{} {host}:{port}@{bus}{name} {flags} {primary} 0 0 {EPOCH} {state}", self.id)
    }
}

fn field(out: &mut Vec<u8>, name: &str, value: &str) {
    encode::bulk(out, name.as_bytes());
    encode::bulk(out, value.as_bytes());
}

fn digest(of: &str, address: &HostPort) -> NodeId {
    NodeId::from_bytes(Sha1::digest(format!("{of} {address}")).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_protocol::resp::ReplyScanner;
    use pointsman_protocol::resp::args::OwnedArgs;

    fn view(advertise: Option<&str>, siblings: &[&str], connected_to: &str) -> Result<View, Refused> {
        let advertise: Option<HostPort> = advertise.map(|address| address.parse().unwrap());
        let siblings: Vec<HostPort> = siblings.iter().map(|address| address.parse().unwrap()).collect();
        View::of(advertise.as_ref(), &siblings, connected_to.parse().unwrap())
    }

    // T111: the address told is one that works for the client, and the id goes with it.
    #[test]
    fn t111_which_address_is_told() {
        for (advertise, connected_to, told) in [
            (None, "10.0.0.1:6379", "10.0.0.1:6379"),
            (None, "[::ffff:10.0.0.1]:6379", "10.0.0.1:6379"),
            (None, "[fe80::1]:6379", "[fe80::1]:6379"),
            (Some("proxy.example:7000"), "10.0.0.1:6379", "proxy.example:7000"),
            (Some("proxy.example:7000"), "0.0.0.0:6379", "proxy.example:7000"),
        ] {
            let view = view(advertise, &[], connected_to).unwrap();
            assert_eq!(view.own.address.to_string(), told);
            assert_ne!(view.own.id, view.own.shard_id());
        }
        for nowhere in ["0.0.0.0:6379", "[::]:6379"] {
            assert!(view(None, &[], nowhere).is_err(), "{nowhere} is no address to connect to");
        }
        let (one, other) = (view(None, &[], "10.0.0.1:1").unwrap(), view(None, &[], "10.0.0.1:2").unwrap());
        assert_ne!(one.own.id, other.own.id);
    }

    #[test]
    fn t111_lines_of_every_kind_of_address() {
        for (address, wanted) in [
            ("10.0.0.1:6379", "10.0.0.1:6379@16379 myself,master - 0 0 1 connected 0-16383\n"),
            ("[fe80::1]:6379", "fe80::1:6379@16379 myself,master - 0 0 1 connected 0-16383\n"),
            ("p.example:6379", "p.example:6379@16379,p.example myself,master - 0 0 1 connected 0-16383\n"),
            // There is no such bus port; none is better than a wrong one.
            ("10.0.0.1:60000", "10.0.0.1:60000@0 myself,master - 0 0 1 connected 0-16383\n"),
        ] {
            let view = view(Some(address), &[], "1.1.1.1:1").unwrap();
            assert_eq!(view.lines(), format!("{} {wanted}", view.own.id));
        }
    }

    // T111: every proxy may have the same list; each is the primary to its own clients, under one id for all.
    #[test]
    fn t111_siblings_are_replicas() {
        let all = ["10.0.0.1:6379", "10.0.0.2:6379", "10.0.0.1:6379", "10.0.0.2:6379"];
        let (one, other) = (view(None, &all, all[0]).unwrap(), view(None, &all, all[1]).unwrap());
        let (first, second) = (one.own.id.to_string(), other.own.id.to_string());
        assert_eq!(
            one.lines(),
            format!(
                "{first} 10.0.0.1:6379@16379 myself,master - 0 0 1 connected 0-16383\n\
                 {second} 10.0.0.2:6379@16379 slave {first} 0 0 1 connected\n"
            )
        );
        assert_eq!(one.others[0].id, other.own.id);
        let replicas = |id: &str| {
            let mut out = Vec::new();
            one.replicas(id.as_bytes(), &mut out).map(|()| String::from_utf8(out).unwrap())
        };
        let line = format!("{second} 10.0.0.2:6379@16379 slave {first} 0 0 1 connected");
        assert_eq!(replicas(&first), Ok(format!("*1\r\n${}\r\n{line}\r\n", line.len())));
        assert_eq!(replicas(&second), Err("ERR The specified node is not a master".into()));
        assert_eq!(replicas("x"), Err("ERR Unknown node x".into()));
        let mut out = Vec::new();
        one.slots(false, &mut out);
        one.shards(true, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("*1\r\n*4\r\n:0\r\n:16383\r\n*4\r\n$8\r\n10.0.0.1"), "{text}");
        for part in ["$6\r\nmaster\r\n", "$7\r\nreplica\r\n", "$5\r\nnodes\r\n*2\r\n"] {
            assert_eq!(text.matches(part).count(), 1, "{part}");
        }
        assert_eq!(ReplyScanner::new().next(text.as_bytes(), 4096).map(|end| end.is_some()), Ok(true));
    }

    #[test]
    fn t111_a_hole_in_the_map_is_told() {
        assert!(info(16_384, 1).starts_with("cluster_state:ok\r\n"));
        let holed = info(16_000, 3);
        for line in [
            "cluster_state:fail",
            "cluster_slots_ok:16000",
            "cluster_slots_fail:384",
            "cluster_known_nodes:3",
        ] {
            assert!(holed.lines().any(|shown| shown == line), "{line} is missing in {holed}");
        }
    }

    #[test]
    fn slots_asked_about() {
        let asked = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            let slot = slot_asked_about(OwnedArgs::new(&words).args());
            slot.map(|slot| slot.number()).map_err(|refused| String::from_utf8(refused.0).unwrap())
        };
        let error = |text: &str| Err(text.to_owned());
        assert_eq!(asked("CLUSTER COUNTKEYSINSLOT 16383"), Ok(16_383));
        assert_eq!(asked("CLUSTER GETKEYSINSLOT 5 10"), Ok(5));
        assert_eq!(asked("CLUSTER COUNTKEYSINSLOT 16384"), error("ERR Invalid slot"));
        assert_eq!(asked("CLUSTER COUNTKEYSINSLOT -1"), error("ERR Invalid slot"));
        let not_integer = "ERR value is not an integer or out of range";
        assert_eq!(asked("CLUSTER COUNTKEYSINSLOT x"), error(not_integer));
        assert_eq!(asked("CLUSTER GETKEYSINSLOT 5 x"), error(not_integer));
        assert_eq!(asked("CLUSTER GETKEYSINSLOT 5 -1"), error("ERR Invalid slot or number of keys"));
        assert_eq!(asked("CLUSTER GETKEYSINSLOT 16384 1"), error("ERR Invalid slot or number of keys"));
    }
}
