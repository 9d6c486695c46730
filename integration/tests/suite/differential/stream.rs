//! Which requests come, and in what order: half of them each command as often as any other, half the
//! everyday writes that give the rest something to find; some of them bent out of shape.

use super::grammar::{Line, Mark};
use super::words::{Places, Request, Words};
use super::{
    lines_collections, lines_connection, lines_keyspace, lines_scripts, lines_sorted, lines_strings,
};
use pointsman_integration::Random;
use pointsman_protocol::command::{self, CommandSpec};
use pointsman_protocol::resp::args::OwnedArgs;
use std::collections::BTreeMap;

/// Lines that fill the keys.
const FILLING: &[&str] = &[
    "SET <s> <v>",
    "SET <n> <i>",
    "MSET {<K> <v>}",
    "HSET <h> {<m> <v>}",
    "RPUSH <l> {<m>} {<m>}",
    "SADD <S> {<m>} {<m>}",
    "SADD <S> {<i>}",
    "ZADD <z> {<score> <m>} {<score> <m>}",
    "!ZADD <Z> {0 <m>} {0 <m>}",
    "XADD <x> <xid> <m> <v>",
    "XGROUP CREATE <x> g1 0 MKSTREAM",
    "XREADGROUP GROUP g1 c1 COUNT 3 STREAMS <x> >",
    "GEOADD <g> {<lonlat> <place>} {<lonlat> <place>}",
    "PFADD <p> {<m>} {<m>}",
    "SETBIT <b> <off> 1",
    "EXPIRE <k> <ttl>",
    "GET <s>",
    "MGET {<s>} {<K>}",
    "INCR <n>",
    "APPEND <s> <v>",
];

/// Requests that belong together, and how they are to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// See [`Mark`].
    pub mark: Mark,
    /// In this order.
    pub requests: Vec<Request>,
}

/// Draws units.
#[derive(Debug)]
pub struct Stream {
    /// By the name of the row that the line is for.
    rows: BTreeMap<&'static str, Vec<Line>>,
    names: Vec<&'static str>,
    filling: Vec<Line>,
    clearing: Vec<Line>,
    /// What may stand in a transaction.
    data: Vec<Line>,
    /// Transactions may have watched keys.
    watches: bool,
    /// Some are bent out of shape.
    bends: bool,
}

impl Stream {
    /// Everything that is described. A row without a line of its own gets one from its key places;
    /// `skip` says for which rows nothing is to be drawn.
    pub fn everything(skip: impl Fn(&str) -> bool) -> Stream {
        let mut rows: BTreeMap<&'static str, Vec<Line>> = BTreeMap::new();
        let families =
            [lines_strings::LINES, lines_keyspace::LINES, lines_collections::LINES, lines_sorted::LINES];
        for text in
            families.iter().copied().flatten().chain(lines_scripts::LINES).chain(lines_connection::LINES)
        {
            rows.entry(row_of_line(text)).or_default().push(Line::parse(text));
        }
        for text in lines_keyspace::CLEARING {
            rows.entry(row_of_line(text)).or_default();
        }
        for spec in every_row() {
            if !skip(spec.name) {
                rows.entry(spec.name).or_insert_with(|| vec![Line::parse(&plain_line(spec))]);
            }
        }
        rows.retain(|name, lines| !skip(name) && !lines.is_empty());
        Stream {
            names: rows.keys().copied().collect(),
            rows,
            filling: lines(FILLING),
            clearing: lines(lines_keyspace::CLEARING),
            data: families.iter().flat_map(|family| lines(family)).collect(),
            watches: true,
            bends: true,
        }
    }

    /// Only lines on keys that `keep` lets through. Nothing is watched: that would end with every slot that
    /// moves, as it should.
    pub fn on_keys(keep: impl Fn(&str) -> bool) -> Stream {
        let mut stream = Stream::everything(|_| true);
        let families = [lines_strings::LINES, lines_collections::LINES, lines_sorted::LINES];
        for text in families.iter().copied().flatten().chain(lines_keyspace::LINES).filter(|text| keep(text))
        {
            stream.rows.entry(row_of_line(text)).or_default().push(Line::parse(text));
        }
        stream.names = stream.rows.keys().copied().collect();
        stream.clearing.clear();
        stream.watches = false;
        // A word in the place of a key would be a key that others may use, too.
        stream.bends = false;
        stream.data = stream.rows.values().flatten().cloned().collect();
        stream
    }

    /// The next unit.
    pub fn draw(&self, words: &mut Words<'_>) -> Unit {
        let together = if words.random.once_in(4) { Places::Anywhere } else { Places::Together };
        match words.random.below(1000) {
            0 if !self.clearing.is_empty() => {
                words.begin(Places::Together);
                let at = words.random.below(self.clearing.len());
                self.finish(&self.clearing[at], words)
            }
            1..=30 => self.transaction(words),
            31..=450 => {
                words.begin(together);
                let at = words.random.below(self.filling.len());
                self.finish(&self.filling[at], words)
            }
            _ => {
                words.begin(together);
                let name = self.names[words.random.below(self.names.len())];
                let lines = &self.rows[name];
                let at = words.random.below(lines.len());
                self.finish(&lines[at], words)
            }
        }
    }

