//! When replies that are not the same bytes are alike all the same. Every exception is one row here, with
//! its reason; the test prints how often each was needed.

use super::refusals;
use super::words::Request;
use pointsman_integration::Reply;
use pointsman_protocol::command::CommandSpec;
use pointsman_protocol::resp::reply;
use std::collections::BTreeMap;

/// In what sense replies are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// The same elements in another order.
    Unordered,
    /// The same pairs in another order.
    Pairs,
    /// The same lines in another order, at whatever depth.
    Lines,
    /// The same, but for numbers that are at most so far apart.
    Within(i64),
    /// The same bytes in another order, but for a checksum at the end.
    Bytes,
    /// As many bytes.
    Length,
    /// The same number of elements of the same types.
    Shape,
    /// Both are errors that say this.
    Errors(&'static str),
    /// Not compared.
    Anything,
}

struct Rule {
    /// What the summary calls it.
    name: &'static str,
    rows: &'static [&'static str],
    /// Only requests of which this is true.
    when: fn(&Request) -> bool,
    how: How,
    why: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        name: "order",
        rows: &[
            "SMEMBERS",
            "SUNION",
            "SINTER",
            "SDIFF",
            "HKEYS",
            "HVALS",
            "KEYS",
            "SPOP",
            "SRANDMEMBER",
            "HRANDFIELD",
            "ZRANDMEMBER",
            "ACL|CAT",
        ],
        when: |_| true,
        how: How::Unordered,
        why: "a hash table has no order, and every server mixes it with a seed of its own",
    },
    Rule {
        name: "order of pairs",
        rows: &["HGETALL", "HRANDFIELD", "ZRANDMEMBER"],
        when: |_| true,
        how: How::Pairs,
        why: "the same",
    },
    Rule {
        name: "order not asked for",
        rows: &["SORT", "SORT_RO"],
        when: |request| request.iter().any(|word| word == b"nosort"),
        how: How::Shape,
        why: "SORT BY nosort of a set takes members as they come, and so LIMIT others",
    },
    Rule {
        name: "order of functions",
        rows: &["FUNCTION|LIST"],
        when: |_| true,
        how: How::Lines,
        why: "the same",
    },
    Rule {
        name: "order in a dump",
        rows: &["DUMP", "FUNCTION|DUMP"],
        when: |_| true,
        how: How::Bytes,
        why: "the same, inside a payload, and so another checksum",
    },
    Rule {
        name: "clock in a dump",
        rows: &["DUMP"],
        when: |_| true,
        how: How::Length,
        why: "what a stream's consumers have been given is dumped with its time",
    },
    Rule {
        name: "chance",
        rows: &["SRANDMEMBER", "HRANDFIELD", "ZRANDMEMBER", "RANDOMKEY", "SPOP", "ACL|GENPASS"],
        when: draws,
        how: How::Shape,
        why: "drawn by chance",
    },
    Rule {
        name: "clock, seconds",
        rows: &["TTL", "EXPIRETIME", "OBJECT|IDLETIME", "LASTSAVE"],
        when: |_| true,
        how: How::Within(60),
        why: "the two are asked at different moments",
    },
    Rule {
        name: "clock, milliseconds",
        rows: &["PTTL", "PEXPIRETIME", "XPENDING", "XINFO|CONSUMERS", "XINFO|STREAM", "XINFO|GROUPS"],
        when: |_| true,
        how: How::Within(60_000),
        why: "the same",
    },
    Rule {
        name: "clock",
        rows: &["TIME", "XADD"],
        when: is_about_now,
        how: How::Shape,
        why: "the time itself, or an id made of it (XADD *)",
    },
    Rule {
        name: "memory",
        rows: &["MEMORY|USAGE"],
        when: |_| true,
        how: How::Shape,
        why: "a cluster node links entries to slots; what is large is estimated from elements drawn by chance",
    },
    Rule {
        name: "own account",
        rows: &["HELLO", "CLIENT|ID", "CLIENT|INFO", "INFO", "MEMORY|MALLOC-STATS", "MEMORY|DOCTOR"],
        when: |_| true,
        how: How::Shape,
        why: "each tells of itself: ids, ports, versions, memory",
    },
    Rule {
        name: "own account, longer",
        rows: &["MEMORY|STATS"],
        when: |_| true,
        how: How::Anything,
        why: "sums over the shards have other fields than one server",
    },
    Rule {
        name: "picture",
        rows: &["LOLWUT"],
        when: |_| true,
        how: How::Anything,
        why: "every version draws another",
    },
    Rule {
        name: "newer text",
        rows: &["XREAD", "XREADGROUP"],
        when: |_| true,
        how: How::Errors("Unbalanced "),
        why: "the proxy says it in the words of a newer server than the one it is compared with",
    },
    Rule {
        name: "newer table",
        rows: &["COMMAND", "COMMAND|COUNT", "COMMAND|DOCS", "COMMAND|INFO", "COMMAND|LIST", "CLIENT|HELP"],
        when: |_| true,
        how: How::Anything,
        why: "the proxy tells the commands of a newer server than the one it is compared with",
    },
];

