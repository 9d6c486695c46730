//! T69-T71: SCAN over shards tells every key that is there the whole time, whatever slots and primaries
//! do in between; RANDOMKEY and DBSIZE count all shards.

use pointsman_integration::client::words;
use pointsman_integration::eventually::{check, eventually, within};
use pointsman_integration::mover::{during, slots_of};
use pointsman_integration::{Client, Cluster, Fake, Pointsman, Random, RedisServer, Reply, Setup};
use pointsman_protocol::Slot;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// Numbers up to here are exact in every client.
const LIMIT: u64 = 1 << 53;
/// An iteration of these tests that takes more calls than this does not end.
const CALLS_MAX: usize = 100_000;

/// One call: the next cursor and the keys.
#[track_caller]
fn step(client: &mut Client, cursor: u64, options: &[&str]) -> (u64, Vec<String>) {
    let reply = try_step(client, cursor, options);
    reply.unwrap_or_else(|error| panic!("SCAN {cursor} {options:?}: {error}"))
}

fn try_step(client: &mut Client, cursor: u64, options: &[&str]) -> Result<(u64, Vec<String>), Reply> {
    let cursor = cursor.to_string();
    let mut request = vec!["SCAN", &cursor];
    request.extend(options);
    let reply = client.command(&request);
    if reply.is_error() {
        return Err(reply);
    }
    let elements = reply.elements();
    let next = elements[0].text().parse().expect("a cursor is a number");
    assert!(next < LIMIT, "{next}");
    Ok((next, elements[1].elements().iter().map(Reply::text).collect()))
}

/// What is told from `cursor` to the end: each key with how often.
#[track_caller]
fn rest(client: &mut Client, mut cursor: u64, options: &[&str]) -> HashMap<String, usize> {
    let mut told = HashMap::new();
    for _ in 0..CALLS_MAX {
        let (next, keys) = step(client, cursor, options);
        keys.into_iter().for_each(|key| *told.entry(key).or_insert(0) += 1);
        if next == 0 {
            return told;
        }
        cursor = next;
    }
    panic!("SCAN {options:?} does not end");
}

fn fill(pointsman: &Pointsman, keys: &[String]) {
    let requests: Vec<_> = keys.iter().map(|key| words(&["SET", key, "v"])).collect();
    assert!(pointsman.client().pipeline(&requests).iter().all(|reply| !reply.is_error()));
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("scan:{n}")).collect()
}

#[track_caller]
fn assert_all(told: &HashMap<String, usize>, keys: &[String]) {
    let missing: Vec<_> = keys.iter().filter(|key| !told.contains_key(*key)).collect();
    assert!(missing.is_empty(), "{} of {} keys are missing: {missing:?}", missing.len(), keys.len());
}

#[test]
fn t69_every_key_with_options_in_a_quiet_cluster() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut client = pointsman.client();
    assert_eq!(client.line("RANDOMKEY"), Reply::null());
    assert_eq!(rest(&mut client, 0, &[]), HashMap::new(), "an empty store has an end, too");
    let keys = numbered(3000);
    fill(&pointsman, &keys);
    for n in 0..20 {
        client.line(&format!("SADD set:{n} m"));
    }
    assert_eq!(client.line("DBSIZE"), Reply::number(3020));
    for options in [&[][..], &["COUNT", "500"], &["COUNT", "1000000"]] {
        let told = rest(&mut client, 0, options);
        assert_all(&told, &keys);
        assert_eq!(told.len(), 3020);
    }
    let told = rest(&mut client, 0, &["COUNT", "1000000"]);
    assert!(told.values().all(|times| *times == 1), "nothing twice while nothing moves");
    let told = rest(&mut client, 0, &["MATCH", "scan:1[0-4]?", "COUNT", "100"]);
    assert_eq!(told.len(), 50);
    let told = rest(&mut client, 0, &["TYPE", "set", "COUNT", "100"]);
    assert!(told.len() == 20 && told.keys().all(|key| key.starts_with("set:")), "{told:?}");

    // Each call may come by another connection.
    let (mut cursor, mut told) = (0, HashSet::new());
    loop {
        let (next, keys) = step(&mut pointsman.client(), cursor, &["COUNT", "300"]);
        told.extend(keys);
        cursor = next;
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(told.len(), 3020);

    // RESP3 has the same form.
    client.line("HELLO 3");
    assert_all(&rest(&mut client, 0, &["COUNT", "1000"]), &keys);
}

