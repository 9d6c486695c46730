//! CLIENT UNBLOCK: ends the wait of a client, wherever it waits.
//!
//! Only the node can say whether an element that comes at this moment still goes to the client or no more.
//! So the proxy does not end the wait itself: it asks the node, over a connection apart, to unblock the
//! connection that the client waits on, and what the node then answers there is the client's
//! answer. No element can be lost between the two.

use super::router::{Router, SharedRouter};
use crate::backend::connection::{ClientKey, Phase};
use crate::topology::fetch::Control;
use pointsman_protocol::HostPort;
use pointsman_protocol::command::Flags;
use redis_protocol::resp2::types::OwnedFrame;
use std::time::Duration;

/// Pause between two looks at a client whose wait has not reached the node yet.
const GRAIN: Duration = Duration::from_millis(2);

/// Where a client stands.
#[derive(Debug, PartialEq, Eq)]
enum Stand {
    /// It does not wait.
    Free,
    /// It is about to wait: a connection is being made, or it goes a second time.
    OnItsWay,
    /// It waited for keys of several slots, which is a wait in the proxy, and does so no more.
    Done,
    /// It waits on these connections, named as their nodes name them.
    Waits(Vec<(HostPort, u64)>),
}

/// Ends the wait of the client with this id; true if it waited and does not any more because of this.
/// It takes at most as long as any request may.
pub async fn unblock(router: SharedRouter, id: u64, with_error: bool) -> bool {
    let context = router.borrow().context.clone();
    let reason = if with_error { "ERROR" } else { "TIMEOUT" };
    let all = async {
        loop {
            let stand = router.borrow_mut().stand_of(id, with_error);
            match stand {
                Stand::Free => return false,
                Stand::Done => return true,
                Stand::OnItsWay => {}
                Stand::Waits(connections) => {
                    let mut done = false;
                    for (address, number) in connections {
                        done |= ask(&context.config, &address, number, reason).await;
                    }
                    if done {
                        return true;
                    }
                    // What it waits with may be on the wire still; or it has just been answered.
                }
            }
            tokio::time::sleep(GRAIN).await;
        }
    };
    tokio::time::timeout(context.config.request_timeout, all).await.unwrap_or(false)
}

async fn ask(backend: &pointsman_config::Backend, address: &HostPort, number: u64, reason: &str) -> bool {
    let answer = match Control::connect(address, backend).await {
        Ok(mut control) => control.ask(&["CLIENT", "UNBLOCK", &number.to_string(), reason]).await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(frame) => frame == OwnedFrame::Integer(1),
        Err(error) => {
            tracing::warn!(node = %address, error, "a node did not unblock a client (CLIENT UNBLOCK)");
            false
        }
    }
}

impl Router {
    /// Where the client with this id stands. The connections that it waits on will serve nobody after it:
    /// an unblocking that is late must not end the wait of another client.
    fn stand_of(&mut self, id: u64, with_error: bool) -> Stand {
        let Some((index, client)) = self.clients.iter().find(|(_, client)| client.id == id) else {
            return Stand::Free;
        };
        if client.vigil.is_some() {
            let key = ClientKey { index: index as u32, generation: client.generation };
            self.unblock_vigil(key, with_error);
            return Stand::Done;
        }
        let waits: Vec<usize> = client.blocked.clone();
        if waits.is_empty() {
            let again =
                client.detour.is_some() && client.last.is_some_and(|spec| spec.flags.has(Flags::BLOCKING));
            return if again { Stand::OnItsWay } else { Stand::Free };
        }
        let mut connections = Vec::new();
        for id in waits {
            let Some(connection) = self.connections.get_mut(id) else { continue };
            match (connection.phase, connection.number) {
                (Phase::Ready, Some(number)) => {
                    connection.retiring = true;
                    connections.push((connection.address.clone(), number));
                }
                // A node that does not name its connections cannot be asked.
                (Phase::Ready, None) => {}
                _ => return Stand::OnItsWay,
            }
        }
        if connections.is_empty() { Stand::Free } else { Stand::Waits(connections) }
    }
}
