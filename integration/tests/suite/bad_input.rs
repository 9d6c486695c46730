//! T17, T19, T21, T93, T96, T97: clients that send nonsense, too much, too slowly, or never read. Each gets
//! a clear error or is closed, memory stays bounded, and its neighbours notice nothing.

use pointsman_integration::client::words;
use pointsman_integration::eventually::{StopOnDrop, check, eventually, within};
use pointsman_integration::fake::{Act, Rule, key_on};
use pointsman_integration::{Client, Cluster, Fake, Pointsman, Random, Reply, Setup};
use std::collections::BTreeSet;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Soon enough for a close that follows an error.
const CLOSED: Duration = Duration::from_secs(10);

/// Resident memory of the proxy, in bytes.
fn resident(pointsman: &Pointsman) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pointsman.pid())).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("the kernel tells");
    let kib: usize = line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number");
    kib * 1024
}

/// Its open file descriptors.
fn descriptors(pointsman: &Pointsman) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", pointsman.pid())).expect("it runs").count()
}

/// Runs `work` while a neighbour on the same worker asks both shards without a pause; every answer must be
/// its own, and come soon. `work` may look how many rounds it has made. Gives its longest wait.
fn beside_a_neighbour(pointsman: &Pointsman, work: impl FnOnce(&AtomicUsize)) -> Duration {
    let (stop, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let neighbour = scope.spawn(|| {
            let mut client = pointsman.client();
            let keys = [key_on(0, 2, "neighbour", 0), key_on(1, 2, "neighbour", 0)];
            let (mut longest, mut round) = (Duration::ZERO, 0);
            while !stop.load(Ordering::Relaxed) || round == 0 {
                round += 1;
                let value = format!("neighbour {round}");
                for key in &keys {
                    let began = Instant::now();
                    assert_eq!(client.command(&["SET", key, &value]), Reply::ok());
                    assert_eq!(client.command(&["GET", key]), Reply::bulk(&value));
                    longest = longest.max(began.elapsed());
                }
                rounds.store(round, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(1));
            }
            longest
        });
        let stopping = StopOnDrop(&stop);
        work(&rounds);
        drop(stopping);
        neighbour.join().expect("the neighbour got its own answers")
    })
}

/// What no client should send, and how the answer begins; empty where nothing but a close is due.
const NONSENSE: &[(&[u8], &str)] = &[
    (b"*1\r\n+PING\r\n", "-ERR Protocol error: expected '$', got '+'"),
    (b"*1\r\n:1\r\n", "-ERR Protocol error: expected '$', got ':'"),
    (b"*2\r\n$3\r\nGET\r\n*1\r\n", "-ERR Protocol error: expected '$', got '*'"),
    (b"*x\r\n", "-ERR Protocol error: invalid multibulk length"),
    (b"*2147483648\r\n", "-ERR Protocol error: invalid multibulk length"),
    (b"*99999999999999999999\r\n", "-ERR Protocol error: invalid multibulk length"),
    (b"*1048577\r\n", "-ERR Protocol error: invalid multibulk length"),
    (b"*1\r\n$x\r\n", "-ERR Protocol error: invalid bulk length"),
    (b"*1\r\n$-1\r\n", "-ERR Protocol error: invalid bulk length"),
    (b"*1\r\n$99999999999\r\n", "-ERR Protocol error: invalid bulk length"),
    (b"*2\r\n$3\r\nGET\r\n$536870913\r\n", "-ERR Protocol error: invalid bulk length"),
    (b"SET k \"unbalanced\r\n", "-ERR Protocol error: unbalanced quotes in request"),
    (b"SET k 'unbalanced\r\n", "-ERR Protocol error: unbalanced quotes in request"),
];

