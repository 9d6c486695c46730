//! What must hold for any bytes a peer may send. Each function takes such bytes and panics if
//! something does not hold; the fuzz targets and the smoke test both call them.

use pointsman_protocol::command::{self, CommandSpec, KeyPattern, keys};
use pointsman_protocol::redirect::Redirect;
use pointsman_protocol::resp::args::OwnedArgs;
use pointsman_protocol::resp::{
    ProtocolError, ReplyError, ReplyScanner, RequestDecoder, RequestLimits, encode, reply,
};
use pointsman_protocol::{HostPort, Slot};

/// Small enough that every limit is met now and then.
const LIMITS: RequestLimits =
    RequestLimits { args_max: 64, bulk_bytes_max: 512, request_bytes_max: 2048, inline_bytes_max: 256 };
const REPLY_BYTES_MAX: usize = 4096;

/// A body, its name, and inputs from which to begin.
pub struct Target {
    /// As the fuzz target is called.
    pub name: &'static str,
    /// Panics if something does not hold.
    pub body: fn(&[u8]),
    /// Valid inputs, from which mutations reach deeper than chance does.
    pub seeds: &'static [&'static [u8]],
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "request",
        body: request,
        seeds: &[
            b"\x03*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*1\r\n$4\r\nPING\r\n",
            b"\x01GET \"a\\x41\\n\" 'b\\''\r\n*0\r\n\r\n*-1\r\n",
            b"\x07*3\r\n$3\r\nSET\r\n$0\r\n\r\n$12\r\na\r\n$3\r\nb\r\n*\r\n",
        ],
    },
    Target {
        name: "reply",
        body: reply,
        seeds: &[
            b"\x02+OK\r\n-ERR x\r\n:12\r\n$5\r\nhello\r\n*2\r\n$-1\r\n*-1\r\n",
            b"\x05%1\r\n+a\r\n~1\r\n#t\r\n>1\r\n,1.5\r\n(12\r\n_\r\n=7\r\ntxt:abc\r\n!3\r\nERR\r\n|1\r\n+a\r\n:1\r\n:2\r\n",
        ],
    },
    Target {
        name: "resp3",
        body: resp3,
        seeds: &[
            b"HGETALL k\n*2\r\n$1\r\na\r\n$-1\r\n",
            b"ZRANGE k 0 -1 WITHSCORES\n*2\r\n$1\r\na\r\n$4\r\n-inf\r\n",
            b"XREAD STREAMS k 0\n*1\r\n*2\r\n$1\r\nk\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n",
            b"COMMAND DOCS\n*2\r\n+a\r\n*2\r\n+arguments\r\n*1\r\n*2\r\n+arguments\r\n*0\r\n",
            b"MEMORY STATS\n*4\r\n+fragmentation\r\n$3\r\n1.5\r\n+db.0\r\n*2\r\n+a\r\n:1\r\n",
            b"GEOPOS k a b\n*2\r\n*2\r\n$1\r\n1\r\n$1\r\n2\r\n*-1\r\n",
        ],
    },
    Target {
        name: "keys",
        body: keys,
        seeds: &[
            b"\x00\x00XREADGROUP GROUP streams c COUNT 1 STREAMS a b > >",
            b"\x00\x00SORT k BY w_* GET # LIMIT 0 1 STORE d",
            b"\x00\x00GEORADIUS k 1 2 3 m COUNT 1 STORE a STOREDIST b",
            b"\x00\x00MIGRATE h 1  0 5 AUTH2 keys keys KEYS a b",
            b"\x00\x00ZUNIONSTORE d 2 a b WEIGHTS 1 2",
            b"\x00\x00BITFIELD k GET u8 0 OVERFLOW SAT INCRBY u8 0 1",
            b"\x00\x00EVAL s 2 a b c",
            b"\x01\x40k 2 a b STORE 9223372036854775807 KEYS STREAMS",
        ],
    },
    Target {
        name: "redirect",
        body: redirect,
        seeds: &[
            b"-MOVED 3999 127.0.0.1:6381\r\n",
            b"-ASK 0 [2001:db8::5]:6379\r\n",
            b"-MOVED 16383 :6379\r\n",
            b"-MOVED 1 ?:0\r\n",
        ],
    },
];

