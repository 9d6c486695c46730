//! The joining of what shards tell of themselves: pure functions from whole replies, one a shard, to
//! the reply that a single server of their size would give. `None` where a reply has not the form it
//! should have.

use pointsman_protocol::resp::{encode, reply};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// RANDOMKEY, DBSIZE, RANDOMKEY, DBSIZE ...: a shard's key by its share of all keys. A shard whose keys
/// have all expired answers nil however many it counts, so that its share is nothing.
pub fn random_key<'a>(replies: &[&'a [u8]], random: u32) -> Option<&'a [u8]> {
    let mut shares = Vec::new();
    for pair in replies.chunks_exact(2) {
        let size = u64::try_from(reply::integer(pair[1])?).ok()?;
        if reply::payload(pair[0]).is_some() {
            shares.push((pair[0], size.max(1)));
        }
    }
    let total: u64 = shares.iter().map(|(_, size)| size).fold(0, |sum, size| sum.saturating_add(*size));
    let mut place = ((u128::from(random) * u128::from(total)) >> 32) as u64;
    for (key, size) in &shares {
        if place < *size {
            return Some(key);
        }
        place -= size;
    }
    // No shard has a key: any nil says so.
    replies.first().copied()
}

/// OK if one shard did it; else what keeps a script from being ended, if that is somewhere the reason;
/// else that nothing runs.
pub fn kill<'a>(replies: &[&'a [u8]]) -> Option<&'a [u8]> {
    let ok = replies.iter().find(|bytes| !bytes.starts_with(b"-"));
    let graver = || replies.iter().find(|bytes| !bytes.starts_with(b"-NOTBUSY"));
    ok.or_else(graver).or(replies.first()).copied()
}

/// The first shard's that runs a function, or else the first's: the libraries are everywhere the same.
pub fn function_stats<'a>(replies: &[&'a [u8]]) -> Option<&'a [u8]> {
    let runs = |bytes: &&&[u8]| {
        let mut fields = reply::elements(bytes)?;
        let running = fields.by_ref().nth(1)?;
        reply::elements(running).is_some_and(|mut fields| fields.next().is_some()).then_some(())
    };
    replies.iter().find(|bytes| runs(bytes).is_some()).or(replies.first()).copied()
}

/// Arrays of 0 and 1: 1 where all have 1, or `known` has.
pub fn exists(replies: &[&[u8]], known: &[bool], out: &mut Vec<u8>) -> Option<()> {
    let mut all: Option<Vec<bool>> = None;
    for bytes in replies {
        let told: Vec<bool> = reply::elements(bytes)?
            .map(|element| reply::integer(element).map(|number| number != 0))
            .collect::<Option<_>>()?;
        match &mut all {
            None => all = Some(told),
            Some(all) if all.len() == told.len() => {
                all.iter_mut().zip(told).for_each(|(all, told)| *all &= told);
            }
            Some(_) => return None,
        }
    }
    let mut all = all?;
    all.iter_mut().zip(known).for_each(|(all, known)| *all |= known);
    encode::array_head(out, all.len());
    all.iter().for_each(|there| encode::integer(out, i64::from(*there)));
    Some(())
}

/// Arrays, or sets, whose elements are told once each.
pub fn union(replies: &[&[u8]], out: &mut Vec<u8>) -> Option<()> {
    let (mut seen, mut all) = (HashSet::new(), Vec::new());
    for bytes in replies {
        all.extend(reply::elements(bytes)?.filter(|element| seen.insert(*element)));
    }
    if replies.first()?.starts_with(b"~") {
        out.extend_from_slice(format!("~{}\r\n", all.len()).as_bytes());
    } else {
        encode::array_head(out, all.len());
    }
    all.iter().for_each(|element| out.extend_from_slice(element));
    Some(())
}

/// `[[key, ...], ...]`, or in RESP3 a map by key: each key once. Nodes that answer for one another as well
/// as those that know only their own give the same.
pub fn series(replies: &[&[u8]], out: &mut Vec<u8>) -> Option<()> {
    let (mut seen, mut all) = (HashSet::new(), Vec::new());
    let maps = replies.first()?.starts_with(b"%");
    for bytes in replies {
        if bytes.starts_with(b"%") != maps {
            return None;
        }
        let elements: Vec<&[u8]> = reply::elements(bytes)?.collect();
        for one in elements.chunks(if maps { 2 } else { 1 }) {
            let key = if maps { one[0] } else { reply::elements(one[0])?.next()? };
            if seen.insert(key) {
                all.push(one.concat());
            }
        }
    }
    if maps {
        encode::map_head(out, all.len(), true);
    } else {
        encode::array_head(out, all.len());
    }
    all.iter().for_each(|one| out.extend_from_slice(one));
    Some(())
}

