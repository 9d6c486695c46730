//! T40, T41: scripts and functions over shards. What was loaded once works everywhere, also on a node
//! that came later or forgot it; and what tells of all shards is joined as one server would tell it.

use pointsman_integration::client::words;
use pointsman_integration::eventually::{check, eventually};
use pointsman_integration::fake::key_on;
use pointsman_integration::{Client, Cluster, RedisServer, Reply, Setup};
use std::thread;

const APPEND: &str = "return redis.call('APPEND', KEYS[1], ARGV[1])";

/// Every node forgets its scripts, without the proxy knowing.
fn forget_everywhere(cluster: &Cluster) {
    for node in cluster.nodes() {
        assert_eq!(node.command(&["SCRIPT", "FLUSH"]), Reply::ok());
    }
}

#[test]
fn t41_a_script_loaded_once_runs_on_every_shard() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut client = pointsman.client();
    let sha = client.command(&["SCRIPT", "LOAD", APPEND]).text();
    for node in cluster.nodes() {
        assert_eq!(node.command(&["SCRIPT", "EXISTS", &sha]).elements(), [Reply::number(1)]);
    }
    for round in 1..=3 {
        for shard in 0..3 {
            let key = key_on(shard, 3, "t41", 0);
            assert_eq!(client.command(&["EVALSHA", &sha, "1", &key, "x"]), Reply::number(round));
        }
        forget_everywhere(&cluster);
    }
}

#[test]
fn t41_noscript_is_healed_in_order_and_once() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let (mut client, mut other) = (pointsman.client(), pointsman.client());
    // Seen in an EVAL, by another client.
    let key = key_on(0, 3, "t41order", 0);
    assert_eq!(other.command(&["EVAL", APPEND, "1", "elsewhere", "x"]), Reply::number(1));
    let sha = cluster.node(0).command(&["SCRIPT", "LOAD", APPEND]).text();
    forget_everywhere(&cluster);
    let letters: Vec<String> = ('a'..='z').map(String::from).collect();
    let upper = sha.to_uppercase();
    let requests: Vec<_> =
        letters.iter().map(|letter| words(&["EVALSHA", &upper, "1", &key, letter])).collect();
    let lengths: Vec<i64> = client.pipeline(&requests).iter().map(Reply::int).collect();
    assert_eq!(lengths, (1..=26).collect::<Vec<i64>>());
    assert_eq!(client.command(&["GET", &key]), Reply::bulk(letters.concat()));
    // The commands between them keep their places too, or the client is told that it was not executed.
    forget_everywhere(&cluster);
    client.command(&["DEL", &key]);
    let requests = [
        words(&["SET", &key, "0"]),
        words(&["EVALSHA", &sha, "1", &key, "1"]),
        words(&["ECHO", "between"]),
        words(&["GET", &key]),
    ];
    let replies = client.pipeline(&requests);
    assert_eq!(replies[2], Reply::bulk("between"));
    match replies[1].is_error() {
        true => {
            assert_eq!(replies[1].error(), "NOSCRIPT No matching script. Please use EVAL.");
            assert_eq!(replies[3], Reply::bulk("0"));
        }
        false => assert_eq!((replies[1].int(), &replies[3]), (2, &Reply::bulk("01"))),
    }
}

// A transaction cannot go a second time for one of its commands, so the node must not have to know the script.
#[test]
fn t41_scripts_inside_transactions_need_not_be_known_to_the_node() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut client = pointsman.client();
    let sha = client.command(&["SCRIPT", "LOAD", APPEND]).text();
    // This one is seen in a transaction only.
    let seen = "return redis.call('STRLEN', KEYS[1])";
    let key = key_on(1, 3, "t41multi", 0);
    assert_eq!(client.line("MULTI"), Reply::ok());
    assert_eq!(client.command(&["EVAL", seen, "1", &key]).text(), "QUEUED");
    assert_eq!(client.line("EXEC").elements(), [Reply::number(0)]);
    let length = cluster.node(0).command(&["SCRIPT", "LOAD", seen]).text();
    for round in 1..=2 {
        forget_everywhere(&cluster);
        assert_eq!(client.line("MULTI"), Reply::ok());
        for words in [["EVALSHA", &sha, "1", &key, "x"], ["EVALSHA", &length, "1", &key, "-"]] {
            assert_eq!(client.command(&words).text(), "QUEUED");
        }
        assert_eq!(client.line("EXEC").elements(), [Reply::number(round), Reply::number(round)]);
    }
    let unknown = "EVALSHA 0000000000000000000000000000000000000000 0";
    assert_eq!(client.line("MULTI"), Reply::ok());
    assert_eq!(client.line(unknown).text(), "QUEUED");
    let noscript = "NOSCRIPT No matching script. Please use EVAL.";
    assert_eq!(client.line("EXEC").elements()[0].error(), noscript);
}

