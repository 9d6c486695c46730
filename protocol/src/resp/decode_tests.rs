use super::*;
use crate::resp::encode;
use proptest::prelude::*;

const LIMITS: RequestLimits = RequestLimits::AUTHENTICATED;

type Words = Vec<Vec<u8>>;

/// Feeds `bytes` in pieces that end at `cuts` (and at the end of all), as a connection would: decoded
/// requests leave the buffer, the rest waits for more. Gives the requests and the error, if one came.
fn feed(bytes: &[u8], cuts: &[usize], limits: &RequestLimits) -> (Vec<Words>, Option<ProtocolError>) {
    let mut decoder = RequestDecoder::new();
    let mut buf = Vec::new();
    let mut requests = Vec::new();
    let mut from = 0;
    for &cut in cuts.iter().chain([&bytes.len()]) {
        buf.extend_from_slice(&bytes[from..cut]);
        from = cut;
        loop {
            match decoder.next(&buf, limits) {
                Ok(Some(len)) => {
                    requests.push(decoder.args(&buf[..len]).iter().map(<[u8]>::to_vec).collect());
                    buf.drain(..len);
                }
                Ok(None) => break,
                Err(error) => return (requests, Some(error)),
            }
        }
    }
    (requests, None)
}

fn decoded(bytes: &[u8]) -> (Vec<Words>, Option<ProtocolError>) {
    feed(bytes, &[], &LIMITS)
}

fn words<W: AsRef<[u8]>>(words: &[W]) -> Words {
    words.iter().map(|word| word.as_ref().to_vec()).collect()
}

#[track_caller]
fn refused(bytes: &[u8], limits: &RequestLimits) -> ProtocolError {
    let whole = feed(bytes, &[], limits).1.unwrap_or_else(|| panic!("{bytes:?} is accepted"));
    // However it is cut, it is refused for the same reason.
    let every: Vec<usize> = (1..bytes.len()).collect();
    assert_eq!(feed(bytes, &every, limits).1, Some(whole), "{bytes:?} byte by byte");
    whole
}

/// Requests of every shape, one after another.
fn mixed() -> (Vec<u8>, Vec<Words>) {
    let requests = vec![
        words(&["GET", "k"]),
        words(&["SET", "k", "with\r\nline\r\nends"]),
        words(&[&b"SET"[..], b"\x00\xff\r\n$5\r\n", b"*1\r\n$4\r\nPING\r\n"]),
        words(&["PING"]),
        words(&["SET", "", ""]),
        words(&[""]),
        words(&["SET", "k", &"v".repeat(1000)]),
        (0..130).map(|nth: u32| nth.to_string().into_bytes()).collect(),
    ];
    let mut bytes = Vec::new();
    requests.iter().for_each(|words| encode::request(&mut bytes, words));
    (bytes, requests)
}

#[test]
fn t19_one_request_at_a_time() {
    let (bytes, requests) = mixed();
    assert_eq!(decoded(&bytes), (requests, None));
}

#[test]
fn t19_cut_at_every_byte() {
    let (bytes, requests) = mixed();
    for cut in 1..bytes.len() {
        assert_eq!(feed(&bytes, &[cut], &LIMITS), (requests.clone(), None), "cut at {cut}");
    }
}

#[test]
fn t19_byte_by_byte() {
    let (bytes, requests) = mixed();
    let every: Vec<usize> = (1..bytes.len()).collect();
    assert_eq!(feed(&bytes, &every, &LIMITS), (requests, None));
}

#[test]
fn t19_requests_without_arguments() {
    for bytes in [&b"*0\r\n"[..], b"*-1\r\n", b"*-2147483648\r\n", b"\r\n", b"\n", b" \t \r\n"] {
        assert_eq!(decoded(bytes), (vec![vec![]], None), "{bytes:?}");
        let followed = [bytes, b"*1\r\n$4\r\nPING\r\n"].concat();
        assert_eq!(decoded(&followed), (vec![vec![], words(&["PING"])], None), "{bytes:?}");
    }
    assert_eq!(decoded(b"*1\r\n$0\r\n\r\n"), (vec![words(&[""])], None));
}

