//! T91: a fixed number of shards without cluster mode. A key's shard is its shard for good: one that is
//! down answers errors, and nothing moves.

use pointsman_integration::client::words;
use pointsman_integration::eventually::{check, eventually};
use pointsman_integration::logs::LOST;
use pointsman_integration::{Client, Pointsman, RedisServer, Reply, Setup};
use pointsman_protocol::Slot;
use std::collections::HashSet;
use std::time::Duration;

fn start(change: impl FnOnce(&mut Setup)) -> (Vec<RedisServer>, Pointsman) {
    let nodes: Vec<RedisServer> = (0..3).map(|_| RedisServer::standalone()).collect();
    let mut lines = vec!["fixed:".to_owned(), "  shards:".to_owned()];
    lines.extend(nodes.iter().map(|node| format!("    - seeds: [\"{}\"]", node.address())));
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let pointsman = Setup::other(&lines).allow(LOST).allow(&["primary"]).with(change).start();
    (nodes, pointsman)
}

/// Where a key belongs: even ranges of the slots, in the order of the file.
fn shard_of(key: &str) -> usize {
    match Slot::of(key.as_bytes()).number() {
        0..=5460 => 0,
        5461..=10921 => 1,
        _ => 2,
    }
}

fn keys_of(shard: usize, count: usize) -> Vec<String> {
    (0..).map(|number| format!("key:{number}")).filter(|key| shard_of(key) == shard).take(count).collect()
}

fn fill(client: &mut Client, count: usize) -> Vec<String> {
    let keys: Vec<String> = (0..count).map(|number| format!("key:{number}")).collect();
    let mut mset = words(&["MSET"]);
    mset.extend(keys.iter().flat_map(|key| words(&[key, key])));
    assert_eq!(client.command(&mset), Reply::ok());
    keys
}

fn calls(server: &RedisServer, command: &str) -> String {
    let line = server.info("commandstats", &format!("cmdstat_{command}")).unwrap_or_default();
    line.split(',').next().unwrap_or_default().to_owned()
}

#[test]
fn keys_are_where_their_slots_say_and_commands_are_cut_once_a_shard() {
    let (nodes, pointsman) = start(|_| ());
    let mut client = pointsman.client();
    let keys = fill(&mut client, 300);
    for key in &keys {
        assert_eq!(nodes[shard_of(key)].command(&["GET", key]), Reply::bulk(key), "{key}");
    }
    let mut mget = words(&["MGET"]);
    mget.extend(keys.iter().map(|key| key.clone().into_bytes()));
    let values: Vec<String> = client.command(&mget).elements().iter().map(Reply::text).collect();
    assert_eq!(values, keys);
    for node in &nodes {
        assert_eq!((calls(node, "mset"), calls(node, "mget")), ("calls=1".into(), "calls=1".into()));
    }
    assert_eq!(client.line("DBSIZE"), Reply::number(300));
    // What one shard has can be used together, whatever the slots; what several have cannot.
    let (here, there) = (keys_of(0, 2), keys_of(1, 1));
    assert_ne!(Slot::of(here[0].as_bytes()), Slot::of(here[1].as_bytes()));
    assert_eq!(client.command(&["RENAME", &here[0], &here[1]]), Reply::ok());
    assert!(client.command(&["RENAME", &here[1], &there[0]]).is_error_of("CROSSSLOT"));
    for request in [words(&["MULTI"]), words(&["GET", &here[1]]), words(&["DEL", &here[0]])] {
        assert!(!client.command(&request).is_error());
    }
    assert_eq!(client.line("EXEC").elements().len(), 2);
    // Databases are there on every shard.
    client.line("SELECT 2");
    fill(&mut client, 30);
    assert_eq!(client.line("SWAPDB 2 3"), Reply::ok());
    assert_eq!(client.line("DBSIZE"), Reply::number(0));
    client.line("SELECT 3");
    assert_eq!(client.line("DBSIZE"), Reply::number(30));
    assert_eq!(client.line("FLUSHDB"), Reply::ok());
    client.line("SELECT 0");
    assert_eq!(client.line("DBSIZE"), Reply::number(299));
}