#[test]
fn t41_what_nobody_knows_and_what_was_flushed_stays_noscript() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut client = pointsman.client();
    let noscript = "NOSCRIPT No matching script. Please use EVAL.";
    assert_eq!(client.line("EVALSHA 0000000000000000000000000000000000000000 0").error(), noscript);
    assert_eq!(client.line("EVALSHA short 0").error(), noscript);
    let sha = client.command(&["SCRIPT", "LOAD", "return 1"]).text();
    assert_eq!(client.line(&format!("EVALSHA {sha} 0")), Reply::number(1));
    assert_eq!(client.line("SCRIPT FLUSH NOW").error(), "ERR SCRIPT FLUSH only support SYNC|ASYNC option");
    forget_everywhere(&cluster);
    assert_eq!(client.line(&format!("EVALSHA {sha} 0")), Reply::number(1), "that flushed nothing");
    assert_eq!(client.line("SCRIPT FLUSH SYNC"), Reply::ok());
    assert_eq!(client.line(&format!("EVALSHA {sha} 0")).error(), noscript);
    // What is no error of the node but the script's own word is the client's.
    let own = client.command(&["EVAL", "return redis.error_reply('NOSCRIPT mine')", "0"]);
    assert_eq!(own.error(), "NOSCRIPT mine");
}

#[test]
fn t41_a_script_that_says_moved_itself_ran_and_runs_no_second_time() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut client = pointsman.client();
    client.line("DEL t41said");
    for (round, text) in ["MOVED 5 elsewhere:1", "MOVED", "ASK 5 elsewhere:1"].into_iter().enumerate() {
        let script = format!("redis.call('INCR',KEYS[1]) return {{err='{text}'}}");
        assert_eq!(client.command(&["EVAL", &script, "1", "t41said"]).error(), text);
        assert_eq!(client.line("GET t41said").text(), (round + 1).to_string(), "{text}");
    }
}

#[test]
fn t41_a_script_exists_only_if_it_is_everywhere() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut client = pointsman.client();
    let everywhere = client.command(&["SCRIPT", "LOAD", "return 'everywhere'"]).text();
    let somewhere = cluster.node(0).command(&["SCRIPT", "LOAD", "return 'somewhere'"]).text();
    let nowhere = "0".repeat(40);
    let reply = client.command(&["SCRIPT", "EXISTS", &everywhere, &somewhere, &nowhere]);
    assert_eq!(reply.elements(), [Reply::number(1), Reply::number(0), Reply::number(0)]);
}

#[test]
fn t41_scripts_follow_a_slot_to_a_node_that_never_had_them() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut client = pointsman.client();
    let key = key_on(0, 3, "t41moved", 0);
    let sha = client.command(&["SCRIPT", "LOAD", APPEND]).text();
    assert_eq!(client.command(&["EVALSHA", &sha, "1", &key, "a"]), Reply::number(1));
    let slot = pointsman_protocol::Slot::of(key.as_bytes());
    let to = (cluster.primary_of(&key) + 1) % 3;
    assert_eq!(cluster.node(to).command(&["SCRIPT", "FLUSH"]), Reply::ok());
    // Half moved: MOVED or ASK first, NOSCRIPT then.
    let mut step = cluster.begin_move(slot, to);
    while step.move_keys(10) > 0 {}
    assert_eq!(client.command(&["EVALSHA", &sha, "1", &key, "b"]), Reply::number(2));
    step.finish();
    assert_eq!(cluster.node(to).command(&["SCRIPT", "FLUSH"]), Reply::ok());
    assert_eq!(client.command(&["EVALSHA", &sha, "1", &key, "c"]), Reply::number(3));
}

// T41: also where a replica reads.
#[test]
fn t41_replicas_learn_scripts_as_well() {
    let cluster = Cluster::start(3, 1);
    let pointsman = Setup::cluster(cluster.addresses()).with(|setup| setup.reads = "prefer_replica").start();
    let mut client = pointsman.client();
    let key = key_on(0, 3, "t41replica", 0);
    client.command(&["SET", &key, "v"]);
    let sha = client.command(&["SCRIPT", "LOAD", "return redis.call('GET', KEYS[1])"]).text();
    let replica = cluster.replicas_of(cluster.primary_of(&key))[0];
    eventually("the replica has the script", || {
        let reply = client.command(&["EVALSHA_RO", &sha, "1", &key]);
        assert!(reply == Reply::bulk("v") || reply.is_null(), "{reply}");
        let there = cluster.node(replica).command(&["SCRIPT", "EXISTS", &sha]).elements();
        check(there == [Reply::number(1)], there)
    });
}

