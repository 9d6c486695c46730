use super::*;
use crate::command::keys;
use crate::resp::args::OwnedArgs;

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

fn list(items: &[String]) -> String {
    format!("*{}\r\n{}", items.len(), items.concat())
}

fn words_of(words: &str) -> String {
    list(&words.split_whitespace().map(|word| format!("+{word}\r\n")).collect::<Vec<_>>())
}

/// A key specification: flags, kind and fields of begin_search, kind and fields of find_keys.
fn spec(flags: &str, begin: (&str, &[(&str, &str)]), find: (&str, &[(&str, &str)])) -> String {
    let part = |(kind, fields): (&str, &[(&str, &str)])| {
        let fields: Vec<String> = fields
            .iter()
            .flat_map(|(name, value)| {
                let number = value.parse::<i64>().map(|number| format!(":{number}\r\n"));
                [bulk(name), number.unwrap_or_else(|_| bulk(value))]
            })
            .collect();
        list(&[bulk("type"), bulk(kind), bulk("spec"), list(&fields)])
    };
    list(&[bulk("flags"), words_of(flags), bulk("begin_search"), part(begin), bulk("find_keys"), part(find)])
}

fn row(name: &str, arity: i64, flags: &str, specs: &[String], children: &[String]) -> String {
    list(&[
        bulk(name),
        format!(":{arity}\r\n"),
        words_of(flags),
        ":0\r\n".into(),
        ":0\r\n".into(),
        ":0\r\n".into(),
        words_of("@x"),
        words_of(""),
        list(specs),
        list(children),
    ])
}

fn keys_of(announced: &Announced, line: &str) -> Result<Vec<u32>, keys::KeyError> {
    let words: Vec<&str> = line.split(' ').collect();
    let args = OwnedArgs::new(&words);
    let spec = announced.find(args.args()).unwrap_or_else(|| panic!("{line} is not announced"));
    let mut found = Vec::new();
    keys::find(spec, args.args(), &mut found)?;
    Ok(found.iter().map(|key| key.index).collect())
}

#[test]
fn t34_announced_key_specifications_of_every_kind() {
    let range = |last, step, limit| ("range", [("lastkey", last), ("keystep", step), ("limit", limit)]);
    let one = range("0", "1", "0");
    let at1 = ("index", &[("index", "1")][..]);
    let half = range("-1", "1", "2");
    let keynum = ("keynum", [("keynumidx", "0"), ("firstkey", "1"), ("keystep", "2")]);
    let announced = Announced::read(
        list(&[
            row("t.one", -2, "write", &[spec("RW", at1, (one.0, &one.1))], &[]),
            row("t.count", -3, "write", &[spec("OW", at1, (keynum.0, &keynum.1))], &[]),
            row(
                "t.word",
                -2,
                "write",
                &[
                    spec("RO access", at1, (one.0, &one.1)),
                    spec("OW", ("keyword", &[("keyword", "STORE"), ("startfrom", "2")]), (one.0, &one.1)),
                ],
                &[],
            ),
            row(
                "t.back",
                -2,
                "write",
                &[spec("RW", ("keyword", &[("keyword", "keys"), ("startfrom", "-2")]), (half.0, &half.1))],
                &[],
            ),
            row("t.own", -2, "write", &[spec("RW", ("unknown", &[]), ("unknown", &[]))], &[]),
        ])
        .as_bytes(),
    )
    .unwrap();
    for (line, expected) in [
        ("T.ONE k x", Ok(vec![1])),
        ("t.count 2 a 1 b 2 EX 5", Ok(vec![2, 4])),
        ("t.count 3 a 1 b 2", Err(keys::KeyError::Syntax)),
        ("t.count x a 1", Err(keys::KeyError::NotInteger)),
        ("t.word a", Ok(vec![1])),
        ("t.word a x store b", Ok(vec![1, 4])),
        ("t.word store a", Ok(vec![1])),
        ("t.word a store", Err(keys::KeyError::Arity)),
        ("t.back x KEYS a b c d", Ok(vec![3, 4])),
        ("t.back x y", Ok(vec![])),
        ("t.own k", Ok(vec![])),
    ] {
        assert_eq!(keys_of(&announced, line), expected, "{line}");
    }
}

