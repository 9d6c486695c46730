//! The rows of [`super::SECTIONS`]: one row a key, nothing else.

use super::Default::{AtMost, Is, Note, Nothing, Required};
use super::Kind::{
    Address, AddressMap, Addresses, Bytes, Choice, Filter, List, Listen, Millis, Name, Named, Secret,
    SectionOrOff, Text, Whole,
};
use super::{Default, Key, Kind, Section};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

const fn key(name: &'static str, kind: Kind, default: Default, meaning: &'static str) -> Key {
    Key { name, kind, default, meaning }
}

/// Every section with its keys, in the order of the reference page.
pub const SECTIONS: &[Section] = &[
    Section {
        path: "",
        about: "Every key may be left out: an empty file runs three bundled shards behind `127.0.0.1:6379`.",
        keys: &[
            key(
                "workers",
                Whole(1, 1024),
                Note("the number of cores"),
                "Worker threads; each owns its clients and its backend connections.",
            ),
            key("log", Kind::Section, Nothing, "How the log is written."),
            key(
                "admin",
                SectionOrOff,
                Nothing,
                "The endpoint for operators: metrics, health, readiness, topology.",
            ),
            key(
                "drain_timeout_ms",
                Millis(0, HOUR),
                Is("5000"),
                "How long open requests may finish after SIGTERM or Ctrl-C.",
            ),
            key("listeners", List, Note("one, at `127.0.0.1:6379`"), "The addresses clients connect to."),
            key(
                "backends",
                Named,
                Note("one, named `main`, bundled"),
                "The stores behind the proxy, each under a name of your choice.",
            ),
        ],
    },
    Section {
        path: "log",
        about: "What is logged, and in which form.",
        keys: &[
            key(
                "format",
                Choice(&["human", "json"]),
                Is("human"),
                "A readable line, or one JSON object a line for a log collector.",
            ),
            key(
                "level",
                Filter,
                Is("info"),
                "How much is logged: a level for everything, or levels by module, as in `info,pointsman::backend=debug`.",
            ),
        ],
    },
    Section {
        path: "admin",
        about: "Write `admin: off` to have no such endpoint. It has no password: keep it on an address that only operators reach.",
        keys: &[key("listen", Listen, Is("127.0.0.1:9180"), "Address and port; port 0 takes a free one.")],
    },
    Section {
        path: "listeners[]",
        about: "One entry for each address clients connect to. At most one of `password`, `password_env` and `password_file` may be given; without any, everyone who reaches the address is let in.",
        keys: &[
            key("listen", Listen, Is("127.0.0.1:6379"), "Address and port; port 0 takes a free one."),
            key("name", Name, Note("the address"), "Its name in logs and metrics."),
            key(
                "backend",
                Name,
                Note("the only backend"),
                "The name of the backend it serves; it may be left out while there is exactly one.",
            ),
            key("password", Secret, Nothing, "What clients must give to AUTH, written here."),
            key("password_env", Text, Nothing, "The environment variable that holds the password."),
            key(
                "password_file",
                Text,
                Nothing,
                "The file that holds the password, without its last line end; relative to the directory of the configuration file.",
            ),
            key(
                "reads",
                Choice(&["primary", "prefer_replica"]),
                Is("primary"),
                "Whether reads always go to the primary, or to a replica while one is known to be close enough.",
            ),
            key(
                "max_lag_bytes",
                Bytes(0, 64 * GIB),
                Is("1MiB"),
                "With `prefer_replica`: how far a replica may be behind, in bytes of the replication stream, and still get reads.",
            ),
            key(
                "max_lag_ms",
                Millis(0, 3_600_000),
                Is("0"),
                "Likewise in time: how long ago it had everything that its primary had. It is known to one `lag.interval_ms`, so a bound below that sends most reads to the primary; 0 for no bound in time.",
            ),
            key(
                "monitor",
                Choice(&["on", "off"]),
                Is("on"),
                "Whether clients may see what all clients of the backend send (MONITOR). Whoever may read every key may see every command, as in Redis; passwords are not shown.",
            ),
            key(
                "pointsman",
                Choice(&["on", "off"]),
                Is("off"),
                "Whether clients may ask the proxy about itself: POINTSMAN EXPLAIN, LAG, TOPOLOGY. The answers name the nodes.",
            ),
            key(
                "cross_slot",
                Choice(&["refuse", "compute"]),
                Is("refuse"),
                "What becomes of SUNION, SINTER, SDIFF, SINTERCARD, ZUNION, ZINTER, ZDIFF, ZINTERCARD, PFCOUNT, PFMERGE and their forms that store when their keys lie in several slots: an error, or the proxy reads the keys and computes the result. What stores is written in one step; reading is not atomic over slots.",
            ),
            key(
                "cross_slot_bytes_max",
                Bytes(KIB, 64 * GIB),
                Is("8MiB"),
                "With `cross_slot: compute`: most bytes that the keys of one such request may bring into the proxy. Computing keeps the worker from its other clients meanwhile.",
            ),
            key(
                "cross_slot_worker_bytes_max",
                Bytes(KIB, 64 * GIB),
                Is("64MiB"),
                "With `cross_slot: compute`: most bytes that all such requests together may hold in one worker.",
            ),
            key(
                "multi_across_slots",
                Choice(&["refuse", "best_effort"]),
                Is("refuse"),
                "What becomes of a transaction over several slots: an error, or one transaction a slot, each atomic by itself but not all together. For clients whose pipelines are MULTI only by habit.",
            ),
            key(
                "blocking_across_slots",
                Choice(&["refuse", "poll"]),
                Is("refuse"),
                "What becomes of BLPOP, BRPOP, BLMPOP, BZPOPMIN, BZPOPMAX and BZMPOP with keys in several slots: a CROSSSLOT error, or a wait in the proxy, which looks at the keys again and again.",
            ),
            key(
                "blocking_poll_ms",
                Millis(1, 1000),
                Is("20"),
                "With `blocking_across_slots: poll`: the longest rest between two looks at the keys of one client. The first ones are shorter.",
            ),
            key(
                "cluster_facade",
                Choice(&["false", "true"]),
                Is("false"),
                "Whether the proxy presents itself as a cluster of one node that owns every slot, for clients that speak the cluster protocol only. Others are served as before.",
            ),
            key(
                "advertise",
                Address,
                Note("where the client connected to"),
                "With `cluster_facade`: the address that such clients are told. To be given where they reach the proxy through a balancer or a port mapping; several proxies with the same one are the same node to them.",
            ),
            key(
                "siblings",
                Addresses,
                Nothing,
                "With `cluster_facade`: other proxies in front of the same store. Such clients are told them as replicas of this one, and turn to them when this one is gone. This proxy itself may be among them, so that all have the same list.",
            ),
            key("client_limits", Kind::Section, Nothing, "What one client may make the proxy hold."),
            key(
                "limits",
                List,
                Nothing,
                "What clients may ask for in a while; without any, as much as they like.",
            ),
            key(
                "limits_keys_max",
                Whole(1, 10_000_000),
                Is("100000"),
                "Addresses whose use of a limit is remembered, of each limit; those beyond share one allowance.",
            ),
        ],
    },
    Section {
        path: "listeners[].client_limits",
        about: "Bounds on what clients can make the proxy hold. Before a client has given a required password, much tighter bounds hold, and they are fixed.",
        keys: &[
            key(
                "clients_max",
                Whole(1, 1_000_000),
                Is("10000"),
                "Most clients of this listener at a time; further ones get an error and are closed.",
            ),
            key(
                "inflight_max",
                Whole(1, 1_000_000),
                Is("1024"),
                "Pipelined requests of one client in flight; beyond it the proxy stops reading from that client.",
            ),
            key(
                "args_max",
                Whole(16, 16 * MIB),
                Is("1048576"),
                "Most arguments of one request, the command name included.",
            ),
            key(
                "bulk_bytes_max",
                Bytes(KIB, 2 * GIB),
                AtMost("512MiB", "request_bytes_max"),
                "Most bytes of one argument.",
            ),
            key("request_bytes_max", Bytes(KIB, 2 * GIB), Is("1GiB"), "Most bytes of one request."),
            key(
                "inline_bytes_max",
                Bytes(64, MIB),
                AtMost("64KiB", "request_bytes_max"),
                "Most bytes of one inline request (a line typed by hand).",
            ),
            key(
                "output_bytes_max",
                Bytes(64 * KIB, 64 * GIB),
                Is("64MiB"),
                "Unread replies of one client; beyond it the client is closed.",
            ),
            key(
                "output_pause_bytes",
                Bytes(4 * KIB, 64 * GIB),
                AtMost("1MiB", "output_bytes_max"),
                "Unread replies of one client beyond which its further requests wait.",
            ),
            key(
                "idle_timeout_ms",
                Millis(0, 7 * DAY),
                Is("0"),
                "A client silent for this long is closed, unless it is subscribed, monitors, or waits for a reply; 0 means never.",
            ),
            key(
                "subscriptions_max",
                Whole(1, 10_000_000),
                Is("10000"),
                "Channels, patterns and shard channels that one client may be subscribed to.",
            ),
        ],
    },
    Section {
        path: "listeners[].limits[]",
        about: "A limit. All workers count together. A request beyond it gets the error `THROTTLED` in its place, with the time after which it may come again; nothing is closed and nothing waits. All limits that hold for a request are asked. Without `commands`, what only concerns the connection or a transaction as such (`AUTH`, `PING`, `MULTI` ...) is not counted. At least one of `requests_per_second`, `bytes_per_second` and `inflight_max` is given.",
        keys: &[
            key("name", Name, Required, "Its name in errors and metrics."),
            key(
                "per",
                Choice(&["listener", "address", "client"]),
                Note("client"),
                "Whose requests are counted together: those of all clients, of all from one address (of IPv6 the first 64 bits), or of each connection.",
            ),
            crate::limits::PREFIX,
            crate::limits::COMMANDS,
            key("requests_per_second", Whole(1, 10_000_000), Nothing, "Requests in a second."),
            key(
                "bytes_per_second",
                Bytes(1, 64 * GIB),
                Nothing,
                "Bytes of requests in a second, and of replies where the limit holds for all commands and keys. A request may begin when all before it have been paid for, whatever its own size.",
            ),
            key("inflight_max", Whole(1, 10_000_000), Nothing, "Requests that are not answered yet."),
            key(
                "burst_ms",
                Millis(1, MINUTE),
                Note("1000"),
                "For how long what was not used is saved up: so much may come at once after a pause.",
            ),
        ],
    },
    Section {
        path: "backends.*",
        about: "One entry for each store, under its name. Exactly one of `bundled`, `cluster`, `primary`, `sentinel` and `fixed` says what it is.",
        keys: &[
            key(
                "bundled",
                Kind::Section,
                Note("exactly one of the five is given"),
                "Nodes started inside this process.",
            ),
            key(
                "cluster",
                Kind::Section,
                Note("exactly one of the five is given"),
                "An existing Redis or Valkey Cluster.",
            ),
            key(
                "primary",
                Kind::Section,
                Note("exactly one of the five is given"),
                "One primary with its replicas, without cluster mode.",
            ),
            key(
                "sentinel",
                Kind::Section,
                Note("exactly one of the five is given"),
                "One or several groups of a primary with its replicas that sentinels watch.",
            ),
            key(
                "fixed",
                Kind::Section,
                Note("exactly one of the five is given"),
                "A fixed number of shards without cluster mode, each a primary with its replicas.",
            ),
            key(
                "connections_per_node",
                Whole(1, 64),
                Is("1"),
                "Shared connections of each worker to each node; requests on one key always take the same one.",
            ),
            key(
                "connect_timeout_ms",
                Millis(1, 10 * MINUTE),
                Is("1000"),
                "From the start of a connect to a usable connection.",
            ),
            key("request_timeout_ms", Millis(1, HOUR), Is("3000"), "One request, all its attempts together."),
            key(
                "stall_timeout_ms",
                Millis(1, HOUR),
                Is("6000"),
                "A connection that owes replies and makes no progress for this long is closed.",
            ),
            key("reconnect", Kind::Section, Nothing, "How a lost connection is made again."),
            key("retry", Kind::Section, Nothing, "How a request that was not executed is tried again."),
            key("breaker", SectionOrOff, Nothing, "When requests to a node fail at once."),
            key(
                "failover_hold_ms",
                Millis(0, HOUR),
                Is("0"),
                "How long requests that were not executed wait while their shard has no primary, instead of failing after `attempts_max`; choose it above the time that a failover takes and below what your clients wait themselves. The longer of it and `request_timeout_ms` is then their deadline. 0 does not wait.",
            ),
            key(
                "failover_hold_requests_max",
                Whole(1, 10_000_000),
                Is("10000"),
                "Requests of each worker that may wait so; further ones fail at once.",
            ),
            key(
                "failover_hold_bytes_max",
                Bytes(64 * KIB, 64 * GIB),
                Is("64MiB"),
                "Bytes of the requests of each worker that may wait so.",
            ),
            key(
                "inflight_bytes_max",
                Bytes(64 * KIB, 64 * GIB),
                Is("64MiB"),
                "Request bytes waiting on one backend connection.",
            ),
            key(
                "inflight_max",
                Whole(1, 10_000_000),
                Is("100000"),
                "Requests waiting on one backend connection.",
            ),
            key(
                "reply_bytes_max",
                Bytes(64 * KIB, 2 * GIB),
                Is("512MiB"),
                "Most bytes of one reply; a connection that exceeds it is closed.",
            ),
            key("pool", Kind::Section, Nothing, "Connections of clients' own: WATCH and blocking commands."),
            key(
                "script_count_max",
                Whole(0, 1_000_000),
                Is("1000"),
                "Scripts that clients sent and the proxy remembers, so that EVALSHA works on a node that does not have them; the oldest are forgotten first.",
            ),
            key("script_bytes_max", Bytes(0, 4 * GIB), Is("16MiB"), "Bytes of all scripts remembered."),
            key(
                "subscriptions_max",
                Whole(1, 100_000_000),
                Is("100000"),
                "Different channels, patterns and shard channels that the clients of one worker may be subscribed to; their names may take 256 bytes each on average.",
            ),
            key(
                "tracking_keys_max",
                Whole(1, 1_000_000_000),
                Is("1000000"),
                "Keys that the clients of one worker with CLIENT TRACKING have read and may keep, each counted once a client; beyond it the key read longest ago is told to be invalid.",
            ),
            key(
                "tracking_bytes_max",
                Bytes(64 * KIB, 64 * GIB),
                Is("128MiB"),
                "Bytes of all these keys together.",
            ),
            key(
                "monitor_per_second",
                Whole(1, 10_000_000),
                Is("10000"),
                "Requests of each worker shown to clients in MONITOR in one second; of the others only the number is told.",
            ),
            key(
                "databases_max",
                Whole(1, 1000),
                Is("16"),
                "Databases that clients may SELECT: those below this number, as far as the nodes have them (their own `databases`). Each worker opens connections of its own for each database in use. A cluster has only database 0.",
            ),
            key(
                "unknown_commands",
                Choice(&["refuse", "first_key"]),
                Is("refuse"),
                "What becomes of a command that neither the proxy knows nor the nodes announce (COMMAND): it is refused, or its first argument is taken for its key and it goes to the primary, as a write.",
            ),
            key("topology", Kind::Section, Nothing, "How the slot map is kept fresh."),
            key("lag", Kind::Section, Nothing, "How the lag of replicas is known."),
        ],
    },
    Section {
        path: "backends.*.bundled",
        about: "Nodes inside this process, on consecutive loopback ports. They keep everything in memory.",
        keys: &[
            key("shards", Whole(1, 128), Is("3"), "How many parts the keys are spread over."),
            key("replicas", Whole(0, 8), Is("1"), "Copies of each shard beside its primary."),
            key("node_port", Whole(1, 65535), Is("7001"), "Port of the first node; the others follow."),
        ],
    },
    Section {
        path: "backends.*.cluster",
        about: "The proxy finds all nodes by asking one of the seeds. At most one of `password`, `password_env` and `password_file` may be given.",
        keys: &[
            key("seeds", Addresses, Required, "Nodes to ask for the topology first."),
            key(
                "username",
                Text,
                Nothing,
                "The ACL user; without it the default user logs in. It needs a password.",
            ),
            key("password", Secret, Nothing, "The password the nodes want, written here."),
            key("password_env", Text, Nothing, "The environment variable that holds the password."),
            key(
                "password_file",
                Text,
                Nothing,
                "The file that holds the password, without its last line end; relative to the directory of the configuration file.",
            ),
            key(
                "address_map",
                AddressMap,
                Nothing,
                "How to reach a node that announces an address which is not reachable from here (containers, NAT).",
            ),
        ],
    },
    Section {
        path: "backends.*.primary",
        about: "The proxy asks the seeds, and the replicas and the primary that these announce, who they are; whichever says that it is the primary gets the writes. A change of roles is noticed by itself. At most one of `password`, `password_env` and `password_file` may be given.",
        keys: &[
            key(
                "seeds",
                Addresses,
                Required,
                "Any nodes of the group; one is enough, several help while one is down.",
            ),
            key(
                "username",
                Text,
                Nothing,
                "The ACL user; without it the default user logs in. It needs a password.",
            ),
            key("password", Secret, Nothing, "The password the nodes want, written here."),
            key("password_env", Text, Nothing, "The environment variable that holds the password."),
            key(
                "password_file",
                Text,
                Nothing,
                "The file that holds the password, without its last line end; relative to the directory of the configuration file.",
            ),
            key(
                "address_map",
                AddressMap,
                Nothing,
                "How to reach a node that announces an address which is not reachable from here (containers, NAT).",
            ),
        ],
    },
    Section {
        path: "backends.*.sentinel",
        about: "The sentinels say which node is the primary of each group, and the proxy asks that node itself before it believes them. With several groups the keys are divided over them by CRC16 slots, in even ranges in the order given; that order may never change. User and password are those of the nodes.",
        keys: &[
            key(
                "sentinels",
                Addresses,
                Required,
                "All sentinels that are to be asked; of what they tell, the newest counts, then what most of them tell.",
            ),
            key(
                "groups",
                Kind::Names,
                Required,
                "What the sentinels call the groups, in the order of their keys.",
            ),
            key("login", Kind::Section, Nothing, "How to log in to the sentinels."),
            key(
                "username",
                Text,
                Nothing,
                "The ACL user; without it the default user logs in. It needs a password.",
            ),
            key("password", Secret, Nothing, "The password the nodes want, written here."),
            key("password_env", Text, Nothing, "The environment variable that holds the password."),
            key(
                "password_file",
                Text,
                Nothing,
                "The file that holds the password, without its last line end; relative to the directory of the configuration file.",
            ),
            key(
                "address_map",
                AddressMap,
                Nothing,
                "How to reach a node that announces an address which is not reachable from here (containers, NAT).",
            ),
        ],
    },
    Section {
        path: "backends.*.sentinel.login",
        about: "User and password of the sentinels, if they want any. At most one of `password`, `password_env` and `password_file` may be given.",
        keys: &[
            key(
                "username",
                Text,
                Nothing,
                "The ACL user; without it the default user logs in. It needs a password.",
            ),
            key("password", Secret, Nothing, "The password the nodes want, written here."),
            key("password_env", Text, Nothing, "The environment variable that holds the password."),
            key(
                "password_file",
                Text,
                Nothing,
                "The file that holds the password, without its last line end; relative to the directory of the configuration file.",
            ),
        ],
    },
    Section {
        path: "backends.*.fixed",
        about: "The keys are divided over the shards by a rule that may never change while they hold data, and neither may the number of shards, nor their order, names or weights: no key is ever moved, and while a shard is down its keys answer errors. User and password are the same for all nodes.",
        keys: &[
            key("shards", Kind::List, Required, "The shards, in the order of their keys."),
            key(
                "distribution",
                Choice(&["slots", "ketama", "modula"]),
                Note("`slots`"),
                "`slots`: even ranges of CRC16 slots in the order given; `ketama` and `modula`: where twemproxy has the key, so that data need not be moved.",
            ),
            key(
                "hash",
                Choice(&[
                    "fnv1a_64",
                    "fnv1_64",
                    "fnv1a_32",
                    "fnv1_32",
                    "md5",
                    "crc16",
                    "crc32",
                    "crc32a",
                    "one_at_a_time",
                ]),
                Note("`fnv1a_64`"),
                "What makes a number of a key, as twemproxy names it; only with `ketama` and `modula`.",
            ),
            key(
                "hash_tag",
                Text,
                Nothing,
                "Two characters: what stands between them decides where a key is, like `{}`; only with `ketama` and `modula`.",
            ),
            key(
                "username",
                Text,
                Nothing,
                "The ACL user; without it the default user logs in. It needs a password.",
            ),
            key("password", Secret, Nothing, "The password the nodes want, written here."),
            key("password_env", Text, Nothing, "The environment variable that holds the password."),
            key(
                "password_file",
                Text,
                Nothing,
                "The file that holds the password, without its last line end; relative to the directory of the configuration file.",
            ),
            key(
                "address_map",
                AddressMap,
                Nothing,
                "How to reach a node that announces an address which is not reachable from here (containers, NAT).",
            ),
        ],
    },
    Section {
        path: "backends.*.fixed.shards[]",
        about: "One shard.",
        keys: &[
            key("seeds", Addresses, Required, "Any nodes of the shard, as with `primary`."),
            key(
                "name",
                Text,
                Note("its first seed"),
                "What the shard is called: that decides which keys it has; only with `ketama` and `modula`.",
            ),
            key(
                "weight",
                Whole(1, 1000),
                Note("1"),
                "How much of the keys it has, against the others; only with `ketama` and `modula`.",
            ),
        ],
    },
    Section {
        path: "backends.*.reconnect",
        about: "The wait between attempts doubles after each failure, with some chance mixed in.",
        keys: &[
            key(
                "backoff_ms",
                Millis(1, MINUTE),
                AtMost("50", "backoff_max_ms"),
                "Wait after the first failure.",
            ),
            key("backoff_max_ms", Millis(1, 10 * MINUTE), Is("5000"), "Longest wait."),
            key(
                "per_second",
                Whole(1, 100_000),
                Is("100"),
                "Most connection attempts to this backend in a second, all workers together.",
            ),
        ],
    },
    Section {
        path: "backends.*.retry",
        about: "A request that no node has executed is tried again, and a read; a write whose fate is unknown never is. `request_timeout_ms` ends all of it.",
        keys: &[
            key(
                "redirects_max",
                Whole(0, 64),
                Is("5"),
                "MOVED and ASK replies followed at once for one request; each further one costs a backoff and an attempt.",
            ),
            key(
                "attempts_max",
                Whole(1, 100),
                Is("8"),
                "Sendings of one request, the first included; redirects followed at once are not counted.",
            ),
            key(
                "backoff_ms",
                Millis(1, MINUTE),
                AtMost("10", "backoff_max_ms"),
                "First wait where waiting helps (TRYAGAIN, LOADING and the like); it doubles each time.",
            ),
            key("backoff_max_ms", Millis(1, 10 * MINUTE), Is("500"), "Longest wait."),
            key(
                "budget_percent",
                Whole(0, 1000),
                Is("20"),
                "Second attempts for a hundred requests, weighed over some ten seconds; redirects and what was never sent are not counted.",
            ),
            key(
                "budget_min",
                Whole(0, 1_000_000),
                Is("10"),
                "Second attempts of each worker in a second, however little traffic there is.",
            ),
        ],
    },
    Section {
        path: "backends.*.pool",
        about: "What a client watches or waits for lives on a connection that it has for itself meanwhile. The numbers are those of one worker.",
        keys: &[
            key("max_active", Whole(1, 1_000_000), Is("100"), "Such connections, in use and free ones."),
            key("max_idle", Whole(0, 100_000), Is("50"), "How many are kept for the next client."),
            key(
                "connect_timeout_ms",
                Millis(1, 10 * MINUTE),
                Is("2000"),
                "From the start of a connect to a usable connection.",
            ),
            key(
                "wait_ms",
                Millis(0, HOUR),
                Is("1000"),
                "How long a client waits for one to be free, first come first served, before it gets an error; 0: not at all.",
            ),
        ],
    },
    Section {
        path: "backends.*.breaker",
        about: "Requests to a node that is in trouble fail at once, until it answers again; each worker judges for itself. Write `breaker: off` to let each wait for its deadline. Errors that are a command's own do not count.",
        keys: &[
            key(
                "failures",
                Whole(1, 1_000_000),
                Is("5"),
                "Failures without an answer in between: requests not answered within `request_timeout_ms`; or connections that cannot be made, or LOADING, MASTERDOWN and CLUSTERDOWN, for at least a second.",
            ),
            key(
                "failure_percent",
                Whole(1, 100),
                Is("50"),
                "Or so many of a hundred requests within `window_ms`, although it answers others.",
            ),
            key("window_ms", Millis(100, HOUR), Is("10000"), "How far back that looks."),
            key(
                "requests_min",
                Whole(1, 10_000_000),
                Is("20"),
                "Requests in that time below which the share says nothing.",
            ),
            key(
                "open_ms",
                Millis(1, 10 * MINUTE),
                AtMost("1000", "open_max_ms"),
                "How long nothing is sent before the node is asked again (PING); doubled each time it does not answer.",
            ),
            key("open_max_ms", Millis(1, HOUR), Is("30000"), "The longest such time."),
        ],
    },
    Section {
        path: "backends.*.topology",
        about: "The slot map is asked for after redirects and failures, and now and then without a reason.",
        keys: &[
            key(
                "refresh_interval_ms",
                Millis(100, HOUR),
                Is("10000"),
                "How often it is asked for without any reason.",
            ),
            key(
                "refresh_min_interval_ms",
                Millis(10, 10 * MINUTE),
                AtMost("200", "refresh_interval_ms"),
                "Never more often than this, whatever the reasons.",
            ),
        ],
    },
    Section {
        path: "backends.*.lag",
        about: "A replica gets reads only while a fresh sample of its replication offset shows that it is close enough.",
        keys: &[
            key(
                "interval_ms",
                Millis(10, MINUTE),
                AtMost("500", "stale_after_ms"),
                "How often offsets are sampled.",
            ),
            key(
                "stale_after_ms",
                Millis(10, 10 * MINUTE),
                Is("2000"),
                "A sample older than this counts as unknown, and the primary takes the reads.",
            ),
        ],
    },
];

/// What the reference page begins with.
pub(super) const HEAD: &str = "\
# Configuration reference

<!-- Printed from config/src/reference_table.rs; change it there, then regenerate with
     POINTSMAN_REGENERATE=1 cargo test -p pointsman-config reference_page -->

The file is YAML. Every key may be left out unless it is marked as required; a key that is not listed
here is an error. `pointsman check FILE` reports every problem of a file at once, with its line.

- **Sizes** are plain bytes or carry a unit: `64KiB`, `1MiB`, `2GiB` go in steps of 1024, `64KB`, `1MB`,
  `2GB` in steps of 1000.
- **Durations** are whole milliseconds; their keys end in `_ms`.
- **Secrets** are never shown, neither in messages nor in logs.
- `[]` in a heading stands for each entry of a list, `*` for each name of a map.

`examples/full.yaml` shows every key with its default; the other files beside it show one use each.
";
