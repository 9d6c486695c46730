//! What all shards together hold: keys, memory, hits. Sampled from the primaries when a client asks (INFO,
//! CONFIG GET), by a control task, so that the nodes are asked once for however many clients ask.
//!
//! Nobody asks: nothing is sampled. A shard that does not answer is missing from the sums; the
//! figures say so.

use super::kept;
use crate::topology::fetch::{Control, text};
use crate::topology::publish::Published;
use pointsman_config::Backend;
use pointsman_protocol::HostPort;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// The least time between two samples: what INFO may cost the nodes, whoever asks how often.
const INTERVAL: Duration = Duration::from_millis(20);
/// Nobody waits longer for the nodes; then what was known last is told. A client library asks before its first
/// command, and must not wait for a shard that is down.
const PATIENCE: Duration = Duration::from_millis(500);
/// Nodes asked at once.
const ASKED_AT_ONCE: usize = 64;

/// One database, as INFO's `dbN:` line tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Database {
    /// Keys.
    pub keys: u64,
    /// Keys that expire.
    pub expires: u64,
    /// Average time to live in milliseconds, of those that expire.
    pub avg_ttl: u64,
}

/// Sums over the shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Shards that serve slots.
    pub shards: usize,
    /// Those of them that answered.
    pub answered: usize,
    /// By their number.
    pub databases: BTreeMap<u32, Database>,
    /// Bytes.
    pub used_memory: u64,
    /// Bytes.
    pub used_memory_rss: u64,
    /// Bytes.
    pub used_memory_peak: u64,
    /// Bytes; 0 if any shard has no bound.
    pub maxmemory: u64,
    policy: Option<String>,
    /// Commands a second, of the primaries together.
    pub ops_per_sec: u64,
    /// Keys that expired.
    pub expired_keys: u64,
    /// Keys that were evicted.
    pub evicted_keys: u64,
    /// Reads that found their key.
    pub keyspace_hits: u64,
    /// Reads that did not.
    pub keyspace_misses: u64,
}

impl Figures {
    /// What is evicted when memory is full; the first shard speaks for all.
    pub fn policy(&self) -> &str {
        self.policy.as_deref().unwrap_or("noeviction")
    }

    /// Adds what one primary answered to INFO.
    pub fn add(&mut self, info: &str) {
        let mut maxmemory = 0;
        for line in info.lines() {
            let Some((field, value)) = line.trim_end().split_once(':') else { continue };
            let number = || value.parse::<u64>().unwrap_or(0);
            match field {
                "used_memory" => add(&mut self.used_memory, number()),
                "used_memory_rss" => add(&mut self.used_memory_rss, number()),
                "used_memory_peak" => add(&mut self.used_memory_peak, number()),
                "maxmemory" => maxmemory = number(),
                "maxmemory_policy" => {
                    self.policy.get_or_insert_with(|| value.to_owned());
                }
                "expired_keys" => add(&mut self.expired_keys, number()),
                "evicted_keys" => add(&mut self.evicted_keys, number()),
                "instantaneous_ops_per_sec" => add(&mut self.ops_per_sec, number()),
                "keyspace_hits" => add(&mut self.keyspace_hits, number()),
                "keyspace_misses" => add(&mut self.keyspace_misses, number()),
                _ => {
                    if let Some(index) = field.strip_prefix("db").and_then(|index| index.parse().ok()) {
                        self.add_database(index, value);
                    }
                }
            }
        }
        // One shard without a bound is all without a bound.
        let first = self.answered == 0;
        self.maxmemory = match (first, self.maxmemory, maxmemory) {
            (true, _, own) => own,
            (false, 0, _) | (false, _, 0) => 0,
            (false, sum, own) => sum.saturating_add(own),
        };
        self.answered += 1;
    }

    fn add_database(&mut self, index: u32, line: &str) {
        let field = |name: &str| {
            line.split(',')
                .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
                .and_then(|value| value.parse::<u64>().ok())
                .unwrap_or(0)
        };
        let database = self.databases.entry(index).or_default();
        let (expires, avg_ttl) = (field("expires"), field("avg_ttl"));
        let all = database.expires.saturating_add(expires);
        let weighed = u128::from(database.avg_ttl) * u128::from(database.expires)
            + u128::from(avg_ttl) * u128::from(expires);
        database.avg_ttl = u64::try_from(weighed / u128::from(all.max(1))).unwrap_or(u64::MAX);
        add(&mut database.keys, field("keys"));
        database.expires = all;
    }
}

/// Nodes may say anything.
fn add(sum: &mut u64, number: u64) {
    *sum = sum.saturating_add(number);
}

/// See the module's head.
#[derive(Debug)]
pub struct Census {
    /// How often it was asked for; a sample answers all who asked before it began.
    asked: AtomicU64,
    wanted: Notify,
    latest: watch::Sender<(u64, Arc<Figures>)>,
}

impl Default for Census {
    fn default() -> Census {
        Census { asked: AtomicU64::new(0), wanted: Notify::new(), latest: watch::Sender::default() }
    }
}

impl Census {
    /// Figures of a sample that began after this call; if that takes too long the last ones, however old. Those
    /// are empty (nobody `answered`) if there never were any.
    pub async fn fresh(&self) -> Arc<Figures> {
        self.fresh_within(PATIENCE).await
    }

