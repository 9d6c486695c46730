//! Finds keys in thousands of requests, and asks a real redis-server what it finds in them.
//!
//! Two kinds of requests: plausible ones, made of each command's own options, on which both must
//! agree to the key; and noise, on which Redis' COMMAND GETKEYS and its commands disagree with each
//! other. There the rule is: what cannot be told here, or is told otherwise, Redis does not execute.

mod support;

use pointsman_protocol::command::{CommandSpec, KeyError, KeySearch, KeysFound, all, keys, lookup_args};
use pointsman_protocol::resp::args::OwnedArgs;
use pointsman_protocol::resp::reply::{elements, payload};
use support::{Chance, Connection, RedisServer};

const PLAUSIBLE_PER_COMMAND: usize = 60;
const NOISE_PER_COMMAND: usize = 120;
const SEED: u64 = 34;

type Words = Vec<String>;

/// A key's name, whether it is read, and whether it is written.
type Found = Vec<(String, bool, bool)>;

/// The commands with keys that this server has: the table also has those of later ones and of modules.
fn keyed_rows(redis: &mut Connection) -> Vec<&'static CommandSpec> {
    let mut known = |spec: &CommandSpec| {
        let reply = redis.ask(&["COMMAND", "INFO", spec.name]);
        elements(&reply).and_then(|mut rows| rows.next().map(|row| elements(row).is_some())).unwrap_or(false)
    };
    let rows: Vec<_> = all()
        .iter()
        .flat_map(|spec| std::iter::once(spec).chain(spec.subcommands))
        .filter(|spec| !spec.keys.is_empty() && known(spec))
        .collect();
    assert!(rows.len() > 150, "{} commands", rows.len());
    rows
}

fn ours(words: &[String]) -> Result<Found, KeyError> {
    let args = OwnedArgs::new(words);
    let spec = lookup_args(args.args()).expect("a command");
    let mut out = Vec::new();
    keys::find(spec, args.args(), &mut out)?;
    let mut found: Found = out
        .iter()
        // COMMAND GETKEYS leaves out channels that decide the slot as keys do.
        .filter(|key| !key.access.not_key)
        .map(|key| (words[key.index as usize].clone(), key.access.reads, key.access.writes))
        .collect();
    found.sort();
    Ok(found)
}

/// What Redis finds; none if it answers an error, as it also does when there is none.
fn theirs(redis: &mut Connection, words: &[String]) -> Found {
    if words.len() == 2 && words[0].eq_ignore_ascii_case("PFMERGE") {
        // It finds none, for want of sources, but the command does make its destination.
        return vec![(words[1].clone(), true, true)];
    }
    let asked = [&["COMMAND".to_string(), "GETKEYSANDFLAGS".to_string()], words].concat();
    let reply = redis.ask(&asked);
    let mut found = Found::new();
    for pair in elements(&reply).into_iter().flatten() {
        let mut pair = elements(pair).expect("a key and its flags");
        let (key, flags) = (pair.next().expect("a key"), pair.next().expect("flags"));
        let flags: Vec<&[u8]> = elements(flags).expect("flags").filter_map(payload).collect();
        let key = String::from_utf8_lossy(payload(key).expect("a name")).into_owned();
        let writes = flags.iter().any(|flag| [&b"RW"[..], b"OW", b"RM"].contains(flag));
        found.push((key, flags.contains(&&b"access"[..]), writes));
    }
    found.sort();
    found
}

/// Writes requests whose names are all different, so that a name tells a place.
struct Writer<'a> {
    words: Words,
    names: usize,
    chance: &'a mut Chance,
}

impl Writer<'_> {
    /// Appends words: `?` is a new name, `#` a small number, `""` nothing. The first, an option's
    /// own, comes in either case.
    fn write(&mut self, text: &str) {
        for (nth, part) in text.split_ascii_whitespace().enumerate() {
            let word = match part {
                "\"\"" => String::new(),
                "#" => self.chance.below(100).to_string(),
                _ if part.starts_with('?') => {
                    self.names += 1;
                    part.replace('?', &format!("name{}", self.names))
                }
                _ if nth == 0 && self.chance.below(2) == 0 => part.to_ascii_lowercase(),
                _ => part.to_string(),
            };
            self.words.push(word);
        }
    }

    /// Appends some of `options`, in any order, each at most once.
    fn choose(&mut self, options: &[&str]) {
        let mut left = options.to_vec();
        for _ in 0..self.chance.below(left.len() + 1) {
            let at = self.chance.below(left.len());
            self.write(left.swap_remove(at));
        }
    }

    fn names(&mut self, count: usize) {
        (0..count).for_each(|_| self.write("?"));
    }
}

