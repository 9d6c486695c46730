//! Commands of servers after Redis 7.2 and of modules: they go where their keys are, and what no single
//! shard can answer is joined or refused.

use pointsman_integration::fake::{Act, Rule, key_on};
use pointsman_integration::{Cluster, Fake, Reply, Setup};

fn answer(name: &str, text: &str) -> Rule {
    Rule::on(name, Act::Answer(text.as_bytes().to_vec()))
}

// T34, T36
#[test]
fn t34_t36_commands_of_later_servers_go_by_their_keys() {
    let fake = Fake::start(2, 1);
    // The fake takes the first argument for the key; in these it is none.
    for name in ["MSETEX", "JSON.DEBUG"] {
        fake.rule(Rule::on(name, Act::Error("ERR not here".into())));
    }
    let pointsman = Setup::cluster(fake.addresses()).start();
    let mut client = pointsman.client();
    let key = key_on(1, 2, "later", 0);
    let owner = fake.primary(1);
    for line in [
        "HEXPIRE @ 10 FIELDS 1 f",
        "HGETEX @ EX 10 FIELDS 1 f",
        "HGETDEL @ FIELDS 1 f",
        "HSETEX @ FIELDS 1 f v",
        "DELIFEQ @ v",
        "DELEX @",
        "DIGEST @",
        "MSETEX 2 @ v {@}2 w EX 5",
        "XACKDEL @ g IDS 1 1-1",
        "VADD @ VALUES 2 1 1 element",
        "VSIM @ ELE element",
        "JSON.SET @ $ 1",
        "JSON.GET @",
        "JSON.MSET @ $ 1 {@}2 $ 2",
        "JSON.DEBUG MEMORY @",
        "TS.ADD @ * 1",
        "TS.MADD @ * 1 {@}2 * 2",
        "BF.ADD @ x",
        "CF.EXISTS @ x",
        "CMS.MERGE @ 1 {@}2",
        "TOPK.LIST @",
        "TDIGEST.ADD @ 1",
        "FT.SUGADD @ x 1",
    ] {
        let line = line.replace('@', &key);
        let name = line.split(' ').next().unwrap();
        client.line(&line);
        let received = fake.received(|received| received.is(name) && received.line() == line);
        assert_eq!(received.len(), 1, "{line} arrived once");
        assert_eq!(received[0].node, owner, "{line}");
    }
}

// T39: their conditions are about all keys.
#[test]
fn t39_new_commands_for_several_keys_are_not_cut() {
    let fake = Fake::start(2, 0);
    let (a, b) = (key_on(0, 2, "later39", 0), key_on(1, 2, "later39", 0));
    let pointsman = Setup::cluster(fake.addresses()).start();
    let mut client = pointsman.client();
    for line in [
        "MSETEX 2 A 1 B 2 NX",
        "JSON.MSET A $ 1 B $ 2",
        "TS.MADD A 1 1 B 1 1",
        "TS.CREATERULE A B AGGREGATION avg 60000",
        "TDIGEST.MERGE A 1 B",
        "CMS.MERGE A 1 B",
    ] {
        let reply = client.line_on(line, [&a, &b]);
        assert_eq!(reply.error(), "CROSSSLOT Keys in request don't hash to the same slot", "{line}");
    }
}

// T37: in the order of the keys, with the path in every part, and one path more than there are keys.
#[test]
fn t37_json_mget_is_cut_by_slot() {
    let fake = Fake::start(2, 0);
    let (a, b) = (key_on(0, 2, "json", 0), key_on(1, 2, "json", 0));
    fake.rule(answer("JSON.MGET", "*1\r\n$3\r\n[1]\r\n").key(&a));
    fake.rule(answer("JSON.MGET", "*1\r\n$-1\r\n").key(&b));
    let pointsman = Setup::cluster(fake.addresses()).start();
    let mut client = pointsman.client();
    let reply = client.command(&["JSON.MGET", &b, &a, &b, "$..x"]);
    // One slot asks for b twice; the fake's answer does not, and is refused rather than misplaced.
    assert!(reply.is_error(), "{reply}");
    let reply = client.command(&["json.mget", &b, &a, "$..x"]);
    assert_eq!(reply.elements(), [Reply::null(), Reply::bulk("[1]")]);
    let parts = fake.received(|received| received.is("JSON.MGET") && received.words.len() == 3);
    assert!(parts.iter().all(|part| part.words[2] == b"$..x"), "{parts:?}");
}

#[test]
fn series_are_asked_of_all_shards() {
    let fake = Fake::start(2, 0);
    fake.rule(answer("TS.QUERYINDEX", "*2\r\n$1\r\na\r\n$1\r\nb\r\n").at(0));
    fake.rule(answer("TS.QUERYINDEX", "*2\r\n$1\r\nb\r\n$1\r\nc\r\n").at(1));
    fake.rule(answer("TS.MGET", "*1\r\n*3\r\n$1\r\na\r\n*0\r\n*0\r\n").at(0));
    fake.rule(answer("TS.MGET", "*0\r\n").at(1));
    let pointsman = Setup::cluster(fake.addresses()).start();
    let mut client = pointsman.client();
    let reply = client.line("TS.QUERYINDEX l=1");
    assert_eq!(reply.elements(), [Reply::bulk("a"), Reply::bulk("b"), Reply::bulk("c")]);
    assert_eq!(client.line("TS.MGET FILTER l=1"), "*1\r\n*3\r\n$1\r\na\r\n*0\r\n*0\r\n");
    let reply = client.line("TS.MRANGE - + FILTER l=1 GROUPBY l REDUCE max");
    assert!(reply.error().contains("on 2 shards"), "{reply}");
}

#[test]
fn a_search_index_is_only_asked_where_one_shard_has_everything() {
    let fake = Fake::start(2, 0);
    let pointsman = Setup::cluster(fake.addresses()).start();
    let mut client = pointsman.client();
    for line in ["FT.SEARCH i *", "FT.CREATE i SCHEMA f TEXT", "FT._LIST", "FT.CURSOR READ i 1"] {
        let reply = client.line(line);
        let name = line.strip_suffix(" i 1").unwrap_or(line.split(' ').next().unwrap());
        assert!(
            reply.error().starts_with(&format!("ERR '{name}' is not available through the proxy: ")),
            "{reply}"
        );
        assert!(reply.error().contains("2 shards"), "{reply}");
    }
    assert!(fake.received(|received| received.line().starts_with("FT.")).is_empty());

    let fake = Fake::start(1, 0);
    fake.rule(answer("FT.SEARCH", "*1\r\n:0\r\n"));
    fake.rule(Rule::on("FT.INFO", Act::Error("Unknown index name".into())));
    let pointsman = Setup::cluster(fake.addresses()).start();
    let mut client = pointsman.client();
    assert_eq!(client.line("FT.SEARCH i *"), "*1\r\n:0\r\n");
    assert_eq!(client.line("FT.INFO i"), "-Unknown index name\r\n");
}

#[test]
fn what_the_node_does_not_have_it_says_itself() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut client = pointsman.client();
    for line in ["DELIFEQ later:k v", "JSON.GET later:k", "HGETDEL later:k FIELDS 1 f"] {
        let name = line.split(' ').next().unwrap();
        let reply = client.line(line);
        assert!(
            reply.error().starts_with(&format!("ERR unknown command '{name}', with args beginning")),
            "{reply}"
        );
    }
    assert_eq!(client.line("CLIENT CAPA redirect"), Reply::ok());
    assert_eq!(client.line("PING"), "+PONG\r\n");
}
