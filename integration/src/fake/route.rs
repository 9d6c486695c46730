//! Where a fake node sends a data command: executes it, or redirects as a cluster node would.

use super::session::{Session, error};
use super::shapes;
use super::world::World;
use pointsman_protocol::Slot;

/// Executes a data command or redirects it. The flag says whether it was executed.
pub(super) fn run(world: &mut World, session: &Session, asking: bool, words: &[Vec<u8>]) -> (Vec<u8>, bool) {
    let shard = match judge(world, session, asking, words) {
        Ok(shard) => shard,
        Err(refusal) => return (refusal, false),
    };
    if !is_read(words) && !keys_of(words).is_empty() {
        // Any number will do, as long as it grows.
        world.offset += 50;
    }
    // A replica stores nothing of its own: it reads its shard's.
    (in_protocol(world.data[shard].execute(words), session.resp3), true)
}

/// The shard whose data a command works on here; else what the node says instead of executing it.
pub(super) fn judge(
    world: &World,
    session: &Session,
    asking: bool,
    words: &[Vec<u8>],
) -> Result<usize, Vec<u8>> {
    let keys = keys_of(words);
    let Some(first) = keys.first() else { return Ok(shard_of(world, session.node)) };
    let slot = Slot::of(first);
    if keys.iter().any(|key| Slot::of(key) != slot) {
        return Err(error("CROSSSLOT Keys in request don't hash to the same slot"));
    }
    match place(world, session, asking, slot, words, &keys) {
        Place::Here(shard) => Ok(shard),
        Place::Moved(shard) => {
            let to = world.view_of(session.node).shards[shard].primary;
            Err(redirect(world, to, false, words))
        }
        Place::Ask(shard) => Err(redirect(world, world.view.shards[shard].primary, true, words)),
        Place::TryAgain => Err(error("TRYAGAIN Multiple keys request during rehashing of slot")),
        Place::Nowhere => Err(error("CLUSTERDOWN Hash slot not served")),
    }
}

/// The MOVED or ASK reply that names this node.
pub(super) fn redirect(world: &World, to: usize, asking: bool, words: &[Vec<u8>]) -> Vec<u8> {
    let slot = keys_of(words).first().map_or(0, |key| Slot::of(key).number());
    let code = if asking { "ASK" } else { "MOVED" };
    error(&format!("{code} {slot} {}", shapes::redirect_address(&world.nodes[to])))
}

enum Place {
    Here(usize),
    Moved(usize),
    Ask(usize),
    TryAgain,
    Nowhere,
}

fn place(
    world: &World,
    session: &Session,
    asking: bool,
    slot: Slot,
    words: &[Vec<u8>],
    keys: &[&[u8]],
) -> Place {
    let view = world.view_of(session.node);
    let Some(owner) = view.owner[slot.index()] else { return Place::Nowhere };
    let me = session.node;
    let here = |shard: usize| keys.iter().filter(|key| world.data[shard].has(key)).count();
    if view.shards[owner].primary == me {
        return match world.moves.get(&slot.number()) {
            Some((from, to)) if *from == owner => match here(owner) {
                count if count == keys.len() => Place::Here(owner),
                0 => Place::Ask(*to),
                _ => Place::TryAgain,
            },
            _ => Place::Here(owner),
        };
    }
    if let Some((_, to)) = world.moves.get(&slot.number())
        && view.shards[*to].primary == me
        && asking
    {
        return if keys.len() == 1 || here(*to) == keys.len() { Place::Here(*to) } else { Place::TryAgain };
    }
    let is_reader = session.readonly && view.shards[owner].replicas.contains(&me) && is_read(words);
    if is_reader { Place::Here(owner) } else { Place::Moved(owner) }
}

fn shard_of(world: &World, node: usize) -> usize {
    let shards = &world.view.shards;
    let mine = shards.iter().position(|shard| shard.primary == node || shard.replicas.contains(&node));
    mine.unwrap_or(0)
}

/// Commands that a replica serves.
fn is_read(words: &[Vec<u8>]) -> bool {
    matches!(
        &words[0].to_ascii_uppercase()[..],
        b"GET" | b"MGET" | b"EXISTS" | b"TOUCH" | b"STRLEN" | b"TTL" | b"PTTL" | b"TYPE" | b"GETRANGE"
    )
}

/// The keys of the commands that tests use. On purpose not the proxy's own table: this one judges it.
fn keys_of(words: &[Vec<u8>]) -> Vec<&[u8]> {
    let args = words.get(1..).unwrap_or_default();
    let step = match &words[0].to_ascii_uppercase()[..] {
        b"PING" | b"ECHO" | b"TIME" | b"DBSIZE" | b"FLUSHALL" | b"FLUSHDB" => return Vec::new(),
        b"MGET" | b"DEL" | b"UNLINK" | b"EXISTS" | b"TOUCH" => 1,
        b"MSET" | b"MSETNX" => 2,
        _ => return args.first().map(Vec::as_slice).into_iter().collect(),
    };
    args.iter().step_by(step).map(Vec::as_slice).collect()
}

/// The model speaks RESP2; RESP3 has another null.
fn in_protocol(reply: Vec<u8>, resp3: bool) -> Vec<u8> {
    if !resp3 {
        return reply;
    }
    let null = |reply: &[u8]| if reply == b"$-1\r\n" { b"_\r\n".to_vec() } else { reply.to_vec() };
    match pointsman_protocol::resp::reply::elements(&reply) {
        None => null(&reply),
        Some(elements) => {
            let elements: Vec<&[u8]> = elements.collect();
            let mut out = Vec::new();
            pointsman_protocol::resp::encode::array_head(&mut out, elements.len());
            elements.into_iter().for_each(|element| out.extend(null(element)));
            out
        }
    }
}
