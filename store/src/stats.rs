//! What a node counts for INFO.

/// Counters since the start, or since CONFIG RESETSTAT.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Connections accepted.
    pub connections: u64,
    /// Connections refused because there were too many.
    pub connections_rejected: u64,
    /// Commands executed.
    pub commands: u64,
    /// Requests that were answered with an error.
    pub errors: u64,
    /// Bytes read from clients.
    pub input_bytes: u64,
    /// Bytes written to clients.
    pub output_bytes: u64,
    /// Keys found by commands that look them up.
    pub hits: u64,
    /// Keys not found by them.
    pub misses: u64,
    /// Keys removed because their time was up.
    pub keys_expired: u64,
    /// Times a sweep for expired keys ran out of its budget.
    pub expiry_budget_reached: u64,
    /// Replicas that were sent everything.
    pub syncs_full: u64,
    /// Replicas that went on where they had stopped.
    pub syncs_partial: u64,
    /// Replicas that wanted to go on and could not.
    pub syncs_partial_failed: u64,
    /// Commands that failed because of a mistake in this program.
    pub internal_errors: u64,
    /// Clients disconnected because too much waited for them.
    pub output_overruns: u64,
    /// Commands a second over the last tick.
    pub commands_per_s: u64,
    /// The most memory seen in use, in bytes.
    pub memory_peak: usize,
    last_commands: u64,
    last_ms: u64,
}

impl Stats {
    /// All at zero.
    pub fn new(now_ms: u64) -> Stats {
        Stats {
            connections: 0,
            connections_rejected: 0,
            commands: 0,
            errors: 0,
            input_bytes: 0,
            output_bytes: 0,
            hits: 0,
            misses: 0,
            keys_expired: 0,
            expiry_budget_reached: 0,
            syncs_full: 0,
            syncs_partial: 0,
            syncs_partial_failed: 0,
            internal_errors: 0,
            output_overruns: 0,
            commands_per_s: 0,
            memory_peak: 0,
            last_commands: 0,
            last_ms: now_ms,
        }
    }

    /// Takes the rates since the last call.
    pub fn tick(&mut self, now_ms: u64, memory: usize) {
        let elapsed = now_ms.saturating_sub(self.last_ms);
        let commands = self.commands.saturating_sub(self.last_commands);
        if let Some(rate) = (commands * 1000).checked_div(elapsed) {
            self.commands_per_s = rate;
            self.last_commands = self.commands;
            self.last_ms = now_ms;
        }
        self.memory_peak = self.memory_peak.max(memory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_per_second() {
        let mut stats = Stats::new(1000);
        stats.commands = 50;
        stats.tick(1100, 7);
        assert_eq!((stats.commands_per_s, stats.memory_peak), (500, 7));
        stats.tick(1100, 3);
        assert_eq!((stats.commands_per_s, stats.memory_peak), (500, 7));
        stats.tick(2100, 3);
        assert_eq!(stats.commands_per_s, 0);
    }
}
