use super::*;
use crate::route::division::Ranges;
use crate::route::plan::keyless_slot;
use pointsman_protocol::Slot;
use pointsman_protocol::command;
use pointsman_protocol::resp::args::OwnedArgs;

/// What a server with these commands announces. A row: name, arity, flags, then either first key, last
/// key and step, or tips.
fn announced(rows: &[&str]) -> Announced {
    let mut text = format!("*{}\r\n", rows.len());
    for row in rows {
        let words: Vec<&str> = row.split(' ').collect();
        let list = |words: &str| {
            let words: Vec<&str> = words.split(',').filter(|word| !word.is_empty()).collect();
            words.iter().fold(format!("*{}\r\n", words.len()), |text, word| format!("{text}+{word}\r\n"))
        };
        let key = |at: usize| words.get(at).and_then(|word| word.parse::<i64>().ok()).unwrap_or(0);
        text += &format!(
            "*10\r\n${}\r\n{}\r\n:{}\r\n{}:{}\r\n:{}\r\n:{}\r\n*0\r\n{}*0\r\n*0\r\n",
            words[0].len(),
            words[0],
            words[1],
            list(words[2]),
            key(3),
            key(4),
            key(5),
            list(words.get(6).unwrap_or(&"")),
        );
    }
    Announced::read(text.as_bytes()).expect("a list")
}

fn planned(line: &str, announced: &Announced, rule: UnknownCommands) -> String {
    planned_over(line, announced, rule, &Division::Slots)
}

fn planned_over(line: &str, announced: &Announced, rule: UnknownCommands, division: &Division) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let owned = OwnedArgs::new(&words);
    let args = owned.args();
    let refusal = command::resolve(args).expect_err("not in the table so");
    match plan(args, refusal, announced, rule, division, &mut Vec::new()) {
        Plan::Slot { slot, spec } => format!("slot {slot}{}", if spec.is_read() { " read" } else { "" }),
        Plan::Everyone { .. } => "everyone".into(),
        Plan::Shards { .. } => "shards".into(),
        Plan::Refuse(refusal) => {
            let mut out = Vec::new();
            refusal.write(args, &mut out);
            String::from_utf8(out).unwrap().trim_end().into()
        }
        other => format!("{other:?}"),
    }
}

// T34, T36: what the server says, and a write where it does not say otherwise.
#[test]
fn t34_t36_announced_commands_go_by_what_is_announced() {
    let there = announced(&[
        "new.get 2 readonly,fast 1 1 1",
        "new.set -3 write 1 1 1",
        "new.odd -2 fast 2 2 1",
        "new.mget -2 readonly 1 -1 1",
        "new.wait -2 write,blocking 1 1 1",
        "new.listen -2 pubsub 1 1 1",
        "new.reset 1 admin",
        "new.movable -2 write,movablekeys",
        "new.flush 1 write 0 0 0 request_policy:all_shards,response_policy:all_succeeded",
        "new.each 1 write 0 0 0 request_policy:all_shards",
        "new.nodes 1 write 0 0 0 request_policy:all_nodes,response_policy:special",
        "new.local -1 readonly",
        "new.session -1 noscript",
        "get -2 readonly,fast 1 1 1",
        "ping -1 fast",
    ]);
    let (a, b) = (Slot::of(b"a"), Slot::of(b"b"));
    let not =
        |name: &str| format!("-ERR '{name}' is not available through the proxy; send it to the node itself");
    for (line, expected) in [
        ("new.get a", format!("slot {a} read")),
        ("NEW.GET a", format!("slot {a} read")),
        ("new.set a 1", format!("slot {a}")),
        ("new.odd x b", format!("slot {b}")),
        ("new.mget a {a}1", format!("slot {a} read")),
        ("new.mget a b", "-CROSSSLOT Keys in request don't hash to the same slot".into()),
        ("new.get", "-ERR wrong number of arguments for 'new.get' command".into()),
        ("new.odd x", "-ERR wrong number of arguments for 'new.odd' command".into()),
        ("new.wait a", not("NEW.WAIT")),
        ("new.listen a", not("NEW.LISTEN")),
        ("new.reset", not("NEW.RESET")),
        ("new.session", not("NEW.SESSION")),
        ("new.flush", "everyone".into()),
        // Nobody says how the replies are joined: refused before anything is sent, where there are several.
        ("new.each", "shards".into()),
        ("new.nodes", "shards".into()),
        ("new.local", "shards".into()),
        // A known command that takes more there; and one whose route is ours.
        ("get a b", format!("slot {a} read")),
        ("NOSUCH a", "-ERR unknown command 'NOSUCH', with args beginning with: 'a'".into()),
    ] {
        assert_eq!(planned(line, &there, UnknownCommands::Refuse), expected, "{line}");
    }
    let untold = planned("new.movable a", &there, UnknownCommands::Refuse);
    assert!(untold.contains("'NEW.MOVABLE' does not tell where its keys are"), "{untold}");
    assert_eq!(planned("new.movable a", &there, UnknownCommands::FirstKey), format!("slot {a}"));
}