/// A transaction over several shards is one a shard; a SELECT in it would change the database of one connection only,
/// and leave it there for everybody.
#[test]
fn t31_t47_a_transaction_that_selects_stays_on_one_shard() {
    let (nodes, pointsman) = start(|setup| {
        setup.workers = 1;
        setup.listener_extra.push("multi_across_slots: best_effort".into());
    });
    let (here, there) = (&keys_of(0, 1)[0], &keys_of(1, 1)[0]);
    let (mut client, mut other) = (pointsman.client(), pointsman.client());
    let (set_here, set_there) = (format!("SET {here} inside"), format!("SET {there} inside"));
    let (mset, watch) = (format!("MSET {here} inside {there} inside"), format!("WATCH {here}"));
    let refused: [&[&str]; 4] = [
        &["SELECT 3", &set_here, &set_there],
        &[&set_here, "SELECT 3", &set_there],
        &[&set_here, &set_there, "SELECT 3"],
        &["SELECT 3", &mset],
    ];
    for watches in [false, true] {
        for lines in refused {
            if watches {
                assert_eq!(client.line(&watch), Reply::ok());
            }
            client.line("MULTI");
            let replies: Vec<Reply> = lines.iter().map(|line| client.line(line)).collect();
            assert!(replies.iter().any(|reply| reply.is_error_of("CROSSSLOT")), "{lines:?}: {replies:?}");
            assert!(client.line("EXEC").is_error_of("EXECABORT"), "{lines:?}");
        }
        // On one shard it is as ever.
        if watches {
            assert_eq!(client.line(&watch), Reply::ok());
        }
        for line in ["MULTI", "SELECT 3", &set_here] {
            assert!(!client.line(line).is_error(), "{line}");
        }
        assert_eq!(client.line("EXEC").elements(), [Reply::ok(), Reply::ok()]);
        assert_eq!(client.line("SELECT 0"), Reply::ok());
        for key in [here, there] {
            assert_eq!(other.command(&["SET", key, "outside"]), Reply::ok());
            assert_eq!(nodes[shard_of(key)].command(&["GET", key]), Reply::bulk("outside"), "in database 0");
        }
    }
    assert_eq!(nodes[0].command(&["GET", here]), Reply::bulk("outside"));
}

/// What one of them cannot make sense of, another might carry out beside the data.
#[test]
fn t91_mistakes_in_keys_are_refused_in_transactions_too() {
    let (nodes, pointsman) = start(|_| ());
    let mut client = pointsman.client();
    for line in ["EVAL x -1", "ZUNION 0 a"] {
        assert_eq!(client.line("MULTI"), Reply::ok());
        let told = client.line(line);
        assert!(told.is_error(), "{line}: {told}");
        assert!(client.line("EXEC").is_error_of("EXECABORT"), "{line}");
    }
    for node in &nodes {
        assert_eq!((calls(node, "eval"), calls(node, "zunion")), (String::new(), String::new()));
    }
}

// T47: a shard channel is where the keys of its shard are, and nodes know no slots.
#[test]
fn t47_t91_shard_channels_go_into_transactions_with_the_keys_of_their_shard() {
    for extra in [None, Some("multi_across_slots: best_effort")] {
        let (_nodes, pointsman) = start(|setup| setup.listener_extra.extend(extra.map(str::to_owned)));
        let (mut client, mut subscriber) = (pointsman.client(), pointsman.client());
        for shard in 0..3 {
            let (keys, channel) = (keys_of(shard, 3), &keys_of(shard, 4)[3]);
            subscriber.command(&["SSUBSCRIBE", channel]);
            let mut requests = vec![words(&["MULTI"]), words(&["SPUBLISH", channel, "x"])];
            requests.extend(keys.iter().map(|key| words(&["INCR", key])));
            requests.push(words(&["EXEC"]));
            let told = client.pipeline(&requests).pop().expect("EXEC is answered");
            assert_eq!(told, "*4\r\n:1\r\n:1\r\n:1\r\n:1\r\n", "{shard} {extra:?}");
            assert_eq!(subscriber.read().elements()[2], Reply::bulk("x"));
        }
        let there = &keys_of(1, 1)[0];
        let requests = [
            words(&["MULTI"]),
            words(&["INCR", &keys_of(0, 1)[0]]),
            words(&["SPUBLISH", there, "x"]),
            words(&["EXEC"]),
        ];
        let told = client.pipeline(&requests).pop().expect("EXEC is answered");
        match extra {
            None => assert!(told.is_error_of("EXECABORT"), "{told}"),
            Some(_) => assert_eq!(told, "*2\r\n:2\r\n:0\r\n"),
        }
    }
}

