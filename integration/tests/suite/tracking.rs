//! T25, T27, T100-T102: client tracking, as one server would have it, over connections that all share.

use pointsman_integration::client::words;
use pointsman_integration::eventually::{StopOnDrop, check, eventually, within};
use pointsman_integration::mover::{Moves, during, slots_of};
use pointsman_integration::random::Random;
use pointsman_integration::{Client, Cluster, Pointsman, RedisServer, Reply, Setup};
use pointsman_protocol::resp::reply;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Warnings that a lost node may cause.
const LOST: &[&str] = &["lost", "connect", "refused", "watched", "topology", "reached"];
const FORGET_ALL: &str = ">2\r\n$10\r\ninvalidate\r\n_\r\n";

fn resp3(pointsman: &Pointsman) -> Client {
    let mut client = pointsman.client();
    client.line("HELLO 3");
    client
}

/// A RESP3 client that tracks.
#[track_caller]
fn tracker(pointsman: &Pointsman, options: &str) -> Client {
    let mut client = resp3(pointsman);
    assert_eq!(client.line(&format!("CLIENT TRACKING ON {options}")), Reply::ok());
    client
}

fn forget(keys: &[&str]) -> String {
    let mut text = format!(">2\r\n$10\r\ninvalidate\r\n*{}\r\n", keys.len());
    keys.iter().for_each(|key| text += &format!("${}\r\n{key}\r\n", key.len()));
    text
}

/// The reply to a request, and the pushes that came before it.
fn ask(client: &mut Client, line: &str) -> (Reply, Vec<Reply>) {
    client.send(&line.split_whitespace().collect::<Vec<_>>());
    let mut pushes = Vec::new();
    loop {
        let reply = client.read();
        if reply.0[0] != b'>' {
            return (reply, pushes);
        }
        pushes.push(reply);
    }
}

/// Writes a key, through the proxy or at its node.
fn write(cluster: &Cluster, proxied: &mut Client, round: usize, key: &str) {
    let value = round.to_string();
    let reply = match round % 2 {
        0 => proxied.command(&["SET", key, &value]),
        _ => cluster.node(cluster.primary_of(key)).command(&["SET", key, &value]),
    };
    assert_eq!(reply, Reply::ok());
}