/// Counts which rules were needed.
#[derive(Debug, Default)]
pub struct Needed(BTreeMap<&'static str, BTreeMap<&'static str, usize>>);

impl Needed {
    /// True if a request's two replies are alike: the same bytes, or by a rule, or refused by design.
    /// `known`: the server knows the command.
    pub fn alike(
        &mut self,
        request: &Request,
        spec: Option<&'static CommandSpec>,
        ours: &Reply,
        theirs: &Reply,
    ) -> bool {
        if ours == theirs {
            return true;
        }
        if theirs.is_error() && theirs.error().contains("unknown subcommand") || is_unknown(request, theirs) {
            self.note("not there: this redis-server is older than the command", spec);
            return true;
        }
        if ours.is_error() && ours.error().contains("is not supported through this proxy yet") {
            self.note("not yet", spec);
            return true;
        }
        let name = spec.map_or("", |spec| spec.name);
        if let Some(refused) = refusals::of_reply(name, ours) {
            self.note(refused.what, spec);
            return true;
        }
        let rule = RULES
            .iter()
            .find(|rule| rule.rows.contains(&name) && (rule.when)(request) && rule.how.fits(ours, theirs));
        if let Some(rule) = rule {
            self.note(rule.name, spec);
        }
        rule.is_some()
    }

    /// Counts one more.
    pub fn note(&mut self, rule: &'static str, spec: Option<&'static CommandSpec>) {
        let row = spec.map_or("(no command)", |spec| spec.name);
        *self.0.entry(rule).or_default().entry(row).or_default() += 1;
    }

    /// One paragraph for each rule that was needed: how often, why, and for which commands.
    pub fn summary(&self) -> String {
        let why =
            |name: &str| RULES.iter().find(|rule| rule.name == name).map_or("by design", |rule| rule.why);
        let mut out = String::new();
        for (name, rows) in &self.0 {
            out += &format!("{:7}  {name}: {}\n        ", rows.values().sum::<usize>(), why(name));
            rows.iter().for_each(|(row, count)| out += &format!(" {row} {count}"));
            out += "\n";
        }
        out
    }
}

/// Draws some of what is there. Who asks for a thousand gets all of it.
fn draws(request: &Request) -> bool {
    !request.iter().any(|word| word == b"1000")
}

/// TIME, or XADD with an id made of the time.
fn is_about_now(request: &Request) -> bool {
    request.len() == 1 || request.iter().any(|word| word == b"*")
}

fn is_unknown(request: &Request, theirs: &Reply) -> bool {
    // A name that nobody knows is answered alike.
    theirs.is_error_of("ERR unknown command") && super::stream::row_of(request).is_some()
}

impl How {
    fn fits(self, ours: &Reply, theirs: &Reply) -> bool {
        match self {
            How::Anything => return true,
            How::Errors(text) => {
                let says = |reply: &Reply| reply.is_error() && reply.error().contains(text);
                return says(ours) && says(theirs);
            }
            _ => {}
        }
        if ours.is_error() || theirs.is_error() {
            return false;
        }
        match self {
            How::Unordered => sorted(ours, 1).is_some_and(|ours| Some(ours) == sorted(theirs, 1)),
            How::Pairs => sorted(ours, 2).is_some_and(|ours| Some(ours) == sorted(theirs, 2)),
            How::Lines => lines(ours) == lines(theirs),
            How::Within(span) => within(&ours.0, &theirs.0, span),
            How::Bytes => bytes(ours).is_some_and(|ours| Some(ours) == bytes(theirs)),
            How::Length => ours.0.len() == theirs.0.len(),
            How::Shape => shape(&ours.0, &theirs.0),
            How::Errors(_) | How::Anything => true,
        }
    }
}

/// The type and the elements in groups of `size`, sorted.
fn sorted(reply: &Reply, size: usize) -> Option<(u8, Vec<Vec<&[u8]>>)> {
    // In a map a pair is an element already.
    let elements: Vec<&[u8]> = reply::elements(&reply.0)?.collect();
    let mut groups: Vec<Vec<&[u8]>> = elements.chunks(size).map(<[&[u8]]>::to_vec).collect();
    groups.sort();
    Some((reply.0[0], groups))
}