#[test]
fn t36_what_is_not_announced_as_a_read_is_none() {
    let at1 = ("index", &[("index", "1")][..]);
    let one = ("range", &[("lastkey", "0"), ("keystep", "1"), ("limit", "0")][..]);
    let told = |flags: &str| {
        let text = list(&[row("class", 2, flags, &[spec("RW access update", at1, one)], &[])]);
        Announced::read(text.as_bytes()).unwrap()
    };
    let is_read = |announced: &Announced| announced.row(b"CLASS").unwrap().is_read();
    for (flags, read) in [
        ("readonly fast", true),
        ("readonly module", true),
        ("", false),
        ("fast", false),
        ("write", false),
        ("readonly write", false),
        ("readonly may_replicate", false),
    ] {
        assert_eq!(is_read(&told(flags)), read, "{flags}");
    }
    // Two servers that differ: the careful one counts, whoever is asked first.
    for (first, second) in [("readonly", "write"), ("write", "readonly")] {
        let mut joined = told(first);
        joined.join(&told(second));
        assert!(!is_read(&joined), "{first}, then {second}");
    }
}

#[test]
fn subcommands_are_found_by_both_names() {
    let announced = Announced::read(
        list(&[
            row(
                "box",
                -2,
                "",
                &[],
                &[row("box|open", 2, "write", &[], &[]), row("other|x", 2, "", &[], &[])],
            ),
            row(
                "xinfo",
                -2,
                "",
                &[],
                &[row("xinfo|new", 3, "readonly", &[], &[]), row("xinfo|help", 2, "", &[], &[])],
            ),
        ])
        .as_bytes(),
    )
    .unwrap();
    let find = |words: &[&str]| announced.find(OwnedArgs::new(words).args()).map(|row| row.name);
    assert_eq!(find(&["box", "Open"]), Some("BOX|OPEN"));
    assert_eq!(find(&["box", "close"]), Some("BOX"));
    assert_eq!(find(&["BOX"]), Some("BOX"));
    assert!(announced.row(b"box").unwrap().is_container());
    assert_eq!(find(&["xinfo", "new"]), Some("XINFO|NEW"));
    assert_eq!(find(&["xinfo", "help"]), None, "the table has it");
    assert_eq!(find(&["other", "x"]), None, "not under a stranger's name");
    assert!(announced.has("XINFO|HELP") && !announced.has("OTHER|X"));
    assert_eq!(find(&[]), None);
}

#[test]
fn the_same_row_is_made_once() {
    let text = list(&[row("twice", 2, "write", &[], &[])]);
    let (one, other) = (Announced::read(text.as_bytes()).unwrap(), Announced::read(text.as_bytes()).unwrap());
    assert!(std::ptr::eq(one.row(b"twice").unwrap(), other.row(b"twice").unwrap()));
}

#[test]
fn replies_that_are_none_tell_nothing() {
    let long = "x".repeat(1000);
    for text in [
        "*0\r\n".to_owned(),
        "-ERR unknown command\r\n".to_owned(),
        ":5\r\n".to_owned(),
        "*1\r\n:1\r\n".to_owned(),
        list(&[row("", 1, "", &[], &[])]),
        list(&[row(&long, 1, "", &[], &[])]),
        list(&[row("a b", 1, "", &[], &[])]),
        list(&[row("zero", 0, "", &[], &[])]),
        list(&[row("far", 99_999, "", &[], &[])]),
        list(&[list(&[bulk("short")])]),
    ] {
        assert!(Announced::read(text.as_bytes()).is_none(), "{text}");
    }
    // Specifications beyond all measure are left out; the command stays.
    let far = spec(
        "RW",
        ("index", &[("index", "70000")]),
        ("range", &[("lastkey", "0"), ("keystep", "1"), ("limit", "0")]),
    );
    let announced = Announced::read(list(&[row("far.keys", -2, "write", &[far], &[])]).as_bytes()).unwrap();
    let row = announced.row(b"far.keys").unwrap();
    assert!(row.keys.is_empty() && row.flags.has(Flags::MOVABLE_KEYS), "its keys are not told");
}

/// A row as servers before Redis 7 tell it: first key, last key, step.
fn short(name: &str, flags: &str, range: [i64; 3]) -> String {
    let numbers = range.iter().map(|number| format!(":{number}\r\n"));
    let fields = [bulk(name), ":-2\r\n".into(), words_of(flags)];
    list(&[list(&fields.into_iter().chain(numbers).collect::<Vec<_>>())])
}

