//! T05 to T08 and T86: redirects and refusals are healed where they can be, in order, and never
//! reach the client; what cannot be healed becomes an honest error, and what is an answer passes.

use pointsman_integration::client::words;
use pointsman_integration::eventually::{StopOnDrop, check, eventually};
use pointsman_integration::fake::{Act, Received, Rule, key_on};
use pointsman_integration::{Client, Cluster, Fake, Pointsman, Reply, Setup};
use pointsman_protocol::Slot;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Fails unless every ASKING is followed, on its connection, by the one request it was meant for.
fn check_asking(received: &[Received], node: usize) {
    let mut connections: Vec<u64> = received.iter().map(|received| received.connection).collect();
    connections.sort();
    connections.dedup();
    for connection in connections {
        let lines: Vec<&Received> =
            received.iter().filter(|received| received.connection == connection).collect();
        for pair in lines.windows(2) {
            let (asking, next) = (pair[0].is("ASKING"), pair[1]);
            assert!(!asking || !next.is("ASKING"), "node {node}: two ASKING in a row");
            assert!(!asking || next.executed, "node {node}: ASKING was wasted on {}", next.line());
        }
        assert!(
            !lines.last().expect("a connection has a request").is("ASKING"),
            "node {node}: ASKING at the end"
        );
    }
}

#[test]
fn t05_asking_stands_right_before_its_request_among_fifty_clients() {
    let fake = Fake::start(2, 0);
    let tag = key_on(0, 2, "t05", 0);
    let (there, gone) = (format!("{{{tag}}}there"), format!("{{{tag}}}gone"));
    let elsewhere = key_on(1, 2, "t05-elsewhere", 0);
    let pointsman = Setup::cluster(fake.addresses()).start();
    pointsman.client().command(&["MSET", &there, "0", &gone, "0"]);
    fake.change(|world| {
        world.begin_move(Slot::of(tag.as_bytes()), 1);
        world.move_key(gone.as_bytes(), 1);
    });
    thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| {
                let mut client = pointsman.client();
                for _ in 0..10 {
                    let requests = [
                        words(&["INCR", &there]),
                        words(&["INCR", &gone]),
                        words(&["INCR", &elsewhere]),
                        words(&["GET", &gone]),
                    ];
                    for reply in client.pipeline(&requests) {
                        assert!(!reply.is_error(), "{reply}");
                    }
                }
            });
        }
    });
    for key in [&there, &gone, &elsewhere] {
        assert_eq!(fake.change(|world| world.value(key)), Some("500".into()), "{key}");
    }
    let received = fake.received(|received| received.node == 1);
    check_asking(&received, 1);
    assert_eq!(
        received.iter().filter(|received| received.is("ASKING")).count(),
        1000,
        "one for each INCR and GET"
    );
    // ASK changes no map: the old owner is still asked first, each time.
    assert_eq!(fake.received(|received| received.node == 0 && received.has_key(&gone)).len(), 1000);
    let asked = pointsman.metrics().sum("pointsman_redirects_total", &["kind=\"ask\""]);
    assert_eq!(asked, 1000.0);
}

#[test]
fn t06_keys_on_both_sides_are_waited_for_however_many_redirects_it_takes() {
    let cluster = Cluster::start(3, 0);
    let pointsman =
        Setup::cluster(cluster.addresses()).with(|setup| setup.request_timeout_ms = 20_000).start();
    let mut client = pointsman.client();
    client.command(&["MSET", "{t06}a", "1", "{t06}b", "1"]);
    let from = cluster.primary_of("{t06}a");
    let mut step = cluster.begin_move(Slot::of(b"{t06}"), (from + 1) % 3);
    step.move_keys(1);
    thread::scope(|scope| {
        let transaction = scope.spawn(|| {
            let mut client = pointsman.client();
            let lines =
                [words(&["MULTI"]), words(&["INCR", "{t06}a"]), words(&["INCR", "{t06}b"]), words(&["EXEC"])];
            client.pipeline(&lines).pop()
        });
        // The old owner says ASK, for one key is gone; the new one TRYAGAIN, for the other is missing.
        eventually("more redirects than are followed at once", || {
            let asked = pointsman.metrics().sum("pointsman_redirects_total", &["kind=\"ask\""]);
            check(asked >= 12.0 && !transaction.is_finished(), asked)
        });
        step.move_keys(1);
        let reply = transaction.join().expect("it was answered").expect("four replies");
        assert_eq!(reply.to_string(), "\"*2\\r\\n:2\\r\\n:2\\r\\n\"", "while the slot is still on its way");
    });
    step.finish();
}

