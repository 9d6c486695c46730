//! Requests that shards answer together by a rule of their own ([`crate::client::join`]): which of them
//! is asked what.
//!
//! Primaries only: a client sees one server, and a replica's slow log or cursor is none of its.

use super::router::Router;
use crate::admin::counters::Outcome;
use crate::backend::connection::{ClientKey, Request, Traits};
use crate::backend::lanes::Lane;
use crate::client::gather::Gather;
use crate::client::join::{Sequel, Special};
use crate::client::replies::Ticket;
use crate::pubsub::wire::Kind;
use crate::route::failure::FailureKind;
use crate::route::plan::Refusal;
use crate::route::scan::{Cursor, Window};
use crate::route::scan_fixed::{self, Step};
use pointsman_protocol::Slot;
use pointsman_protocol::command::{CommandSpec, ResponsePolicy};
use pointsman_protocol::resp::{Args, encode};
use pointsman_protocol::topology::ShardIndex;

/// Entries of SLOWLOG GET without a count.
const SLOWLOG_COUNT: usize = 10;
/// Keys of SCAN without COUNT.
const SCAN_COUNT: usize = 10;

const SYNTAX: &str = "ERR syntax error";
const NOT_INTEGER: &str = "ERR value is not an integer or out of range";
const CURSOR: &str = "ERR invalid cursor";

