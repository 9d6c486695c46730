//! Nodes as a cluster: who serves what, who is told to go where, and what CLUSTER tells.

mod common;

use common::{Client, address_of, eventually, listen};
use pointsman_integration::{RedisServer, tools};
use pointsman_protocol::resp::reply::{elements, payload};
use pointsman_protocol::{HostPort, NodeId, Slot};
use pointsman_store::{ClusterMap, Member, NodeHandle, NodeLimits, ShardMap, start};
use std::process::Command;
use std::sync::Arc;

/// A running cluster on free ports: `shards` primaries, then as many replicas.
struct Cluster {
    nodes: Vec<NodeHandle>,
    map: Arc<ClusterMap>,
}

impl Cluster {
    fn start(shards: usize) -> Cluster {
        let listeners: Vec<_> = (0..shards * 2).map(|_| listen()).collect();
        let member = |index: usize| Member::at(listeners[index].1.clone());
        let shard = |index: usize| {
            let first = (16384 * index / shards) as u16;
            let last = (16384 * (index + 1) / shards - 1) as u16;
            ShardMap {
                id: NodeId::from_bytes([index as u8 + 1; 20]),
                epoch: index as u64 + 1,
                ranges: vec![(first, last)],
                primary: member(index),
                replicas: vec![member(shards + index)],
            }
        };
        let map = Arc::new(ClusterMap::new((0..shards).map(shard).collect()).unwrap());
        let specs = map.specs(&NodeLimits::default());
        let nodes =
            specs.into_iter().zip(listeners).map(|(spec, (listener, _))| start(spec, listener).unwrap());
        Cluster { nodes: nodes.collect(), map }
    }

    fn client(&self, node: usize) -> Client {
        Client::connect(self.nodes[node].address())
    }

    fn port(&self, node: usize) -> u16 {
        self.nodes[node].address().port()
    }

    fn wait_for_replicas(&self) {
        for node in self.map.shards().len()..self.nodes.len() {
            let mut client = self.client(node);
            eventually("the replica follows", || (client.info("master_link_status") == "up").then_some(()));
        }
    }

    fn stop(self) {
        self.nodes.into_iter().for_each(NodeHandle::stop);
    }
}

/// A key that belongs to the given shard of three.
fn key_of_shard(shard: usize) -> &'static str {
    let key = ["b", "c", "a"][shard];
    let slot = Slot::of(key.as_bytes()).index();
    assert_eq!(slot * 3 / 16384, shard, "{key} is in slot {slot}");
    key
}

#[test]
fn keys_are_served_where_they_belong() {
    let cluster = Cluster::start(3);
    for shard in 0..3 {
        let key = key_of_shard(shard);
        let slot = Slot::of(key.as_bytes());
        for node in 0..3 {
            let mut client = cluster.client(node);
            let moved = format!("-MOVED {slot} 127.0.0.1:{}\r\n", cluster.port(shard));
            let (set, get) =
                if node == shard { ("+OK\r\n", "$1\r\nv\r\n") } else { (&moved[..], &moved[..]) };
            client.expect(&format!("SET {key} v"), set);
            client.expect(&format!("GET {key}"), get);
        }
    }
    let mut client = cluster.client(0);
    client.expect("MGET {b}1 {b}2 {b}1", "*3\r\n$-1\r\n$-1\r\n$-1\r\n");
    for line in ["MGET a b", "MGET b a", "MSET {b}1 v {a}1 v", "RENAME b a", "DEL a c", "COPY b c"] {
        client.expect(line, "-CROSSSLOT Keys in request don't hash to the same slot\r\n");
    }
    // Many keys, the last one elsewhere: more than are looked at ahead.
    let mut words = vec!["MGET".to_owned()];
    words.extend((0..200).map(|number| format!("{{b}}{number}")));
    assert!(client.call(&words).starts_with(b"*200\r\n"));
    words.push("a".to_owned());
    assert_eq!(client.call(&words), b"-CROSSSLOT Keys in request don't hash to the same slot\r\n");
    cluster.stop();
}

#[test]
fn replicas_serve_reads_to_those_who_ask_for_it() {
    let cluster = Cluster::start(3);
    let mut primary = cluster.client(0);
    primary.expect("SET b value", "+OK\r\n");
    cluster.wait_for_replicas();
    let mut replica = cluster.client(3);
    eventually("the write arrives", || {
        (replica.info("slave_repl_offset") == primary.info("master_repl_offset")).then_some(())
    });
    let moved = |slot: Slot, node: usize| format!("-MOVED {slot} 127.0.0.1:{}\r\n", cluster.port(node));
    let b = Slot::of(b"b");
    replica.expect("GET b", &moved(b, 0));
    replica.expect("READONLY", "+OK\r\n");
    replica.expect("GET b", "$5\r\nvalue\r\n");
    replica.expect("SET b x", &moved(b, 0));
    replica.expect("GETEX b", &moved(b, 0));
    replica.expect("GET a", &moved(Slot::of(b"a"), 2));
    replica.expect("FLUSHALL", "-READONLY You can't write against a read only replica.\r\n");
    replica.expect("READWRITE", "+OK\r\n");
    replica.expect("GET b", &moved(b, 0));
    replica.expect("DBSIZE", ":1\r\n");
    cluster.stop();
}

