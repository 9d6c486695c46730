//! T24: what a real server answers in RESP2, converted, is what it answers in RESP3.

mod support;

use pointsman_protocol::command::{self, CommandSpec, Flags};
use pointsman_protocol::resp::{encode, reply};
use pointsman_protocol::resp3;
use support::{Chance, Connection, RedisServer};

/// The same data for both questions, whatever the first one did to it.
const DATA: &[&str] = &[
    "FLUSHALL",
    "SET string ohmytext",
    "SET other mynewtext",
    "SET number 10",
    "RPUSH list a b c",
    "SADD set a b c",
    "SADD set2 b",
    "HSET hash a 1 b 2",
    "ZADD zset 1 a 2.5 b inf c -1e300 d",
    "ZADD zset2 7 a",
    "XADD stream 1-1 f v",
    "XADD stream 2-1 f v",
    "XGROUP CREATE stream group 0",
    "XREADGROUP GROUP group consumer COUNT 1 STREAMS stream >",
    "GEOADD geo 13.361389 38.115556 P 15.087269 37.502669 C",
    "PFADD hll a b",
];

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

/// Asks the same in both protocols, of the same data; the RESP2 reply converted, and the RESP3 reply.
fn both(resp2: &mut Connection, resp3: &mut Connection, requests: &[Vec<&str>]) -> (Vec<u8>, Vec<u8>) {
    let ask = |connection: &mut Connection| {
        let mut bytes = Vec::new();
        DATA.iter().for_each(|line| encode::request(&mut bytes, &words(line)));
        let data = bytes.len();
        requests.iter().for_each(|request| encode::request(&mut bytes, request));
        connection.send(&bytes);
        let replies = DATA.len() + requests.len();
        let last = (0..replies).map(|_| connection.reply().expect("a reply")).last().expect("one at least");
        (last, bytes.split_off(data))
    };
    let (from, request) = ask(resp2);
    let (wanted, _) = ask(resp3);
    let mut out = Vec::new();
    resp3::reply(&request, &from, &mut out);
    (out, wanted)
}

fn connections(server: &RedisServer) -> (Connection, Connection) {
    let (mut resp2, mut resp3) = (server.connect(), server.connect());
    resp2.ask(&["HELLO", "2"]);
    resp3.ask(&["HELLO", "3"]);
    (resp2, resp3)
}

/// The kinds and counts of all values in a reply, without what they say.
fn form(reply: &[u8]) -> String {
    let mut form = String::new();
    let mut rest = reply;
    while let Some(kind) = rest.first() {
        let line = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |end| end + 1);
        match kind {
            b'*' | b'~' | b'%' | b'>' => form.push_str(&String::from_utf8_lossy(&rest[..line - 2])),
            _ => form.push(char::from(*kind)),
        }
        let number = || std::str::from_utf8(&rest[1..line - 2]).ok()?.parse::<usize>().ok();
        let payload = if matches!(kind, b'$' | b'=' | b'!') { number().map_or(0, |len| len + 2) } else { 0 };
        rest = &rest[line + payload..];
        form.push(' ');
    }
    form
}

