//! The one executor of a node: all of its state, touched by one thread only.
//!
//! Commands run here, inline on the task of the connection that sent them, one after another. There
//! is no lock and no channel on that path; what takes long is cut into turns by those who ask for it.

use crate::cluster::identity;
use crate::command::{HANDLERS, Handlers};
use crate::keyspace::{Keyspace, Place};
use crate::random::Random;
use crate::replication::effects::EffectLog;
use crate::replication::status::LinkStatus;
use crate::server::client::Register;
use crate::stats::Stats;
use crate::{NodeSpec, Role};
use pointsman_protocol::resp::encode;
use pointsman_protocol::{HostPort, NodeId};

/// See the module.
pub struct Executor {
    /// What this node was told to be.
    pub spec: NodeSpec,
    /// Its shard's index in the cluster map.
    pub shard: Option<usize>,
    /// A random id of this run.
    pub run_id: NodeId,
    /// Its data.
    pub keyspace: Keyspace,
    /// What its commands did.
    pub log: EffectLog,
    /// How it follows its primary, if it is a replica.
    pub link: LinkStatus,
    /// Who is connected.
    pub register: Register,
    /// What it has counted.
    pub stats: Stats,
    /// The time of the batch that is running, in milliseconds since 1970.
    pub now_ms: u64,
    /// When it started.
    pub started_ms: u64,
    /// For picking keys.
    pub random: Random,
    /// What each command does.
    pub handlers: &'static Handlers,
}

impl Executor {
    /// A node that holds nothing yet. All that is random about it follows from `seed`.
    pub fn new(spec: NodeSpec, seed: u64, now_ms: u64) -> Executor {
        let mut random = Random::new(seed);
        let run_id = identity::replication_id(random.next());
        let log = EffectLog::new(identity::replication_id(random.next()), &spec.limits);
        let shard = spec.cluster.shard_of(&spec.id);
        let mut executor = Executor {
            shard,
            run_id,
            keyspace: Keyspace::new((random.next(), random.next())),
            log,
            link: LinkStatus { incomplete: spec.role != Role::Primary, ..LinkStatus::default() },
            register: Register::default(),
            stats: Stats::new(now_ms),
            now_ms,
            started_ms: now_ms,
            random,
            handlers: &HANDLERS,
            spec,
        };
        executor.set_time(now_ms);
        executor
    }

    /// Tells the time, in milliseconds since 1970.
    pub fn set_time(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        self.keyspace.set_clock(now_ms);
    }

    /// The primary this node follows, if it is a replica.
    pub fn primary(&self) -> Option<&HostPort> {
        match &self.spec.role {
            Role::Primary => None,
            Role::ReplicaOf(primary) => Some(primary),
        }
    }

    /// True if it is one.
    #[inline]
    pub fn is_replica(&self) -> bool {
        matches!(self.spec.role, Role::ReplicaOf(_))
    }

    /// The epoch of its shard, which every replication message carries.
    pub fn epoch(&self) -> u64 {
        self.shard.and_then(|shard| self.spec.cluster.shards().get(shard)).map_or(0, |shard| shard.epoch)
    }

    /// Removes expired keys for as long as `time_is_up` says no. A replica leaves that to its primary.
    /// True if there may be more to remove.
    pub fn expire_some(&mut self, time_is_up: impl FnMut() -> bool) -> bool {
        if self.is_replica() {
            return false;
        }
        let log = &mut self.log;
        let swept = self.keyspace.sweep(self.now_ms, time_is_up, |place: Place, key: &[u8]| {
            log.stage(Some(crate::keyspace::Cursor::of(place)), |out| encode::request(out, &[b"DEL", key]));
            log.commit();
        });
        self.stats.keys_expired += swept.removed;
        if swept.removed > 0 {
            self.log.wake_followers();
        }
        swept.unfinished
    }
}
