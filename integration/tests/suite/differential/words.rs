//! The words that requests are made of: keys of every type, values, numbers in and out of range, times.
//!
//! What would make two servers differ by themselves is not among them: no time that runs out during the
//! test (it is negative, or days away), and no two relative times that are nearly equal, so that GT and
//! LT mean the same on both sides.

use super::lines_scripts::LIBRARY;
use pointsman_integration::Random;
use std::collections::HashMap;

/// One request, name first.
pub type Request = Vec<Vec<u8>>;

/// Hash tags; enough of them that every shard has some.
pub const TAGS: usize = 9;
/// Keys of each type under one tag, and as many without a tag.
const KEYS_OF_A_TYPE: usize = 3;
/// The letters that name a key's type: string, number, list, hash, set, sorted set, stream, geo,
/// HyperLogLog, bits.
const TYPES: &[&str] = &["s", "n", "l", "h", "S", "z", "x", "g", "p", "b"];

/// Names sorted sets whose members all have one score. No other line touches them.
const EQUAL_SCORES: &str = "Z";

/// Integers as some may write them.
const ODD_INTEGERS: &[&str] = &[
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "18446744073709551615",
    "3.5",
    "1e3",
    "",
    "x",
    " 1",
    "+1",
    "01",
    "-0",
    "0x10",
];
const ODD_FLOATS: &[&str] = &[
    "inf", "-inf", "+inf", "nan", "1e400", "1e-400", "-0", "0x1p3", "", "x", " 1", "3.0e5", "1e17", "1.",
    ".5", "1_0",
];
const ODD_KEYS: &[&[u8]] =
    &[b"", b"{}", b"{}{t0}", b"{t0", b"}t0{", b"a b", b"\x00\xff{\x80\r\n}\x00", b"{{t0}}"];
const MEMBERS: &[&[u8]] = &[
    b"a",
    b"b",
    b"c",
    b"d",
    b"e",
    b"1",
    b"2",
    b"10",
    b"-1",
    b"3.5",
    b"",
    b"hello world",
    // (SORT ALPHA reads up to a zero byte; what is before it must tell members apart.)
    b"z\x00\r\n\xff",
    // Longer than what compact encodings take.
    b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
];

/// Where the keys of a line lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Places {
    /// Mostly under one tag.
    Together,
    /// All under one tag.
    OneSlot,
    /// Each has its own place.
    Anywhere,
}

/// Draws words. Equal seeds give equal words.
#[derive(Debug)]
pub struct Words<'a> {
    /// What decides.
    pub random: &'a mut Random,
    /// Stands before every key (inside the tag), so that several streams keep apart.
    prefix: &'a str,
    /// The tag of all keys of one line, or each key has its own place.
    tag: Option<usize>,
    /// Not one key is elsewhere than its line.
    strict: bool,
    last_key: Vec<u8>,
    /// Counts times up, so that none comes twice.
    times: u64,
    /// Counts values up, likewise.
    values: u64,
    /// The highest id given to each stream.
    ids: HashMap<Vec<u8>, u64>,
    /// What DUMP answered for a value of each type.
    payloads: Vec<Vec<u8>>,
    /// What FUNCTION DUMP answered.
    functions: Vec<u8>,
}

