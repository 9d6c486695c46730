//! What a computation over slots holds in memory, and how much it may.
//!
//! Two caps: for one request, and for all that a worker holds at a time. Whoever meets one is told so, and
//! what it held is let go at once.

use crate::admin::counters::WorkerCounters;
use pointsman_config::CrossSlot;
use std::sync::Arc;

/// The bytes that one request holds; let go when it is dropped.
#[derive(Debug)]
pub struct Hold {
    counters: Arc<WorkerCounters>,
    caps: CrossSlot,
    bytes: usize,
}

impl Hold {
    /// Nothing yet, under these caps.
    pub fn new(counters: Arc<WorkerCounters>, caps: CrossSlot) -> Hold {
        Hold { counters, caps, bytes: 0 }
    }

    /// Takes so many bytes more.
    ///
    /// # Errors
    /// The error reply for the client, if a cap is in the way; nothing is taken then.
    pub fn grow(&mut self, more: usize) -> Result<(), String> {
        let refusal = if self.bytes.saturating_add(more) > self.caps.bytes_max {
            format!(
                "ERR the keys hold more than one request over several slots may bring into the proxy (cross_slot_bytes_max: {} bytes)",
                self.caps.bytes_max
            )
        } else if (self.counters.cross_slot_bytes.get() as usize).saturating_add(more)
            > self.caps.worker_bytes_max
        {
            format!(
                "ERR requests over several slots hold all the memory they may for now (cross_slot_worker_bytes_max: {} bytes); try again",
                self.caps.worker_bytes_max
            )
        } else {
            self.bytes += more;
            self.counters.cross_slot_bytes.add(more as u64);
            return Ok(());
        };
        self.counters.cross_slot_refused.add(1);
        Err(refusal)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.counters.cross_slot_bytes.sub(self.bytes as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caps_for_one_and_for_all() {
        let counters = Arc::new(WorkerCounters::default());
        let caps = CrossSlot { compute: true, bytes_max: 10, worker_bytes_max: 15 };
        let mut one = Hold::new(counters.clone(), caps);
        one.grow(10).unwrap();
        assert!(one.grow(1).unwrap_err().contains("cross_slot_bytes_max: 10"));
        let mut other = Hold::new(counters.clone(), caps);
        other.grow(5).unwrap();
        assert!(other.grow(1).unwrap_err().contains("cross_slot_worker_bytes_max: 15"));
        drop(one);
        other.grow(5).unwrap();
        assert_eq!((counters.cross_slot_bytes.get(), counters.cross_slot_refused.get()), (10, 2));
        drop(other);
        assert_eq!(counters.cross_slot_bytes.get(), 0);
    }
}