fn sorted(reply: &[u8]) -> Vec<String> {
    let mut lines: Vec<String> = String::from_utf8_lossy(reply).split("\r\n").map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn t24_every_reply_that_differs_becomes_that_of_resp3() {
    let Some(server) = RedisServer::start("t24_rows") else { return };
    let (mut resp2, mut resp3) = connections(&server);
    let library = "#!lua name=lib\nredis.register_function{function_name='f', callback=function() return 1 end, flags={'no-writes'}}";
    resp2.ask(&["FUNCTION", "LOAD", library]);
    let mut different = 0;
    for line in [
        "HGETALL hash",
        "HGETALL none",
        "HGET hash none",
        "HMGET hash a none",
        "HSCAN hash 0",
        "SMEMBERS set",
        "SINTER set set2",
        "SUNION set set2",
        "SDIFF set set2",
        "SPOP set 3",
        "SPOP none 3",
        "SPOP none",
        "SRANDMEMBER none 2",
        "SMISMEMBER set a z",
        "ZSCORE zset a",
        "ZSCORE zset b",
        "ZSCORE zset c",
        "ZSCORE zset d",
        "ZSCORE zset none",
        "ZMSCORE zset a none c",
        "ZINCRBY zset 0.1 a",
        "ZADD zset INCR 1 a",
        "ZADD zset NX INCR 1 a",
        "ZADD zset incr -1 incr",
        "ZADD zset 1 INCR",
        "ZRANGE zset 0 -1 WITHSCORES",
        "ZRANGE zset 0 -1",
        "ZRANGE zset -inf +inf BYSCORE LIMIT 0 2 withscores",
        "ZRANGE none 0 -1 WITHSCORES",
        "ZREVRANGE zset 0 -1 WITHSCORES",
        "ZRANGEBYSCORE zset -inf +inf WITHSCORES LIMIT 0 2",
        "ZREVRANGEBYSCORE zset +inf -inf WITHSCORES",
        "ZRANGEBYLEX zset - +",
        "ZPOPMIN zset",
        "ZPOPMIN zset 2",
        "ZPOPMAX zset 1",
        "ZPOPMAX none",
        "ZPOPMAX none 2",
        "BZPOPMIN none zset 1",
        "BZPOPMAX zset 1",
        "BZPOPMIN none 0.01",
        "ZMPOP 1 zset MIN COUNT 2",
        "ZMPOP 1 none MIN",
        "BZMPOP 1 1 zset MAX",
        "ZDIFF 2 zset zset2 WITHSCORES",
        "ZINTER 2 zset zset2 WITHSCORES",
        "ZUNION 2 zset zset2 WITHSCORES",
        "ZUNION 2 zset zset2",
        "ZRANDMEMBER zset2 1 WITHSCORES",
        "ZRANDMEMBER none 2 WITHSCORES",
        "ZRANK zset none",
        "ZSCAN zset 0",
        "GEOPOS geo P none",
        "GEOPOS none P",
        "GEODIST geo P C",
        "GEODIST geo P none",
        "GEOHASH geo P none",
        "GEORADIUS geo 15 37 200 km WITHCOORD WITHDIST WITHHASH",
        "GEORADIUS_RO geo 15 37 200 km WITHHASH WITHCOORD",
        "GEORADIUSBYMEMBER geo P 200 km WITHCOORD",
        "GEORADIUSBYMEMBER_RO geo P 200 km WITHDIST",
        "GEOSEARCH geo FROMLONLAT 15 37 BYRADIUS 200 km ASC WITHCOORD",
        "GEOSEARCH geo FROMLONLAT 15 37 BYRADIUS 200 km ASC WITHDIST WITHCOORD",
        "XREAD STREAMS stream 0",
        "XREAD STREAMS stream $",
        "XREADGROUP GROUP group consumer STREAMS stream 0",
        "XREADGROUP GROUP group consumer STREAMS stream >",
        "XRANGE stream - +",
        "XAUTOCLAIM stream group consumer 0 0",
        "XCLAIM stream group consumer 0 1-1",
        "XINFO STREAM stream",
        "XINFO GROUPS stream",
        "XPENDING stream group",
        "LCS string other IDX WITHMATCHLEN",
        "LCS string other LEN",
        "LCS string other",
        "SORT list ALPHA GET none_* GET #",
        "LPOS list none",
        "LPOS list a COUNT 2",
        "LPOP none",
        "LPOP none 2",
        "LMPOP 1 none LEFT",
        "LMPOP 1 list LEFT COUNT 2",
        "BLPOP none 0.01",
        "BLMPOP 0.01 1 none LEFT",
        "BLMOVE none list LEFT LEFT 0.01",
        "BRPOPLPUSH none list 0.01",
        "MGET string none number",
        "GET none",
        "SET none 1 XX",
        "SET string 1 GET",
        "GETDEL none",
        "GETEX none",
        "DUMP none",
        "OBJECT ENCODING none",
        "RANDOMKEY",
        "MEMORY USAGE none",
        "BITFIELD number GET u8 0 OVERFLOW FAIL INCRBY u2 0 100",
        "CONFIG GET notify-keyspace-events",
        "CONFIG GET maxmemory*",
        "CONFIG GET none",
        "COMMAND DOCS",
        "COMMAND DOCS get nosuch memory",
        "FUNCTION LIST WITHCODE",
        "FUNCTION STATS",
        "MODULE LIST",
        "LATENCY DOCTOR",
        "LATENCY LATEST",
        "LATENCY GRAPH none",
        "SLOWLOG GET",
        "PUBSUB NUMSUB a",
        "PUBSUB CHANNELS",
        "SCRIPT EXISTS abc",
        "LOLWUT",
        "ROLE",
        "ACL CAT",
        "EVAL return{1,false,{ok='x'}} 0",
        "EVAL return(redis.call('hgetall','hash')) 0",
        "FCALL f 0",
        "SMEMBERS string",
    ] {
        let (ours, theirs) = both(&mut resp2, &mut resp3, &[words(line)]);
        // In no order, or with the time of the question in it: their forms must agree.
        if ["SPOP", "RANDOMKEY", "SLOWLOG", "LATENCY LATEST"].iter().any(|name| line.starts_with(name)) {
            assert_eq!(form(&ours), form(&theirs), "{line}");
        } else if ["COMMAND DOCS", "CONFIG GET"].iter().any(|name| line.starts_with(name)) {
            // From a table that the server walks in an order of the moment.
            assert_eq!(sorted(&ours), sorted(&theirs), "{line}");
        } else {
            assert_eq!(String::from_utf8_lossy(&ours), String::from_utf8_lossy(&theirs), "{line}");
        }
        let kinds = |reply: &[u8]| form(reply).contains(['%', '~', ',', '=', '_']);
        different += usize::from(kinds(&theirs));
    }
    assert!(different > 60, "the rows are of the wrong kind: {different}");
}

/// What changes while one asks: memory, times, latencies.
#[test]
fn t24_replies_about_the_server_have_the_form_of_resp3() {
    let Some(server) = RedisServer::start("t24_forms") else { return };
    let (mut resp2, mut resp3) = connections(&server);
    for line in [
        "MEMORY STATS",
        "MEMORY DOCTOR",
        "MEMORY MALLOC-STATS",
        "LATENCY HISTOGRAM set hset",
        "XINFO STREAM stream FULL",
        "XINFO CONSUMERS stream group",
        "XPENDING stream group - + 10",
        "INFO server",
    ] {
        let (ours, theirs) = both(&mut resp2, &mut resp3, &[words(line)]);
        assert_eq!(form(&ours), form(&theirs), "{line}");
        assert!(theirs.first() != Some(&b'-'), "{line}");
    }
    // A text of its own begins with its format.
    let (ours, _) = both(&mut resp2, &mut resp3, &[words("MEMORY DOCTOR")]);
    assert_eq!(reply::payload(&ours).map(|text| text.starts_with(b"txt:")), Some(false));
}

#[test]
fn t24_transactions() {
    let Some(server) = RedisServer::start("t24_transactions") else { return };
    let (mut resp2, mut resp3) = connections(&server);
    let requests =
        ["MULTI", "HGETALL hash", "GET none", "ZPOPMIN zset", "INCR string", "SMEMBERS set2", "EXEC"];
    let requests: Vec<Vec<&str>> = requests.iter().map(|line| words(line)).collect();
    let (ours, theirs) = both(&mut resp2, &mut resp3, &requests);
    assert_eq!(String::from_utf8_lossy(&ours), String::from_utf8_lossy(&theirs));
    let refused: Vec<Vec<&str>> = ["MULTI", "GET", "EXEC"].iter().map(|line| words(line)).collect();
    let (ours, theirs) = both(&mut resp2, &mut resp3, &refused);
    assert_eq!(String::from_utf8_lossy(&ours), String::from_utf8_lossy(&theirs));
    for connection in [&mut resp2, &mut resp3] {
        connection.ask(&["WATCH", "string"]);
    }
    let (ours, theirs) = both(&mut resp2, &mut resp3, &requests);
    assert_eq!((ours.as_slice(), theirs.as_slice()), (&b"_\r\n"[..], &b"_\r\n"[..]));
}

const TRIES: usize = 12;
const SEED: u64 = 24;

/// Every command of the table with keys, with arguments by chance: no form is missing in the table of shapes.
#[test]
fn t24_no_command_is_missing() {
    let Some(server) = RedisServer::start("t24_chance") else { return };
    let (mut resp2, mut resp3) = connections(&server);
    let mut chance = Chance::new(SEED);
    let keys = ["string", "number", "list", "set", "hash", "zset", "stream", "geo", "hll", "none"];
    let others = [
        "0",
        "1",
        "2",
        "-1",
        "a",
        "b",
        "1-1",
        "0-0",
        "-",
        "+",
        "[a",
        "group",
        "consumer",
        "*",
        "WITHSCORES",
        "WITHVALUES",
        "COUNT",
        "IDX",
        "FULL",
        "u8",
        "GET",
        "STREAMS",
        "LEFT",
        "MIN",
        "km",
        "BYRADIUS",
        "FROMMEMBER",
        "P",
        "INCR",
    ];
    let rows = command::all().iter().flat_map(|spec| std::iter::once(spec).chain(spec.subcommands));
    let (mut asked, mut answered) = (0, 0);
    for spec in rows.filter(|spec| is_tried(spec)) {
        for _ in 0..TRIES * 4 {
            let mut request: Vec<&str> = spec.name.split('|').collect();
            let fewest = usize::from(spec.arity.unsigned_abs());
            let most = if spec.arity < 0 { fewest + chance.below(4) } else { fewest };
            while request.len() < most {
                let at = request.len();
                let is_key = spec.keys.iter().any(|key| is_first_key(key, at)) || chance.below(4) == 0;
                request.push(if is_key { *chance.pick(&keys) } else { *chance.pick(&others) });
            }
            let (ours, theirs) = both(&mut resp2, &mut resp3, &[request.clone()]);
            assert_eq!(form(&ours), form(&theirs), "{request:?}");
            // The table knows servers that this one is not.
            asked += usize::from(!theirs.starts_with(b"-ERR unknown "));
            answered += usize::from(theirs.first() != Some(&b'-'));
        }
    }
    assert!(answered * 8 > asked, "{answered} of {asked} were answered with data");
}

fn is_tried(spec: &CommandSpec) -> bool {
    let barred = Flags::BLOCKING.0 | Flags::ADMIN.0 | Flags::PUBSUB.0;
    let by_chance = ["SRANDMEMBER", "RESTORE", "MIGRATE", "SORT"].contains(&spec.name);
    !spec.keys.is_empty()
        && spec.flags.0 & barred == 0
        && !by_chance
        && !spec.flags.has(Flags::NO_MANDATORY_KEYS)
}

fn is_first_key(key: &command::KeySpec, at: usize) -> bool {
    matches!(key.search, command::KeySearch::Index(first) if usize::from(first) == at)
}
