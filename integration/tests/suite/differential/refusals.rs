//! What the proxy refuses by design where one server would do it: the one table, from which the README's is
//! made. Every row has requests that show it, which a test sends.

use pointsman_integration::client::words;
use pointsman_integration::{Cluster, Reply, Setup};

/// One row of it.
#[derive(Debug)]
pub struct Refused {
    /// What is refused.
    pub what: &'static str,
    /// The commands, by their names in the table; empty for any.
    rows: &'static [&'static str],
    /// What the error says: one of these is a part of it.
    answers: &'static [&'static str],
    /// Dialogues, each over a connection of its own; the last line of each is refused.
    examples: &'static [&'static [&'static str]],
    why: &'static str,
}

impl Refused {
    fn says(&self, error: &str) -> bool {
        self.answers.iter().any(|answer| error.contains(answer))
    }
}

/// Keys in several slots: the one that is foreseen instead of recognised by its answer.
pub const CROSS_SLOT: &Refused = &REFUSED[0];

/// The table, in the order of the README.
pub const REFUSED: &[Refused] = &[
    Refused {
        what: "Keys in several slots, except for the commands that are split and what a listener's keys allow (set \
               algebra, transactions, BLPOP)",
        rows: &[],
        answers: &["CROSSSLOT Keys in request don't hash to the same slot"],
        examples: &[
            &["RENAME a b"],
            &["MSETNX a 1 b 2"],
            &["SINTERSTORE a b c"],
            &["EVAL return(1) 2 a b"],
            &["MULTI", "SET a 1", "SET b 2"],
            &["WATCH a b"],
        ],
        why: "no node can do it at one moment, and in pieces it would not be atomic; a hash tag keeps keys together: \
              `{user1}name`, `{user1}visits`",
    },
    Refused {
        what: "Between MULTI and EXEC: what goes to every shard, may ask a node, concerns other clients or changes the \
               connection (DBSIZE, KEYS, SCAN, FLUSHALL, SCRIPT, INFO, CONFIG GET and SET, COMMAND LIST, COMMAND DOCS, CLIENT LIST, \
               HELLO, AUTH, SUBSCRIBE)",
        rows: &[],
        answers: &["is not available between MULTI and EXEC through the proxy"],
        examples: &[
            &["MULTI", "DBSIZE"],
            &["MULTI", "SCAN 0"],
            &["MULTI", "FLUSHALL"],
            &["MULTI", "SCRIPT FLUSH"],
            &["MULTI", "INFO"],
            &["MULTI", "CONFIG GET maxmemory"],
            &["MULTI", "COMMAND LIST FILTERBY MODULE x"],
            &["MULTI", "CLIENT LIST"],
            &["MULTI", "HELLO 3"],
            &["MULTI", "SUBSCRIBE a"],
        ],
        why: "a transaction is one piece on one shard; its reply could not hold those of others",
    },
    Refused {
        what: "SORT BY and GET with patterns",
        rows: &["SORT", "SORT_RO"],
        answers: &["option of SORT denied in Cluster mode"],
        examples: &[&["SORT l BY weight_*"], &["SORT l GET object_*"], &["SORT_RO l GET #"]],
        why: "a cluster's nodes refuse it (before Redis 7.4): the keys that it leads to may be on other shards",
    },
    Refused {
        what: "Scripts that reach for keys they were not given, in another slot",
        rows: &["EVAL", "EVAL_RO", "EVALSHA", "EVALSHA_RO", "FCALL", "FCALL_RO"],
        answers: &["attempted to access a non local key in a cluster node"],
        examples: &[&["EVAL return(redis.call('GET','b')) 1 a"]],
        why: "a cluster's nodes refuse it: the script runs where its keys are",
    },
    Refused {
        what: "Databases other than 0: SELECT, SWAPDB, MOVE, COPY DB",
        rows: &["SELECT", "SWAPDB", "MOVE", "COPY"],
        answers: &["DB index is out of range", "Copying to another database is not allowed in cluster mode"],
        examples: &[&["SELECT 1"], &["COPY a {a}2 DB 1"]],
        why: "a cluster has one database; the answer is that of a server with `databases 1`",
    },
    Refused {
        what: "What concerns one node: SHUTDOWN, DEBUG, REPLICAOF, FAILOVER, SAVE, BGSAVE, BGREWRITEAOF, SYNC, \
               MODULE LOAD, ACL SETUSER and its like, SCRIPT DEBUG, MIGRATE, RESTORE-ASKING",
        rows: &[],
        answers: &["is not available through the proxy; send it to the node itself"],
        examples: &[
            &["SHUTDOWN NOSAVE"],
            &["DEBUG SLEEP 0"],
            &["REPLICAOF NO ONE"],
            &["BGSAVE"],
            &["ACL SETUSER me on"],
            &["SCRIPT DEBUG YES"],
            &["MIGRATE 127.0.0.1 1 k 0 1000"],
            &["RESTORE-ASKING k 0 x"],
        ],
        why: "nobody can say which node is meant; data on the move belongs to the cluster, not to a client",
    },
    Refused {
        what: "CONFIG SET, except for notify-keyspace-events and for what is so already",
        rows: &["CONFIG|SET"],
        answers: &["through the proxy"],
        examples: &[&["CONFIG SET maxmemory 1000000"], &["CONFIG SET port 1"]],
        why: "how nodes are set up is for their operator, not for one of many clients",
    },
];