// Else FLUSHALL would be executed twice there, and its keys stand where no file has them.
#[test]
fn t91_a_server_is_not_the_primary_of_two_shards() {
    let (one, other) = (RedisServer::standalone(), RedisServer::standalone());
    other.follow(Some(&one));
    other.wait_until_linked();
    let lines = [
        "fixed:",
        "  shards:",
        // The one that is wrong comes first, and has no claim for that.
        &format!("    - seeds: [\"{}\"]", other.address()),
        &format!("    - seeds: [\"{}\"]", one.address()),
    ];
    let pointsman =
        Setup::other(&lines).allow(LOST).with(|setup| setup.request_timeout_ms = 300).start_unready();
    eventually("it is said", || {
        let log = pointsman.log();
        let said = "is the primary of shards[1] already and cannot be that of shards[0]";
        check(log.iter().any(|line| line.contains(said)), log)
    });
    let mut client = pointsman.client();
    // The lower half of the slots has no owner, the upper one has.
    let (lower, upper) = (&keys_of(0, 1)[0], &keys_of(2, 1)[0]);
    eventually("the other shard is served", || {
        let reply = client.command(&["SET", upper, "v"]);
        check(reply == Reply::ok(), reply)
    });
    assert!(client.command(&["SET", lower, "v"]).is_error());
    assert!(client.line("FLUSHALL").is_error_of("CLUSTERDOWN"));
    other.follow(None);
    eventually("it has a primary of its own", || {
        let reply = client.command(&["SET", lower, "v"]);
        check(reply == Reply::ok(), reply)
    });
    assert_eq!(other.command(&["GET", lower]), Reply::bulk("v"));
    pointsman.wait_until_ready();
}

#[test]
fn t91_a_shard_that_is_down_keeps_its_keys() {
    let (mut nodes, pointsman) = start(|setup| setup.request_timeout_ms = 500);
    let mut client = pointsman.client();
    let keys = fill(&mut client, 60);
    nodes[1].kill();
    for key in &keys {
        let reply = client.command(&["GET", key]);
        match shard_of(key) {
            1 => assert!(reply.is_error(), "{key}: {reply}"),
            _ => assert_eq!(reply, Reply::bulk(key), "{key}"),
        }
    }
    assert!(client.line("DBSIZE").is_error(), "not the number of the others");
    assert!(client.command(&["SET", &keys_of(1, 1)[0], "elsewhere"]).is_error());
    let before: Vec<i64> = [0, 2].map(|shard: usize| nodes[shard].command(&["DBSIZE"]).int()).to_vec();
    nodes[1].restart();
    eventually("it is served again", || {
        let reply = client.command(&["SET", &keys_of(1, 1)[0], "here"]);
        check(reply == Reply::ok(), reply)
    });
    let after: Vec<i64> = [0, 2].map(|shard: usize| nodes[shard].command(&["DBSIZE"]).int()).to_vec();
    assert_eq!(before, after, "nothing went there meanwhile");
}

// A shard that was never there is not left out either.
#[test]
fn t91_a_shard_that_is_not_known_yet_is_an_error_and_no_gap() {
    let (there, mut late) = (RedisServer::standalone(), RedisServer::standalone());
    late.kill();
    let lines = [
        "fixed:",
        "  shards:",
        &format!("    - seeds: [\"{}\"]", there.address()),
        &format!("    - seeds: [\"{}\"]", late.address()),
    ];
    let pointsman = Setup::other(&lines)
        .allow(LOST)
        .allow(&["primary"])
        .with(|setup| setup.request_timeout_ms = 300)
        .start_unready();
    let mut client = pointsman.client();
    eventually("the first shard is served", || {
        let reply = client.line("SET {a}1 v");
        let other = client.line("SET {b}1 v");
        // One of these two is in each half.
        check(reply.is_error() != other.is_error(), (reply, other))
    });
    assert!(client.line("DBSIZE").is_error_of("CLUSTERDOWN"));
    assert!(client.line("FLUSHALL").is_error_of("CLUSTERDOWN"));
    assert!(client.line("KEYS *").is_error_of("CLUSTERDOWN"));
    late.restart();
    pointsman.wait_until_ready();
    assert_eq!(client.line("DBSIZE"), Reply::number(1));
}

