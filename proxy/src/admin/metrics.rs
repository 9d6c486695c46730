//! Turns counters into the text that Prometheus reads. Names and meanings are listed in README.md.

use super::counters::{LATENCY_BOUNDS_US, Outcome, WorkerCounters};
use super::http::Status;
use crate::client::state::Class;
use crate::route::retry::Cause;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};
use std::collections::BTreeMap;

/// The whole page.
pub fn page(status: &Status) -> Vec<u8> {
    let mut families = Vec::new();
    workers(status, &mut families);
    nodes(status, &mut families);
    topologies(status, &mut families);
    limits(status, &mut families);
    let mut page = Vec::new();
    // Writing to memory fails only for a family without metrics, and none is without.
    if let Err(error) = TextEncoder::new().encode(&families, &mut page) {
        tracing::error!(%error, "metrics cannot be written");
    }
    page
}

/// Collects one family.
struct Family {
    family: MetricFamily,
    kind: MetricType,
    metrics: Vec<Metric>,
}

impl Family {
    fn new(kind: MetricType, name: &str, help: &str) -> Family {
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        Family { family, kind, metrics: Vec::new() }
    }

    fn add(&mut self, labels: &[(&str, &str)], value: f64) {
        let mut metric = labelled(labels);
        if self.kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.metrics.push(metric);
    }

    fn into(mut self, families: &mut Vec<MetricFamily>) {
        if !self.metrics.is_empty() {
            self.family.set_metric(self.metrics);
            families.push(self.family);
        }
    }
}

fn labelled(labels: &[(&str, &str)]) -> Metric {
    let pairs = labels.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    Metric::from_label(pairs.collect())
}

/// Appends a family with one value a backend, summed over workers.
fn by_backend(
    families: &mut Vec<MetricFamily>,
    workers: &BTreeMap<String, Vec<std::sync::Arc<WorkerCounters>>>,
    (kind, name, help): (MetricType, &str, &str),
    value: impl Fn(&WorkerCounters) -> u64,
) {
    let mut family = Family::new(kind, name, help);
    for (backend, counters) in workers {
        family.add(
            &[("backend", backend)],
            counters.iter().map(|counters| value(counters)).sum::<u64>() as f64,
        );
    }
    family.into(families);
}

