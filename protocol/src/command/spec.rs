//! The shape of one row of the command table, and what can be read off a row alone.
//!
//! Rows are made by `tools/generate_command_table.py` and never change. What needs a request's
//! arguments is in [`super::keys`].

/// One command, or one subcommand (`CLIENT|ID`), as the published specifications describe it.
#[derive(Debug)]
pub struct CommandSpec {
    /// Its place among all rows, subcommands included: below [`super::ROWS`], each used once. For
    /// arrays of counters and dispatch tables; it means nothing outside one build. A row that a server
    /// announced has none, but [`Self::ANNOUNCED`].
    pub index: u16,
    /// Upper case; a subcommand is written `PARENT|CHILD`.
    pub name: &'static str,
    /// Exact number of arguments with the name (and the subcommand's), or the least, negated.
    pub arity: i16,
    /// What the command does.
    pub flags: Flags,
    /// Where its keys are.
    pub keys: &'static [KeySpec],
    /// The same in short: made from `keys`, so that the common commands need no search.
    pub pattern: KeyPattern,
    /// Which nodes it must reach in a cluster.
    pub request_policy: RequestPolicy,
    /// How the replies of several nodes become one.
    pub response_policy: ResponsePolicy,
    /// Its subcommands, if it has any.
    pub subcommands: &'static [CommandSpec],
}

impl CommandSpec {
    /// [`Self::index`] of rows that are not in the table.
    pub const ANNOUNCED: u16 = u16::MAX;

    /// True for a row that is not in the table.
    pub fn is_announced(&self) -> bool {
        self.index == Self::ANNOUNCED
    }

    /// One row, as the generated table writes it. `flags` are words of COMMAND INFO.
    #[allow(clippy::too_many_arguments)]
    pub(super) const fn row(
        index: u16,
        name: &'static str,
        arity: i16,
        flags: &'static str,
        keys: &'static [KeySpec],
        request_policy: RequestPolicy,
        response_policy: ResponsePolicy,
        subcommands: &'static [CommandSpec],
    ) -> CommandSpec {
        CommandSpec {
            index,
            name,
            arity,
            flags: Flags::from_words(flags),
            keys,
            pattern: KeyPattern::of(keys),
            request_policy,
            response_policy,
            subcommands,
        }
    }

    /// True if a request of `count` arguments fits the arity.
    #[inline]
    pub fn accepts(&self, count: usize) -> bool {
        let arity = usize::from(self.arity.unsigned_abs());
        if self.arity >= 0 { count == arity } else { count >= arity }
    }

    /// True if any replica may serve it: it reads and never writes. Whatever is not known to be a
    /// pure read is for the primary: PFCOUNT is published as a read, but stores what it counted.
    #[inline]
    pub fn is_read(&self) -> bool {
        self.flags.has(Flags::READONLY) && !self.is_write()
    }

    /// True if it may change data, or reach other clients, so that a second execution could do so
    /// twice: scripts and PUBLISH count, though they are not published as writes.
    #[inline]
    pub fn is_write(&self) -> bool {
        self.flags.has_any(Flags::WRITE.and(Flags::MAY_REPLICATE))
    }

    /// True if its key specifications name all keys that it may touch.
    pub fn tells_all_keys(&self) -> bool {
        self.keys.iter().all(|key| !key.access.incomplete)
    }

    /// True if its subcommands, and not it, say what is done (CLIENT, XGROUP).
    #[inline]
    pub fn is_container(&self) -> bool {
        !self.subcommands.is_empty()
    }
}

/// The row of a command that is not in the table, whose first argument is its only key.
pub const fn announced(name: &'static str, arity: i16, flags: Flags) -> CommandSpec {
    const FIRST: &[KeySpec] = &[KeySpec {
        search: KeySearch::Index(1),
        found: KeysFound::Range { last: 0, step: 1, limit: 0 },
        access: KeyAccess::RW,
        varies: false,
    }];
    CommandSpec {
        index: CommandSpec::ANNOUNCED,
        name,
        arity,
        flags,
        keys: FIRST,
        pattern: KeyPattern::of(FIRST),
        request_policy: RequestPolicy::ByKeys,
        response_policy: ResponsePolicy::Default,
        subcommands: &[],
    }
}

/// A set of command flags. The names are those of COMMAND INFO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(pub u32);

