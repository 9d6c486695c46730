//! Commands that the proxy's table does not have: by what the nodes announce (COMMAND), by the operator's
//! rule, or refused in a server's own words.

use pointsman_integration::fake::{Act, Rule, key_on};
use pointsman_integration::{Client, Cluster, Fake, Reply, Setup, eventually};

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

fn list(items: &[String]) -> String {
    format!("*{}\r\n{}", items.len(), items.concat())
}

/// One row of COMMAND; its key stands at `key`, or nowhere if that is 0.
fn row(name: &str, arity: i64, flags: &str, key: i64) -> String {
    let words: Vec<String> = flags.split_whitespace().map(|flag| format!("+{flag}\r\n")).collect();
    let number = |number: i64| format!(":{number}\r\n");
    let part = |kind: &str, fields: &[(&str, i64)]| {
        let fields: Vec<String> =
            fields.iter().flat_map(|(name, value)| [bulk(name), number(*value)]).collect();
        list(&[bulk("type"), bulk(kind), bulk("spec"), list(&fields)])
    };
    let spec = list(&[
        bulk("flags"),
        list(&["+RW\r\n".into(), "+access\r\n".into()]),
        bulk("begin_search"),
        part("index", &[("index", key)]),
        bulk("find_keys"),
        part("range", &[("lastkey", 0), ("keystep", 1), ("limit", 0)]),
    ]);
    let specs = if key > 0 { vec![spec] } else { Vec::new() };
    let none = list(&[]);
    list(&[
        bulk(name),
        number(arity),
        list(&words),
        number(key),
        number(key),
        number(i64::from(key > 0)),
        none.clone(),
        none.clone(),
        list(&specs),
        none,
    ])
}

/// Has all nodes answer COMMAND with these rows.
fn announce(fake: &Fake, rows: &[String]) {
    fake.change(|world| world.rules.clear());
    fake.rule(Rule::on("COMMAND COUNT", Act::Answer(format!(":{}\r\n", rows.len()).into_bytes())));
    fake.rule(Rule::on("COMMAND", Act::Answer(list(rows).into_bytes())));
}

fn rows() -> Vec<String> {
    vec![
        row("new.set", -4, "write", 2),
        row("new.get", 3, "readonly fast", 2),
        row("new.wait", -2, "write blocking", 1),
        row("new.keyless", 1, "readonly", 0),
        row("get", 2, "readonly fast", 1),
    ]
}

fn is_known(client: &mut Client, name: &str) -> Result<(), String> {
    let reply = client.command(&["COMMAND", "INFO", name]);
    let known = !reply.is_error() && !reply.elements()[0].is_null();
    if known { Ok(()) } else { Err(reply.to_string()) }
}

