//! T25, T61-T68: subscriptions of many clients over few connections, as one server would have them.

use pointsman_integration::client::words;
use pointsman_integration::eventually::{StopOnDrop, check, eventually, throughout};
use pointsman_integration::{Client, Cluster, Pointsman, RedisServer, Reply, Setup};
use pointsman_protocol::Slot;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Both protocols: what a push begins with, and whether HELLO 3 is said first.
const PROTOCOLS: [(char, bool); 2] = [('*', false), ('>', true)];
/// Warnings that a lost connection may cause.
const LOST: &[&str] = &["subscri", "lost", "connect", "refused", "topology"];

fn client(pointsman: &Pointsman, resp3: bool) -> Client {
    let mut client = pointsman.client();
    if resp3 {
        client.line("HELLO 3");
    }
    client
}

/// `message c hi` as the frame that a client gets.
fn frame(kind: char, words: &[&str]) -> String {
    let mut text = format!("{kind}{}\r\n", words.len());
    for word in words {
        match word.strip_prefix(':') {
            Some(number) if number.parse::<i64>().is_ok() => text += &format!(":{number}\r\n"),
            _ => text += &format!("${}\r\n{word}\r\n", word.len()),
        }
    }
    text
}

#[track_caller]
fn expect(client: &mut Client, kind: char, words: &[&str]) {
    assert_eq!(client.read(), frame(kind, words).as_str());
}

/// The next reply or message, if one comes within `span`.
fn hear(client: &mut Client, span: Duration) -> Option<Reply> {
    let timeout = client.stream().read_timeout().expect("a timeout is set");
    client.stream().set_read_timeout(Some(span)).expect("a timeout can be set");
    let heard = client.try_read().ok();
    client.stream().set_read_timeout(timeout).expect("a timeout can be set");
    heard
}

/// Publishes again and again until the subscriber hears it: while a subscription is on its way to
/// another node it may miss messages, and nobody can tell from outside when it has arrived.
#[track_caller]
fn until_heard(subscriber: &mut Client, word: &str, mut publish: impl FnMut(&str)) {
    let mut round = 0;
    let last = eventually("messages flow again", || {
        round += 1;
        let text = format!("{word} {round}");
        publish(&text);
        while let Some(heard) = hear(subscriber, Duration::from_millis(50)) {
            if heard.0.windows(text.len()).any(|bytes| bytes == text.as_bytes()) {
                return Ok(text);
            }
        }
        Err("silence")
    });
    println!("heard {last}");
}

#[test]
fn t62_t63_clients_share_channels_in_both_protocols() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut publisher = pointsman.client();
    for (kind, resp3) in PROTOCOLS {
        let mut clients: Vec<Client> = (0..5).map(|_| client(&pointsman, resp3)).collect();
        for one in &mut clients {
            one.line("SUBSCRIBE ps:a ps:b ps:a");
        }
        for one in &mut clients {
            // The first reply was read by line().
            expect(one, kind, &["subscribe", "ps:b", ":2"]);
            expect(one, kind, &["subscribe", "ps:a", ":2"]);
        }
        assert_eq!(pointsman.metrics().sum("pointsman_backend_subscriptions", &[]), 2.0);
        assert_eq!(pointsman.metrics().sum("pointsman_subscriptions", &[]), 10.0);
        assert_eq!(publisher.line("PUBLISH ps:a hi"), Reply::number(5));
        for one in &mut clients {
            expect(one, kind, &["message", "ps:a", "hi"]);
        }
        let mut leaver = clients.pop().unwrap();
        assert_eq!(leaver.line("UNSUBSCRIBE ps:a"), frame(kind, &["unsubscribe", "ps:a", ":1"]).as_str());
        publisher.line("PUBLISH ps:a again");
        publisher.line("PUBLISH ps:b last");
        expect(&mut leaver, kind, &["message", "ps:b", "last"]);
        for one in &mut clients {
            expect(one, kind, &["message", "ps:a", "again"]);
            expect(one, kind, &["message", "ps:b", "last"]);
        }
        drop((clients, leaver));
        eventually("nothing is subscribed any more", || {
            let left = pointsman.metrics().sum("pointsman_backend_subscriptions", &[]);
            check(left == 0.0 && publisher.line("PUBLISH ps:a x") == Reply::number(0), left)
        });
    }
}