#[test]
fn t05_a_slot_in_migration_is_served_without_errors_by_a_real_cluster() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses()).with(|setup| setup.connections_per_node = 2).start();
    let keys: Vec<String> = (0..40).map(|n| format!("{{t05}}{n}")).collect();
    let pairs: Vec<_> = keys.iter().map(|key| words(&["SET", key, "0"])).collect();
    pointsman.client().pipeline(&pairs);
    let to = (cluster.primary_of("{t05}") + 1) % 3;
    let mut step = cluster.begin_move(Slot::of(b"{t05}"), to);
    assert_eq!(step.move_keys(20), 20);

    let stop = AtomicBool::new(false);
    let counted: Vec<u64> = thread::scope(|scope| {
        let clients: Vec<_> = (0..50)
            .map(|number| {
                let (stop, keys, pointsman) = (&stop, &keys, &pointsman);
                scope.spawn(move || {
                    let mut client = pointsman.client();
                    let mut rounds = 0;
                    while !stop.load(Ordering::Relaxed) || rounds == 0 {
                        let key = &keys[(number + rounds as usize) % keys.len()];
                        let new = format!("{{t05}}new:{number}:{rounds}");
                        let replies = client.pipeline(&[
                            words(&["INCR", key]),
                            words(&["SET", &new, "n"]),
                            words(&["GET", &new]),
                            words(&["GET", "t05-elsewhere"]),
                        ]);
                        assert!(!replies[0].is_error(), "{}", replies[0]);
                        assert_eq!(replies[1..], [Reply::ok(), Reply::bulk("n"), Reply::null()]);
                        rounds += 1;
                    }
                    rounds
                })
            })
            .collect();
        let stopping = StopOnDrop(&stop);
        while step.move_keys(1) > 0 {}
        step.finish();
        drop(stopping);
        clients.into_iter().map(|client| client.join().expect("the client's checks held")).collect()
    });
    let mut client = pointsman.client();
    let requests: Vec<_> = keys.iter().map(|key| words(&["GET", key])).collect();
    let sum: u64 = client.pipeline(&requests).iter().map(|reply| reply.text().parse::<u64>().unwrap()).sum();
    assert_eq!(sum, counted.iter().sum::<u64>(), "each INCR exactly once");
}

#[test]
fn t06_tryagain_is_waited_out() {
    let fake = Fake::start(2, 0);
    let tag = key_on(0, 2, "t06", 0);
    let (a, b) = (format!("{{{tag}}}a"), format!("{{{tag}}}b"));
    let pointsman = Setup::cluster(fake.addresses()).start();
    let mut client = pointsman.client();
    client.command(&["MSET", &a, "1", &b, "2"]);
    fake.change(|world| {
        world.begin_move(Slot::of(tag.as_bytes()), 1);
        world.move_key(a.as_bytes(), 1);
    });
    // Keys on both sides: nobody can serve this until the rest has moved.
    client.send_all(&[words(&["MGET", &a, &b]), words(&["SET", &a, "3"]), words(&["GET", &a])]);
    fake.wait_for("it has been tried again", 3, |received| received.is("MGET"));
    fake.move_slot(Slot::of(tag.as_bytes()), 1);
    assert_eq!(client.read().elements(), [Reply::bulk("1"), Reply::bulk("2")], "before the SET behind it");
    assert_eq!([client.read(), client.read()], [Reply::ok(), Reply::bulk("3")]);
}

