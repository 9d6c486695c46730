//! T16, T18, T56, T64, T68: what one client or one shard does is not felt by others, and clients are shared
//! out evenly.

use pointsman_integration::client::words;
use pointsman_integration::eventually::{StopOnDrop, check, eventually};
use pointsman_integration::fake::key_on;
use pointsman_integration::{Client, Cluster, Fake, Reply, Setup};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Each worker has its own connections to the nodes, so that these tell how many workers have clients.
#[test]
fn t18_sixteen_clients_are_shared_out_evenly_over_four_workers() {
    let fake = Fake::start(1, 0);
    let pointsman = Setup::cluster(fake.addresses()).with(|setup| setup.workers = 4).start();
    let mut clients: Vec<Client> = (0..16).map(|_| pointsman.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.command(&["SET", &format!("k{number}"), "v"]), Reply::ok());
    }
    let received = fake.received(|received| received.is("SET"));
    let mut counts: Vec<usize> = Vec::new();
    let mut connections: Vec<u64> = received.iter().map(|received| received.connection).collect();
    connections.sort();
    for chunk in connections.chunk_by(|one, other| one == other) {
        counts.push(chunk.len());
    }
    assert_eq!(counts, [4, 4, 4, 4]);
    // Those who come take the places of those who left.
    clients.drain(0..8);
    eventually("they have left", || {
        let connected = pointsman.metrics().sum("pointsman_client_connections", &[]);
        check(connected == 8.0, connected)
    });
    fake.change(|world| world.forget_received());
    clients.extend((0..8).map(|_| pointsman.client()));
    for client in &mut clients {
        client.command(&["SET", "k", "v"]);
    }
    let mut connections: Vec<u64> =
        fake.received(|received| received.is("SET")).iter().map(|received| received.connection).collect();
    connections.sort();
    let counts: Vec<usize> = connections.chunk_by(|one, other| one == other).map(<[u64]>::len).collect();
    assert_eq!(counts, [4, 4, 4, 4]);
}

/// A frozen shard: who pipelines to it and to another gets its errors at the deadline, however many requests
/// wait; who needs only the other notices nothing.
#[test]
fn t16_a_frozen_shard_is_felt_at_its_deadline_once_and_by_nobody_else() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses())
        .with(|setup| {
            setup.request_timeout_ms = 2000;
            setup.stall_timeout_ms = 4000;
        })
        .allow(&["time", "stopped", "lost", "connect", "reach", "refresh"])
        .start();
    let keys: Vec<String> = (0..3).map(|shard| key_on(shard, 3, "t16", 0)).collect();
    let mut client = pointsman.client();
    for key in &keys {
        assert_eq!(client.command(&["SET", key, "v"]), Reply::ok());
    }
    let frozen = cluster.primary_of(&keys[0]);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let elsewhere = scope.spawn(|| {
            let mut client = pointsman.client();
            let mut longest = Duration::ZERO;
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                assert_eq!(client.command(&["GET", &keys[1]]), Reply::bulk("v"));
                longest = longest.max(began.elapsed());
            }
            longest
        });
        let stopping = StopOnDrop(&stop);
        cluster.node(frozen).freeze();
        for _ in 0..2 {
            let began = Instant::now();
            let requests: Vec<_> =
                (0..200).flat_map(|_| [words(&["GET", &keys[0]]), words(&["GET", &keys[1]])]).collect();
            let replies = client.pipeline(&requests);
            let took = began.elapsed();
            for pair in replies.chunks(2) {
                assert!(pair[0].is_error_of("ERR"), "{}", pair[0]);
                assert_eq!(pair[1], Reply::bulk("v"));
            }
            assert!(took < Duration::from_secs(10), "deadlines do not add up: {took:?}");
        }
        drop(stopping);
        let longest = elsewhere.join().expect("its answers were right");
        assert!(longest < Duration::from_millis(1500), "it waited for {longest:?}, which is another shard's");
        cluster.node(frozen).thaw();
    });
}