    async fn fresh_within(&self, patience: Duration) -> Arc<Figures> {
        let mine = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        self.wanted.notify_one();
        let mut samples = self.latest.subscribe();
        let covered = samples.wait_for(|(covers, _)| *covers >= mine);
        let fresh = tokio::time::timeout(patience, covered).await;
        match fresh {
            Ok(Ok(sample)) => sample.1.clone(),
            _ => self.latest.borrow().1.clone(),
        }
    }
}

/// Samples one backend whenever it is asked for, forever.
pub async fn run(backend: Backend, published: Arc<Published>, census: Arc<Census>) {
    let mut connections: HashMap<HostPort, Control> = HashMap::new();
    loop {
        census.wanted.notified().await;
        let began = Instant::now();
        let covers = census.asked.load(Ordering::Acquire);
        let snapshot = published.load();
        let primaries: Vec<HostPort> = snapshot
            .topology
            .serving()
            .into_iter()
            .map(|shard| snapshot.topology.node(snapshot.topology.shard(shard).primary).address.clone())
            .collect();
        connections.retain(|node, _| primaries.contains(node));
        let figures = sample(&primaries, &backend, &mut connections).await;
        census.latest.send_replace((covers, Arc::new(figures)));
        sleep_until(began + INTERVAL).await;
    }
}

/// Asks all of `primaries`, many at once.
async fn sample(
    primaries: &[HostPort],
    backend: &Backend,
    connections: &mut HashMap<HostPort, Control>,
) -> Figures {
    let mut figures = Figures { shards: primaries.len(), ..Figures::default() };
    for some in primaries.chunks(ASKED_AT_ONCE) {
        let mut asking = JoinSet::new();
        for node in some {
            let (node, backend, connection) = (node.clone(), backend.clone(), connections.remove(node));
            asking.spawn(async move {
                let answer = kept::ask(&node, &backend, connection, info).await;
                (node, answer)
            });
        }
        while let Some(joined) = asking.join_next().await {
            match joined {
                Ok((node, Ok((info, connection)))) => {
                    connections.insert(node, connection);
                    figures.add(&info);
                }
                Ok((node, Err(error))) => tracing::debug!(%node, error, "a node's figures are unknown"),
                Err(error) => tracing::debug!(%error, "sampling failed"),
            }
        }
    }
    figures
}

async fn info(control: &mut Control) -> Result<String, String> {
    let answer = control.ask(&["INFO"]).await?;
    let info = text(&answer).ok_or("INFO did not answer text")?;
    Ok(String::from_utf8_lossy(info).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "# Memory\r\nused_memory:100\r\nused_memory_peak:200\r\nmaxmemory:1000\r\nmaxmemory_policy:allkeys-lru\r\n\
        # Stats\r\nexpired_keys:1\r\nevicted_keys:2\r\nkeyspace_hits:3\r\nkeyspace_misses:4\r\n\
        # Keyspace\r\ndb0:keys=10,expires=1,avg_ttl=1000\r\n";
    const TWO: &str = "used_memory:1\r\nmaxmemory:500\r\nmaxmemory_policy:noeviction\r\ndb0:keys=5,expires=3,avg_ttl=3000,subexpiry=0\r\ndb3:keys=1,expires=0,avg_ttl=0\r\n";

    #[test]
    fn t28_figures_are_sums_over_the_shards() {
        let mut figures = Figures::default();
        figures.add(ONE);
        figures.add(TWO);
        assert_eq!(figures.answered, 2);
        assert_eq!(figures.databases[&0], Database { keys: 15, expires: 4, avg_ttl: 2500 });
        assert_eq!(figures.databases[&3], Database { keys: 1, ..Database::default() });
        assert_eq!((figures.used_memory, figures.used_memory_peak, figures.maxmemory), (101, 200, 1500));
        assert_eq!(figures.policy(), "allkeys-lru");
        assert_eq!((figures.keyspace_hits, figures.keyspace_misses), (3, 4));
        figures.add("maxmemory:0\r\n");
        figures.add(ONE);
        assert_eq!(figures.maxmemory, 0, "one without a bound");
        figures.add("rubbish");
        figures.add("db0:keys=x,expires\r\ndbx:keys=1\r\nused_memory:-5\r\n");
        assert_eq!(figures.databases[&0].keys, 25);
    }

    #[tokio::test]
    async fn t28_figures_come_from_a_sample_that_began_later() {
        let census = Census::default();
        let patience = Duration::from_millis(1);
        assert_eq!(*census.fresh_within(patience).await, Figures::default(), "nobody samples: the last ones");
        // A sample that began before the question does not answer it.
        census.latest.send_replace((1, Arc::new(Figures { shards: 1, ..Figures::default() })));
        let asked = census.fresh_within(Duration::from_secs(60));
        tokio::pin!(asked);
        tokio::select! {
            _ = &mut asked => panic!("answered from an old sample"),
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
        census.latest.send_replace((2, Arc::new(Figures { shards: 2, ..Figures::default() })));
        assert_eq!(asked.await.shards, 2);
    }
}