#[test]
fn t19_t21_nonsense_is_told_behind_what_came_before_it() {
    let fake = Fake::start(2, 0);
    let pointsman = Setup::cluster(fake.addresses()).start();
    let key = key_on(1, 2, "before", 0);
    pointsman.client().command(&["SET", &key, "v"]);
    beside_a_neighbour(&pointsman, |_| {
        for (bytes, told) in NONSENSE {
            let mut client = pointsman.client();
            let mut all = format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len()).into_bytes();
            all.extend_from_slice(bytes);
            all.extend_from_slice(b"*3\r\n$3\r\nSET\r\n$6\r\nstolen\r\n$1\r\n1\r\n");
            client.send_bytes(&all);
            assert_eq!(client.read(), Reply::bulk("v"), "{}", bytes.escape_ascii());
            let error = client.read();
            assert!(error.0.starts_with(told.as_bytes()), "{}: {error}", bytes.escape_ascii());
            assert!(client.is_closed_within(CLOSED), "{}", bytes.escape_ascii());
        }
    });
    assert!(pointsman.client().line("GET stolen").is_null());
    let counted = pointsman.metrics().sum("pointsman_protocol_errors_total", &[]);
    assert_eq!(counted, NONSENSE.len() as f64);
}

/// The limits of the configuration, met exactly and passed by one.
#[test]
fn t19_what_is_too_large_is_refused_before_it_is_held() {
    let fake = Fake::start(2, 0);
    let pointsman = Setup::cluster(fake.addresses())
        .with(|setup| {
            let limits = [
                "client_limits:",
                "  args_max: 100",
                "  bulk_bytes_max: 1MiB",
                "  request_bytes_max: 2MiB",
                "  inline_bytes_max: 64KiB",
            ];
            setup.listener_extra.extend(limits.map(str::to_owned));
        })
        .start();
    let value = vec![b'v'; 1 << 20];
    let mut fits = pointsman.client();
    assert_eq!(fits.command(&[&b"SET"[..], b"k", &value]), Reply::ok());
    let hundred: Vec<String> =
        std::iter::once("EXISTS".to_owned()).chain((0..99).map(|n| format!("{{k}}{n}"))).collect();
    assert_eq!(fits.command(&hundred), Reply::number(0));
    let before = resident(&pointsman);
    beside_a_neighbour(&pointsman, |_| {
        for (bytes, told) in [
            (&b"*101\r\n$3\r\nDEL\r\n"[..], "invalid multibulk length"),
            (b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1048577\r\n", "invalid bulk length"),
            (b"*4\r\n$6\r\nAPPEND\r\n$1048576\r\n", ""),
        ] {
            let mut client = pointsman.client();
            client.send_bytes(bytes);
            if told.is_empty() {
                // Two arguments fit, together with a third they do not.
                let mut rest = value.clone();
                rest.extend_from_slice(b"\r\n$1048576\r\n");
                client.send_bytes(&rest);
            }
            let reply = client.read();
            assert!(reply.error().contains(told), "{reply}");
            assert!(client.is_closed_within(CLOSED));
        }
        // A line without an end.
        let mut client = pointsman.client();
        let line = vec![b'x'; 70 * 1024];
        drop((&mut client.stream()).write_all(&line));
        let reply = client.read();
        assert!(reply.error().contains("too big inline request"), "{reply}");
        assert!(client.is_closed_within(CLOSED));
    });
    let grown = resident(&pointsman).saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more than before");
}

/// Lengths are only claims: a thousand clients that announce half a gigabyte each cost next to nothing.
#[test]
fn t19_who_only_announces_much_costs_little() {
    let fake = Fake::start(2, 0);
    let pointsman = Setup::cluster(fake.addresses()).start();
    pointsman.client().line("PING");
    let before = resident(&pointsman);
    beside_a_neighbour(&pointsman, |_| {
        let clients: Vec<Client> = (0..1000)
            .map(|number| {
                let mut client = pointsman.client();
                client.send_bytes(match number % 3 {
                    0 => b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\nabc",
                    1 => b"*1048576\r\n$4\r\nMGET\r\n$1\r\nk\r\n",
                    _ => b"*2\r\n$536870912\r\nabc",
                });
                client
            })
            .collect();
        eventually("all are connected", || {
            let connected = pointsman.metrics().sum("pointsman_client_connections", &[]);
            check(connected >= 1000.0, connected)
        });
        let grown = resident(&pointsman).saturating_sub(before);
        assert!(grown < 100 << 20, "{grown} bytes for {} clients", clients.len());
    });
}

/// The other half of the connection stays: all that was asked for must still come, then the end.
#[test]
fn t21_a_client_that_sends_no_more_gets_all_its_replies() {
    const REQUESTS: usize = 5000;
    let cluster = Cluster::shared();
    // A stop at every eighth request makes it hard.
    let pointsman = Setup::cluster(cluster.addresses())
        .with(|setup| setup.listener_extra.extend(["client_limits:".into(), "  inflight_max: 8".into()]))
        .start();
    let mut client = pointsman.client();
    thread::scope(|scope| {
        let mut bytes = Vec::new();
        for n in 0..REQUESTS {
            let (key, value) = (format!("half:{}", n % 100), n.to_string());
            pointsman_protocol::resp::encode::request(&mut bytes, &words(&["SETEX", &key, "100", &value]));
            pointsman_protocol::resp::encode::request(&mut bytes, &words(&["GET", &key]));
        }
        let mut stream = client.stream().try_clone().expect("a socket can be shared");
        scope.spawn(move || {
            stream.write_all(&bytes).expect("the proxy reads on");
            stream.shutdown(Shutdown::Write).expect("it is open");
        });
        for n in 0..REQUESTS {
            assert_eq!(client.read(), Reply::ok(), "{n}");
            assert_eq!(client.read(), Reply::bulk(n.to_string()));
        }
    });
    assert!(client.is_closed_within(CLOSED));
    // One that stops in the middle of a request is closed behind the replies before it.
    let mut client = pointsman.client();
    client.send_bytes(b"PING\r\n*2\r\n$3\r\nGET\r\n$1");
    client.finish_sending();
    assert_eq!(client.read(), "+PONG\r\n");
    assert!(client.is_closed_within(CLOSED));
}

/// A hundred thousand requests and nobody who reads: the requests wait with the client, not with us.
#[test]
fn t17_t93_a_pipeline_whose_replies_are_not_read_is_stopped() {
    const REQUESTS: usize = 100_000;
    let fake = Fake::start(2, 0);
    let pointsman = Setup::cluster(fake.addresses()).start();
    let key = key_on(0, 2, "unread", 0);
    let value = "v".repeat(1000);
    pointsman.client().command(&["SET", &key, &value]);
    let before = resident(&pointsman);
    let mut request = Vec::new();
    pointsman_protocol::resp::encode::request(&mut request, &words(&["GET", &key]));
    let mut client = pointsman.client();
    let mut sending = client.stream().try_clone().expect("a socket can be shared");
    let mut most = 0;
    let longest = beside_a_neighbour(&pointsman, |rounds| {
        thread::scope(|scope| {
            let all = request.repeat(REQUESTS);
            scope.spawn(move || sending.write_all(&all).expect("it is read in the end"));
            // Until the nodes are asked for nothing more on its behalf, while the neighbour, which shares worker
            // and connection, has asked them again and again.
            let (mut count, mut since) = (0, 0);
            eventually("it is stopped", || {
                most = most.max(resident(&pointsman));
                let (now, round) = (fake.count("GET", &key), rounds.load(Ordering::Relaxed));
                if now != count || now == 0 {
                    (count, since) = (now, round);
                }
                check(round >= since + 30, (now, round))
            });
            assert!(count < REQUESTS, "it was stopped at {count} requests");
            let stopped = rounds.load(Ordering::Relaxed);
            // Who begins to read gets all of them, and the neighbour goes on meanwhile.
            for number in 0..REQUESTS {
                assert_eq!(client.read(), Reply::bulk(&value), "{number}");
            }
            let meanwhile = rounds.load(Ordering::Relaxed) - stopped;
            assert!(meanwhile >= 20, "the neighbour made {meanwhile} rounds");
        });
    });
    let grown = most.saturating_sub(before);
    assert!(grown < 48 << 20, "{grown} bytes more while nobody read");
    assert!(longest < Duration::from_secs(5), "the neighbour waited for {longest:?}");
    assert_eq!(client.line("PING"), "+PONG\r\n");
}

/// A pipeline that arrives faster than it can be served, and waits for no reply: another client of the same worker
/// looks again and again how far it has come.
#[test]
fn t17_a_long_pipeline_is_served_in_turns() {
    // Some 45 megabytes, of which a worker reads one in a turn.
    const REQUESTS: usize = 1_000_000;
    let fake = Fake::start(1, 0);
    let pointsman = Setup::cluster(fake.addresses()).start();
    let [mut busy, mut other] = [pointsman.client(), pointsman.client()];
    let mut bytes = Vec::new();
    // No replies, which might pile up; and nothing for a node, which might be slow.
    pointsman_protocol::resp::encode::request(&mut bytes, &words(&["CLIENT", "REPLY", "OFF"]));
    for number in 1..=REQUESTS {
        let name = format!("busy{number}");
        pointsman_protocol::resp::encode::request(&mut bytes, &words(&["CLIENT", "SETNAME", &name]));
    }
    let mut seen = BTreeSet::new();
    thread::scope(|scope| {
        scope.spawn(|| busy.send_bytes(&bytes));
        let last = format!(" name=busy{REQUESTS} ");
        within(Duration::from_secs(120), "the last request is served", || {
            // Without a pause in between: the next look is due at once.
            for _ in 0..1000 {
                let list = other.line("CLIENT LIST").text();
                if list.contains(&last) {
                    return Ok(());
                }
                seen.insert(
                    list.split(" name=busy").nth(1).map(|rest| rest.split(' ').next().map(str::to_owned)),
                );
            }
            Err(seen.len())
        });
    });
    assert!(seen.len() >= 8, "the other client had {} turns in between: {seen:?}", seen.len());
}

/// A gigabyte of replies, asked for in small pieces and in large ones, by clients that do not read.
#[test]
fn t93_a_gigabyte_of_replies_that_nobody_reads_is_bounded() {
    let fake = Fake::start(2, 0);
    let pointsman = Setup::cluster(fake.addresses())
        .with(|setup| {
            let limits = ["client_limits:", "  output_bytes_max: 16MiB", "  output_pause_bytes: 256KiB"];
            setup.listener_extra.extend(limits.map(str::to_owned));
        })
        .allow(&["does not read its replies"])
        .start();
    let key = key_on(0, 2, "huge", 0);
    fake.change(|world| world.data[0].put(key.as_bytes(), &vec![b'v'; 8 << 20]));
    pointsman.client().line("PING");
    let before = resident(&pointsman);
    let mut most = 0;
    let longest = beside_a_neighbour(&pointsman, |_| {
        // All at once: what piles up closes it. And again: the memory is used again.
        for round in 1..=3 {
            let mut greedy = pointsman.client();
            greedy.send_all(&vec![words(&["GET", &key]); 128]);
            eventually("it is closed", || {
                most = most.max(resident(&pointsman));
                let closed = pointsman.metrics().sum("pointsman_clients_overflowed_total", &[]);
                check(closed == f64::from(round), closed)
            });
            drop(greedy);
        }
    });
    let grown = most.saturating_sub(before);
    assert!(grown < 256 << 20, "{grown} bytes more while nobody read three gigabytes");
    assert!(longest < Duration::from_secs(10), "the neighbour waited for {longest:?}");
    eventually("nothing is in flight", || {
        let inflight = pointsman.metrics().sum("pointsman_inflight_requests", &[]);
        check(inflight == 0.0, inflight)
    });
}

/// Fifty clients that send a byte now and then.
#[test]
fn t19_slow_senders_hold_up_nobody() {
    let fake = Fake::start(2, 0);
    let pointsman = Setup::cluster(fake.addresses()).start();
    let longest = beside_a_neighbour(&pointsman, |_| {
        let mut clients: Vec<Client> = (0..50).map(|_| pointsman.client()).collect();
        let requests: Vec<Vec<u8>> = (0..50)
            .map(|number| {
                let mut bytes = Vec::new();
                let key = format!("slow{number}");
                pointsman_protocol::resp::encode::request(&mut bytes, &words(&["SET", &key, &key]));
                bytes.extend_from_slice(format!("GET {key}\r\n").as_bytes());
                bytes
            })
            .collect();
        let most = requests.iter().map(Vec::len).max().expect("there are some");
        for at in 0..most {
            for (client, request) in clients.iter_mut().zip(&requests) {
                if let Some(byte) = request.get(at) {
                    client.send_bytes(&[*byte]);
                }
            }
        }
        for (number, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.read(), Reply::ok());
            assert_eq!(client.read(), Reply::bulk(format!("slow{number}")));
        }
    });
    assert!(longest < Duration::from_secs(5), "the neighbour waited for {longest:?}");
}

