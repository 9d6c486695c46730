//! What one request costs inside the proxy, network and framing apart: planning it, keeping its place
//! in the client's order, cutting and joining MGET. Framing and slots are in protocol's benches.
//!
//! `cargo bench -p pointsman` prints the median of several rounds in nanoseconds per operation, and
//! the quickest round beside it: on a quiet machine the two are close.

use pointsman::client::gather::Gather;
use pointsman::client::replies::Replies;
use pointsman::route::division::Division;
use pointsman::route::plan::{Plan, plan};
use pointsman::route::split::{self, SplitKind};
use pointsman_protocol::resp::args::OwnedArgs;
use std::hint::black_box;
use std::time::{Duration, Instant};

const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_millis(40);

fn main() {
    println!("{:<44} {:>10} {:>10}", "", "median ns", "best ns");
    row("plan GET", 1, planning(&["GET", "user:1000"]));
    row("plan SET", 1, planning(&["SET", "user:1000", "value"]));
    row("plan EVAL with 2 keys", 1, planning(&["EVAL", "return 1", "2", "{t}a", "{t}b"]));
    row("replies: 16 in order, each", 16, in_order);
    row("replies: 16 in reverse order, each", 16, in_reverse);
    row("split MGET of 10 keys", 1, splitting());
    row("gather MGET of 10 keys", 1, gathering());
}

fn row(name: &str, operations: usize, mut body: impl FnMut()) {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let (began, mut count) = (Instant::now(), 0u32);
            while began.elapsed() < ROUND {
                // The clock is read once for many calls, so that it does not count.
                (0..256).for_each(|_| body());
                count += 256;
            }
            began.elapsed().as_nanos() as f64 / f64::from(count) / operations as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    println!("{name:<44} {:>10.1} {:>10.1}", rounds[ROUNDS / 2], rounds[0]);
}

fn planning(words: &[&str]) -> impl FnMut() {
    let owned = OwnedArgs::new(words);
    let (mut keys, division) = (Vec::new(), Division::Slots);
    move || match plan(black_box(owned.args()), true, &division, &mut keys) {
        Plan::Slot { slot, .. } => {
            black_box(slot);
        }
        other => panic!("{other:?}"),
    }
}

const REPLY: &[u8] = b"$3\r\nabc\r\n";

fn in_order() {
    let mut replies = Replies::default();
    let tickets: [_; 16] = std::array::from_fn(|_| replies.open());
    tickets.iter().for_each(|ticket| replies.fill(*ticket, black_box(REPLY)));
    black_box(replies.ready());
}

fn in_reverse() {
    let mut replies = Replies::default();
    let tickets: [_; 16] = std::array::from_fn(|_| replies.open());
    tickets.iter().rev().for_each(|ticket| replies.fill(*ticket, black_box(REPLY)));
    black_box(replies.ready());
}

fn mget() -> OwnedArgs {
    let names: Vec<String> = (0..10).map(|nth| format!("user:{nth:04}")).collect();
    OwnedArgs::new(&[vec!["MGET".to_owned()], names].concat())
}

fn splitting() -> impl FnMut() {
    let owned = mget();
    let (mut placed, mut out) = (Vec::new(), Vec::new());
    move || {
        out.clear();
        split::place(SplitKind::Mget, black_box(owned.args()), &Division::Slots, &mut placed);
        split::parts(&placed)
            .for_each(|part| split::encode_part(&mut out, SplitKind::Mget, owned.args(), part));
        black_box(&out);
    }
}

fn gathering() -> impl FnMut() {
    let owned = mget();
    let mut placed = Vec::new();
    split::place(SplitKind::Mget, owned.args(), &Division::Slots, &mut placed);
    let replies: Vec<Vec<u8>> = split::parts(&placed)
        .map(|part| format!("*{}\r\n{}", part.len(), "$3\r\nabc\r\n".repeat(part.len())).into_bytes())
        .collect();
    let mut out = Vec::new();
    move || {
        out.clear();
        let mut gather = Gather::split(SplitKind::Mget, &placed);
        for (part, reply) in replies.iter().enumerate() {
            gather.take(part as u32, black_box(reply));
        }
        gather.write(&mut out);
        black_box(&out);
    }
}
