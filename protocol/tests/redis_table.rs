//! The command table beside a real redis-server's own reply to COMMAND: places of keys, class and numbers of
//! arguments of every command that both have. Where they differ, the difference stands here with its reason.

// Shared with tests that also need chance.
#[allow(dead_code)]
mod support;

use pointsman_protocol::command::{Announced, CommandSpec, KeyPattern, all, lookup_args};
use pointsman_protocol::resp::args::OwnedArgs;
use pointsman_protocol::resp::reply::{elements, integer, payload};
use support::RedisServer;

/// Commands of which the server says something else than the table does, and why.
const DIFFERENCES: &[(&str, &str)] = &[
    ("COMMAND|GETKEYS", "takes one argument less since 7.2"),
    ("COMMAND|GETKEYSANDFLAGS", "takes one argument less since 7.2"),
    ("ZRANK", "WITHSCORE came with 7.2"),
    ("ZREVRANK", "WITHSCORE came with 7.2"),
    ("PFCOUNT", "a read that may write what it counted: for the primary"),
    ("EVAL", "not called a write, but may be one"),
];

struct Row {
    name: String,
    arity: i64,
    flags: Vec<String>,
    range: (i64, i64, i64),
}

fn rows_of(list: &[u8], out: &mut Vec<Row>) {
    for row in elements(list).expect("a list") {
        let fields: Vec<&[u8]> = elements(row).expect("a row").collect();
        let number = |at: usize| integer(fields[at]).expect("a number");
        let words = |at: usize| elements(fields[at]).expect("words").filter_map(payload);
        out.push(Row {
            name: String::from_utf8_lossy(payload(fields[0]).expect("a name")).to_uppercase(),
            arity: number(1),
            flags: words(2).map(|word| String::from_utf8_lossy(word).into_owned()).collect(),
            range: (number(3), number(4), number(5)),
        });
        rows_of(fields[9], out);
    }
}

fn row_of_table(name: &str) -> Option<&'static CommandSpec> {
    let words = OwnedArgs::new(&name.split('|').collect::<Vec<_>>());
    lookup_args(words.args())
}

/// First key, last key and step of what is no search.
fn range(spec: &CommandSpec) -> Option<(i64, i64, i64)> {
    match spec.pattern {
        KeyPattern::None => Some((0, 0, 0)),
        KeyPattern::One(at) => Some((at.into(), at.into(), 1)),
        KeyPattern::Range { first, last, step } => Some((first.into(), last.into(), step.into())),
        KeyPattern::Complex => None,
    }
}

#[test]
fn t34_t36_the_table_agrees_with_a_real_server() {
    let Some(server) = RedisServer::start("t34_table") else { return };
    let mut rows = Vec::new();
    rows_of(&server.connect().ask(&["COMMAND"]), &mut rows);
    assert!(rows.len() > 300, "{} rows", rows.len());
    let mut differing = Vec::new();
    for row in &rows {
        let Some(spec) = row_of_table(&row.name) else { panic!("{} is not in the table", row.name) };
        let has = |flag: &str| row.flags.iter().any(|known| known == flag);
        let takes_all =
            spec.arity == row.arity as i16 || (spec.arity < 0 && i64::from(-spec.arity) <= row.arity.abs());
        let class = spec.is_read() == has("readonly") && (spec.is_write() || !has("write"));
        let keys = range(spec).is_none_or(|range| range == row.range);
        if !(spec.arity == row.arity as i16 && class && keys) {
            differing.push(row.name.as_str());
        }
        // Whatever differs, nothing that the server takes is refused here, but for what 7.2 made stricter.
        assert!(takes_all, "{}: {} here, {} there", row.name, spec.arity, row.arity);
        assert!(!(spec.is_read() && has("write")), "{} would reach a replica", row.name);
        assert!(keys, "{}: {:?} here, {:?} there", row.name, range(spec), row.range);
        if spec.pattern == KeyPattern::Complex {
            assert!(has("movablekeys") || row.range != (0, 0, 0), "{} has keys only here", row.name);
        }
    }
    let explained: Vec<&str> = DIFFERENCES.iter().map(|(name, _)| *name).collect();
    for name in &differing {
        assert!(explained.contains(name), "{name} differs; is the table wrong, or is there a reason?");
    }
}

// Its own reply, read as that of a stranger: nothing in it is new to the table but what is older there.
#[test]
fn what_a_real_server_announces_is_understood() {
    let Some(server) = RedisServer::start("announced") else { return };
    let announced = Announced::read(&server.connect().ask(&["COMMAND"])).expect("a list of commands");
    for name in ["GET", "CLIENT|ID", "XGROUP|CREATE", "MSETNX", "SINTERCARD"] {
        assert!(announced.has(name), "{name}");
    }
    assert!(!announced.has("HEXPIRE") || !announced.has("DELIFEQ"), "no server has both");
    for row in announced.rows() {
        let known = row_of_table(row.name);
        let explained = DIFFERENCES.iter().any(|(name, _)| *name == row.name);
        assert!(explained || known.is_none(), "{} takes {} there", row.name, row.arity);
    }
    assert!(all().len() > 300);
}
