//! Which key the next request names: the distributions, and the sampler of one client.
//!
//! A key is a number below `--keys`; how it is spelt is [`crate::workload`]'s business. A sampler
//! belongs to one client and is wholly decided by the seed, so a run can be repeated request by
//! request. Nothing here reads a clock.

use crate::random::Random;
use std::fmt;
use std::str::FromStr;

/// How requests are spread over the keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distribution {
    /// Every key equally often.
    Uniform,
    /// Key k (from 1) with a weight of 1 / k^theta: few keys take most of the requests.
    Zipf {
        /// The exponent; above 0.
        theta: f64,
    },
    /// One key after another; the clients share the keys out among them, none twice in a round.
    Sequential,
    /// Key 0 takes this share of the requests, the others the rest in equal parts.
    Hot {
        /// Between 0 and 1.
        share: f64,
    },
}

const THETA_DEFAULT: f64 = 0.99;
const SHARE_DEFAULT: f64 = 0.9;

impl FromStr for Distribution {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = match text.split_once(':') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let number = |default: f64, allowed: std::ops::RangeInclusive<f64>| match value {
            None => Ok(default),
            Some(value) => match value.parse::<f64>() {
                Ok(number) if allowed.contains(&number) => Ok(number),
                _ => Err(format!(
                    "'{value}' in '{text}' is not a number from {} to {}",
                    allowed.start(),
                    allowed.end()
                )),
            },
        };
        match (name, value) {
            ("uniform", None) => Ok(Distribution::Uniform),
            ("sequential", None) => Ok(Distribution::Sequential),
            ("zipf", _) => Ok(Distribution::Zipf { theta: number(THETA_DEFAULT, 0.01..=10.0)? }),
            ("hot", _) => Ok(Distribution::Hot { share: number(SHARE_DEFAULT, 0.0..=1.0)? }),
            _ => Err(format!("'{text}' is none of uniform, zipf, zipf:THETA, sequential, hot, hot:SHARE")),
        }
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Distribution::Uniform => f.write_str("uniform"),
            Distribution::Zipf { theta } => write!(f, "zipf:{theta}"),
            Distribution::Sequential => f.write_str("sequential"),
            Distribution::Hot { share } => write!(f, "hot:{share}"),
        }
    }
}

/// The keys of one client's requests, one after another.
#[derive(Clone, Debug)]
pub struct KeySource {
    keys: u64,
    random: Random,
    rule: Rule,
}

#[derive(Clone, Debug)]
enum Rule {
    Uniform,
    Zipf(Zipf),
    Sequential { next: u64 },
    Hot { share: f64 },
}

impl KeySource {
    /// The source of client `client` of `clients`, over `keys` keys (at least one).
    pub fn new(distribution: Distribution, keys: u64, seed: u64, client: u64, clients: u64) -> Self {
        let keys = keys.max(1);
        let rule = match distribution {
            Distribution::Uniform => Rule::Uniform,
            Distribution::Zipf { theta } => Rule::Zipf(Zipf::new(keys, theta)),
            Distribution::Sequential => Rule::Sequential { next: share_start(keys, client, clients) % keys },
            Distribution::Hot { share } => Rule::Hot { share },
        };
        KeySource { keys, random: Random::stream(seed, client), rule }
    }

    /// The next key, below the number of keys.
    #[inline]
    pub fn next(&mut self) -> u64 {
        match &mut self.rule {
            Rule::Uniform => self.random.below(self.keys),
            Rule::Zipf(zipf) => zipf.rank(&mut self.random) - 1,
            Rule::Sequential { next } => {
                let key = *next;
                *next = if key + 1 == self.keys { 0 } else { key + 1 };
                key
            }
            Rule::Hot { share } => {
                if self.keys == 1 || self.random.unit() < *share {
                    0
                } else {
                    1 + self.random.below(self.keys - 1)
                }
            }
        }
    }
}

/// Where part `index` of `parts` begins when `whole` things are shared out as evenly as can be.
/// Part `index` ends where part `index + 1` begins.
pub fn share_start(whole: u64, index: u64, parts: u64) -> u64 {
    (u128::from(whole) * u128::from(index) / u128::from(parts.max(1))) as u64
}

/// Zipf ranks by rejection-inversion (Hörmann and Derflinger, 1996): no table, so ten keys and ten
/// thousand million cost the same.
///
/// The weight of rank k is h(k) = k^-theta. H is its integral; a uniform number between H(1/2)-ish
/// and H(n + 1/2) is turned back into an x, and x rounded to a rank. Rounding is right most of
/// the time; the test decides the rest, and `sure` is the distance below which it needs no deciding.
#[derive(Clone, Debug)]
struct Zipf {
    ranks: f64,
    theta: f64,
    low: f64,
    high: f64,
    sure: f64,
}

impl Zipf {
    fn new(ranks: u64, theta: f64) -> Self {
        let ranks = ranks as f64;
        let mut zipf = Zipf { ranks, theta, low: 0.0, high: 0.0, sure: 0.0 };
        zipf.low = zipf.integral(1.5) - 1.0;
        zipf.high = zipf.integral(ranks + 0.5);
        zipf.sure = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.weight(2.0));
        zipf
    }

    #[inline]
    fn rank(&self, random: &mut Random) -> u64 {
        loop {
            let area = self.high + random.unit() * (self.low - self.high);
            let x = self.inverse(area);
            let rank = x.round().clamp(1.0, self.ranks);
            if rank - x <= self.sure || area >= self.integral(rank + 0.5) - self.weight(rank) {
                return rank as u64;
            }
        }
    }

    fn weight(&self, x: f64) -> f64 {
        (-self.theta * x.ln()).exp()
    }

    /// H(x) = (x^(1-theta) - 1) / (1 - theta), which tends to ln x as theta tends to 1.
    fn integral(&self, x: f64) -> f64 {
        let log = x.ln();
        let scaled = (1.0 - self.theta) * log;
        if scaled.abs() < 1e-8 { log * (1.0 + scaled / 2.0) } else { log * scaled.exp_m1() / scaled }
    }

    /// H^-1. The clamp catches rounding just outside of H's range for theta > 1.
    fn inverse(&self, area: f64) -> f64 {
        let scaled = (area * (1.0 - self.theta)).max(-1.0);
        if scaled.abs() < 1e-8 {
            (area * (1.0 - scaled / 2.0)).exp()
        } else {
            (area * scaled.ln_1p() / scaled).exp()
        }
    }
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