#[test]
fn t06_tryagain_without_end_is_an_error_in_its_place() {
    let fake = Fake::start(1, 0);
    fake.rule(Rule::on(
        "MSETNX",
        Act::Error("TRYAGAIN Multiple keys request during rehashing of slot".into()),
    ));
    let pointsman = Setup::cluster(fake.addresses()).with(|setup| setup.request_timeout_ms = 300).start();
    let mut client = pointsman.client();
    let replies = client.pipeline(&[
        words(&["SET", "{k}c", "1"]),
        words(&["MSETNX", "{k}a", "2", "{k}b", "2"]),
        words(&["GET", "{k}c"]),
    ]);
    assert_eq!(replies[0], Reply::ok());
    assert!(replies[1].is_error(), "{}", replies[1]);
    assert_eq!(replies[2], Reply::bulk("1"));
    assert!(fake.count("MSETNX", "{k}a") > 1, "it was tried more than once");
}

/// A request that waits for another attempt is given up when one behind it that shares a key with it was
/// executed: its turn has passed.
#[test]
fn t06_what_was_overtaken_is_not_executed_any_more() {
    let fake = Fake::start(1, 0);
    fake.rule(Rule::on(
        "MSETNX",
        Act::Error("TRYAGAIN Multiple keys request during rehashing of slot".into()),
    ));
    let pointsman = Setup::cluster(fake.addresses()).start();
    let mut client = pointsman.client();
    let replies = client.pipeline(&[
        words(&["MSETNX", "{k}a", "2", "{k}b", "2"]),
        words(&["SET", "{k}a", "1"]),
        words(&["GET", "{k}a"]),
    ]);
    assert!(replies[0].is_error(), "{}", replies[0]);
    assert_eq!(replies[1..], [Reply::ok(), Reply::bulk("1")]);
    assert_eq!(fake.count("MSETNX", "{k}a"), 1, "it was not tried again");
}

/// The same when what was executed answered an error: it has seen the data without what was sent before it.
#[test]
fn t06_what_was_overtaken_by_an_error_is_not_executed_any_more() {
    let fake = Fake::start(1, 0);
    fake.rule(Rule::on(
        "MSETNX",
        Act::Error("TRYAGAIN Multiple keys request during rehashing of slot".into()),
    ));
    fake.rule(Rule::on("INCR", Act::Error("ERR value is not an integer or out of range".into())));
    fake.rule(Rule::on("EVAL", Act::Error("MOVED 1 somewhere:1".into())));
    let pointsman = Setup::cluster(fake.addresses()).start();
    let mut client = pointsman.client();
    let behind: [(&[&str], &str); 2] = [
        (&["INCR", "{k}a"], "ERR value is not an integer or out of range"),
        // A script's own words.
        (&["EVAL", "x", "1", "{k}a"], "MOVED 1 somewhere:1"),
    ];
    for (number, (behind, told)) in behind.into_iter().enumerate() {
        let replies = client.pipeline(&[words(&["MSETNX", "{k}a", "2", "{k}b", "2"]), words(behind)]);
        assert!(replies[0].is_error_of("TRYAGAIN"), "{}", replies[0]);
        assert_eq!(replies[1].error(), told);
        assert_eq!(fake.count("MSETNX", "{k}a"), number + 1, "it was not tried again");
    }
}

