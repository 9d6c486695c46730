//! What RESP3 tells otherwise than RESP2, command by command. `tests/redis_resp3.rs` asks a real
//! server in both protocols and compares.
//!
//! A command that is not here is told alike, nulls apart.

use crate::command;
use crate::resp::Args;

/// How a RESP2 value is to be read.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// It is the same in RESP3.
    Same,
    /// A number in a bulk string.
    Double,
    /// A text for people.
    Verbatim,
    /// A set, as an array.
    Set,
    /// A map, as an array of keys and values in turn; all values have one shape.
    Map(&'static Shape),
    /// A map whose keys say the shapes of their values; a name that ends with `*` stands for all that begin so.
    Record(&'static [(&'static str, Shape)]),
    /// An array of values of one shape.
    Each(&'static Shape),
    /// An array whose elements have these shapes in turn; further ones are the same.
    Tuple(&'static [Shape]),
    /// Pairs, flat in RESP2 and an array each in RESP3; the shape is that of the second.
    Pairs(&'static Shape),
    /// A map, as an array of pairs.
    Keyed,
}

use Shape::{Double, Each, Keyed, Map, Pairs, Record, Same, Set, Tuple, Verbatim};

static SCORED: Shape = Tuple(&[Same, Double]);
static POPPED: Shape = Tuple(&[Same, Each(&SCORED)]);
const DOUBLES: Shape = Each(&Double);
const LIST_OF_MAPS: Shape = Each(&Map(&Same));

static STREAM: Shape = Record(&[("groups", Each(&STREAM_GROUP))]);
static STREAM_GROUP: Shape = Record(&[("consumers", LIST_OF_MAPS)]);

static LIBRARIES: Shape = Each(&Record(&[("functions", Each(&Record(&[("flags", Set)])))]));
static FUNCTION_STATS: Shape = Record(&[("running_script", Map(&Same)), ("engines", Map(&Map(&Same)))]);
static HISTOGRAMS: Shape = Map(&Record(&[("histogram_usec", Map(&Same))]));
static MEMORY: Shape = Record(&[
    ("db.*", Map(&Same)),
    ("dataset.percentage", Double),
    ("peak.percentage", Double),
    ("allocator-fragmentation.ratio", Double),
    ("allocator-rss.ratio", Double),
    ("rss-overhead.ratio", Double),
    ("fragmentation", Double),
]);

static DOCUMENTATION: Shape = Map(&COMMAND_DOCUMENTATION);
static COMMAND_DOCUMENTATION: Shape = Record(&[
    ("history", Set),
    ("doc_flags", Set),
    ("arguments", Each(&ARGUMENT)),
    ("subcommands", Map(&COMMAND_DOCUMENTATION)),
]);
static ARGUMENT: Shape = Record(&[("flags", Set), ("arguments", Each(&ARGUMENT))]);

impl Shape {
    /// That of the reply to this request.
    pub fn of(args: Args<'_>) -> &'static Shape {
        let Ok(spec) = command::resolve(args) else { return &Same };
        let has = |word: &str| args.iter().skip(2).any(|arg| arg.eq_ignore_ascii_case(word.as_bytes()));
        match spec.name {
            "HGETALL" | "CONFIG|GET" => &Map(&Same),
            "SMEMBERS" | "SINTER" | "SUNION" | "SDIFF" => &Set,
            "SPOP" if args.len() > 2 => &Set,
            "ZSCORE" | "ZINCRBY" => &Double,
            // A member of that name is told as an integer, which stays one.
            "ZADD" if has("INCR") => &Double,
            "ZMSCORE" => &DOUBLES,
            "ZRANGE" | "ZREVRANGE" | "ZRANGEBYSCORE" | "ZREVRANGEBYSCORE" | "ZRANDMEMBER" | "ZDIFF"
            | "ZINTER" | "ZUNION"
                if has("WITHSCORES") =>
            {
                &Pairs(&Double)
            }
            "ZPOPMIN" | "ZPOPMAX" if args.len() > 2 => &Pairs(&Double),
            "ZPOPMIN" | "ZPOPMAX" => &SCORED,
            "BZPOPMIN" | "BZPOPMAX" => &Tuple(&[Same, Same, Double]),
            "ZMPOP" | "BZMPOP" => &POPPED,
            "ZRANK" | "ZREVRANK" if has("WITHSCORE") => &SCORED,
            "HRANDFIELD" if has("WITHVALUES") => &Pairs(&Same),
            "GEOPOS" => &Each(&DOUBLES),
            "GEORADIUS" | "GEORADIUS_RO" | "GEORADIUSBYMEMBER" | "GEORADIUSBYMEMBER_RO" | "GEOSEARCH"
                if has("WITHCOORD") =>
            {
                match usize::from(has("WITHDIST")) + usize::from(has("WITHHASH")) {
                    0 => &Each(&Tuple(&[Same, DOUBLES])),
                    1 => &Each(&Tuple(&[Same, Same, DOUBLES])),
                    _ => &Each(&Tuple(&[Same, Same, Same, DOUBLES])),
                }
            }
            "XREAD" | "XREADGROUP" => &Keyed,
            "XINFO|STREAM" => &STREAM,
            "XINFO|GROUPS" | "XINFO|CONSUMERS" => &LIST_OF_MAPS,
            "LCS" if has("IDX") => &Map(&Same),
            "COMMAND|DOCS" => &DOCUMENTATION,
            "MEMORY|STATS" => &MEMORY,
            "LATENCY|HISTOGRAM" => &HISTOGRAMS,
            "FUNCTION|LIST" => &LIBRARIES,
            "FUNCTION|STATS" => &FUNCTION_STATS,
            "MODULE|LIST" => &LIST_OF_MAPS,
            "LATENCY|DOCTOR"
            | "LATENCY|GRAPH"
            | "MEMORY|DOCTOR"
            | "MEMORY|MALLOC-STATS"
            | "CLUSTER|NODES"
            | "CLUSTER|INFO"
            | "INFO"
            | "LOLWUT"
            | "CLIENT|LIST"
            | "CLIENT|INFO" => &Verbatim,
            _ => &Same,
        }
    }
}
