use super::*;
use crate::resp::encode;
use proptest::prelude::*;

const MAX: usize = 1 << 20;

/// Scans replies that arrive in pieces that end at `cuts`; gives the length of each.
fn feed(bytes: &[u8], cuts: &[usize], bytes_max: usize) -> Result<Vec<usize>, ReplyError> {
    let mut scanner = ReplyScanner::new();
    let mut buf = Vec::new();
    let mut lengths = Vec::new();
    let mut from = 0;
    for &cut in cuts.iter().chain([&bytes.len()]) {
        buf.extend_from_slice(&bytes[from..cut]);
        from = cut;
        while let Some(len) = scanner.next(&buf, bytes_max)? {
            lengths.push(len);
            buf.drain(..len);
        }
    }
    Ok(lengths)
}

#[track_caller]
fn refused(bytes: &[u8], bytes_max: usize) -> ReplyError {
    let whole = feed(bytes, &[], bytes_max).expect_err("an error");
    let every: Vec<usize> = (1..bytes.len()).collect();
    assert_eq!(feed(bytes, &every, bytes_max), Err(whole), "{bytes:?} byte by byte");
    whole
}

/// One reply of each type, and some in one another.
const REPLIES: &[&[u8]] = &[
    b"+OK\r\n",
    b"+\r\n",
    b"-ERR a 'b'\r\n",
    b":12\r\n",
    b":-9223372036854775808\r\n",
    b"$5\r\nhello\r\n",
    b"$0\r\n\r\n",
    b"$-1\r\n",
    b"$11\r\na\r\n$3\r\n*2\r\n\r\n",
    b"*0\r\n",
    b"*-1\r\n",
    b"*3\r\n:1\r\n$1\r\na\r\n*2\r\n+b\r\n$-1\r\n",
    b"*2\r\n*0\r\n*-1\r\n",
    b"_\r\n",
    b"#t\r\n",
    b"#f\r\n",
    b",3.14\r\n",
    b",inf\r\n",
    b",-inf\r\n",
    b",nan\r\n",
    b"(3492890328409238509324850943850943825024385\r\n",
    b"!21\r\nSYNTAX invalid syntax\r\n",
    b"=15\r\ntxt:Some string\r\n",
    b"%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n:2\r\n",
    b"%0\r\n",
    b"~2\r\n+a\r\n+b\r\n",
    b">3\r\n+message\r\n+channel\r\n$2\r\nhi\r\n",
    b"|1\r\n+ttl\r\n:3600\r\n$1\r\na\r\n",
    b"|1\r\n+a\r\n%1\r\n+b\r\n+c\r\n|0\r\n*1\r\n:1\r\n",
    b"*2\r\n|1\r\n+a\r\n+b\r\n:1\r\n:2\r\n",
    // A lone CR or LF is part of its line.
    b"+a\nb\rc\r\r\n",
    b"-\n\r\n",
];

#[test]
fn t19_replies_of_every_type() {
    for reply in REPLIES {
        assert_eq!(feed(reply, &[], MAX), Ok(vec![reply.len()]), "{reply:?}");
        for cut in 1..reply.len() {
            assert_eq!(feed(reply, &[cut], MAX), Ok(vec![reply.len()]), "{reply:?} cut at {cut}");
            assert_eq!(feed(&reply[..cut], &[], MAX), Ok(vec![]), "{reply:?} is not whole at {cut}");
        }
    }
}

#[test]
fn t19_replies_one_after_another() {
    let bytes = REPLIES.concat();
    let lengths: Vec<usize> = REPLIES.iter().map(|reply| reply.len()).collect();
    let every: Vec<usize> = (1..bytes.len()).collect();
    assert_eq!(feed(&bytes, &[], MAX), Ok(lengths.clone()));
    assert_eq!(feed(&bytes, &every, MAX), Ok(lengths));
}

#[test]
fn t19_deep_replies_cost_nothing() {
    for depth in [64, 100_000] {
        let deep = ["*1\r\n".repeat(depth), ":1\r\n".to_string()].concat();
        assert_eq!(feed(deep.as_bytes(), &[], MAX), Ok(vec![deep.len()]));
    }
}