// T27: the same words to a server of its own and to the proxy, the same bytes back.
#[test]
fn t27_answers_are_those_of_one_server() {
    // Its own, as it hears of every change.
    let cluster = Cluster::start(3, 0);
    let server = RedisServer::standalone();
    let pointsman = Setup::cluster(cluster.addresses()).start();
    for resp3 in [false, true] {
        let (mut proxied, mut alone) = (pointsman.client(), server.client());
        if resp3 {
            proxied.line("HELLO 3");
            alone.line("HELLO 3");
        }
        for line in [
            "CLIENT TRACKINGINFO",
            "CLIENT GETREDIR",
            "CLIENT CACHING YES",
            "CLIENT TRACKING",
            "CLIENT TRACKING x",
            "CLIENT TRACKING on foo",
            "CLIENT TRACKING on redirect",
            "CLIENT TRACKING ON REDIRECT 99999999",
            "CLIENT TRACKING ON REDIRECT -1",
            "CLIENT TRACKING ON REDIRECT abc",
            "CLIENT TRACKING OFF REDIRECT 99999999",
            "CLIENT TRACKING ON PREFIX a",
            "CLIENT TRACKING ON BCAST OPTIN",
            "CLIENT TRACKING ON OPTIN OPTOUT",
            "CLIENT TRACKING ON BCAST PREFIX a PREFIX ab",
            "CLIENT TRACKING OFF foo",
            "CLIENT TRACKING OFF PREFIX x",
            "CLIENT TRACKING ON",
            "CLIENT TRACKINGINFO",
            "CLIENT GETREDIR",
            "CLIENT TRACKING ON BCAST",
            "CLIENT TRACKING ON OPTIN",
            "CLIENT CACHING NO",
            "CLIENT CACHING maybe",
            "CLIENT CACHING YES",
            "CLIENT TRACKINGINFO",
            "PING",
            "CLIENT TRACKINGINFO",
            "CLIENT TRACKING ON OPTOUT",
            "CLIENT TRACKING OFF",
            "CLIENT TRACKING ON OPTOUT NOLOOP",
            "CLIENT CACHING YES",
            "CLIENT CACHING NO",
            "CLIENT TRACKINGINFO",
            "MULTI",
            "CLIENT TRACKINGINFO",
            "CLIENT GETREDIR",
            "EXEC",
            "CLIENT TRACKINGINFO",
            "CLIENT TRACKING OFF",
            "CLIENT TRACKING ON BCAST PREFIX a PREFIX b",
            "CLIENT TRACKING ON BCAST PREFIX c",
            "CLIENT TRACKINGINFO",
            "CLIENT TRACKING ON BCAST PREFIX ab",
            "CLIENT TRACKING ON BCAST PREFIX a",
            "CLIENT TRACKING ON BCAST",
            "CLIENT TRACKINGINFO",
            "CLIENT TRACKING ON",
            "CLIENT CACHING YES",
            "CLIENT TRACKING OFF",
            "CLIENT TRACKINGINFO",
        ] {
            assert_eq!(proxied.line(line), alone.line(line), "{line}, resp3: {resp3}");
        }
        proxied.line("CLIENT TRACKING ON BCAST");
        let info = proxied.line("CLIENT INFO").text();
        assert!(info.contains(" flags=tB ") && info.contains(" redir=0 "), "{info}");
        // T30
        assert_eq!(proxied.line("RESET"), "+RESET\r\n");
        assert_eq!(proxied.line("CLIENT GETREDIR"), Reply::number(-1));
        eventually("nobody tracks", || {
            let clients = pointsman.metrics().sum("pointsman_tracking_clients", &[]);
            check(clients == 0.0, clients)
        });
    }
}

// T101: 1,000 rounds of a read, a write by another and its invalidation, in every mode.
#[test]
fn t101_what_was_read_and_then_changed_is_told() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses()).with(|setup| setup.workers = 2).start();
    let mut writer = pointsman.client();
    for (mode, options) in ["", "OPTIN", "OPTOUT", "BCAST PREFIX track:"].into_iter().enumerate() {
        let mut reader = tracker(&pointsman, options);
        for round in 0..250 {
            let key = format!("track:{mode}:{}", round % 50);
            let unread = format!("trick:{{{key}}}");
            if options == "OPTIN" {
                reader.command(&["GET", &unread]);
                assert_eq!(reader.line("CLIENT CACHING YES"), Reply::ok());
            }
            assert!(!reader.command(&["GET", &key]).is_error());
            if options == "OPTOUT" {
                assert_eq!(reader.line("CLIENT CACHING NO"), Reply::ok());
                reader.command(&["GET", &unread]);
            }
            // In the same slot: were it told, it would come first.
            write(cluster.as_ref(), &mut writer, round, &unread);
            write(cluster.as_ref(), &mut writer, round, &key);
            assert_eq!(reader.read(), forget(&[&key]).as_str(), "{options} round {round}");
            assert_eq!(reader.line("PING"), "+PONG\r\n");
        }
        if !options.starts_with("BCAST") {
            // An invalidation is told once.
            writer.line("SET track:again 1");
            reader.line("CLIENT CACHING YES");
            reader.line("GET track:again");
            for value in ["2", "3"] {
                writer.command(&["SET", "track:again", value]);
            }
            writer.line("SET track:{track:again} 1");
            assert_eq!(reader.read(), forget(&["track:again"]).as_str());
            reader.line("CLIENT CACHING YES");
            assert_eq!(reader.line("GET track:again"), "$1\r\n3\r\n");
            writer.line("DEL track:again");
            assert_eq!(reader.read(), forget(&["track:again"]).as_str());
        }
    }
}