/// Who waits in a blocking command may be silent for longer than others.
#[test]
fn t61_who_waits_is_not_idle() {
    let fake = Fake::start(2, 0);
    let pointsman = Setup::cluster(fake.addresses())
        .with(|setup| {
            setup.listener_extra.extend(["client_limits:".into(), "  idle_timeout_ms: 1000".into()]);
        })
        .start();
    let gate = fake.gate();
    let popped = b"*2\r\n$1\r\nk\r\n$1\r\nv\r\n".to_vec();
    fake.rule(Rule::on("BLPOP", Act::Hold(gate.clone())));
    let [mut waits, mut idles] = [pointsman.client(), pointsman.client()];
    waits.send(&["BLPOP", "k", "0"]);
    idles.line("PING");
    assert!(idles.is_closed_within(CLOSED), "the idle one is closed");
    // The one that waits has been silent for as long.
    fake.change(|world| world.rules.clear());
    eventually("one is left", || {
        let connected = pointsman.metrics().sum("pointsman_client_connections", &[]);
        check(connected == 1.0, connected)
    });
    gate.open();
    // The fake knows no lists: its answer is an error, and it is the waiting client's.
    let reply = waits.read();
    assert!(reply.is_error() || reply.0 == popped, "{reply}");
}

/// Thousands of clients that come and go, some in the middle of a request.
#[test]
fn t96_t97_a_storm_of_connections_leaves_nothing_behind() {
    const THREADS: usize = 4;
    const EACH: usize = 1500;
    let fake = Fake::start(2, 0);
    let pointsman = Setup::cluster(fake.addresses()).with(|setup| setup.workers = 2).start();
    let mut random = Random::for_test(97);
    let storm = |random: &mut Random| {
        thread::scope(|scope| {
            for number in 0..THREADS {
                let mut random = random.fork();
                let pointsman = &pointsman;
                scope.spawn(move || {
                    for round in 0..EACH {
                        // A kernel that is out of ports for a moment is no fault.
                        let Ok(mut client) = Client::try_connect(pointsman.address()) else { continue };
                        match random.below(5) {
                            0 => {}
                            1 => client.send_bytes(b"*2\r\n$3\r\nGET\r\n$5\r\nha"),
                            2 => client.send(&["SET", &format!("storm{number}:{round}"), "v"]),
                            3 => {
                                client.send(&["MULTI"]);
                                client.send(&["WATCH", "x"]);
                            }
                            _ => assert_eq!(client.command(&["ECHO", "here"]), Reply::bulk("here")),
                        }
                        if random.once_in(2) { client.reset() } else { drop(client) }
                    }
                });
            }
        });
        eventually("all have gone", || {
            let connected = pointsman.metrics().sum("pointsman_client_connections", &[]);
            check(connected == 0.0, connected)
        });
    };
    storm(&mut random);
    let (before, open) = (resident(&pointsman), descriptors(&pointsman));
    storm(&mut random);
    eventually("descriptors and memory are those after the first storm", || {
        let now = (resident(&pointsman), descriptors(&pointsman));
        check(now.0 < before + (16 << 20) && now.1 <= open + 4, (now, (before, open)))
    });
    assert_eq!(pointsman.client().line("PING"), "+PONG\r\n");
}

