//! `cluster_facade`: the proxy as a cluster of one node, and the clients that speak to clusters only.

use pointsman_integration::eventually::{check, eventually};
use pointsman_integration::process::Launch;
use pointsman_integration::{Client, Cluster, Pointsman, RedisServer, Reply, Setup, ports, tools};
use redis::Commands;
use redis::cluster::{ClusterClient, cluster_pipe};
use redis::cluster_read_routing::RandomReplicaStrategy;
use std::time::Duration;

fn facade(cluster: &Cluster, more: &[&str]) -> Pointsman {
    let setup = Setup::cluster(cluster.addresses()).with(|setup| setup.workers = 2);
    let mut lines = vec!["cluster_facade: true".to_owned()];
    lines.extend(more.iter().map(|line| (*line).to_owned()));
    setup.with(|setup| setup.listener_extra = lines).start()
}

/// A real cluster of one node.
fn one_node() -> RedisServer {
    let server = RedisServer::cluster_node(&["--cluster-announce-ip", "127.0.0.1"]);
    let mut client = server.client();
    assert_eq!(client.line("CLUSTER SET-CONFIG-EPOCH 1"), Reply::ok());
    assert_eq!(client.line("CLUSTER ADDSLOTSRANGE 0 16383"), Reply::ok());
    eventually("the one node serves", || {
        let info = client.line("CLUSTER INFO").text();
        check(info.contains("cluster_state:ok"), info)
    });
    server
}

/// Every question that has a form: the answer of a real cluster of one node, byte for byte, but for the id
/// and the port.
#[test]
fn t111_the_proxy_answers_as_a_cluster_of_one_node() {
    let real = one_node();
    let cluster = Cluster::shared();
    let pointsman = facade(&cluster, &[]);
    for hello in ["HELLO 2", "HELLO 3"] {
        let (mut ours, mut theirs) = (pointsman.client(), real.client());
        for client in [&mut ours, &mut theirs] {
            client.line(hello);
        }
        let (our_id, their_id) = (ours.line("CLUSTER MYID").text(), theirs.line("CLUSTER MYID").text());
        assert_eq!(our_id.len(), 40);
        let (port, bus) = (real.port(), real.port() + 10_000);
        for line in [
            "CLUSTER MYID",
            "CLUSTER SLOTS",
            "CLUSTER SHARDS",
            "CLUSTER NODES",
            "CLUSTER INFO",
            "CLUSTER LINKS",
            "CLUSTER REPLICAS $id",
            "CLUSTER SLAVES $id",
            "CLUSTER REPLICAS nobody",
            "CLUSTER COUNT-FAILURE-REPORTS $id",
            "CLUSTER COUNT-FAILURE-REPORTS nobody",
            "CLUSTER KEYSLOT {user}:1",
            "CLUSTER KEYSLOT",
            "CLUSTER COUNTKEYSINSLOT 77",
            "CLUSTER COUNTKEYSINSLOT 16384",
            "CLUSTER COUNTKEYSINSLOT x",
            "CLUSTER GETKEYSINSLOT 77 10",
            "CLUSTER GETKEYSINSLOT 77 -1",
            "CLUSTER NOSUCH",
            "READONLY",
            "READWRITE",
            "ASKING",
            "CONFIG GET cluster-enabled",
        ] {
            let answer = ours.line(&line.replace("$id", &our_id));
            let wanted = String::from_utf8(theirs.line(&line.replace("$id", &their_id)).0).expect("text");
            let wanted = wanted
                .replace(&their_id, &our_id)
                .replace(&bus.to_string(), &(pointsman.port() + 10_000).to_string())
                .replace(&port.to_string(), &pointsman.port().to_string());
            assert_eq!(String::from_utf8_lossy(&answer.0), wanted, "{line} after {hello}");
        }
        let said = ours.line(hello).to_string();
        assert!(said.contains("cluster") && !said.contains("standalone"), "{said}");
    }
    let info = pointsman.client().line("INFO").text();
    for line in ["redis_mode:cluster", "cluster_enabled:1"] {
        assert!(info.lines().any(|shown| shown == line), "{line} is missing in {info}");
    }
}

/// T33, too: what a client learns of the cluster behind is nothing.
#[test]
fn t111_no_backend_is_named_and_nothing_is_changed() {
    let cluster = Cluster::shared();
    let pointsman = facade(&cluster, &[]);
    let mut client = pointsman.client();
    let backends: Vec<String> = cluster
        .addresses()
        .iter()
        .filter_map(|address| Some(address.rsplit_once(':')?.1.to_owned()))
        .collect();
    for line in ["CLUSTER SLOTS", "CLUSTER SHARDS", "CLUSTER NODES", "CLUSTER LINKS", "INFO", "HELLO 3"] {
        let answer = String::from_utf8_lossy(&client.line(line).0).into_owned();
        assert!(!backends.iter().any(|port| answer.contains(port.as_str())), "{line}: {answer}");
    }
    for line in ["CLUSTER RESET", "CLUSTER FAILOVER", "CLUSTER ADDSLOTS 1", "CLUSTER FORGET x"] {
        let answer = client.line(line);
        assert!(answer.error().contains("not available through the proxy"), "{line}: {answer}");
    }
    // What a cluster client must not ask of one node is told in the words it knows.
    assert!(client.line("RENAME facade:a facade:b").is_error_of("CROSSSLOT"));
}