// T101: however it was read.
#[test]
fn t101_every_kind_of_read_counts() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let (mut reader, mut writer) = (tracker(&pointsman, ""), pointsman.client());
    let (a, b, c) = ("kind:a", "kind:b", "kind:{kind:a}");
    writer.line("SET kind:a 1");
    let mut expect_one = |reader: &mut Client, key: &str| {
        writer.command(&["DEL", key]);
        writer.command(&["SET", key, "1"]);
        assert_eq!(reader.read(), forget(&[key]).as_str());
        assert_eq!(reader.line("PING"), "+PONG\r\n");
    };
    for (lines, key) in [
        (&["GET kind:a"][..], a),
        (&["MGET kind:b kind:c kind:a kind:d"], b),
        (&["EXISTS kind:a kind:b"], b),
        (&["MULTI", "GET kind:a", "PING", "STRLEN kind:{kind:a}", "EXEC"], c),
        (&["WATCH kind:a", "MULTI", "GET kind:{kind:a}", "EXEC"], c),
        (&["EVAL_RO return(redis.call('GET',KEYS[1])) 1 kind:b"], b),
        (&["EVAL return(redis.call('GET',KEYS[1])) 1 kind:b"], b),
        (&["TTL kind:a"], a),
        (&["XREAD COUNT 1 STREAMS kind:x 0"], "kind:x"),
    ] {
        for line in lines {
            let reply = reader.line(line);
            assert!(!reply.is_error(), "{line}: {reply}");
        }
        if key != "kind:x" {
            expect_one(&mut reader, key);
        }
    }
    // What expires is told as well, and one's own writes are (there is no NOLOOP on shared connections).
    reader.line("GET kind:own");
    assert_eq!(reader.line("SET kind:own 1 PX 5"), Reply::ok());
    assert_eq!(reader.read(), forget(&["kind:own"]).as_str());
    assert_eq!(reader.line("CLIENT TRACKING ON NOLOOP"), Reply::ok());
    reader.line("SET kind:own 1 PX 30");
    let mut told = Vec::new();
    eventually("it expires", || {
        let (reply, pushes) = ask(&mut reader, "GET kind:own");
        told.extend(pushes);
        check(reply == "_\r\n", reply)
    });
    eventually("that is told", || {
        told.extend(ask(&mut reader, "PING").1);
        check(told.contains(&Reply(forget(&["kind:own"]).into_bytes())), "nothing")
    });
    let (reply, _) = ask(&mut reader, "CLIENT TRACKING OFF");
    assert_eq!(reply, Reply::ok());
}

#[test]
fn t101_broadcasts_by_prefix() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut writer = pointsman.client();
    let mut some = tracker(&pointsman, "BCAST PREFIX bc:a PREFIX bc:b");
    // The watch grows; who was there before must not rely on what it had.
    let mut all = tracker(&pointsman, "BCAST PREFIX bc:");
    assert_eq!(some.read(), FORGET_ALL);
    // And once more for each primary when it has grown, for what was read meanwhile over other connections.
    for _ in 0..3 {
        assert_eq!(some.read(), FORGET_ALL);
    }
    for (key, told) in [("bc:a1", true), ("bc:c1", false), ("bc:b", true)] {
        writer.command(&["SET", key, "1"]);
        assert_eq!(all.read(), forget(&[key]).as_str());
        if told {
            assert_eq!(some.read(), forget(&[key]).as_str());
        }
    }
    // Several keys of one node at once come together.
    writer.line("MSET bc:{t}1 1 bc:{t}2 2");
    assert_eq!(all.read(), forget(&["bc:{t}1", "bc:{t}2"]).as_str());
    drop(all);
    writer.line("SET bc:a1 2");
    assert_eq!(some.read(), forget(&["bc:a1"]).as_str());
}