#[test]
fn t41_a_busy_script_is_ended_through_the_proxy() {
    let cluster =
        Cluster::start_with(3, 0, &["--busy-reply-threshold", "50", "--cluster-node-timeout", "20000"]);
    let pointsman =
        Setup::cluster(cluster.addresses()).with(|setup| setup.request_timeout_ms = 15_000).start();
    let mut client = pointsman.client();
    let idle = "NOTBUSY No scripts in execution right now.";
    assert_eq!(client.line("SCRIPT KILL").error(), idle);
    assert_eq!(client.line("FUNCTION KILL").error(), idle);
    thread::scope(|scope| {
        let busy = scope.spawn(|| pointsman.client().command(&["EVAL", "while true do end", "0"]));
        eventually("the script is killed", || {
            let reply = client.line("SCRIPT KILL");
            check(reply == Reply::ok(), reply)
        });
        let reply = busy.join().expect("it was answered");
        assert!(reply.error().contains("killed by user"), "{reply}");
    });
    assert_eq!(client.command(&["SET", "k", "v"]), Reply::ok());
}

#[test]
fn t41_functions_are_on_every_shard() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut client = pointsman.client();
    let library = "#!lua name=lib\nredis.register_function('put', function(keys, args) return redis.call('SET', keys[1], args[1]) end)\nredis.register_function{function_name='take', callback=function(keys, args) return redis.call('GET', keys[1]) end, flags={'no-writes'}}";
    assert_eq!(client.command(&["FUNCTION", "LOAD", library]), Reply::bulk("lib"));
    for shard in 0..3 {
        let key = key_on(shard, 3, "t41f", 0);
        assert_eq!(client.command(&["FCALL", "put", "1", &key, "v"]), Reply::ok());
        assert_eq!(client.command(&["FCALL_RO", "take", "1", &key]), Reply::bulk("v"));
    }
    assert_eq!(client.line("FUNCTION LIST").elements().len(), 1);
    let stats = client.line("FUNCTION STATS").elements();
    assert_eq!((stats[0].text().as_str(), stats[1].is_null()), ("running_script", true));
    let dump = pointsman_protocol::resp::reply::payload(&client.line("FUNCTION DUMP").0).unwrap().to_vec();
    assert_eq!(client.line("FUNCTION FLUSH"), Reply::ok());
    assert_eq!(client.command(&["FCALL", "put", "1", "k", "v"]).error(), "ERR Function not found");
    assert_eq!(client.command(&[b"FUNCTION", &b"RESTORE"[..], &dump]), Reply::ok());
    for shard in 0..3 {
        let key = key_on(shard, 3, "t41f", 0);
        assert_eq!(client.command(&["FCALL_RO", "take", "1", &key]), Reply::bulk("v"));
    }
    assert_eq!(client.line("FUNCTION DELETE lib"), Reply::ok());
    for node in cluster.nodes() {
        assert!(node.command(&["FUNCTION", "LIST"]).elements().is_empty());
    }
}

// T71: what tells of the servers, as one server tells it.
#[test]
fn t71_what_shards_tell_of_themselves_is_one_reply() {
    let cluster = Cluster::start_with(
        3,
        0,
        &[
            "--slowlog-log-slower-than",
            "0",
            // Far above what a busy machine makes of a usual command.
            "--latency-monitor-threshold",
            "400",
            "--enable-debug-command",
            "yes",
        ],
    );
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut client = pointsman.client();
    for node in cluster.nodes() {
        node.command(&["DEBUG", "SLEEP", "0.45"]);
    }
    for shard in 0..3 {
        client.command(&["SET", &key_on(shard, 3, "t71", 0), "v"]);
    }
    assert_eq!(client.line("SLOWLOG GET").elements().len(), 10);
    assert_eq!(client.line("SLOWLOG GET 2").elements().len(), 2);
    assert!(client.line("SLOWLOG GET -1").elements().len() > 10);
    assert!(client.line("SLOWLOG GET x").is_error_of("ERR count should be"));
    assert!(client.line("SLOWLOG LEN").int() > 10);
    assert_eq!(client.line("SLOWLOG RESET"), Reply::ok());
    assert_eq!(client.line("LATENCY LATEST").elements().len(), 1, "one event, though every shard has it");
    assert_eq!(client.line("LATENCY HISTORY command").elements().len(), 3);
    assert!(client.line("LATENCY GRAPH command").text().contains("command - high"));
    assert_eq!(client.line("LATENCY GRAPH nothing").error(), "ERR No samples available for event 'nothing'");
    assert!(!client.line("LATENCY DOCTOR").text().is_empty());
    assert_eq!(client.line("LATENCY RESET"), Reply::number(3));
    let histogram = client.line("LATENCY HISTOGRAM set").elements();
    assert_eq!((histogram[0].text().as_str(), histogram[1].elements()[1].int()), ("set", 3));
    assert!(!client.line("MEMORY DOCTOR").text().is_empty());
    assert_eq!(client.line("MEMORY PURGE"), Reply::ok());
    assert!(client.command(&["MEMORY", "USAGE", &key_on(1, 3, "t71", 0)]).int() > 0);
    let stats = client.line("MEMORY STATS").elements();
    let place = stats.iter().position(|field| *field == Reply::bulk("keys.count")).expect("a field");
    assert_eq!(stats[place + 1], Reply::number(3), "of all shards");
    client.line("HELLO 3");
    assert_eq!(client.line("MEMORY STATS").elements().len(), stats.len());
    assert!(!client.line("MEMORY DOCTOR").text().is_empty());
    client.line("HELLO 2");
    let saved = cluster.nodes().iter().map(|node| node.command(&["LASTSAVE"]).int()).min();
    assert_eq!(Some(client.line("LASTSAVE").int()), saved);
    assert_eq!(client.line("PUBSUB NUMSUB a b").elements().len(), 4);
    assert_eq!(client.line("PUBSUB NUMPAT"), Reply::number(0));
    assert!(client.line("SCRIPT HELP").elements().len() > 3);
}