/// A request of the command's own shape.
fn plausible(spec: &CommandSpec, chance: &mut Chance) -> Words {
    const GEO: &[&str] = &["WITHDIST", "WITHCOORD", "WITHHASH", "COUNT #", "ASC", "STORE ?", "STOREDIST ?"];
    const SORT: &[&str] = &["BY ?", "GET ?", "GET ?_*", "LIMIT # #", "DESC", "ALPHA", "STORE ?"];
    let mut request = Writer { words: Words::new(), names: 0, chance };
    spec.name.split('|').for_each(|word| request.write(word));
    match spec.name {
        "XREAD" | "XREADGROUP" => {
            if spec.name == "XREADGROUP" {
                request.write("GROUP ? ?");
            }
            request.choose(if spec.name == "XREAD" {
                &["COUNT #", "BLOCK #"]
            } else {
                &["COUNT #", "NOACK"]
            });
            request.write("STREAMS");
            let streams = 1 + request.chance.below(4);
            request.names(2 * streams);
        }
        "SORT" | "SORT_RO" => {
            request.write("?");
            request.choose(if spec.name == "SORT" { SORT } else { &SORT[..SORT.len() - 1] });
        }
        "GEORADIUS" | "GEORADIUSBYMEMBER" => {
            request.write(if spec.name == "GEORADIUS" { "? 1 2 3 km" } else { "? ? 3 km" });
            request.choose(GEO);
        }
        "MIGRATE" => {
            let many = request.chance.below(2) == 0;
            request.write(if many { "host 1 \"\" 0 5" } else { "host 1 ? 0 5" });
            request.choose(&["COPY", "REPLACE", "AUTH ?"]);
            if many {
                request.write("KEYS ?");
                let more = request.chance.below(4);
                request.names(more);
            }
        }
        "SET" => {
            request.write("? ?");
            request.choose(&["NX", "GET", "EX #", "KEEPTTL"]);
        }
        "BITFIELD" => {
            request.write("?");
            request.choose(&["GET u8 #", "GET i5 #", "SET u8 # #", "INCRBY u8 # #", "OVERFLOW SAT"]);
        }
        _ => filled(spec, &mut request),
    }
    for_any_server(request.words)
}

/// As many names as the arity asks for, or more, with a count of keys where one belongs.
fn filled(spec: &CommandSpec, request: &mut Writer<'_>) {
    let least = usize::from(spec.arity.unsigned_abs());
    for keys in spec.keys {
        if let (KeySearch::Index(at), KeysFound::Counted { count, .. }) = (keys.search, keys.found) {
            request.names(usize::from(at + count).saturating_sub(request.words.len()));
            let keys = request.chance.below(5);
            request.words.push(keys.to_string());
            request.names(keys);
        }
    }
    request.names(least.saturating_sub(request.words.len()));
    if spec.arity < 0 {
        let more = request.chance.below(6);
        request.names(more);
    }
}

/// Any words at all, of those that mean something to some command.
fn noise(spec: &CommandSpec, chance: &mut Chance) -> Words {
    const WORDS: &[&str] = &[
        "STREAMS",
        "streams",
        "GROUP",
        "COUNT",
        "BLOCK",
        "NOACK",
        "KEYS",
        "keys",
        "AUTH",
        "AUTH2",
        "COPY",
        "REPLACE",
        "STORE",
        "store",
        "STOREDIST",
        "BY",
        "GET",
        "get",
        "LIMIT",
        "ASC",
        "WITHDIST",
        "SET",
        "INCRBY",
        "OVERFLOW",
        "0",
        "1",
        "2",
        "3",
        "5",
        "-1",
        "01",
        "+1",
        "x",
        "1.5",
        "2147483648",
        "9223372036854775807",
        "9223372036854775808",
        "a",
        "b",
        "c",
        "a*",
        "",
        "km",
        "u8",
        ">",
    ];
    let mut words: Words = spec.name.split('|').map(String::from).collect();
    (0..chance.below(14)).for_each(|_| words.push(chance.pick(WORDS).to_string()));
    for_any_server(words)
}

