//! LCS: the longest common subsequence of two strings, and where it lies in each.
//!
//! Takes time and memory in proportion to the product of the lengths, in one turn, as Redis does. The
//! table of lengths may be as large as a string value.

use super::failure::{Failure, Outcome, SYNTAX};
use super::{Call, Handler};
use crate::keyspace::Handle;

/// See the module.
pub const COMMANDS: &[(&str, Handler)] = &[("LCS", lcs)];

#[derive(Default)]
struct Options {
    length: bool,
    places: bool,
    with_lengths: bool,
    least: i64,
}

/// Two equally long runs of equal bytes: where each begins, and how long they are.
struct Match {
    left: usize,
    right: usize,
    length: usize,
}

fn options(call: &Call<'_>) -> Result<Options, Failure> {
    let mut options = Options::default();
    let mut at = 3;
    while at < call.args.len() {
        if call.is_word(at, "IDX") {
            options.places = true;
        } else if call.is_word(at, "LEN") {
            options.length = true;
        } else if call.is_word(at, "WITHMATCHLEN") {
            options.with_lengths = true;
        } else if call.is_word(at, "MINMATCHLEN") && at + 1 < call.args.len() {
            at += 1;
            options.least = call.integer(at)?;
        } else {
            return Err(SYNTAX);
        }
        at += 1;
    }
    if options.length && options.places {
        return Err(Failure::Text("ERR If you want both the length and indexes, please just use IDX."));
    }
    Ok(options)
}

fn lcs(call: &mut Call<'_>) -> Outcome {
    let right_key = call.arg(2);
    let right_place = call.nth_place(1, right_key);
    let left = call.read(call.first, call.arg(1));
    let right = call.read(right_place, right_key);
    let options = options(call)?;
    let string = |handle: Option<Handle>| handle.map_or(&b""[..], |handle| call.node.keyspace.bytes(handle));
    let (left, right) = (string(left), string(right));
    let cells = (left.len() + 1).saturating_mul(right.len() + 1);
    if cells.saturating_mul(size_of::<u32>()) > call.node.spec.limits.value_bytes_max {
        return Err(Failure::Text(
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        ));
    }
    let lengths = lengths(left, right);
    let total = lengths.last().copied().unwrap_or(0);
    if options.length {
        call.reply_integer(i64::from(total));
        return Ok(());
    }
    let matches = matches(left, right, &lengths);
    if !options.places {
        let mut common = Vec::with_capacity(total as usize);
        for run in matches.iter().rev() {
            common.extend_from_slice(left.get(run.left..run.left + run.length).unwrap_or_default());
        }
        call.reply_bulk(&common);
        return Ok(());
    }
    let long_enough = |run: &&Match| run.length as i64 >= options.least;
    call.reply_map(2);
    call.reply_bulk(b"matches");
    call.reply_array(matches.iter().filter(long_enough).count());
    for run in matches.iter().filter(long_enough) {
        call.reply_array(2 + usize::from(options.with_lengths));
        for start in [run.left, run.right] {
            call.reply_array(2);
            call.reply_integer(start as i64);
            call.reply_integer((start + run.length - 1) as i64);
        }
        if options.with_lengths {
            call.reply_integer(run.length as i64);
        }
    }
    call.reply_bulk(b"len");
    call.reply_integer(i64::from(total));
    Ok(())
}

/// For each pair of prefixes the length of their longest common subsequence, row by row.
fn lengths(left: &[u8], right: &[u8]) -> Vec<u32> {
    let width = right.len() + 1;
    let mut lengths = vec![0; width * (left.len() + 1)];
    for (row, byte) in left.iter().enumerate() {
        let (above, current) = lengths[row * width..].split_at_mut(width);
        for (column, other) in right.iter().enumerate() {
            current[column + 1] =
                if byte == other { above[column] + 1 } else { above[column + 1].max(current[column]) };
        }
    }
    lengths
}

/// The runs that make up one such subsequence, the last one first.
fn matches(left: &[u8], right: &[u8], lengths: &[u32]) -> Vec<Match> {
    let width = right.len() + 1;
    let (mut row, mut column) = (left.len(), right.len());
    let mut matches: Vec<Match> = Vec::new();
    let mut running = false;
    while row > 0 && column > 0 {
        if left[row - 1] == right[column - 1] {
            row -= 1;
            column -= 1;
            match matches.last_mut().filter(|_| running) {
                Some(run) => *run = Match { left: row, right: column, length: run.length + 1 },
                None => matches.push(Match { left: row, right: column, length: 1 }),
            }
            running = true;
        } else {
            running = false;
            if lengths[(row - 1) * width + column] > lengths[row * width + column - 1] {
                row -= 1;
            } else {
                column -= 1;
            }
        }
    }
    matches
}
