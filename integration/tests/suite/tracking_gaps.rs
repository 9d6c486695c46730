//! T101, T102: client tracking where one node tells nothing any more: what it has is called invalid at once, and
//! what the others have stays tracked.

use pointsman_integration::{Client, Pointsman, RedisServer, Reply, Setup};
use std::time::Duration;

const LOST: &[&str] = &["lost", "connect", "refuse", "watched", "topology", "reached"];

fn forget(key: &str) -> String {
    format!(">2\r\n$10\r\ninvalidate\r\n*1\r\n${}\r\n{key}\r\n", key.len())
}

fn tracker(pointsman: &Pointsman) -> Client {
    let mut client = pointsman.client();
    client.line("HELLO 3");
    assert_eq!(client.line("CLIENT TRACKING ON"), Reply::ok());
    client
}

/// Nobody is told any more what changes there, by a change of rights while everything runs.
fn stop_telling(node: &RedisServer) {
    assert_eq!(node.command(&["ACL", "SETUSER", "default", "-client|tracking"]), Reply::ok());
    assert!(!node.command(&["CLIENT", "KILL", "TYPE", "normal"]).is_error());
}

// Where keys are divided by twemproxy's rule, a key's hash slot says nothing of its node.
#[test]
fn t101_t102_one_node_of_a_ring_stops_telling() {
    let nodes: Vec<RedisServer> = (0..3).map(|_| RedisServer::standalone()).collect();
    let mut lines = ["fixed:", "  distribution: ketama", "  shards:"].map(str::to_owned).to_vec();
    for (node, name) in nodes.iter().zip(["alpha", "beta", "gamma"]) {
        lines.push(format!("    - {{ seeds: [\"{}\"], name: {name} }}", node.address()));
    }
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let pointsman = Setup::other(&lines).allow(LOST).start();
    let (mut writer, mut reader) = (pointsman.client(), tracker(&pointsman));
    let keys: Vec<String> = (0..30).map(|number| format!("gap:{number}")).collect();
    for key in &keys {
        writer.command(&["SET", key, "v"]);
    }
    let (silent, told): (Vec<&String>, Vec<&String>) =
        keys.iter().partition(|key| nodes[0].command(&["EXISTS", key]) == Reply::number(1));
    assert!(silent.len() > 2 && told.len() > 2, "{silent:?}");
    assert_eq!(reader.command(&["GET", told[0]]), Reply::bulk("v"));

    stop_telling(&nodes[0]);
    assert_eq!(reader.read(), ">2\r\n$10\r\ninvalidate\r\n_\r\n", "the connection that watched was closed");
    for key in &silent {
        assert_eq!(reader.command(&["GET", key]), Reply::bulk("v"));
        assert_eq!(reader.read(), forget(key).as_str());
    }
    assert_eq!(reader.command(&["GET", told[0]]), Reply::bulk("v"));
    // To say it again ends nothing.
    assert_eq!(reader.line("CLIENT TRACKING ON NOLOOP"), Reply::ok());
    assert_eq!(reader.line("CLIENT GETREDIR"), Reply::number(0));
    assert_eq!(reader.command(&["GET", told[1]]), Reply::bulk("v"));
    assert!(reader.is_silent_for(Duration::from_millis(30)), "these are watched");
    for key in &told[..2] {
        writer.command(&["SET", key, "w"]);
        assert_eq!(reader.read(), forget(key).as_str());
    }
    // Who was never told that it tracks is told why not.
    let mut other = pointsman.client();
    other.line("HELLO 3");
    assert!(other.line("CLIENT TRACKING ON").error().contains("a node refuses to tell what changes"));
    assert_eq!(other.line("CLIENT GETREDIR"), Reply::number(-1));
    let clients = writer.line("INFO clients").text();
    assert!(clients.contains("tracking_clients:1\r\n"), "{clients}");
}
