//! What all workers know alike of one backend: its configuration, and what is shared between them.

use crate::admin::counters::Registry;
use crate::backend::connection::QueueLimits;
use crate::health::census::Census;
use crate::health::commands::Commands;
use crate::pubsub::audience::Audience;
use crate::route::budget::BudgetLimits;
use crate::route::retry::RetryLimits;
use crate::topology::publish::Published;
use crate::worker::fleet::Fleet;
use crate::worker::scripts::Scripts;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use pointsman_config::Backend;
use pointsman_protocol::HostPort;
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

/// What all connections of a backend have in common.
#[derive(Debug)]
pub struct BackendContext {
    /// Its name.
    pub name: Arc<str>,
    /// Its configuration.
    pub config: Backend,
    /// Bounds on one connection's queue.
    pub queue: QueueLimits,
    /// Bounds on second attempts.
    pub retry: RetryLimits,
    /// How many second attempts there may be in all.
    pub budget: BudgetLimits,
    /// Dials of all workers together pass through here, so that a backend that comes back is not
    /// run over.
    pub dials: DefaultDirectRateLimiter,
    /// Announced addresses and how to reach them.
    pub address_map: HashMap<HostPort, HostPort>,
    /// Who owns what.
    pub snapshots: Arc<Published>,
    /// Where counters are found.
    pub registry: Arc<Registry>,
    /// All workers, for what concerns the clients of each.
    pub fleet: Arc<Fleet>,
    /// What the shards hold.
    pub census: Arc<Census>,
    /// What the nodes say of their commands.
    pub commands: Arc<Commands>,
    /// Scripts that clients sent, of all workers.
    pub scripts: Scripts,
    /// Who is subscribed to what, over all workers.
    pub audience: Arc<Audience>,
}

impl BackendContext {
    /// Derives it from the configuration.
    pub fn new(
        config: &Backend,
        snapshots: Arc<Published>,
        registry: Arc<Registry>,
        fleet: Arc<Fleet>,
    ) -> Self {
        let address_map = config.kind.address_map().iter().cloned().collect();
        let per_second = NonZeroU32::new(config.reconnect.per_second).unwrap_or(NonZeroU32::MIN);
        BackendContext {
            name: Arc::from(config.name.as_str()),
            queue: QueueLimits {
                inflight_max: config.inflight_max,
                inflight_bytes_max: config.inflight_bytes_max,
            },
            retry: RetryLimits {
                redirects_max: u8::try_from(config.retry.redirects_max).unwrap_or(u8::MAX),
                attempts_max: u8::try_from(config.retry.attempts_max).unwrap_or(u8::MAX),
                backoff: config.retry.backoff,
                backoff_max: config.retry.backoff_max,
            },
            budget: BudgetLimits {
                percent: config.retry.budget_percent,
                min_per_second: config.retry.budget_min,
            },
            dials: RateLimiter::direct(Quota::per_second(per_second)),
            address_map,
            scripts: Scripts::new(config.script_count_max, config.script_bytes_max),
            config: config.clone(),
            snapshots,
            registry,
            fleet,
            census: Arc::default(),
            commands: Arc::default(),
            audience: Arc::default(),
        }
    }

    /// Where a node that the cluster announces at `address` is reached.
    pub fn reachable(&self, address: HostPort) -> HostPort {
        match self.address_map.get(&address) {
            Some(mapped) => mapped.clone(),
            None => address,
        }
    }
}
