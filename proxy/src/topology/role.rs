//! What a node without cluster mode says of itself: its role, whom it follows, who follows it. Pure.
//!
//! All of it comes from INFO. A history is what Redis calls a replication id: it names one line of
//! writes. A replica has that of its primary; a replica that becomes a primary begins a new one and
//! remembers the one before, so that it can be told from a server that knows nothing of the data.

use pointsman_protocol::{HostPort, NodeId};

/// What a node said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// It takes writes.
    pub is_primary: bool,
    /// This run of the server.
    pub run_id: Option<NodeId>,
    /// `standalone`, `cluster` or `sentinel`.
    pub mode: String,
    /// The history it has.
    pub history: String,
    /// The history that its own one goes on from, if it was a replica before.
    pub before: Option<String>,
    /// How far it is in its history, in bytes.
    pub offset: u64,
    /// A replica: its link to its primary stands.
    pub link_up: bool,
    /// A replica: where it was told that its primary is.
    pub follows: Option<HostPort>,
    /// A primary: where its replicas say that they are.
    pub replicas: Vec<HostPort>,
    /// How many databases it has, if it tells.
    pub databases: Option<u16>,
}

impl Role {
    /// Reads the sections `server` and `replication` of INFO.
    ///
    /// # Errors
    /// It says nothing of a role.
    pub fn parse(server: &str, replication: &str) -> Result<Role, String> {
        let mut role = Role::default();
        let (mut known, mut host, mut port, mut own_offset) = (false, None, None, None);
        for line in server.lines().chain(replication.lines()) {
            let Some((field, value)) = line.trim_end().split_once(':') else { continue };
            match field {
                // Valkey has a word of its own, unless it is told to seem Redis.
                "redis_mode" | "server_mode" => role.mode = value.to_owned(),
                "run_id" => role.run_id = NodeId::parse(value.as_bytes()),
                "role" => {
                    known = true;
                    role.is_primary = value == "master";
                }
                "master_host" => host = Some(value),
                "master_port" => port = value.parse().ok().filter(|port| *port != 0),
                "master_link_status" => role.link_up = value == "up",
                "master_replid" => role.history = value.to_owned(),
                "master_replid2" => {
                    role.before = Some(value.to_owned()).filter(|id| id.bytes().any(|digit| digit != b'0'));
                }
                "master_repl_offset" => role.offset = value.parse().unwrap_or(0),
                "slave_repl_offset" => own_offset = value.parse().ok(),
                _ if field.starts_with("slave") => role.replicas.extend(replica(value)),
                _ => {}
            }
        }
        if !known {
            return Err("INFO replication tells no role".to_owned());
        }
        if !role.is_primary {
            role.offset = own_offset.unwrap_or(0);
            role.follows = host.zip(port).map(|(host, port)| HostPort::new(host, port));
        }
        Ok(role)
    }
}

/// `ip=10.0.0.2,port=6379,state=online,offset=5,lag=0`
fn replica(line: &str) -> Option<HostPort> {
    let field = |name: &str| line.split(',').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let port = field("port")?.parse().ok().filter(|port| *port != 0)?;
    let host = field("ip").filter(|host| !host.is_empty())?;
    Some(HostPort::new(host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n\
        run_id:07c37dfeb235213a872192d90877d0cd55635b91\r\n";

    #[test]
    fn a_primary_as_redis_tells_it() {
        let replication = "# Replication\r\nrole:master\r\nconnected_slaves:2\r\n\
            slave0:ip=127.0.0.1,port=7002,state=online,offset=14,lag=1\r\n\
            slave1:ip=2001:db8::1,port=7003,state=wait_bgsave,offset=0,lag=0\r\n\
            master_failover_state:no-failover\r\nmaster_replid:aaaa\r\n\
            master_replid2:0000000000000000000000000000000000000000\r\nmaster_repl_offset:14\r\n";
        let role = Role::parse(SERVER, replication).unwrap();
        assert!(role.is_primary && role.run_id.is_some());
        assert_eq!((role.mode.as_str(), role.history.as_str(), role.offset), ("standalone", "aaaa", 14));
        assert_eq!((role.before, role.follows), (None, None));
        let replicas: Vec<String> = role.replicas.iter().map(ToString::to_string).collect();
        assert_eq!(replicas, ["127.0.0.1:7002", "[2001:db8::1]:7003"]);
    }

    #[test]
    fn a_node_says_its_mode_in_the_words_of_redis_or_of_valkey() {
        for field in ["redis_mode", "server_mode"] {
            let role = Role::parse(&format!("{field}:cluster\r\n"), "role:master\r\n").unwrap();
            assert_eq!(role.mode, "cluster", "{field}");
        }
    }

    #[test]
    fn a_replica_as_redis_tells_it() {
        let replication = "role:slave\r\nmaster_host:127.0.0.1\r\nmaster_port:7001\r\n\
            master_link_status:up\r\nslave_read_repl_offset:28\r\nslave_repl_offset:28\r\n\
            slave_priority:100\r\nmaster_replid:aaaa\r\nmaster_replid2:bbbb\r\nmaster_repl_offset:30\r\n";
        let role = Role::parse(SERVER, replication).unwrap();
        assert!(!role.is_primary && role.link_up);
        assert_eq!((role.offset, role.before.as_deref()), (28, Some("bbbb")));
        assert_eq!(role.follows, Some(HostPort::new("127.0.0.1", 7001)));
        assert!(role.replicas.is_empty(), "slave_priority is no replica");
        assert!(Role::parse(SERVER, "").is_err());
    }
}