/// The first byte is the size of the pieces, the rest what arrives.
pub fn request(input: &[u8]) {
    let Some((&piece, bytes)) = input.split_first() else { return };
    let whole = decode(bytes, bytes.len());
    assert_eq!(whole, decode(bytes, usize::from(piece)), "cuts matter");
    for request in whole.0 {
        if request.inline {
            let quoted = OwnedArgs::new(&request.words);
            let mut again = Vec::new();
            encode::request_args(&mut again, quoted.args());
            if !request.words.is_empty() {
                assert_eq!(
                    decode(&again, again.len()).0.first().map(|request| &request.words),
                    Some(&request.words)
                );
            }
        } else if !request.words.is_empty() {
            // What is forwarded as it came must be what any server takes: the one way to write it.
            let mut canonical = Vec::new();
            encode::request(&mut canonical, &request.words);
            assert_eq!(request.frame, canonical);
        }
        assert!(request.frame.len() <= LIMITS.request_bytes_max as usize);
        assert!(request.words.iter().all(|word| word.len() <= LIMITS.bulk_bytes_max as usize));
    }
}

#[derive(Debug, PartialEq)]
struct Request {
    frame: Vec<u8>,
    words: Vec<Vec<u8>>,
    inline: bool,
}

fn decode(bytes: &[u8], piece: usize) -> (Vec<Request>, Option<ProtocolError>) {
    let mut decoder = RequestDecoder::new();
    let (mut buf, mut requests) = (Vec::new(), Vec::new());
    for part in bytes.chunks(piece.max(1)) {
        buf.extend_from_slice(part);
        loop {
            match decoder.next(&buf, &LIMITS) {
                Ok(Some(len)) => {
                    let frame: Vec<u8> = buf.drain(..len).collect();
                    let words = decoder.args(&frame).iter().map(<[u8]>::to_vec).collect();
                    requests.push(Request { words, inline: decoder.was_inline(), frame });
                }
                Ok(None) => break,
                Err(error) => return (requests, Some(error)),
            }
        }
        // What is missing is a claim, but a bounded one.
        assert!(decoder.missing(buf.len()) <= LIMITS.bulk_bytes_max as usize + 2);
    }
    (requests, None)
}

/// The first byte is the size of the pieces, the rest what arrives.
pub fn reply(input: &[u8]) {
    let Some((&piece, bytes)) = input.split_first() else { return };
    let whole = scan(bytes, bytes.len());
    assert_eq!(whole, scan(bytes, usize::from(piece)), "cuts matter");
    let mut at = 0;
    for len in whole.0 {
        let reply = &bytes[at..at + len];
        assert!(reply.len() <= REPLY_BYTES_MAX && reply.ends_with(b"\r\n"));
        if let Some(elements) = reply::elements(reply) {
            let total: usize = elements.clone().map(<[u8]>::len).sum();
            let head = reply.iter().position(|byte| *byte == b'\n').map_or(0, |place| place + 1);
            assert_eq!(head + total, len, "the elements are not the whole");
            elements.for_each(|element| {
                assert!(reply::payload(element).is_none_or(|payload| payload.len() < element.len()))
            });
        }
        let _ = (reply::payload(reply), reply::integer(reply));
        at += len;
    }
    // These are asked about bytes that were not scanned, too.
    let _ = (reply::elements(bytes).map(Iterator::count), reply::payload(bytes), reply::integer(bytes));
}

/// A request as a line, and what a node of RESP2 answers to it: one reply becomes one reply.
pub fn resp3(input: &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (line, bytes) = (&input[..end], input.get(end + 1..).unwrap_or_default());
    let mut request = Vec::new();
    encode::request(&mut request, &line.split(|byte| *byte == b' ').collect::<Vec<_>>());
    let mut at = 0;
    for len in scan(bytes, bytes.len()).0 {
        let mut out = Vec::new();
        pointsman_protocol::resp3::reply(&request, &bytes[at..at + len], &mut out);
        assert_eq!(ReplyScanner::new().next(&out, usize::MAX), Ok(Some(out.len())), "one reply");
        at += len;
    }
    // Whatever it is asked about, it must not panic.
    pointsman_protocol::resp3::reply(&request, bytes, &mut Vec::new());
    pointsman_protocol::resp3::reply(bytes, &bytes[at..], &mut Vec::new());
}