/// A command to a shard as a whole is not sent to another one; what its client is told says what happened.
#[test]
fn t07_what_concerns_a_whole_shard_fails_with_its_own_cause() {
    let fake = Fake::start(1, 0);
    let pointsman = Setup::cluster(fake.addresses()).allow(&["lost"]).start();
    let mut client = pointsman.client();
    for (act, told) in [
        (Act::Error("LOADING Redis is loading the dataset in memory".into()), "LOADING"),
        (Act::Error("READONLY You can't write against a read only replica.".into()), "no primary"),
        (Act::CloseAfter, "the connection to the shard was lost"),
    ] {
        for (name, is_write) in [("FLUSHALL", true), ("DBSIZE", false)] {
            fake.rule(Rule::on(name, act.clone()).times(1));
            let reply = client.command(&[name]);
            assert!(reply.is_error() && reply.error().contains(told), "{name}, {act:?}: {reply}");
            let unknown = reply.error().contains("may or may not");
            assert_eq!(unknown, is_write && matches!(act, Act::CloseAfter), "{name}, {act:?}: {reply}");
            assert!(!reply.error().contains("cannot be reached"), "{name}, {act:?}: {reply}");
        }
    }
}

/// The table of errors that prove that nothing was executed.
#[test]
fn t07_refusals_are_healed_even_for_writes() {
    let fake = Fake::start(2, 0);
    let key = key_on(0, 2, "t07", 0);
    let pointsman = Setup::cluster(fake.addresses()).start();
    let mut client = pointsman.client();
    for (number, act) in [
        Act::Error("TRYAGAIN Multiple keys request during rehashing of slot".into()),
        Act::Error("CLUSTERDOWN The cluster is down".into()),
        Act::Error("LOADING Redis is loading the dataset in memory".into()),
        Act::Error("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.".into()),
        Act::Error("READONLY You can't write against a read only replica.".into()),
        // From the wrong node one is sent on to the right one.
        Act::Redirect { to: 1, asking: false },
    ]
    .into_iter()
    .enumerate()
    {
        fake.rule(Rule::on("INCR", act.clone()).at(0).times(2));
        assert_eq!(client.command(&["INCR", &key]), Reply::number(number as i64 + 1), "{act:?}");
        fake.change(|world| world.rules.clear());
    }
    let executed = fake.received(|received| received.is("INCR") && received.executed);
    assert_eq!(executed.len(), 6, "each once");
    let metrics = pointsman.metrics();
    for cause in ["tryagain", "clusterdown", "loading", "masterdown", "readonly"] {
        let label = format!("cause=\"{cause}\"");
        assert!(metrics.sum("pointsman_retries_total", &[&label]) >= 1.0, "{cause} is counted");
    }
}

/// The table of errors that answer the command.
#[test]
fn t07_answers_that_are_errors_pass_unchanged_and_once() {
    let fake = Fake::start(1, 0);
    let pointsman = Setup::cluster(fake.addresses()).start();
    let mut client = pointsman.client();
    for text in [
        "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        "OOM command not allowed when used memory > 'maxmemory'.",
        "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
        "NOREPLICAS Not enough good replicas to write.",
        "NOPERM this user has no permissions to run the 'set' command",
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        "NOSCRIPT No matching script. Please use EVAL.",
        "EXECABORT Transaction discarded because of previous errors.",
        "ERR value is not an integer or out of range",
        "MOVEDX 1 127.0.0.1:1",
    ] {
        fake.change(|world| {
            world.rules.clear();
            world.forget_received();
        });
        fake.rule(Rule::on("SET", Act::Error(text.into())));
        assert_eq!(client.line("SET k v").error(), text);
        assert_eq!(fake.count("SET", "k"), 1, "{text}");
    }
}

/// The backend's refusal of the proxy is not the client's refusal.
#[test]
fn t07_the_backends_noauth_never_reads_as_the_clients() {
    let fake = Fake::start(1, 0);
    let pointsman = Setup::cluster(fake.addresses())
        .allow(&["credential", "password", "auth", "NOAUTH", "WRONGPASS"])
        .start();
    let mut client = pointsman.client();
    for text in
        ["NOAUTH Authentication required.", "WRONGPASS invalid username-password pair or user is disabled."]
    {
        fake.change(|world| world.rules.clear());
        fake.rule(Rule::on("SET", Act::Error(text.into())));
        let reply = client.line("SET k v");
        assert!(reply.is_error_of("ERR"), "{reply}");
        assert!(!reply.error().contains("Authentication required"), "{reply}");
    }
    fake.change(|world| world.rules.clear());
    assert_eq!(client.line("SET k v"), Reply::ok(), "and it heals when the backend does");
}