impl Flags {
    /// No flag.
    pub const NONE: Flags = Flags(0);
    /// May modify data.
    pub const WRITE: Flags = Flags(1 << 0);
    /// Reads data.
    pub const READONLY: Flags = Flags(1 << 1);
    /// May grow memory; refused when out of memory.
    pub const DENYOOM: Flags = Flags(1 << 2);
    /// For administrators.
    pub const ADMIN: Flags = Flags(1 << 3);
    /// Publish and subscribe.
    pub const PUBSUB: Flags = Flags(1 << 4);
    /// Not from scripts.
    pub const NOSCRIPT: Flags = Flags(1 << 5);
    /// May block the client.
    pub const BLOCKING: Flags = Flags(1 << 6);
    /// Allowed while loading.
    pub const LOADING: Flags = Flags(1 << 7);
    /// Allowed on a replica with stale data.
    pub const STALE: Flags = Flags(1 << 8);
    /// Not shown by MONITOR.
    pub const SKIP_MONITOR: Flags = Flags(1 << 9);
    /// Not in the slow log.
    pub const SKIP_SLOWLOG: Flags = Flags(1 << 10);
    /// ASKING is implied.
    pub const ASKING: Flags = Flags(1 << 11);
    /// Constant or logarithmic time.
    pub const FAST: Flags = Flags(1 << 12);
    /// Allowed without authentication.
    pub const NO_AUTH: Flags = Flags(1 << 13);
    /// Has no mandatory keys (EVAL with 0 keys).
    pub const NO_MANDATORY_KEYS: Flags = Flags(1 << 14);
    /// Never asynchronously loading.
    pub const NO_ASYNC_LOADING: Flags = Flags(1 << 15);
    /// Refused inside MULTI.
    pub const NO_MULTI: Flags = Flags(1 << 16);
    /// Key positions depend on the arguments; the first/last/step triple does not tell them all.
    pub const MOVABLE_KEYS: Flags = Flags(1 << 17);
    /// Allowed while a script is busy.
    pub const ALLOW_BUSY: Flags = Flags(1 << 18);
    /// May replicate (PFCOUNT, scripts). A server does not tell it.
    pub const MAY_REPLICATE: Flags = Flags(1 << 19);

    /// Both sets together; usable in constants.
    pub const fn and(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// This set without those of `other`.
    pub const fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }

    /// True if every flag of `other` is set.
    #[inline]
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// True if at least one flag of `other` is set.
    #[inline]
    pub const fn has_any(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }

    /// The words of COMMAND INFO, in its order, which is that of the bits.
    pub const WORDS: [&'static str; 20] = [
        "write",
        "readonly",
        "denyoom",
        "admin",
        "pubsub",
        "noscript",
        "blocking",
        "loading",
        "stale",
        "skip_monitor",
        "skip_slowlog",
        "asking",
        "fast",
        "no_auth",
        "no_mandatory_keys",
        "no_async_loading",
        "no_multi",
        "movablekeys",
        "allow_busy",
        "may_replicate",
    ];

    /// Reads words parted by single spaces; an unknown word stops the build.
    const fn from_words(words: &str) -> Flags {
        let mut rest = words.as_bytes();
        let mut flags = 0;
        while !rest.is_empty() {
            let mut len = 0;
            while len < rest.len() && rest[len] != b' ' {
                len += 1;
            }
            let (word, behind) = rest.split_at(len);
            let mut bit = 0;
            while !same(word, Flags::WORDS[bit].as_bytes()) {
                bit += 1;
            }
            flags |= 1 << bit;
            rest = if behind.is_empty() { behind } else { behind.split_at(1).1 };
        }
        Flags(flags)
    }

    /// The words of the flags that are set.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        Flags::WORDS
            .into_iter()
            .enumerate()
            .filter(move |(bit, _)| self.0 & 1 << bit != 0)
            .map(|(_, word)| word)
    }
}

/// `==` of slices is not for constants yet.
const fn same(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let mut at = 0;
    while at < left.len() {
        if left[at] != right[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// What a command does with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyAccess {
    /// Gives away the value or a part of it (`ACCESS`). Both this and `writes` may be false: EXISTS
    /// tells only that there is one.
    pub reads: bool,
    /// Changes the value, makes or removes it (`RW`, `OW`, `RM`).
    pub writes: bool,
    /// The argument is no key but decides the slot as one would (SPUBLISH's channel).
    pub not_key: bool,
    /// Besides this key the command touches others that no argument names (SORT BY/GET), or that the server
    /// which announces it does not tell.
    pub incomplete: bool,
}

impl KeyAccess {
    pub(super) const META: KeyAccess =
        KeyAccess { reads: false, writes: false, not_key: false, incomplete: false };
    pub(super) const R: KeyAccess = KeyAccess { reads: true, ..KeyAccess::META };
    pub(super) const W: KeyAccess = KeyAccess { writes: true, ..KeyAccess::META };
    pub(super) const RW: KeyAccess = KeyAccess { reads: true, ..KeyAccess::W };
    pub(super) const NOT_KEY: KeyAccess = KeyAccess { not_key: true, ..KeyAccess::META };

    /// The same, with others behind it.
    pub(super) const fn incomplete(self) -> KeyAccess {
        KeyAccess { incomplete: true, ..self }
    }
}

/// One key specification: where to begin, and which arguments from there on are keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// Where to begin.
    pub search: KeySearch,
    /// What to take.
    pub found: KeysFound,
    /// What is done with them, at most.
    pub access: KeyAccess,
    /// The arguments may make the access less than that (SET without GET, BITFIELD with only GET).
    pub varies: bool,
}

/// Where a key specification begins. Positions count the command name as 0; in a subcommand's row
/// they still count from the very first argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySearch {
    /// At this argument.
    Index(u16),
    /// Behind the first argument that equals this word (upper case), searched from `from` on;
    /// backwards from the end where `from` is negative.
    Keyword {
        /// The word.
        word: &'static str,
        /// Where the search begins; -1 is the last argument.
        from: i16,
    },
    /// Not told by the specification: [`super::keys`] knows the command by name.
    Unknown,
}

