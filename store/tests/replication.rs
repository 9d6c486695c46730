//! Primaries and replicas: in the end they hold the same, whatever happened to the link in between.

mod common;

use common::{Client, Random, contents, eventually, primary, replica};
use pointsman_protocol::HostPort;
use pointsman_store::{NodeHandle, NodeLimits};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn limits() -> NodeLimits {
    NodeLimits {
        replication_heartbeat_ms: 50,
        reconnect_min_ms: 5,
        reconnect_max_ms: 50,
        ..NodeLimits::default()
    }
}

/// A relay between a replica and its primary, whose connections a test can cut.
struct Relay {
    address: HostPort,
    open: Arc<Mutex<Vec<TcpStream>>>,
    closed: Arc<AtomicBool>,
    paused: Arc<AtomicBool>,
    accepted: Arc<AtomicUsize>,
}

impl Relay {
    fn to(target: HostPort) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = HostPort::new("127.0.0.1", listener.local_addr().unwrap().port());
        let open = Arc::new(Mutex::new(Vec::new()));
        let closed = Arc::new(AtomicBool::new(false));
        let paused = Arc::new(AtomicBool::new(false));
        let accepted = Arc::new(AtomicUsize::new(0));
        let pause = Arc::clone(&paused);
        let (streams, refuse, count) = (Arc::clone(&open), Arc::clone(&closed), Arc::clone(&accepted));
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if refuse.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(far) = TcpStream::connect((target.host(), target.port())) else { continue };
                count.fetch_add(1, Ordering::SeqCst);
                let pass = |mut from: TcpStream, mut to: TcpStream| {
                    let pause = Arc::clone(&pause);
                    std::thread::spawn(move || {
                        let mut part = [0; 16384];
                        while let Ok(length @ 1..) = from.read(&mut part) {
                            while pause.load(Ordering::SeqCst) {
                                std::thread::sleep(Duration::from_millis(1));
                            }
                            if to.write_all(&part[..length]).is_err() {
                                break;
                            }
                        }
                        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
                    });
                };
                pass(near.try_clone().unwrap(), far.try_clone().unwrap());
                pass(far.try_clone().unwrap(), near.try_clone().unwrap());
                streams.lock().unwrap().extend([near, far]);
            }
        });
        Relay { address, open, closed, paused, accepted }
    }

    fn cut(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn close(&self, closed: bool) {
        self.closed.store(closed, Ordering::SeqCst);
        if closed {
            self.cut();
        }
    }
}

fn wait_for_link(node: &NodeHandle) -> Client {
    let mut client = Client::connect(node.address());
    eventually("the replica follows", || (client.info("master_link_status") == "up").then_some(()));
    client
}

/// Waits until the replica is as far as the primary.
#[track_caller]
fn wait_for_offset(primary: &mut Client, replica: &mut Client) {
    eventually("the replica is as far as its primary", || {
        let up = replica.info("master_link_status") == "up";
        (up && replica.info("slave_repl_offset") == primary.info("master_repl_offset")).then_some(())
    });
}

/// One random write; every kind of effect is among them.
fn write(client: &mut Client, random: &mut Random, keys: u64) {
    let key = format!("{}:{}", random.pick(&["k", "{tag}", "k"]), random.below(keys));
    let other = format!("k:{}", random.below(keys));
    let longest = if random.below(50) == 0 { 5000 } else { 80 };
    let value = "v".repeat(random.below(longest) as usize);
    let number = random.below(1000).to_string();
    let words: Vec<&str> = match random.below(20) {
        0 => vec!["INCRBY", &key, &number],
        1 => vec!["APPEND", &key, &value],
        2 => vec!["DEL", &key, &other],
        3 => vec!["MSET", &key, &value, &other, &number],
        4 => vec!["SET", &key, &value, "EX", "100000"],
        5 => vec!["PEXPIREAT", &key, "4000000000000"],
        6 => vec!["PERSIST", &key],
        7 => vec!["RENAME", &key, &other],
        8 => vec!["COPY", &key, &other, "REPLACE"],
        9 => vec!["SETRANGE", &key, "20", &value],
        10 => vec!["GETSET", &key, &value],
        11 => vec!["GETDEL", &key],
        12 => vec!["INCRBYFLOAT", &key, "0.1"],
        13 => vec!["SET", &key, &value, "PX", "1"],
        14 => vec!["GETEX", &key, "EX", "50000"],
        15 => vec!["EXPIRE", &key, "-1"],
        16 => vec!["MSETNX", &key, &value, &other, &value],
        _ => vec!["SET", &key, &value],
    };
    client.call(&words);
}