// T34, T36: on its first day.
#[test]
fn t34_t36_a_command_that_only_the_nodes_know() {
    let fake = Fake::start(2, 1);
    announce(&fake, &rows());
    let pointsman = Setup::cluster(fake.addresses()).with(|setup| setup.reads = "prefer_replica").start();
    let mut client = pointsman.client();
    eventually("the nodes have told their commands", || is_known(&mut client, "new.set"));
    let key = key_on(1, 2, "new", 0);
    // The fake takes the first argument for the key, and must not redirect.
    for name in ["NEW.SET", "NEW.GET"] {
        fake.rule(Rule::on(name, Act::Answer(b"+done\r\n".to_vec())));
    }
    for _ in 0..20 {
        assert_eq!(client.command(&["NEW.SET", "x", &key, "1"]), "+done\r\n");
    }
    let sets = fake.received(|received| received.is("NEW.SET"));
    assert_eq!(sets.len(), 20);
    assert!(sets.iter().all(|set| set.node == fake.primary(1)), "a write, by its key: {sets:?}");
    eventually("a read may go to a replica", || {
        assert_eq!(client.command(&["new.get", "x", &key]), "+done\r\n");
        let reads = fake.received(|received| received.is("NEW.GET"));
        let replicas = fake.replicas(1);
        if reads.iter().any(|read| replicas.contains(&read.node)) { Ok(()) } else { Err(reads.len()) }
    });

    let refused = client.command(&["NEW.WAIT", &key]);
    assert_eq!(
        refused.error(),
        "ERR 'NEW.WAIT' is not available through the proxy; send it to the node itself"
    );
    let keyless = client.command(&["NEW.KEYLESS"]);
    assert!(keyless.error().contains("'NEW.KEYLESS'") && keyless.error().contains("2 shards"), "{keyless}");
    assert_eq!(
        client.command(&["NEW.GET", "x"]).error(),
        "ERR wrong number of arguments for 'new.get' command"
    );
    assert!(fake.received(|received| received.is("NEW.WAIT") || received.is("NEW.KEYLESS")).is_empty());

    // COMMAND tells what there is, and what is not there it does not tell.
    assert_eq!(client.command(&["COMMAND", "COUNT"]).int(), rows().len() as i64);
    let names: Vec<String> = client.line("COMMAND LIST").elements().iter().map(Reply::text).collect();
    assert_eq!(names, ["get", "new.get", "new.keyless", "new.set", "new.wait"]);
    assert_eq!(client.line("COMMAND INFO hset").elements(), [Reply::null()]);
    let keys = client.command(&["COMMAND", "GETKEYS", "new.set", "x", &key, "1"]);
    assert_eq!(keys.elements(), [Reply::bulk(&key)]);
    // In a transaction, too.
    assert_eq!(client.line("MULTI"), Reply::ok());
    assert_eq!(client.command(&["NEW.SET", "x", &key, "1"]), "+QUEUED\r\n");
    assert_eq!(client.line("DISCARD"), Reply::ok());
    let metrics = pointsman.metrics();
    assert!(metrics.sum("pointsman_unknown_commands_announced_total", &[]) >= 21.0);
}

// Who caches what such a command read hears of changes, and who watches all requests sees it.
#[test]
fn t101_a_command_that_only_the_nodes_know_is_seen_by_who_looks() {
    let fake = Fake::start(2, 0);
    announce(&fake, &rows());
    let pointsman = Setup::cluster(fake.addresses()).with(|setup| setup.reads = "primary").start();
    let mut client = pointsman.client();
    eventually("the nodes have told their commands", || is_known(&mut client, "new.get"));
    fake.rule(Rule::on("NEW.GET", Act::Answer(b"+done\r\n".to_vec())));
    let mut sees = pointsman.client();
    assert_eq!(sees.line("MONITOR"), Reply::ok());
    client.line("HELLO 3");
    assert_eq!(client.line("CLIENT TRACKING ON"), Reply::ok());
    let kept = |count: f64| {
        eventually("so many keys are kept", || {
            match pointsman.metrics().sum("pointsman_tracking_keys", &[]) {
                keys if keys == count => Ok(()),
                keys => Err(keys),
            }
        });
    };
    let key = key_on(1, 2, "seen", 0);
    assert_eq!(client.command(&["NEW.GET", "x", &key]), "+done\r\n");
    kept(1.0);
    client.line("MULTI");
    let other = key_on(1, 2, "seen", 1);
    client.command(&["new.get", "x", &other]);
    client.line("EXEC");
    kept(2.0);
    client.line("NEW.WAIT x");
    client.line("PING end");
    let mut lines = Vec::new();
    while !lines.last().is_some_and(|line: &String| line.ends_with("\"PING\" \"end\"\r\n")) {
        lines.push(String::from_utf8_lossy(&sees.read().0).into_owned());
    }
    let seen = |what: String| lines.iter().filter(|line| line.contains(&what)).count();
    assert_eq!(seen(format!("\"NEW.GET\" \"x\" \"{key}\"")), 1, "{lines:?}");
    assert_eq!(seen(format!("\"new.get\" \"x\" \"{other}\"")), 1, "{lines:?}");
    assert_eq!(seen("NEW.WAIT".into()), 0, "it was refused: {lines:?}");
}