/// Arrays of as many numbers each: of every place the smallest.
pub fn least_of_each(replies: &[&[u8]], out: &mut Vec<u8>) -> Option<()> {
    let mut least: Option<Vec<i64>> = None;
    for bytes in replies {
        let told: Vec<i64> = reply::elements(bytes)?.map(reply::integer).collect::<Option<_>>()?;
        match &mut least {
            None => least = Some(told),
            Some(least) if least.len() == told.len() => {
                least.iter_mut().zip(told).for_each(|(least, told)| *least = told.min(*least));
            }
            Some(_) => return None,
        }
    }
    let least = least?;
    encode::array_head(out, least.len());
    least.iter().for_each(|number| encode::integer(out, *number));
    Some(())
}

/// `name number name number ...`, the same names everywhere: the sums, each corrected by what is given for its place.
pub fn sum_by_name(replies: &[&[u8]], corrections: &[i64], out: &mut Vec<u8>) -> Option<()> {
    let mut sums: Option<Vec<(&[u8], i64)>> = None;
    for bytes in replies {
        let elements: Vec<&[u8]> = reply::elements(bytes)?.collect();
        let told: Vec<(&[u8], i64)> = elements
            .chunks_exact(2)
            .map(|pair| Some((pair[0], reply::integer(pair[1])?)))
            .collect::<Option<_>>()?;
        match &mut sums {
            None => sums = Some(told),
            Some(sums) if sums.len() == told.len() => {
                sums.iter_mut().zip(told).for_each(|(sum, told)| sum.1 = sum.1.saturating_add(told.1));
            }
            Some(_) => return None,
        }
    }
    let sums = sums?;
    encode::array_head(out, 2 * sums.len());
    for (place, (name, sum)) in sums.into_iter().enumerate() {
        out.extend_from_slice(name);
        let correction = corrections.get(place).copied().unwrap_or(0);
        encode::integer(out, sum.saturating_add(correction).max(0));
    }
    Some(())
}

/// The entries of all shards, the latest first, at most `count`. Their ids stay those of the shards.
pub fn slowlog(replies: &[&[u8]], count: usize, out: &mut Vec<u8>) -> Option<()> {
    let mut entries = Vec::new();
    for bytes in replies {
        for entry in reply::elements(bytes)? {
            entries.push((reply::integer(reply::elements(entry)?.nth(1)?)?, entry));
        }
    }
    // Stable: within one second a shard's own order stays.
    entries.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
    entries.truncate(count);
    encode::array_head(out, entries.len());
    entries.iter().for_each(|(_, entry)| out.extend_from_slice(entry));
    Some(())
}

/// `[event, time of the latest, the latest, the longest]`, an event once.
pub fn latency_latest(replies: &[&[u8]], out: &mut Vec<u8>) -> Option<()> {
    let mut events: Vec<(&[u8], i64, i64, i64)> = Vec::new();
    for bytes in replies {
        for event in reply::elements(bytes)? {
            let mut fields = reply::elements(event)?;
            let name = fields.next()?;
            let mut number = || reply::integer(fields.next()?);
            let (time, latest, longest) = (number()?, number()?, number()?);
            match events.iter_mut().find(|(known, ..)| *known == name) {
                None => events.push((name, time, latest, longest)),
                Some(known) => {
                    if time > known.1 {
                        (known.1, known.2) = (time, latest);
                    }
                    known.3 = known.3.max(longest);
                }
            }
        }
    }
    encode::array_head(out, events.len());
    for (name, time, latest, longest) in events {
        encode::array_head(out, 4);
        out.extend_from_slice(name);
        [time, latest, longest].into_iter().for_each(|number| encode::integer(out, number));
    }
    Some(())
}

/// `[time, latency]`, in the order of time.
pub fn latency_history(replies: &[&[u8]], out: &mut Vec<u8>) -> Option<()> {
    let mut samples = Vec::new();
    for bytes in replies {
        for sample in reply::elements(bytes)? {
            samples.push((reply::integer(reply::elements(sample)?.next()?)?, sample));
        }
    }
    samples.sort_by_key(|(time, _)| *time);
    encode::array_head(out, samples.len());
    samples.iter().for_each(|(_, sample)| out.extend_from_slice(sample));
    Some(())
}

/// A command's calls, and how many of them took at most so many microseconds.
#[derive(Default)]
struct Histogram {
    calls: i64,
    /// One list a shard: `(microseconds, calls up to there)`, growing.
    shards: Vec<Vec<(i64, i64)>>,
}

