//! Resident bytes per key: a fresh node, before and after so many SETs.
//!
//! A key is `key:` and 12 digits, a value 64 bytes: 80 bytes of the user's own are in the figure.

use super::nodes::Running;
use crate::measure::cell::{Data, Generator, SMALL};
use crate::measure::control::Control;
use crate::measure::memory::settled_bytes;
use crate::measure::table::Table;
use pointsman_protocol::resp::reply::integer;
use serde::Serialize;

/// Long enough that nothing expires meanwhile.
pub const TTL_S: u64 = 86_400;

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KeyMemory {
    /// Who.
    pub subject: String,
    /// How many keys.
    pub keys: u64,
    /// Whether they carry an expiry.
    pub ttl: bool,
    /// Resident bytes per key.
    pub bytes_per_key: f64,
    /// Resident with all of them, bytes.
    pub resident_bytes: u64,
}

/// Fills `running`, which must be fresh, with `keys` keys.
pub fn measure(
    running: &Running,
    keys: u64,
    ttl_s: Option<u64>,
    generator: &Generator,
) -> Result<KeyMemory, String> {
    let pid = running.child.pid();
    // Ten keys first: what is reserved at the first key is not the keys'.
    generator.prefill(Data { keys: 10, ..SMALL }, ttl_s, running.port)?;
    let before = settled_bytes(pid)?;
    generator.prefill(Data { keys, ..SMALL }, ttl_s, running.port)?;
    let after = settled_bytes(pid)?;
    let size = integer(&Control::connect(running.port)?.ask(&["DBSIZE"])?);
    if size != i64::try_from(keys).ok() {
        return Err(format!("DBSIZE says {size:?} after {keys} keys were written"));
    }
    Ok(KeyMemory {
        subject: running.name.to_owned(),
        keys,
        ttl: ttl_s.is_some(),
        bytes_per_key: after.saturating_sub(before) as f64 / keys as f64,
        resident_bytes: after,
    })
}

/// The figures as a table.
pub fn table(list: &[KeyMemory]) -> Table {
    let mut table = Table::new(["keys of 64 B", "expiry", "keys", "bytes per key", "MB in all"]);
    for memory in list {
        table.row([
            memory.subject.clone(),
            if memory.ttl { "yes" } else { "no" }.to_owned(),
            memory.keys.to_string(),
            format!("{:.1}", memory.bytes_per_key),
            format!("{:.1}", memory.resident_bytes as f64 / 1e6),
        ]);
    }
    table
}