#[test]
fn t19_bytes_that_are_no_reply() {
    for (bytes, error) in [
        (&b"OK\r\n"[..], ReplyError::Type(b'O')),
        (b"\r\n", ReplyError::Type(b'\r')),
        (b"*1\r\nx", ReplyError::Type(b'x')),
        (b"$\r\n", ReplyError::Length),
        (b"$x\r\n", ReplyError::Length),
        (b"$1x\r\n", ReplyError::Length),
        (b"$+1\r\n", ReplyError::Length),
        (b"$-2\r\n", ReplyError::Length),
        (b"$-\r\n", ReplyError::Length),
        (b"$-1x\r\n", ReplyError::Length),
        (b"$1\n", ReplyError::Length),
        (b"$1\rx", ReplyError::Length),
        (b"$4294967296\r\n", ReplyError::Length),
        (b"*99999999999999999999\r\n", ReplyError::Length),
        (b"*?\r\n", ReplyError::Length),
        (b"$000000000000000000000\r\n", ReplyError::Length),
        (b"$1\r\nab\r\n", ReplyError::BulkEnd),
        (b"$1\r\na\rb", ReplyError::BulkEnd),
    ] {
        assert_eq!(refused(bytes, MAX), error, "{bytes:?}");
    }
}

#[test]
fn t19_replies_above_the_limit() {
    assert_eq!(feed(b"$5\r\nhello\r\n", &[], 11), Ok(vec![11]));
    assert_eq!(feed(b"*2\r\n+a\r\n+b\r\n", &[], 12), Ok(vec![12]));
    for (bytes, bytes_max) in [
        // Refused for what it claims, not for what has come.
        (&b"$1048577\r\n"[..], MAX),
        (b"*4294967295\r\n", MAX),
        (b"%200000\r\n", MAX),
        (b"*100000\r\n*100000\r\n*100000\r\n*100000\r\n", MAX),
        (b"|100000\r\n|100000\r\n|100000\r\n", MAX),
        (b"$5\r\nhello\r\n", 10),
        (b"*2\r\n+a\r\n+b\r\n", 11),
        (b"+aaaaaaaaaaaa\r\n", 11),
        (b"*1\r\n+aaaaaaaaaaaa", 11),
    ] {
        assert_eq!(refused(bytes, bytes_max), ReplyError::TooLarge, "{bytes:?}");
    }
    assert_eq!(feed(&[&b"+"[..], &[b'a'; 10]].concat(), &[], 10), Err(ReplyError::TooLarge));
}

#[test]
fn t19_nothing_in_a_reply_is_scanned_twice() {
    let mut reply = b"*5\r\n".to_vec();
    encode::simple(&mut reply, &"s".repeat(5000));
    encode::bulk(&mut reply, &[b'b'; 5000]);
    encode::array_head(&mut reply, 2);
    encode::integer(&mut reply, 1);
    encode::bulk(&mut reply, b"");
    encode::error(&mut reply, &"e".repeat(3000));
    encode::map_head(&mut reply, 0, true);
    for piece in [1, 2, 7, 1000] {
        let mut scanner = ReplyScanner::new();
        let mut buf = Vec::new();
        let mut end = None;
        for part in reply.chunks(piece) {
            // What has been scanned is overwritten by what would end a line, or be no reply.
            buf[..scanner.at].fill(b'!');
            if scanner.searched > scanner.at {
                buf[scanner.at + 1..scanner.searched].fill(b'\n');
                if scanner.searched - scanner.at > 2 {
                    buf[scanner.at + 1] = b'\r';
                }
            }
            buf.extend_from_slice(part);
            end = scanner.next(&buf, MAX).expect("a reply");
            // What it has not scanned is at most a length line, or a string that is not yet whole.
            let scanned = scanner.at.max(scanner.searched);
            assert!(
                end.is_some() || scanner.bulk_end.is_some() || buf.len() - scanned < 8,
                "pieces of {piece}"
            );
        }
        assert_eq!(end, Some(reply.len()), "pieces of {piece}");
    }
}