// T62, T65: the same words to a server of its own and to the proxy, the same bytes back.
#[test]
fn t62_t65_answers_are_those_of_one_server() {
    let cluster = Cluster::shared();
    let server = RedisServer::standalone();
    let pointsman = Setup::cluster(cluster.addresses()).start();
    for resp3 in [false, true] {
        let (mut proxied, mut alone) = (client(&pointsman, resp3), server.client());
        if resp3 {
            alone.line("HELLO 3");
        }
        for line in [
            "UNSUBSCRIBE",
            "PUNSUBSCRIBE a",
            "SUNSUBSCRIBE",
            "SUBSCRIBE",
            "SUBSCRIBE one:a one:b one:c",
            "PSUBSCRIBE one:* other:*",
            "SSUBSCRIBE one:s one:t one:u",
            "PING",
            "PING hello",
            "PING a b",
            "GET one:k",
            "CONFIG GET nothing",
            "NOSUCH",
            "GET",
            "MULTI",
            "SUBSCRIBE one:a",
            "UNSUBSCRIBE one:nothing one:c",
            "PUNSUBSCRIBE one:* other:*",
            "GET one:k",
            "UNSUBSCRIBE one:b one:a",
            "GET one:k",
            "UNSUBSCRIBE",
            "SUNSUBSCRIBE one:s one:t one:u",
            "SUNSUBSCRIBE",
            "GET one:k",
            "SUBSCRIBE one:a",
            "RESET",
            "GET one:k",
        ] {
            if line == "MULTI" && resp3 {
                // Transactions have tests of their own.
                continue;
            }
            // ECHO would be refused in the mode of RESP2 subscribers, PING is not.
            let end = words(&["PING", "end"]);
            let request: Vec<Vec<u8>> = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
            let all = |client: &mut Client| {
                client.send_all(&[request.clone(), end.clone()]);
                let mut replies = Vec::new();
                loop {
                    let reply = client.read();
                    if reply.0.windows(3).any(|bytes| bytes == b"end") {
                        replies.push(reply);
                        return replies;
                    }
                    replies.push(reply);
                }
            };
            assert_eq!(all(&mut proxied), all(&mut alone), "{line} (RESP3: {resp3})");
        }
    }
}

#[test]
fn t65_a_message_comes_for_the_channel_and_for_each_pattern() {
    // Not shared: the pattern hears everything.
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut publisher = pointsman.client();
    for (kind, resp3) in PROTOCOLS {
        let mut subscriber = client(&pointsman, resp3);
        subscriber.line("SUBSCRIBE pat:news");
        subscriber.line("PSUBSCRIBE pat:*");
        subscriber.line("PSUBSCRIBE *");
        publisher.line("PUBLISH pat:news hi");
        let mut heard: Vec<String> =
            (0..3).map(|_| String::from_utf8(subscriber.read().0).unwrap()).collect();
        heard.sort();
        let mut expected = vec![
            frame(kind, &["message", "pat:news", "hi"]),
            frame(kind, &["pmessage", "pat:*", "pat:news", "hi"]),
            frame(kind, &["pmessage", "*", "pat:news", "hi"]),
        ];
        expected.sort();
        assert_eq!(heard, expected);
        // From every primary it is heard, once it is told.
        assert!(subscriber.is_silent_for(Duration::from_millis(200)));
    }
}