#[test]
fn cluster_commands_describe_the_map() {
    let cluster = Cluster::start(3);
    cluster.wait_for_replicas();
    let mut client = cluster.client(1);
    let id = |node: usize| {
        let members: Vec<_> = cluster.map.members().collect();
        members[node].id.to_string()
    };
    client.expect("CLUSTER MYID", &format!("$40\r\n{}\r\n", id(1)));
    client.expect("CLUSTER MYSHARDID", &format!("$40\r\n{}\r\n", "02".repeat(20)));
    let text = |reply: String| reply.split_once("\r\n").unwrap().1.to_owned();
    let nodes = text(client.ask("CLUSTER NODES"));
    let lines: Vec<&str> = nodes.trim_end().split('\n').collect();
    assert_eq!(lines.len(), 6);
    let (port, myself) = (cluster.port(1), lines[1]);
    let bus = port.checked_add(10_000).unwrap_or(0);
    assert_eq!(
        myself,
        format!("{} 127.0.0.1:{port}@{bus} myself,master - 0 0 2 connected 5461-10921", id(1))
    );
    let replica: Vec<&str> = lines[4].split(' ').collect();
    assert_eq!(
        (replica[2], replica[3], replica[6], replica[7], replica.len()),
        ("slave", &id(1)[..], "2", "connected", 8)
    );
    let info = text(client.ask("CLUSTER INFO"));
    for line in [
        "cluster_state:ok",
        "cluster_slots_assigned:16384",
        "cluster_known_nodes:6",
        "cluster_size:3",
        "cluster_current_epoch:3",
        "cluster_my_epoch:2",
    ] {
        assert!(info.contains(line), "{line} in {info}");
    }
    let slots = client.call(&["CLUSTER", "SLOTS"]);
    let first: Vec<&[u8]> = elements(elements(&slots).unwrap().next().unwrap()).unwrap().collect();
    assert_eq!((first[0], first[1], first.len()), (&b":0\r\n"[..], &b":5460\r\n"[..], 4));
    let node: Vec<&[u8]> = elements(first[3]).unwrap().collect();
    assert_eq!(payload(node[2]).unwrap(), id(3).as_bytes());
    assert_eq!(node[1], format!(":{}\r\n", cluster.port(3)).as_bytes());
    let shards = client.ask("CLUSTER SHARDS");
    assert!(
        shards.starts_with(
            "*3\r\n*4\r\n$5\r\nslots\r\n*2\r\n:0\r\n:5460\r\n$5\r\nnodes\r\n*2\r\n*14\r\n$2\r\nid\r\n"
        ),
        "{shards}"
    );
    client.ask("HELLO 3");
    let shards = client.ask("CLUSTER SHARDS");
    assert!(shards.starts_with("*3\r\n%2\r\n$5\r\nslots\r\n"), "{shards}");
    let replicas = client.ask(&format!("CLUSTER REPLICAS {}", id(1)));
    assert!(replicas.contains("slave") && replicas.starts_with("*1\r\n"), "{replicas}");
    client.expect(&format!("CLUSTER REPLICAS {}", id(4)), "-ERR The specified node is not a master\r\n");
    client.expect("CLUSTER REPLICAS xyz", "-ERR Unknown node xyz\r\n");
    assert_eq!(client.info("redis_mode"), "cluster");
    assert_eq!(client.info("cluster_enabled"), "1");
    cluster.stop();
}

