//! Finds a command's row by its name, in any case, without allocating.
//!
//! Names are compared as machine words: at most [`NAME_MAX`] bytes packed into three of them, case
//! folded eight letters at a time, hashed by one multiplication, and found in a table that the
//! compiler fills in. A request therefore pays a handful of instructions for its name, however many
//! commands there are.

use super::refusal::Refusal;
use super::spec::CommandSpec;
use super::table;
use crate::resp::Args;

/// The longest name of a top-level command that the index can hold.
const NAME_MAX: usize = 24;

/// Places in the index: a power of two, at least three times the rows, so that most names are found
/// at the first place.
const PLACES: usize = 2048;

/// All top-level rows, sorted by name.
pub fn all() -> &'static [CommandSpec] {
    table::COMMANDS
}

/// The row of a command name in any case.
#[inline]
pub fn lookup(name: &[u8]) -> Option<&'static CommandSpec> {
    let word = Word::fold(name)?;
    let mut place = word.place();
    loop {
        // An empty place ends the search; the test below pins that there always is one.
        let entry = &INDEX[place];
        if entry.word.same(&word) {
            return table::COMMANDS.get(usize::from(entry.row));
        }
        if entry.word.len == 0 {
            return None;
        }
        place = (place + 1) % PLACES;
    }
}

/// The row of a request: that of its subcommand, if it has one. `None` if there is no such command
/// or subcommand; [`resolve`] tells which.
#[inline]
pub fn lookup_args(args: Args<'_>) -> Option<&'static CommandSpec> {
    let spec = lookup(args.get(0)?)?;
    if spec.subcommands.is_empty() { Some(spec) } else { subcommand_of(spec, args) }
}

/// The row of a request, or what to answer it: there is no such command, no such subcommand, or the
/// number of arguments does not fit.
#[inline]
pub fn resolve(args: Args<'_>) -> Result<&'static CommandSpec, Refusal> {
    let Some(spec) = lookup(args.at(0)) else { return Err(Refusal::UnknownCommand) };
    let spec = if spec.subcommands.is_empty() {
        spec
    } else {
        subcommand_of(spec, args).ok_or(Refusal::UnknownSubcommand(spec))?
    };
    if spec.accepts(args.len()) { Ok(spec) } else { Err(Refusal::Arity(spec)) }
}

/// The row of `container`'s subcommand of this name, in any case.
pub fn subcommand(container: &'static CommandSpec, name: &[u8]) -> Option<&'static CommandSpec> {
    let prefix = container.name.len() + 1;
    container
        .subcommands
        .iter()
        .find(|spec| spec.name.as_bytes().get(prefix..).is_some_and(|own| own.eq_ignore_ascii_case(name)))
}

/// A container without a subcommand is itself: CLIENT is then short of arguments, COMMAND is whole.
#[inline(never)]
fn subcommand_of(container: &'static CommandSpec, args: Args<'_>) -> Option<&'static CommandSpec> {
    match args.get(1) {
        None => Some(container),
        Some(name) => subcommand(container, name),
    }
}

/// A name of 1 to [`NAME_MAX`] bytes, in upper case: its first eight bytes, its last eight, and the
/// eight in the middle, as far as it has them. With the length these determine the name.
#[derive(Clone, Copy)]
struct Word {
    first: u64,
    last: u64,
    middle: u64,
    len: usize,
}

impl Word {
    const NONE: Word = Word { first: 0, last: 0, middle: 0, len: 0 };

    /// Packs and folds a name; `None` if it is empty or longer than any command's.
    #[inline]
    const fn fold(name: &[u8]) -> Option<Word> {
        let len = name.len();
        let (first, last, middle) = match len {
            0 => return None,
            1..=3 => (name[0] as u64 | (name[len / 2] as u64) << 8 | (name[len - 1] as u64) << 16, 0, 0),
            4..=7 => (four(name, 0) | four(name, len - 4) << 32, 0, 0),
            8 => (eight(name, 0), 0, 0),
            9..=16 => (eight(name, 0), eight(name, len - 8), 0),
            17..=NAME_MAX => (eight(name, 0), eight(name, len - 8), eight(name, 8)),
            _ => return None,
        };
        Some(Word { first: upper(first), last: upper(last), middle: upper(middle), len })
    }

    #[inline]
    const fn same(&self, other: &Word) -> bool {
        self.first == other.first
            && self.last == other.last
            && self.middle == other.middle
            && self.len == other.len
    }

    /// Where the search for it begins.
    #[inline]
    const fn place(&self) -> usize {
        // The multiplier is 2^64 divided by the golden ratio; the high bits are the mixed ones.
        let mixed = (self.first ^ self.last.rotate_left(29) ^ self.middle.rotate_left(11) ^ self.len as u64)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> (64 - PLACES.trailing_zeros())) as usize
    }
}

#[inline]
const fn four(name: &[u8], at: usize) -> u64 {
    u32::from_le_bytes([name[at], name[at + 1], name[at + 2], name[at + 3]]) as u64
}

#[inline]
const fn eight(name: &[u8], at: usize) -> u64 {
    four(name, at) | four(name, at + 4) << 32
}

/// Eight bytes at once, `a` to `z` in upper case, all others as they were.
#[inline]
const fn upper(bytes: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * ONES;
    let low = bytes & !HIGH;
    // Of each byte below 0x80, the high bit of the sum says whether it is at least 'a', or above 'z'.
    let from_a = low + (0x80 - b'a' as u64) * ONES;
    let above_z = low + (0x80 - b'z' as u64 - 1) * ONES;
    let letters = from_a & !above_z & !bytes & HIGH;
    bytes ^ (letters >> 2)
}

#[derive(Clone, Copy)]
struct Entry {
    word: Word,
    row: u16,
}

static INDEX: [Entry; PLACES] = {
    let mut index = [Entry { word: Word::NONE, row: 0 }; PLACES];
    let mut row = 0;
    while row < table::COMMANDS.len() {
        let Some(word) = Word::fold(table::COMMANDS[row].name.as_bytes()) else {
            panic!("a command's name is longer than NAME_MAX");
        };
        let mut place = word.place();
        while index[place].word.len != 0 {
            place = (place + 1) % PLACES;
        }
        index[place] = Entry { word, row: row as u16 };
        row += 1;
    }
    index
};

#[cfg(test)]
#[path = "lookup_tests.rs"]
mod tests;
