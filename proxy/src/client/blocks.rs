//! A transaction over several slots, cut into one transaction a slot (`multi_across_slots: best_effort`).
//!
//! For clients that wrap every pipeline in MULTI out of habit. Each block is atomic by itself and all
//! together are not: others may see one block done and the next not yet, and one may fail
//! while another is executed. Nothing of this exists while keys are watched, as that asks for more.

use pointsman_protocol::Slot;
use pointsman_protocol::resp::{encode, reply};
use std::collections::HashMap;

/// The commands of one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The slot.
    pub slot: Slot,
    /// MULTI, the commands, EXEC.
    pub bytes: Vec<u8>,
    /// The places of its commands among all of the transaction.
    pub places: Vec<u32>,
    /// Any of it may change data.
    pub writes: bool,
}

/// One queued command, for cutting.
#[derive(Clone, Copy, Debug)]
pub struct Queued {
    /// The slot of its keys, if it has any.
    pub slot: Option<Slot>,
    /// Where it ends among the bytes of all.
    pub end: usize,
    /// Its place among all commands, those that the proxy answers included.
    pub place: u32,
    /// It may change data.
    pub writes: bool,
}

/// Cuts the commands, which begin at `start` of `bytes`. Those without keys go with the first that has one.
pub fn cut(queued: &[Queued], start: usize, bytes: &[u8], head: &[u8], tail: &[u8]) -> Vec<Block> {
    let Some(first) = queued.iter().find_map(|command| command.slot) else { return Vec::new() };
    let (mut blocks, mut known): (Vec<Block>, HashMap<Slot, usize>) = (Vec::new(), HashMap::new());
    let mut from = start;
    for command in queued {
        let slot = command.slot.unwrap_or(first);
        let place = *known.entry(slot).or_insert_with(|| {
            blocks.push(Block { slot, bytes: head.to_vec(), places: Vec::new(), writes: false });
            blocks.len() - 1
        });
        let block = &mut blocks[place];
        block.bytes.extend_from_slice(bytes.get(from..command.end).unwrap_or_default());
        block.places.push(command.place);
        block.writes |= command.writes;
        from = command.end;
    }
    blocks.iter_mut().for_each(|block| block.bytes.extend_from_slice(tail));
    blocks
}

/// The reply of EXEC, from those of the blocks and the answers of the proxy itself. A block that failed
/// stands as its error at the places of its commands. `None` if a block answered something else.
pub fn join(replies: &[&[u8]], places: &[Vec<u32>], local: &[(u32, Vec<u8>)]) -> Option<Vec<u8>> {
    let count = places.iter().map(Vec::len).sum::<usize>() + local.len();
    let mut answers: Vec<&[u8]> = vec![b""; count];
    for (place, answer) in local {
        *answers.get_mut(*place as usize)? = answer;
    }
    for (bytes, places) in replies.iter().zip(places) {
        let mut elements = reply::elements(bytes);
        if elements.is_none() && bytes.first() != Some(&b'-') {
            return None;
        }
        for place in places {
            *answers.get_mut(*place as usize)? = match &mut elements {
                Some(elements) => elements.next()?,
                None => bytes,
            };
        }
    }
    let mut out = Vec::new();
    encode::array_head(&mut out, count);
    answers.into_iter().for_each(|answer| out.extend_from_slice(answer));
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_cut_by_slot_and_answers_go_back_to_their_places() {
        let slot = |number| Slot::new(number);
        let queued = |slot, end, place, writes| Queued { slot, end, place, writes };
        // The proxy answers what stands at place 2.
        let commands = [
            queued(None, 1, 0, false),
            queued(slot(5), 2, 1, false),
            queued(slot(6), 3, 3, true),
            queued(slot(5), 4, 4, false),
        ];
        let blocks = cut(&commands, 0, b"abcd", b"<", b">");
        let shown: Vec<_> = blocks
            .iter()
            .map(|block| {
                (
                    block.slot.number(),
                    std::str::from_utf8(&block.bytes).unwrap(),
                    &block.places[..],
                    block.writes,
                )
            })
            .collect();
        assert_eq!(shown, [(5, "<abd>", &[0, 1, 4][..], false), (6, "<c>", &[3], true)]);
        assert!(cut(&commands[..1], 0, b"a", b"<", b">").is_empty());

        let places: Vec<Vec<u32>> = blocks.into_iter().map(|block| block.places).collect();
        let local = [(2, b"+PONG\r\n".to_vec())];
        let joined = |replies: &[&[u8]]| {
            join(replies, &places, &local).map(|bytes| String::from_utf8(bytes).unwrap().replace("\r\n", " "))
        };
        assert_eq!(
            joined(&[b"*3\r\n:0\r\n:1\r\n:4\r\n", b"*1\r\n+OK\r\n"]).unwrap(),
            "*5 :0 :1 +PONG +OK :4 "
        );
        assert_eq!(
            joined(&[b"*3\r\n:0\r\n:1\r\n:4\r\n", b"-ERR no\r\n"]).unwrap(),
            "*5 :0 :1 +PONG -ERR no :4 "
        );
        assert_eq!(joined(&[b"*2\r\n:0\r\n:1\r\n", b"*1\r\n+OK\r\n"]), None);
        assert_eq!(joined(&[b"*-1\r\n", b"*1\r\n+OK\r\n"]), None);
    }
}