impl Router {
    /// Asks shards what a request wants to know of them. The client has nothing in flight.
    pub(super) fn ask_shards(&mut self, key: ClientKey, spec: &'static CommandSpec, args: Args<'_>) {
        if spec.name == "SCAN" && !self.division.is_cluster() {
            // It asks one shard, whatever the others do.
            return self.scan(key, Traits::of(spec), &[], args);
        }
        let Some(shards) = self.all_shards() else {
            return self.fail_at_once(key, FailureKind::SlotUnserved);
        };
        let traits = Traits::of(spec);
        let whole = |out: &mut Vec<u8>| encode::request_args(out, args);
        if needs_one_shard(spec, args) {
            if shards.len() > 1 {
                return self.refuse(key, args, &Refusal::OneShardOnly(spec, shards.len()));
            }
            return self.send_to_everyone(key, traits, ResponsePolicy::OneSucceeded, args);
        }
        let special = match spec.name {
            // Scripts that came with EVAL are known where they were run.
            "SCRIPT|SHOW" => return self.send_to_everyone(key, traits, ResponsePolicy::OneSucceeded, args),
            "TS.MGET" | "TS.MRANGE" | "TS.MREVRANGE" => Special::Series,
            "TS.QUERYINDEX" | "TS.QUERYLABELS" => Special::Union,
            "SCAN" => return self.scan(key, traits, &shards, args),
            "SWAPDB" => return self.send_to_everyone(key, traits, ResponsePolicy::AllSucceeded, args),
            "LASTSAVE" => return self.send_to_everyone(key, traits, ResponsePolicy::AggMin, args),
            "PUBSUB|NUMPAT" => {
                Special::Sum { less: self.context.audience.repeated_patterns(shards.len()), more: 0 }
            }
            "RANDOMKEY" => {
                let special = Special::RandomKey(self.jitter());
                let ask: [fn(&mut Vec<u8>); 2] =
                    [|out| encode::request(out, &["RANDOMKEY"]), |out| encode::request(out, &["DBSIZE"])];
                return self.ask_each(key, traits, special, &shards, false, &ask);
            }
            // What runs a script hears nothing more on the connection that brought the script.
            "SCRIPT|KILL" | "FUNCTION|KILL" => {
                return self.ask_each(key, traits, Special::Kill, &shards, true, &[whole]);
            }
            "FUNCTION|STATS" => {
                return self.ask_each(key, traits, Special::FunctionStats, &shards, true, &[whole]);
            }
            "SCRIPT|EXISTS" => {
                Special::Exists(args.iter().skip(2).map(|sha| self.knows_script(sha)).collect())
            }
            "PUBSUB|CHANNELS" | "PUBSUB|SHARDCHANNELS" => Special::Union,
            "PUBSUB|NUMSUB" | "PUBSUB|SHARDNUMSUB" => {
                let kind = if spec.name == "PUBSUB|NUMSUB" { Kind::Channel } else { Kind::Shard };
                let correction = |name| self.context.audience.correction(kind, name, shards.len());
                Special::SumByName(args.iter().skip(2).map(correction).collect())
            }
            "COMMANDLOG|GET" => Special::Slowlog(match number(args.at(2)) {
                Some(count) => usize::try_from(count).unwrap_or(usize::MAX),
                None => usize::MAX,
            }),
            "SLOWLOG|GET" => Special::Slowlog(match args.get(2).map(number) {
                None => SLOWLOG_COUNT,
                // All of them. What is no count, the shards refuse.
                Some(count) => count.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX),
            }),
            "LATENCY|LATEST" => Special::LatencyLatest,
            "LATENCY|HISTORY" => Special::LatencyHistory,
            "LATENCY|HISTOGRAM" => Special::LatencyHistogram,
            "MEMORY|STATS" => Special::MemoryStats,
            _ => Special::Report,
        };
        self.ask_each(key, traits, special, &shards, false, &[whole]);
    }

    /// One step of SCAN.
    fn scan(&mut self, key: ClientKey, traits: Traits, serving: &[ShardIndex], args: Args<'_>) {
        let options = match ScanOptions::read(args) {
            Ok(options) => options,
            Err(text) => return self.answer(key, Outcome::Error, |out| encode::error(out, text)),
        };
        if !self.division.is_cluster() {
            return self.scan_fixed(key, traits, options.cursor, args);
        }
        let shards = serving.len() as u32;
        let snapshot = self.snapshot.clone();
        let refuse =
            |router: &mut Router| router.answer(key, Outcome::Error, |out| encode::error(out, CURSOR));
        match Cursor::decode(options.cursor, snapshot.scan_tag(), shards) {
            None => refuse(self),
            Some(Cursor::Node { tag, shard, cursor }) => {
                let Some(asked) = serving.get(shard as usize) else { return refuse(self) };
                let special = Special::ScanNode { tag, shard, shards };
                // With a slot it is tried again like any read, on whoever owns that slot then: the
                // keys found are true in any case, and the cursor carries the map it began with.
                let slot = snapshot.topology.slot_ranges(*asked).first().and_then(|range| Slot::new(range.0));
                self.ask_parts(key, special, &[(*asked, slot)], traits, false, 1, |out, _| {
                    scan_at(args, cursor, out);
                });
            }
            Some(Cursor::Check { .. }) => {
                let owned = serving.iter().map(|shard| snapshot.topology.slot_ranges(*shard)).collect();
                let special = Special::ScanCheck { owned, epoch: snapshot.topology.epoch().0 };
                let ask: [fn(&mut Vec<u8>); 1] = [|out| encode::request(out, &["CLUSTER", "NODES"])];
                self.ask_each(key, traits, special, serving, false, &ask);
            }
            Some(Cursor::Slots(window)) => self.scan_slots(key, traits, serving, window, options),
        }
    }

    /// One step of SCAN where keys never leave their shard.
    fn scan_fixed(&mut self, key: ClientKey, traits: Traits, number: u64, args: Args<'_>) {
        let snapshot = self.snapshot.clone();
        let topology = &snapshot.topology;
        let homes = self.division.homes();
        let shards = homes.len() as u32;
        let tag = |shard: u32| {
            let owner = homes.get(shard as usize).and_then(|home| topology.owner(*home));
            scan_fixed::tag(owner.map(|owner| topology.node(topology.shard(owner).primary)))
        };
        let (shard, cursor) = match scan_fixed::decode(number, shards, tag) {
            None => return self.answer(key, Outcome::Error, |out| encode::error(out, CURSOR)),
            Some(Step::Done) => return self.answer(key, Outcome::Ok, scan_fixed::write_end),
            Some(Step::Ask { shard, cursor }) => (shard, cursor),
        };
        let home = homes.get(shard as usize).copied();
        let Some((home, owner)) = home.and_then(|home| Some((home, topology.owner(home)?))) else {
            return self.fail_at_once(key, FailureKind::SlotUnserved);
        };
        let special = Special::ScanFixed { tag: tag(shard), shard, shards, from_start: cursor == 0 };
        // With a slot it is tried again like any read, on whoever is the primary then; see `scan_fixed`.
        self.ask_parts(key, special, &[(owner, Some(home))], traits, false, 1, |out, _| {
            scan_at(args, cursor, out);
        });
    }

    fn scan_slots(
        &mut self,
        key: ClientKey,
        traits: Traits,
        serving: &[ShardIndex],
        window: Window,
        options: ScanOptions,
    ) {
        if window == Window::START {
            // Whatever moved, the next iteration should know of it.
            self.context.snapshots.request_refresh("scan");
        }
        let window = window.limited(self.context.queue.inflight_max);
        let ScanOptions { count, pattern, kind, .. } = options;
        let special = Special::ScanSlots { window, count, pattern, kind };
        let asked: Vec<_> = serving.iter().map(|shard| (*shard, None)).collect();
        let slots = window.slots();
        self.ask_parts(key, special, &asked, traits, false, slots.len(), |out, nth| {
            let slot = (usize::from(slots.start) + nth).to_string();
            // All keys of a slot, however many, so that none is left for a call that does not come.
            encode::request(out, &["CLUSTER", "GETKEYSINSLOT", &slot, "2147483647"]);
        });
    }

    /// Asks what is still missing for an answer. The ticket is open.
    #[cold]
    pub(super) fn ask_on(&mut self, request: &Request, sequel: Sequel) {
        let (key, ticket) = (request.client, request.ticket);
        if self.client_mut(key).is_some_and(|client| client.detour.is_some()) {
            self.detour_settled(key, request.slot, request.traits.detour);
        }
        match sequel {
            Sequel::Types(keys) => self.ask_types(key, ticket, &keys),
            Sequel::Store(store) => self.store(key, ticket, &store),
        }
    }

    /// The types of keys that SCAN found, each where it is now.
    fn ask_types(&mut self, key: ClientKey, ticket: Ticket, keys: &[Vec<u8>]) {
        // Never a replica: one that lags may not have the key yet, and it would be lost.
        let traits = Traits { primary: true, ..Traits::default() };
        for (part, name) in keys.iter().enumerate() {
            let slot = self.division.slot(name);
            let request = self.part(key, ticket, part as u32, Some(slot), traits);
            self.send(request, slot, |out| encode::request(out, &[b"TYPE", name.as_slice()]));
        }
    }

    /// Asks each shard the same questions.
    fn ask_each(
        &mut self,
        key: ClientKey,
        traits: Traits,
        special: Special,
        shards: &[ShardIndex],
        aside: bool,
        questions: &[impl Fn(&mut Vec<u8>)],
    ) {
        let asked: Vec<_> = shards.iter().map(|shard| (*shard, None)).collect();
        self.ask_parts(key, special, &asked, traits, aside, questions.len(), |out, nth| {
            if let Some(question) = questions.get(nth) {
                question(out);
            }
        });
    }

    /// Asks each of these shards `count` questions; parts are numbered shard by shard. `aside`: on
    /// connections of their own, which carry no scripts.
    #[allow(clippy::too_many_arguments)]
    fn ask_parts(
        &mut self,
        key: ClientKey,
        special: Special,
        asked: &[(ShardIndex, Option<Slot>)],
        traits: Traits,
        aside: bool,
        count: usize,
        write: impl Fn(&mut Vec<u8>, usize),
    ) {
        let parts = (asked.len() * count) as u32;
        let Some(client) = self.client_mut(key) else { return };
        // What is asked aside concerns the node, not a database.
        let (resp3, database) = (client.resp3, if aside { 0 } else { client.database });
        let ticket = client.replies.open_gather(Gather::special(special, parts));
        client.in_flight += parts;
        client.writes_in_flight += if traits.write { parts } else { 0 };
        for (place, (shard, slot)) in asked.iter().enumerate() {
            let node = self.snapshot.topology.shard(*shard).primary;
            for nth in 0..count {
                let request: Request = self.part(key, ticket, (place * count + nth) as u32, *slot, traits);
                // Looked up for each: one that cannot be queued may change what there is.
                let index = if aside { Lane::ASIDE } else { 0 };
                let id = self.connection_of(node, Lane { resp3, readonly: false, database, index });
                self.enqueue(id, request, |out| write(out, nth));
            }
        }
    }
}

