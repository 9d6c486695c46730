//! T12, T14, T19, T25: nodes that answer nonsense, too much, or what nobody asked for. The request that met
//! it gets an error, the connection is replaced, and no reply ever reaches another request.

use pointsman_integration::client::words;
use pointsman_integration::eventually::{check, eventually};
use pointsman_integration::fake::{Act, Rule, key_on};
use pointsman_integration::{Client, Cluster, Fake, Pointsman, RedisServer, Reply, Setup};
use std::time::Duration;

/// Warnings that broken connections may cause.
const LOST: &[&str] = &["lost", "closed", "connect", "refused", "refresh", "topology", "reset"];

fn start(fake: &Fake) -> Pointsman {
    Setup::cluster(fake.addresses())
        .with(|setup| {
            setup.backend_extra.push("reply_bytes_max: 1MiB".into());
            setup.request_timeout_ms = 3000;
        })
        .allow(LOST)
        .start()
}

/// Both protocols at once: what one connection brings must not reach clients of the other either.
struct Clients {
    all: Vec<Client>,
    keys: [String; 2],
    serial: usize,
}

impl Clients {
    fn new(pointsman: &Pointsman) -> Clients {
        let mut all: Vec<Client> = (0..4).map(|_| pointsman.client()).collect();
        for client in &mut all[2..] {
            client.line("HELLO 3");
        }
        Clients { all, keys: [key_on(0, 2, "others", 0), key_on(1, 2, "others", 0)], serial: 0 }
    }

    /// Reads, which are repeated when a connection breaks, of values that are nobody else's.
    fn talk(&mut self, fake: &Fake) {
        self.serial += 1;
        for (number, client) in self.all.iter_mut().enumerate() {
            let values: Vec<String> =
                (0..2).map(|shard| format!("{number}:{shard}:{}", self.serial)).collect();
            let keys: Vec<String> = self.keys.iter().map(|key| format!("{{{key}}}{number}")).collect();
            fake.change(|world| {
                for (shard, (key, value)) in keys.iter().zip(&values).enumerate() {
                    world.data[shard].put(key.as_bytes(), value.as_bytes());
                }
            });
            let requests =
                [words(&["GET", &keys[0]]), words(&["GET", &keys[1]]), words(&["PING", &values[0]])];
            let replies = client.pipeline(&requests);
            assert_eq!(replies, [&values[0], &values[1], &values[0]].map(Reply::bulk));
        }
    }
}

#[test]
fn t19_what_is_no_reply_ends_the_connection_and_nothing_else() {
    let fake = Fake::start(2, 0);
    let pointsman = start(&fake);
    let mut clients = Clients::new(&pointsman);
    clients.talk(&fake);
    let key = key_on(0, 2, "nonsense", 0);
    fake.change(|world| world.data[0].put(key.as_bytes(), b"0"));
    for bytes in [
        &b"x"[..],
        b"\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"$x\r\n",
        b"$-2\r\n",
        b"$3\r\nabcd\r\n",
        b"*x\r\n",
        b"*-2\r\n",
        b"*99999999999999999999\r\n",
        b"$18446744073709551615\r\n",
        b"%4294967295\r\n%4294967295\r\n",
        b"*2\r\n$1\r\na\r\n?\r\n",
        &[0; 64],
        &[0xff; 64],
    ] {
        // A write meets it: it may have been executed, and is not repeated.
        fake.rule(Rule::on("INCR", Act::Answer(bytes.to_vec())).times(1));
        let mut client = pointsman.client();
        let reply = client.command(&["INCR", &key]);
        let shown = bytes.escape_ascii().to_string();
        assert!(reply.is_error_of("ERR"), "{shown}: {reply}");
        assert_eq!(fake.count("INCR", &key), 1, "{shown}");
        clients.talk(&fake);
        // A read meets it: it is repeated, on a new connection.
        fake.rule(Rule::on("GET", Act::Answer(bytes.to_vec())).key(&key).times(1));
        let reply = client.command(&["GET", &key]);
        assert!(reply == Reply::bulk("0") || reply.error().contains("reply_bytes_max"), "{shown}: {reply}");
        clients.talk(&fake);
        fake.change(|world| {
            world.rules.clear();
            world.forget_received();
        });
    }
}