#[test]
fn missing_bytes_of_a_bulk_string() {
    let mut scanner = ReplyScanner::new();
    assert_eq!(scanner.next(b"$100\r\nabc", MAX), Ok(None));
    assert_eq!(scanner.missing(9), 99);
    assert_eq!(scanner.missing(1000), 0);
    assert_eq!(ReplyScanner::new().missing(0), 0);
}

#[test]
fn elements_of_aggregates() {
    let parts = |reply: &'static [u8]| elements(reply).map(|elements| elements.collect::<Vec<_>>());
    assert_eq!(parts(b"*2\r\n:1\r\n*1\r\n+a\r\n"), Some(vec![&b":1\r\n"[..], b"*1\r\n+a\r\n"]));
    assert_eq!(parts(b"%1\r\n+a\r\n$1\r\nb\r\n"), Some(vec![&b"+a\r\n"[..], b"$1\r\nb\r\n"]));
    assert_eq!(parts(b"~1\r\n|1\r\n+a\r\n+b\r\n:1\r\n"), Some(vec![&b"|1\r\n+a\r\n+b\r\n:1\r\n"[..]]));
    assert_eq!(parts(b"*0\r\n"), Some(vec![]));
    for reply in [&b"*-1\r\n"[..], b"$1\r\na\r\n", b"-ERR x\r\n", b"", b"*", b"*x\r\n"] {
        assert!(elements(reply).is_none(), "{reply:?}");
    }
    // A claim alone reserves nothing, and what is cut short ends early.
    assert_eq!(parts(b"*4294967295\r\n:1\r\n"), Some(vec![&b":1\r\n"[..]]));
}

#[test]
fn payloads_and_integers() {
    for (reply, expected) in [
        (&b"$2\r\nhi\r\n"[..], Some(&b"hi"[..])),
        (b"$0\r\n\r\n", Some(b"")),
        (b"=6\r\ntxt:hi\r\n", Some(b"hi")),
        (b"=2\r\nhi\r\n", None),
        (b"+OK\r\n", Some(b"OK")),
        (b":7\r\n", Some(b"7")),
        (b"+", None),
        (b"$-1\r\n", None),
        (b"$5\r\nhi", None),
        (b"_\r\n", None),
        (b"*0\r\n", None),
        (b"-ERR\r\n", None),
        (b"", None),
    ] {
        assert_eq!(payload(reply), expected, "{reply:?}");
    }
    assert_eq!(integer(b":-12\r\n"), Some(-12));
    assert_eq!(integer(b":x\r\n"), None);
    assert_eq!(integer(b"$1\r\n1\r\n"), None);
}

fn line(kind: u8, text: &str) -> Vec<u8> {
    [&[kind], text.as_bytes(), b"\r\n"].concat()
}

/// What both versions of the protocol have.
fn plain() -> BoxedStrategy<Vec<u8>> {
    prop_oneof![
        "[ -~]{0,20}".prop_map(|text| line(b'+', &text)),
        "[A-Z]{1,8} [ -~]{0,20}".prop_map(|text| line(b'-', &text)),
        any::<i64>().prop_map(|value| line(b':', &value.to_string())),
        proptest::collection::vec(any::<u8>(), 0..60).prop_map(|bytes| {
            let mut out = Vec::new();
            encode::bulk(&mut out, &bytes);
            out
        }),
    ]
    .boxed()
}

/// The nulls of RESP2.
fn plain2() -> BoxedStrategy<Vec<u8>> {
    prop_oneof![4 => plain(), 1 => Just(b"$-1\r\n".to_vec()), 1 => Just(b"*-1\r\n".to_vec())].boxed()
}

/// The scalars of RESP3.
fn plain3() -> BoxedStrategy<Vec<u8>> {
    let finite = any::<f32>().prop_filter("numbers", |value| value.is_finite());
    prop_oneof![
        plain(),
        Just(b"_\r\n".to_vec()),
        any::<bool>().prop_map(|value| line(b'#', if value { "t" } else { "f" })),
        finite.prop_map(|value| line(b',', &value.to_string())),
        prop_oneof!["inf", "-inf"].prop_map(|text| line(b',', &text)),
        "[1-9][0-9]{20,40}".prop_map(|text| line(b'(', &text)),
        "[ -~]{0,30}".prop_map(|text| format!("!{}\r\n{text}\r\n", text.len()).into_bytes()),
        "[ -~]{0,30}".prop_map(|text| format!("={}\r\ntxt:{text}\r\n", text.len() + 4).into_bytes()),
    ]
    .boxed()
}

