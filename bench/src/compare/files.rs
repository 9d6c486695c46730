//! The configuration files of those under test. Each does what its maker offers for speed: one
//! thread (unless told otherwise), no access logs, multiplexed backend connections where it can.

use std::fmt::Write;

/// Pointsman in front of a cluster.
pub fn pointsman(port: u16, admin_port: u16, workers: usize, seeds: &[u16], clients_max: usize) -> String {
    let seeds: Vec<String> = seeds.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
    format!(
        "workers: {workers}\n\
         log:\n  level: warn\n\
         admin:\n  listen: 127.0.0.1:{admin_port}\n\
         listeners:\n  - listen: 127.0.0.1:{port}\n    client_limits:\n      clients_max: {clients_max}\n\
         backends:\n  main:\n    cluster:\n      seeds: [{}]\n",
        seeds.join(", ")
    )
}

/// twemproxy in front of single servers, one connection to each.
pub fn twemproxy(port: u16, servers: &[u16]) -> String {
    let mut text = format!(
        "bench:\n  listen: 127.0.0.1:{port}\n  hash: crc16\n  distribution: ketama\n  redis: true\n  \
         auto_eject_hosts: false\n  timeout: 5000\n  backlog: 4096\n  preconnect: true\n  server_connections: 1\n  \
         servers:\n"
    );
    for (index, server) in servers.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "   - 127.0.0.1:{server}:1 s{index}");
    }
    text
}

/// HAProxy as a TCP proxy in front of one server: one backend connection for each client.
pub fn haproxy(port: u16, threads: usize, server: u16, clients_max: usize) -> String {
    format!(
        "global\n    nbthread {threads}\n    maxconn {clients_max}\n\
         defaults\n    mode tcp\n    timeout connect 5s\n    timeout client 1h\n    timeout server 1h\n    maxconn {clients_max}\n\
         frontend clients\n    bind 127.0.0.1:{port} backlog 4096\n    default_backend server\n\
         backend server\n    server s1 127.0.0.1:{server}\n"
    )
}

/// Envoy's Redis filter in front of a cluster.
pub fn envoy(port: u16, seeds: &[u16]) -> String {
    let mut endpoints = String::new();
    for seed in seeds {
        let _ = writeln!(
            endpoints,
            "        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {seed}}}}}}}"
        );
    }
    format!(
        r#"static_resources:
  listeners:
  - name: clients
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    tcp_backlog_size: 4096
    filter_chains:
    - filters:
      - name: envoy.filters.network.redis_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy
          stat_prefix: bench
          settings:
            op_timeout: 5s
            enable_redirection: true
            enable_hashtagging: true
          prefix_routes:
            catch_all_route: {{cluster: backends}}
  clusters:
  - name: backends
    connect_timeout: 1s
    lb_policy: CLUSTER_PROVIDED
    cluster_type:
      name: envoy.clusters.redis
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.clusters.redis.v3.RedisClusterConfig
        cluster_refresh_rate: 30s
        cluster_refresh_timeout: 1s
    load_assignment:
      cluster_name: backends
      endpoints:
      - lb_endpoints:
{endpoints}    circuit_breakers:
      thresholds: [{{max_connections: 100000, max_pending_requests: 100000, max_requests: 1000000}}]
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_is_where_it_belongs() {
        let text = pointsman(1, 2, 3, &[4, 5, 6], 77);
        assert!(text.contains("workers: 3\n") && text.contains("listen: 127.0.0.1:2\n"), "{text}");
        assert!(text.contains("seeds: [\"127.0.0.1:4\", \"127.0.0.1:5\", \"127.0.0.1:6\"]"), "{text}");
        assert!(text.contains("- listen: 127.0.0.1:1\n") && text.contains("clients_max: 77"), "{text}");
        let text = twemproxy(1, &[4, 5]);
        assert!(
            text.contains("listen: 127.0.0.1:1\n")
                && text.ends_with("- 127.0.0.1:4:1 s0\n   - 127.0.0.1:5:1 s1\n"),
            "{text}"
        );
        let text = haproxy(1, 2, 4, 99);
        assert!(
            text.contains("nbthread 2")
                && text.contains("bind 127.0.0.1:1 ")
                && text.ends_with("s1 127.0.0.1:4\n"),
            "{text}"
        );
        let text = envoy(1, &[4, 5]);
        assert!(
            text.contains("port_value: 1}")
                && text.contains("port_value: 4}}}\n")
                && text.contains("port_value: 5}}}\n"),
            "{text}"
        );
        assert!(!text.contains("{{"), "{text}");
    }
}