/// The row that explains this reply to this command.
pub fn of_reply(name: &str, ours: &Reply) -> Option<&'static Refused> {
    if !ours.is_error() {
        return None;
    }
    let text = ours.error();
    REFUSED
        .iter()
        // Keys in several slots are foreseen, not believed.
        .skip(1)
        .find(|row| (row.rows.is_empty() || row.rows.contains(&name)) && row.says(&text))
}

/// The table as the README shows it.
fn markdown() -> String {
    let mut out = String::from("| refused | answer | why |\n|---|---|---|\n");
    for row in REFUSED {
        out += &format!("| {} | `{}` | {} |\n", row.what, row.answers.join("`, `"), row.why);
    }
    out
}

const BEGIN: &str = "<!-- refused: made by the test the_readme_says_what_is_refused -->\n";
const END: &str = "<!-- refused: end -->\n";

/// POINTSMAN_REGENERATE=1 writes the table into the README.
#[test]
fn the_readme_says_what_is_refused() {
    let path = pointsman_integration::tools::workspace().join("README.md");
    let readme = std::fs::read_to_string(&path).expect("there is a README");
    let (before, rest) = readme.split_once(BEGIN).expect("the README has a place for the table");
    let (table, after) = rest.split_once(END).expect("and the place ends");
    if std::env::var_os("POINTSMAN_REGENERATE").is_some() {
        std::fs::write(&path, [before, BEGIN, &markdown(), END, after].concat()).expect("it can be written");
        return;
    }
    assert!(
        table == markdown(),
        "the README does not say what refusals.rs says; regenerate it with\n    \
         POINTSMAN_REGENERATE=1 integration/run the_readme_says_what_is_refused"
    );
}

#[test]
fn t22_t39_t40_what_is_refused_by_design_is_refused_so() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses()).start();
    for row in REFUSED {
        for dialogue in row.examples {
            let mut client = pointsman.client();
            let (last, before) = dialogue.split_last().expect("a dialogue has lines");
            for line in before {
                let reply = client.line(line);
                assert!(!reply.is_error(), "{line} before {last}: {reply}");
            }
            let reply = client.line(last);
            assert!(reply.is_error() && row.says(&reply.error()), "{last}: {reply}");
            // It goes on.
            let echo = client.pipeline(&[words(&["DISCARD"]), words(&["ECHO", "on"])]).remove(1);
            assert_eq!(echo, Reply::bulk("on"), "{last}");
        }
    }
}
