//! What the proxies stand in front of: a cluster of three primaries, and three single servers.

use super::peers::Programs;
use crate::measure::redis::{RedisNode, start, start_cluster};
use crate::process::cores::Cores;
use crate::scratch::Scratch;

const NODES: u16 = 3;

/// The backends; dropping them ends them.
#[derive(Debug)]
pub struct Backends {
    /// Of those who route by slot; empty if nobody needs it.
    pub cluster: Vec<RedisNode>,
    /// Of the others; empty if nobody needs them.
    pub standalone: Vec<RedisNode>,
}

impl Backends {
    /// Starts those that somebody needs, on `cores`.
    pub fn start(programs: &Programs, cores: &Cores, scratch: &Scratch) -> Result<Backends, String> {
        let mut backends = Backends { cluster: Vec::new(), standalone: Vec::new() };
        let peers = programs.peers();
        if peers.iter().any(|peer| peer.wants_cluster()) {
            backends.cluster = start_cluster(&programs.redis, NODES, cores, scratch)?;
        }
        if peers.iter().any(|peer| peer.wants_standalone()) {
            for index in 0..NODES {
                let name = format!("standalone-{index}");
                backends.standalone.push(start(&programs.redis, &name, cores, scratch)?);
            }
        }
        Ok(backends)
    }

    /// The ports of the cluster's nodes.
    pub fn cluster_ports(&self) -> Vec<u16> {
        self.cluster.iter().map(|node| node.port).collect()
    }

    /// The ports of the single servers.
    pub fn standalone_ports(&self) -> Vec<u16> {
        self.standalone.iter().map(|node| node.port).collect()
    }

    /// All of them.
    pub fn ports(&self) -> Vec<u16> {
        [self.cluster_ports(), self.standalone_ports()].concat()
    }
}