fn lines(reply: &Reply) -> Vec<&[u8]> {
    let mut lines: Vec<&[u8]> = reply.0.split(|byte| *byte == b'\n').collect();
    lines.sort_unstable();
    lines
}

/// A payload's bytes, sorted, without the version and checksum at its end.
fn bytes(reply: &Reply) -> Option<Vec<u8>> {
    const FOOTER: usize = 10;
    let payload = reply::payload(&reply.0)?;
    let mut bytes = payload[..payload.len().checked_sub(FOOTER)?].to_vec();
    bytes.sort_unstable();
    Some(bytes)
}

fn within(ours: &[u8], theirs: &[u8], span: i64) -> bool {
    if ours == theirs {
        return true;
    }
    match (reply::elements(ours), reply::elements(theirs)) {
        (Some(one), Some(other)) => {
            let (one, other): (Vec<_>, Vec<_>) = (one.collect(), other.collect());
            one.len() == other.len() && one.iter().zip(&other).all(|(one, other)| within(one, other, span))
        }
        _ => match (reply::integer(ours), reply::integer(theirs)) {
            (Some(one), Some(other)) => one >= 0 && other >= 0 && one.abs_diff(other) <= span.unsigned_abs(),
            _ => false,
        },
    }
}

fn shape(ours: &[u8], theirs: &[u8]) -> bool {
    let null = |bytes: &[u8]| bytes == b"$-1\r\n" || bytes == b"*-1\r\n";
    if ours.first() != theirs.first() || null(ours) != null(theirs) {
        return false;
    }
    match (reply::elements(ours), reply::elements(theirs)) {
        (Some(one), Some(other)) => {
            let (one, other): (Vec<_>, Vec<_>) = (one.collect(), other.collect());
            one.len() == other.len() && one.iter().zip(&other).all(|(one, other)| shape(one, other))
        }
        (None, None) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str) -> Reply {
        Reply(text.replace(' ', "\r\n").into_bytes())
    }

    #[test]
    fn rules_let_through_what_they_name_and_nothing_else() {
        for (how, ours, theirs, fits) in [
            (How::Unordered, "*2 :1 :2 ", "*2 :2 :1 ", true),
            (How::Unordered, "*2 :1 :1 ", "*2 :2 :1 ", false),
            (How::Unordered, "~2 :1 :2 ", "*2 :2 :1 ", false),
            (How::Pairs, "*4 :1 :2 :3 :4 ", "*4 :3 :4 :1 :2 ", true),
            (How::Pairs, "*4 :1 :2 :3 :4 ", "*4 :1 :4 :3 :2 ", false),
            (How::Pairs, "%2 :1 :2 :3 :4 ", "%2 :3 :4 :1 :2 ", true),
            (How::Within(5), ":10 ", ":15 ", true),
            (How::Within(5), ":10 ", ":16 ", false),
            (How::Within(5), ":-1 ", ":1 ", false),
            (How::Within(5), "*2 $1 a :1 ", "*2 $1 a :3 ", true),
            (How::Within(5), "*2 $1 a :1 ", "*2 $1 b :1 ", false),
            (How::Lines, "*2 *1 :1 *1 :2 ", "*2 *1 :2 *1 :1 ", true),
            (How::Lines, "*2 *1 :1 *1 :2 ", "*2 *1 :2 *1 :2 ", false),
            (How::Bytes, "$12 ab0123456789 ", "$12 ba0123456780 ", true),
            (How::Bytes, "$12 ab0123456789 ", "$12 aa0123456789 ", false),
            (How::Length, "$2 ab ", "$2 cd ", true),
            (How::Length, "$2 ab ", "$3 abc ", false),
            (How::Shape, "*2 $1 a :1 ", "*2 $2 bb :7 ", true),
            (How::Shape, "*2 $1 a :1 ", "*2 $-1 :7 ", false),
            (How::Shape, "-ERR ", "-ERR ", false),
        ] {
            assert_eq!(how.fits(&reply(ours), &reply(theirs)), fits, "{how:?}: {ours} and {theirs}");
        }
    }

    #[test]
    fn every_rule_speaks_of_commands_that_exist() {
        let names: Vec<&str> = super::super::stream::every_row().map(|spec| spec.name).collect();
        for rule in RULES {
            assert!(rule.rows.iter().all(|row| names.contains(row)), "{}: {:?}", rule.name, rule.rows);
        }
    }
}
