//! T39: set algebra over slots is refused, or computed where the listener says so: then it answers as
//! one redis-server does, and what it stores appears in one step.

use pointsman_integration::eventually::StopOnDrop;
use pointsman_integration::fake::{Act, Rule, key_on};
use pointsman_integration::mover::in_turn;
use pointsman_integration::reply::show_request;
use pointsman_integration::{Client, Cluster, Fake, Random, RedisServer, Reply, Setup};
use std::sync::atomic::{AtomicBool, Ordering};

fn computing(addresses: Vec<String>) -> Setup {
    Setup::cluster(addresses).with(|setup| setup.listener_extra.push("cross_slot: compute".into()))
}

const SETS: usize = 6;
const SORTED: usize = 6;
const COUNTERS: usize = 5;

fn names() -> Vec<String> {
    let mut names = vec!["t39a:text".to_owned(), "t39a:none".to_owned()];
    names.extend((0..SETS).map(|n| format!("t39a:s{n}")));
    names.extend((0..SORTED).map(|n| format!("t39a:z{n}")));
    names.extend((0..COUNTERS).map(|n| format!("t39a:h{n}")));
    names
}

/// The same random content on both.
fn fill(random: &mut Random, both: [&mut Client; 2]) {
    let mut requests: Vec<Vec<String>> = names().into_iter().map(|name| vec!["DEL".into(), name]).collect();
    requests.push(["SET", "t39a:text", "x"].map(String::from).to_vec());
    for n in 0..SETS {
        let members = (0..random.below(12)).map(|_| format!("m{}", random.below(15)));
        let request: Vec<String> =
            ["SADD".to_owned(), format!("t39a:s{n}")].into_iter().chain(members).collect();
        requests.extend((request.len() > 2).then_some(request));
    }
    for n in 0..SORTED {
        for _ in 0..random.below(12) {
            let score =
                random.word(&["0", "1", "-3", "2.5", "0.1", "-0.7", "123456789012", "inf", "-inf", "3.3e-9"]);
            let member = format!("m{}", random.below(15));
            requests.push(vec!["ZADD".into(), format!("t39a:z{n}"), score.into(), member]);
        }
    }
    for n in 0..COUNTERS {
        // Few elements are kept as runs, many are packed.
        let count = [0, 3, 40, 700, 6000][random.below(5)];
        let elements = (0..count).map(|_| random.below(20_000).to_string());
        let request: Vec<String> =
            ["PFADD".to_owned(), format!("t39a:h{n}")].into_iter().chain(elements).collect();
        requests.push(request);
    }
    for client in both {
        for (request, reply) in requests.iter().zip(client.pipeline(&requests)) {
            assert!(!reply.is_error(), "{}: {reply}", request[0]);
        }
    }
}

fn some_keys(random: &mut Random, family: &str) -> Vec<String> {
    (0..1 + random.below(4))
        .map(|_| match (family, random.below(40)) {
            (_, 0) => "t39a:text".to_owned(),
            (_, 1..4) => "t39a:none".to_owned(),
            ("h", _) => format!("t39a:h{}", random.below(COUNTERS)),
            ("z", 4..12) => format!("t39a:s{}", random.below(SETS)),
            ("z", _) => format!("t39a:z{}", random.below(SORTED)),
            _ => format!("t39a:s{}", random.below(SETS)),
        })
        .collect()
}

/// A random request, and whether its answer has an order.
fn request(random: &mut Random) -> (Vec<String>, bool) {
    let verb = random.word(&[
        "SUNION",
        "SINTER",
        "SDIFF",
        "SINTERCARD",
        "SUNIONSTORE",
        "SINTERSTORE",
        "SDIFFSTORE",
        "ZUNION",
        "ZINTER",
        "ZDIFF",
        "ZINTERCARD",
        "ZUNIONSTORE",
        "ZINTERSTORE",
        "ZDIFFSTORE",
        "PFCOUNT",
        "PFMERGE",
    ]);
    let family = match &verb[..1] {
        "P" => "h",
        "Z" => "z",
        _ => "s",
    };
    let (stores, counts) = (verb.ends_with("STORE") || verb == "PFMERGE", verb.ends_with("CARD"));
    let keys = some_keys(random, family);
    let mut words = vec![verb.to_owned()];
    if stores {
        words.extend(some_keys(random, family).pop());
    }
    if family == "z" || counts {
        words.push(keys.len().to_string());
    }
    let count = keys.len();
    words.extend(keys);
    if counts && random.once_in(2) {
        words.extend(["limit".to_owned(), random.below(4).to_string()]);
    }
    if family == "z" && !counts && !verb.contains("DIFF") {
        if random.once_in(2) {
            words.push("WEIGHTS".into());
            words.extend(
                (0..count).map(|_| random.word(&["1", "2", "0", "-1", "0.5", "inf", "1e3"]).to_owned()),
            );
        }
        if random.once_in(2) {
            words.extend(["AGGREGATE".to_owned(), random.word(&["SUM", "MIN", "max"]).to_owned()]);
        }
    }
    if family == "z" && !counts && !stores && random.once_in(2) {
        words.push("WITHSCORES".into());
    }
    (words, !matches!(verb, "SUNION" | "SINTER" | "SDIFF"))
}