// Own cluster: FLUSHALL is not for shared ones.
#[test]
fn t102_flushall_and_its_like_clear_everything() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut writer = pointsman.client();
    let (mut reader, mut listener) = (tracker(&pointsman, ""), tracker(&pointsman, "BCAST"));
    for round in 0..3 {
        reader.line("GET flush:a");
        listener.line("GET flush:a");
        match round {
            0 => assert_eq!(writer.line("FLUSHALL"), Reply::ok()),
            1 => assert_eq!(cluster.node(1).command(&["FLUSHALL"]), Reply::ok()),
            _ => assert_eq!(writer.line("FLUSHDB"), Reply::ok()),
        }
        // It may keep what others read for it, so each shard's is told.
        for _ in 0..if round == 1 { 1 } else { 3 } {
            assert_eq!(listener.read(), FORGET_ALL);
        }
        assert_eq!(reader.read(), FORGET_ALL);
        assert_eq!(reader.line("PING"), "+PONG\r\n", "three shards, and told once");
    }
    // What was read before is not told any more: it is forgotten.
    reader.line("GET flush:b");
    writer.line("SET flush:a 1");
    writer.line("SET flush:b 1");
    assert_eq!(reader.read(), forget(&["flush:b"]).as_str());
}

#[test]
fn t102_a_lost_connection_or_primary_clears_everything() {
    let mut cluster = Cluster::start(3, 3);
    let pointsman = Setup::cluster(cluster.addresses())
        .with(|setup| {
            setup.request_timeout_ms = 20_000;
            setup.refresh_interval_ms = 500;
        })
        .allow(LOST)
        .start();
    let mut writer = pointsman.client();
    let (mut reader, mut listener) = (tracker(&pointsman, ""), tracker(&pointsman, "BCAST"));
    let keys = ["lost:a", "lost:b", "lost:c", "lost:d", "lost:e"];
    let read_all = |client: &mut Client| {
        for key in keys {
            loop {
                // Pushes may come in between, and count from here on.
                let reply = client.command(&["GET", key]);
                if !reply.0.starts_with(b">") {
                    break;
                }
            }
        }
    };
    // Reads and writes until a write is told by its name: everything is watched again.
    let heals = |reader: &mut Client, writer: &mut Client| {
        for key in keys {
            eventually("changes are told again", || {
                reader.send(&["GET", key]);
                while reader.read().0.starts_with(b">") {}
                // Called invalid at once for want of a watch? Then it would have come by now.
                let next = reader.line("PING");
                if next.0.starts_with(b">") {
                    while reader.read() != "+PONG\r\n" {}
                    return Err(next);
                }
                assert_eq!(writer.command(&["SET", key, "1"]), Reply::ok());
                let told = reader.read();
                check(told == forget(&[key]).as_str(), told)
            });
        }
    };
    read_all(&mut reader);
    read_all(&mut listener);
    let killed: usize = (cluster.nodes().iter())
        .map(|node| {
            let list = node.command(&["CLIENT", "LIST"]).text();
            let watching = list.lines().filter(|line| line.contains(" flags=tB "));
            let ids = watching.filter_map(|line| line.strip_prefix("id=")?.split(' ').next());
            ids.filter(|id| node.command(&["CLIENT", "KILL", "ID", id]) == Reply::number(1)).count()
        })
        .sum();
    assert_eq!(killed, 3, "one for each primary and worker");
    assert_eq!(reader.read(), FORGET_ALL);
    assert_eq!(listener.read(), FORGET_ALL);
    heals(&mut reader, &mut writer);
    eventually("the loss is counted", || {
        let lost = pointsman.metrics().sum("pointsman_tracking_connections_lost_total", &[]);
        check(lost >= 3.0, lost)
    });
    let primary = cluster.primary_of("lost:a");
    read_all(&mut reader);
    cluster.node_mut(primary).kill();
    eventually("it is told that nothing can be relied on", || {
        let told = reader.read();
        check(told == FORGET_ALL, told)
    });
    heals(&mut reader, &mut writer);
}

