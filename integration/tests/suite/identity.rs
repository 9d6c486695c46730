//! T27 and T28 over several workers and shards: who is connected, who is closed, who waits, and what all
//! shards together hold.

use pointsman_integration::client::words;
use pointsman_integration::eventually::{check, eventually};
use pointsman_integration::fake::{Act, Rule, key_on};
use pointsman_integration::{Client, Cluster, Fake, Pointsman, Reply, Setup};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(10);
/// A span in which a reply that is not held back would have come.
const A_WHILE: Duration = Duration::from_millis(150);

fn two_workers(fake: &Fake) -> Pointsman {
    Setup::cluster(fake.addresses()).with(|setup| setup.workers = 2).start()
}

fn id(client: &mut Client) -> i64 {
    client.line("CLIENT ID").int()
}

/// The ids that CLIENT LIST tells, with these arguments.
fn listed(client: &mut Client, arguments: &str) -> Vec<i64> {
    let text = client.line(&format!("CLIENT LIST {arguments}")).text();
    let id = |line: &str| line.split([' ', '=']).nth(1)?.parse().ok();
    text.lines().map(|line| id(line).unwrap_or_else(|| panic!("no id in '{line}'"))).collect()
}

#[test]
fn t27_client_list_tells_of_the_clients_of_every_worker() {
    let fake = Fake::start(1, 0);
    let pointsman = two_workers(&fake);
    let mut clients: Vec<Client> = (0..6).map(|_| pointsman.client()).collect();
    // Which worker takes in its client first is up to them; from here on, by age.
    let mut aged: Vec<(i64, Client)> =
        clients.drain(..).map(|mut client| (id(&mut client), client)).collect();
    aged.sort_by_key(|(id, _)| *id);
    let (ids, mut clients): (Vec<i64>, Vec<Client>) = aged.into_iter().unzip();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "every client has its own: {ids:?}");
    for client in &mut clients {
        assert_eq!(listed(client, ""), ids);
    }
    let asker = &mut clients[3];
    assert_eq!(listed(asker, "TYPE normal"), ids);
    assert!(listed(asker, "TYPE pubsub").is_empty());
    let (first, last) = (ids[0], ids[5]);
    assert_eq!(listed(asker, &format!("ID {last} 999999 {first} {last}")), [last, first, last]);
    assert_eq!(asker.line("CLIENT SETNAME number-three"), Reply::ok());
    let line = clients[0].line(&format!("CLIENT LIST ID {}", ids[3])).text();
    assert!(line.contains(" name=number-three ") && line.contains(" cmd=client|setname "), "{line}");
    // In order with what is pipelined around it.
    let replies = clients[1].pipeline(&[
        words(&["SET", "t27:k", "1"]),
        words(&["CLIENT", "LIST"]),
        words(&["INCR", "t27:k"]),
        words(&["PING"]),
    ]);
    assert_eq!(
        (&replies[0], replies[2].int(), &replies[3]),
        (&Reply::ok(), 2, &Reply(b"+PONG\r\n".to_vec()))
    );
    assert!(replies[1].text().lines().count() == 6);
    clients.pop();
    eventually("a client that left is not listed", || {
        let left = listed(&mut clients[0], "");
        if left == ids[..5] { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

#[test]
fn t27_client_kill_reaches_the_clients_of_every_worker() {
    let fake = Fake::start(1, 0);
    let pointsman = two_workers(&fake);
    let mut killer = pointsman.client();
    let mut clients: Vec<Client> = (0..6).map(|_| pointsman.client()).collect();
    let ids: Vec<i64> = clients.iter_mut().map(id).collect();
    // One by one, by id and by address; whoever is left goes on.
    for (mut victim, id) in clients.drain(..4).zip(&ids) {
        if id % 2 == 0 {
            assert_eq!(killer.line(&format!("CLIENT KILL ID {id}")).int(), 1);
        } else {
            let address = victim.stream().local_addr().expect("it is connected");
            assert_eq!(killer.line(&format!("CLIENT KILL {address}")), Reply::ok());
        }
        assert!(victim.is_closed_within(SOON));
    }
    let (mut left, mut other) = (clients.remove(0), clients.remove(0));
    assert_eq!(left.line("PING"), Reply(b"+PONG\r\n".to_vec()));
    assert_eq!(killer.line(&format!("CLIENT KILL ID {}", ids[0])).int(), 0, "it is gone");
    assert_eq!(killer.line("CLIENT KILL 127.0.0.1:1").error(), "ERR No such client");
    // Oneself only if one says so, and then with the reply first and nothing behind it.
    let own = id(&mut killer);
    assert_eq!(killer.line(&format!("CLIENT KILL ID {own}")).int(), 0);
    assert_eq!(killer.line("CLIENT KILL TYPE normal").int(), 2);
    assert!(left.is_closed_within(SOON) && other.is_closed_within(SOON));
    killer.send_all(&[
        words(&["CLIENT", "KILL", "ID", &own.to_string(), "SKIPME", "no"]),
        words(&["SET", "t27:after", "1"]),
    ]);
    assert_eq!(killer.read().int(), 1);
    assert!(killer.is_closed_within(SOON));
    assert!(fake.received(|received| received.has_key("t27:after")).is_empty(), "nothing behind it was done");
    assert_eq!(pointsman.client().line("PING"), Reply(b"+PONG\r\n".to_vec()));
}

#[test]
fn t27_a_killed_client_leaves_its_requests_to_nobody() {
    let fake = Fake::start(1, 0);
    let gate = fake.gate();
    fake.rule(Rule::on("GET", Act::Hold(gate.clone())).key("t27:slow"));
    let pointsman = Setup::cluster(fake.addresses()).start();
    let (mut victim, mut killer) = (pointsman.client(), pointsman.client());
    let id = id(&mut victim);
    victim.send(&["GET", "t27:slow"]);
    fake.wait_for("the read is on its way", 1, |received| received.has_key("t27:slow"));
    assert_eq!(killer.line(&format!("CLIENT KILL ID {id}")).int(), 1);
    assert!(victim.is_closed_within(SOON));
    gate.open();
    for round in 0..20 {
        let value = round.to_string();
        assert_eq!(killer.command(&["SET", "t27:other", &value]), Reply::ok());
        assert_eq!(killer.line("GET t27:other"), Reply::bulk(&value), "nobody gets another's reply");
    }
}

#[test]
fn t27_client_pause_write_holds_back_writes_of_every_worker() {
    let fake = Fake::start(2, 0);
    let pointsman = two_workers(&fake);
    let mut pauser = pointsman.client();
    let mut clients: Vec<Client> = (0..4).map(|_| pointsman.client()).collect();
    assert_eq!(pauser.line("CLIENT PAUSE 60000 WRITE"), Reply::ok());
    // A second one makes it no shorter.
    assert_eq!(pauser.line("CLIENT PAUSE 1 WRITE"), Reply::ok());
    for client in &mut clients {
        assert_eq!(client.line("PING"), Reply(b"+PONG\r\n".to_vec()));
        assert!(client.line("GET t27:paused").is_null());
        assert!(client.line("NOSUCH").is_error());
        client.send(&["INCR", "t27:paused"]);
        client.send(&["PING"]);
    }
    for client in &mut clients {
        assert!(client.is_silent_for(A_WHILE), "a write waits, and what is behind it");
    }
    assert!(fake.received(|received| received.is("INCR")).is_empty());
    assert!(pauser.line("GET t27:paused").is_null());
    assert_eq!(pauser.line("CLIENT UNPAUSE"), Reply::ok());
    let mut counts: Vec<i64> = clients.iter_mut().map(|client| client.read().int()).collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 2, 3, 4]);
    for client in &mut clients {
        assert_eq!(client.read(), Reply(b"+PONG\r\n".to_vec()));
    }
}

#[test]
fn t27_client_pause_ends_by_itself_and_holds_back_everything() {
    let fake = Fake::start(1, 0);
    let pointsman = two_workers(&fake);
    let (mut pauser, mut client) = (pointsman.client(), pointsman.client());
    let began = Instant::now();
    assert_eq!(pauser.line("CLIENT PAUSE 400"), Reply::ok());
    client.send(&["PING"]);
    // As in Redis, UNPAUSE waits, too.
    assert_eq!(pauser.line("CLIENT UNPAUSE"), Reply::ok());
    assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());
    assert_eq!(client.read(), Reply(b"+PONG\r\n".to_vec()));
    assert_eq!(client.line("SET t27:k 1"), Reply::ok());
}