// A module is loaded while the proxy runs: the first client to use it has it asked for.
#[test]
fn a_command_that_the_nodes_learn_later() {
    let fake = Fake::start(1, 0);
    announce(&fake, &[row("get", 2, "readonly", 1)]);
    let pointsman = Setup::cluster(fake.addresses()).start();
    let mut client = pointsman.client();
    let unknown = "ERR unknown command 'NEW.SET', with args beginning with: 'x' 'k' '1'";
    assert_eq!(client.line("NEW.SET x k 1").error(), unknown);
    announce(&fake, &rows());
    fake.rule(Rule::on("NEW.SET", Act::Answer(b"+done\r\n".to_vec())));
    eventually("the new command is known", || {
        let reply = client.line("NEW.SET x k 1");
        if reply == "+done\r\n" { Ok(()) } else { Err(reply.to_string()) }
    });
    assert!(pointsman.metrics().sum("pointsman_unknown_commands_refused_total", &[]) >= 1.0);
}

// T22, T36
#[test]
fn t22_t36_the_operators_rule_for_unknown_commands() {
    let fake = Fake::start(2, 1);
    let pointsman = Setup::cluster(fake.addresses())
        .with(|setup| {
            setup.reads = "prefer_replica";
            setup.backend_extra.push("unknown_commands: first_key".into());
        })
        .start();
    let mut client = pointsman.client();
    let key = key_on(1, 2, "rule", 0);
    for _ in 0..20 {
        client.command(&["NOBODY.KNOWS", &key, "more"]);
    }
    let received = fake.received(|received| received.is("NOBODY.KNOWS"));
    assert_eq!(received.len(), 20);
    assert!(received.iter().all(|one| one.node == fake.primary(1)), "the primary of its first argument");
    assert_eq!(
        client.line("NOBODY.KNOWS").error(),
        "ERR unknown command 'NOBODY.KNOWS', with args beginning with:"
    );
    assert_eq!(pointsman.metrics().sum("pointsman_unknown_commands_by_first_key_total", &[]), 20.0);

    let pointsman = Setup::cluster(fake.addresses()).start();
    let mut client = pointsman.client();
    let reply = client.command(&["NOBODY.KNOWS", "a"]);
    assert_eq!(reply.error(), "ERR unknown command 'NOBODY.KNOWS', with args beginning with: 'a'");
}

// A node that has renamed GET announces it by its old name; the new one goes by the rule.
#[test]
fn renamed_commands_go_by_the_rule() {
    let cluster = Cluster::start_with(3, 0, &["--rename-command", "GETDEL", "TAKE"]);
    let pointsman = Setup::cluster(cluster.addresses())
        .with(|setup| setup.backend_extra.push("unknown_commands: first_key".into()))
        .start();
    let mut client = pointsman.client();
    for number in 0..30 {
        let key = format!("renamed:{number}");
        assert_eq!(client.command(&["SET", &key, "v"]), Reply::ok());
        assert_eq!(client.command(&["TAKE", &key]), Reply::bulk("v"), "{key}");
        assert_eq!(client.command(&["TAKE", &key]), Reply::null(), "{key}");
    }
    let reply = client.line("GETDEL renamed:1");
    assert!(reply.error().starts_with("ERR unknown command 'GETDEL'"), "{reply}");
    assert_eq!(pointsman.metrics().sum("pointsman_redirects_total", &[]), 0.0);
}

// What a real server has, and no more: the table also knows commands of later ones.
#[test]
fn command_tells_what_the_nodes_have() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut client = pointsman.client();
    let mut node = cluster.node(0).client();
    let names = |client: &mut Client| -> Vec<String> {
        let mut names: Vec<String> = client.line("COMMAND LIST").elements().iter().map(Reply::text).collect();
        names.retain(|name| !name.contains('|'));
        names.sort();
        names
    };
    let theirs = names(&mut node);
    eventually("the nodes have told their commands", || {
        let ours = names(&mut client);
        if ours == theirs { Ok(()) } else { Err(ours.len()) }
    });
    assert_eq!(client.line("COMMAND COUNT"), node.line("COMMAND COUNT"));
    assert_eq!(client.line("COMMAND INFO json.get hexpire").elements(), [Reply::null(), Reply::null()]);
    assert_eq!(client.line("COMMAND LIST FILTERBY MODULE nosuch"), "*0\r\n");
}