#[test]
fn t19_array_lengths_that_are_none() {
    for bytes in [
        &b"*\r\n"[..],
        b"*x\r\n",
        b"*1x\r\n",
        b"* 1\r\n",
        b"*+1\r\n",
        b"*1 \r\n",
        b"*-\r\n",
        b"*--1\r\n",
        b"*1.0\r\n",
        b"*1\rx",
        b"*1\n$",
        // Redis takes none of these; to forward one would make it close a connection that others share.
        b"*01\r\n",
        b"*00\r\n",
        b"*-0\r\n",
        b"*-01\r\n",
        b"*2147483647\r\n",
        b"*1048577\r\n",
        b"*4294967297\r\n",
        b"*9223372036854775808\r\n",
        b"*-9223372036854775809\r\n",
        b"*99999999999999999999\r\n",
    ] {
        assert_eq!(refused(bytes, &LIMITS), ProtocolError::ArrayLength, "{bytes:?}");
    }
    assert_eq!(decoded(b"*1048576\r\n"), (vec![], None), "the largest is waited for");
}

#[test]
fn t19_argument_lengths_that_are_none() {
    for length in [
        "",
        "x",
        "1x",
        " 1",
        "+1",
        "1 ",
        "-",
        "-1",
        "-0",
        "01",
        "536870913",
        "4294967296",
        "4294967297",
        "9223372036854775808",
        "18446744073709551617",
    ] {
        let bytes = format!("*2\r\n$3\r\nGET\r\n${length}\r\na\r\n").into_bytes();
        assert_eq!(refused(&bytes, &LIMITS), ProtocolError::BulkLength, "{length}");
    }
    assert_eq!(decoded(b"*1\r\n$536870912\r\n"), (vec![], None), "the largest is waited for");
}

#[test]
fn t19_lines_that_go_on_and_on() {
    let long = "1".repeat(100);
    assert_eq!(refused(format!("*{long}").as_bytes(), &LIMITS), ProtocolError::LengthLine);
    assert_eq!(refused(format!("*1\r\n${long}").as_bytes(), &LIMITS), ProtocolError::LengthLine);
    assert_eq!(refused(format!("*-{long}").as_bytes(), &LIMITS), ProtocolError::LengthLine);
}

#[test]
fn t19_arguments_that_are_none() {
    assert_eq!(refused(b"*1\r\n:1\r\n", &LIMITS), ProtocolError::ExpectedBulk(b':'));
    assert_eq!(refused(b"*1\r\n*1\r\n", &LIMITS), ProtocolError::ExpectedBulk(b'*'));
    assert_eq!(refused(b"*1\r\n\r\n", &LIMITS), ProtocolError::ExpectedBulk(b'\r'));
    assert_eq!(refused(b"*1\r\n$4\r\nPINGS\r\n", &LIMITS), ProtocolError::BulkEnd);
    assert_eq!(refused(b"*1\r\n$4\r\nPING\rx", &LIMITS), ProtocolError::BulkEnd);
    assert_eq!(refused(b"*1\r\n$4\r\nPING\n\r", &LIMITS), ProtocolError::BulkEnd);
}

#[test]
fn t19_limits_before_authentication() {
    let limits = RequestLimits::BEFORE_AUTH;
    let hello = words(&["HELLO", "3", "AUTH", "default", "secret", "SETNAME", "me"]);
    let mut bytes = Vec::new();
    encode::request(&mut bytes, &hello);
    assert_eq!(feed(&bytes, &[], &limits), (vec![hello], None));
    assert_eq!(refused(b"*11\r\n", &limits), ProtocolError::ArrayLength);
    assert_eq!(refused(b"*1\r\n$16385\r\n", &limits), ProtocolError::BulkLength);
    let large = format!("*5\r\n{}", format!("$16384\r\n{}\r\n", "x".repeat(16384)).repeat(4)).into_bytes();
    assert_eq!(feed(&large, &[], &limits).1, Some(ProtocolError::RequestTooLarge));
    assert_eq!(refused(&[b'x'; 16 * 1024], &limits), ProtocolError::InlineTooLong);
}