#[test]
fn t25_t68_messages_stand_between_replies() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let (mut subscriber, mut publisher) = (client(&pointsman, true), pointsman.client());
    subscriber.line("SUBSCRIBE mix:c");
    let value = "v".repeat(100_000);
    subscriber.command(&["SET", "mix:big", &value]);
    for _ in 0..20 {
        let requests: Vec<_> = (0..20).map(|_| words(&["GET", "mix:big"])).collect();
        subscriber.send_all(&requests);
        let messages: Vec<_> = (0..20).map(|n| words(&["PUBLISH", "mix:c", &n.to_string()])).collect();
        publisher.pipeline(&messages);
        let (mut replies, mut heard) = (0, 0);
        while replies < 20 || heard < 20 {
            let reply = subscriber.read();
            if reply.0[0] == b'>' {
                assert_eq!(reply, frame('>', &["message", "mix:c", &heard.to_string()]).as_str());
                heard += 1;
            } else {
                assert_eq!(reply, Reply::bulk(&value));
                replies += 1;
            }
        }
    }
}

/// A client publishes to its own channel, with other requests in between: its replies come in their order, and so do its
/// messages, each once. Where a message stands between the replies is not promised: they come another way.
#[test]
fn t68_who_publishes_to_itself_has_replies_and_messages_each_in_order() {
    const ROUNDS: usize = 200;
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut own = client(&pointsman, true);
    own.line("SUBSCRIBE own:c");
    own.line("DEL own:n");
    let requests: Vec<_> = (1..=ROUNDS)
        .flat_map(|round| {
            let text = round.to_string();
            [words(&["PUBLISH", "own:c", &text]), words(&["INCR", "own:n"]), words(&["ECHO", &text])]
        })
        .collect();
    own.send_all(&requests);
    let (mut replies, mut heard) = (Vec::new(), 0);
    while replies.len() < requests.len() || heard < ROUNDS {
        let reply = own.read();
        if reply.0[0] == b'>' {
            heard += 1;
            assert_eq!(reply, frame('>', &["message", "own:c", &heard.to_string()]).as_str());
        } else {
            replies.push(reply);
        }
    }
    for (round, three) in (1..=ROUNDS).zip(replies.chunks(3)) {
        assert_eq!(three, [Reply::number(1), Reply::number(round as i64), Reply::bulk(round.to_string())]);
    }
    assert!(own.is_silent_for(Duration::from_millis(50)), "nothing comes twice");
}

// T63: a busy channel, a pipeline around the subscription: no message before the confirmation.
#[test]
fn t63_no_message_overtakes_the_confirmation() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stopping = StopOnDrop(&stop);
        scope.spawn(|| {
            let mut publisher = pointsman.client();
            while !stop.load(Ordering::Relaxed) {
                publisher.line("PUBLISH busy:c x");
                publisher.line("SPUBLISH busy:s x");
            }
        });
        let mut first = client(&pointsman, true);
        first.line("SUBSCRIBE busy:c");
        for (kind, resp3) in PROTOCOLS {
            for _ in 0..50 {
                let mut one = client(&pointsman, resp3);
                one.send_all(&[
                    words(&["SET", "busy:k", "1"]),
                    words(&["GET", "busy:k"]),
                    words(&["SUBSCRIBE", "busy:c", "busy:d"]),
                    words(&["SSUBSCRIBE", "busy:s"]),
                    words(&["PING"]),
                ]);
                assert_eq!([one.read(), one.read()], [Reply::ok(), Reply::bulk("1")]);
                expect(&mut one, kind, &["subscribe", "busy:c", ":1"]);
                expect(&mut one, kind, &["subscribe", "busy:d", ":2"]);
                let mut confirmed = false;
                loop {
                    let reply = one.read();
                    let is = |text: &str| reply.0.windows(text.len()).any(|bytes| bytes == text.as_bytes());
                    if is("ssubscribe") {
                        confirmed = true;
                    } else if is("smessage") {
                        assert!(confirmed, "{reply}");
                    } else if is("PONG") || is("pong") {
                        break;
                    }
                }
                assert!(confirmed);
            }
        }
        drop(stopping);
    });
}