/// Answers that would never end: a string, a line, an array, a nest of arrays, one larger than allowed.
#[test]
fn t14_t19_an_endless_reply_is_cut_off_at_the_limit() {
    let fake = Fake::start(2, 0);
    let pointsman = start(&fake);
    let mut clients = Clients::new(&pointsman);
    clients.talk(&fake);
    let key = key_on(0, 2, "endless", 0);
    for (first, over_and_over) in [
        (&b"$1000000\r\n"[..], &[b'x'; 4096][..]),
        (b"+", &[b'x'; 4096]),
        (b"", &[b'+'; 4096]),
        (b"*1000000000\r\n", b":1\r\n"),
        (b"", b"*1\r\n"),
        (b"", b"|1\r\n"),
        (b"", b"*3\r\n$1\r\na\r\n"),
        (b"$4294967295\r\n", &[b'x'; 4096]),
    ] {
        let mut flood = first.to_vec();
        flood.extend(
            over_and_over.iter().copied().cycle().take(64 * 1024 / over_and_over.len() * over_and_over.len()),
        );
        let shown = flood[..24].escape_ascii().to_string();
        fake.rule(Rule::on("LRANGE", Act::Flood(flood)).times(1));
        let mut client = pointsman.client();
        let reply = client.command(&["LRANGE", &key, "0", "-1"]);
        assert!(reply.is_error(), "{shown}: {reply}");
        clients.talk(&fake);
        assert_eq!(client.line("PING"), "+PONG\r\n");
        fake.change(|world| world.rules.clear());
    }
    // One that is merely too large: its request fails, and says why.
    fake.change(|world| world.data[0].put(key.as_bytes(), &vec![b'v'; 2 << 20]));
    let mut client = pointsman.client();
    assert!(client.command(&["GET", &key]).error().contains("reply_bytes_max"));
    clients.talk(&fake);
    // So it is when only the parts together are too large.
    let keys: Vec<String> = (0..8).map(|number| key_on(number % 2, 2, "part", number)).collect();
    fake.change(|world| {
        for (number, key) in keys.iter().enumerate() {
            world.data[number % 2].put(key.as_bytes(), &vec![b'v'; 400 << 10]);
        }
    });
    let mut request = vec!["MGET"];
    request.extend(keys.iter().map(String::as_str));
    let told = client.command(&request);
    assert!(told.is_error() && told.error().contains("reply_bytes_max"), "{told}");
    assert_eq!(client.command(&["MGET", &keys[0], &keys[1]]).elements().len(), 2, "less is no matter");
    eventually("nothing is in flight", || {
        let inflight = pointsman.metrics().sum("pointsman_inflight_requests", &[]);
        check(inflight == 0.0, inflight)
    });
}