#[test]
fn t19_limits_are_exact() {
    let limits = RequestLimits { args_max: 2, bulk_bytes_max: 3, request_bytes_max: 22, inline_bytes_max: 6 };
    assert_eq!(feed(b"*2\r\n$3\r\nabc\r\n$3\r\nabc\r\n", &[], &limits).1, None);
    let longer = RequestLimits { request_bytes_max: 21, ..limits };
    assert_eq!(refused(b"*2\r\n$3\r\nabc\r\n$3\r\nabc\r\n", &longer), ProtocolError::RequestTooLarge);
    assert_eq!(refused(b"*3\r\n", &limits), ProtocolError::ArrayLength);
    assert_eq!(refused(b"*1\r\n$4\r\n", &limits), ProtocolError::BulkLength);
    assert_eq!(feed(b"ab c\r\n", &[], &limits).0, [words(&["ab", "c"])]);
    assert_eq!(refused(b"abcde\r\n", &limits), ProtocolError::InlineTooLong);
    let short = RequestLimits { inline_bytes_max: 100, ..limits };
    assert_eq!(feed(b"a b\r\n", &[], &short).0, [words(&["a", "b"])]);
    assert_eq!(refused(b"a b c\r\n", &short), ProtocolError::ArrayLength);
    assert_eq!(refused(b"a bcde\r\n", &short), ProtocolError::BulkLength);
    // A limit takes effect on what is not yet scanned.
    let mut decoder = RequestDecoder::new();
    assert_eq!(decoder.next(b"*2\r\n$3\r\nab", &LIMITS), Ok(None));
    assert_eq!(decoder.next(b"*2\r\n$3\r\nabc\r\n$4\r\n", &limits), Err(ProtocolError::BulkLength));
}