/// A cache as clients have it.
struct Cache {
    client: Client,
    values: HashMap<String, String>,
    invalidations: usize,
}

impl Cache {
    fn new(pointsman: &Pointsman, options: &str) -> Cache {
        Cache { client: tracker(pointsman, options), values: HashMap::new(), invalidations: 0 }
    }

    fn hear(&mut self, push: &Reply) {
        self.invalidations += 1;
        let what = reply::elements(&push.0).and_then(|mut all| all.nth(1)).expect("a push names keys");
        match reply::elements(what) {
            Some(keys) => {
                for key in keys {
                    let key = reply::payload(key).expect("a key is a string");
                    self.values.remove(&String::from_utf8_lossy(key).into_owned());
                }
            }
            None => self.values.clear(),
        }
    }

    /// Takes what has been told so far.
    fn drain(&mut self) {
        let stream = self.client.stream();
        stream.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout can be set");
        loop {
            match self.client.try_read() {
                Ok(push) => {
                    assert_eq!(push.0[0], b'>', "{push}");
                    self.hear(&push);
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                Err(error) => panic!("{error}"),
            }
        }
        let stream = self.client.stream();
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
    }

    /// Reads keys with one pipeline and keeps their values, in the order in which all that comes comes.
    fn read(&mut self, keys: &[&String]) {
        self.client.send_all(&keys.iter().map(|key| words(&["GET", key])).collect::<Vec<_>>());
        for key in keys {
            loop {
                let reply = self.client.read();
                if reply.0[0] == b'>' {
                    self.hear(&reply);
                    continue;
                }
                assert!(!reply.is_error(), "{reply}");
                let value = if reply == "_\r\n" { String::new() } else { reply.text() };
                self.values.insert((*key).clone(), value);
                break;
            }
        }
    }
}

// T100-T102: the cache of no client holds an old value, whatever slots and other clients did.
#[test]
fn t100_t101_t102_no_stale_value_while_slots_move() {
    let cluster = Cluster::start(3, 0);
    let start = || {
        Setup::cluster(cluster.addresses())
            .with(|setup| {
                setup.workers = 2;
                setup.connections_per_node = 2;
                setup.request_timeout_ms = 20_000;
            })
            .start()
    };
    let (pointsman, another) = (start(), start());
    let keys: Vec<String> = (0..60).map(|number| format!("stale:{number}")).collect();
    let stop = AtomicBool::new(false);
    let clients = |moves: &Moves| {
        thread::scope(|scope| {
            // One beside the caches, one that they know nothing of.
            let writers: Vec<_> = [&pointsman, &another]
                .into_iter()
                .enumerate()
                .map(|(place, proxy)| {
                    let (stop, keys) = (&stop, &keys);
                    scope.spawn(move || {
                        let (mut client, mut random) = (proxy.client(), Random::new(place as u64));
                        while !stop.load(Ordering::Relaxed) {
                            let requests: Vec<_> =
                                (0..5).map(|_| words(&["INCR", random.pick(keys).as_str()])).collect();
                            client
                                .pipeline(&requests)
                                .iter()
                                .for_each(|reply| assert!(!reply.is_error(), "{reply}"));
                        }
                    })
                })
                .collect();
            let readers: Vec<_> = ["", "OPTOUT", "BCAST PREFIX stale:", "BCAST"]
                .into_iter()
                .enumerate()
                .map(|(place, options)| {
                    let (stop, keys, pointsman) = (&stop, &keys, &pointsman);
                    scope.spawn(move || {
                        let (mut cache, mut random) =
                            (Cache::new(pointsman, options), Random::new(100 + place as u64));
                        while !stop.load(Ordering::Relaxed) {
                            cache.drain();
                            let chosen: Vec<&String> = (0..8)
                                .map(|_| random.pick(keys))
                                .filter(|key| !cache.values.contains_key(*key))
                                .collect();
                            cache.read(&chosen);
                        }
                        cache
                    })
                })
                .collect();
            let stopping = StopOnDrop(&stop);
            within(Duration::from_secs(120), "slots have moved", || check(moves.done() >= 60, moves.done()));
            drop(stopping);
            writers.into_iter().for_each(|writer| writer.join().expect("the writer's checks held"));
            let mut oracle = another.client();
            let now: HashMap<&String, String> =
                keys.iter().map(|key| (key, oracle.command(&["GET", key]).text())).collect();
            for reader in readers {
                let mut cache = reader.join().expect("the reader's checks held");
                eventually("no old value is left", || {
                    cache.drain();
                    let stale: Vec<_> =
                        cache.values.iter().filter(|(key, value)| now[*key] != **value).collect();
                    check(stale.is_empty(), format!("{stale:?}"))
                });
                assert!(cache.invalidations > 100, "{}", cache.invalidations);
                println!("{} kept, {} invalidations", cache.values.len(), cache.invalidations);
            }
        })
    };
    during(&cluster, &slots_of(&keys), Random::new(7), clients);
}

// T101: a reply that is held up by another shard is not overtaken by its own invalidation.
#[test]
fn t25_t101_an_invalidation_waits_for_the_reply() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let (mut reader, mut writer) = (tracker(&pointsman, ""), pointsman.client());
    let slow = (0..).map(|n| format!("slow:{n}")).find(|key| cluster.primary_of(key) == 0).expect("some key");
    let quick =
        (0..).map(|n| format!("quick:{n}")).find(|key| cluster.primary_of(key) == 1).expect("some key");
    writer.command(&["SET", &quick, "old"]);
    for _ in 0..20 {
        cluster.node(0).freeze();
        reader.send_all(&[words(&["GET", &slow]), words(&["GET", &quick]), words(&["PING"])]);
        eventually("the quick one was read", || {
            let keys = pointsman.metrics().sum("pointsman_tracking_keys", &[]);
            let waits = pointsman.metrics().sum("pointsman_inflight_requests", &[]);
            check(keys >= 2.0 && waits <= 1.0, (keys, waits))
        });
        writer.command(&["SET", &quick, "new"]);
        eventually("the change was told", || {
            let keys = pointsman.metrics().sum("pointsman_tracking_keys", &[]);
            check(keys == 1.0, keys)
        });
        cluster.node(0).thaw();
        assert_eq!(reader.read(), "_\r\n");
        assert_eq!(reader.read(), "$3\r\nold\r\n");
        assert_eq!(reader.read(), "+PONG\r\n");
        assert_eq!(reader.read(), forget(&[&quick]).as_str());
        writer.command(&["SET", &quick, "old"]);
        writer.command(&["SET", &slow, "x"]);
        assert_eq!(reader.read(), forget(&[&slow]).as_str());
        writer.command(&["DEL", &slow]);
    }
}