fn aggregate(kind: u8, per: usize, parts: Vec<Vec<u8>>) -> Vec<u8> {
    let count = parts.len() / per;
    let mut out = [&[kind], count.to_string().as_bytes(), b"\r\n"].concat();
    parts.into_iter().take(count * per).for_each(|part| out.extend(part));
    out
}

fn any_reply2() -> impl Strategy<Value = Vec<u8>> {
    plain2().prop_recursive(5, 64, 6, |inner| {
        proptest::collection::vec(inner, 0..6).prop_map(|parts| aggregate(b'*', 1, parts))
    })
}

fn any_reply3() -> impl Strategy<Value = Vec<u8>> {
    plain3().prop_recursive(5, 64, 6, |inner| {
        let many = proptest::collection::vec(inner.clone(), 0..6);
        // A map's keys and a set's members are words: the other decoder keeps them as such, and
        // cannot hash an array.
        let pairs = proptest::collection::vec(("[a-z]{1,9}", inner), 0..4).prop_map(|pairs| {
            let parts = pairs.into_iter().flat_map(|(key, value)| [line(b'+', &key), value]);
            aggregate(b'%', 2, parts.collect())
        });
        let set = proptest::collection::vec("[a-z]{1,9}", 0..4)
            .prop_map(|words| aggregate(b'~', 1, words.iter().map(|word| line(b'+', word)).collect()));
        prop_oneof![many.prop_map(|parts| aggregate(b'*', 1, parts)), pairs, set]
    })
}

fn sorted_cuts(bytes: &[u8], places: &[prop::sample::Index]) -> Vec<usize> {
    let mut cuts: Vec<usize> = places.iter().map(|place| place.index(bytes.len())).collect();
    cuts.sort_unstable();
    cuts
}

/// The lengths of `replies`, scanned in pieces and read by `other`, must be their lengths.
fn agree(
    replies: &[Vec<u8>],
    places: &[prop::sample::Index],
    other: impl Fn(&[u8]) -> usize,
) -> Result<(), TestCaseError> {
    let bytes = replies.concat();
    let lengths = feed(&bytes, &sorted_cuts(&bytes, places), MAX).expect("replies");
    prop_assert_eq!(&lengths, &replies.iter().map(Vec::len).collect::<Vec<_>>());
    prop_assert_eq!(lengths, replies.iter().map(|reply| other(reply)).collect::<Vec<_>>());
    Ok(())
}

proptest! {
    #[test]
    fn t19_resp2_replies_agree_with_another_decoder(
        replies in proptest::collection::vec(any_reply2(), 1..5),
        places in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        agree(&replies, &places, |reply| {
            redis_protocol::resp2::decode::decode(reply).expect("a reply").expect("a whole one").1
        })?;
    }

    #[test]
    fn t19_resp3_replies_agree_with_another_decoder(
        replies in proptest::collection::vec(any_reply3(), 1..5),
        places in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        agree(&replies, &places, |reply| {
            redis_protocol::resp3::decode::complete::decode(reply).expect("a reply").expect("a whole one").1
        })?;
    }

    #[test]
    fn t19_parts_of_a_reply_are_its_elements(
        parts in proptest::collection::vec(prop_oneof![any_reply2(), any_reply3()], 0..6),
    ) {
        let reply = aggregate(b'*', 1, parts.clone());
        let found: Vec<Vec<u8>> = elements(&reply).expect("an array").map(<[u8]>::to_vec).collect();
        prop_assert_eq!(found, parts);
    }

    #[test]
    fn t19_cuts_of_replies_never_matter(
        bytes in proptest::collection::vec(
            prop_oneof![6 => proptest::sample::select(&b"*$+-:_#,(!=%~>|\r\n01239-"[..]), 1 => any::<u8>()], 1..200),
        places in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let cuts = sorted_cuts(&bytes, &places);
        prop_assert_eq!(feed(&bytes, &cuts, 4096), feed(&bytes, &[], 4096));
    }
}