/// The same lines to a node and to a redis-server that owns the same slots.
#[test]
fn redirects_and_errors_are_those_of_redis() {
    let redis = RedisServer::cluster_node(&["--cluster-require-full-coverage", "no"]);
    let mut theirs = Client::connect(&address_of(&redis));
    // Slots of `b` and `d`, but not of `a`.
    theirs.expect("CLUSTER ADDSLOTSRANGE 0 5460 11000 12000", "+OK\r\n");
    eventually("redis-server has made up its mind", || {
        theirs.ask("CLUSTER INFO").contains("cluster_state:ok").then_some(())
    });
    let (listener, address) = listen();
    let shard = ShardMap {
        id: NodeId::from_bytes([1; 20]),
        epoch: 1,
        ranges: vec![(0, 5460), (11000, 12000)],
        primary: Member::at(address),
        replicas: vec![],
    };
    let map = Arc::new(ClusterMap::new(vec![shard]).unwrap());
    let spec = map.specs(&NodeLimits::default()).remove(0);
    let node = start(spec, listener).unwrap();
    let mut ours = Client::connect(node.address());
    for line in [
        "SET b 1",
        "SET a 1",
        "GET a",
        "GET d",
        "MGET b a",
        "MGET a b",
        "MGET b {b}2",
        "MGET b d",
        "MSET b 1 a 1",
        "DEL b d",
        "RENAME b d",
        "RENAME b {b}2",
        "COPY {b}2 {b}3 DB 1",
        "COPY {b}2 {b}3 DB 0",
        "SELECT 0",
        "SELECT 1",
        "READONLY",
        "READWRITE",
        "ASKING",
        "CLUSTER KEYSLOT {b}2",
        "CLUSTER KEYSLOT",
        "CLUSTER COUNTKEYSINSLOT 3300",
        "CLUSTER COUNTKEYSINSLOT 16384",
        "CLUSTER COUNTKEYSINSLOT -1",
        "CLUSTER COUNTKEYSINSLOT x",
        "CLUSTER GETKEYSINSLOT 3300 0",
        "CLUSTER GETKEYSINSLOT 3300 -1",
        "CLUSTER GETKEYSINSLOT 99999 1",
        "CLUSTER GETKEYSINSLOT x 1",
        "CLUSTER NOSUCH",
        "CLUSTER MYID x",
        "CLUSTER REPLICAS x",
        "CLUSTER COUNT-FAILURE-REPORTS x",
        "FLUSHALL",
        "DBSIZE",
        "CLUSTER",
        "OBJECT ENCODING a",
        "OBJECT ENCODING b",
        "EXISTS b b",
        "EXISTS b a",
        "TOUCH",
        "MGET",
        "PING",
        "RANDOMKEY",
        "LCS b a",
        "LCS b {b}2",
        "SUBSTR a 0 1",
        "COMMAND GETKEYS GET x",
    ] {
        assert_eq!(ours.ask(line), theirs.ask(line), "{line}");
    }
    let nodes = |client: &mut Client, port: u16| {
        let text = client.ask("CLUSTER NODES");
        let id = client.ask("CLUSTER MYID")[5..45].to_owned();
        text.split_once("\r\n")
            .unwrap()
            .1
            .replace(&id, "ID")
            .replace(&port.to_string(), "PORT")
            .replace(&port.wrapping_add(10_000).to_string(), "BUS")
    };
    let theirs_nodes = nodes(&mut theirs, redis.port());
    // A redis-server that nobody has met does not know its own address, and has epoch 0.
    let theirs_nodes = theirs_nodes.replace(":PORT@BUS", "127.0.0.1:PORT@BUS").replace(" 0 0 0 ", " 0 0 1 ");
    let ours_nodes = nodes(&mut ours, node.address().port());
    if node.address().port() < 55_536 {
        assert_eq!(ours_nodes, theirs_nodes);
    }
    node.stop();
}

#[test]
fn redis_cli_follows_redirects() {
    let cluster = Cluster::start(3);
    cluster.wait_for_replicas();
    let cli = |arguments: &[&str]| {
        let output = Command::new(tools::redis("redis-cli"))
            .args(["-p", &cluster.port(0).to_string()])
            .args(arguments)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    for key in ["a", "b", "c", "d"] {
        assert_eq!(cli(&["-c", "SET", key, "v"]), "OK");
        assert_eq!(cli(&["-c", "GET", key]), "v");
    }
    let check = cli(&["--cluster", "check", &format!("127.0.0.1:{}", cluster.port(0))]);
    assert!(check.contains("All nodes agree about slots configuration"), "{check}");
    assert!(check.contains("All 16384 slots covered"), "{check}");
    assert!(check.contains("4 keys in 3 primaries") || check.contains("4 keys in 3 masters"), "{check}");
    cluster.stop();
}

#[test]
fn an_ipv6_address_is_told_without_brackets() {
    let address = HostPort::new("::1", 7001);
    let other = Member::at(address.clone());
    let (listener, own) = listen();
    let shard = |ranges, primary| ShardMap {
        id: NodeId::from_bytes([1; 20]),
        epoch: 1,
        ranges,
        primary,
        replicas: vec![],
    };
    let map = ClusterMap::new(vec![shard(vec![(0, 16383)], other), shard(vec![], Member::at(own))]).unwrap();
    let spec = Arc::new(map).specs(&NodeLimits::default()).remove(1);
    let node = start(spec, listener).unwrap();
    let mut client = Client::connect(node.address());
    client.expect("GET foo", "-MOVED 12182 ::1:7001\r\n");
    node.stop();
}