// T67: subscribers of all nodes count.
#[test]
fn t67_channels_of_all_shards() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut subscribers: Vec<_> = cluster.nodes().iter().map(|node| node.client()).collect();
    for subscriber in &mut subscribers {
        subscriber.line("SUBSCRIBE t67");
        subscriber.line("PSUBSCRIBE t67*");
    }
    let mut client = pointsman.client();
    assert_eq!(client.line("PUBSUB CHANNELS").elements(), [Reply::bulk("t67")]);
    assert!(client.line("PUBSUB CHANNELS x*").elements().is_empty());
    let numbers = client.line("PUBSUB NUMSUB t67 t67none").elements();
    assert_eq!(numbers, [Reply::bulk("t67"), Reply::number(3), Reply::bulk("t67none"), Reply::number(0)]);
    assert!(client.line("PUBSUB NUMPAT").int() >= 1);
}

/// A transaction that was not executed brought no script to anybody, as on one server.
#[test]
fn t40_a_script_in_a_transaction_is_remembered_once_it_was_executed() {
    let (cluster, server) = (Cluster::start(3, 0), RedisServer::standalone());
    let pointsman = Setup::cluster(cluster.addresses())
        .with(|setup| setup.listener_extra.push("multi_across_slots: best_effort".into()))
        .start();
    for (number, with_other_slot) in [(0, false), (1, true)] {
        let text = format!("return 40{number}");
        let other = RedisServer::standalone();
        let sha = other.command(&["SCRIPT", "LOAD", &text]).text();
        for changes in [true, false] {
            let say = |client: &mut Client| -> Vec<Reply> {
                let mut requests = vec![words(&["WATCH", "t40w"])];
                requests.extend(changes.then(|| words(&["INCR", "t40w"])));
                requests.push(words(&["MULTI"]));
                let key = if with_other_slot { "t40other" } else { "t40w" };
                requests.push(words(&["EVAL", &text, "1", key]));
                requests.push(words(&["EXEC"]));
                requests.push(words(&["EVALSHA", &sha, "1", "t40elsewhere"]));
                requests.push(words(&["EVALSHA", &sha, "1", "t40w"]));
                requests.iter().map(|request| client.command(request)).collect()
            };
            let (ours, theirs) = (say(&mut pointsman.client()), say(&mut server.client()));
            assert_eq!(ours, theirs, "{number} {changes}");
            assert_eq!(ours.last().is_some_and(|reply| reply.is_error_of("NOSCRIPT")), changes);
        }
    }
}

/// Where one node has everything, scripts are loaded and forgotten in transactions, too.
#[test]
fn t40_scripts_loaded_in_transactions_are_known() {
    let server = RedisServer::standalone();
    let pointsman = Setup::primary([server.address()]).start();
    let mut client = pointsman.client();
    let in_transaction = |client: &mut Client, words: &[&str]| -> Reply {
        client.line("MULTI");
        client.command(words);
        client.line("EXEC").elements().remove(0)
    };
    let sha = in_transaction(&mut client, &["SCRIPT", "LOAD", "return 4"]).text();
    server.command(&["SCRIPT", "FLUSH"]);
    assert_eq!(
        client.command(&["EVALSHA", &sha, "0"]),
        Reply::number(4),
        "the node forgot it, the proxy did not"
    );
    assert_eq!(in_transaction(&mut client, &["SCRIPT", "FLUSH"]), Reply::ok());
    assert!(client.command(&["EVALSHA", &sha, "0"]).is_error_of("NOSCRIPT"));
}
