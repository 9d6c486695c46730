use super::*;
use pointsman_protocol::command;
use pointsman_protocol::resp::args::OwnedArgs;

fn ask(line: &str, resp3: bool) -> Result<(Question, Vec<String>), &'static str> {
    let owned = OwnedArgs::new(&line.split(' ').collect::<Vec<_>>());
    let spec = command::resolve(owned.args()).unwrap();
    let (question, parts) = Question::read(spec, owned.args(), resp3, &Division::Slots)?;
    Ok((question, parts.iter().map(|(_, bytes)| words(bytes)).collect()))
}

fn words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let words: Vec<&str> =
        text.split("\r\n").filter(|word| !word.is_empty() && !word.starts_with(['*', '$'])).collect();
    words.join(" ")
}

fn told(line: &str, replies: &[&str]) -> String {
    told_in(line, false, replies)
}

fn told_in(line: &str, resp3: bool, replies: &[&str]) -> String {
    let replies: Vec<&[u8]> = replies.iter().map(|reply| reply.as_bytes()).collect();
    match ask(line, resp3).unwrap().0.judge(&replies) {
        Some(Outcome::Tell(bytes)) => String::from_utf8(bytes).unwrap(),
        Some(Outcome::Write(store)) => {
            format!("{} ({} ahead): {}", words(&store.bytes), store.ahead, words(&store.told))
        }
        None => "none".to_owned(),
    }
}

// T39: what goes out for a request is reads, each to one slot.
#[test]
fn t39_what_is_asked_of_the_slots() {
    for (line, parts) in [
        ("SUNION a b {a}2", &["SUNION b", "SUNION a {a}2"][..]),
        ("SINTERSTORE d a b", &["SINTER a", "SINTER b"]),
        ("SDIFF b a {b}2", &["SDIFF b {b}2", "SUNION a"]),
        ("SINTERCARD 2 a b LIMIT 1", &["SINTER a", "SINTER b"]),
        ("ZUNION 3 a b a WEIGHTS 1 2 3", &["ZUNION 1 a WITHSCORES", "ZUNION 1 b WITHSCORES"]),
        ("ZDIFFSTORE d 1 a", &["ZUNION 1 a WITHSCORES"]),
        ("PFCOUNT a b a", &["GET a", "GET b"]),
    ] {
        let mut asked = ask(line, false).unwrap().1;
        let mut expected = parts.to_vec();
        if !line.starts_with("SDIFF") {
            asked.sort();
            expected.sort_unstable();
        }
        assert_eq!(asked, expected, "{line}");
    }
}

#[test]
fn what_a_node_would_refuse_is_refused_in_its_words() {
    for (line, text) in [
        ("SINTERCARD 2 a b LIMIT", SYNTAX),
        ("SINTERCARD 2 a b LIMIT -1", "ERR LIMIT can't be negative"),
        ("SINTERCARD 2 a b LIMIT x", "ERR LIMIT can't be negative"),
        ("SINTERCARD 2 a b FOO 1", SYNTAX),
        ("ZINTERCARD 2 a b WITHSCORES", SYNTAX),
        ("ZUNION 2 a b WEIGHTS 1", SYNTAX),
        ("ZUNION 2 a b WEIGHTS 1 x", "ERR weight value is not a float"),
        ("ZUNION 2 a b WEIGHTS 1 nan", "ERR weight value is not a float"),
        ("ZUNION 2 a b AGGREGATE avg", SYNTAX),
        ("ZUNION 2 a b AGGREGATE", SYNTAX),
        ("ZUNION 2 a b WITHSCORES x", SYNTAX),
        ("ZUNIONSTORE d 2 a b WITHSCORES", SYNTAX),
        ("ZDIFF 2 a b WEIGHTS 1 2", SYNTAX),
    ] {
        assert_eq!(ask(line, false).unwrap_err(), text, "{line}");
    }
}

#[test]
fn sets_are_joined_and_stored() {
    let (ab, bc) = ("*2\r\n$1\r\na\r\n$1\r\nb\r\n", "~2\r\n$1\r\nb\r\n$1\r\nc\r\n");
    assert_eq!(told("SUNION x y", &[ab, bc]), "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n");
    assert_eq!(told_in("SINTER x y", true, &[ab, bc]), "~1\r\n$1\r\nb\r\n");
    assert_eq!(told("SINTERCARD 2 x y", &[ab, bc]), ":1\r\n");
    assert_eq!(told("SINTERCARD 2 x y LIMIT 0", &[ab, ab]), ":2\r\n");
    assert_eq!(told("SINTERCARD 2 x y LIMIT 1", &[ab, ab]), ":1\r\n");
    assert_eq!(told("SDIFFSTORE d x y", &[ab, bc]), "MULTI DEL d SADD d a EXEC (3 ahead): :1");
    assert_eq!(told("SDIFFSTORE d x y", &[ab, ab]), "DEL d (0 ahead): :0");
    assert_eq!(told("SUNION x y", &[ab, ":1\r\n"]), "none");
    assert_eq!(told("SUNION x y", &[ab]), "none");
}

