//! T10, T49, T55: a client may leave at any point of a request's way. Whatever it leaves behind reaches
//! nobody else, and nothing of it is kept.
//!
//! Each [`Stage`] brings a client to such a point and holds it there; then it leaves in each of the ways in
//! which clients do. Two others share its worker and its connections to the nodes all the while: what they
//! get must be theirs, and in the end all that the proxy counts must be as it was before.

use pointsman_integration::client::words;
use pointsman_integration::eventually::{check, eventually};
use pointsman_integration::fake::{Act, Gate, Rule, key_on};
use pointsman_integration::{Client, Fake, Pointsman, Reply, Setup};
use pointsman_protocol::Slot;
use std::time::Duration;

/// How a client leaves.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// It closes its connection.
    Closes,
    /// It vanishes: the proxy meets a reset.
    Resets,
    /// It says that it will send nothing more, and reads on: what it asked for before it must still get.
    SendsNoMore,
}

/// Where its request is by then.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    /// Half of it has arrived.
    HalfRead,
    /// It waits for a connection to the node.
    NotSent,
    /// It is at the node.
    AtNode,
    /// Half of its reply has arrived.
    HalfAnswered,
    /// It was redirected and is at the other node.
    Redirected,
    /// It is refused and tried again and again.
    Backoff,
    /// One part of it was answered, the other is at the node.
    Split,
    /// MULTI, and a command was queued.
    Multi,
    /// EXEC is at the node.
    Exec,
    /// WATCH is at the node.
    Watch,
    /// It watches, and EXEC is at the node.
    WatchedExec,
    /// It waits for an element.
    Blocked,
    /// It waits for the confirmation of a subscription.
    Subscribing,
    /// It is subscribed.
    Subscribed,
    /// It is held back by CLIENT PAUSE.
    Paused,
    /// Its reply is larger than the kernel takes, and it does not read.
    Unread,
}

const STAGES: [Stage; 16] = [
    Stage::HalfRead,
    Stage::NotSent,
    Stage::AtNode,
    Stage::HalfAnswered,
    Stage::Redirected,
    Stage::Backoff,
    Stage::Split,
    Stage::Multi,
    Stage::Exec,
    Stage::Watch,
    Stage::WatchedExec,
    Stage::Blocked,
    Stage::Subscribing,
    Stage::Subscribed,
    Stage::Paused,
    Stage::Unread,
];

const BIG: usize = 8 << 20;

/// All that a stage needs.
struct Scene<'a> {
    fake: &'a Fake,
    pointsman: &'a Pointsman,
    gate: Gate,
    /// Keys of this scene on each of the two shards.
    key: String,
    other: String,
    slot: Slot,
}