// T71: whatever shard the keys lie on.
#[test]
fn t71_random_keys_of_all_shards_by_their_size() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut client = pointsman.client();
    client.line("SET lonely v");
    for _ in 0..20 {
        assert_eq!(client.line("RANDOMKEY"), Reply::bulk("lonely"), "never nil");
    }
    let requests: Vec<_> = (0..99).map(|n| words(&["SET", &format!("{{other}}{n}"), "v"])).collect();
    assert_ne!(cluster.primary_of("lonely"), cluster.primary_of("{other}1"), "two shards");
    client.pipeline(&requests);
    let lonely = (0..400).filter(|_| client.line("RANDOMKEY") == Reply::bulk("lonely")).count();
    assert!(lonely < 40, "a hundredth is expected, {lonely} of 400 were told");
}

#[test]
fn t69_what_is_no_cursor_or_no_option_is_refused_in_redis_words() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let server = RedisServer::standalone();
    let (mut proxied, mut alone) = (pointsman.client(), server.client());
    for line in [
        "SCAN",
        "SCAN x",
        "SCAN 18446744073709551616",
        "SCAN 0 COUNT 0",
        "SCAN 0 COUNT x",
        "SCAN 0 COUNT",
        "SCAN 0 NOPE",
        "SCAN 0 NOPE 1",
    ] {
        assert_eq!(proxied.line(line), alone.line(line), "{line}");
    }
    for line in ["SCAN 1", "SCAN 9007199254740992", "SCAN 18446744073709551615"] {
        assert_eq!(proxied.line(line).error(), "ERR invalid cursor", "{line}");
    }
}

// T70: a cursor means nothing to another copy of the key.
#[test]
fn t70_iterations_stay_with_the_primary() {
    let fake = Fake::start(1, 2);
    let primary = fake.primary(0);
    let pointsman = Setup::cluster(fake.addresses()).with(|setup| setup.reads = "prefer_replica").start();
    let mut client = pointsman.client();
    client.line("SET k v");
    eventually("replicas are read", || {
        client.line("GET k");
        let read = fake.received(|received| received.is("GET") && received.node != primary);
        check(!read.is_empty(), "none was")
    });
    for line in ["HSCAN k 0", "SSCAN k 0", "ZSCAN k 0", "SCAN 0"] {
        (0..4).for_each(|_| drop(client.line(line)));
        let name = line.split(' ').next().expect("a name");
        let asked = fake.received(|received| received.is(name));
        assert_eq!(asked.len(), 4, "{line}");
        assert!(asked.iter().all(|received| received.node == primary), "{line}: {asked:?}");
    }
}

/// The hardest cases, by hand: a slot goes from a shard that was not walked yet to one that was. The
/// proxy hears of it only by asking.
#[test]
fn t69_a_key_that_moves_behind_the_walk_is_told() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let keys = numbered(600);
    fill(&pointsman, &keys);
    let mut client = pointsman.client();
    for (whole, options) in [
        (true, vec!["COUNT", "100000"]),
        (false, vec!["COUNT", "100000"]),
        (true, vec!["COUNT", "100000", "MATCH", "scan:*", "TYPE", "string"]),
        (false, vec!["COUNT", "100000", "TYPE", "string"]),
    ] {
        let (cursor, first) = step(&mut client, 0, &options);
        let walked = cluster.primary_of(&first[0]);
        let missed = keys.iter().find(|key| !first.contains(key)).expect("other shards have keys");
        let slot = Slot::of(missed.as_bytes());
        let mut half = None;
        if whole {
            cluster.move_slot(slot, walked);
        } else {
            let mut step = cluster.begin_move(slot, walked);
            while step.move_keys(100) > 0 {}
            half = Some(step);
        }
        let mut told = rest(&mut client, cursor, &options);
        first.into_iter().for_each(|key| *told.entry(key).or_insert(0) += 1);
        assert_all(&told, &keys);
        if let Some(step) = half {
            step.finish();
        }
        cluster.wait_until_primaries_agree();
        assert_eq!(rest(&mut client, 0, &["TYPE", "list"]), HashMap::new());
    }
}