impl<'a> Words<'a> {
    /// Words drawn by `random`, with keys that begin with `prefix`.
    pub fn new(random: &'a mut Random, prefix: &'a str) -> Words<'a> {
        Words {
            random,
            prefix,
            tag: None,
            strict: false,
            last_key: Vec::new(),
            times: 0,
            values: 0,
            ids: HashMap::new(),
            payloads: Vec::new(),
            functions: Vec::new(),
        }
    }

    /// Gives RESTORE and FUNCTION RESTORE something to restore.
    pub fn with_payloads(mut self, payloads: Vec<Vec<u8>>, functions: Vec<u8>) -> Words<'a> {
        self.payloads = payloads;
        self.functions = functions;
        self
    }

    /// Begins a line whose keys lie like this.
    pub fn begin(&mut self, places: Places) {
        self.tag = (places != Places::Anywhere).then(|| self.random.below(TAGS));
        self.strict = places == Places::OneSlot;
    }

    /// Appends one word (or, for a few kinds, several) of this kind.
    #[track_caller]
    pub fn draw(&mut self, kind: &str, out: &mut Request) {
        let word = match kind {
            "k" => {
                let kind = self.random.word(TYPES);
                self.key(kind)
            }
            // For commands whose keys may lie anywhere.
            "K" => {
                let tag = self.tag;
                if !self.strict && self.random.once_in(2) {
                    self.tag = None;
                }
                let kind = self.random.word(TYPES);
                let key = self.key(kind);
                self.tag = tag;
                key
            }
            "." => self.last_key.clone(),
            _ if TYPES.contains(&kind) || kind == EQUAL_SCORES => self.key(kind),
            "v" => self.value(),
            "m" => self.random.pick(MEMBERS).to_vec(),
            "score" => match self.random.below(12) {
                0 => self.random.word(ODD_FLOATS).into(),
                1 => self.random.word(&["inf", "-inf", "1e3", "-2.5"]).into(),
                _ => format!("{}", self.random.below(40) as f64 / 4.0 - 2.0).into(),
            },
            "i" if self.random.once_in(5) => self.random.word(ODD_INTEGERS).into(),
            "i" => (self.random.below(2000) as i64 - 500).to_string().into(),
            "f" if self.random.once_in(4) => self.random.word(ODD_FLOATS).into(),
            "f" => format!("{}", (self.random.below(2000) as f64 - 500.0) / 8.0).into(),
            "idx" if self.random.once_in(12) => self.random.word(ODD_INTEGERS).into(),
            "idx" => (self.random.below(12) as i64 - 5).to_string().into(),
            "cnt" => self.random.word(&["1", "2", "3", "10", "100", "0", "-1", "x", "2", "1"]).into(),
            // How many to draw by chance: mostly all of them, so that chance decides nothing.
            "draw" => self.random.word(&["1000", "1000", "1000", "0", "2", "-3", "x"]).into(),
            "bit" => self.random.word(&["0", "1", "0", "1", "2", "x"]).into(),
            "off" => match self.random.below(12) {
                0 => self.random.word(&["4294967296", "-1", "x", ""]).into(),
                _ => self.random.below(200).to_string().into(),
            },
            "byte" => match self.random.below(10) {
                0 => self.random.word(&["600000000", "-1", "x", ""]).into(),
                _ => self.random.below(40).to_string().into(),
            },
            "bits" => self.random.word(&["u8", "i8", "u1", "i64", "u63", "i5", "u64", "x", "i0"]).into(),
            "fieldoff" => match self.random.below(10) {
                0 => self.random.word(&["-1", "x", "#-1", "99999999999"]).into(),
                1 => format!("#{}", self.random.below(10)).into(),
                _ => self.random.below(100).to_string().into(),
            },
            "ttl" => self.time(1, 100_000),
            "ttlms" => self.time(1000, 100_000),
            "at" => self.time(1, 4_102_444_800),
            "atms" => self.time(1000, 4_102_444_800),
            // Seconds that a blocking command may wait.
            "wait" => self.random.word(&["0.01", "0.005", "0.02", "-1", "x"]).into(),
            "waitms" => self.random.word(&["10", "5", "20", "-1", "x"]).into(),
            "lex" => self.random.word(&["-", "+", "[a", "(a", "[c", "(z", "a", "", "["]).into(),
            "range" => match self.random.below(8) {
                0 => self.random.word(&["-inf", "+inf", "inf", "(x", "nan", ""]).into(),
                1 => format!("({}", self.random.below(10)).into(),
                _ => (self.random.below(14) as i64 - 3).to_string().into(),
            },
            "xid" => self.next_id(),
            "oldid" => self.old_id(),
            "xr" => match self.random.below(6) {
                0 => b"-".to_vec(),
                1 => b"+".to_vec(),
                2 => [b"(", self.old_id().as_slice()].concat(),
                3 => self.random.word(&["0", "5", "x", "", "18446744073709551615-1", "(-"]).into(),
                _ => self.old_id(),
            },
            "group" => self.random.word(&["g1", "g1", "g1", "g2", "streams", "nosuch"]).into(),
            "consumer" => self.random.word(&["c1", "c2", "streams"]).into(),
            "lonlat" => {
                let odd = self.random.once_in(10);
                let lon = if odd { 200.0 } else { 13.0 + self.random.below(40) as f64 / 10.0 };
                let lat = 37.0 + self.random.below(30) as f64 / 10.0;
                out.push(lon.to_string().into());
                lat.to_string().into()
            }
            "radius" => self.random.word(&["50", "200.5", "1000", "0", "-1", "x"]).into(),
            "unit" => self.random.word(&["m", "km", "ft", "mi", "KM", "x"]).into(),
            "place" => self.random.word(&["Palermo", "Catania", "a", "b", "c", "nowhere"]).into(),
            "glob" => {
                let text = self
                    .random
                    .word(&["*", "*s*", "?", "{t0}*", "[a-m]*", "h?llo*", "nosuch", "\\*", "[^x]*", "*1"]);
                if self.prefix.is_empty() { text.into() } else { format!("{}*", self.prefix).into() }
            }
            "dump" if !self.payloads.is_empty() && !self.random.once_in(8) => {
                self.random.pick(&self.payloads).clone()
            }
            "dump" => self.random.word(&["", "x", "\u{0}\u{3}abc\n\u{0}12345678"]).into(),
            "functions" if self.random.once_in(4) => b"x".to_vec(),
            "functions" => self.functions.clone(),
            "crlf" => b"a\r\nb".to_vec(),
            "lib" => LIBRARY.into(),
            other => panic!("<{other}> is no kind of word"),
        };
        out.push(word);
    }

    fn key(&mut self, kind: &str) -> Vec<u8> {
        if self.prefix.is_empty() && !self.strict && kind != EQUAL_SCORES && self.random.once_in(60) {
            self.last_key = self.random.pick(ODD_KEYS).to_vec();
            return self.last_key.clone();
        }
        // Sometimes one of another type.
        let stray = kind != EQUAL_SCORES && self.random.once_in(12);
        let kind = if stray { self.random.word(TYPES) } else { kind };
        let number = self.random.below(KEYS_OF_A_TYPE);
        let tag = match self.tag {
            // Now and then a key is elsewhere than the others.
            Some(_) if !self.strict && self.random.once_in(25) => None,
            None if self.random.once_in(2) => Some(self.random.below(TAGS)),
            tag => tag,
        };
        let prefix = self.prefix;
        let key = match tag {
            Some(tag) => format!("{{{prefix}t{tag}}}{kind}{number}"),
            None => format!("{prefix}{kind}{number}"),
        };
        self.last_key = key.into_bytes();
        self.last_key.clone()
    }

    fn value(&mut self) -> Vec<u8> {
        match self.random.below(14) {
            0..=3 => self.random.pick(MEMBERS).to_vec(),
            4..=6 => (self.random.below(1000) as i64 - 300).to_string().into(),
            7 => self.random.word(ODD_INTEGERS).into(),
            8 => self.random.word(ODD_FLOATS).into(),
            9 => vec![b'y'; self.random.below(6000)],
            _ => {
                // It comes once, so that nobody else's can be taken for it.
                self.values += 1;
                format!("{}value {}", self.prefix, self.values).into()
            }
        }
    }

    /// A time in units of 1/`scale` seconds: at least `base` seconds and never the same, or in the past.
    fn time(&mut self, scale: u64, base: u64) -> Vec<u8> {
        if self.random.once_in(6) {
            return self
                .random
                .word(&["0", "-1", "-100000", "9223372036854775807", "-9223372036854775808", "x", "", "3.5"])
                .into();
        }
        self.times += 1;
        ((base + 1000 * self.times) * scale).to_string().into()
    }

    fn next_id(&mut self) -> Vec<u8> {
        let last = self.ids.entry(self.last_key.clone()).or_default();
        *last += 1;
        let last = *last;
        match self.random.below(20) {
            0 => self.random.word(&["0-0", "0", "x", "1-1-1", "", "0-1"]).into(),
            1 => format!("{last}-*").into(),
            2 => self.old_id(),
            _ => format!("{last}-{}", 1 + self.random.below(3)).into(),
        }
    }

    fn old_id(&mut self) -> Vec<u8> {
        let last = self.ids.get(&self.last_key).copied().unwrap_or(3);
        let back = self.random.below(8) as u64;
        format!("{}-{}", last.saturating_sub(back), 1 + self.random.below(2)).into()
    }
}
