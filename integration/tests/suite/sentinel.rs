//! T90: groups that sentinels watch. What they say is followed as soon as they say it, the newest first,
//! and never without the node's own word.

use pointsman_integration::client::words;
use pointsman_integration::counting::{Told, count_until};
use pointsman_integration::eventually::{StopOnDrop, check, eventually, throughout, within};
use pointsman_integration::fake::{Act, Rule};
use pointsman_integration::logs::LOST;
use pointsman_integration::{Fake, Pointsman, RedisServer, Reply, Sentinel, Setup};
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

/// Sentinels vote with some chance in it, and vote again.
const FAILOVER: Duration = Duration::from_secs(60);

fn setup(sentinels: &[String], groups: &[&str]) -> Setup {
    let sentinels = format!("  sentinels: {sentinels:?}");
    let groups = format!("  groups: {groups:?}");
    Setup::other(&["sentinel:", &sentinels, &groups]).allow(LOST).allow(&["primary", "sentinel"]).with(
        |setup| {
            setup.request_timeout_ms = 30_000;
            setup.stall_timeout_ms = 40_000;
            setup.attempts_max = 100;
        },
    )
}

fn addresses(sentinels: &[Sentinel]) -> Vec<String> {
    sentinels.iter().map(Sentinel::address).collect()
}

/// A primary with `replicas` and its sentinels.
fn group(replicas: usize) -> (Vec<RedisServer>, Vec<Sentinel>) {
    let mut nodes = vec![RedisServer::standalone()];
    for _ in 0..replicas {
        nodes.push(RedisServer::replica_of(&nodes[0], &[]));
    }
    let sentinels = Sentinel::start(3, &[("ours", &nodes[0], replicas)], &[]);
    (nodes, sentinels)
}

fn primary_of(pointsman: &Pointsman, shard: usize) -> String {
    pointsman.topology()["shards"][shard]["primary"]["address"].as_str().unwrap_or_default().to_owned()
}

/// Asks a sentinel for a failover, until it has heard enough of a replica to promote it.
fn fail_over(sentinel: &Sentinel, group: &str) {
    within(FAILOVER, "the failover begins", || {
        let reply = sentinel.command(&["SENTINEL", "FAILOVER", group]);
        check(reply == Reply::ok(), reply)
    });
}