fn in_any_order(reply: &Reply) -> (u8, Vec<Vec<u8>>) {
    if reply.is_error() {
        return (b'-', vec![reply.0.clone()]);
    }
    let mut elements: Vec<Vec<u8>> = reply.elements().into_iter().map(|element| element.0).collect();
    elements.sort();
    (reply.0[0], elements)
}

#[test]
fn t39_computed_as_on_one_server() {
    let (cluster, server) = (Cluster::shared(), RedisServer::standalone());
    let pointsman = computing(cluster.addresses()).start();
    let mut random = Random::for_test(39);
    for resp in ["2", "3"] {
        let (mut proxied, mut alone) = (pointsman.client(), server.client());
        for client in [&mut proxied, &mut alone] {
            client.command(&["HELLO", resp]);
        }
        for _ in 0..12 {
            fill(&mut random, [&mut proxied, &mut alone]);
            for _ in 0..60 {
                let (words, ordered) = request(&mut random);
                let (ours, theirs) = (proxied.command(&words), alone.command(&words));
                if ordered {
                    assert_eq!(ours, theirs, "{}", show_request(&words));
                } else {
                    assert_eq!(in_any_order(&ours), in_any_order(&theirs), "{}", show_request(&words));
                }
                // What it stored, and that it is a set, a sorted set, or nothing.
                if words[0].ends_with("STORE") || words[0] == "PFMERGE" {
                    for look in [
                        vec!["TYPE", &words[1]],
                        vec!["ZRANGE", &words[1], "0", "-1", "WITHSCORES"],
                        vec!["SORT", &words[1], "ALPHA"],
                        vec!["PFCOUNT", &words[1]],
                        vec!["TTL", &words[1]],
                    ] {
                        let (ours, theirs) = (proxied.command(&look), alone.command(&look));
                        assert_eq!(ours, theirs, "{} after {}", show_request(&look), show_request(&words));
                    }
                }
            }
        }
    }
}

#[test]
fn t39_refused_unless_the_listener_says_otherwise() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut client = pointsman.client();
    for line in [
        "SUNION t39r:a t39r:b",
        "ZUNIONSTORE t39r:a 2 t39r:b t39r:c",
        "PFCOUNT t39r:a t39r:b",
        "SINTERCARD 2 t39r:a t39r:b",
    ] {
        assert!(client.line(line).is_error_of("CROSSSLOT"), "{line}");
    }
    assert!(!client.line("SUNION {t39r}:a {t39r}:b").is_error());
    let computing = computing(cluster.addresses()).start();
    let mut client = computing.client();
    for line in [
        "RENAME t39r:a t39r:b",
        "SMOVE t39r:a t39r:b m",
        "MSETNX t39r:a 1 t39r:b 2",
        "BITOP AND t39r:a t39r:b",
        "COPY t39r:a t39r:b",
    ] {
        assert!(client.line(line).is_error_of("CROSSSLOT"), "{line}");
    }
    client.line("MULTI");
    assert!(client.line("SUNION t39r:a t39r:b").is_error_of("CROSSSLOT"), "not inside a transaction");
    client.line("DISCARD");
}

#[test]
fn t39_a_stored_result_is_never_seen_by_half_and_keeps_its_clients_order() {
    let cluster = Cluster::shared();
    let pointsman = computing(cluster.addresses()).start();
    let mut client = pointsman.client();
    let members: Vec<String> = (0..9000).map(|n| n.to_string()).collect();
    for key in ["t39h:a", "t39h:b"] {
        let mut add = vec!["SADD", key];
        add.extend(members.iter().map(String::as_str));
        client.command(&["DEL", key]);
        assert_eq!(client.command(&add).int(), 9000);
    }
    client.line("DEL t39h:d");
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut other = pointsman.client();
            let mut looks = 0;
            while !ended.load(Ordering::Relaxed) {
                let count = other.line("SCARD t39h:d").int();
                assert!([0, 9000, 1].contains(&count), "half of it was seen: {count}");
                looks += 1;
            }
            looks
        });
        let ending = StopOnDrop(&ended);
        for _ in 0..10 {
            // What comes behind it in the pipeline sees it.
            let replies = client.pipeline(&[
                vec!["SUNIONSTORE", "t39h:d", "t39h:a", "t39h:b"],
                vec!["SCARD", "t39h:d"],
                vec!["DEL", "t39h:d"],
                vec!["SADD", "t39h:d", "other"],
                vec!["SINTERSTORE", "t39h:d", "t39h:a", "t39h:b"],
                vec!["SCARD", "t39h:d"],
            ]);
            let numbers: Vec<i64> = replies.iter().map(Reply::int).collect();
            assert_eq!(numbers, [9000, 9000, 1, 1, 9000, 9000]);
        }
        drop(ending);
        assert!(looking.join().expect("it looked") > 0);
    });
}

