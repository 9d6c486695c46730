use super::*;
use pointsman_protocol::Slot;
use redis_protocol::resp2::decode::decode;

const ASKED: &str = "10.9.9.9";

fn asked() -> HostPort {
    HostPort::new(ASKED, 6379)
}

/// A frame from a shorthand: `[a 1 [b]]`, numbers as integers, `nil` as null.
fn frame(text: &str) -> OwnedFrame {
    fn value<'a>(words: &mut impl Iterator<Item = &'a str>, first: &str) -> Option<String> {
        Some(match first {
            "[" => {
                let mut items = Vec::new();
                loop {
                    let word = words.next()?;
                    if word == "]" {
                        break;
                    }
                    items.push(value(words, word)?);
                }
                format!("*{}\r\n{}", items.len(), items.concat())
            }
            "nil" => "$-1\r\n".to_owned(),
            number if number.parse::<i64>().is_ok() => format!(":{number}\r\n"),
            word => {
                let word = if word == "empty" { "" } else { word };
                format!("${}\r\n{word}\r\n", word.len())
            }
        })
    }
    let spaced = text.replace('[', " [ ").replace(']', " ] ");
    let mut words = spaced.split_whitespace();
    let first = words.next().unwrap();
    let text = value(&mut words, first).unwrap();
    decode(text.as_bytes()).unwrap().unwrap().0
}

fn owner(topology: &Topology, slot: u16) -> String {
    topology.primary_of(Slot::new(slot).unwrap()).map_or_else(|| "nobody".to_owned(), ToString::to_string)
}

fn replicas(topology: &Topology, shard: usize) -> Vec<String> {
    topology.shards()[shard].replicas.iter().map(|node| topology.node(*node).address.to_string()).collect()
}

const ID: &str = "07c37dfeb235213a872192d90877d0cd55635b91";

#[test]
fn shards_as_redis_7_tells_them() {
    let answer = frame(&format!(
        "[[slots [0 99 200 300] nodes [
            [id {ID} port 7001 ip 10.0.0.1 endpoint 10.0.0.1 role master replication-offset 5 health online]
            [id x port 7004 ip 10.0.0.4 endpoint 10.0.0.4 role replica replication-offset 5 health online]
            [id y port 7005 ip 10.0.0.5 endpoint 10.0.0.5 role replica replication-offset 0 health fail]]]
          [slots [] nodes [[id z port 7002 ip 10.0.0.2 endpoint 10.0.0.2 role master replication-offset 0 health online]]]]"
    ));
    let topology = from_shards(&answer, &asked(), 9).unwrap();
    assert_eq!(topology.epoch().0, 9);
    assert_eq!(
        (owner(&topology, 99), owner(&topology, 100), owner(&topology, 300)),
        ("10.0.0.1:7001".into(), "nobody".into(), "10.0.0.1:7001".into())
    );
    assert_eq!(replicas(&topology, 0), ["10.0.0.4:7004"]);
    assert_eq!(topology.nodes()[0].id.unwrap().to_string(), ID);
    assert_eq!(topology.serving().len(), 1);
}

// T84: unknown endpoints, host names, TLS-only nodes.
#[test]
fn t84_endpoints_of_every_form() {
    for (endpoint, ip, expected) in [
        ("nil", "10.0.0.1", "10.9.9.9:7001"),
        ("empty", "10.0.0.1", "10.9.9.9:7001"),
        ("?", "10.0.0.1", "10.0.0.1:7001"),
        ("nil", "empty", "10.9.9.9:7001"),
        ("?", "?", "10.9.9.9:7001"),
        ("node-1.local", "10.0.0.1", "node-1.local:7001"),
        ("2001:db8::1", "2001:db8::1", "[2001:db8::1]:7001"),
    ] {
        let answer = frame(&format!(
            "[[slots [0 1] nodes [[id x port 7001 ip {ip} endpoint {endpoint} role master health online]]]]"
        ));
        assert_eq!(owner(&from_shards(&answer, &asked(), 1).unwrap(), 0), expected, "{endpoint}");
    }
    let tls_only = frame(
        "[[slots [0 1] nodes [[id x tls-port 7001 ip 1.1.1.1 endpoint 1.1.1.1 role master health online]]]]",
    );
    assert_eq!(owner(&from_shards(&tls_only, &asked(), 1).unwrap(), 0), "nobody");
}