/// An element that comes at the very moment at which a client begins to wait is not missed.
#[test]
fn t56_no_wake_up_is_lost_when_an_element_comes_as_one_begins_to_wait() {
    const ROUNDS: usize = 300;
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses()).with(|setup| setup.workers = 2).start();
    // Who pushes is told of each round at the moment at which the other begins to wait.
    let (begins, rounds) = mpsc::channel();
    thread::scope(|scope| {
        let mut pushing = pointsman.client();
        scope.spawn(move || {
            for round in rounds {
                let round: usize = round;
                assert_eq!(pushing.command(&["RPUSH", "t56", &round.to_string()]), Reply::number(1));
            }
        });
        let mut waiting = pointsman.client();
        for round in 1..=ROUNDS {
            begins.send(round).expect("the other side pushes");
            let reply = waiting.command(&["BLPOP", "t56", "15"]);
            assert_eq!(reply.elements()[1], Reply::bulk(round.to_string()), "round {round}");
            let length = waiting.command(&["LLEN", "t56"]);
            assert_eq!(length, Reply::number(0), "round {round}");
            // The push is answered before the next round begins, or this key would hold two.
        }
        drop(begins);
    });
}

/// `$` means the end of the stream when the command comes: whatever comes later is told.
#[test]
fn t56_a_stream_is_read_from_the_moment_of_the_request() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let (mut waiting, mut adding) = (pointsman.client(), pointsman.client());
    adding.line("XADD t56s 1-1 f old");
    for round in 2..20 {
        waiting.send(&["XREAD", "BLOCK", "0", "STREAMS", "t56s", "$"]);
        eventually("it waits at its node", || {
            let node = cluster.node(cluster.primary_of("t56s"));
            let blocked = node.info("clients", "blocked_clients").expect("it is told");
            check(blocked == "1", blocked)
        });
        let id = format!("{round}-1");
        adding.command(&["XADD", "t56s", &id, "f", "new"]);
        let told = waiting.read();
        assert!(told.to_string().contains(&id) && !told.to_string().contains("old"), "{told}");
    }
}

/// The node that ordinary channels stand at becomes a replica by an orderly failover: what is published goes on,
/// nothing comes twice or out of order, and no client hears of it.
#[test]
fn t64_a_planned_failover_of_the_channels_home_brings_nothing_twice() {
    let cluster = Cluster::start(3, 1);
    // PUBLISH is not redirected: only the map tells that a node is a replica now.
    let pointsman = Setup::cluster(cluster.addresses())
        .with(|setup| setup.refresh_interval_ms = 200)
        .allow(&["lost", "closed", "connect", "refused", "subscri", "reset", "reach"])
        .start();
    let [mut subscriber, mut publisher] = [pointsman.client(), pointsman.client()];
    subscriber.line("SUBSCRIBE planned");
    // Where it stands.
    let home = *cluster
        .primaries()
        .iter()
        .find(|node| {
            let told = cluster.node(**node).command(&["PUBSUB", "NUMSUB", "planned"]);
            told.elements()[1] == Reply::number(1)
        })
        .expect("one primary has the subscription");
    let replica = cluster.replicas_of(home)[0];
    let (mut published, mut last, mut heard) = (0_u64, 0_u64, 0_u64);
    let mut round = |count: u64, last: &mut u64, heard: &mut u64| {
        for _ in 0..count {
            published += 1;
            let reply = publisher.command(&["PUBLISH", "planned", &published.to_string()]);
            assert!(!reply.is_error(), "{reply}");
        }
        let span = Duration::from_millis(30);
        subscriber.stream().set_read_timeout(Some(span)).expect("a timeout can be set");
        while let Ok(message) = subscriber.try_read() {
            let number: u64 = message.elements()[2].text().parse().expect("a number was published");
            assert!(number > *last, "{number} after {last}");
            *last = number;
            *heard += 1;
        }
        (published, *last)
    };
    round(50, &mut last, &mut heard);
    eventually("all of them are heard while nothing changes", || {
        round(0, &mut last, &mut heard);
        check((last, heard) == (50, 50), (last, heard))
    });
    assert_eq!(cluster.node(replica).command(&["CLUSTER", "FAILOVER"]), Reply::ok());
    eventually("the other one is primary", || {
        round(5, &mut last, &mut heard);
        let role = cluster.node(replica).info("replication", "role").expect("it is told");
        check(role == "master", role)
    });
    eventually("the channel stands at a primary, and its messages are heard", || {
        let (published, last) = round(5, &mut last, &mut heard);
        let primaries = cluster.primaries();
        let stands = primaries.iter().any(|node| {
            let told = cluster.node(*node).command(&["PUBSUB", "NUMSUB", "planned"]);
            told.elements()[1] == Reply::number(1)
        });
        check(stands && last == published && !primaries.contains(&home), (stands, last, published, primaries))
    });
    let before = heard;
    round(50, &mut last, &mut heard);
    // What travels over the cluster bus may take its time.
    eventually("and from then on all of them", || {
        round(0, &mut last, &mut heard);
        check(heard == before + 50, (before, heard))
    });
}
