//! A transaction over several slots, cut into one transaction a slot (`multi_across_slots: best_effort`).
//!
//! For clients that wrap every pipeline in MULTI out of habit. Each block is atomic by itself and all
//! together are not: others may see one block done and the next not yet, and one may fail
//! while another is executed. The block of watched keys comes first, and be it empty: it guards the others
//! ([`crate::worker::guard`]).

use pointsman_protocol::Slot;
use pointsman_protocol::resp::{encode, reply};
use std::borrow::Cow;
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

/// Cuts the commands, which begin at `start` of `bytes`. Those without keys go with the first block, which is that of
/// the slot `guard` or of the first key.
pub fn cut(
    queued: &[Queued],
    guard: Option<Slot>,
    start: usize,
    bytes: &[u8],
    head: &[u8],
    tail: &[u8],
) -> Vec<Block> {
    let first = guard.or_else(|| queued.iter().find_map(|command| command.slot));
    let Some(first) = first else { return Vec::new() };
    let empty = |slot| Block { slot, bytes: head.to_vec(), places: Vec::new(), writes: false };
    let mut blocks = vec![empty(first)];
    let mut known = HashMap::from([(first, 0)]);
    let mut from = start;
    for command in queued {
        let slot = command.slot.unwrap_or(first);
        let place = *known.entry(slot).or_insert_with(|| {
            blocks.push(empty(slot));
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
    let last = places.iter().flatten().chain(local.iter().map(|(place, _)| place)).max();
    let count = last.map_or(0, |last| *last as usize + 1);
    let mut answers: Vec<Cow<[u8]>> = vec![Cow::Borrowed(b""); count];
    for (place, answer) in local {
        *answers.get_mut(*place as usize)? = Cow::Borrowed(answer);
    }
    for (bytes, places) in replies.iter().zip(places) {
        let mut elements = reply::elements(bytes);
        if elements.is_none() && bytes.first() != Some(&b'-') {
            return None;
        }
        for place in places {
            let answer = match &mut elements {
                Some(elements) => elements.next()?,
                None => bytes,
            };
            let told = answers.get_mut(*place as usize)?;
            *told = both(told, answer);
        }
    }
    let mut out = Vec::new();
    encode::array_head(&mut out, count);
    answers.into_iter().for_each(|answer| out.extend_from_slice(&answer));
    Some(out)
}

/// The answer to a command that was cut, from those to its parts so far: numbers are added, and an error is told
/// rather than a success.
fn both<'a>(told: &Cow<'a, [u8]>, answer: &'a [u8]) -> Cow<'a, [u8]> {
    match (reply::integer(told), reply::integer(answer)) {
        _ if told.first() == Some(&b'-') => told.clone(),
        (Some(one), Some(other)) => {
            let mut out = Vec::new();
            encode::integer(&mut out, one.saturating_add(other));
            Cow::Owned(out)
        }
        _ => Cow::Borrowed(answer),
    }
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
        let blocks = cut(&commands, None, 0, b"abcd", b"<", b">");
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
        assert!(cut(&commands[..1], None, 0, b"a", b"<", b">").is_empty());

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

    #[test]
    fn the_block_of_watched_keys_comes_first_and_be_it_empty() {
        let slot = |number| Slot::new(number);
        let commands = [
            Queued { slot: slot(5), end: 1, place: 0, writes: true },
            Queued { slot: None, end: 2, place: 1, writes: false },
        ];
        let blocks = cut(&commands, slot(9), 0, b"ab", b"<", b">");
        let shown: Vec<_> = blocks
            .iter()
            .map(|block| (block.slot.number(), std::str::from_utf8(&block.bytes).unwrap(), &block.places[..]))
            .collect();
        assert_eq!(shown, [(9, "<b>", &[1][..]), (5, "<a>", &[0])]);
        assert_eq!(cut(&commands[..1], slot(9), 0, b"a", b"<", b">")[0].bytes, b"<>");
    }

    #[test]
    fn parts_of_one_command_share_its_place() {
        for (one, other, told) in [
            (":2", ":3", ":5"),
            ("+OK", "+OK", "+OK"),
            ("-ERR x", ":3", "-ERR x"),
            (":3", "-ERR x", "-ERR x"),
        ] {
            let (first, second) = (format!("*1\r\n{one}\r\n"), format!("*2\r\n{other}\r\n:7\r\n"));
            let joined = join(&[first.as_bytes(), second.as_bytes()], &[vec![0], vec![0, 1]], &[]);
            assert_eq!(String::from_utf8(joined.unwrap()).unwrap(), format!("*2\r\n{told}\r\n:7\r\n"));
        }
    }
}