/// ZRANK takes a fourth argument since 7.2; an older server must be able to judge these requests.
fn for_any_server(mut words: Words) -> Words {
    if words.first().is_some_and(|name| ["ZRANK", "ZREVRANK"].contains(&name.to_ascii_uppercase().as_str())) {
        words.truncate(3);
    }
    words
}

#[test]
fn t34_keys_of_plausible_requests_are_those_redis_finds() {
    let Some(server) = RedisServer::start("t34_plausible") else { return };
    let (mut redis, mut chance) = (server.connect(), Chance::new(SEED));
    let (mut asked, mut with_keys) = (0, 0);
    for spec in keyed_rows(&mut redis) {
        for _ in 0..PLAUSIBLE_PER_COMMAND {
            let words = plausible(spec, &mut chance);
            let theirs = theirs(&mut redis, &words);
            match ours(&words) {
                Ok(found) => assert_eq!(found, theirs, "{words:?}"),
                // A count of no keys, which only scripts may have.
                Err(error) => {
                    assert!(theirs.is_empty() && words.contains(&"0".to_string()), "{words:?}: {error:?}")
                }
            }
            asked += 1;
            with_keys += usize::from(!theirs.is_empty());
        }
    }
    assert!(with_keys * 10 > asked * 8, "only {with_keys} of {asked} requests had keys");
}

#[test]
fn t34_t42_noise_has_the_keys_redis_finds_or_is_refused() {
    let Some(server) = RedisServer::start("t34_noise") else { return };
    let (mut redis, mut chance) = (server.connect(), Chance::new(SEED));
    let (mut agreed, mut refused, mut differed) = (0, 0, 0);
    for spec in keyed_rows(&mut redis) {
        for _ in 0..NOISE_PER_COMMAND {
            let words = noise(spec, &mut chance);
            let theirs = theirs(&mut redis, &words);
            let found = ours(&words);
            if found.as_ref() == Ok(&theirs) {
                agreed += 1;
                continue;
            }
            let reply = redis.ask(&words);
            let reply = String::from_utf8_lossy(&reply);
            assert!(
                reply.starts_with('-'),
                "{words:?}: here {found:?}, in Redis {theirs:?}, which says {reply}"
            );
            match found {
                Err(_) => refused += 1,
                Ok(_) => {
                    differed += 1;
                    assert!(
                        ["SORT", "GEORADIUS", "GEORADIUSBYMEMBER", "XREAD", "XREADGROUP"]
                            .contains(&spec.name),
                        "{words:?}: here {found:?}, in Redis {theirs:?}, which says {reply}"
                    );
                }
            }
        }
    }
    assert!(
        agreed > 1000 && refused > 1000 && differed > 0,
        "{agreed} agreed, {refused} refused, {differed} differed"
    );
}

// Here COMMAND GETKEYS of 7.0 is wrong, so the command itself is the witness.
#[test]
fn t34_names_that_look_like_keywords_are_names() {
    let Some(server) = RedisServer::start("t34_keywords") else { return };
    let mut redis = server.connect();
    let mut run = |line: &str| {
        let words: Words = line.split(' ').map(String::from).collect();
        let reply = String::from_utf8_lossy(&redis.ask(&words)).into_owned();
        assert!(!reply.starts_with('-'), "{line}: {reply}");
        let found = ours(&words).expect(line);
        (found.into_iter().map(|(name, ..)| name).collect::<Vec<_>>(), reply)
    };
    run("XGROUP CREATE s streams $ MKSTREAM");
    run("XADD s * f v");
    let (keys, reply) = run("XREADGROUP GROUP streams streams NOACK STREAMS s >");
    assert_eq!(keys, ["s"]);
    assert!(reply.contains("$1\r\ns\r\n"), "{reply}");
    run("RPUSH l 3 1 2");
    assert_eq!(run("SORT l BY store LIMIT 0 3 STORE by").0, ["by", "l"]);
    assert!(run("LRANGE by 0 -1").1.starts_with("*3"));
    run("GEOADD store 1 1 store");
    assert_eq!(run("GEORADIUSBYMEMBER store store 1 km STORE count").0, ["count", "store"]);
    assert_eq!(run("ZCARD count").1, ":1\r\n");
    // The last of several wins here; the others are found all the same.
    assert_eq!(run("SORT l STORE a STORE b").0, ["a", "b", "l"]);
    assert_eq!(run("EXISTS a").1, ":0\r\n");
}