#[test]
fn a_full_copy_under_writes_converges() {
    let primary = primary(NodeLimits { copy_entries_per_turn: 1, ..limits() });
    let mut client = Client::connect(primary.address());
    let mut random = Random(1);
    for _ in 0..30_000 {
        write(&mut client, &mut random, 20_000);
    }
    // The replicas come one after the other, while writes go on.
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(replica(primary.address().clone(), limits()));
        for _ in 0..4_000 {
            write(&mut client, &mut random, 20_000);
        }
    }
    let wanted = contents(&mut client);
    assert!(wanted.len() > 5_000, "{}", wanted.len());
    for node in &replicas {
        let mut follower = wait_for_link(node);
        wait_for_offset(&mut client, &mut follower);
        let held = contents(&mut follower);
        assert_eq!(held.len(), wanted.len());
        assert!(held == wanted, "the copies differ");
    }
    assert_eq!(client.info("connected_slaves"), "3");
    assert_eq!(client.info("sync_full"), "3");
    replicas.into_iter().for_each(NodeHandle::stop);
    primary.stop();
}

#[test]
fn a_copy_that_takes_many_turns_gets_every_write_once() {
    // A primary that copies one segment a turn to a replica that reads through a narrow relay.
    let primary = primary(NodeLimits { copy_entries_per_turn: 1, ..limits() });
    let mut client = Client::connect(primary.address());
    let mut random = Random(5);
    let value = "x".repeat(700);
    for number in 0..20_000 {
        client.call(&["SET", &format!("big:{number}"), &value]);
    }
    let relay = Relay::to(primary.address().clone());
    let node = replica(relay.address.clone(), limits());
    let mut follower = Client::connect(node.address());
    let mut writes_while_copying = 0;
    eventually("the copy is done", || {
        for _ in 0..50 {
            write(&mut client, &mut random, 3_000);
            client.call(&["INCR", "counter"]);
            writes_while_copying += 1;
        }
        (follower.info("master_link_status") == "up").then_some(())
    });
    wait_for_offset(&mut client, &mut follower);
    assert!(contents(&mut follower) == contents(&mut client), "the copies differ");
    assert_eq!(follower.ask("GET counter"), client.ask("GET counter"));
    assert!(writes_while_copying > 0);
    node.stop();
    primary.stop();
}

#[test]
fn a_link_that_is_cut_again_and_again_goes_on_where_it_stopped() {
    let primary = primary(NodeLimits { backlog_bytes: 64 << 20, ..limits() });
    let relay = Relay::to(primary.address().clone());
    let mut client = Client::connect(primary.address());
    let mut random = Random(2);
    let node = replica(relay.address.clone(), limits());
    let mut follower = wait_for_link(&node);
    for round in 0..40 {
        for _ in 0..300 {
            write(&mut client, &mut random, 2_000);
        }
        let links = relay.accepted.load(Ordering::SeqCst);
        relay.cut();
        eventually("the replica dials again", || {
            (relay.accepted.load(Ordering::SeqCst) > links).then_some(())
        });
        if round % 10 == 0 {
            wait_for_offset(&mut client, &mut follower);
            assert!(contents(&mut follower) == contents(&mut client), "the copies differ in round {round}");
        }
    }
    wait_for_offset(&mut client, &mut follower);
    assert!(contents(&mut follower) == contents(&mut client), "the copies differ");
    assert_eq!(client.info("sync_full"), "1");
    assert!(client.info("sync_partial_ok").parse::<u64>().unwrap() >= 30);
    node.stop();
    primary.stop();
}

