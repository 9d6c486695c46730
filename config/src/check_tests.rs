//! Whole files against what is said about them: the golden texts of many mistakes and of single ones.

use std::io;
use std::path::Path;
use std::time::Duration;

use pretty_lines::*;

use crate::{BackendKind, Config, CrossSlot, LogFormat, MultiAcrossSlots, Problems, ReadPolicy, Secret};

/// Comparing long texts line by line.
mod pretty_lines {
    /// Like `assert_eq`, but shows the first line that differs.
    pub fn assert_lines(found: &str, wanted: &str) {
        for (number, (found, wanted)) in found.lines().zip(wanted.lines()).enumerate() {
            assert_eq!(found, wanted, "row {}", number + 1);
        }
        assert_eq!(found.lines().count(), wanted.lines().count(), "as many rows, in:\n{found}");
    }
}

fn parse(text: &str) -> Result<Config, Problems> {
    let env = |name: &str| match name {
        "SET" => Some("env-secret".to_owned()),
        "BLANK" => Some(String::new()),
        _ => None,
    };
    let read_file = |path: &Path| match path.to_str() {
        Some("secrets/p") => Ok("file-secret\r\n".to_owned()),
        Some("secrets/empty") => Ok("\n".to_owned()),
        _ => Err(io::Error::new(io::ErrorKind::NotFound, "no such file")),
    };
    crate::parse(text, "p.yaml", &env, &read_file)
}

fn problems(text: &str) -> String {
    parse(text).expect_err(text).to_string()
}

#[test]
fn an_empty_file_is_the_embedded_default() {
    let config = parse("").unwrap();
    assert_eq!(config, Config::embedded_default());
    assert_eq!(config, parse("listeners: [{}]\nbackends: { main: { bundled: } }\nlog:\nadmin:\n").unwrap());

    // What the rest of the program and its documentation promise, said once without the table.
    assert!(config.workers >= 1);
    assert_eq!((config.log.format, config.log.level.as_str()), (LogFormat::Human, "info"));
    assert_eq!(config.admin.unwrap().listen.to_string(), "127.0.0.1:9180");
    assert_eq!(config.drain_timeout, Duration::from_secs(5));
    let [listener] = &config.listeners[..] else { panic!("one listener") };
    assert_eq!(
        (listener.name.as_str(), listener.listen.to_string().as_str()),
        ("127.0.0.1:6379", "127.0.0.1:6379")
    );
    assert_eq!((listener.backend, &listener.password), (0, &None));
    assert_eq!((listener.reads.policy, listener.reads.max_lag_bytes), (ReadPolicy::Primary, 1 << 20));
    assert_eq!(
        listener.cross_slot,
        CrossSlot { compute: false, bytes_max: 8 << 20, worker_bytes_max: 64 << 20 }
    );
    assert_eq!(listener.multi_across_slots, MultiAcrossSlots::Refuse);
    assert_eq!((listener.blocking_across_slots, listener.blocking_poll), (false, Duration::from_millis(20)));
    let limits = listener.limits;
    assert_eq!((limits.clients_max, limits.inflight_max, limits.args_max), (10_000, 1024, 1 << 20));
    assert_eq!(
        (limits.bulk_bytes_max, limits.request_bytes_max, limits.inline_bytes_max),
        (512 << 20, 1 << 30, 64 << 10)
    );
    assert_eq!(
        (limits.output_bytes_max, limits.output_pause_bytes, limits.idle_timeout),
        (64 << 20, 1 << 20, None)
    );
    let [backend] = &config.backends[..] else { panic!("one backend") };
    let BackendKind::Bundled(bundled) = &backend.kind else { panic!("bundled") };
    assert_eq!(backend.name, "main");
    assert_eq!((bundled.shards, bundled.replicas, bundled.node_port, bundled.nodes()), (3, 1, 7001, 6));
    assert_eq!(bundled.ports(), 7001..=7006);
    let ms = Duration::from_millis;
    assert_eq!((backend.connections_per_node, backend.connect_timeout), (1, ms(1000)));
    assert_eq!((backend.request_timeout, backend.stall_timeout), (ms(3000), ms(6000)));
    assert_eq!(
        (backend.reconnect.backoff, backend.reconnect.backoff_max, backend.reconnect.per_second),
        (ms(50), ms(5000), 100)
    );
    assert_eq!((backend.retry.redirects_max, backend.retry.attempts_max), (5, 8));
    assert_eq!((backend.retry.backoff, backend.retry.backoff_max), (ms(10), ms(500)));
    assert_eq!((backend.retry.budget_percent, backend.retry.budget_min), (20, 10));
    let breaker = backend.breaker.expect("it is on");
    assert_eq!((breaker.failures, breaker.failure_percent, breaker.requests_min), (5, 50, 20));
    assert_eq!((breaker.window, breaker.open, breaker.open_max), (ms(10_000), ms(1000), ms(30_000)));
    let hold = backend.failover_hold;
    assert_eq!((hold.time, hold.requests_max, hold.bytes_max), (ms(0), 10_000, 64 << 20));
    assert_eq!(
        (backend.inflight_bytes_max, backend.inflight_max, backend.reply_bytes_max),
        (64 << 20, 100_000, 512 << 20)
    );
    assert_eq!((backend.pool.max_active, backend.pool.max_idle), (100, 50));
    assert_eq!((backend.pool.connect_timeout, backend.pool.wait), (ms(2000), ms(1000)));
    assert_eq!(backend.databases_max, 16);
    assert_eq!((backend.script_count_max, backend.script_bytes_max), (1000, 16 << 20));
    assert_eq!((backend.topology.interval, backend.topology.min_interval), (ms(10_000), ms(200)));
    assert_eq!((backend.lag.interval, backend.lag.stale_after), (ms(500), ms(2000)));
}