/// Other protocols on this port: a TLS client says hello, something sends a packet of its own.
#[test]
fn t19_other_protocols_are_closed_at() {
    let fake = Fake::start(2, 0);
    let pointsman = Setup::cluster(fake.addresses()).allow(&["speaks TLS"]).start();
    // A record of a handshake, version 3.1, whose body holds no line end.
    let mut hello = vec![0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03];
    hello.extend_from_slice(&[0xab; 506]);
    beside_a_neighbour(&pointsman, |_| {
        let mut client = pointsman.client();
        client.send_bytes(&hello);
        assert!(client.is_closed_within(CLOSED), "a client that waits for TLS is not kept waiting");
        let mut client = pointsman.client();
        let random: Vec<u8> = (0..100_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        drop((&mut client.stream()).write_all(&random));
        drop(client.stream().shutdown(Shutdown::Write));
        assert!(client.is_closed_within(CLOSED), "noise ends with a close");
    });
    // Connections that say nothing at all cost a descriptor and nothing else.
    let silent: Vec<TcpStream> =
        (0..200).map(|_| TcpStream::connect(pointsman.address()).expect("it listens")).collect();
    assert_eq!(pointsman.client().line("PING"), "+PONG\r\n");
    drop(silent);
}

/// The kernel's timers of the open connections between these ports, as seen from the first: `02:` and a time where it
/// will ask whether the other side is still there.
fn timers(ours: Option<u16>, theirs: u16) -> Vec<String> {
    const ESTABLISHED: &str = "01";
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel tells");
    let port = |number: u16| format!(":{number:04X}");
    let timer = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_it = ours.is_none_or(|ours| fields[1].ends_with(&port(ours)))
            && fields[2].ends_with(&port(theirs))
            && fields[3] == ESTABLISHED;
        is_it.then(|| fields[5].to_owned())
    };
    table.lines().filter(|line| line.contains(&port(theirs))).filter_map(timer).collect()
}