/// `command [calls n histogram_usec [microseconds n ...]] ...`: by command, the sums. A shard lists a
/// bucket only where its count grows, so that what it last listed counts for those behind.
pub fn latency_histogram(replies: &[&[u8]], out: &mut Vec<u8>) -> Option<()> {
    let mut commands: BTreeMap<&[u8], Histogram> = BTreeMap::new();
    let resp3 = replies.first()?.starts_with(b"%");
    for bytes in replies {
        let told: Vec<&[u8]> = reply::elements(bytes)?.collect();
        for pair in told.chunks_exact(2) {
            let fields: Vec<&[u8]> = reply::elements(pair[1])?.collect();
            let [_, calls, _, buckets] = fields[..] else { return None };
            let numbers: Vec<i64> = reply::elements(buckets)?.map(reply::integer).collect::<Option<_>>()?;
            let histogram = commands.entry(pair[0]).or_default();
            histogram.calls = histogram.calls.saturating_add(reply::integer(calls)?);
            histogram.shards.push(numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect());
        }
    }
    encode::map_head(out, commands.len(), resp3);
    for (name, Histogram { calls, shards }) in commands {
        out.extend_from_slice(name);
        encode::map_head(out, 2, resp3);
        encode::bulk(out, b"calls");
        encode::integer(out, calls);
        encode::bulk(out, b"histogram_usec");
        let buckets: BTreeSet<i64> = shards.iter().flatten().map(|(bucket, _)| *bucket).collect();
        encode::map_head(out, buckets.len(), resp3);
        for bucket in buckets {
            let up_to = |shard: &Vec<(i64, i64)>| {
                shard.iter().take_while(|(other, _)| *other <= bucket).last().map_or(0, |(_, count)| *count)
            };
            encode::integer(out, bucket);
            encode::integer(out, shards.iter().map(up_to).fold(0, i64::saturating_add));
        }
    }
    Some(())
}

/// Names with values: whole numbers are added up, but for what is a mean already; means and shares are
/// averaged; anything else is the first shard's. A field that some shards do not have is left out where
/// the first has it not.
pub fn memory_stats(replies: &[&[u8]], out: &mut Vec<u8>) -> Option<()> {
    merge_stats(replies, 1, out)
}

/// `levels`: how deep maps may lie in each other; they come from a peer.
fn merge_stats(replies: &[&[u8]], levels: u8, out: &mut Vec<u8>) -> Option<()> {
    let first = replies.first()?;
    let shards: Vec<Vec<&[u8]>> =
        replies.iter().map(|bytes| Some(reply::elements(bytes)?.collect())).collect::<Option<_>>()?;
    let fields = shards.first()?;
    encode::map_head(out, fields.len() / 2, first.starts_with(b"%"));
    for pair in fields.chunks_exact(2) {
        let (name, own) = (pair[0], pair[1]);
        let values: Vec<&[u8]> = shards
            .iter()
            .filter_map(|fields| fields.chunks_exact(2).find(|other| other[0] == name).map(|other| other[1]))
            .collect();
        out.extend_from_slice(name);
        if reply::elements(own).is_some() {
            merge_stats(&values, levels.checked_sub(1)?, out)?;
            continue;
        }
        let numbers: Option<Vec<i64>> = values.iter().map(|value| reply::integer(value)).collect();
        if let Some(numbers) = numbers {
            let sum = numbers.iter().fold(0i64, |sum, number| sum.saturating_add(*number));
            let is_mean = reply::payload(name) == Some(b"keys.bytes-per-key");
            encode::integer(out, if is_mean { sum / numbers.len().max(1) as i64 } else { sum });
            continue;
        }
        let mean = values
            .iter()
            .map(|value| std::str::from_utf8(reply::payload(value)?).ok()?.parse::<f64>().ok())
            .collect::<Option<Vec<f64>>>()
            .map(|values| values.iter().sum::<f64>() / values.len().max(1) as f64);
        match (mean, own.first()) {
            (Some(mean), Some(b',')) => out.extend_from_slice(format!(",{mean}\r\n").as_bytes()),
            (Some(mean), _) => encode::bulk(out, mean.to_string().as_bytes()),
            (None, _) => out.extend_from_slice(own),
        }
    }
    Some(())
}

/// Texts for people: one where all say the same, else each under its shard's number. An error counts
/// only where there is nothing else.
pub fn report(replies: &[&[u8]], out: &mut Vec<u8>) -> Option<()> {
    let told: Vec<(usize, &[u8])> = replies
        .iter()
        .enumerate()
        .filter(|(_, bytes)| !bytes.starts_with(b"-"))
        .map(|(shard, bytes)| Some((shard, reply::payload(bytes)?)))
        .collect::<Option<_>>()?;
    let Some((_, first)) = told.first() else {
        out.extend_from_slice(replies.first()?);
        return Some(());
    };
    let mut text = Vec::new();
    if told.iter().all(|(_, other)| other == first) {
        text.extend_from_slice(first);
    } else {
        for (shard, part) in told {
            text.extend_from_slice(format!("# shard {}\n", shard + 1).as_bytes());
            text.extend_from_slice(part);
            if !part.ends_with(b"\n") {
                text.push(b'\n');
            }
        }
    }
    if replies.iter().any(|bytes| bytes.starts_with(b"=")) {
        out.extend_from_slice(format!("={}\r\ntxt:", text.len() + 4).as_bytes());
        out.extend_from_slice(&text);
        out.extend_from_slice(b"\r\n");
    } else {
        encode::bulk(out, &text);
    }
    Some(())
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
