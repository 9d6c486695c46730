//! What a client queues between MULTI and EXEC.
//!
//! The proxy queues commands itself and sends the whole transaction when EXEC comes, as one piece:
//! `MULTI`, the commands, `EXEC`, side by side on the connection that all clients share. So a
//! transaction needs no connection of its own, one that is never finished costs the node nothing, and
//! one that meets a slot on the move is sent elsewhere as a whole: a node that refuses one command of
//! it executes none.
//!
//! A command that a single Redis would refuse at once is refused at once, by its row in the command
//! table. What only the node can know (a module's command, its memory) shows when EXEC does.

use super::blocks::{self, Block, Queued};
use pointsman_protocol::Slot;
use pointsman_protocol::command::CommandSpec;
use pointsman_protocol::resp::{Args, RequestDecoder, RequestLimits, encode};

const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

/// See the module.
#[derive(Debug)]
pub struct Transaction {
    /// MULTI and the commands, as they go over the wire.
    bytes: Vec<u8>,
    /// Commands for the node.
    sent: u32,
    /// Commands that the proxy answers, as they would go over the wire, and their places among all.
    local: Vec<(u32, Vec<u8>)>,
    local_bytes: usize,
    /// The slot of the first key.
    slot: Option<Slot>,
    /// The slot of the keys being watched.
    guard: Option<Slot>,
    /// Each command for the node, where they may be in several slots.
    queued: Option<Vec<Queued>>,
    /// They are.
    in_several: bool,
    writes: bool,
    /// Some of it brings the text of a script.
    scripts: bool,
    /// The database that it selects last.
    selected: Option<u16>,
    /// A command was refused: EXEC will be, too.
    aborted: bool,
}

/// What keeps a command from being queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotQueued {
    /// Its keys are in another slot than those before.
    CrossSlot,
    /// The transaction would be larger than a request may be.
    TooLarge,
}

impl Transaction {
    /// An empty one; `slot` is that of the keys being watched.
    pub fn new(slot: Option<Slot>) -> Transaction {
        Transaction {
            bytes: MULTI.to_vec(),
            sent: 0,
            local: Vec::new(),
            local_bytes: 0,
            slot,
            guard: slot,
            queued: None,
            in_several: false,
            writes: false,
            scripts: false,
            selected: None,
            aborted: false,
        }
    }

    /// The same, whose commands may be in several slots.
    pub fn in_any_slots(self) -> Transaction {
        Transaction { queued: Some(Vec::new()), ..self }
    }

    /// Queues a command for the node, which `write` appends. `slot` is that of its keys, if it has any; `bytes_max`
    /// bounds the whole.
    pub fn queue(
        &mut self,
        spec: &CommandSpec,
        slot: Option<Slot>,
        bytes_max: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), NotQueued> {
        if self.aborted {
            // It will not be executed, so it need not be kept.
            return Ok(());
        }
        if let (Some(before), Some(slot)) = (self.slot, slot)
            && before != slot
        {
            if !self.may_be_in_several() {
                return Err(NotQueued::CrossSlot);
            }
            self.in_several = true;
        }
        self.append(spec, slot, bytes_max, write)?;
        self.slot = self.slot.or(slot);
        self.sent += 1;
        self.writes |= !spec.is_read();
        self.scripts |= matches!(spec.name, "EVAL" | "EVAL_RO");
        Ok(())
    }

    /// Queues a command whose keys are in several slots, cut by slot; `write` appends a part. The parts' replies share
    /// its place. One that is refused half-way is not executed, as nothing of the transaction is then.
    pub fn queue_parts<T>(
        &mut self,
        spec: &CommandSpec,
        parts: impl Iterator<Item = (Slot, T)>,
        bytes_max: usize,
        write: impl Fn(&mut Vec<u8>, T),
    ) -> Result<(), NotQueued> {
        if self.aborted {
            return Ok(());
        }
        if !self.may_be_in_several() {
            return Err(NotQueued::CrossSlot);
        }
        for (slot, part) in parts {
            self.append(spec, Some(slot), bytes_max, |out| write(out, part))?;
            self.slot = self.slot.or(Some(slot));
        }
        self.in_several = true;
        self.sent += 1;
        self.writes |= !spec.is_read();
        Ok(())
    }

