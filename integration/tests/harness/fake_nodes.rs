//! The fake backend behaves as a cluster does, and misbehaves as told.

use pointsman_integration::fake::{Act, BlackHole, Endpoint, Rule, key_on};
use pointsman_integration::{Client, Fake, Reply};
use pointsman_protocol::Slot;
use std::net::TcpStream;
use std::time::Duration;

fn client(fake: &Fake, node: usize) -> Client {
    Client::connect(fake.address(node))
}

#[test]
fn nodes_own_slots_and_redirect() {
    let fake = Fake::start(3, 1);
    let key = key_on(1, 3, "k", 0);
    let mut right = client(&fake, fake.primary(1));
    assert_eq!(right.command(&["INCR", &key]), Reply::number(1));
    let reply = client(&fake, 0).command(&["INCR", &key]);
    let moved = format!("MOVED {} {}", Slot::of(key.as_bytes()), fake.address(fake.primary(1)));
    assert_eq!(reply.error(), moved);
    assert_eq!(fake.count("INCR", &key), 2);
    assert_eq!(fake.received(|received| received.executed).len(), 1);
    assert_eq!(fake.change(|world| world.value(&key)), Some("1".into()));

    let other = key_on(1, 3, "other", 0);
    assert!(right.command(&["MGET", &key, &other]).is_error_of("CROSSSLOT"));
}

#[test]
fn a_replica_serves_reads_after_readonly_only() {
    let fake = Fake::start(2, 1);
    let key = key_on(0, 2, "k", 0);
    client(&fake, 0).command(&["SET", &key, "v"]);
    let mut replica = client(&fake, fake.replicas(0)[0]);
    assert!(replica.command(&["GET", &key]).is_error_of("MOVED"));
    assert_eq!(replica.line("READONLY"), Reply::ok());
    assert_eq!(replica.command(&["GET", &key]), Reply::bulk("v"));
    assert!(replica.command(&["SET", &key, "w"]).is_error_of("MOVED"));
}

#[test]
fn slots_move_with_ask_and_tryagain() {
    let fake = Fake::start(2, 0);
    let (mut source, mut target) = (client(&fake, 0), client(&fake, 1));
    let tag = key_on(0, 2, "t", 0);
    let (a, b) = (format!("{{{tag}}}a"), format!("{{{tag}}}b"));
    source.command(&["MSET", &a, "1", &b, "2"]);
    fake.change(|world| {
        world.begin_move(Slot::of(tag.as_bytes()), 1);
        world.move_key(a.as_bytes(), 1);
    });
    assert!(source.command(&["GET", &a]).is_error_of("ASK"));
    assert!(target.command(&["GET", &a]).is_error_of("MOVED"));
    target.send_all(&[vec!["ASKING"], vec!["GET", &a], vec!["GET", &a]]);
    assert_eq!((target.read(), target.read()), (Reply::ok(), Reply::bulk("1")));
    assert!(target.read().is_error_of("MOVED"), "ASKING counts once");
    assert_eq!(source.command(&["GET", &b]), Reply::bulk("2"));
    assert!(source.command(&["MGET", &a, &b]).is_error_of("TRYAGAIN"));

    fake.move_slot(Slot::of(tag.as_bytes()), 1);
    assert_eq!(target.command(&["MGET", &a, &b]).elements(), [Reply::bulk("1"), Reply::bulk("2")]);
    assert!(source.command(&["GET", &b]).is_error_of("MOVED"));
}

#[test]
fn rules_change_single_answers() {
    let fake = Fake::start(1, 0);
    let mut node = client(&fake, 0);
    fake.rule(Rule::on("INCR", Act::Error("TRYAGAIN later".into())).key("k").skip(1).times(2));
    let replies: Vec<Reply> = (0..4).map(|_| node.line("INCR k")).collect();
    assert_eq!(replies[0], Reply::number(1));
    assert!(replies[1].is_error_of("TRYAGAIN") && replies[2].is_error_of("TRYAGAIN"));
    assert_eq!(replies[3], Reply::number(2));

    fake.rule(Rule::on("GET", Act::Split(1)).times(1));
    assert_eq!(node.line("GET k"), Reply::bulk("2"));

    fake.rule(Rule::on("CLUSTER MYID", Act::Answer(b"$-1\r\n".to_vec())).times(1));
    assert!(node.line("cluster myid").is_null());
}

