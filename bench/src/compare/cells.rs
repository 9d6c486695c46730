//! The cells of the comparison.

use crate::measure::cell::{LARGE, LoadCell};

/// Memory per idle client, fresh and after it was busy.
pub const IDLE_MEMORY: &str = "idle-memory";
/// Two workers beside one.
pub const TWO_WORKERS: &str = "two-workers";

/// The cells that put a load on everybody; `rate` is that of the open loop.
pub fn load_cells(rate: f64) -> Vec<LoadCell> {
    vec![
        LoadCell::closed("get-c50-p1", "get", 50, 1),
        LoadCell::closed("set-c50-p1", "set", 50, 1),
        LoadCell::closed("get-c50-p16", "get", 50, 16),
        LoadCell::closed("set-c50-p16", "set", 50, 16),
        LoadCell::closed("get-c500-p1", "get", 500, 1),
        LoadCell::closed("set-c500-p1", "set", 500, 1),
        LoadCell::closed("mget10-c50", "mget", 50, 1),
        LoadCell { data: LARGE, ..LoadCell::closed("get16k-c50", "get", 50, 1) },
        LoadCell::closed("latency-c1", "get", 1, 1),
        LoadCell { rate: Some(rate), ..LoadCell::closed("open-c50", "get", 50, 1) },
    ]
}

/// The load of [`TWO_WORKERS`].
pub fn workers_cell(name: &'static str) -> LoadCell {
    LoadCell::closed(name, "get", 50, 16)
}

/// The names of all cells.
pub fn names() -> Vec<&'static str> {
    let mut names: Vec<&str> = load_cells(1.0).iter().map(|cell| cell.name).collect();
    names.extend([IDLE_MEMORY, TWO_WORKERS]);
    names
}