fn workers(status: &Status, families: &mut Vec<MetricFamily>) {
    let mut workers: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for (backend, counters) in status.registry.workers() {
        workers.entry(backend.to_string()).or_default().push(counters);
    }
    let sum = |counters: &[std::sync::Arc<WorkerCounters>], value: &dyn Fn(&WorkerCounters) -> u64| -> f64 {
        counters.iter().map(|counters| value(counters)).sum::<u64>() as f64
    };
    let mut requests = Family::new(
        MetricType::COUNTER,
        "pointsman_requests_total",
        "Requests answered, by class (read, write, multi, local) and outcome (ok, error: the command's own, failed: no backend answered).",
    );
    let mut retries = Family::new(
        MetricType::COUNTER,
        "pointsman_retries_total",
        "Second attempts, by the cause that made the one before come to nothing.",
    );
    let mut redirects =
        Family::new(MetricType::COUNTER, "pointsman_redirects_total", "Redirects followed, by kind.");
    let mut failures = Family::new(
        MetricType::COUNTER,
        "pointsman_failures_total",
        "Requests answered with a failure of the proxy's own, by kind.",
    );
    for (backend, counters) in &workers {
        let backend = backend.as_str();
        for (class, class_name) in Class::ALL {
            for (outcome, outcome_name) in Outcome::ALL {
                let value = sum(counters, &|counters| counters.requests(class, outcome));
                requests
                    .add(&[("backend", backend), ("class", class_name), ("outcome", outcome_name)], value);
            }
        }
        for cause in Cause::ALL {
            retries.add(
                &[("backend", backend), ("cause", cause.label())],
                sum(counters, &|counters| counters.retries(cause)),
            );
        }
        redirects.add(
            &[("backend", backend), ("kind", "moved")],
            sum(counters, &|counters| counters.redirects_moved.get()),
        );
        redirects.add(
            &[("backend", backend), ("kind", "ask")],
            sum(counters, &|counters| counters.redirects_ask.get()),
        );
        let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
        for (kind, count) in counters.iter().flat_map(|counters| counters.failures()) {
            *kinds.entry(kind).or_insert(0) += count;
        }
        for (kind, count) in kinds {
            failures.add(&[("backend", backend), ("kind", kind)], count as f64);
        }
    }
    for family in [requests, retries, redirects, failures] {
        family.into(families);
    }
    let (counter, gauge) = (MetricType::COUNTER, MetricType::GAUGE);
    let mut add = |head, value: &dyn Fn(&WorkerCounters) -> u64| by_backend(families, &workers, head, value);
    add((gauge, "pointsman_inflight_requests", "Requests on backend connections without a reply."), &|c| {
        c.inflight.get()
    });
    add((gauge, "pointsman_client_connections", "Clients connected."), &|c| c.clients.get());
    add((counter, "pointsman_client_connections_total", "Clients accepted."), &|c| c.clients_total.get());
    add(
        (
            counter,
            "pointsman_clients_overflowed_total",
            "Clients closed because they did not read their replies.",
        ),
        &|c| c.clients_overflowed.get(),
    );
    add(
        (counter, "pointsman_protocol_errors_total", "Clients closed because they sent no valid request."),
        &|c| c.protocol_errors.get(),
    );
    add(
        (
            gauge,
            "pointsman_pinned_connections",
            "Connections that belong to one client for a while, or wait for the next.",
        ),
        &|c| c.pinned.get(),
    );
    add((gauge, "pointsman_pool_idle_connections", "Those of them that wait for the next client."), &|c| {
        c.pool_idle.get()
    });
    add(
        (gauge, "pointsman_pool_crowded_workers", "Workers that use more than 80 % of pool.max_active."),
        &|c| c.pool_crowded.get(),
    );
    add(
        (gauge, "pointsman_pool_waiting_clients", "Clients that wait for a connection of their own."),
        &|c| c.pool_waiting.get(),
    );
    add(
        (
            counter,
            "pointsman_pool_waited_milliseconds_total",
            "Time that clients have waited for a connection of their own.",
        ),
        &|c| c.pool_waited_us.get() / 1000,
    );
    add(
        (
            gauge,
            "pointsman_vigils",
            "Clients that wait for keys of several slots, which are looked at again and again for them.",
        ),
        &|c| c.vigils.get(),
    );
    add((gauge, "pointsman_blocked_clients", "Clients that wait in a blocking command or in WAIT."), &|c| {
        c.blocked.get()
    });
    add((gauge, "pointsman_cross_slot_bytes", "Bytes held for set algebra over several slots."), &|c| {
        c.cross_slot_bytes.get()
    });
    add(
        (
            counter,
            "pointsman_cross_slot_refused_total",
            "Requests over several slots that would have held more than they may.",
        ),
        &|c| c.cross_slot_refused.get(),
    );
    add((gauge, "pointsman_detours", "Clients whose next requests wait behind a second attempt."), &|c| {
        c.detours.get()
    });
    add((gauge, "pointsman_held_requests", "Requests that wait for a primary (failover_hold_ms)."), &|c| {
        c.held.get()
    });
    add(
        (gauge, "pointsman_breakers_open", "Nodes to which requests fail at once, as each worker sees it."),
        &|c| c.breakers_open.get(),
    );
    add(
        (
            counter,
            "pointsman_breaker_opened_total",
            "Times a worker began to fail requests to a node at once.",
        ),
        &|c| c.breaker_opened.get(),
    );
    add((gauge, "pointsman_held_bytes", "Bytes of requests that wait for a primary."), &|c| {
        c.held_bytes.get()
    });
    add((counter, "pointsman_held_requests_total", "Requests that had to wait for a primary."), &|c| {
        c.held_total.get()
    });
    add(
        (
            counter,
            "pointsman_hold_given_up_total",
            "Requests that waited for a primary and got an error in the end.",
        ),
        &|c| c.hold_given_up.get(),
    );
    add(
        (
            counter,
            "pointsman_retries_denied_total",
            "Second attempts not made because of budget_percent and budget_min.",
        ),
        &|c| c.retries_denied.get(),
    );
    add(
        (
            counter,
            "pointsman_orphan_replies_total",
            "Replies thrown away because nobody waited for them any more.",
        ),
        &|c| c.orphan_replies.get(),
    );
    add(
        (
            counter,
            "pointsman_converted_replies_total",
            "Replies of nodes that speak only RESP2, converted for clients of RESP3.",
        ),
        &|c| c.converted_replies.get(),
    );
    add(
        (
            counter,
            "pointsman_unknown_commands_refused_total",
            "Requests refused because neither the proxy nor a node knows their command.",
        ),
        &|c| c.unknown_refused.get(),
    );
    add(
        (
            counter,
            "pointsman_unknown_commands_announced_total",
            "Requests that went by what the nodes say of their command (COMMAND).",
        ),
        &|c| c.unknown_announced.get(),
    );
    add(
        (
            counter,
            "pointsman_unknown_commands_by_first_key_total",
            "Requests of unknown commands that went by their first argument (unknown_commands: first_key).",
        ),
        &|c| c.unknown_by_rule.get(),
    );
    add((gauge, "pointsman_subscriptions", "Subscriptions that clients have."), &|c| {
        c.pubsub.subscriptions.get()
    });
    add(
        (
            gauge,
            "pointsman_backend_subscriptions",
            "Channels and patterns subscribed to at the backend, once a worker however many clients want them.",
        ),
        &|c| c.pubsub.topics.get(),
    );
    add((counter, "pointsman_messages_delivered_total", "Messages given to subscribed clients."), &|c| {
        c.pubsub.delivered.get()
    });
    add(
        (
            counter,
            "pointsman_resubscriptions_total",
            "Subscriptions made again at the backend after a lost connection or a topology change.",
        ),
        &|c| c.pubsub.resubscriptions.get(),
    );
    add(
        (counter, "pointsman_subscriber_connections_lost_total", "Subscriber connections that broke."),
        &|c| c.pubsub.connections_lost.get(),
    );
    add((gauge, "pointsman_tracking_clients", "Clients with CLIENT TRACKING on."), &|c| {
        c.tracking.clients.get()
    });
    add(
        (
            gauge,
            "pointsman_tracking_keys",
            "Keys that clients with tracking have read and may keep, by worker.",
        ),
        &|c| c.tracking.keys.get(),
    );
    add((counter, "pointsman_invalidations_total", "Invalidations told to clients with tracking."), &|c| {
        c.tracking.told.get()
    });
    add(
        (
            counter,
            "pointsman_tracking_given_up_total",
            "Keys that clients had to forget because of tracking_keys_max or tracking_bytes_max.",
        ),
        &|c| c.tracking.given_up.get(),
    );
    add(
        (
            counter,
            "pointsman_tracking_connections_lost_total",
            "Connections that watch a primary for changes and broke; all clients with tracking had to forget everything.",
        ),
        &|c| c.tracking.connections_lost.get(),
    );
    add((gauge, "pointsman_monitors", "Clients in MONITOR."), &|c| c.monitors.get());
    add(
        (
            counter,
            "pointsman_monitor_dropped_total",
            "Requests not shown by MONITOR because of monitor_per_second.",
        ),
        &|c| c.monitor_dropped.get(),
    );
}