#[test]
fn a_replica_that_was_away_too_long_starts_over() {
    let primary = primary(NodeLimits { backlog_bytes: 64 << 10, ..limits() });
    let relay = Relay::to(primary.address().clone());
    let mut client = Client::connect(primary.address());
    let mut random = Random(3);
    let node = replica(relay.address.clone(), limits());
    let mut follower = wait_for_link(&node);
    client.expect("SET before v", "+OK\r\n");
    wait_for_offset(&mut client, &mut follower);
    relay.close(true);
    eventually("the link is down", || (follower.info("master_link_status") == "down").then_some(()));
    // What it has is served on, as stale as it is.
    client.expect("SET before changed", "+OK\r\n");
    follower.expect("GET before", "$1\r\nv\r\n");
    follower.expect("SET x y", "-READONLY You can't write against a read only replica.\r\n");
    eventually("the primary has noticed", || (client.info("connected_slaves") == "0").then_some(()));
    for _ in 0..20_000 {
        write(&mut client, &mut random, 5_000);
    }
    relay.close(false);
    wait_for_offset(&mut client, &mut follower);
    assert!(contents(&mut follower) == contents(&mut client), "the copies differ");
    assert_eq!(client.info("sync_full"), "2");
    assert_eq!(client.info("sync_partial_err"), "1");
    node.stop();
    primary.stop();
}

#[test]
fn a_slow_replica_is_waited_for_beyond_the_backlog() {
    let primary = primary(NodeLimits { backlog_bytes: 64 << 10, ..limits() });
    let relay = Relay::to(primary.address().clone());
    let node = replica(relay.address.clone(), limits());
    let mut follower = wait_for_link(&node);
    let mut client = Client::connect(primary.address());
    relay.paused.store(true, Ordering::SeqCst);
    let value = "v".repeat(10_000);
    for number in 0..3_000 {
        client.call(&["SET", &format!("k:{}", number % 500), &format!("{number}{value}")]);
    }
    // More waits for it than sockets hold, and much more than the backlog is meant to keep.
    let held = client.info("mem_replication_backlog").parse::<usize>().unwrap();
    assert!(held > 4 << 20, "{held}");
    relay.paused.store(false, Ordering::SeqCst);
    wait_for_offset(&mut client, &mut follower);
    assert!(contents(&mut follower) == contents(&mut client), "the copies differ");
    assert_eq!((client.info("sync_full"), client.info("sync_partial_ok")), ("1".to_owned(), "0".to_owned()));
    node.stop();
    primary.stop();
}

#[test]
fn a_replica_that_takes_nothing_is_cut_off_and_costs_no_more_than_its_cap() {
    let primary = primary(NodeLimits {
        backlog_bytes: 1 << 20,
        replica_output_bytes_max: 8 << 20,
        replication_timeout_ms: 60_000,
        ..limits()
    });
    let mut client = Client::connect(primary.address());
    client.expect("SET a 1", "+OK\r\n");
    // A replica that asks to be fed, and then reads nothing.
    let mut silent = Client::connect(primary.address());
    silent.send(&["POINTSMAN", "SYNC", "1", "0", "?", "-1", "7999"]);
    eventually("it is followed", || (client.info("connected_slaves") == "1").then_some(()));
    assert!(client.ask("INFO replication").contains("port=7999"));
    let value = "v".repeat(100_000);
    let mut most = 0;
    eventually("it is cut off", || {
        for number in 0..20 {
            client.call(&["SET", &format!("key:{number}"), &value]);
        }
        most = most.max(client.info("mem_replication_backlog").parse::<usize>().unwrap());
        (client.info("connected_slaves") == "0").then_some(())
    });
    assert!(most < 12 << 20, "{most} bytes were kept for it");
    // Without it the backlog shrinks to what it is configured to be.
    client.call(&["SET", "b", &value]);
    assert!(client.info("mem_replication_backlog").parse::<usize>().unwrap() < 2 << 20);
    primary.stop();
}