#[test]
fn t64_a_shard_channel_follows_its_slot() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut publisher = pointsman.client();
    let channel = "shard:c";
    let slot = Slot::of(channel.as_bytes());
    for (kind, resp3) in PROTOCOLS {
        let mut subscriber = client(&pointsman, resp3);
        subscriber.line(&format!("SSUBSCRIBE {channel} shard:other"));
        expect(&mut subscriber, kind, &["ssubscribe", "shard:other", ":2"]);
        assert_eq!(publisher.line(&format!("SPUBLISH {channel} hi")), Reply::number(1));
        expect(&mut subscriber, kind, &["smessage", channel, "hi"]);
        for _ in 0..3 {
            let to = (cluster.primary_of(channel) + 1) % 3;
            cluster.move_slot(slot, to);
            cluster.wait_until_primaries_agree();
            // The owner has it again: exactly one subscription, and no word to the client.
            eventually("the new owner has the subscription", || {
                let reply = cluster.node(to).command(&["PUBSUB", "SHARDNUMSUB", channel]);
                check(reply.elements()[1] == Reply::number(1), reply)
            });
            assert_eq!(publisher.line(&format!("SPUBLISH {channel} moved")), Reply::number(1));
            expect(&mut subscriber, kind, &["smessage", channel, "moved"]);
        }
    }
    assert!(pointsman.metrics().sum("pointsman_resubscriptions_total", &[]) >= 3.0);
}

// Redis sends over the cluster bus with a delay: who turns to another node hears again what was told.
#[test]
fn t64_no_message_comes_twice_when_connections_are_killed() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses()).with(|setup| setup.workers = 2).allow(LOST).start();
    let mut subscriber = client(&pointsman, true);
    subscriber.line("SUBSCRIBE home:c");
    let stop = AtomicBool::new(false);
    let published = thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let mut publisher = pointsman.client();
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                publisher.command(&["PUBLISH", "home:c", &number.to_string()]);
            }
            number
        });
        let stopping = StopOnDrop(&stop);
        for round in 1..=4 {
            for node in cluster.nodes() {
                node.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
            }
            eventually("it stands again", || {
                let again = pointsman.metrics().sum("pointsman_resubscriptions_total", &[]);
                check(again >= f64::from(round), again)
            });
        }
        drop(stopping);
        publisher.join().expect("the publisher went on")
    });
    let mut publisher = pointsman.client();
    publisher.line("PUBLISH home:c end");
    let (mut last, mut heard) = (0, 0);
    loop {
        let message = subscriber.read().elements()[2].text();
        if message == "end" {
            break;
        }
        let number: u64 = message.parse().expect("a number");
        assert!(number > last, "{number} after {last}");
        (last, heard) = (number, heard + 1);
    }
    println!("{heard} of {published} messages heard");
    assert!(heard > 0, "{heard} of {published} messages heard");
}

#[test]
fn t66_keyspace_events_of_all_primaries() {
    let cluster = Cluster::start_with(3, 0, &["--notify-keyspace-events", "KEA"]);
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut writer = pointsman.client();
    for (kind, resp3) in PROTOCOLS {
        let (mut keys, mut events) = (client(&pointsman, resp3), client(&pointsman, resp3));
        keys.line("PSUBSCRIBE __keyspace@0__:ks:*");
        events.line("SUBSCRIBE __keyevent@0__:set");
        for n in 0..60 {
            let key = format!("ks:{n}");
            writer.command(&["SET", &key, "v"]);
            let channel = format!("__keyspace@0__:{key}");
            expect(&mut keys, kind, &["pmessage", "__keyspace@0__:ks:*", &channel, "set"]);
            expect(&mut events, kind, &["message", "__keyevent@0__:set", &key]);
        }
        assert!(events.is_silent_for(Duration::from_millis(100)));
    }
}