#[test]
fn t34_ranges_beyond_all_measure_are_none() {
    for (range, pattern) in [
        ([1, 1, 1], KeyPattern::One(1)),
        ([2, -1, 2], KeyPattern::Range { first: 2, last: -1, step: 2 }),
        ([60, 60, 1], KeyPattern::One(60)),
        ([1, 60, 60], KeyPattern::Range { first: 1, last: 60, step: 60 }),
        ([1, -60, 1], KeyPattern::Range { first: 1, last: -60, step: 1 }),
        ([1, 61, 1], KeyPattern::None),
        ([61, 61, 1], KeyPattern::None),
        ([1, -61, 1], KeyPattern::None),
        ([1, i64::MIN, 1], KeyPattern::None),
        ([1, i64::MAX, 1], KeyPattern::None),
        ([i64::MAX, i64::MIN, i64::MIN], KeyPattern::None),
        ([5, 2, 1], KeyPattern::None),
        ([0, 0, 0], KeyPattern::None),
    ] {
        let announced = Announced::read(short("short.row", "write", range).as_bytes()).unwrap();
        assert_eq!(announced.row(b"short.row").unwrap().pattern, pattern, "{range:?}");
    }
    // The first place and the distance to the last one together.
    let at = |first, distance| {
        let range = [("lastkey", distance), ("keystep", "1"), ("limit", "0")];
        let keys = spec("RW", ("index", &[("index", first)]), ("range", &range));
        let announced =
            Announced::read(list(&[row("far.row", -2, "write", &[keys], &[])]).as_bytes()).unwrap();
        announced.row(b"far.row").unwrap().pattern
    };
    assert_eq!(at("60", "60"), KeyPattern::Range { first: 60, last: 120, step: 1 });
    assert_eq!(at("60", "61"), KeyPattern::None);
}

#[test]
fn t34_keys_of_which_only_a_part_is_told_are_marked() {
    let fixed = |flags| {
        let range = ("range", &[("lastkey", "0"), ("keystep", "1"), ("limit", "0")][..]);
        spec(flags, ("index", &[("index", "1")]), range)
    };
    let counted = || {
        let keynum = ("keynum", &[("keynumidx", "0"), ("firstkey", "1"), ("keystep", "1")][..]);
        spec("RO access", ("index", &[("index", "2")]), keynum)
    };
    let unknown = || spec("OW update", ("unknown", &[]), ("unknown", &[]));
    for (what, flags, specs, all) in [
        ("all", "write", vec![fixed("RW")], true),
        ("all, some of them counted", "write movablekeys", vec![fixed("OW"), counted()], true),
        ("one unknown", "write movablekeys", vec![fixed("RO"), unknown()], false),
        ("one unknown, without a word of it", "write", vec![fixed("RO"), unknown()], false),
        ("counted, and one unknown", "write movablekeys", vec![counted(), unknown()], false),
        ("the server says so", "write", vec![fixed("RW incomplete")], false),
        ("a module's own code finds more", "write movablekeys", vec![fixed("RW variable_flags")], false),
        ("too many", "write", vec![fixed("RW"); SPECS_MAX + 1], false),
    ] {
        let announced = Announced::read(list(&[row("part.row", -2, flags, &specs, &[])]).as_bytes()).unwrap();
        assert_eq!(announced.row(b"part.row").unwrap().tells_all_keys(), all, "{what}");
    }
    // As Redis 6 tells ZUNIONSTORE.
    for (flags, all) in [("write movablekeys", false), ("write", true)] {
        let announced = Announced::read(short("part.old", flags, [1, 1, 1]).as_bytes()).unwrap();
        assert_eq!(announced.row(b"part.old").unwrap().tells_all_keys(), all, "{flags}");
    }
}

// The form that servers before Redis 7 have, and that of RESP3.
#[test]
fn short_rows_and_sets_are_read_too() {
    let short = "*1\r\n*6\r\n$4\r\nold1\r\n:3\r\n*1\r\n+write\r\n:1\r\n:-1\r\n:2\r\n";
    let announced = Announced::read(short.as_bytes()).unwrap();
    assert_eq!(keys_of(&announced, "OLD1 a b"), Ok(vec![1]));
    let set = "*1\r\n*6\r\n$4\r\nold2\r\n:2\r\n~2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n";
    assert!(Announced::read(set.as_bytes()).unwrap().row(b"old2").unwrap().is_read());
}