/// True for what only the single shard of a backend can answer. A search index holds the keys of its own
/// node, and whether a node also asks the others is not to be told from here: with several shards the
/// answer could lack most of the documents and look whole. The same of series that are reduced to one, and
/// of a command without keys of which no more is known than that a server has it.
fn needs_one_shard(spec: &CommandSpec, args: Args<'_>) -> bool {
    let reduces = || args.iter().any(|word| word.eq_ignore_ascii_case(b"GROUPBY"));
    spec.is_announced()
        || spec.name.starts_with("FT.")
        || (matches!(spec.name, "TS.MRANGE" | "TS.MREVRANGE") && reduces())
}

/// What a SCAN says.
#[derive(Debug, PartialEq, Eq)]
struct ScanOptions {
    cursor: u64,
    count: usize,
    pattern: Option<Vec<u8>>,
    kind: Option<Vec<u8>>,
}

impl ScanOptions {
    /// Reads them; an error is told in Redis' words.
    fn read(args: Args<'_>) -> Result<ScanOptions, &'static str> {
        let cursor = std::str::from_utf8(args.at(1)).ok().and_then(|text| text.parse().ok()).ok_or(CURSOR)?;
        let mut options = ScanOptions { cursor, count: SCAN_COUNT, pattern: None, kind: None };
        let mut at = 2;
        while let Some(word) = args.get(at) {
            let value = args.get(at + 1).ok_or(SYNTAX)?;
            if word.eq_ignore_ascii_case(b"COUNT") {
                let count = number(value).ok_or(NOT_INTEGER)?;
                options.count = usize::try_from(count).ok().filter(|count| *count > 0).ok_or(SYNTAX)?;
            } else if word.eq_ignore_ascii_case(b"MATCH") {
                options.pattern = Some(value.to_vec());
            } else if word.eq_ignore_ascii_case(b"TYPE") {
                options.kind = Some(value.to_vec());
            } else {
                return Err(SYNTAX);
            }
            at += 2;
        }
        Ok(options)
    }
}

/// A client's SCAN with a node's own cursor in it.
fn scan_at(args: Args<'_>, cursor: u64, out: &mut Vec<u8>) {
    encode::array_head(out, args.len());
    encode::bulk(out, args.at(0));
    encode::bulk(out, cursor.to_string().as_bytes());
    args.iter().skip(2).for_each(|word| encode::bulk(out, word));
}

fn number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_protocol::resp::args::OwnedArgs;

    // T69, T42: what a node would refuse is refused in its words, whichever way the step goes.
    #[test]
    fn t69_options() {
        let read = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            ScanOptions::read(OwnedArgs::new(&words).args())
        };
        let plain = ScanOptions { cursor: 0, count: 10, pattern: None, kind: None };
        assert_eq!(read("SCAN 0"), Ok(plain));
        let full =
            ScanOptions { cursor: 12, count: 7, pattern: Some(b"a*".to_vec()), kind: Some(b"set".to_vec()) };
        assert_eq!(read("scan 12 match a* Count 7 type set"), Ok(full));
        for (line, text) in [
            ("SCAN x", CURSOR),
            ("SCAN 18446744073709551616", CURSOR),
            ("SCAN 0 COUNT", SYNTAX),
            ("SCAN 0 COUNT 0", SYNTAX),
            ("SCAN 0 COUNT x", NOT_INTEGER),
            ("SCAN 0 MATCH", SYNTAX),
            ("SCAN 0 FOO", SYNTAX),
            ("SCAN 0 FOO 1", SYNTAX),
            ("SCAN 0 NOVALUES", SYNTAX),
        ] {
            assert_eq!(read(line), Err(text), "{line}");
        }
    }
}