fn incremented(server: &RedisServer) -> String {
    server
        .info("commandstats", "cmdstat_incr")
        .unwrap_or_default()
        .split(',')
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn t90_a_killed_primary_under_load_and_a_sentinel_with_it() {
    let (mut nodes, mut sentinels) = group(2);
    // A replica that is linked again announces nothing: the next round finds it.
    let pointsman =
        setup(&addresses(&sentinels), &["ours"]).with(|setup| setup.refresh_interval_ms = 1_000).start();
    let old = nodes[0].address();
    let stop = AtomicBool::new(false);
    let told: Told = thread::scope(|scope| {
        let counting = scope.spawn(|| count_until(&stop, &mut pointsman.client(), "counter"));
        {
            let _stop = StopOnDrop(&stop);
            eventually("it counts", || {
                let count = incremented(&nodes[0]);
                check(!count.is_empty(), count)
            });
            sentinels[0].kill();
            nodes[0].kill();
            within(FAILOVER, "another primary is used", || {
                let primary = primary_of(&pointsman, 0);
                check(primary != old && !primary.is_empty(), primary)
            });
        }
        counting.join().expect("it counts")
    });
    let value: i64 = pointsman.client().command(&["GET", "counter"]).text().parse().expect("a number");
    // A primary replicates behind its answers: the last one before the kill may be lost with it.
    assert!(told.allows(value) || told.allows(value + 1), "{value}: {told:?}");

    // The old one comes back, as a primary, without data: nobody is fooled.
    let mut client = pointsman.client();
    client.line("SET k new");
    nodes[0].restart();
    throughout(Duration::from_millis(500), "the new one is used", || {
        let reply = client.line("GET k");
        check(reply == Reply::bulk("new"), reply)
    });
    within(FAILOVER, "it is made a replica, and known as such", || {
        let topology = pointsman.topology();
        check(topology["shards"][0]["replicas"].to_string().contains(&old), topology)
    });
    assert_eq!(client.line("GET k"), Reply::bulk("new"));
}

#[test]
fn t90_a_switch_is_heard_at_once() {
    let (nodes, sentinels) = group(1);
    // The rounds alone would take a minute.
    let pointsman = setup(&addresses(&sentinels), &["ours"]).start();
    let mut client = pointsman.client();
    client.line("INCR k");
    assert_eq!(primary_of(&pointsman, 0), nodes[0].address());
    fail_over(&sentinels[0], "ours");
    within(FAILOVER, "the new primary is used", || {
        let primary = primary_of(&pointsman, 0);
        check(primary == nodes[1].address(), primary)
    });
    // The old one would still take writes: Redis demotes it only some seconds later.
    let before = incremented(&nodes[0]);
    for _ in 0..20 {
        assert!(!client.line("INCR k").is_error());
    }
    assert_eq!(incremented(&nodes[0]), before);
    assert!(incremented(&nodes[1]).starts_with("calls=2"), "20 and what was replicated");
    assert_eq!(pointsman.topology()["epoch"].as_u64(), Some(2));
}

/// A fake sentinel that says this.
fn saying(primary: &RedisServer, epoch: u64) -> Fake {
    let fake = Fake::start(1, 0);
    let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
    let port = primary.port().to_string();
    let fields = ["name", "ours", "ip", "127.0.0.1", "port", &port, "config-epoch", &epoch.to_string()]
        .map(bulk)
        .concat();
    for (name, answer) in [
        ("SENTINEL GET-MASTER-ADDR-BY-NAME", format!("*2\r\n{}{}", bulk("127.0.0.1"), bulk(&port))),
        ("SENTINEL MASTER", format!("*8\r\n{fields}")),
        ("SENTINEL REPLICAS", "*0\r\n".to_owned()),
    ] {
        fake.rule(Rule::on(name, Act::Answer(answer.into_bytes())));
    }
    fake
}

#[test]
fn t90_a_sentinel_with_an_old_view_is_outvoted_and_never_believed_later() {
    let (old, new) = (RedisServer::standalone(), RedisServer::standalone());
    let (stale, fresh) = (saying(&old, 1), [saying(&new, 2), saying(&new, 2)]);
    let sentinels = [stale.address(0), fresh[0].address(0), fresh[1].address(0)];
    let pointsman = setup(&sentinels, &["ours"]).with(|setup| setup.refresh_interval_ms = 100).start();
    let mut client = pointsman.client();
    assert_eq!(client.line("SET k v"), Reply::ok());
    assert_eq!(new.command(&["GET", "k"]), Reply::bulk("v"));
    // Now the stale one is the only one to answer, and the node that it names says that it is a primary.
    fresh.iter().for_each(|fake| fake.take_down(0));
    eventually("that is noticed", || {
        let log = pointsman.log();
        check(log.iter().any(|line| line.contains("was heard already")), log)
    });
    new.command(&["CLIENT", "KILL", "TYPE", "normal"]);
    throughout(Duration::from_millis(300), "the new one is used", || {
        let reply = client.line("GET k");
        check(reply == Reply::bulk("v"), reply)
    });
    assert!(old.command(&["GET", "k"]).is_null());
}

#[test]
fn t90_a_node_that_says_that_it_is_a_replica_is_not_used() {
    let primary = RedisServer::standalone();
    let replica = RedisServer::replica_of(&primary, &[]);
    let sentinel = saying(&replica, 1);
    let pointsman = setup(&[sentinel.address(0)], &["ours"])
        .with(|setup| setup.refresh_interval_ms = 100)
        .start_unready();
    eventually("it is told why", || {
        let log = pointsman.log();
        check(log.iter().any(|line| line.contains("which says that it is a replica")), log)
    });
    assert_eq!(pointsman.get("/ready").status, 503);
    // Once it is promoted indeed it is used.
    replica.follow(None);
    pointsman.wait_until_ready();
    assert_eq!(pointsman.client().line("SET k v"), Reply::ok());
}

#[test]
fn several_groups_share_the_keys() {
    let primaries = [RedisServer::standalone(), RedisServer::standalone()];
    let replica = RedisServer::replica_of(&primaries[1], &[]);
    let sentinels = Sentinel::start(1, &[("one", &primaries[0], 0), ("two", &primaries[1], 1)], &[]);
    let pointsman = setup(&addresses(&sentinels), &["one", "two"]).start();
    let mut client = pointsman.client();
    let mset: Vec<String> =
        (0..200).flat_map(|number| [format!("key:{number}"), number.to_string()]).collect();
    let mut words_of = words(&["MSET"]);
    words_of.extend(mset.iter().map(|word| word.clone().into_bytes()));
    assert_eq!(client.command(&words_of), Reply::ok());
    assert_eq!(client.line("DBSIZE"), Reply::number(200));
    let sizes = [&primaries[0], &primaries[1]].map(|server| server.command(&["DBSIZE"]).int());
    assert_eq!(sizes.iter().sum::<i64>(), 200);
    assert!(sizes.iter().all(|size| *size > 50), "{sizes:?}");
    // A failover of one group leaves the other alone.
    eventually("the replica has all", || {
        let size = replica.command(&["DBSIZE"]);
        check(size == Reply::number(sizes[1]), size)
    });
    fail_over(&sentinels[0], "two");
    within(FAILOVER, "the new primary is used", || {
        let topology = pointsman.topology();
        let shards = topology["shards"].as_array().cloned().unwrap_or_default();
        let mut used = shards.iter().map(|shard| shard["primary"]["address"].as_str().unwrap_or_default());
        check(used.any(|address| address == replica.address()), topology)
    });
    for number in 0..200 {
        assert_eq!(client.command(&["GET", &format!("key:{number}")]), Reply::bulk(number.to_string()));
    }
}

#[test]
fn sentinels_and_nodes_may_want_passwords_of_their_own() {
    let primary = RedisServer::with_options(&["--requirepass", "node-secret"]);
    let options = ["requirepass sentinel-secret", "sentinel auth-pass ours node-secret"];
    let port = primary.port();
    let sentinel = Sentinel::launch(1, &[("ours", &primary, 0)], &options);
    let lines = [
        "sentinel:".to_owned(),
        format!("  sentinels: [\"{}\"]", sentinel.address()),
        "  groups: [ours]".to_owned(),
        "  password: node-secret".to_owned(),
        "  login: { password: sentinel-secret }".to_owned(),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let pointsman = Setup::other(&lines).allow(LOST).allow(&["primary", "sentinel"]).start();
    assert_eq!(pointsman.client().line("SET k v"), Reply::ok());
    assert!(primary_of(&pointsman, 0).ends_with(&format!(":{port}")));
}