#[test]
fn info_tells_both_sides() {
    let primary = primary(limits());
    let mut client = Client::connect(primary.address());
    assert_eq!(client.info("role"), "master");
    assert_eq!(client.info("connected_slaves"), "0");
    assert_eq!(client.info("master_repl_offset"), "0");
    let node = replica(primary.address().clone(), limits());
    let mut follower = wait_for_link(&node);
    client.expect("SET k v", "+OK\r\n");
    wait_for_offset(&mut client, &mut follower);
    let offset = client.info("master_repl_offset");
    assert_eq!(offset, "27", "the length of the effect SET k v");
    let line = eventually("the replica has acknowledged", || {
        let line = client.info("slave0");
        line.contains(&format!("offset={offset},")).then_some(line)
    });
    let port = node.address().port();
    assert_eq!(line, format!("ip=127.0.0.1,port={port},state=online,offset={offset},lag=0"));
    for (field, value) in [
        ("role", "slave"),
        ("master_host", "127.0.0.1"),
        ("master_port", &primary.address().port().to_string()),
        ("master_link_status", "up"),
        ("master_last_io_seconds_ago", "0"),
        ("master_sync_in_progress", "0"),
        ("slave_repl_offset", &offset),
        ("master_repl_offset", &offset),
        ("slave_read_only", "1"),
        ("connected_slaves", "0"),
    ] {
        assert_eq!(follower.info(field), value, "{field}");
    }
    assert_eq!(follower.info("master_replid"), client.info("master_replid"));
    client.expect("WAIT 1 100", ":1\r\n");
    follower.expect("WAIT 1 100", "-ERR WAIT cannot be used with replica instances. Please also note that writes to replicas are just local and are not propagated.\r\n");
    let role = follower.ask("ROLE");
    assert!(role.starts_with("*5\r\n$5\r\nslave\r\n") && role.contains("connected"), "{role}");
    let role = client.ask("ROLE");
    assert_eq!(
        role,
        format!(
            "*3\r\n$6\r\nmaster\r\n:{offset}\r\n*1\r\n*3\r\n$9\r\n127.0.0.1\r\n$5\r\n{port}\r\n$2\r\n{offset}\r\n"
        )
    );
    // Nobody follows a replica.
    follower.expect(
        "POINTSMAN SYNC 1 0 ? -1 1",
        &format!("-ERR this node is a replica itself; its primary is {}\r\n", primary.address()),
    );
    client.expect("POINTSMAN SYNC 1 9 ? -1 1", "-ERR this node's epoch is 0, older than 9\r\n");
    node.stop();
    eventually("the primary forgets the replica", || (client.info("connected_slaves") == "0").then_some(()));
    primary.stop();
}

#[test]
fn a_replica_without_a_copy_shows_nothing() {
    // Its primary accepts, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = HostPort::new("127.0.0.1", silent.local_addr().unwrap().port());
    let node = replica(address, limits());
    let mut client = Client::connect(node.address());
    client.expect("GET a", "-LOADING Redis is loading the dataset in memory\r\n");
    client.expect("PING", "-LOADING Redis is loading the dataset in memory\r\n");
    client.expect("SET a 1", "-READONLY You can't write against a read only replica.\r\n");
    assert_eq!(client.info("master_link_status"), "down");
    assert_eq!(client.info("loading"), "0");
    node.stop();
}

#[test]
fn a_replica_tries_until_its_primary_is_there() {
    let (listener, address) = common::listen();
    drop(listener);
    let node = replica(address.clone(), limits());
    let mut follower = Client::connect(node.address());
    assert_eq!(follower.info("master_link_status"), "down");
    let listener =
        eventually("the port is free", || TcpListener::bind((address.host(), address.port())).ok());
    let spec = pointsman_store::NodeSpec::standalone(address, pointsman_store::Role::Primary, limits());
    let primary = pointsman_store::start(spec, listener).unwrap();
    let mut client = Client::connect(primary.address());
    client.expect("SET k v", "+OK\r\n");
    let mut follower = wait_for_link(&node);
    wait_for_offset(&mut client, &mut follower);
    follower.expect("GET k", "$1\r\nv\r\n");
    node.stop();
    primary.stop();
}