#[test]
fn t64_messages_flow_again_when_subscriber_connections_are_killed() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses()).with(|setup| setup.workers = 2).allow(LOST).start();
    let mut publisher = pointsman.client();
    for (kind, resp3) in PROTOCOLS {
        let mut subscriber = client(&pointsman, resp3);
        subscriber.line("SUBSCRIBE kill:c");
        subscriber.line("PSUBSCRIBE kill:p*");
        subscriber.line("SSUBSCRIBE kill:s");
        for round in 0..3 {
            let lost = pointsman.metrics().sum("pointsman_resubscriptions_total", &[]);
            for node in cluster.nodes() {
                node.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
            }
            eventually("all three stand again", || {
                let now = pointsman.metrics().sum("pointsman_resubscriptions_total", &[]);
                check(now >= lost + 3.0, now)
            });
            let text = format!("round {round}");
            publisher.command(&["PUBLISH", "kill:c", &text]);
            expect(&mut subscriber, kind, &["message", "kill:c", &text]);
            publisher.command(&["PUBLISH", "kill:pp", &text]);
            expect(&mut subscriber, kind, &["pmessage", "kill:p*", "kill:pp", &text]);
            assert_eq!(publisher.command(&["SPUBLISH", "kill:s", &text]), Reply::number(1));
            expect(&mut subscriber, kind, &["smessage", "kill:s", &text]);
        }
        assert!(subscriber.is_silent_for(Duration::from_millis(100)), "no second confirmation");
    }
}

#[test]
fn t64_a_failover_is_survived() {
    let mut cluster = Cluster::start_with(3, 1, &["--cluster-node-timeout", "1500"]);
    let pointsman = Setup::cluster(cluster.addresses()).allow(LOST).allow(&["time"]).start();
    let mut publisher = pointsman.client();
    let mut subscriber = client(&pointsman, true);
    // The node that both the channel and the shard channel are subscribed at.
    let home = cluster.primary_of("");
    let shard = (0..).map(|n| format!("fo:{n}")).find(|name| cluster.primary_of(name) == home).unwrap();
    subscriber.line("SUBSCRIBE fo:c");
    subscriber.command(&["SSUBSCRIBE", &shard]);
    publisher.line("PUBLISH fo:c before");
    expect(&mut subscriber, '>', &["message", "fo:c", "before"]);
    cluster.node_mut(home).kill();
    until_heard(&mut subscriber, "channel", |text| {
        publisher.command(&["PUBLISH", "fo:c", text]);
    });
    until_heard(&mut subscriber, "shard", |text| {
        publisher.command(&["SPUBLISH", &shard, text]);
    });
}

#[test]
fn t68_only_the_slow_subscriber_is_closed() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses())
        .with(|setup| {
            setup.listener_extra = vec![
                "client_limits:".into(),
                "  output_bytes_max: 1MiB".into(),
                "  output_pause_bytes: 64KiB".into(),
            ];
        })
        .allow(&["output_bytes_max"])
        .start();
    let (mut slow, mut quick) = (client(&pointsman, true), client(&pointsman, false));
    slow.line("SUBSCRIBE slow:c");
    quick.line("SUBSCRIBE slow:c");
    let mut publisher = pointsman.client();
    let text = "x".repeat(100_000);
    // The kernel's buffers take some megabytes before the proxy's own fill up.
    let mut rounds = 0;
    while pointsman.metrics().sum("pointsman_clients_overflowed_total", &[]) < 1.0 {
        publisher.command(&["PUBLISH", "slow:c", &text]);
        expect(&mut quick, '*', &["message", "slow:c", &text]);
        rounds += 1;
        assert!(rounds < 2000, "the slow client is never closed");
    }
    assert!(slow.is_closed_within(Duration::from_secs(10)));
    publisher.line("PUBLISH slow:c bye");
    expect(&mut quick, '*', &["message", "slow:c", "bye"]);
}