fn limits(status: &Status, families: &mut Vec<MetricFamily>) {
    let mut refused = Family::new(
        MetricType::COUNTER,
        "pointsman_throttled_total",
        "Requests refused because of a limit of their listener.",
    );
    let mut keys = Family::new(
        MetricType::GAUGE,
        "pointsman_limit_addresses",
        "Addresses whose use of a limit is remembered.",
    );
    for (listener, throttle) in &status.throttles {
        for rule in throttle.rules() {
            let labels = [("listener", listener.as_str()), ("limit", rule.limit.name.as_str())];
            refused.add(&labels, rule.refused() as f64);
            keys.add(&labels, rule.keys() as f64);
        }
    }
    refused.into(families);
    keys.into(families);
}

fn nodes(status: &Status, families: &mut Vec<MetricFamily>) {
    let nodes = status.registry.nodes();
    let mut latency = Family::new(
        MetricType::HISTOGRAM,
        "pointsman_backend_latency_seconds",
        "Time from a request's arrival to its reply from the node; requests answered at the first attempt.",
    );
    for ((backend, node), counters) in &nodes {
        let node = node.to_string();
        let mut metric = labelled(&[("backend", backend), ("node", &node)]);
        let (mut count, mut buckets) = (0, Vec::new());
        for (index, bound) in
            LATENCY_BOUNDS_US.iter().map(|us| *us as f64 / 1e6).chain([f64::INFINITY]).enumerate()
        {
            count += counters.iter().map(|counters| counters.latencies()[index]).sum::<u64>();
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(count);
            buckets.push(bucket);
        }
        let mut histogram = Histogram::default();
        histogram.set_sample_count(count);
        histogram.set_sample_sum(
            counters.iter().map(|counters| counters.latency_sum_us.get()).sum::<u64>() as f64 / 1e6,
        );
        histogram.set_bucket(buckets);
        metric.set_histogram(histogram);
        latency.metrics.push(metric);
    }
    latency.into(families);
    type Read = fn(&super::counters::NodeCounters) -> u64;
    let plain: [(MetricType, &str, &str, Read); 6] = [
        (MetricType::GAUGE, "pointsman_backend_connections", "Connections to the node that are up.", |c| {
            c.connections.get()
        }),
        (
            MetricType::COUNTER,
            "pointsman_backend_connect_failures_total",
            "Connections that could not be made.",
            |c| c.connect_failures.get(),
        ),
        (MetricType::COUNTER, "pointsman_backend_connections_lost_total", "Connections that broke.", |c| {
            c.connections_lost.get()
        }),
        (MetricType::COUNTER, "pointsman_backend_sent_bytes_total", "Bytes sent to the node.", |c| {
            c.sent_bytes.get()
        }),
        (
            MetricType::COUNTER,
            "pointsman_backend_received_bytes_total",
            "Bytes received from the node.",
            |c| c.received_bytes.get(),
        ),
        (
            MetricType::COUNTER,
            "pointsman_backend_unhealthy_total",
            "Requests the node did not answer in time, or answered with LOADING, MASTERDOWN or CLUSTERDOWN.",
            |c| c.unhealthy.get(),
        ),
    ];
    for (kind, name, help, read) in plain {
        let mut family = Family::new(kind, name, help);
        for ((backend, node), counters) in &nodes {
            let value: u64 = counters.iter().map(|counters| read(counters)).sum();
            family.add(&[("backend", backend), ("node", &node.to_string())], value as f64);
        }
        family.into(families);
    }
}