impl Scene<'_> {
    fn hold(&self, name: &str) {
        self.fake.rule(Rule::on(name, Act::Hold(self.gate.clone())).key(&self.key).times(1));
    }

    fn wait_for(&self, name: &str) {
        self.fake.wait_for("its request is at the node", 1, |received| {
            received.is(name) && (received.has_key(&self.key) || received.words.len() == 1)
        });
    }

    /// Brings a client to the stage; gives it with the replies that are still to come for it.
    fn bring(&self, stage: Stage) -> (Client, Vec<Reply>) {
        let (fake, key) = (self.fake, &self.key);
        let mut client = self.pointsman.client();
        client.command(&["SET", key, "before"]);
        client.command(&["SET", &self.other, "there"]);
        fake.change(|world| world.forget_received());
        let one = |reply: Reply| vec![reply];
        let transaction = [words(&["MULTI"]), words(&["GETSET", key, "x"]), words(&["EXEC"])];
        let executed =
            || vec![Reply::ok(), Reply(b"+QUEUED\r\n".to_vec()), Reply(b"*1\r\n$6\r\nbefore\r\n".to_vec())];
        let expected = match stage {
            Stage::HalfRead => {
                client.send_bytes(b"*3\r\n$3\r\nSET\r\n$3\r\nke");
                Vec::new()
            }
            Stage::NotSent => {
                // The first to speak RESP3 with these nodes; the gate keeps the connection from coming up.
                fake.rule(Rule::on("HELLO", Act::Hold(self.gate.clone())));
                client.line("HELLO 3");
                client.send_all(&[words(&["GETSET", key, "x"])]);
                fake.wait_for("a connection is made", 1, |received| received.is("HELLO"));
                one(Reply::bulk("before"))
            }
            Stage::AtNode => {
                self.hold("GETSET");
                client.send(&["GETSET", key, "x"]);
                self.wait_for("GETSET");
                one(Reply::bulk("before"))
            }
            Stage::HalfAnswered => {
                fake.rule(Rule::on("GETSET", Act::HoldWithin(6, self.gate.clone())).key(key).times(1));
                client.send(&["GETSET", key, "x"]);
                self.wait_for("GETSET");
                eventually("it was executed", || {
                    let value = fake.change(|world| world.value(key));
                    check(value.as_deref() == Some("x"), value)
                });
                one(Reply::bulk("before"))
            }
            Stage::Redirected => {
                fake.move_slot(self.slot, 1);
                fake.rule(Rule::on("GETSET", Act::Hold(self.gate.clone())).at(1).times(1));
                client.send(&["GETSET", key, "x"]);
                fake.wait_for("it is at the other node", 1, |received| {
                    received.node == 1 && received.is("GETSET")
                });
                one(Reply::bulk("before"))
            }
            Stage::Backoff => {
                fake.rule(Rule::on("GETSET", Act::Error("CLUSTERDOWN The cluster is down".into())));
                client.send(&["GETSET", key, "x"]);
                fake.wait_for("it is tried again", 3, |received| received.is("GETSET"));
                one(Reply::bulk("before"))
            }
            Stage::Split => {
                self.hold("MGET");
                client.send(&["MGET", key, &self.other]);
                self.wait_for("MGET");
                one(Reply(b"*2\r\n$6\r\nbefore\r\n$5\r\nthere\r\n".to_vec()))
            }
            Stage::Multi => {
                client.line("MULTI");
                assert_eq!(client.command(&["SET", key, "leaked"]), "+QUEUED\r\n");
                Vec::new()
            }
            Stage::Exec => {
                fake.rule(Rule::on("EXEC", Act::Hold(self.gate.clone())).times(1));
                client.send_all(&transaction);
                self.wait_for("EXEC");
                executed()
            }
            Stage::Watch => {
                self.hold("WATCH");
                client.send(&["WATCH", key]);
                self.wait_for("WATCH");
                one(Reply::ok())
            }
            Stage::WatchedExec => {
                assert_eq!(client.command(&["WATCH", key]), Reply::ok());
                fake.rule(Rule::on("EXEC", Act::Hold(self.gate.clone())).times(1));
                client.send_all(&transaction);
                self.wait_for("EXEC");
                executed()
            }
            Stage::Blocked => {
                self.hold("BLPOP");
                client.send(&["BLPOP", key, "0"]);
                self.wait_for("BLPOP");
                Vec::new()
            }
            Stage::Subscribing => {
                fake.rule(Rule::on("SUBSCRIBE", Act::Hold(self.gate.clone())));
                client.send(&["SUBSCRIBE", key]);
                fake.wait_for("it is asked", 1, |received| received.is("SUBSCRIBE"));
                // The fake has no channels: what comes behind the gate is a refusal.
                Vec::new()
            }
            Stage::Subscribed => {
                fake.rule(Rule::on("SUBSCRIBE", Act::Answer(confirmed("subscribe", key, 1))));
                fake.rule(Rule::on("UNSUBSCRIBE", Act::Answer(confirmed("unsubscribe", key, 0))));
                assert_eq!(client.command(&["SUBSCRIBE", key]).0, confirmed("subscribe", key, 1));
                Vec::new()
            }
            Stage::Paused => {
                assert_eq!(self.pointsman.client().line("CLIENT PAUSE 60000 WRITE"), Reply::ok());
                client.send(&["GETSET", key, "x"]);
                one(Reply::bulk("before"))
            }
            Stage::Unread => {
                fake.change(|world| {
                    let shard = world.view.owner[self.slot.index()].expect("there are no holes");
                    world.data[shard].put(key.as_bytes(), &vec![b'v'; BIG]);
                });
                let received = "pointsman_backend_received_bytes_total";
                let before = self.pointsman.metrics().sum(received, &[]);
                client.send(&["GET", key]);
                self.pointsman.wait_for("its reply is here", received, |bytes| bytes >= before + BIG as f64);
                one(Reply::bulk(vec![b'v'; BIG]))
            }
        };
        (client, expected)
    }

    /// What held the request up is over.
    fn let_go(&self, stage: Stage) {
        if stage == Stage::Paused {
            assert_eq!(self.pointsman.client().line("CLIENT UNPAUSE"), Reply::ok());
        }
        self.gate.open();
        if stage == Stage::Backoff {
            self.fake.change(|world| world.rules.clear());
        }
    }
}

fn confirmed(kind: &str, channel: &str, count: i64) -> Vec<u8> {
    format!("*3\r\n${}\r\n{kind}\r\n${}\r\n{channel}\r\n:{count}\r\n", kind.len(), channel.len()).into_bytes()
}

/// Two clients that share worker and connections with those who leave.
struct Neighbours {
    clients: [Client; 2],
    keys: [String; 2],
    serial: usize,
}