// T103 has no counterpart: nothing is shared between requests of several clients.
#[test]
fn t27_redirects_go_to_a_client_of_any_worker() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses()).with(|setup| setup.workers = 2).start();
    let mut writer = pointsman.client();
    // Workers take clients in turn: one of these is on the reader's, one on the other.
    for place in 0..4 {
        let (mut hearer, mut reader) = (pointsman.client(), pointsman.client());
        let mut spare = (0..place % 2).map(|_| pointsman.client()).collect::<Vec<_>>();
        spare.iter_mut().for_each(|client| drop(client.line("PING")));
        let id = hearer.line("CLIENT ID").int();
        if place < 2 {
            hearer.line("SUBSCRIBE __redis__:invalidate");
        } else {
            hearer.line("HELLO 3");
        }
        if place == 1 {
            reader.line("HELLO 3");
        }
        assert_eq!(reader.line(&format!("CLIENT TRACKING ON REDIRECT {id}")), Reply::ok());
        assert_eq!(reader.line("CLIENT GETREDIR"), Reply::number(id));
        for round in 0..50 {
            let key = format!("redir:{}", round % 7);
            assert!(!reader.command(&["GET", &key]).is_error());
            writer.command(&["SET", &key, &round.to_string()]);
            let told = if place < 2 {
                format!("*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*1\r\n$7\r\n{key}\r\n")
            } else {
                forget(&[&key])
            };
            assert_eq!(hearer.read(), told.as_str());
        }
        reader.line("GET redir:1");
        writer.line("FLUSHALL");
        let told = if place < 2 {
            "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n_\r\n"
        } else {
            FORGET_ALL
        };
        assert_eq!(hearer.read(), told);
        // It leaves: the reader is told, if it can be.
        drop(hearer);
        eventually("the other one is missed", || {
            reader.line("GET redir:1");
            writer.line("INCR redir:1");
            if place == 1 {
                let broken = format!(">2\r\n$21\r\ntracking-redir-broken\r\n:{id}\r\n");
                return check(reader.read() == broken.as_str(), "another push".to_owned());
            }
            let info = reader.line("CLIENT INFO").text();
            check(info.contains(" flags=tR "), info)
        });
        let info = reader.line("CLIENT TRACKINGINFO");
        assert!(info.0.windows(15).any(|word| word == b"broken_redirect"), "{info}");
        assert!(reader.line(&format!("CLIENT TRACKING ON REDIRECT {id}")).is_error());
    }
}