fn topologies(status: &Status, families: &mut Vec<MetricFamily>) {
    let gauge = MetricType::GAUGE;
    let mut epoch =
        Family::new(gauge, "pointsman_topology_epoch", "Highest configuration epoch of the view in use.");
    let mut version = Family::new(
        gauge,
        "pointsman_topology_version",
        "Number of the view in use; grows with every change.",
    );
    let mut slots =
        Family::new(gauge, "pointsman_topology_slots_covered", "Slots with an owner; 16384 when complete.");
    let mut lag = Family::new(
        gauge,
        "pointsman_replica_lag_bytes",
        "Bytes a replica is behind its primary; absent while unknown.",
    );
    let mut age_of = Family::new(
        gauge,
        "pointsman_replica_lag_seconds",
        "How long ago the replica had everything that its primary had; known to one lag.interval_ms.",
    );
    let mut eligible = Family::new(
        gauge,
        "pointsman_replica_in_step",
        "1 if the replica's lag is known (linked, not syncing, sampled lately).",
    );
    let mut refreshes = Family::new(
        MetricType::COUNTER,
        "pointsman_topology_refreshes_total",
        "Topology refreshes, by what asked for them and how they ended.",
    );
    for backend in &status.backends {
        let (snapshot, now) = (backend.published.load(), backend.published.clock());
        let name = [("backend", &*backend.name)];
        epoch.add(&name, snapshot.topology.epoch().0 as f64);
        version.add(&name, snapshot.version as f64);
        slots.add(&name, snapshot.topology.slots_covered() as f64);
        for node in snapshot.topology.shards().iter().flat_map(|shard| &shard.replicas) {
            let address = snapshot.topology.node(*node).address.to_string();
            let labels = [("backend", &*backend.name), ("node", address.as_str())];
            let copy = snapshot.copy(*node);
            if let Some(bytes) = copy.lag_bytes() {
                lag.add(&labels, bytes as f64);
            }
            if let Some(age) = copy.age(now) {
                age_of.add(&labels, age as f64 / 1e6);
            }
            eligible.add(&labels, f64::from(u8::from(copy.lag_bytes().is_some())));
        }
        for ((reason, outcome), count) in backend.refreshes.all() {
            refreshes
                .add(&[("backend", &*backend.name), ("reason", reason), ("outcome", outcome)], count as f64);
        }
    }
    for family in [epoch, version, slots, lag, age_of, eligible, refreshes] {
        family.into(families);
    }
}