// T22, T36
#[test]
fn t22_t36_the_rule_for_what_nobody_knows() {
    let nothing = Announced::default();
    let a = Slot::of(b"a");
    for (line, refused, first_key) in [
        (
            "NOSUCH a b",
            "-ERR unknown command 'NOSUCH', with args beginning with: 'a' 'b'",
            format!("slot {a}"),
        ),
        (
            "NOSUCH",
            "-ERR unknown command 'NOSUCH', with args beginning with:",
            "-ERR unknown command 'NOSUCH', with args beginning with:".into(),
        ),
        // Known, and not so.
        ("GET a b", "-ERR wrong number of arguments for 'get' command", String::new()),
        ("CLIENT NOSUCH a", "-ERR unknown subcommand 'NOSUCH'. Try CLIENT HELP.", String::new()),
        // A browser stays a browser.
        (
            "POST / HTTP/1.1",
            "-ERR unknown command 'POST', with args beginning with: '/' 'HTTP/1.1'",
            String::new(),
        ),
    ] {
        assert_eq!(planned(line, &nothing, UnknownCommands::Refuse), refused);
        let expected = if first_key.is_empty() { refused.to_owned() } else { first_key };
        assert_eq!(planned(line, &nothing, UnknownCommands::FirstKey), expected, "{line}");
    }
    assert_ne!(a, keyless_slot());
}

#[test]
fn t42_short_requests_of_announced_commands() {
    // Modules announce no arity.
    let there = announced(&["new.get -1 readonly 1 1 1", "new.two -1 write 2 -1 1"]);
    let told = planned("new.get", &there, UnknownCommands::FirstKey);
    assert_eq!(told, "-ERR wrong number of arguments for 'new.get' command");
    // A range may be empty; the node that gets it judges.
    for line in ["new.two", "new.two a"] {
        let told = planned(line, &there, UnknownCommands::FirstKey);
        assert_eq!(told, format!("slot {}", keyless_slot()), "{line}");
    }
}

// T91: a node without cluster mode writes whatever key it is given.
#[test]
fn t91_keys_told_in_part_are_not_trusted_where_no_node_checks_them() {
    let there = announced(&["new.part -3 write,movablekeys 1 1 1", "new.whole -3 write 1 1 1"]);
    let (fixed, a) = (Division::Fixed(Ranges::new(2)), Slot::of(b"a"));
    let planned = |line: &str, rule, division: &Division| planned_over(line, &there, rule, division);
    let (refuse, first_key) = (UnknownCommands::Refuse, UnknownCommands::FirstKey);
    let refused = planned("new.part a b", refuse, &fixed);
    assert!(refused.contains("'NEW.PART' does not tell where all its keys are"), "{refused}");
    let home = format!("slot {}", fixed.slot(b"a"));
    assert_eq!(planned("new.part a b", first_key, &fixed), home, "the operator says so");
    assert_eq!(planned("new.whole a b", refuse, &fixed), home);
    assert_eq!(planned("new.part a b", refuse, &Division::Slots), format!("slot {a}"), "the node checks");
    assert_eq!(planned("new.part a b", refuse, &Division::Whole), format!("slot {}", Slot::ZERO));
}