#[test]
fn t27_after_a_pause_no_write_is_on_its_way() {
    let fake = Fake::start(1, 0);
    let gate = fake.gate();
    fake.rule(Rule::on("SET", Act::Hold(gate.clone())).key("t27:late"));
    let pointsman = two_workers(&fake);
    let (mut pauser, mut writer) = (pointsman.client(), pointsman.client());
    writer.send(&["SET", "t27:late", "1"]);
    fake.wait_for("the write is on its way", 1, |received| received.has_key("t27:late"));
    pauser.send(&["CLIENT", "PAUSE", "200", "WRITE"]);
    assert!(pauser.is_silent_for(A_WHILE), "OK would say that nothing is written any more");
    gate.open();
    assert_eq!(pauser.read(), Reply::ok());
    assert_eq!(writer.read(), Reply::ok());
}

#[test]
fn t27_a_drain_ends_a_pause() {
    let fake = Fake::start(1, 0);
    let pointsman = two_workers(&fake);
    let (mut pauser, mut writer) = (pointsman.client(), pointsman.client());
    assert_eq!(pauser.line("CLIENT PAUSE 60000"), Reply::ok());
    writer.send(&["SET", "t27:drained", "1"]);
    assert!(writer.is_silent_for(A_WHILE));
    pointsman.signal("TERM");
    assert_eq!(writer.read(), Reply::ok(), "what was read is answered");
}