#[test]
fn a_file_is_understood() {
    let config = parse(
        "\
workers: 4
log: { format: json, level: 'warn,pointsman::backend=debug' }
admin: off
listeners:
  - { listen: '[::1]:6379', backend: b, password_env: SET, reads: prefer_replica, max_lag_bytes: 10 KB }
  - { listen: 0.0.0.0:6380, name: second, backend: a, client_limits: { idle_timeout_ms: 5, request_bytes_max: 1MiB } }
backends:
  a: { bundled: { shards: 1, replicas: 0 } }
  b:
    cluster:
      seeds: [redis-1:6379, '[fe80::1]:7000']
      username: me
      password: 0123
      address_map: { 172.17.0.2:6379: 127.0.0.1:7009 }
",
    )
    .unwrap();
    assert_eq!((config.workers, config.admin, config.log.format), (4, None, LogFormat::Json));
    let [one, two] = &config.listeners[..] else { panic!() };
    assert_eq!(
        (one.backend, one.name.as_str(), one.password.as_ref()),
        (1, "[::1]:6379", Secret::new("env-secret").as_ref())
    );
    assert_eq!((one.reads.policy, one.reads.max_lag_bytes), (ReadPolicy::PreferReplica, 10_000));
    assert_eq!(
        (two.backend, two.name.as_str(), two.limits.idle_timeout),
        (0, "second", Some(Duration::from_millis(5)))
    );
    assert_eq!(
        (two.limits.bulk_bytes_max, two.limits.inline_bytes_max),
        (1 << 20, 64 << 10),
        "the default follows"
    );
    let BackendKind::Cluster(cluster) = &config.backends[1].kind else { panic!() };
    let seeds: Vec<String> = cluster.seeds.iter().map(|seed| seed.to_string()).collect();
    assert_eq!(seeds, ["redis-1:6379", "[fe80::1]:7000"]);
    assert_eq!(format!("{:?}", cluster.address_map), "[(172.17.0.2:6379, 127.0.0.1:7009)]");
    assert_eq!(config.backends[1].username.as_deref(), Some("me"));
    assert_eq!(
        config.backends[1].password.as_ref().unwrap().expose(),
        "0123",
        "a password stays as it is written"
    );
}

