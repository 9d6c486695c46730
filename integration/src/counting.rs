//! A client that counts with INCR while nodes come and go, and keeps book of what it was told.

use crate::client::Client;
use crate::reply::Reply;
use std::sync::atomic::{AtomicBool, Ordering};

/// What one counting client was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Counted for certain.
    pub certain: i64,
    /// May have been counted or not.
    pub unknown: i64,
    /// Not counted.
    pub refused: i64,
}

impl Told {
    /// Counts one answer to INCR.
    ///
    /// # Panics
    /// It is neither a number nor an error.
    pub fn note(&mut self, reply: &Reply) {
        match reply.is_error() {
            false => {
                reply.int();
                self.certain += 1;
            }
            true if reply.error().contains("may or may not") => self.unknown += 1,
            true => self.refused += 1,
        }
    }

    /// True if a counter may stand at `value`: nothing promised is missing, nothing was done twice.
    pub fn allows(&self, value: i64) -> bool {
        (self.certain..=self.certain + self.unknown).contains(&value)
    }
}

/// Counts up `key`, one request at a time, until told to stop.
pub fn count_until(stop: &AtomicBool, client: &mut Client, key: &str) -> Told {
    let mut told = Told::default();
    while !stop.load(Ordering::Relaxed) {
        told.note(&client.command(&["INCR", key]));
    }
    told
}