fn scan(bytes: &[u8], piece: usize) -> (Vec<usize>, Option<ReplyError>) {
    let mut scanner = ReplyScanner::new();
    let (mut buf, mut lengths) = (Vec::new(), Vec::new());
    for part in bytes.chunks(piece.max(1)) {
        buf.extend_from_slice(part);
        loop {
            match scanner.next(&buf, REPLY_BYTES_MAX) {
                Ok(Some(len)) => {
                    buf.drain(..len);
                    lengths.push(len);
                }
                Ok(None) => break,
                Err(error) => return (lengths, Some(error)),
            }
        }
        assert!(scanner.missing(buf.len()) <= REPLY_BYTES_MAX);
    }
    (lengths, None)
}

/// The first two bytes pick a command (0: the first word names it), the rest are words between spaces.
pub fn keys(input: &[u8]) {
    let Some((&[high, low], text)) = input.split_first_chunk::<2>() else { return };
    let mut words: Vec<&[u8]> = text.split(|byte| *byte == b' ').collect();
    if (high, low) != (0, 0) {
        let specs = || command::all().iter().flat_map(|spec| std::iter::once(spec).chain(spec.subcommands));
        let nth = usize::from(u16::from_be_bytes([high, low])) % command::ROWS;
        let name = specs().nth(nth).map(|spec| spec.name.as_bytes()).unwrap_or_default();
        words.splice(0..0, name.split(|byte| *byte == b'|'));
    }
    let args = OwnedArgs::new(&words);
    let args = args.args();
    let plain = command::all().iter().find(|spec| spec.name.as_bytes().eq_ignore_ascii_case(args.at(0)));
    assert_eq!(command::lookup(args.at(0)).map(|spec| spec.index), plain.map(|spec| spec.index));
    match command::resolve(args) {
        Ok(spec) => keys_of(spec, &words),
        Err(refusal) => {
            let mut out = Vec::new();
            refusal.reply(args, &mut out);
            assert_eq!(ReplyScanner::new().next(&out, 1024), Ok(Some(out.len())), "a refusal is one reply");
            assert_eq!(out.iter().filter(|byte| matches!(byte, b'\r' | b'\n')).count(), 2);
        }
    }
    // A caller that did not check the arity must not be punished.
    if let Some(spec) = command::lookup_args(args) {
        let _ = (keys::find(spec, args, &mut Vec::new()), keys::first(spec, args));
    }
}

fn keys_of(spec: &'static CommandSpec, words: &[&[u8]]) {
    let args = OwnedArgs::new(words);
    let args = args.args();
    let mut found = Vec::new();
    match keys::find(spec, args, &mut found) {
        Ok(()) => {
            let places: Vec<usize> = found.iter().map(|key| key.index as usize).collect();
            assert!(places.iter().all(|place| (1..words.len()).contains(place)), "{words:?}: {places:?}");
            assert!(places.len() < words.len());
            assert_eq!(keys::first(spec, args), Ok(places.first().copied()), "{words:?}");
            match (spec.pattern, spec.pattern.range(words.len())) {
                (KeyPattern::Complex, _) => {}
                (_, Some((first, last, step))) => {
                    assert!((first..=last).step_by(step).eq(places), "{words:?}")
                }
                (_, None) => assert!(places.is_empty(), "{words:?}"),
            }
        }
        Err(error) => {
            assert!(found.is_empty());
            assert_eq!(keys::first(spec, args), Err(error), "{words:?}");
            let mut out = Vec::new();
            error.reply(spec, &mut out);
            assert_eq!(ReplyScanner::new().next(&out, 1024), Ok(Some(out.len())));
        }
    }
}

/// An error reply that may be a redirect.
pub fn redirect(input: &[u8]) {
    let asked = HostPort::new("10.0.0.1", 7000);
    if let Some(redirect) = Redirect::parse(input, &asked) {
        assert!(redirect.to.port() != 0 && !redirect.to.host().is_empty());
        assert!(Slot::new(redirect.slot.number()).is_some());
        let code = if redirect.asking { "ASK" } else { "MOVED" };
        let again = format!("-{code} {} {}\r\n", redirect.slot, redirect.to);
        assert_eq!(Redirect::parse(again.as_bytes(), &asked).as_ref(), Some(&redirect), "{again}");
    }
}
