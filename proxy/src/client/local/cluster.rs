//! CLUSTER where a listener has `cluster_facade`: the proxy as a cluster of one node, which owns every slot,
//! for clients that speak the cluster protocol only.
//!
//! One node however many shards there are: several at one address would gain a client nothing, and which shard has
//! which slot is what the proxy is there to hide. The node's id comes from its address, so several
//! proxies that are told to advertise the same address are the same node, and a client may ask any of them.
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
    let node = Node::of(client.listener.advertise.as_ref(), client.own_address());
    match spec.name {
        "CLUSTER|SLOTS" => node?.slots(resp3, out),
        "CLUSTER|SHARDS" => node?.shards(resp3, out),
        "CLUSTER|NODES" => verbatim(out, &node?.line(), resp3),
        "CLUSTER|MYID" => encode::bulk(out, node?.id.to_string().as_bytes()),
        "CLUSTER|MYSHARDID" => encode::bulk(out, node?.shard_id().to_string().as_bytes()),
        "CLUSTER|INFO" => {
            let served = router.context.snapshots.load().topology.slots_covered();
            verbatim(out, &info(served), resp3);
        }
        "CLUSTER|KEYSLOT" => encode::integer(out, i64::from(Slot::of(args.at(2)).number())),
        "CLUSTER|LINKS" => encode::array_head(out, 0),
        "CLUSTER|REPLICAS" | "CLUSTER|SLAVES" => {
            node?.expect(args.at(2))?;
            encode::array_head(out, 0);
        }
        "CLUSTER|COUNT-FAILURE-REPORTS" => {
            node?.expect(args.at(2))?;
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

/// The text of CLUSTER INFO where so many slots have an owner behind the proxy.
fn info(served: usize) -> String {
    let all = usize::from(SLOTS);
    let state = if served == all { "ok" } else { "fail" };
    format!(
        "cluster_state:{state}\r\n\
         cluster_slots_assigned:{all}\r\n\
         cluster_slots_ok:{served}\r\n\
         cluster_slots_pfail:0\r\n\
         cluster_slots_fail:{}\r\n\
         cluster_known_nodes:1\r\n\
         cluster_size:1\r\n\
         cluster_current_epoch:{EPOCH}\r\n\
         cluster_my_epoch:{EPOCH}\r\n\
         cluster_stats_messages_sent:0\r\n\
         cluster_stats_messages_received:0\r\n\
         total_cluster_links_buffer_limit_exceeded:0\r\n",
        all.saturating_sub(served)
    )
}

/// The one node of the cluster that clients are shown.
#[derive(Debug, PartialEq, Eq)]
struct Node {
    address: HostPort,
    id: NodeId,
}

impl Node {
    /// As the operator wants it advertised; else where the client that asks connected to, which is an address that
    /// works for it.
    fn of(advertise: Option<&HostPort>, connected_to: SocketAddr) -> Result<Node, Refused> {
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
        let id = digest("node", &address);
        Ok(Node { address, id })
    }

    fn shard_id(&self) -> NodeId {
        digest("shard", &self.address)
    }

    /// The host, if it is a name.
    fn name(&self) -> Option<&str> {
        let host = self.address.host();
        host.parse::<IpAddr>().is_err().then_some(host)
    }

    /// Whether a client means this node.
    fn expect(&self, id: &[u8]) -> Result<(), Refused> {
        if id == self.id.to_string().as_bytes() {
            return Ok(());
        }
        Err(Refused::quoting("ERR Unknown node ", id, ""))
    }

    /// CLUSTER SLOTS: one range, with its first slot, its last, and the node.
    fn slots(&self, resp3: bool, out: &mut Vec<u8>) {
        encode::array_head(out, 1);
        encode::array_head(out, 3);
        encode::integer(out, 0);
        encode::integer(out, i64::from(SLOTS) - 1);
        encode::array_head(out, 4);
        encode::bulk(out, self.address.host().as_bytes());
        encode::integer(out, i64::from(self.address.port()));
        encode::bulk(out, self.id.to_string().as_bytes());
        // Other addresses of the same node: there are none.
        encode::map_head(out, 0, resp3);
    }

    /// CLUSTER SHARDS: one shard, with one node.
    fn shards(&self, resp3: bool, out: &mut Vec<u8>) {
        let host = self.address.host();
        encode::array_head(out, 1);
        encode::map_head(out, 2, resp3);
        encode::bulk(out, b"slots");
        encode::array_head(out, 2);
        encode::integer(out, 0);
        encode::integer(out, i64::from(SLOTS) - 1);
        encode::bulk(out, b"nodes");
        encode::array_head(out, 1);
        encode::map_head(out, if self.name().is_some() { 8 } else { 7 }, resp3);
        field(out, "id", &self.id.to_string());
        encode::bulk(out, b"port");
        encode::integer(out, i64::from(self.address.port()));
        field(out, "ip", host);
        field(out, "endpoint", host);
        if let Some(name) = self.name() {
            field(out, "hostname", name);
        }
        field(out, "role", "master");
        encode::bulk(out, b"replication-offset");
        encode::integer(out, 0);
        field(out, "health", "online");
    }

    /// The line of CLUSTER NODES. There is no bus; its port is what clients expect to read.
    fn line(&self) -> String {
        let (host, port) = (self.address.host(), self.address.port());
        let bus = port.checked_add(BUS_PORT_OFFSET).unwrap_or(0);
        let name = self.name().map(|name| format!(",{name}")).unwrap_or_default();
        let last = SLOTS - 1;
        format!("{} {host}:{port}@{bus}{name} myself,master - 0 0 {EPOCH} connected 0-{last}\n", self.id)
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
    use pointsman_protocol::resp::args::OwnedArgs;

    fn node(advertise: Option<&str>, connected_to: &str) -> Result<Node, Refused> {
        let advertise: Option<HostPort> = advertise.map(|address| address.parse().unwrap());
        Node::of(advertise.as_ref(), connected_to.parse().unwrap())
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
            let node = node(advertise, connected_to).unwrap();
            assert_eq!(node.address.to_string(), told);
            assert_eq!(node.id, digest("node", &node.address));
            assert_ne!(node.id, node.shard_id());
        }
        for nowhere in ["0.0.0.0:6379", "[::]:6379"] {
            assert!(node(None, nowhere).is_err(), "{nowhere} is no address to connect to");
        }
        let (one, other) = (node(None, "10.0.0.1:1").unwrap(), node(None, "10.0.0.1:2").unwrap());
        assert_ne!(one.id, other.id);
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
            let node = node(Some(address), "1.1.1.1:1").unwrap();
            assert_eq!(node.line(), format!("{} {wanted}", node.id));
        }
    }

    #[test]
    fn t111_a_hole_in_the_map_is_told() {
        assert!(info(16_384).starts_with("cluster_state:ok\r\n"));
        let holed = info(16_000);
        for line in ["cluster_state:fail", "cluster_slots_ok:16000", "cluster_slots_fail:384"] {
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