#[test]
fn t30_t61_who_quits_or_resets_hears_nothing_more_and_subscribers_may_be_silent() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses())
        .with(|setup| {
            setup.listener_extra =
                vec!["client_limits: { idle_timeout_ms: 1500, subscriptions_max: 3 }".into()];
        })
        .start();
    let mut publisher = pointsman.client();
    let (mut quits, mut resets, mut stays) =
        (pointsman.client(), client(&pointsman, true), pointsman.client());
    for one in [&mut quits, &mut resets, &mut stays] {
        one.line("SUBSCRIBE quit:c");
    }
    assert_eq!(quits.line("QUIT"), Reply::ok());
    assert!(quits.is_closed_within(Duration::from_secs(10)));
    assert_eq!(resets.line("RESET"), "+RESET\r\n");
    publisher.line("PUBLISH quit:c hi");
    expect(&mut stays, '*', &["message", "quit:c", "hi"]);
    assert_eq!(resets.line("PING"), "+PONG\r\n");
    assert_eq!(pointsman.metrics().sum("pointsman_subscriptions", &[]), 1.0);
    // The cap, and that nothing of a refused command is done.
    let refused = stays.line("SUBSCRIBE quit:d quit:e quit:f");
    assert!(refused.error().contains("subscriptions_max"), "{refused}");
    assert_eq!(stays.line("SUBSCRIBE quit:c"), frame('*', &["subscribe", "quit:c", ":1"]).as_str());
    // Who says nothing and hears nothing is closed in time; a subscriber is not.
    assert!(resets.is_closed_within(Duration::from_secs(10)));
    throughout(Duration::from_millis(1500), "the subscriber stays", || {
        check(stays.is_silent_for(Duration::from_millis(100)), "a reply")
    });
    assert_eq!(stays.line("PING"), frame('*', &["pong", ""]).as_str());
}

#[test]
fn a_subscription_that_cannot_be_made_is_an_error_in_its_place() {
    let mut cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses())
        .with(|setup| setup.request_timeout_ms = 500)
        .allow(LOST)
        .allow(&["time"])
        .start();
    let mut one = client(&pointsman, true);
    one.line("SUBSCRIBE gone:c");
    for index in 0..3 {
        cluster.node_mut(index).kill();
    }
    one.send_all(&[words(&["SUBSCRIBE", "gone:d"]), words(&["PING"])]);
    let refused = one.read();
    assert!(refused.is_error_of("ERR") && refused.error().contains("not confirmed"), "{refused}");
    assert_eq!(one.read(), "+PONG\r\n");
    for index in 0..3 {
        cluster.node_mut(index).restart();
    }
    cluster.wait_until_agreed();
    let mut publisher = pointsman.client();
    until_heard(&mut one, "back", |text| {
        publisher.command(&["PUBLISH", "gone:c", text]);
    });
}

// T67: a node counts one connection a worker; clients are told of clients.
#[test]
fn t67_subscribers_are_counted_over_workers() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses()).with(|setup| setup.workers = 2).start();
    let mut publisher = pointsman.client();
    // The acceptor spreads them over both workers.
    let mut clients: Vec<Client> = (0..5).map(|_| pointsman.client()).collect();
    for one in &mut clients {
        one.line("SUBSCRIBE n:a __keyevent@0__:del");
        one.line("PSUBSCRIBE n:* *");
        one.line("SSUBSCRIBE n:s");
    }
    let mut direct = cluster.node(0).client();
    direct.line("SUBSCRIBE n:a");
    let number = |name: &str, count: i64| [Reply::bulk(name), Reply::number(count)];
    eventually("everybody is counted once", || {
        let told = publisher.line("PUBSUB NUMSUB n:a n:none __keyevent@0__:del");
        let wanted = [number("n:a", 6), number("n:none", 0), number("__keyevent@0__:del", 5)].concat();
        check(told.elements() == wanted, told)
    });
    assert_eq!(publisher.line("PUBSUB SHARDNUMSUB n:s").elements(), number("n:s", 5));
    assert_eq!(publisher.line("PUBSUB NUMPAT"), Reply::number(2));
    // Each client hears it three times, as with a single server. The direct one is at another node, perhaps, and a
    // node counts its own only.
    let heard = publisher.line("PUBLISH n:a x").int();
    assert!((15..=16).contains(&heard), "{heard}");
    assert_eq!(publisher.line("PUBLISH elsewhere x"), Reply::number(5));
    assert_eq!(publisher.line("SPUBLISH n:s x"), Reply::number(5));
    clients.truncate(2);
    eventually("who left is not counted", || {
        let told = publisher.line("SPUBLISH n:s x");
        check(told == Reply::number(2), told)
    });
}