#[test]
fn sorted_sets_have_redis_order_and_scores() {
    let one = "*6\r\n$1\r\nb\r\n$1\r\n1\r\n$1\r\na\r\n$1\r\n2\r\n$1\r\nz\r\n$3\r\ninf\r\n";
    let two = "*2\r\n*2\r\n$1\r\na\r\n,0.5\r\n*2\r\n$1\r\nz\r\n,-inf\r\n";
    for (line, expected) in [
        ("ZUNION 2 x y WITHSCORES", "z 0 b 1 a 2.5"),
        ("ZUNION 2 x y", "z b a"),
        ("ZUNION 2 x y WEIGHTS 0 2 WITHSCORES", "z -inf b 0 a 1"),
        ("ZUNION 2 x y AGGREGATE MIN WITHSCORES", "z -inf a 0.5 b 1"),
        ("ZUNION 2 x y AGGREGATE max WITHSCORES", "b 1 a 2 z inf"),
        ("ZINTER 2 x y WEIGHTS 2 1 WITHSCORES", "z 0 a 4.5"),
        ("ZDIFF 2 x y WITHSCORES", "b 1"),
        ("ZDIFF 2 x x", ""),
        ("ZINTERCARD 2 x y LIMIT 1", ":1"),
        ("ZUNIONSTORE d 2 x y", "MULTI DEL d ZADD d 0 z 1 b 2.5 a EXEC (3 ahead): :3"),
        ("ZDIFFSTORE d 2 x x", "DEL d (0 ahead): :0"),
    ] {
        let reply = told(line, &[one, two]);
        let shown = if reply.contains("ahead") { reply } else { words(reply.as_bytes()) };
        assert_eq!(shown, expected, "{line}");
    }
    assert_eq!(
        told_in("ZUNION 2 x y WITHSCORES", true, &[one, two]),
        "*3\r\n*2\r\n$1\r\nz\r\n,0\r\n*2\r\n$1\r\nb\r\n,1\r\n*2\r\n$1\r\na\r\n,2.5\r\n"
    );
}

#[test]
fn scores_are_written_as_the_nodes_write_them() {
    let long = "*2\r\n$1\r\na\r\n$19\r\n0.10000000000000001\r\n";
    let short = "*2\r\n$1\r\na\r\n$3\r\n0.1\r\n";
    let other = "*2\r\n$1\r\na\r\n$1\r\n1\r\n";
    assert_eq!(words(told("ZUNION 2 x y WITHSCORES", &[long, other]).as_bytes()), "a 1.1000000000000001");
    assert_eq!(words(told("ZUNION 2 x y WITHSCORES", &[short, other]).as_bytes()), "a 1.1");
    assert_eq!(words(told("ZDIFF 2 x y WITHSCORES", &[long, "*0\r\n"]).as_bytes()), "a 0.10000000000000001");
}

#[test]
fn a_merge_leaves_the_destination_to_its_node() {
    let none = "$-1\r\n";
    assert_eq!(told("PFCOUNT x y", &[none, none]), ":0\r\n");
    assert_eq!(
        told("PFCOUNT x y", &[none, "$3\r\nfoo\r\n"]),
        "-WRONGTYPE Key is not a valid HyperLogLog string value.\r\n"
    );
    let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
    assert!(told("PFCOUNT x y", &["$3\r\nfoo\r\n", wrong]).contains("HyperLogLog"), "the first key counts");
    assert_eq!(told("PFMERGE d x y", &[wrong, "$3\r\nfoo\r\n"]), wrong);
    assert_eq!(told("SUNIONSTORE d x y", &["*0\r\n", wrong]), wrong);
    let merged = told("PFMERGE d x", &[none]);
    assert!(merged.starts_with("MULTI SET {d}:pointsman:pfmerge HYLL"), "{merged}");
    assert!(
        merged.ends_with("PFMERGE d {d}:pointsman:pfmerge DEL {d}:pointsman:pfmerge EXEC (4 ahead): +OK"),
        "{merged}"
    );
}

#[test]
fn a_key_beside_another_is_in_its_slot() {
    for key in [&b"plain"[..], b"{tag}x", b"x{tag}y", b"a}b", b"{}x", b"", b"{a", b"}{"] {
        let beside = key_beside(key, b":s", &Division::Slots);
        assert_eq!(Slot::of(&beside), Slot::of(key), "{key:?}");
        assert!(beside.ends_with(b":s"));
    }
}

#[test]
fn a_failed_step_of_a_store_is_told() {
    assert_eq!(stored(b"*2\r\n:1\r\n:2\r\n", b":2\r\n"), b":2\r\n");
    assert_eq!(stored(b"*2\r\n:1\r\n-WRONGTYPE x\r\n", b"+OK\r\n"), b"-WRONGTYPE x\r\n");
    assert_eq!(stored(b":1\r\n", b":0\r\n"), b":0\r\n");
}

#[test]
fn large_results_come_in_several_commands() {
    let members: Vec<String> = (0..5000).map(|number| number.to_string()).collect();
    let store =
        store(Slot::ZERO, b"d", b"SADD", members.iter().map(|member| member.as_bytes()), members.len(), 1);
    assert_eq!((store.ahead, store.told.as_slice()), (4, &b":5000\r\n"[..]));
    assert_eq!(memchr::memmem::find_iter(&store.bytes, b"SADD").count(), 2);
}
