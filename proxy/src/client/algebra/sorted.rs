//! Union, intersection and difference of sorted sets, with Redis' rules for scores and order.
//!
//! Sources are taken by their size, the smallest first, as Redis does: floating-point sums depend on
//! the order. What is not a number (infinity less infinity, zero times infinity) counts as zero.

use super::double;
use super::{Op, SYNTAX};
use pointsman_protocol::resp::{Args, encode, reply};
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

/// How scores of one member become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregate {
    /// Their sum.
    Sum,
    /// The smallest.
    Min,
    /// The largest.
    Max,
}

/// What stands behind the keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    weights: Vec<f64>,
    aggregate: Aggregate,
    /// The reply has the scores.
    pub with_scores: bool,
}

/// A member with its score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored<'a> {
    /// The member.
    pub member: &'a [u8],
    /// Its score, never NaN.
    pub score: f64,
    /// The score as a node wrote it, if it is the same number.
    text: Option<&'a [u8]>,
}

/// How a node writes a number that is not an integer: versions differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As short as it can be read back (since Redis 7.2).
    Shortest,
    /// With seventeen digits (before).
    Seventeen,
}

impl Options {
    /// Those of a request that says nothing, with so many keys.
    pub fn none(keys: usize) -> Options {
        Options { weights: vec![1.0; keys], aggregate: Aggregate::Sum, with_scores: false }
    }

    /// Reads those from `at` on. `weighs`: WEIGHTS and AGGREGATE are allowed; `lists`: WITHSCORES is.
    pub(super) fn read(
        &mut self,
        args: Args<'_>,
        mut at: usize,
        keys: usize,
        weighs: bool,
        lists: bool,
    ) -> Result<(), &'static str> {
        while let Some(word) = args.get(at) {
            let left = args.len() - at;
            if weighs && left > keys && word.eq_ignore_ascii_case(b"WEIGHTS") {
                for (place, weight) in self.weights.iter_mut().enumerate() {
                    *weight =
                        double::parse(args.at(at + 1 + place)).ok_or("ERR weight value is not a float")?;
                }
                at += 1 + keys;
            } else if weighs && left >= 2 && word.eq_ignore_ascii_case(b"AGGREGATE") {
                self.aggregate = match args.at(at + 1).to_ascii_lowercase().as_slice() {
                    b"sum" => Aggregate::Sum,
                    b"min" => Aggregate::Min,
                    b"max" => Aggregate::Max,
                    _ => return Err(SYNTAX),
                };
                at += 2;
            } else if lists && word.eq_ignore_ascii_case(b"WITHSCORES") {
                self.with_scores = true;
                at += 1;
            } else {
                return Err(SYNTAX);
            }
        }
        Ok(())
    }
}

/// The members and scores in a reply: in pairs, or one behind the other.
pub fn read(bytes: &[u8]) -> Option<Vec<Scored<'_>>> {
    let mut elements = reply::elements(bytes)?;
    let mut scored = Vec::new();
    while let Some(element) = elements.next() {
        let (member, score) = match reply::elements(element) {
            Some(mut pair) => (reply::payload(pair.next()?)?, pair.next()?),
            None => (reply::payload(element)?, elements.next()?),
        };
        let text = reply::payload(score)?;
        scored.push(Scored { member, score: double::parse(text)?, text: Some(text) });
    }
    Some(scored)
}

/// The result, in Redis' order: by score, and by the bytes of the member.
pub fn compute<'a>(op: Op, sources: &[&[Scored<'a>]], options: &Options) -> Vec<Scored<'a>> {
    let mut result = match op {
        Op::Diff => difference(sources),
        Op::Union => union(&weighed(sources, options), options.aggregate),
        Op::Inter => intersection(&weighed(sources, options), options.aggregate),
    };
    result.sort_unstable_by(|one, other| {
        one.score.partial_cmp(&other.score).unwrap_or(Ordering::Equal).then(one.member.cmp(other.member))
    });
    result
}

type Weighed<'s, 'a> = Vec<(&'s [Scored<'a>], f64)>;

fn weighed<'s, 'a>(sources: &[&'s [Scored<'a>]], options: &Options) -> Weighed<'s, 'a> {
    let mut weighed: Weighed<'s, 'a> = sources.iter().copied().zip(options.weights.iter().copied()).collect();
    weighed.sort_by_key(|(source, _)| source.len());
    weighed
}