#[test]
fn t69_scan_walks_the_shards_in_their_order() {
    let (mut nodes, pointsman) = start(|setup| setup.request_timeout_ms = 300);
    let mut client = pointsman.client();
    let keys: HashSet<String> = fill(&mut client, 500).into_iter().collect();
    let (mut cursor, mut found, mut disturbed) = (String::from("0"), HashSet::new(), false);
    loop {
        let reply = client.command(&["SCAN", &cursor, "COUNT", "20"]);
        if reply.is_error() {
            // The shard whose turn it is does not answer: the same call again, later.
            nodes[2].thaw();
            continue;
        }
        let parts = reply.elements();
        found.extend(parts[1].elements().iter().map(Reply::text));
        cursor = parts[0].text();
        if found.len() > 250 && !disturbed {
            disturbed = true;
            nodes[2].freeze();
        }
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(found, keys);
    nodes[0].kill();
    assert!(client.line("SCAN 0").is_error());
}

#[test]
fn messages_are_heard_wherever_they_are_published() {
    let (nodes, pointsman) = start(|_| ());
    let (mut subscriber, mut client) = (pointsman.client(), pointsman.client());
    for name in ["a", "b", "c", "news"] {
        subscriber.command(&["SUBSCRIBE", name]);
    }
    for name in ["a", "b", "c", "news"] {
        client.command(&["PUBLISH", name, "hello"]);
        assert_eq!(subscriber.read().elements()[1], Reply::bulk(name));
    }
    for node in &nodes {
        node.command(&["CONFIG", "SET", "notify-keyspace-events", "KEA"]);
    }
    let mut events = pointsman.client();
    events.line("PSUBSCRIBE __keyspace@5__:*");
    client.line("SELECT 5");
    for shard in 0..3 {
        let key = &keys_of(shard, 1)[0];
        client.command(&["SET", key, "v"]);
        assert_eq!(events.read().elements()[2], Reply::bulk(format!("__keyspace@5__:{key}")));
    }
    client.line("SELECT 4");
    client.line("SET other v");
    assert!(events.is_silent_for(Duration::from_millis(50)), "another database");
}

/// Where twemproxy puts them: names and weights as in its file, see `route/continuum.rs` for its rule.
#[test]
fn t91_a_ring_of_points_divides_the_keys() {
    let nodes: Vec<RedisServer> = (0..3).map(|_| RedisServer::standalone()).collect();
    let mut lines =
        ["fixed:", "  distribution: ketama", "  hash: fnv1a_32", "  hash_tag: \"<>\"", "  shards:"]
            .map(str::to_owned)
            .to_vec();
    for (node, (name, weight)) in nodes.iter().zip([("alpha", 1), ("beta", 2), ("gamma", 3)]) {
        let seeds = node.address();
        lines.push(format!("    - {{ seeds: [\"{seeds}\"], name: {name}, weight: {weight} }}"));
    }
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let pointsman = Setup::other(&lines).start();
    let mut client = pointsman.client();
    let keys = fill(&mut client, 28);
    // Asked of twemproxy 0.5.0.
    let there = "2202221100111221212022222222".bytes().map(|server| usize::from(server - b'0'));
    for (key, server) in keys.iter().zip(there) {
        assert_eq!(nodes[server].command(&["GET", key]), Reply::bulk(key), "{key}");
    }
    let (mut cursor, mut found) = (String::from("0"), HashSet::new());
    loop {
        let parts = client.command(&["SCAN", &cursor]).elements();
        found.extend(parts[1].elements().iter().map(Reply::text));
        cursor = parts[0].text();
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(found.len(), 28);
    assert_eq!(client.command(&["MSETNX", "a<t>", "1", "b<t>", "2"]), Reply::number(1));
    assert!(client.command(&["SUNIONSTORE", &keys[0], &keys[2], "elsewhere"]).is_error_of("CROSSSLOT"));
    // Messages and shard channels do not care for the ring.
    let mut subscriber = pointsman.client();
    subscriber.line("SSUBSCRIBE shard-channel");
    assert_eq!(client.line("SPUBLISH shard-channel hello"), Reply::number(1));
    assert_eq!(subscriber.read().elements()[2], Reply::bulk("hello"));
}