#[test]
fn t68_what_is_kept_is_bounded() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses())
        .with(|setup| setup.backend_extra = vec!["tracking_keys_max: 10".into()])
        .start();
    let (mut reader, mut writer) = (tracker(&pointsman, ""), pointsman.client());
    for number in 0..10 {
        reader.line(&format!("GET bound:{number}"));
    }
    for number in 10..20 {
        reader.line(&format!("GET bound:{number}"));
        assert_eq!(reader.read(), forget(&[&format!("bound:{}", number - 10)]).as_str());
    }
    writer.line("SET bound:0 1");
    writer.line("SET bound:15 1");
    assert_eq!(reader.read(), forget(&["bound:15"]).as_str());
    assert_eq!(pointsman.metrics().sum("pointsman_tracking_given_up_total", &[]), 10.0);
    // T68: one that does not read what it is told is closed; others do not notice.
    drop((reader, writer));
    let pointsman = Setup::cluster(cluster.addresses())
        .with(|setup| {
            setup.listener_extra =
                vec!["client_limits: { output_bytes_max: 65536, output_pause_bytes: 4096 }".into()];
        })
        .allow(&["does not read"])
        .start();
    let (deaf, mut other) =
        (tracker(&pointsman, "BCAST PREFIX deaf:"), tracker(&pointsman, "BCAST PREFIX fine:"));
    let mut writer = pointsman.client();
    let long = "x".repeat(1000);
    eventually("the deaf one is closed", || {
        let requests: Vec<_> =
            (0..500).map(|number| words(&["SET", &format!("deaf:{long}{number}"), "1"])).collect();
        writer.pipeline(&requests);
        let requests: Vec<_> =
            (0..500).map(|number| words(&["DEL", &format!("deaf:{long}{number}")])).collect();
        writer.pipeline(&requests);
        let closed = pointsman.metrics().sum("pointsman_clients_overflowed_total", &[]);
        check(closed == 1.0, closed)
    });
    writer.line("SET fine:1 1");
    eventually("the other one hears", || check(other.read() == forget(&["fine:1"]).as_str(), "grown"));
    drop(deaf);
}

// Bundled nodes do not tell changes: the refusal is theirs, and it is told.
#[test]
fn what_nodes_refuse_is_told() {
    let pointsman = Setup::embedded(3, 0).allow(&["refuses to tell"]).start();
    let mut client = resp3(&pointsman);
    let reply = client.line("CLIENT TRACKING ON");
    assert!(reply.error().contains("a node refuses to tell what changes"), "{reply}");
    assert_eq!(client.line("CLIENT GETREDIR"), Reply::number(-1));
    assert_eq!(client.line("SET k v"), Reply::ok());
}