#[test]
fn t69_every_key_while_slots_move_back_and_forth() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses())
        .with(|setup| {
            setup.workers = 2;
            setup.request_timeout_ms = 20_000;
        })
        .start();
    let keys = numbered(2000);
    fill(&pointsman, &keys);
    during(&cluster, &slots_of(&keys[..60]), Random::for_test(69), |moves| {
        let mut client = pointsman.client();
        let mut scans = 0;
        while moves.done() < 60 || scans < 8 {
            let options = [
                &["COUNT", "50"][..],
                &["COUNT", "200", "MATCH", "scan:*"],
                &["COUNT", "20"],
                &["COUNT", "100", "TYPE", "string"],
            ][scans % 4];
            assert_all(&rest(&mut client, 0, options), &keys);
            scans += 1;
        }
        println!("{scans} iterations over {} moves", moves.done());
    });
}

#[test]
fn t69_every_key_while_a_primary_fails_over() {
    let mut cluster = Cluster::start_with(3, 1, &["--cluster-node-timeout", "1500"]);
    let pointsman = Setup::cluster(cluster.addresses())
        .with(|setup| setup.request_timeout_ms = 500)
        .allow(&["lost", "closed", "connect", "refused", "reset", "refresh", "topology", "time", "node"])
        .start();
    let keys = numbered(2000);
    fill(&pointsman, &keys);
    within(Duration::from_secs(20), "the replicas have the keys", || {
        let behind = cluster.primaries().into_iter().find(|primary| {
            let size = cluster.node(*primary).command(&["DBSIZE"]);
            cluster
                .replicas_of(*primary)
                .iter()
                .any(|replica| cluster.node(*replica).command(&["DBSIZE"]) != size)
        });
        behind.map_or(Ok(()), Err)
    });
    let mut client = pointsman.client();
    for (calls, options) in [(1, vec!["COUNT", "100000"]), (9, vec!["COUNT", "100"])] {
        let (mut cursor, mut told, mut walked) = (0, HashMap::new(), 0);
        for _ in 0..calls {
            let (next, keys) = step(&mut client, cursor, &options);
            walked = cluster.primary_of(&keys[0]);
            keys.into_iter().for_each(|key| *told.entry(key).or_insert(0) += 1);
            cursor = next;
        }
        // One that was walked whole in the first turn, and one in the middle of its walk in the second:
        // the replica that takes over has the same keys in another order.
        cluster.node_mut(walked).kill();
        let began = std::time::Instant::now();
        while cursor != 0 {
            match try_step(&mut client, cursor, &options) {
                Ok((next, keys)) => {
                    keys.into_iter().for_each(|key| *told.entry(key).or_insert(0) += 1);
                    cursor = next;
                }
                // The same cursor is good for another try.
                Err(reply) => {
                    let text = reply.error();
                    assert!(!text.contains("cursor") && !text.contains("type"), "{text}");
                    assert!(began.elapsed() < Duration::from_secs(60), "{text}");
                }
            }
        }
        assert_all(&told, &keys);
        cluster.node_mut(walked).restart();
        cluster.wait_until_agreed();
    }
}

#[test]
fn t69_bundled_nodes_are_walked_too() {
    for shards in [1, 3, 8] {
        let pointsman = Setup::embedded(shards, 0).start();
        let keys = numbered(20_000);
        fill(&pointsman, &keys);
        // A slot that outgrew its first segment.
        let tagged: Vec<String> = (0..3000).map(|n| format!("{{tag}}{n}")).collect();
        fill(&pointsman, &tagged);
        let mut client = pointsman.client();
        for options in [&["COUNT", "1000"][..], &["COUNT", "200", "MATCH", "*"]] {
            let told = rest(&mut client, 0, options);
            assert_all(&told, &keys);
            assert_all(&told, &tagged);
            assert_eq!(told.len(), 23_000);
        }
        assert_eq!(rest(&mut client, 0, &["MATCH", "scan:77", "COUNT", "5000"]).len(), 1);
        assert!(!client.line("RANDOMKEY").is_null());
    }
}