    fn finish(&self, line: &Line, words: &mut Words<'_>) -> Unit {
        let mut requests = line.draw(words);
        if self.bends && line.mark == Mark::Plain && words.random.once_in(12) {
            requests.iter_mut().for_each(|request| bend(words.random, request));
        }
        if words.random.once_in(10) {
            // Names are the same in any case.
            requests.iter_mut().for_each(|request| request[0].make_ascii_lowercase());
        }
        Unit { mark: line.mark, requests }
    }

    /// A whole transaction, mostly carried out, sometimes on watched keys.
    fn transaction(&self, words: &mut Words<'_>) -> Unit {
        words.begin(Places::OneSlot);
        let mut requests: Vec<Request> = Vec::new();
        if self.watches && words.random.once_in(4) {
            requests.push(Line::parse("WATCH {<k>}").draw(words).remove(0));
        }
        requests.push(vec![b"MULTI".to_vec()]);
        for _ in 0..words.random.below(7) {
            let at = words.random.below(self.data.len());
            let line = &self.data[at];
            if line.mark != Mark::Plain {
                continue;
            }
            let drawn = line.draw(words).remove(0);
            if row_of(&drawn).is_some_and(|spec| !spec.keys.is_empty()) {
                requests.push(drawn);
            }
        }
        if words.random.once_in(3) {
            requests.push(Line::parse("(PING|ECHO x|TYPE <k>|EVAL 'return 1' 0)").draw(words).remove(0));
        }
        requests.push(vec![if words.random.once_in(10) { b"DISCARD".to_vec() } else { b"EXEC".to_vec() }]);
        Unit { mark: Mark::Fixed, requests }
    }
}

fn lines(texts: &[&str]) -> Vec<Line> {
    texts.iter().map(|text| Line::parse(text)).collect()
}

/// Takes a word away, adds one, doubles one or replaces one.
fn bend(random: &mut Random, request: &mut Request) {
    let at = random.below(request.len());
    match random.below(5) {
        0 if request.len() > 1 => {
            request.pop();
        }
        1 if request.len() > 1 => {
            request.remove(1 + random.below(request.len() - 1));
        }
        2 => request.push(random.word(&["x", "", "1", "EX", "WITHSCORES", "\r\n"]).into()),
        3 => request.insert(at.max(1).min(request.len()), request[at].clone()),
        // Nothing that could be a short time, or a long wait.
        _ if at > 0 => request[at] = random.word(&["x", "", "-1", "\u{0}", "COUNT"]).into(),
        _ => {}
    }
}

/// All rows, subcommands included.
pub fn every_row() -> impl Iterator<Item = &'static CommandSpec> {
    command::all().iter().flat_map(|spec| std::iter::once(spec).chain(spec.subcommands))
}

/// The row of a request, be its arguments right or wrong.
pub fn row_of(request: &[Vec<u8>]) -> Option<&'static CommandSpec> {
    let owned = OwnedArgs::new(request);
    command::lookup_args(owned.args()).or_else(|| command::lookup(request.first()?))
}

/// The row that a line is for: its first words tell.
fn row_of_line(text: &str) -> &'static str {
    let words: Vec<Vec<u8>> =
        text.trim_start_matches(['!', '~', '@']).split(' ').map(|word| word.as_bytes().to_vec()).collect();
    row_of(&words).map_or("nosuch", |spec| spec.name)
}

/// Its name and as many words as it wants at least, all of them keys of one slot.
fn plain_line(spec: &CommandSpec) -> String {
    let name = spec.name.replace('|', " ");
    let words = usize::from(spec.arity.unsigned_abs()).saturating_sub(name.split(' ').count());
    format!("!{name}{}", " <k>".repeat(words.min(1)) + &" <.>".repeat(words.saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn every_row_is_drawn_and_equal_seeds_draw_equal_streams() {
        let stream = Stream::everything(|_| false);
        let draw = || {
            let mut random = Random::new(7);
            let mut words = Words::new(&mut random, "");
            (0..20_000).map(|_| stream.draw(&mut words)).collect::<Vec<Unit>>()
        };
        let drawn = draw();
        assert_eq!(drawn, draw());
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for request in drawn.iter().flat_map(|unit| &unit.requests) {
            *counts.entry(row_of(request).map_or("nosuch", |spec| spec.name)).or_default() += 1;
        }
        let missing: Vec<&str> =
            every_row().map(|spec| spec.name).filter(|name| !counts.contains_key(name)).collect();
        assert!(missing.is_empty(), "not one of {missing:?}");
    }
}