impl Neighbours {
    /// Requests to both shards, whose replies can be nobody else's.
    fn talk(&mut self) {
        for (number, client) in self.clients.iter_mut().enumerate() {
            for _ in 0..5 {
                self.serial += 1;
                let value = format!("{number}:{}", self.serial);
                let requests: Vec<_> = self
                    .keys
                    .iter()
                    .flat_map(|key| [words(&["SET", key, &value]), words(&["GET", key])])
                    .chain([words(&["MGET", &self.keys[0], &self.keys[1]]), words(&["ECHO", &value])])
                    .collect();
                let replies = client.pipeline(&requests);
                assert_eq!([&replies[0], &replies[2]], [&Reply::ok(), &Reply::ok()]);
                assert_eq!([&replies[1], &replies[3]], [&Reply::bulk(&value), &Reply::bulk(&value)]);
                assert_eq!(replies[4].elements(), [Reply::bulk(&value), Reply::bulk(&value)]);
                assert_eq!(replies[5], Reply::bulk(&value));
            }
        }
    }
}

fn gauges(pointsman: &Pointsman) -> [f64; 6] {
    let metrics = pointsman.metrics();
    [
        "pointsman_client_connections",
        "pointsman_inflight_requests",
        "pointsman_detours",
        "pointsman_subscriptions",
        "pointsman_backend_subscriptions",
        "pointsman_clients_overflowed_total",
    ]
    .map(|name| metrics.sum(name, &[]))
}

fn run_stage(stage: Stage) {
    for way in [Way::Closes, Way::Resets, Way::SendsNoMore] {
        let fake = Fake::start(2, 0);
        let pointsman = Setup::cluster(fake.addresses())
            .with(|setup| {
                setup.request_timeout_ms = 15_000;
                setup.listener_extra.extend(["client_limits:".into(), "  output_pause_bytes: 64KiB".into()]);
                setup.backend_extra.push("pool: { max_idle: 1 }".into());
            })
            .allow(&["subscri", "confirm"])
            .start();
        let mut neighbours = Neighbours {
            clients: [pointsman.client(), pointsman.client()],
            keys: [key_on(0, 2, "neighbour", 0), key_on(1, 2, "neighbour", 0)],
            serial: 0,
        };
        neighbours.talk();
        let before = eventually("nothing is on its way", || {
            let now = gauges(&pointsman);
            check(now[1] == 0.0, now).map(|()| now)
        });
        let key = key_on(0, 2, "leaves", 0);
        let slot = Slot::of(key.as_bytes());
        let other = key_on(1, 2, "leaves", 0);
        let scene = Scene { fake: &fake, pointsman: &pointsman, gate: fake.gate(), key, other, slot };
        let (mut client, expected) = scene.bring(stage);
        match way {
            Way::Closes => drop(client),
            Way::Resets => client.reset(),
            Way::SendsNoMore => {
                client.finish_sending();
                scene.let_go(stage);
                for reply in expected {
                    assert!(client.read() == reply, "{stage:?}: {reply} was to come");
                }
                assert!(client.is_closed_within(Duration::from_secs(10)), "{stage:?}: then it is closed");
            }
        }
        scene.let_go(stage);
        neighbours.talk();
        eventually(&format!("{stage:?}, {way:?}: all is as before"), || {
            let now = gauges(&pointsman);
            check(now == before, (now, before))
        });
        pointsman.wait_for(
            "of its own connections at most one is kept",
            "pointsman_pinned_connections",
            |pinned| pinned <= 1.0,
        );
        // What was only queued is not executed, and nobody finds it open.
        if stage == Stage::Multi {
            assert_eq!(fake.change(|world| world.value(&scene.key)).as_deref(), Some("before"));
        }
        neighbours.talk();
    }
}

macro_rules! stages {
    ($($name:ident: $($stage:ident),*;)*) => {
        const COVERED: &[Stage] = &[$($(Stage::$stage),*),*];
        $(
            #[test]
            fn $name() {
                [$(Stage::$stage),*].into_iter().for_each(run_stage);
            }
        )*
    };
}

stages! {
    t10_who_leaves_with_a_request_on_its_way: HalfRead, NotSent, AtNode, HalfAnswered, Unread;
    t10_who_leaves_during_a_second_attempt: Redirected, Backoff, Split, Paused;
    t10_t49_who_leaves_with_a_transaction: Multi, Exec, Watch, WatchedExec;
    t10_t55_who_leaves_while_waiting_or_subscribed: Blocked, Subscribing, Subscribed;
}

#[test]
fn every_stage_has_its_test() {
    assert!(STAGES.iter().all(|stage| COVERED.contains(stage)) && STAGES.len() == COVERED.len());
}
