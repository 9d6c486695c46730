use super::*;

fn tag() -> Tag {
    Tag::new(7).unwrap()
}

fn joined(special: &Special, replies: &[&str]) -> String {
    let replies: Vec<&[u8]> = replies.iter().map(|text| text.as_bytes()).collect();
    special.join(&replies).map_or("none".to_owned(), |bytes| String::from_utf8(bytes).unwrap())
}

// T69: the cursor is the proxy's, the keys are the node's, as they came.
#[test]
fn t69_a_step_on_a_shard() {
    let special = Special::ScanNode { tag: tag(), shard: 1, shards: 2 };
    let next = scan::after_node(tag(), 1, 2, 17);
    let head = format!("*2\r\n${}\r\n{next}\r\n", next.to_string().len());
    let keys = "*1\r\n$1\r\nk\r\n";
    assert_eq!(joined(&special, &[&format!("*2\r\n$2\r\n17\r\n{keys}")]), head + keys);
    for wrong in ["*2\r\n$1\r\nx\r\n*0\r\n", "*1\r\n$1\r\n0\r\n", "+OK\r\n", "*2\r\n$1\r\n0\r\n$1\r\nx\r\n"] {
        assert_eq!(joined(&special, &[wrong]), "none", "{wrong}");
    }
    assert_eq!(joined(&special, &[]), "none");
}

#[test]
fn t69_the_check_ends_it_or_begins_slot_by_slot() {
    let special = Special::ScanCheck { owned: vec![vec![(0, 9)], vec![(10, 16383)]], epoch: 2 };
    let tells = |slots: &str, epoch: u64| {
        let text =
            format!("{} 127.0.0.1:1@2 myself,master - 0 0 {epoch} connected {slots}\n", "a".repeat(40));
        format!("${}\r\n{text}\r\n", text.len())
    };
    let (one, two) = (tells("0-9", 2), tells("10-16383", 2));
    let end = "*2\r\n$1\r\n0\r\n*0\r\n";
    assert_eq!(joined(&special, &[&one, &two]), end);
    let verbatim = one.replacen('$', "=", 1).replacen("\r\n", "\r\ntxt:", 1);
    let len = verbatim.split_once("txt:").unwrap().1.len() - 2 + 4;
    let verbatim = format!("={len}\r\ntxt:{}", verbatim.split_once("txt:").unwrap().1);
    assert_eq!(joined(&special, &[&verbatim, &two]), end);
    for other in [tells("10-16383", 3), tells("10-16000", 2), tells("10-16383 [5-<-x]", 2), "$-1\r\n".into()]
    {
        assert_ne!(joined(&special, &[&one, &other]), end, "{other}");
    }
    let alone = b"-ERR This instance has cluster support disabled\r\n";
    assert!(special.takes_error(alone) && !special.takes_error(b"-LOADING x\r\n"));
    assert_eq!(joined(&special, &[std::str::from_utf8(alone).unwrap(), &two]), end);
}

// T69: MATCH and TYPE are kept slot by slot, too.
#[test]
fn t69_slot_by_slot_filters() {
    let replies = ["*2\r\n$2\r\nka\r\n$1\r\nx\r\n", "*0\r\n", "*1\r\n$2\r\nkb\r\n"];
    let step = |pattern: Option<&str>, kind: Option<&str>| Special::ScanSlots {
        window: Window::START,
        count: 10,
        pattern: pattern.map(|text| text.as_bytes().to_vec()),
        kind: kind.map(|text| text.as_bytes().to_vec()),
    };
    let number = scan::after_slots(Window::START, 3, 10);
    let head = format!("*2\r\n${}\r\n{number}\r\n", number.to_string().len());
    assert_eq!(
        joined(&step(None, None), &replies),
        head.clone() + "*3\r\n$2\r\nka\r\n$1\r\nx\r\n$2\r\nkb\r\n"
    );
    assert_eq!(joined(&step(Some("k?"), None), &replies), head.clone() + "*2\r\n$2\r\nka\r\n$2\r\nkb\r\n");
    assert_eq!(joined(&step(None, None), &["+OK\r\n"]), "none");

    let bytes: Vec<&[u8]> = replies.iter().map(|text| text.as_bytes()).collect();
    assert!(step(None, None).sequel(&bytes).is_none());
    assert!(step(Some("nothing"), Some("set")).sequel(&bytes).is_none(), "nothing is left to ask");
    let (wanted, next) = step(Some("k?"), Some("SET")).sequel(&bytes).unwrap();
    assert_eq!(wanted, Sequel::Types(vec![b"ka".to_vec(), b"kb".to_vec()]));
    assert_eq!(joined(&next, &["+string\r\n", "+set\r\n"]), head + "*1\r\n$2\r\nkb\r\n");
    assert!(next.sequel(&bytes).is_none());
}