#[test]
fn t39_more_than_the_caps_allow_is_refused_and_let_go() {
    let cluster = Cluster::shared();
    let pointsman = computing(cluster.addresses())
        .with(|setup| setup.listener_extra.push("cross_slot_bytes_max: 1KiB".into()))
        .start();
    let mut client = pointsman.client();
    client.line("DEL t39c:a t39c:b t39c:d");
    client.command(&["SADD", "t39c:a", &"x".repeat(2000)]);
    client.line("SADD t39c:b small");
    client.line("SADD t39c:d before");
    for line in ["SUNION t39c:a t39c:b", "SUNIONSTORE t39c:d t39c:a t39c:b"] {
        assert!(client.line(line).error().contains("cross_slot_bytes_max: 1024"), "{line}");
    }
    assert_eq!(client.line("SCARD t39c:d").int(), 1, "nothing was stored");
    assert_eq!(client.line("SCARD t39c:b").int(), 1, "the client goes on");
    let metrics = pointsman.metrics();
    assert_eq!(metrics.sum("pointsman_cross_slot_bytes", &[]), 0.0);
    assert_eq!(metrics.sum("pointsman_cross_slot_refused_total", &[]), 2.0);
}

/// A slot of each kind of key moves back and forth meanwhile: parts and writes are redirected.
#[test]
fn t39_it_outlives_moves_of_its_slots() {
    let cluster = Cluster::start(3, 0);
    let pointsman = computing(cluster.addresses()).start();
    let mut client = pointsman.client();
    client.line("SADD t39m:a 1 2 3");
    client.line("SADD t39m:b 3 4");
    client.line("ZADD t39m:z 1 x 2 3");
    let slots =
        ["t39m:a", "t39m:b", "t39m:z", "t39m:d"].map(|key| pointsman_protocol::Slot::of(key.as_bytes()));
    in_turn(&cluster, &slots, 3, 50, |_| {
        let mut reply = client.line("SUNION t39m:a t39m:b");
        assert_eq!(in_any_order(&reply).1.len(), 4, "{reply}");
        reply = client.line("ZUNIONSTORE t39m:d 3 t39m:a t39m:b t39m:z AGGREGATE MAX");
        assert!(reply == ":5\r\n", "{reply}");
        reply = client.line("ZSCORE t39m:d 3");
        assert!(reply == "$1\r\n2\r\n", "{reply}");
    });
}

/// An error of one part is the whole's, and the write is not made; one whose fate is unknown is not repeated.
#[test]
fn t39_what_fails_is_told_and_stores_nothing() {
    let fake = Fake::start(2, 0);
    let pointsman = computing(fake.addresses()).allow(&["connection lost"]).start();
    let mut client = pointsman.client();
    let keys = [key_on(0, 2, "t39f", 0), key_on(1, 2, "t39f", 0)];
    fake.rule(Rule::on("SUNION", Act::Answer(b"*1\r\n$1\r\nm\r\n".to_vec())).at(0));
    fake.rule(Rule::on("SUNION", Act::Error("WRONGTYPE no set".into())).at(1).times(1));
    let store = ["SUNIONSTORE", "d", &keys[0], &keys[1]];
    assert_eq!(client.command(&store).error(), "WRONGTYPE no set");
    assert!(fake.received(|received| received.is("SADD") || received.is("DEL")).is_empty());
    fake.rule(Rule::on("SUNION", Act::Redirect { to: 0, asking: false }).at(1));
    fake.rule(Rule::on("EXEC", Act::CloseBefore).times(1));
    let told = client.command(&store).error();
    assert!(told.contains("may or may not have been executed"), "{told}");
    assert_eq!(fake.received(|received| received.is("SADD")).len(), 1, "it is not sent again");
    assert_eq!(pointsman.metrics().sum("pointsman_cross_slot_bytes", &[]), 0.0);
}