fn difference<'a>(sources: &[&[Scored<'a>]]) -> Vec<Scored<'a>> {
    let Some((first, others)) = sources.split_first() else { return Vec::new() };
    let others: HashSet<&[u8]> =
        others.iter().flat_map(|set| set.iter().map(|scored| scored.member)).collect();
    first.iter().copied().filter(|scored| !others.contains(scored.member)).collect()
}

fn union<'a>(sources: &Weighed<'_, 'a>, aggregate: Aggregate) -> Vec<Scored<'a>> {
    let mut places: HashMap<&[u8], usize> = HashMap::new();
    let mut result: Vec<Scored<'a>> = Vec::new();
    for (source, weight) in sources {
        for scored in *source {
            let scored = scored.times(*weight).or_zero();
            match places.get(scored.member) {
                Some(place) => result[*place] = result[*place].with(scored, aggregate),
                None => {
                    places.insert(scored.member, result.len());
                    result.push(scored);
                }
            }
        }
    }
    result
}

fn intersection<'a>(sources: &Weighed<'_, 'a>, aggregate: Aggregate) -> Vec<Scored<'a>> {
    let Some(((smallest, weight), others)) = sources.split_first() else { return Vec::new() };
    let tables: Vec<(HashMap<&[u8], Scored<'a>>, f64)> = others
        .iter()
        .map(|(source, weight)| (source.iter().map(|scored| (scored.member, *scored)).collect(), *weight))
        .collect();
    let in_all = |scored: &Scored<'a>| {
        tables.iter().try_fold(scored.times(*weight).or_zero(), |so_far, (table, weight)| {
            Some(so_far.with(table.get(scored.member)?.times(*weight), aggregate))
        })
    };
    smallest.iter().filter_map(in_all).collect()
}

impl<'a> Scored<'a> {
    fn times(self, weight: f64) -> Scored<'a> {
        self.scored(self.score * weight)
    }

    fn or_zero(self) -> Scored<'a> {
        if self.score.is_nan() { self.scored(0.0) } else { self }
    }

    /// The same member with another score; the text stays if it is the same number.
    fn scored(self, score: f64) -> Scored<'a> {
        let text = self.text.filter(|_| score.to_bits() == self.score.to_bits());
        Scored { score, text, ..self }
    }

    fn with(self, other: Scored<'a>, aggregate: Aggregate) -> Scored<'a> {
        match aggregate {
            Aggregate::Sum => {
                let sum = self.score + other.score;
                let same = if sum.to_bits() == other.score.to_bits() { other } else { self };
                same.scored(sum).or_zero()
            }
            // A NaN is neither.
            Aggregate::Min => {
                if other.score < self.score {
                    other
                } else {
                    self
                }
            }
            Aggregate::Max => {
                if other.score > self.score {
                    other
                } else {
                    self
                }
            }
        }
    }

    /// The score in words: as a node wrote it, or as it would.
    pub fn told(&self, style: Style) -> Vec<u8> {
        match (self.text, style) {
            (Some(text), _) => text.to_vec(),
            (None, Style::Shortest) => double::shortest(self.score).into_bytes(),
            (None, Style::Seventeen) => double::seventeen(self.score).into_bytes(),
        }
    }
}

impl Style {
    /// How the nodes write, as far as what they wrote shows it and the result needs it.
    pub fn of(parts: &[Vec<Scored<'_>>], result: &[Scored<'_>]) -> Style {
        let differs = |score: f64| double::shortest(score) != double::seventeen(score);
        if !result.iter().any(|scored| scored.text.is_none() && differs(scored.score)) {
            return Style::Shortest;
        }
        let at_length = |scored: &Scored<'_>| {
            scored.text.is_some_and(|text| text == double::seventeen(scored.score).as_bytes())
                && differs(scored.score)
        };
        if parts.iter().flatten().any(at_length) { Style::Seventeen } else { Style::Shortest }
    }
}

/// Appends the reply that lists the result.
pub fn write(result: &[Scored<'_>], with_scores: bool, style: Style, resp3: bool, out: &mut Vec<u8>) {
    encode::array_head(out, if with_scores && !resp3 { 2 * result.len() } else { result.len() });
    for scored in result {
        if with_scores && resp3 {
            encode::array_head(out, 2);
        }
        encode::bulk(out, scored.member);
        match (with_scores, resp3) {
            (false, _) => {}
            (true, false) => encode::bulk(out, &scored.told(style)),
            (true, true) => {
                out.push(b',');
                out.extend_from_slice(&scored.told(style));
                out.extend_from_slice(b"\r\n");
            }
        }
    }
}
