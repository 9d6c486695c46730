//! Frees large things on a thread of its own, because giving half a gigabyte back to the system takes
//! many milliseconds that no client should wait.
//!
//! The queue is bounded; what does not fit is freed on the spot.

use super::entry::{Entries, Outside};
use super::table::Table;
use std::sync::mpsc::{SyncSender, sync_channel};

/// Most things that wait to be freed.
const QUEUE_MAX: usize = 256;
/// Values below this size are freed at once: handing them over would cost more.
const LARGE_BYTES: usize = 128 * 1024;

/// What can be freed elsewhere. The fields are never read: freeing them is all that is wanted.
#[derive(Debug)]
enum Garbage {
    Everything(#[allow(dead_code)] Box<(Table, Entries)>),
    One(#[allow(dead_code)] Outside),
}

/// See the module. Its thread starts when it is first needed and ends when this is dropped.
#[derive(Debug, Default)]
pub struct Dropper {
    sender: Option<SyncSender<Garbage>>,
}

impl Dropper {
    /// Frees a whole key space.
    pub fn free_everything(&mut self, table: Table, entries: Entries) {
        if table.census().total() > 0 {
            self.free(Garbage::Everything(Box::new((table, entries))));
        }
    }

    /// Frees one value.
    #[inline]
    pub fn free_outside(&mut self, outside: Option<Outside>) {
        if let Some(outside) = outside
            && outside.bytes_held() >= LARGE_BYTES
        {
            self.free(Garbage::One(outside));
        }
    }

    #[cold]
    fn free(&mut self, garbage: Garbage) {
        if self.sender.is_none() {
            let (sender, receiver) = sync_channel::<Garbage>(QUEUE_MAX);
            let thread = std::thread::Builder::new().name("store-dropper".into());
            // Without a thread the garbage is dropped here, with the closure.
            if thread.spawn(move || receiver.into_iter().for_each(drop)).is_ok() {
                self.sender = Some(sender);
            }
        }
        if let Some(sender) = &self.sender {
            // A full queue hands it back, to be dropped here.
            drop(sender.try_send(garbage));
        }
    }
}