#[test]
fn t08_readonly_makes_it_look_who_is_primary_now() {
    let fake = Fake::start(1, 1);
    let pointsman = Setup::cluster(fake.addresses()).start();
    let mut client = pointsman.client();
    assert_eq!(client.line("SET k 1"), Reply::ok());
    // The old primary is a replica now. A node of a cluster would answer MOVED; make it say READONLY.
    fake.fail_over(0);
    fake.rule(
        Rule::on("SET", Act::Error("READONLY You can't write against a read only replica.".into())).at(0),
    );
    assert_eq!(client.line("SET k 2"), Reply::ok());
    let set = fake.received(|received| received.is("SET") && received.executed);
    assert_eq!(set.last().unwrap().node, 1);
    // From then on nothing goes to the old one first.
    let before = fake.received(|received| received.node == 0 && received.is("SET")).len();
    for n in 0..10 {
        assert_eq!(client.command(&["SET", "k", &n.to_string()]), Reply::ok());
    }
    assert_eq!(fake.received(|received| received.node == 0 && received.is("SET")).len(), before);
}

#[test]
fn t86_redirects_in_a_circle_end_in_an_error_that_names_no_node() {
    let fake = Fake::start(2, 0);
    let key = key_on(0, 2, "t86", 0);
    let pointsman = Setup::cluster(fake.addresses())
        .with(|setup| {
            setup.request_timeout_ms = 500;
            setup.redirects_max = 5;
        })
        .start();
    let mut client = pointsman.client();
    for asking in [false, true] {
        fake.change(|world| {
            world.rules.clear();
            world.forget_received();
        });
        fake.rule(Rule::on("GET", Act::Redirect { to: 1, asking }).at(0));
        fake.rule(Rule::on("GET", Act::Redirect { to: 0, asking }).at(1));
        let replies = client.pipeline(&[words(&["SET", &key, "v"]), words(&["GET", &key]), words(&["PING"])]);
        assert_eq!(replies[0], Reply::ok());
        assert_honest(&fake, &replies[1]);
        assert_eq!(replies[2], "+PONG\r\n");
        let hops = fake.count("GET", &key);
        assert!((2..=200).contains(&hops), "bounded, and with pauses: {hops} hops");
    }
    // The circle is gone: so is the trouble.
    fake.change(|world| world.rules.clear());
    assert_eq!(client.command(&["GET", &key]), Reply::bulk("v"));
}

fn assert_honest(fake: &Fake, reply: &Reply) {
    let text = reply.error();
    assert!(text.starts_with("ERR") || text.starts_with("CLUSTERDOWN"), "{text}");
    for address in fake.addresses() {
        assert!(!text.contains(&address), "{text}");
    }
    assert!(!text.contains("MOVED") && !text.contains("ASK "), "{text}");
}

#[test]
fn redirects_are_counted_and_moved_ones_are_learnt() {
    let fake = Fake::start(2, 0);
    let key = key_on(0, 2, "learn", 0);
    let pointsman = Setup::cluster(fake.addresses()).start();
    let mut client = pointsman.client();
    client.command(&["SET", &key, "v"]);
    fake.move_slot(Slot::of(key.as_bytes()), 1);
    for _ in 0..5 {
        assert_eq!(client.command(&["GET", &key]), Reply::bulk("v"));
    }
    assert_eq!(moved(&pointsman), 1.0, "one redirect teaches the slot");
    let mut other: Client = pointsman.client();
    assert_eq!(other.command(&["GET", &key]), Reply::bulk("v"));
    assert_eq!(moved(&pointsman), 1.0, "for all clients");
}

fn moved(pointsman: &Pointsman) -> f64 {
    pointsman.metrics().sum("pointsman_redirects_total", &["kind=\"moved\""])
}
