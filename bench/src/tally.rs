//! Failures by code, each with the first text seen, in bounded memory whatever a server sends.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Codes kept apart; further ones are counted together under [`OTHER`].
const CODES_MAX: usize = 32;
const CODE_BYTES_MAX: usize = 32;
const SAMPLE_BYTES_MAX: usize = 200;

/// Where codes beyond the limit are counted.
pub const OTHER: &str = "other";
/// A reply that came, well-formed, but of a kind that the request cannot have.
pub const UNEXPECTED: &str = "unexpected-reply";
/// Bytes that are no reply.
pub const MALFORMED: &str = "malformed-reply";
/// A request that was never answered because its connection was lost.
pub const CONNECTION: &str = "connection-lost";
/// A connection that could not be made again.
pub const CONNECT: &str = "connect-failed";
/// A request that was not answered in time.
pub const TIMEOUT: &str = "timeout";
/// Open loop: a request that was due and could not be sent before the run ended.
pub const UNSENT: &str = "unsent";

/// Failures of one code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The first word of the error reply, or one of the names of this module.
    pub code: String,
    /// How often.
    pub count: u64,
    /// The text of the first one.
    pub sample: String,
}

/// Counts failures by code.
#[derive(Clone, Debug, Default)]
pub struct Tally(BTreeMap<String, (u64, String)>);

impl Tally {
    /// Counts `count` failures of this code.
    pub fn add(&mut self, code: &str, count: u64, sample: &str) {
        if count == 0 {
            return;
        }
        let code = shorten(code, CODE_BYTES_MAX);
        let code = if self.0.contains_key(code) || self.0.len() < CODES_MAX { code } else { OTHER };
        match self.0.get_mut(code) {
            Some((seen, _)) => *seen += count,
            None => {
                self.0.insert(code.to_owned(), (count, shorten(sample, SAMPLE_BYTES_MAX).to_owned()));
            }
        }
    }

    /// Counts an error reply.
    pub fn add_reply(&mut self, reply: &[u8]) {
        let text = error_text(reply);
        let code = text.split_ascii_whitespace().next().unwrap_or("empty-error");
        self.add(code, 1, &text);
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Tally) {
        for (code, (count, sample)) in &other.0 {
            self.add(code, *count, sample);
        }
    }

    /// All failures together.
    pub fn total(&self) -> u64 {
        self.0.values().map(|(count, _)| count).sum()
    }

    /// The failures, the most frequent first.
    pub fn list(&self) -> Vec<Failure> {
        let mut list: Vec<Failure> = self
            .0
            .iter()
            .map(|(code, (count, sample))| Failure {
                code: code.clone(),
                count: *count,
                sample: sample.clone(),
            })
            .collect();
        list.sort_by_key(|failure| std::cmp::Reverse(failure.count));
        list
    }
}

/// The text of an error reply, on one line: of `-ERR x` and of the RESP3 form `!5\r\nERR x`.
pub fn error_text(reply: &[u8]) -> String {
    let shown = &reply[..reply.len().min(SAMPLE_BYTES_MAX)];
    let text = String::from_utf8_lossy(shown);
    let text = match text.strip_prefix('!') {
        Some(bulk) => bulk.split_once("\r\n").map_or(bulk, |(_, text)| text),
        None => text.strip_prefix('-').unwrap_or(&text),
    };
    text.trim_end().replace(|symbol: char| symbol.is_control(), " ")
}

fn shorten(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_counted_by_code_with_the_first_text() {
        let mut tally = Tally::default();
        tally.add_reply(b"-MOVED 1 a:1\r\n");
        tally.add_reply(b"-MOVED 2 b:2\r\n");
        tally.add_reply(b"!9\r\nERR a\tb c\r\n");
        tally.add_reply(b"-\r\n");
        tally.add(TIMEOUT, 5, "no reply within 5 s");
        tally.add(TIMEOUT, 0, "none");
        let list = tally.list();
        let shown: Vec<(&str, u64, &str)> = list
            .iter()
            .map(|failure| (failure.code.as_str(), failure.count, failure.sample.as_str()))
            .collect();
        assert_eq!(
            shown,
            [
                ("timeout", 5, "no reply within 5 s"),
                ("MOVED", 2, "MOVED 1 a:1"),
                ("ERR", 1, "ERR a b c"),
                ("empty-error", 1, ""),
            ]
        );
        assert_eq!(tally.total(), 9);
    }

    #[test]
    fn a_hostile_server_cannot_fill_our_memory() {
        let mut tally = Tally::default();
        for number in 0..10_000 {
            let long = format!("-CODE{number}{} text{}\r\n", "x".repeat(100), "ü".repeat(1_000));
            tally.add_reply(long.as_bytes());
        }
        assert_eq!(tally.total(), 10_000);
        assert!(tally.list().len() <= CODES_MAX + 1);
        assert_eq!(tally.list()[0].code, OTHER);
        assert!(tally.list().iter().all(|failure| failure.sample.len() <= SAMPLE_BYTES_MAX + 2));
    }

    #[test]
    fn merging_adds_counts() {
        let (mut left, mut right) = (Tally::default(), Tally::default());
        left.add("ERR", 1, "first");
        right.add("ERR", 2, "second");
        right.add("OOM", 1, "memory");
        left.merge(&right);
        assert_eq!(left.total(), 4);
        assert_eq!(left.list()[0].sample, "first");
    }
}