#[test]
fn secrets_come_from_three_places_and_never_show() {
    for (line, secret) in [
        ("password: in-file", "in-file"),
        ("password: '  p w '", "  p w "),
        ("password: 5", "5"),
        ("password_env: SET", "env-secret"),
        ("password_file: secrets/p", "file-secret"),
    ] {
        let config = parse(&format!("listeners: [{{ {line} }}]")).unwrap();
        assert_eq!(config.listeners[0].password.as_ref().unwrap().expose(), secret, "{line}");
        assert!(!format!("{config:?}").contains(secret) || secret == "5", "{line}: {config:?}");
        assert!(format!("{config:?}").contains("password: Some((hidden))"));
    }
}

#[test]
fn no_mistake_makes_a_secret_show() {
    for text in [
        "listeners: [{ password: [hunter2] }]",
        "listeners: [{ password: { hunter2: hunter2 } }]",
        "listeners: [{ password: !hunter2 hunter2 }]",
        "listeners: [{ password: \"hunter2\\n\" }]",
        "listeners: [{ pasword: hunter2 }]",
        "listeners: [{ Password: hunter2 }]",
        "listeners: [{ requirepass: hunter2 }]",
        "listeners: [{ password_env: hunter2 }]",
        "listeners: [{ password_file: hunter2 }]",
        "listeners: [{ password: hunter2, password: hunter2 }]",
        "listeners: [{ password: hunter2, password_env: SET }]",
        "listeners: [{ password: hunter2 ",
        "listeners: [{ password: *hunter2 }]",
        "listeners: [{ listen: me:hunter2@127.0.0.1:6379 }]",
        "password: hunter2",
        "backends: { m: { cluster: { seeds: ['redis://me:hunter2@h:6379'] } } }",
        "backends: { m: { cluster: { seeds: ['me:hunter2@h:6379'] } } }",
        "backends: { m: { cluster: { seeds: 'redis://me:hunter2@h:6379' } } }",
        "backends: { m: { cluster: { address_map: { 'me:hunter2@h:1': 'me:hunter2@h:1' } } } }",
        "backends: { m: { cluster: { password: hunter2 } } }",
        "backends: 'redis://me:hunter2@h:6379'",
        "backends: { 'redis://me:hunter2@h:6379': {} }",
    ] {
        let problems = problems(text);
        assert!(!problems.contains("hunter2"), "{text}:\n{problems}");
    }
}