#[test]
fn t20_inline_requests() {
    for (line, expected) in [
        ("PING", &["PING"][..]),
        ("  GET \t key  ", &["GET", "key"]),
        ("SET k \"a b\"", &["SET", "k", "a b"]),
        (r#"SET k "\x41\n\r\t\b\a\\\"\q\xZZ""#, &["SET", "k", "A\n\r\t\x08\x07\\\"qxZZ"]),
        (r"SET k 'a\'b\n'", &["SET", "k", "a'b\\n"]),
        (r#"SET k """#, &["SET", "k", ""]),
        ("SET k ''", &["SET", "k", ""]),
        (r#"a"b c"d"#, &[]),
        (r#"a"b c" d"#, &["ab c", "d"]),
        ("a\\b", &["a\\b"]),
        ("\x0ba\x0b \x0c b\x0cc", &["a\x0b", "b\x0cc"]),
        ("\"a\"\x0bb", &["a", "b"]),
    ] {
        for end in ["\r\n", "\n"] {
            let bytes = format!("{line}{end}").into_bytes();
            if expected.is_empty() {
                assert_eq!(refused(&bytes, &LIMITS), ProtocolError::InlineQuotes, "{line}");
            } else {
                assert_eq!(decoded(&bytes), (vec![words(expected)], None), "{line}");
            }
        }
    }
}

#[test]
fn t20_inline_quotes_that_do_not_match() {
    for line in
        ["\"", "'", "a \"b", "a 'b", "\"a\"b", "'a'b", r#""a\""#, r"'a\'", "\"a\"'b'", r#""\"#, "\"a\"\0"]
    {
        assert_eq!(
            refused(format!("{line}\r\n").as_bytes(), &LIMITS),
            ProtocolError::InlineQuotes,
            "{line:?}"
        );
    }
}

// A zero byte once made the splitter add empty words without end.
#[test]
fn t20_inline_zero_bytes_end() {
    assert_eq!(decoded(b"\0\n"), (vec![words(&["\0"])], None));
    assert_eq!(decoded(b"GET a\0b\r\n"), (vec![words(&["GET", "a\0b"])], None));
}

#[test]
fn t20_inline_and_multibulk_mixed() {
    let bytes = b"PING\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n\r\nGET \"k\"\n*1\r\n$4\r\nPING\r\nECHO *1\r\n";
    let expected = vec![
        words(&["PING"]),
        words(&["GET", "k"]),
        vec![],
        words(&["GET", "k"]),
        words(&["PING"]),
        words(&["ECHO", "*1"]),
    ];
    for cut in 1..bytes.len() {
        assert_eq!(feed(bytes, &[cut], &LIMITS), (expected.clone(), None), "cut at {cut}");
    }
    let mut decoder = RequestDecoder::new();
    assert_eq!(decoder.next(bytes, &LIMITS), Ok(Some(6)));
    assert!(decoder.was_inline());
    assert!(decoder.next(&bytes[6..], &LIMITS).is_ok());
    assert!(!decoder.was_inline());
}

#[test]
fn t21_what_came_before_an_error_is_decoded() {
    let (requests, error) = decoded(b"*1\r\n$4\r\nPING\r\nGET k\r\n*1\r\n+OK\r\n");
    assert_eq!(requests, [words(&["PING"]), words(&["GET", "k"])]);
    assert_eq!(error, Some(ProtocolError::ExpectedBulk(b'+')));
}

#[test]
fn t21_texts_are_those_of_redis() {
    for (error, text) in [
        (ProtocolError::ArrayLength, "Protocol error: invalid multibulk length"),
        (ProtocolError::BulkLength, "Protocol error: invalid bulk length"),
        (ProtocolError::ExpectedBulk(b'+'), "Protocol error: expected '$', got '+'"),
        (ProtocolError::ExpectedBulk(b'\r'), "Protocol error: expected '$', got '?'"),
        (ProtocolError::InlineTooLong, "Protocol error: too big inline request"),
        (ProtocolError::InlineQuotes, "Protocol error: unbalanced quotes in request"),
    ] {
        assert_eq!(error.to_string(), text);
    }
}

/// Cuts `bytes` into pieces of `piece` bytes and, before each call, overwrites all that the decoder
/// has scanned: if it looked there again, it would not come to the right end. What it has not scanned
/// is at most a length line, or an argument that is not yet whole.
fn fed_without_its_past(bytes: &[u8], piece: usize, spoil: u8) -> Option<usize> {
    let mut decoder = RequestDecoder::new();
    let mut buf = Vec::new();
    for part in bytes.chunks(piece) {
        let first = buf.first().copied();
        buf[..decoder.at].fill(spoil);
        if let (Some(first), Some(place)) = (first, buf.first_mut()) {
            // An inline request is known by its first byte.
            *place = first;
        }
        buf.extend_from_slice(part);
        if let Some(len) = decoder.next(&buf, &LIMITS).expect("a request") {
            return Some(len);
        }
        let inline = bytes[0] != b'*';
        let unscanned = buf.len() - decoder.at;
        assert!(if inline { unscanned == 0 } else { decoder.bulk.is_some() || unscanned < 8 }, "{unscanned}");
    }
    None
}

#[test]
fn t19_nothing_is_scanned_twice() {
    let mut bytes = Vec::new();
    encode::request(&mut bytes, &(0..500).map(|nth| "v".repeat(nth % 120)).collect::<Vec<_>>());
    for piece in [1, 2, 3, 7, 64, 1000] {
        assert_eq!(fed_without_its_past(&bytes, piece, b'!'), Some(bytes.len()), "pieces of {piece}");
    }
    // A line end in what was scanned would be taken for that of the inline request.
    let line = [&[b'x'; 5000][..], b"\r\n"].concat();
    for piece in [1, 7, 1000] {
        assert_eq!(fed_without_its_past(&line, piece, b'\n'), Some(line.len()), "pieces of {piece}");
    }
}

#[test]
fn t19_lengths_are_claims() {
    let mut decoder = RequestDecoder::new();
    assert_eq!(decoder.next(b"*1048576\r\n$536870912\r\nabc", &LIMITS), Ok(None));
    assert_eq!(decoder.ranges.capacity(), 0, "nothing is reserved for arguments that have not come");
    assert_eq!(decoder.missing(25), 536_870_912 + 2 - 3);
    assert_eq!(decoder.missing(usize::MAX), 0);
    let mut decoder = RequestDecoder::new();
    assert_eq!(decoder.next(b"*1\r\n$4\r\nPING\r\n", &LIMITS), Ok(Some(14)));
    assert_eq!(decoder.missing(0), 0);
}

#[test]
fn memory_of_a_large_request_is_let_go() {
    let mut bytes = Vec::new();
    encode::request(&mut bytes, &vec!["x"; 10_000]);
    let mut decoder = RequestDecoder::new();
    assert!(decoder.next(&bytes, &LIMITS).unwrap().is_some());
    decoder.shrink(20_000);
    assert!(decoder.ranges.capacity() >= 10_000);
    decoder.shrink(64);
    assert_eq!(decoder.ranges.capacity(), 0);
    // Half a request is kept.
    assert_eq!(decoder.next(&bytes[..bytes.len() - 1], &LIMITS), Ok(None));
    decoder.shrink(64);
    assert_eq!(decoder.next(&bytes, &LIMITS), Ok(Some(bytes.len())));
    assert_eq!(decoder.args(&bytes).len(), 10_000);
}

fn any_words() -> impl Strategy<Value = Words> {
    let word = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        proptest::collection::vec(
            prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'$'), Just(b'*'), Just(b'1')],
            0..12
        ),
        proptest::collection::vec(any::<u8>(), 90..1100),
    ];
    proptest::collection::vec(word, 1..12)
}

fn cuts_of(bytes: &[u8], places: &[prop::sample::Index]) -> Vec<usize> {
    let mut cuts: Vec<usize> = places.iter().map(|place| place.index(bytes.len())).collect();
    cuts.sort_unstable();
    cuts
}

proptest! {
    #[test]
    fn t19_what_is_encoded_is_decoded(
        requests in proptest::collection::vec(any_words(), 1..6),
        places in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut bytes = Vec::new();
        requests.iter().for_each(|words| encode::request(&mut bytes, words));
        let cuts = cuts_of(&bytes, &places);
        prop_assert_eq!(feed(&bytes, &cuts, &LIMITS), (requests, None));
    }

    #[test]
    fn t19_cuts_never_matter(
        bytes in proptest::collection::vec(
            prop_oneof![4 => proptest::sample::select(&b"*$\r\n0123-+ \"'\\x"[..]), 1 => any::<u8>()], 1..200),
        places in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let cuts = cuts_of(&bytes, &places);
        prop_assert_eq!(feed(&bytes, &cuts, &LIMITS), decoded(&bytes));
    }

    // Whatever is accepted in the array form is what another decoder reads there.
    #[test]
    fn t19_agrees_with_another_decoder(
        head in "\\*[0-9]{1,2}\r\n",
        rest in "(\\$[0-9]{1,2}\r\n[a-z]{0,12}\r\n){0,4}",
    ) {
        use redis_protocol::resp2::{decode, types::OwnedFrame};
        let bytes = (head + &rest).into_bytes();
        let (requests, _) = decoded(&bytes);
        if let Some(ours) = requests.first() {
            let (frame, _) = decode::decode(&bytes).expect("valid").expect("whole");
            let theirs = match frame {
                OwnedFrame::Array(frames) => frames
                    .into_iter()
                    .map(|frame| match frame {
                        OwnedFrame::BulkString(word) => word,
                        other => panic!("{other:?}"),
                    })
                    .collect::<Words>(),
                other => panic!("{other:?}"),
            };
            prop_assert_eq!(ours, &theirs);
        }
    }

    #[test]
    fn t20_inline_words_survive_quoting(words in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..12), 1..6)) {
        let line: Vec<String> = words
            .iter()
            .map(|word| format!("\"{}\"", word.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>()))
            .collect();
        let bytes = (line.join(" ") + "\r\n").into_bytes();
        prop_assert_eq!(decoded(&bytes), (vec![words], None));
    }
}
