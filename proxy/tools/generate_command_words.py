#!/usr/bin/env python3
"""Writes proxy/src/client/local/words.rs: what COMMAND INFO says of a command beyond the command table.

It asks a running redis-server (port as the only argument) for COMMAND; the file in the repository was made
with 7.0.15:

    redis-server --port 7777 --save '' &
    proxy/tools/generate_command_words.py 7777
"""

import json
import pathlib
import subprocess
import sys

OUT = pathlib.Path(__file__).resolve().parents[1] / "src/client/local/words.rs"
HEAD = """//! made by proxy/tools/generate_command_words.py; do not edit.
//!
//! What COMMAND INFO says of a command beyond the command table: its access categories, tips, and the
//! flags and notes of its key specifications, as redis-server 7.0.15 tells them. Sorted by name.

/// See the module's head.
#[derive(Debug)]
pub struct Words {
    /// In lower case; a subcommand is `parent|child`.
    pub name: &'static str,
    /// Parted by spaces, without the `@`.
    pub categories: &'static str,
    /// Parted by spaces.
    pub tips: &'static str,
    /// Of each key specification: its flags, parted by spaces, and its notes.
    pub keys: &'static [(&'static str, &'static str)],
}

/// The words of a command, by its name in lower case.
pub fn of(name: &str) -> Option<&'static Words> {
    WORDS.binary_search_by_key(&name, |words| words.name).ok().map(|at| &WORDS[at])
}

const fn row(
    name: &'static str,
    categories: &'static str,
    tips: &'static str,
    keys: &'static [(&'static str, &'static str)],
) -> Words {
    Words { name, categories, tips, keys }
}

#[rustfmt::skip]
static WORDS: &[Words] = &[
"""


def main():
    port = sys.argv[1]
    answer = subprocess.check_output(["redis-cli", "-3", "--json", "-p", port, "COMMAND"])
    rows = {}

    def take(command):
        name, categories, tips, keys, subcommands = command[0], *command[6:10]
        found = [(" ".join(key["flags"]), key.get("notes", "")) for key in keys]
        rows[name] = (" ".join(category.lstrip("@") for category in categories), " ".join(tips), found)
        for subcommand in subcommands:
            take(subcommand)

    for command in json.loads(answer):
        take(command)
    lines = []
    for name, (categories, tips, keys) in sorted(rows.items()):
        keys = ", ".join(f"({quoted(flags)}, {quoted(notes)})" for flags, notes in keys)
        lines.append(f"    row({quoted(name)}, {quoted(categories)}, {quoted(tips)}, &[{keys}]),\n")
    OUT.write_text(HEAD + "".join(lines) + "];\n")


def quoted(text):
    return json.dumps(text)


if __name__ == "__main__":
    main()
