//! T37 to T39: commands over several slots are cut by slot and joined again, with the meaning of the
//! uncut command; those that must be atomic are refused.

use pointsman_integration::fake::{Act, Rule, key_on};
use pointsman_integration::logs::LOST;
use pointsman_integration::{Cluster, Fake, Reply, Setup};

#[test]
fn t37_mget_is_cut_into_mgets_by_slot() {
    let fake = Fake::start(2, 0);
    let tag = key_on(0, 2, "t37", 0);
    let (a1, a2) = (format!("{{{tag}}}1"), format!("{{{tag}}}2"));
    let (same_shard, other_shard) = (key_on(0, 2, "t37", 1), key_on(1, 2, "t37", 0));
    let pointsman = Setup::cluster(fake.addresses()).start();
    let mut client = pointsman.client();
    client.command(&["MSET", &a1, "1", &same_shard, "2", &other_shard, "3", &a2, "4"]);
    let reply = client.command(&["MGET", &a1, &other_shard, &a2, "nothing", &same_shard]);
    let expected = [Reply::bulk("1"), Reply::bulk("3"), Reply::bulk("4"), Reply::null(), Reply::bulk("2")];
    assert_eq!(reply.elements(), expected);
    assert!(fake.received(|received| received.is("GET")).is_empty(), "GET answers otherwise than MGET");
    let mgets = fake.received(|received| received.is("MGET"));
    assert_eq!(mgets.len(), 4, "one for each slot: {mgets:?}");
    assert!(mgets.iter().any(|received| received.words.len() == 3), "the keys of one slot stay together");
}

#[test]
fn t37_a_key_of_another_type_is_nil() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut client = pointsman.client();
    client.line("DEL t37:list t37:text t37:none");
    client.line("RPUSH t37:list x");
    client.line("SET t37:text v");
    let reply = client.line("MGET t37:list t37:text t37:none");
    assert_eq!(reply.elements(), [Reply::null(), Reply::bulk("v"), Reply::null()]);
}

#[test]
fn t38_duplicates_count_as_in_one_server() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut client = pointsman.client();
    client.line("DEL t38:a t38:b t38:c");
    assert_eq!(client.line("MSET t38:a 1 t38:b 2 t38:a 3"), Reply::ok());
    assert_eq!(client.line("GET t38:a"), Reply::bulk("3"), "the last one wins");
    assert_eq!(client.line("EXISTS t38:a t38:a t38:b t38:c"), Reply::number(3));
    assert_eq!(client.line("TOUCH t38:a t38:b t38:a"), Reply::number(3));
    let reply = client.line("MGET t38:b t38:a t38:b t38:c t38:a");
    let (a, b) = (Reply::bulk("3"), Reply::bulk("2"));
    assert_eq!(reply.elements(), [b.clone(), a.clone(), b, Reply::null(), a]);
    assert_eq!(client.line("DEL t38:a t38:a t38:b t38:c"), Reply::number(2));
    assert_eq!(client.line("UNLINK t38:a t38:b"), Reply::number(0));
}

#[test]
fn t38_a_part_that_fails_makes_one_plain_error() {
    let fake = Fake::start(2, 0);
    let (good, bad) = (key_on(0, 2, "t38", 0), key_on(1, 2, "t38", 0));
    let pointsman = Setup::cluster(fake.addresses()).start();
    let mut client = pointsman.client();
    let text = "OOM command not allowed when used memory > 'maxmemory'.";
    for name in ["MSET", "DEL", "UNLINK", "EXISTS", "TOUCH", "MGET"] {
        fake.change(|world| world.rules.clear());
        fake.rule(Rule::on(name, Act::Error(text.into())).at(1));
        let request: Vec<&str> =
            if name == "MSET" { vec![name, &good, "1", &bad, "2"] } else { vec![name, &good, &bad] };
        let reply = client.command(&request);
        assert!(reply.0.starts_with(b"-"), "{name}: an error itself, not inside an array: {reply}");
        assert!(reply.error().contains("OOM"), "{name}: it says why: {reply}");
    }
    // Only some of it was done, and nothing claims otherwise; the next request is not disturbed.
    fake.change(|world| world.rules.clear());
    assert_eq!(client.command(&["MSET", &good, "3", &bad, "4"]), Reply::ok());
    assert_eq!(client.command(&["MGET", &good, &bad]).elements(), [Reply::bulk("3"), Reply::bulk("4")]);
}

#[test]
fn t38_one_shard_away_fails_the_whole_mget() {
    let fake = Fake::start(2, 0);
    let (there, away) = (key_on(0, 2, "t38away", 0), key_on(1, 2, "t38away", 0));
    let pointsman =
        Setup::cluster(fake.addresses()).with(|setup| setup.request_timeout_ms = 300).allow(LOST).start();
    let mut client = pointsman.client();
    client.command(&["MSET", &there, "1", &away, "2"]);
    fake.take_down(1);
    for request in
        [vec!["MGET", &there, &away], vec!["EXISTS", &there, &away], vec!["MSET", &there, "3", &away, "4"]]
    {
        let reply = client.command(&request);
        assert!(reply.is_error_of("ERR") || reply.is_error_of("CLUSTERDOWN"), "{request:?}: {reply}");
    }
    assert!(!client.command(&["GET", &there]).is_error());
}

#[test]
fn t38_parts_are_healed_one_by_one() {
    let fake = Fake::start(2, 0);
    let (a, b) = (key_on(0, 2, "t38heal", 0), key_on(1, 2, "t38heal", 0));
    let pointsman = Setup::cluster(fake.addresses()).start();
    let mut client = pointsman.client();
    fake.rule(
        Rule::on("MSET", Act::Error("LOADING Redis is loading the dataset in memory".into())).at(1).times(2),
    );
    fake.rule(Rule::on("MGET", Act::Redirect { to: 1, asking: false }).at(0).times(1));
    assert_eq!(client.command(&["MSET", &a, "1", &b, "2"]), Reply::ok());
    assert_eq!(client.command(&["MGET", &b, &a]).elements(), [Reply::bulk("2"), Reply::bulk("1")]);
    let sets = fake.received(|received| received.is("MSET") && received.executed);
    assert_eq!(sets.len(), 2, "each part once");
}

#[test]
fn t39_what_must_be_atomic_is_not_cut() {
    let fake = Fake::start(2, 0);
    let (a, b) = (key_on(0, 2, "t39", 0), key_on(1, 2, "t39", 0));
    let pointsman = Setup::cluster(fake.addresses()).start();
    let mut client = pointsman.client();
    for line in [
        "MSETNX A 1 B 2",
        "RENAME A B",
        "RENAMENX A B",
        "SUNIONSTORE A B",
        "SINTERSTORE A B",
        "SDIFFSTORE A B",
        "ZUNIONSTORE A 1 B",
        "SMOVE A B m",
        "RPOPLPUSH A B",
        "LMOVE A B LEFT LEFT",
        "BITOP AND A B",
        "PFMERGE A B",
        "COPY A B",
    ] {
        let reply = client.line_on(line, [&a, &b]);
        assert_eq!(reply, "-CROSSSLOT Keys in request don't hash to the same slot\r\n", "{line}");
    }
    // In one slot it is passed on; that the fake does not know it does not matter.
    client.command(&["MSETNX", "{t}1", "a", "{t}2", "b"]);
    assert_eq!(fake.count("MSETNX", "{t}1"), 1);
}