    /// Appends what stands at the next place, or a part of it.
    fn append(
        &mut self,
        spec: &CommandSpec,
        slot: Option<Slot>,
        bytes_max: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), NotQueued> {
        let place = self.commands();
        let before = self.bytes.len();
        write(&mut self.bytes);
        if self.bytes.len() + EXEC.len() + self.local_bytes > bytes_max {
            self.bytes.truncate(before);
            return Err(NotQueued::TooLarge);
        }
        if let Some(queued) = &mut self.queued {
            queued.push(Queued { slot, end: self.bytes.len(), place, writes: !spec.is_read() });
        }
        Ok(())
    }

    /// Queues a command that the proxy answers itself when EXEC comes.
    pub fn queue_local(&mut self, args: Args<'_>, bytes_max: usize) -> Result<(), NotQueued> {
        if self.aborted {
            return Ok(());
        }
        let mut frame = Vec::new();
        encode::request_args(&mut frame, args);
        if self.bytes.len() + EXEC.len() + self.local_bytes + frame.len() > bytes_max {
            return Err(NotQueued::TooLarge);
        }
        self.local_bytes += frame.len();
        self.local.push((self.commands(), frame));
        Ok(())
    }

    /// Notes that what is queued next selects a database.
    ///
    /// Such a transaction stays in one slot: cut into blocks, one of them would change the database of its
    /// connection, the others would not, and the connection would stay there for everybody.
    pub fn selects(&mut self, database: u16) -> Result<(), NotQueued> {
        if self.in_several {
            return Err(NotQueued::CrossSlot);
        }
        self.selected = Some(database);
        Ok(())
    }

    fn may_be_in_several(&self) -> bool {
        self.queued.is_some() && self.selected.is_none()
    }

    /// The database that it selects last, if any.
    pub fn selected(&self) -> Option<u16> {
        self.selected
    }

    /// Makes its last command one that selects the database of the connection again: others use that, too.
    /// Its reply is one more than the client asked for.
    pub fn come_back_to(&mut self, database: u16) {
        encode::request(&mut self.bytes, &["SELECT", &database.to_string()]);
        self.sent += 1;
    }

    /// Notes that a command was refused.
    pub fn abort(&mut self) {
        self.aborted = true;
        self.bytes = Vec::new();
        self.local = Vec::new();
        self.queued = None;
    }

    /// True if a command was refused.
    pub fn is_aborted(&self) -> bool {
        self.aborted
    }

    /// How many commands are queued.
    pub fn commands(&self) -> u32 {
        self.sent + self.local.len() as u32
    }

    /// How many of them are for the node.
    pub fn sent(&self) -> u32 {
        self.sent
    }

    /// Those that the proxy answers, as they would go over the wire, and their places among all.
    pub fn local(&self) -> &[(u32, Vec<u8>)] {
        &self.local
    }

    /// All commands as they would go over the wire, in their order.
    pub fn all(&self) -> Vec<Vec<u8>> {
        let mut local = self.local.iter().peekable();
        let mut all = Vec::new();
        let (mut decoder, mut at) = (RequestDecoder::new(), MULTI.len());
        loop {
            if let Some((_, frame)) = local.next_if(|(place, _)| *place as usize == all.len()) {
                all.push(frame.clone());
                continue;
            }
            let rest = self.bytes.get(at..).unwrap_or_default();
            let Ok(Some(len)) = decoder.next(rest, &RequestLimits::ADMITTED) else { return all };
            all.push(rest[..len].to_vec());
            at += len;
        }
    }

    /// The slot of its keys; `None` if it has no keys.
    pub fn slot(&self) -> Option<Slot> {
        self.slot
    }

    /// What goes over the wire, if it brings the text of a script.
    pub fn with_scripts(&self) -> Option<&[u8]> {
        self.scripts.then_some(&self.bytes)
    }

    /// True if any of it may change data.
    pub fn writes(&self) -> bool {
        self.writes
    }

    /// Replies that come before that of EXEC: one each for MULTI and what was queued.
    pub fn replies_ahead(&self) -> u32 {
        self.sent + 1
    }