/// Which arguments, from the begin on, are keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeysFound {
    /// Each `step`th up to and including `last` (relative to the begin; negative counts from the
    /// end of the arguments, -1 being the last); with `limit` 2 or more only the first 1/`limit` of
    /// them when `last` is -1.
    Range {
        /// The last one.
        last: i16,
        /// The distance.
        step: u16,
        /// See above; 0 and 1 mean no limit.
        limit: u16,
    },
    /// A count of keys at `count`, keys from `first` on (both relative to the begin), each `step`th.
    Counted {
        /// Where the count stands.
        count: u16,
        /// Where the first key stands.
        first: u16,
        /// The distance.
        step: u16,
    },
    /// Not told by the specification: [`super::keys`] knows the command by name.
    Unknown,
}

/// Where a command's keys are, in short, for finding them without looking at any argument but them.
///
/// Arguments that are no keys but decide the slot as keys do (SPUBLISH's channel) count as keys
/// here: this is for routing. Who must tell them apart asks [`super::keys::find`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPattern {
    /// It has no keys, whatever its arguments.
    None,
    /// This argument is its only key.
    One(u8),
    /// Each `step`th argument from `first` up to and including `last` is a key.
    Range {
        /// The first key; at least 1.
        first: u8,
        /// The last place a key may stand; counted from the end of the arguments if negative, -1
        /// being the last.
        last: i8,
        /// The distance from key to key; at least 1.
        step: u8,
    },
    /// Only [`super::keys`] can tell.
    Complex,
}

impl KeyPattern {
    /// What key specifications come down to. Several that continue each other (RENAME: 1, then 2)
    /// are one range; one whose places are not fixed by its numbers is complex.
    pub(super) const fn of(keys: &[KeySpec]) -> KeyPattern {
        if keys.is_empty() {
            return KeyPattern::None;
        }
        let Some((first, mut last, step)) = KeyPattern::fixed(&keys[0]) else { return KeyPattern::Complex };
        let mut at = 1;
        while at < keys.len() {
            match KeyPattern::fixed(&keys[at]) {
                Some((next, next_last, 1)) if step == 1 && last > 0 && next as i16 == last + 1 => {
                    last = next_last
                }
                _ => return KeyPattern::Complex,
            }
            at += 1;
        }
        if last == first as i16 {
            KeyPattern::One(first as u8)
        } else {
            KeyPattern::Range { first: first as u8, last: last as i8, step: step as u8 }
        }
    }

    /// First, last and step of a specification at fixed places.
    const fn fixed(spec: &KeySpec) -> Option<(u16, i16, u16)> {
        match (spec.search, spec.found) {
            (KeySearch::Index(first), KeysFound::Range { last, step, limit }) if limit < 2 => {
                Some((first, if last < 0 { last } else { first as i16 + last }, step))
            }
            _ => None,
        }
    }

    /// The first key, the last place and the step in a request of `count` arguments; `None` if it
    /// has no key or this pattern cannot tell.
    #[inline]
    pub fn range(self, count: usize) -> Option<(usize, usize, usize)> {
        let (first, last, step) = match self {
            KeyPattern::One(at) => (usize::from(at), usize::from(at), 1),
            KeyPattern::Range { first, last, step } => {
                let from_end = usize::from(last.unsigned_abs());
                let last = if last < 0 { count.checked_sub(from_end)? } else { from_end };
                (usize::from(first), last, usize::from(step))
            }
            KeyPattern::None | KeyPattern::Complex => return None,
        };
        (first <= last && last < count).then_some((first, last, step))
    }
}

/// Which nodes must see a command (the `request_policy` tip).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestPolicy {
    /// By its keys; without keys, any one shard.
    ByKeys,
    /// Every node, replicas included.
    AllNodes,
    /// Every primary.
    AllShards,
    /// Split by key over shards.
    MultiShard,
    /// Its own rule (SCAN).
    Special,
}

/// How several replies become one (the `response_policy` tip).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponsePolicy {
    /// No tip: an array of all for keyless commands, in key order for keyed ones.
    Default,
    /// The first that is no error.
    OneSucceeded,
    /// All must succeed.
    AllSucceeded,
    /// Logical and of integers.
    AggLogicalAnd,
    /// Logical or of integers.
    AggLogicalOr,
    /// The least.
    AggMin,
    /// The greatest.
    AggMax,
    /// The sum.
    AggSum,
    /// Its own rule.
    Special,
}