#[test]
fn what_arrives_is_seen_while_an_answer_is_held() {
    let fake = Fake::start(1, 0);
    let gate = fake.gate();
    fake.rule(Rule::on("GET", Act::Hold(gate.clone())).key("slow"));
    let mut node = client(&fake, 0);
    node.send_all(&[vec!["GET", "slow"], vec!["INCR", "k"]]);
    fake.wait_for("both requests arrive", 2, |_| true);
    assert!(node.is_silent_for(Duration::from_millis(30)));
    assert_eq!(fake.change(|world| world.value("k")), None, "nothing overtakes on one connection");
    gate.open();
    assert_eq!((node.read(), node.read()), (Reply::null(), Reply::number(1)));
}

#[test]
fn connections_close_before_and_after_execution() {
    let fake = Fake::start(1, 0);
    fake.rule(Rule::on("INCR", Act::CloseBefore).key("a"));
    fake.rule(Rule::on("INCR", Act::CloseAfter).key("b"));
    for (key, value) in [("a", None), ("b", Some("1".to_owned()))] {
        let mut node = client(&fake, 0);
        node.send(&["INCR", key]);
        assert!(node.is_closed_within(Duration::from_secs(5)));
        assert_eq!(fake.change(|world| world.value(key)), value);
    }
}

#[test]
fn nodes_freeze_go_down_and_come_up() {
    let fake = Fake::start(1, 0);
    let mut node = client(&fake, 0);
    fake.freeze(0);
    node.send(&["PING"]);
    assert!(node.is_silent_for(Duration::from_millis(30)));
    fake.thaw(0);
    assert_eq!(node.read(), "+PONG\r\n");
    fake.take_down(0);
    assert!(node.is_closed_within(Duration::from_secs(5)));
    assert!(TcpStream::connect(fake.address(0)).is_err());
    fake.bring_up(0);
    assert_eq!(client(&fake, 0).line("PING"), "+PONG\r\n");
}

#[test]
fn topologies_in_all_forms_name_the_same_nodes() {
    let fake = Fake::start(2, 1);
    fake.change(|world| world.nodes[0].endpoint = Endpoint::Host("localhost".into()));
    fake.change(|world| world.nodes[2].endpoint = Endpoint::Null);
    let mut node = client(&fake, 1);
    let shards = node.line("CLUSTER SHARDS").elements();
    assert_eq!(shards.len(), 2);
    let slots = node.line("CLUSTER SLOTS").elements();
    assert_eq!((slots[0].elements()[0].int(), slots[0].elements()[1].int()), (0, 8191));
    assert_eq!(slots[0].elements()[2].elements()[0].text(), "localhost");
    assert!(slots[1].elements()[2].elements()[0].is_null());
    let nodes = node.line("CLUSTER NODES").text();
    assert_eq!(nodes.lines().count(), 4);
    assert!(nodes.contains("myself,slave"), "{nodes}");
    let info = node.line("INFO replication").text();
    assert!(info.contains("role:slave") && info.contains("slave_repl_offset:1000"), "{info}");

    let hello = node.line("HELLO 3");
    assert!(hello.0.starts_with(b"%7\r\n"), "{hello}");
    assert_eq!(node.line("CLUSTER SHARDS").0.first(), Some(&b'*'));

    fake.keep_old_view(1);
    fake.fail_over(0);
    assert!(client(&fake, 1).line("ROLE").elements()[0].text() == "slave", "it has not heard of it");
    assert!(client(&fake, 0).line("ROLE").elements()[0].text() == "slave");
}

#[test]
fn a_black_hole_neither_accepts_nor_refuses() {
    let hole = BlackHole::start();
    let address = hole.address().parse().unwrap();
    let error = TcpStream::connect_timeout(&address, Duration::from_millis(100)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
}