    /// One transaction a slot, if its commands are in several; first that of the keys being watched, if there are any.
    pub fn blocks(&self) -> Option<Vec<Block>> {
        let queued = self.queued.as_ref().filter(|_| self.in_several)?;
        Some(blocks::cut(queued, self.guard, MULTI.len(), &self.bytes, MULTI, EXEC))
    }

    /// Appends all of it, EXEC included.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes);
        out.extend_from_slice(EXEC);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_protocol::command::lookup;
    use pointsman_protocol::resp::args::OwnedArgs;

    fn queue(transaction: &mut Transaction, words: &[&str], slot: Option<u16>) -> Result<(), NotQueued> {
        let owned = OwnedArgs::new(words);
        let slot = slot.and_then(Slot::new);
        transaction.queue(lookup(words[0].as_bytes()).unwrap(), slot, 100, |out| {
            encode::request_args(out, owned.args());
        })
    }

    #[test]
    fn goes_out_as_one_piece() {
        let mut transaction = Transaction::new(None);
        assert!(transaction.slot().is_none());
        queue(&mut transaction, &["GET", "k"], Some(7)).unwrap();
        assert!(!transaction.writes());
        queue(&mut transaction, &["INCR", "k"], Some(7)).unwrap();
        assert!(transaction.writes());
        assert_eq!(transaction.slot(), Slot::new(7));
        assert_eq!((transaction.commands(), transaction.replies_ahead()), (2, 3));
        let ping = OwnedArgs::new(&["PING"]);
        transaction.queue_local(ping.args(), 1000).unwrap();
        let all: Vec<usize> = transaction.all().iter().map(Vec::len).collect();
        assert_eq!(all, [20, 21, 14], "GET, INCR, PING");
        let mut transaction = Transaction::new(None);
        queue(&mut transaction, &["GET", "k"], Some(7)).unwrap();
        queue(&mut transaction, &["INCR", "k"], Some(7)).unwrap();
        let mut out = Vec::new();
        transaction.write(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "*1\r\n$5\r\nMULTI\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*2\r\n$4\r\nINCR\r\n$1\r\nk\r\n*1\r\n$4\r\nEXEC\r\n"
        );
    }

    #[test]
    fn t31_one_that_selects_a_database_stays_in_one_slot() {
        let parts = |transaction: &mut Transaction| {
            let slots = [7, 8].into_iter().filter_map(Slot::new).map(|slot| (slot, ()));
            transaction.queue_parts(lookup(b"DEL").unwrap(), slots, 100, |out, ()| out.push(b'x'))
        };
        let mut transaction = Transaction::new(None).in_any_slots();
        transaction.selects(3).unwrap();
        queue(&mut transaction, &["GET", "k"], Some(7)).unwrap();
        queue(&mut transaction, &["GET", "l"], Some(7)).unwrap();
        assert_eq!(queue(&mut transaction, &["GET", "m"], Some(8)), Err(NotQueued::CrossSlot));
        assert_eq!(parts(&mut transaction), Err(NotQueued::CrossSlot));
        assert!(transaction.blocks().is_none());
        // The keys being watched count as well.
        let mut transaction = Transaction::new(Slot::new(9)).in_any_slots();
        transaction.selects(3).unwrap();
        assert_eq!(queue(&mut transaction, &["GET", "k"], Some(7)), Err(NotQueued::CrossSlot));
        let mut transaction = Transaction::new(None).in_any_slots();
        parts(&mut transaction).unwrap();
        assert_eq!(transaction.selects(3), Err(NotQueued::CrossSlot));
    }

    #[test]
    fn keeps_to_one_slot_and_to_its_size() {
        let mut transaction = Transaction::new(None);
        queue(&mut transaction, &["GET", "k"], Some(7)).unwrap();
        assert_eq!(queue(&mut transaction, &["GET", "l"], Some(8)), Err(NotQueued::CrossSlot));
        assert_eq!(queue(&mut transaction, &["GET", &"x".repeat(80)], Some(7)), Err(NotQueued::TooLarge));
        assert_eq!(transaction.commands(), 1, "what was refused is not queued");
        transaction.abort();
        assert_eq!(queue(&mut transaction, &["GET", "k"], Some(9)), Ok(()), "nothing is kept any more");
        assert!(transaction.is_aborted());
    }
}