#[test]
fn t111_keys_of_a_slot_come_from_its_owner() {
    let cluster = Cluster::shared();
    let pointsman = facade(&cluster, &[]);
    let mut client = pointsman.client();
    let slot = client.line("CLUSTER KEYSLOT facade:counted").int();
    assert_eq!(client.line("SET {facade:counted}:1 v"), Reply::ok());
    assert_eq!(client.line("SET {facade:counted}:2 v"), Reply::ok());
    assert_eq!(client.line(&format!("CLUSTER COUNTKEYSINSLOT {slot}")).int(), 2);
    assert_eq!(client.line(&format!("CLUSTER GETKEYSINSLOT {slot} 1")).elements().len(), 1);
    assert_eq!(client.line("DEL {facade:counted}:1 {facade:counted}:2").int(), 2);
    // Between MULTI and EXEC there is nobody to ask.
    assert_eq!(client.line("MULTI"), Reply::ok());
    assert_eq!(client.line("CLUSTER KEYSLOT a").text(), "QUEUED");
    assert!(client.line(&format!("CLUSTER COUNTKEYSINSLOT {slot}")).is_error());
    assert!(client.line("EXEC").is_error_of("EXECABORT"));
}

/// Each client is told the address it came by, whatever the listener is bound to.
#[test]
fn t111_the_address_told_is_one_that_works() {
    let port = ports::reserve();
    let number = port.number();
    let cluster = Cluster::shared();
    let pointsman =
        facade(&cluster, &[&format!("\n  - {{ listen: \"[::]:{number}\", cluster_facade: true }}")]);
    for (connect, told) in [("127.0.0.1", "127.0.0.1"), ("127.0.0.2", "127.0.0.2"), ("[::1]", "::1")] {
        let Ok(mut client) = Client::try_connect(format!("{connect}:{number}")) else {
            assert_eq!(connect, "[::1]", "only IPv6 may be missing on this machine");
            continue;
        };
        let nodes = client.line("CLUSTER NODES").text();
        assert!(nodes.contains(&format!(" {told}:{number}@")), "{nodes}");
        let range = &client.line("CLUSTER SLOTS").elements()[0];
        assert_eq!(range.elements()[2].elements()[0].text(), told);
    }
    drop(pointsman);
}

/// Behind a balancer all proxies are one node; a client may ask any of them and see no change.
#[test]
fn t111_proxies_with_one_advertised_address_agree() {
    let cluster = Cluster::shared();
    let advertise = "advertise: proxies.example:6379";
    let (one, other) = (facade(&cluster, &[advertise]), facade(&cluster, &[advertise]));
    for line in ["CLUSTER SLOTS", "CLUSTER SHARDS", "CLUSTER NODES", "CLUSTER MYID", "CLUSTER MYSHARDID"] {
        let (ours, theirs) = (one.client().line(line), other.client().line(line));
        assert_eq!(ours, theirs, "{line}");
        assert!(line.contains("MY") || ours.to_string().contains("proxies.example"), "{line}: {ours}");
    }
}

#[test]
fn t111_redis_cli_in_cluster_mode() {
    let cluster = Cluster::shared();
    let pointsman = facade(&cluster, &[]);
    let port = pointsman.port().to_string();
    let script = format!(
        "for n in $(seq 50); do echo \"SET facade:cli:$n $n\"; done | {cli} -c -p {port} && \
         for n in $(seq 50); do echo \"GET facade:cli:$n\"; done | {cli} -c -p {port}",
        cli = tools::redis("redis-cli").display()
    );
    let output = Launch::new("sh").args(["-c", &script]).run(Duration::from_secs(60)).expect_success();
    assert_eq!(output.lines().filter(|line| *line == "OK").count(), 50, "{output}");
    assert_eq!(output.lines().last(), Some("50"), "{output}");
}

#[test]
fn t111_redis_rs_speaks_to_a_cluster() {
    let cluster = Cluster::shared();
    let pointsman = facade(&cluster, &[]);
    let url = format!("redis://{}/", pointsman.address());
    for builder in [
        ClusterClient::builder([url.clone()]),
        ClusterClient::builder([url.clone()]).use_protocol(redis::ProtocolVersion::RESP3),
        ClusterClient::builder([url.clone()]).read_routing_strategy(RandomReplicaStrategy),
    ] {
        let client = builder.build().expect("the address is right");
        let mut connection = client.get_connection().expect("it connects");
        for n in 0..50 {
            let _: () = connection.set(format!("facade:rs:{n}"), n).unwrap();
        }
        let keys: Vec<String> = (0..50).map(|n| format!("facade:rs:{n}")).collect();
        let values: Vec<i64> = connection.mget(&keys).unwrap();
        assert_eq!(values, (0..50).collect::<Vec<_>>());
        let mut pipe = cluster_pipe();
        keys.iter().for_each(|key| {
            pipe.incr(key, 1).ignore();
        });
        pipe.get("facade:rs:49");
        let (last,): (i64,) = pipe.query(&mut connection).unwrap();
        assert_eq!(last, 50);
        let gone: i64 = connection.del(&keys).unwrap();
        assert_eq!(gone, 50);
        let size: i64 = redis::cmd("CLUSTER").arg("KEYSLOT").arg("a").query(&mut connection).unwrap();
        assert_eq!(size, 15_495);
    }
}

#[test]
fn t33_without_the_facade_there_is_no_cluster() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut client = pointsman.client();
    for line in ["CLUSTER SLOTS", "CLUSTER MYID", "CLUSTER COUNTKEYSINSLOT 5", "READONLY", "ASKING"] {
        assert_eq!(client.line(line).error(), "ERR This instance has cluster support disabled", "{line}");
    }
}
