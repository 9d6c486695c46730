//! The bundled nodes of the embedded default: the only place where the proxy knows the store.
//!
//! They run in this process but behind real loopback sockets, and the proxy finds and uses them as
//! it would any cluster: there is one code path, and it is the one that production runs.

use pointsman_config::Bundled;
use pointsman_store::{ClusterMap, NodeHandle, NodeLimits};
use std::net::TcpListener;
use std::sync::Arc;

/// The address under which bundled nodes announce themselves.
const HOST: &str = "127.0.0.1";

/// What nodes log beside their warnings is of no use to somebody who runs a proxy.
pub const LOG_DIRECTIVE: &str = "pointsman_store=warn";

/// The running nodes of one backend; dropping them stops them.
pub struct Nodes(Vec<NodeHandle>);

impl Nodes {
    /// Starts a node on each socket: the primaries first, then the replicas.
    ///
    /// # Errors
    /// What kept a node from starting.
    pub fn start(bundled: &Bundled, sockets: Vec<TcpListener>) -> Result<Nodes, String> {
        let (shards, replicas) = (usize::from(bundled.shards), usize::from(bundled.replicas));
        let map =
            ClusterMap::even(shards, replicas, HOST, bundled.node_port).map_err(|error| error.to_string())?;
        let mut nodes = Vec::new();
        for (socket, spec) in sockets.into_iter().zip(Arc::new(map).specs(&NodeLimits::default())) {
            let address = spec.address.clone();
            let node = pointsman_store::start(spec, socket)
                .map_err(|error| format!("the bundled node {address} cannot be started: {error}"))?;
            nodes.push(node);
        }
        Ok(Nodes(nodes))
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        // Replicas first: a primary that goes before them would be missed, and logged.
        for node in self.0.drain(..).rev() {
            node.stop();
        }
    }
}