#[test]
fn of_two_primaries_the_one_online_counts() {
    let answer = frame(
        "[[slots [0 1] nodes [
            [id a port 1 endpoint h role master replication-offset 90 health fail]
            [id b port 2 endpoint h role master replication-offset 10 health online]]]]",
    );
    assert_eq!(owner(&from_shards(&answer, &asked(), 1).unwrap(), 0), "h:2");
}

#[test]
fn slots_as_older_servers_tell_them() {
    let answer = frame(&format!(
        "[[0 5 [10.0.0.1 7001 {ID}] [10.0.0.4 7004 x]] [6 9 [10.0.0.2 7002]] [20 21 [10.0.0.1 7001 {ID}] [10.0.0.4 7004 x]] [30 30 [nil 7003]]]"
    ));
    let topology = from_slots(&answer, &asked(), 4).unwrap();
    assert_eq!(
        (owner(&topology, 5), owner(&topology, 6), owner(&topology, 21)),
        ("10.0.0.1:7001".into(), "10.0.0.2:7002".into(), "10.0.0.1:7001".into())
    );
    assert_eq!(owner(&topology, 30), "10.9.9.9:7003");
    assert_eq!((topology.shards().len(), replicas(&topology, 0)), (3, vec!["10.0.0.4:7004".to_owned()]));
}

#[test]
fn nodes_with_their_flags_and_epochs() {
    let other = "67ed2db8d677e59ec4a4cefb06858cf2a1a89fa1";
    let text = format!(
        "{ID} 127.0.0.1:30001@31001,hostname1 myself,master - 0 0 3 connected 0-10 12 [93-<-{other}]\n\
         {other} :30002@31002 master - 0 1 7 connected 13-20\n\
         6ec23923021cf3ffec47632106199cb7f496ce01 127.0.0.1:30005@31005 slave {ID} 0 1 3 connected\n\
         824fe116063bc5fcf9f4ffd895bc17aee7731ac3 127.0.0.1:30006@31006 slave,fail {ID} 0 1 3 disconnected\n\
         e7d1eecce10fd6bb5eb35b9f99a514335d9ba9ca :0@0 master,noaddr - 0 1 9 disconnected\n"
    );
    let answer = OwnedFrame::BulkString(text.into_bytes());
    let topology = from_nodes(&answer, &asked(), 2).unwrap();
    assert_eq!(topology.epoch().0, 7, "of a node that serves, not of one without address");
    assert_eq!(
        (owner(&topology, 12), owner(&topology, 11), owner(&topology, 13)),
        ("127.0.0.1:30001".into(), "nobody".into(), "10.9.9.9:30002".into())
    );
    assert_eq!(replicas(&topology, 1), ["127.0.0.1:30005"], "shards are in the order of their addresses");
}

#[test]
fn nonsense_is_an_error_and_never_a_panic() {
    for text in [
        "[]",
        "[[slots nodes]]",
        "[1 2]",
        "x",
        "7",
        "nil",
        "[[slots [0] nodes [[port 99999999]]]]",
        "[[0]]",
        "[[0 99999]]",
    ] {
        let answer = frame(text);
        let _ = (
            from_shards(&answer, &asked(), 0),
            from_slots(&answer, &asked(), 0),
            from_nodes(&answer, &asked(), 0),
            epoch_of(&answer),
        );
    }
    assert!(from_shards(&frame("x"), &asked(), 0).is_err());
    assert!(from_nodes(&frame("abc"), &asked(), 0).is_err());
}

#[test]
fn the_epoch_of_cluster_info() {
    let answer = OwnedFrame::BulkString(
        b"cluster_state:ok\r\ncluster_current_epoch:12\r\ncluster_my_epoch:2\r\n".to_vec(),
    );
    assert_eq!(epoch_of(&answer), Some(12));
}