/// The `db0` line of INFO.
fn db0(client: &mut Client) -> String {
    let text = client.line("INFO keyspace").text();
    text.lines().find(|line| line.starts_with("db0:")).unwrap_or("").to_owned()
}

fn keyspace(pointsman: &Pointsman) {
    let mut client = pointsman.client();
    assert_eq!(client.line("FLUSHALL"), Reply::ok());
    assert_eq!(db0(&mut client), "");
    for round in 1..=10 {
        for number in 0..30 {
            let key = format!("t28:{round}:{number}");
            assert_eq!(client.command(&["SET", &key, "x"]), Reply::ok());
        }
        assert_eq!(client.command(&["EXPIRE", &format!("t28:{round}:0"), "1000"]).int(), 1);
        // The client's own writes are in it, whoever asked just before.
        let wanted = format!("db0:keys={},expires={round},", 30 * round);
        // (Where all shards take half a second to answer, INFO tells the sample before.)
        eventually("INFO tells what was written", || {
            let line = db0(&mut client);
            check(line.starts_with(&wanted), line)
        });
    }
}

#[test]
fn t28_info_sums_the_keys_of_all_shards() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses()).start();
    keyspace(&pointsman);
    let mut client = pointsman.client();
    let info = client.line("INFO").text();
    let field = |name: &str| -> u64 {
        let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.and_then(|value| value.trim_end().parse().ok()).unwrap_or_else(|| panic!("{name} in {info}"))
    };
    assert!(field("used_memory") > 3 * 500_000, "three servers' memory");
    assert_eq!(field("pointsman_shards_sampled"), 3);
    assert_eq!(client.line("CONFIG GET maxmemory-policy").elements()[1], Reply::bulk("noeviction"));
    // Over RESP3 it is a verbatim string.
    let _ = client.line("HELLO 3");
    assert!(client.line("INFO server").0.starts_with(b"="));
}

#[test]
fn t28_info_sums_the_keys_of_the_bundled_nodes() {
    keyspace(&Setup::embedded(3, 0).start());
}

#[test]
fn t28_info_does_not_wait_for_a_shard_that_is_frozen() {
    let cluster = Cluster::start(3, 0);
    let pointsman =
        Setup::cluster(cluster.addresses()).with(|setup| setup.connect_timeout_ms = 10_000).start();
    let mut client = pointsman.client();
    assert!(client.line("INFO").text().contains("loading:0"));
    cluster.node(0).freeze();
    let began = Instant::now();
    for _ in 0..3 {
        let info = client.line("INFO").text();
        assert!(info.contains("loading:0") && info.contains("role:master"), "{info}");
    }
    let took = began.elapsed();
    cluster.node(0).thaw();
    assert!(took < Duration::from_secs(5), "{took:?}");
}