/// A client whose machine is gone says nothing: the kernel must ask.
#[test]
fn t55_the_kernel_asks_whether_silent_clients_are_still_there() {
    let fake = Fake::start(1, 0);
    let pointsman = Setup::cluster(fake.addresses()).start();
    let mut client = pointsman.client();
    assert_eq!(client.line("PING"), "+PONG\r\n");
    let theirs = client.stream().local_addr().expect("it is connected").port();
    eventually("the kernel will ask", || {
        let timers = timers(Some(pointsman.port()), theirs);
        check(timers.len() == 1 && timers[0].starts_with("02:"), timers)
    });
}

/// Who waits for ever at a node says nothing, and neither does a node whose machine is gone.
#[test]
fn t54_the_kernel_asks_whether_nodes_are_still_there() {
    let fake = Fake::start(1, 0);
    let pointsman = Setup::cluster(fake.addresses()).start();
    let (mut shared, mut waiting) = (pointsman.client(), pointsman.client());
    shared.line("GET k");
    fake.rule(Rule::on("BLPOP", Act::Hold(fake.gate())));
    waiting.send(&["BLPOP", "k", "0"]);
    fake.wait_for("it waits", 1, |received| received.is("BLPOP"));
    let node = fake.change(|world| world.nodes[0].port.number());
    eventually("the kernel will ask on each connection", || {
        let timers = timers(None, node);
        check(timers.len() >= 2 && timers.iter().all(|timer| timer.starts_with("02:")), timers)
    });
}