#[test]
fn expired_keys_are_hidden_by_a_replica_and_removed_by_the_primary() {
    // A primary that does not sweep by itself for a while, so that the replica can be caught waiting.
    let primary = primary(NodeLimits { tick_ms: 3_600_000, ..limits() });
    let node = replica(primary.address().clone(), limits());
    let mut follower = wait_for_link(&node);
    let mut client = Client::connect(primary.address());
    client.expect("SET short v PX 100", "+OK\r\n");
    client.expect("SET long v EX 1000", "+OK\r\n");
    wait_for_offset(&mut client, &mut follower);
    follower.expect("DBSIZE", ":2\r\n");
    eventually("the replica hides what has expired", || {
        (follower.ask("GET short") == "$-1\r\n").then_some(())
    });
    follower.expect("EXISTS short", ":0\r\n");
    follower.expect("TTL short", ":-2\r\n");
    follower.expect("KEYS *", "*1\r\n$4\r\nlong\r\n");
    // It is there all the same, until the primary says otherwise.
    follower.expect("DBSIZE", ":2\r\n");
    client.expect("GET short", "$-1\r\n");
    wait_for_offset(&mut client, &mut follower);
    follower.expect("DBSIZE", ":1\r\n");
    assert_eq!(client.info("expired_keys"), "1");
    node.stop();
    primary.stop();
}

#[test]
fn active_expiry_removes_keys_that_nobody_asks_for() {
    let primary = primary(limits());
    let node = replica(primary.address().clone(), limits());
    let mut follower = wait_for_link(&node);
    let mut client = Client::connect(primary.address());
    for number in 0..2_000 {
        client.call(&["SET", &format!("k:{number}"), "v", "PX", "20"]);
    }
    client.expect("SET stays v", "+OK\r\n");
    eventually("the primary has removed them", || (client.ask("DBSIZE") == ":1\r\n").then_some(()));
    eventually("the replica has removed them", || (follower.ask("DBSIZE") == ":1\r\n").then_some(()));
    assert_eq!(client.info("expired_keys"), "2000");
    node.stop();
    primary.stop();
}

#[test]
fn several_effects_of_one_command_are_seen_together() {
    let primary = primary(limits());
    let node = replica(primary.address().clone(), limits());
    let mut follower = wait_for_link(&node);
    let address = primary.address().clone();
    let done = Arc::new(AtomicBool::new(false));
    let writer_done = Arc::clone(&done);
    let writer = std::thread::spawn(move || {
        let mut client = Client::connect(&address);
        let padding = "p".repeat(30_000);
        for number in 0..2_000 {
            let number = number.to_string();
            client.call(&["MSET", "first", &number, "padding", &padding, "last", &number]);
        }
        writer_done.store(true, Ordering::SeqCst);
    });
    let mut seen = std::collections::BTreeSet::new();
    while !done.load(Ordering::SeqCst) {
        let reply = follower.ask("MGET first last");
        let lines: Vec<&str> = reply.split("\r\n").collect();
        if lines.len() > 4 {
            assert_eq!(lines[2], lines[4], "half a command is seen");
            seen.insert(lines[2].to_owned());
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    writer.join().unwrap();
    assert!(seen.len() > 3, "nothing was seen in between: {seen:?}");
    node.stop();
    primary.stop();
}

#[test]
fn flushing_reaches_a_replica() {
    let primary = primary(limits());
    let node = replica(primary.address().clone(), limits());
    let mut follower = wait_for_link(&node);
    let mut client = Client::connect(primary.address());
    (0..1000).for_each(|number| drop(client.call(&["SET", &number.to_string(), "v"])));
    client.expect("FLUSHALL ASYNC", "+OK\r\n");
    client.expect("SET after v", "+OK\r\n");
    wait_for_offset(&mut client, &mut follower);
    follower.expect("KEYS *", "*1\r\n$5\r\nafter\r\n");
    node.stop();
    primary.stop();
}