// T28: what is told is what the nodes say at that moment, from the first question on.
#[test]
fn t28_memory_settings_are_those_of_the_nodes() {
    let limits = ["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"];
    let cluster = Cluster::start_with(3, 0, &limits);
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut client = pointsman.client();
    let sum = (3 * 100 * 1024 * 1024).to_string();
    assert_eq!(client.line("CONFIG GET maxmemory").elements()[1], Reply::bulk(&sum));
    assert_eq!(client.line("CONFIG GET maxmemory-p*").elements()[1], Reply::bulk("allkeys-lru"));
    for node in 0..3 {
        cluster.node(node).command(&["CONFIG", "SET", "maxmemory-policy", "volatile-ttl"]);
    }
    let told = client.line("CONFIG GET maxmemory-policy port MAXMEMORY").elements();
    let told: Vec<String> = told.iter().map(Reply::text).collect();
    assert_eq!(told[..4], ["MAXMEMORY", &sum, "maxmemory-policy", "volatile-ttl"]);
    assert_eq!(client.line(&format!("CONFIG SET maxmemory {sum}")), Reply::ok());
    assert!(client.line("CONFIG SET maxmemory 0").error().contains("it cannot be changed through the proxy"));
    assert!(client.line("CONFIG GET *").elements().contains(&Reply::bulk("volatile-ttl")));
}

#[test]
fn t28_memory_settings_that_no_node_tells_are_not_made_up() {
    let fake = Fake::start(1, 0);
    fake.rule(Rule::on("INFO", Act::Error("ERR not now".into())));
    let pointsman = Setup::cluster(fake.addresses()).start();
    let mut client = pointsman.client();
    assert_eq!(client.line("CONFIG GET maxmemory*"), "*0\r\n");
    assert!(!client.line("CONFIG GET *").elements().contains(&Reply::bulk("maxmemory-policy")));
    assert!(client.line("CONFIG SET maxmemory 0").error().contains("it is a setting of the nodes"));
}

#[test]
fn t32_keyspace_events_are_set_on_every_primary_and_nothing_else_is() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut client = pointsman.client();
    let own = |node: usize| cluster.node(node).command(&["CONFIG", "GET", "notify-keyspace-events"]);
    assert_eq!(client.line("CONFIG SET notify-keyspace-events KEA"), Reply::ok());
    for node in 0..3 {
        assert_eq!(own(node).elements()[1], Reply::bulk("AKE"));
    }
    assert_eq!(client.line("CONFIG GET notify-keyspace-events"), own(0));
    assert!(client.line("CONFIG SET notify-keyspace-events nonsense!").is_error());
    for line in [
        "CONFIG SET maxmemory 1000000",
        "CONFIG SET hz 50",
        "CONFIG SET notify-keyspace-events K maxmemory 1",
    ] {
        let refused = client.line(line).error();
        assert!(refused.starts_with("ERR CONFIG SET failed (possibly related to argument '"), "{refused}");
    }
    assert_eq!(cluster.node(0).command(&["CONFIG", "GET", "maxmemory"]).elements()[1], Reply::bulk("0"));
    assert_eq!(own(0).elements()[1], Reply::bulk("AKE"));
}

#[test]
fn t26_a_client_without_replies_stays_in_order_with_others() {
    let fake = Fake::start(2, 0);
    let pointsman = two_workers(&fake);
    let key = key_on(0, 2, "t26", 1);
    let mut silent = pointsman.client();
    silent.send(&["CLIENT", "REPLY", "OFF"]);
    for _ in 0..2_000 {
        silent.send(&["INCR", &key]);
    }
    silent.send(&["MSET", &key, "a", &key_on(1, 2, "t26", 2), "b"]);
    silent.send(&["CLIENT", "REPLY", "ON"]);
    silent.send(&["GET", &key]);
    assert_eq!(silent.read(), Reply::ok());
    assert_eq!(silent.read(), Reply::bulk("a"));
}