/// More replies than requests: the connection cannot be trusted any more. A push is no reply.
#[test]
fn t25_what_nobody_asked_for_reaches_nobody() {
    let fake = Fake::start(2, 0);
    let pointsman = start(&fake);
    let mut clients = Clients::new(&pointsman);
    clients.talk(&fake);
    let key = key_on(0, 2, "unasked", 0);
    fake.change(|world| world.data[0].put(key.as_bytes(), b"mine"));
    for (bytes, right) in [
        // A push before the reply, and one behind it.
        (&b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n$4\r\nmine\r\n"[..], true),
        (b"$4\r\nmine\r\n>3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n", true),
        // An attribute belongs to the reply behind it.
        (b"|1\r\n+key-popularity\r\n:90\r\n$4\r\nmine\r\n", false),
        // A second reply.
        (b"$4\r\nmine\r\n$5\r\nstray\r\n", true),
        (b"$4\r\nmine\r\n-ERR stray\r\n-ERR stray\r\n", true),
    ] {
        for client in [0, 2] {
            fake.rule(Rule::on("GET", Act::Answer(bytes.to_vec())).key(&key).times(1));
            let reply = clients.all[client].command(&["GET", &key]);
            let shown = bytes.escape_ascii().to_string();
            if right {
                assert_eq!(reply, Reply::bulk("mine"), "{shown}");
            } else {
                assert!(reply.0.ends_with(b"$4\r\nmine\r\n"), "{shown}: {reply}");
            }
            clients.talk(&fake);
            fake.change(|world| world.rules.clear());
        }
    }
}

/// A user of the backend that may not say MULTI: nothing of a transaction may then be executed, as its
/// commands would be executed one by one.
#[test]
fn t48_a_user_that_may_not_begin_transactions_executes_none_of_them() {
    let cluster = Cluster::start(3, 0);
    let rules: &[&[&str]] =
        &[&["-multi"], &["-multi", "-exec", "-discard"], &["-exec"], &["-exec", "-client|setname"]];
    for denied in rules {
        for node in cluster.primaries() {
            let mut admin = cluster.node(node).client();
            let mut setuser =
                vec!["ACL", "SETUSER", "limited", "reset", "on", ">secret", "~*", "&*", "+@all"];
            setuser.extend(*denied);
            assert_eq!(admin.command(&setuser), Reply::ok(), "{denied:?}");
            admin.line("FLUSHALL");
        }
        let pointsman = Setup::cluster(cluster.addresses())
            .with(|setup| {
                setup.cluster_extra.push("username: limited".into());
                setup.cluster_extra.push("password: secret".into());
            })
            .allow(&["lost", "connect"])
            .start();
        let mut client = pointsman.client();
        for watches in [false, true] {
            if watches {
                assert_eq!(client.line("WATCH t48n"), Reply::ok());
            }
            let replies = client.pipeline(&[
                words(&["MULTI"]),
                words(&["INCR", "t48n"]),
                words(&["SET", "{t48n}other", "1"]),
                words(&["EXEC"]),
                words(&["EXISTS", "t48n", "{t48n}other"]),
                words(&["INCR", "t48n:plain"]),
            ]);
            assert!(replies[3].is_error_of("EXECABORT"), "{denied:?}: {}", replies[3]);
            assert!(replies[3].error().contains("the proxy's own user"), "{denied:?}: {}", replies[3]);
            assert_eq!(replies[4], Reply::number(0), "{denied:?}: nothing was executed");
            assert!(!replies[5].is_error() && replies[5] != "+QUEUED\r\n", "{denied:?}: {}", replies[5]);
        }
    }
    // The right is taken away while connections are up: at most one transaction learns it, and says so.
    let all = ["ACL", "SETUSER", "limited", "reset", "on", ">secret", "~*", "&*", "+@all"];
    for (lost, alone) in [("-exec", false), ("-multi", true)] {
        cluster.primaries().iter().for_each(|node| {
            cluster.node(*node).client().command(&all);
        });
        let pointsman = Setup::cluster(cluster.addresses())
            .with(|setup| {
                setup.cluster_extra.push("username: limited".into());
                setup.cluster_extra.push("password: secret".into());
            })
            .allow(&["lost", "connect"])
            .start();
        let mut client = pointsman.client();
        let transaction = [words(&["MULTI"]), words(&["INCR", "t48l"]), words(&["EXEC"])];
        assert_eq!(client.pipeline(&transaction)[2].elements().len(), 1);
        cluster.primaries().iter().for_each(|node| {
            cluster.node(*node).client().command(&["ACL", "SETUSER", "limited", lost]);
        });
        let told = client.pipeline(&transaction).remove(2);
        // Without MULTI each command is executed by itself; without EXEC none is.
        let honest = if alone { "may or may not" } else { "EXECABORT" };
        assert!(told.is_error() && told.error().contains(honest), "{lost}: {told}");
        let before = client.line("GET t48l");
        eventually("the next ones execute nothing", || {
            let told = client.pipeline(&transaction).remove(2);
            check(told.is_error_of("EXECABORT"), told)
        });
        assert_eq!(client.line("GET t48l"), before, "{lost}");
        assert!(client.line("INCR t48l").int() > 0, "and nobody's commands are queued");
    }
}

/// WAIT goes out behind a write of the proxy's own, and is no transaction.
#[test]
fn t48_t53_wait_needs_no_right_to_transactions_and_tells_of_its_own() {
    let server = RedisServer::standalone();
    for (denied, told) in [("-multi", ":0"), ("-exec", ":0"), ("-wait", "-NOPERM")] {
        let rules = ["ACL", "SETUSER", "limited", "reset", "on", ">secret", "~*", "&*", "+@all", denied];
        assert_eq!(server.command(&rules), Reply::ok());
        let seeds = format!("  seeds: [\"{}\"]", server.address());
        let lines = ["primary:", &seeds, "  username: limited", "  password: secret"];
        let pointsman = Setup::other(&lines).with(|setup| setup.workers = 1).start();
        let mut client = pointsman.client();
        for _ in 0..3 {
            assert_eq!(client.line("SET t53n 1"), Reply::ok());
            let reply = client.line("WAIT 0 10");
            assert!(reply.0.starts_with(told.as_bytes()), "{denied}: {reply}");
        }
        let metrics = pointsman.metrics();
        assert_eq!(metrics.sum("pointsman_blocked_clients", &[]), 0.0, "{denied}");
        assert!(metrics.sum("pointsman_pinned_connections", &[]) <= 1.0, "{denied}");
    }
}

/// A huge reply of which half has come: who asks other shards, or the same one over another lane, does not wait
/// for it; who asks behind it on the same connection does.
#[test]
fn t14_a_huge_reply_holds_up_its_own_connection_only() {
    const HUGE: usize = 32 << 20;
    let fake = Fake::start(2, 0);
    let pointsman = Setup::cluster(fake.addresses())
        .with(|setup| {
            setup.request_timeout_ms = 60_000;
            setup.stall_timeout_ms = 60_000;
        })
        .start();
    let (huge, elsewhere) = (key_on(0, 2, "huge", 0), key_on(1, 2, "small", 0));
    let beside = format!("{{{huge}}}beside");
    let value = vec![b'v'; HUGE];
    fake.change(|world| {
        world.data[0].put(huge.as_bytes(), &value);
        world.data[0].put(beside.as_bytes(), b"b");
        world.data[1].put(elsewhere.as_bytes(), b"e");
    });
    let [mut asking, mut behind, mut client, mut other_lane] = [(); 4].map(|()| pointsman.client());
    other_lane.line("HELLO 3");
    let gate = fake.gate();
    fake.rule(Rule::on("GET", Act::HoldWithin(HUGE / 2, gate.clone())).key(&huge));
    asking.send(&["GET", &huge]);
    pointsman.wait_for("half of it has come", "pointsman_backend_received_bytes_total", |bytes| {
        bytes >= (HUGE / 2) as f64
    });
    behind.send(&["GET", &beside]);
    fake.wait_for("it is behind the huge one", 1, |received| received.has_key(&beside));
    for _ in 0..100 {
        assert_eq!(client.command(&["GET", &elsewhere]), Reply::bulk("e"));
    }
    assert_eq!(other_lane.command(&["GET", &beside]), Reply::bulk("b"));
    assert!(
        behind.is_silent_for(Duration::from_millis(20)) && asking.is_silent_for(Duration::from_millis(20))
    );
    gate.open();
    assert!(asking.read() == Reply::bulk(&value), "it came whole");
    assert_eq!(behind.read(), Reply::bulk("b"));
}

/// A script that runs long on one shard: the other shards go on.
#[test]
fn t15_a_slow_command_holds_up_its_own_shard_only() {
    let cluster = Cluster::start(3, 0);
    let pointsman =
        Setup::cluster(cluster.addresses()).with(|setup| setup.request_timeout_ms = 20_000).start();
    let (slow, elsewhere) = (key_on(0, 3, "t15", 0), key_on(1, 3, "t15", 0));
    let (mut busy, mut client) = (pointsman.client(), pointsman.client());
    let script = "local n = 0 for i = 1, 60000000 do n = n + 1 end return n";
    busy.send(&["EVAL", script, "1", &slow]);
    let mut answered = 0;
    while answered < 20 && busy.is_silent_for(Duration::from_millis(1)) {
        assert!(!client.command(&["INCR", &elsewhere]).is_error());
        answered += 1;
    }
    assert_eq!(answered, 20, "answers of another shard came before the script's end");
    assert_eq!(busy.read(), Reply::number(60_000_000));
}