#[test]
fn many_mistakes_are_all_told_with_their_lines() {
    let text = "\
workers: two
wrokers: 3
log: { format: jsn,
       level: inof }
admin:
  listen: 127.0.0.1:6379
drain_timeout_ms: 5s
listeners:
  - listen: localhost:6379
    backend: mian
    raeds: primary
    inflight_max: 5
    pasword: hunter2
  - listen: 127.0.0.1:6379
    listen: 127.0.0.1:6380
    password: hunter2
    password_env: NOT_SET
    reads: prefer_replicas
    max_lag_bytes: 1M
    client_limits:
      clients_max: 0
      bulk_bytes_max: 2GiB
      request_bytes_max: 1GiB
      output_bytes_max: \"64KiB\"
      idle_timeout_ms: -1
      inflight_max: \"5\"
  - 5
backends:
  main:
    bundled: { shards: 0, node_port: 6380 }
    cluster:
      seeds: [redis://me:hunter2@10.0.0.1:6379, 10.0.0.2,
              127.0.0.1:6379,
              10.0.0.3:6379, 10.0.0.3:6379]
      username: me
      address_map:
        \"172.17.0.2\": 127.0.0.1:0
    retry: fast
    reconnect: { backoff_ms: 6000 }
    connect_timeout: 5
  other:
    bundled:
      node_port: 65535
  third: {}
  other:
    cluster: { }
  fourth:
    cluster: { }
";
    let wanted = "\
p.yaml:1: workers = two: not a whole number; allowed: a whole number from 1 to 1024
p.yaml:2: wrokers: unknown key; allowed: workers, log, admin, drain_timeout_ms, listeners, backends; did you mean 'workers'?
p.yaml:3: log.format = jsn: not one of the allowed words; allowed: human, json; did you mean 'json'?
p.yaml:4: log.level = inof: 'inof' is no log level; allowed: off, error, warn, info, debug or trace, alone or as target=level, joined by commas; did you mean 'info'?
p.yaml:7: drain_timeout_ms = 5s: the unit is part of the key, so the value is a plain number of milliseconds; allowed: whole milliseconds from 0 to 3600000; write 5000
p.yaml:9: listeners[0].listen = localhost:6379: not an address to listen on; allowed: an IP address and a port, like 127.0.0.1:6379 or \"[::1]:6379\"; write 127.0.0.1:6379
p.yaml:10: listeners[0].backend = mian: there is no such backend; allowed: main, other, third, fourth; did you mean 'main'?
p.yaml:11: listeners[0].raeds: unknown key; allowed: listen, name, backend, password, password_env, password_file, reads, max_lag_bytes, max_lag_ms, monitor, pointsman, cross_slot, cross_slot_bytes_max, cross_slot_worker_bytes_max, multi_across_slots, blocking_across_slots, blocking_poll_ms, cluster_facade, advertise, siblings, client_limits, limits, limits_keys_max; did you mean 'reads'?
p.yaml:12: listeners[0].inflight_max: unknown key; allowed: listen, name, backend, password, password_env, password_file, reads, max_lag_bytes, max_lag_ms, monitor, pointsman, cross_slot, cross_slot_bytes_max, cross_slot_worker_bytes_max, multi_across_slots, blocking_across_slots, blocking_poll_ms, cluster_facade, advertise, siblings, client_limits, limits, limits_keys_max; 'inflight_max' belongs under client_limits
p.yaml:13: listeners[0].pasword: unknown key; allowed: listen, name, backend, password, password_env, password_file, reads, max_lag_bytes, max_lag_ms, monitor, pointsman, cross_slot, cross_slot_bytes_max, cross_slot_worker_bytes_max, multi_across_slots, blocking_across_slots, blocking_poll_ms, cluster_facade, advertise, siblings, client_limits, limits, limits_keys_max; did you mean 'password'?
p.yaml:14: listeners[1].backend: it has to be given, because there are 4 backends; allowed: main, other, third, fourth
p.yaml:14: listeners[1].listen = 127.0.0.1:6379: admin.listen (line 6) takes 127.0.0.1:6379 already; choose another port for one of them
p.yaml:15: listeners[1].listen: given twice, first on line 14; keep one of them
p.yaml:17: listeners[1].password_env: password is given too; allowed: at most one of password, password_env, password_file
p.yaml:17: listeners[1].password_env = NOT_SET: this environment variable is not set; set it where the proxy is started
p.yaml:18: listeners[1].reads = prefer_replicas: not one of the allowed words; allowed: primary, prefer_replica; did you mean 'prefer_replica'?
p.yaml:19: listeners[1].max_lag_bytes = 1M: not a size with a known unit; allowed: a size like 65536, 64KiB or 1MB from 0 to 64GiB; write 1MiB (steps of 1024) or 1MB (steps of 1000)
p.yaml:21: listeners[1].client_limits.clients_max = 0: too small; allowed: a whole number from 1 to 1000000
p.yaml:22: listeners[1].client_limits.bulk_bytes_max = 2GiB: above request_bytes_max (1GiB); allowed: at most 1GiB; or raise request_bytes_max
p.yaml:25: listeners[1].client_limits.idle_timeout_ms = -1: below zero; allowed: whole milliseconds from 0 to 604800000
p.yaml:26: listeners[1].client_limits.inflight_max = 5: text, not a number; allowed: a whole number from 1 to 1000000; write 5 without quotes
p.yaml:27: listeners[2] = 5: a single value stands where keys below it should
p.yaml:30: backends.main.bundled.shards = 0: too small; allowed: a whole number from 1 to 128
p.yaml:31: backends.main.cluster: bundled is given too; allowed: exactly one of bundled, cluster, primary, sentinel, fixed; use two backends to have both
p.yaml:32: backends.main.cluster.seeds[0] = (hidden)@10.0.0.1:6379: an address has no scheme; allowed: host:port; write 10.0.0.1:6379; user and password have keys of their own
p.yaml:32: backends.main.cluster.seeds[1] = 10.0.0.2: not of the form host:port; allowed: host:port; write 10.0.0.2:6379
p.yaml:33: backends.main.cluster.seeds[2] = 127.0.0.1:6379: the proxy would connect to itself, because admin.listen is this address; give the address of a node, or move the other
p.yaml:34: backends.main.cluster.seeds[4] = 10.0.0.3:6379: given twice, first as seed 1; keep one of them
p.yaml:35: backends.main.cluster.username: a user without a password; give password, password_env or password_file too
p.yaml:37: backends.main.cluster.address_map[\"172.17.0.2\"]: the announced address: not of the form host:port; allowed: host:port; write 172.17.0.2:6379
p.yaml:37: backends.main.cluster.address_map[\"172.17.0.2\"] = 127.0.0.1:0: port 0 cannot be connected to; allowed: host:port
p.yaml:38: backends.main.retry = fast: a single value stands where keys below it should
p.yaml:39: backends.main.reconnect.backoff_ms = 6000: above backoff_max_ms (5000, the default); allowed: at most 5000; or raise backoff_max_ms
p.yaml:40: backends.main.connect_timeout: unknown key; allowed: bundled, cluster, primary, sentinel, fixed, connections_per_node, connect_timeout_ms, request_timeout_ms, stall_timeout_ms, reconnect, retry, breaker, failover_hold_ms, failover_hold_requests_max, failover_hold_bytes_max, inflight_bytes_max, inflight_max, reply_bytes_max, pool, script_count_max, script_bytes_max, subscriptions_max, tracking_keys_max, tracking_bytes_max, monitor_per_second, databases_max, unknown_commands, topology, lag; did you mean 'connect_timeout_ms'?
p.yaml:43: backends.other.bundled.node_port = 65535: 6 nodes from this port on would need ports up to 65540, and 65535 is the last; choose a lower node_port, or fewer nodes
p.yaml:44: backends.third: it is not said what it is; allowed: exactly one of bundled, cluster, primary, sentinel, fixed; write 'bundled: {}' for nodes inside this process
p.yaml:45: backends.other: given twice, first on line 41; choose another name
p.yaml:48: backends.fourth.cluster.seeds: it has to be given; allowed: a list of host:port, like [10.0.0.1:6379, redis-1:6379]; give the address of at least one node";
    assert_lines(&problems(text), wanted);
}

#[test]
fn keys_of_earlier_versions_are_told_their_new_names() {
    for (old, new) in [("pinned_max", "pool.max_active"), ("pinned_idle_max", "pool.max_idle")] {
        let told = problems(&format!("backends: {{ m: {{ bundled: {{}}, {old}: 5 }} }}"));
        assert!(told.contains(&format!("backends.m.{old}: unknown key")), "{told}");
        assert!(told.trim_end().ends_with(&format!("it is {new} now")), "{told}");
    }
}

/// One mistake, one finding, one line of text for it.
#[test]
fn single_mistakes() {
    for (text, wanted) in [
        ("5", "1: a single value stands where keys below it should"),
        ("- a", "1: a list stands where keys below it should"),
        (
            "workers:",
            "1: workers: no value is given; allowed: a whole number from 1 to 1024; leave the key out to have the default",
        ),
        (
            "workers: 1_000",
            "1: workers = 1_000: not a whole number; allowed: a whole number from 1 to 1024; write 1000",
        ),
        (
            "workers: {{ w }}",
            "1: workers: a map stands where a number should; allowed: a whole number from 1 to 1024",
        ),
        (
            "workers: !Env W",
            "1: workers = !Env: a value with a tag stands where a number should; allowed: a whole number from 1 to 1024",
        ),
        ("{{ x }}: 1", "1: a key that is not text; put values that contain { or [ into quotes"),
        (
            "shards: 3",
            "1: shards: unknown key; allowed: workers, log, admin, drain_timeout_ms, listeners, backends; 'shards' belongs under backends.*.bundled",
        ),
        (
            "log: { workers: 3 }",
            "1: log.workers: unknown key; allowed: format, level; 'workers' belongs to the top level",
        ),
        (
            "log: { level: 'info,pointsman=loud' }",
            "1: log.level = info,pointsman=loud: 'loud' is no log level; allowed: off, error, warn, info, debug or trace, alone or as target=level, joined by commas",
        ),
        (
            "admin: false",
            "1: admin = false: a single value stands where keys below it should; allowed: keys below it, or off; write off",
        ),
        (
            "admin: 127.0.0.1:1",
            "1: admin = 127.0.0.1:1: a single value stands where keys below it should; allowed: keys below it, or off; write { listen: 127.0.0.1:1 }",
        ),
        (
            "admin: { listen: ':9180' }",
            "1: admin.listen = :9180: not an address to listen on; allowed: an IP address and a port, like 127.0.0.1:6379 or \"[::1]:6379\"; write 127.0.0.1:9180 for this machine only, 0.0.0.0:9180 for every interface",
        ),
        (
            "admin: { listen: '::1:9180' }",
            "1: admin.listen = ::1:9180: not an address to listen on; allowed: an IP address and a port, like 127.0.0.1:6379 or \"[::1]:6379\"; write \"[::1]:9180\"",
        ),
        (
            "admin: { listen: 9180 }",
            "1: admin.listen = 9180: not an address to listen on; allowed: an IP address and a port, like 127.0.0.1:6379 or \"[::1]:6379\"; write 127.0.0.1:9180",
        ),
        (
            "admin: { listen: redis:9180 }",
            "1: admin.listen = redis:9180: not an address to listen on; allowed: an IP address and a port, like 127.0.0.1:6379 or \"[::1]:6379\"; names are not looked up here; write the IP address",
        ),
        (
            "admin: { listen: 127.0.0.1:99999 }",
            "1: admin.listen = 127.0.0.1:99999: not an address to listen on; allowed: an IP address and a port, like 127.0.0.1:6379 or \"[::1]:6379\"",
        ),
        (
            "# x\nadmin: { listen: 127.0.0.1:6379 }",
            "2: admin.listen = 127.0.0.1:6379: listeners[0].listen (its default) takes 127.0.0.1:6379 already; choose another port for one of them",
        ),
        (
            "listeners: [{ listen: 127.0.0.1:7004 }]",
            "1: listeners[0].listen = 127.0.0.1:7004: backends.main.bundled.node_port (its default) takes 127.0.0.1:7001 to 7006 already; choose another port for one of them",
        ),
        (
            "listeners: [{}]\nbackends: { m: { bundled: { node_port: 6377 } } }",
            "2: backends.m.bundled.node_port = 127.0.0.1:6377 to 6382: listeners[0].listen (its default) takes 127.0.0.1:6379 already; choose another port for one of them",
        ),
        (
            "listeners:\n- {}\n- {}",
            "3: listeners[1].listen = 127.0.0.1:6379: listeners[0].listen (its default) takes 127.0.0.1:6379 already; choose another port for one of them",
        ),
        (
            "listeners:\n- name: a\n- name: a\n  listen: 127.0.0.1:1",
            "3: listeners[1].name = a: listeners[0] has this name already; names keep metrics apart; choose another",
        ),
        (
            "listeners:",
            "1: listeners: there is no listener; allowed: a list with at least one entry, each beginning with '-'; leave the key out to have one at 127.0.0.1:6379",
        ),
        (
            "listeners: { listen: 127.0.0.1:1 }",
            "1: listeners: not a list; allowed: a list with at least one entry, each beginning with '-'; begin each listener with '-'",
        ),
        (
            "listeners: [{ name: 'a b' }]",
            "1: listeners[0].name = a b: a name has no spaces or control characters; allowed: a name of 1 to 64 printable characters without spaces",
        ),
        (
            "listeners: [{ lisen: 127.0.0.1:9180 }]",
            "1: listeners[0].lisen: unknown key; allowed: listen, name, backend, password, password_env, password_file, reads, max_lag_bytes, max_lag_ms, monitor, pointsman, cross_slot, cross_slot_bytes_max, cross_slot_worker_bytes_max, multi_across_slots, blocking_across_slots, blocking_poll_ms, cluster_facade, advertise, siblings, client_limits, limits, limits_keys_max; did you mean 'listen'?",
        ),
        (
            "listeners: [{ cluster_facade: yes }]",
            "1: listeners[0].cluster_facade = yes: not one of the allowed words; allowed: false, true",
        ),
        (
            "listeners: [{ cluster_facade: true, advertise: 'proxy' }]",
            "1: listeners[0].advertise = proxy: not of the form host:port; allowed: host:port, like proxy.example:6379 or 10.0.0.1:6379; write proxy:6379",
        ),
        (
            "listeners: [{ cluster_facade: true, advertise: '0.0.0.0:6379' }]",
            "1: listeners[0].advertise = 0.0.0.0:6379: clients cannot connect to an address that stands for every interface; give the address by which clients reach the proxy",
        ),
        (
            "listeners: [{ siblings: 'h:1' }]",
            "1: listeners[0].siblings = h:1: not a list; allowed: a list of host:port, like [10.0.0.1:6379, redis-1:6379]; put it into [ ]",
        ),
        (
            "listeners: [{ siblings: ['h:1', '[::]:1'] }]",
            "1: listeners[0].siblings = [::]:1: clients cannot connect to an address that stands for every interface; give the address by which clients reach the proxy",
        ),
        ("listeners: [{ password: '' }]", "1: listeners[0].password: empty"),
        (
            "listeners: [{ password_env: BLANK }]",
            "1: listeners[0].password_env = BLANK: this environment variable is empty; set it where the proxy is started",
        ),
        (
            "listeners: [{ password_file: /no/where }]",
            "1: listeners[0].password_file = /no/where: this file cannot be read (no such file)",
        ),
        (
            "listeners: [{ password_file: secrets/empty }]",
            "1: listeners[0].password_file = secrets/empty: this file is empty",
        ),
        (
            "listeners: [{ client_limits: { output_bytes_max: 1GiB, output_pause_bytes: 2GiB } }]",
            "1: listeners[0].client_limits.output_pause_bytes = 2GiB: above output_bytes_max (1GiB); allowed: at most 1GiB; or raise output_bytes_max",
        ),
        (
            "listeners: [{ client_limits: { <<: {} } }]",
            "1: listeners[0].client_limits.<<: unknown key; allowed: clients_max, inflight_max, args_max, bulk_bytes_max, request_bytes_max, inline_bytes_max, output_bytes_max, output_pause_bytes, idle_timeout_ms, subscriptions_max; merging with << is not supported; use an alias for the whole section",
        ),
        (
            "backends: {}",
            "1: backends: there is no backend; allowed: at least one name with keys below it; leave the key out to have one, named main, bundled",
        ),
        (
            "backends: [a]",
            "1: backends: a list stands where names should; allowed: at least one name with keys below it; write 'main:' instead of '-'",
        ),
        (
            "backends: { 'a b': { bundled: } }",
            "1: backends.a b: a name has no spaces or control characters; allowed: a name of 1 to 64 printable characters without spaces",
        ),
        (
            "backends: { m: { bundld: {} } }",
            "1: backends.m.bundld: unknown key; allowed: bundled, cluster, primary, sentinel, fixed, connections_per_node, connect_timeout_ms, request_timeout_ms, stall_timeout_ms, reconnect, retry, breaker, failover_hold_ms, failover_hold_requests_max, failover_hold_bytes_max, inflight_bytes_max, inflight_max, reply_bytes_max, pool, script_count_max, script_bytes_max, subscriptions_max, tracking_keys_max, tracking_bytes_max, monitor_per_second, databases_max, unknown_commands, topology, lag; did you mean 'bundled'?",
        ),
        (
            "backends: { m: { cluster: { seeds: h:1 } } }",
            "1: backends.m.cluster.seeds = h:1: not a list; allowed: a list of host:port, like [10.0.0.1:6379, redis-1:6379]; put it into [ ]",
        ),
        (
            "backends: { m: { cluster: { seeds: [5] } } }",
            "1: backends.m.cluster.seeds[0] = 5: not of the form host:port; allowed: host:port; write 5:6379",
        ),
        (
            "backends: { m: { cluster: { seeds: [[h:1]] } } }",
            "1: backends.m.cluster.seeds[0]: a list stands where host:port should; allowed: host:port",
        ),
        (
            "backends: { m: { cluster: { seeds: ['h:1'], username: u, pasword: p } } }",
            "1: backends.m.cluster.pasword: unknown key; allowed: seeds, username, password, password_env, password_file, address_map; did you mean 'password'?",
        ),
        (
            "backends: { m: { cluster: { seeds: ['h:1'], address_map: { 'a:1': 'b:1', 'a:1': 'c:1' } } } }",
            "1: backends.m.cluster.address_map[\"a:1\"]: this address is given twice; keep one of them",
        ),
        (
            "backends: { m: { cluster: { seeds: ['localhost:6379'] } } }",
            "1: backends.m.cluster.seeds[0] = localhost:6379: the proxy would connect to itself, because listeners[0].listen is this address; give the address of a node, or move the other",
        ),
        (
            "backends: { m: { cluster: { seeds: ['h:1'] }, lag: { interval_ms: 3000 } } }",
            "1: backends.m.lag.interval_ms = 3000: above stale_after_ms (2000, the default); allowed: at most 2000; or raise stale_after_ms",
        ),
        (
            "backends:\n  a: { bundled: }\n  b: { bundled: { shards: 2 } }\nlisteners: [{ backend: a }]",
            "3: backends.b.bundled.node_port = 127.0.0.1:7001 to 7004: backends.a.bundled.node_port (its default) takes 127.0.0.1:7001 to 7006 already; choose another port for one of them",
        ),
        (
            "workers: 1\nlog: [",
            "2: not valid YAML: while parsing a node, did not find expected node content; put the value into quotes if it is meant as text",
        ),
    ] {
        assert_eq!(problems(text), format!("p.yaml:{wanted}"), "{text}");
    }
}

#[test]
fn facades() {
    for (line, facade, advertise) in [
        ("{}", false, None),
        ("{ cluster_facade: false, advertise: 'h:1' }", false, Some("h:1")),
        ("{ cluster_facade: true }", true, None),
        ("{ cluster_facade: true, advertise: 'proxy.example:6380' }", true, Some("proxy.example:6380")),
        ("{ cluster_facade: true, advertise: '[fe80::1]:1' }", true, Some("[fe80::1]:1")),
    ] {
        let config = parse(&format!("listeners: [{line}]")).unwrap();
        let listener = &config.listeners[0];
        let told = listener.advertise.as_ref().map(|address| address.to_string());
        assert_eq!((listener.cluster_facade, told.as_deref()), (facade, advertise), "{line}");
    }
}

#[test]
fn log_filters() {
    for text in [
        "info",
        "INFO",
        "off",
        "info,pointsman=debug",
        "info, pointsman::backend=trace",
        "pointsman[request{slot=5}]=debug,warn",
        "[request{a=1,b=2}]=trace",
    ] {
        assert_eq!(super::filter(text), Ok(()), "{text}");
    }
    for text in ["", "loud", "info,", "=info", "a=", "pointsman", "a b=info", "info debug", "[x"] {
        assert!(super::filter(text).is_err(), "{text}");
    }
}

#[test]
fn the_line_of_each_finding_is_that_of_its_key() {
    // Each row is a line; those with a mistake carry '!', which is taken out before parsing.
    let text = "\
---
# comment

log:
  format: !human2
  level:
    !loud
listeners:

- listen: !1
  reads: !sometimes

-
  # comment
  listen: 127.0.0.1:20001
  client_limits:
    inflight_max:   !many   # comment
    args_max: 100
    !args_mox: 5
- {listen: 127.0.0.1:20002,
   name: x, reads: !never,
   client_limits: {
     idle_timeout_ms: !never }}
backends:
  main: &main
    cluster:
      seeds:
      - a:1
      - !b
      - c:1
      password: >-
        folded
        text
      username: u
    retry: { backoff_ms: 10,
      !bakoff: 1 }
    lag:
      interval_ms: !9
";
    let wanted: Vec<usize> =
        text.lines().enumerate().filter(|(_, line)| line.contains('!')).map(|(index, _)| index + 1).collect();
    let problems = parse(&text.replace('!', "")).unwrap_err();
    let lines: Vec<usize> = problems
        .iter()
        .map(|problem| match problem.place {
            crate::Place::Line(_, line) => line,
            _ => 0,
        })
        .collect();
    assert_eq!(lines, wanted, "{problems}");
}
