#!/usr/bin/env python3
"""Makes protocol/src/command/table.rs.

Most facts come from a live redis-server 7.0 (its reply to COMMAND); what servers added or changed since
comes from the JSON files beside this one, which name their sources: commands_7_2.json, then
commands_later.json (Redis 7.4 and later, Valkey), commands_modules.json, and the proxy's own in commands_own.json. Nothing is guessed: a word
that this program does not know, in any of them, ends it.

    generate_command_table.py                 write the table
    generate_command_table.py --check         fail if the table in the tree is not what would be written
    generate_command_table.py --address H:P   ask this server instead of starting one
"""

import argparse
import json
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
TABLE = HERE.parent / "src" / "command" / "table.rs"
CHANGES = [HERE / name for name in ("commands_7_2.json", "commands_later.json", "commands_modules.json", "commands_own.json")]

# COMMAND's words. The order is that of the constants in spec.rs, and of the words in a row.
FLAGS = (
    "write readonly denyoom admin pubsub noscript blocking loading stale skip_monitor skip_slowlog asking fast "
    "no_auth may_replicate no_multi movablekeys allow_busy no_async_loading no_mandatory_keys"
).split()
KEY_FLAGS = "RO RW OW RM access update insert delete not_key incomplete variable_flags".split()
REQUEST_POLICIES = {
    None: "ByKeys",
    "all_nodes": "AllNodes",
    "all_shards": "AllShards",
    "multi_shard": "MultiShard",
    "special": "Special",
}
RESPONSE_POLICIES = {
    None: "Default",
    "one_succeeded": "OneSucceeded",
    "all_succeeded": "AllSucceeded",
    "agg_logical_and": "AggLogicalAnd",
    "agg_logical_or": "AggLogicalOr",
    "agg_min": "AggMin",
    "agg_max": "AggMax",
    "agg_sum": "AggSum",
    "special": "Special",
}
OTHER_TIPS = {"nondeterministic_output", "nondeterministic_output_order"}


class Server:
    """A connection that speaks as much RESP2 as COMMAND and INFO need."""

    def __init__(self, host, port):
        self.stream = socket.create_connection((host, port), timeout=10).makefile("rwb")

    def ask(self, *words):
        self.stream.write(b"*%d\r\n" % len(words))
        for word in words:
            self.stream.write(b"$%d\r\n%s\r\n" % (len(word), word.encode()))
        self.stream.flush()
        return self.reply()

    def reply(self):
        line = self.stream.readline()
        if not line.endswith(b"\r\n"):
            sys.exit("the server closed the connection")
        kind, text = line[:1], line[1:-2].decode()
        if kind == b"-":
            sys.exit(f"the server answered: {text}")
        if kind == b"+":
            return text
        if kind == b":":
            return int(text)
        if kind == b"$":
            return None if text == "-1" else self.stream.read(int(text) + 2)[:-2].decode()
        if kind == b"*":
            return None if text == "-1" else [self.reply() for _ in range(int(text))]
        sys.exit(f"unexpected reply: {line!r}")


def start_server(directory):
    """Starts redis-server on a free loopback port; gives the process and the port."""
    program = shutil.which("redis-server") or sys.exit("redis-server is not on PATH: install it or give --address")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", directory],
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return process, port
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                sys.exit(f"{program} did not start on port {port}")
            time.sleep(0.02)


def pairs(flat):
    return dict(zip(flat[::2], flat[1::2]))


def read_rows(server):
    """All rows by name, subcommands (`CLIENT|ID`) beside the commands."""
    rows = {}

    def add(entry):
        name, arity, flags, _first, _last, _step, _categories, tips, specs, subcommands = entry
        rows[name.upper()] = {"arity": arity, "flags": flags, "tips": tips, "specs": [read_spec(spec) for spec in specs]}
        for subcommand in subcommands:
            add(subcommand)

    for entry in server.ask("COMMAND"):
        add(entry)
    return rows


def read_spec(flat):
    """One key specification as (search, found, flags), each a tuple of plain values."""
    spec = pairs(flat)
    begin, find = pairs(spec["begin_search"]), pairs(spec["find_keys"])
    where, what = pairs(begin["spec"]), pairs(find["spec"])
    if begin["type"] == "index":
        search = ("index", where["index"])
    elif begin["type"] == "keyword":
        search = ("keyword", where["keyword"], where["startfrom"])
    elif begin["type"] == "unknown":
        search = ("unknown",)
    else:
        sys.exit(f"unknown begin_search: {begin}")
    if find["type"] == "range":
        found = ("range", what["lastkey"], what["keystep"], what["limit"])
    elif find["type"] == "keynum":
        found = ("keynum", what["keynumidx"], what["firstkey"], what["keystep"])
    elif find["type"] == "unknown":
        found = ("unknown",)
    else:
        sys.exit(f"unknown find_keys: {find}")
    for flag in spec["flags"]:
        if flag not in KEY_FLAGS:
            sys.exit(f"unknown key flag: {flag}")
    return search, found, frozenset(spec["flags"])


# `1 RW update`: where keys are, and what is done with them. See commands_later.json.
SHORT_SPEC = re.compile(r"(\d+)(?:\.\.(-?\d+))?(#)?(?:/(\d+))? (.+)")


def parse_spec(name, text):
    """A key specification in short, in the form of read_spec."""
    parts = SHORT_SPEC.fullmatch(text) or sys.exit(f"{name}: {text!r} is no key specification")
    first, last, counted, step, flags = parts.groups()
    first, last, step = int(first), int(last or first), int(step or 1)
    flags = flags.split()
    for flag in flags:
        if flag not in KEY_FLAGS:
            sys.exit(f"{name}: unknown key flag {flag}")
    if counted:
        found = ("keynum", 0, 1, step)
    else:
        found = ("range", last if last < 0 else last - first, step, 0)
    return ("index", first), found, frozenset(flags)


def apply_changes(rows, changes):
    for name, fields in changes["added"].items():
        if name in rows:
            sys.exit(f"{name} is said to be new, but the server has it")
        specs = [parse_spec(name, text) for text in fields.get("keys", [])]
        rows[name] = {"arity": fields["arity"], "flags": fields["flags"], "tips": fields.get("tips", []), "specs": specs}
    for name, fields in changes["changed"].items():
        row = rows.get(name) or sys.exit(f"{name} is said to have changed, but the server does not have it")
        flags = set(row["flags"])
        for flag in fields.get("flags_removed", []):
            flags.remove(flag)
        for flag in fields.get("flags_added", []):
            if flag in flags:
                sys.exit(f"{name} is said to gain {flag}, but has it")
            flags.add(flag)
        before = dict(row)
        row["flags"] = sorted(flags)
        row["arity"] = fields.get("arity", row["arity"])
        row["tips"] = fields.get("tips", row["tips"])
        if {**before, "flags": sorted(before["flags"])} == row:
            sys.exit(f"{name} is said to have changed, but the server already says so")


def policy(name, tips, prefix, known):
    found = [tip[len(prefix) :] for tip in tips if tip.startswith(prefix)]
    if len(found) > 1 or (found and found[0] not in known):
        sys.exit(f"{name}: unknown tips {tips}")
    return known[found[0] if found else None]


def spec_name(spec):
    """A constant's name that says what the key specification says."""
    search, found, flags = spec
    if search[0] == "index":
        name = f"AT{search[1]}"
    elif search[0] == "keyword":
        name = f"{search[1]}{search[2]}".replace("-", "_M")
    else:
        name = "UNKNOWN"
    if found[0] == "range":
        last, step, limit = found[1:]
        name += "" if last == 0 else f"_TO{last}" if last > 0 else "_TO_END" if last == -1 else f"_TO_END{last}".replace("-", "_M")
        name += "" if step == 1 else f"_STEP{step}"
        name += "" if limit < 2 else f"_LIMIT{limit}"
    elif found[0] == "keynum":
        name += "_COUNTED" + ("" if found[3] == 1 else f"_STEP{found[3]}")
    return f"{name}_{access_name(flags)}"


def access_name(flags):
    """The access in short. ACCESS is what Redis calls giving the value, or part of it, away."""
    reads = "R" if "access" in flags else ""
    writes = "W" if flags & {"RW", "OW", "RM"} else ""
    name = "NOT_KEY" if "not_key" in flags else (reads + writes) or "META"
    return name + ("_INCOMPLETE" if "incomplete" in flags else "") + ("_VARIES" if "variable_flags" in flags else "")


def spec_rust(spec):
    search, found, flags = spec
    if search[0] == "index":
        search_rust = f"At({search[1]})"
    elif search[0] == "keyword":
        search_rust = f'Keyword {{ word: "{search[1]}", from: {search[2]} }}'
    else:
        search_rust = "KeySearch::Unknown"
    if found[0] == "range":
        found_rust = "ONE" if found[1:] == (0, 1, 0) else f"Range {{ last: {found[1]}, step: {found[2]}, limit: {found[3]} }}"
    elif found[0] == "keynum":
        found_rust = f"Counted {{ count: {found[1]}, first: {found[2]}, step: {found[3]} }}"
    else:
        found_rust = "KeysFound::Unknown"
    access = f"KeyAccess::{access_name(flags - {'incomplete', 'variable_flags'})}"
    if "incomplete" in flags:
        access += ".incomplete()"
    varies = str("variable_flags" in flags).lower()
    return search_rust, found_rust, access, varies


def identifier(name):
    return name.replace("|", "_").replace("-", "_").replace(".", "_")


def table_rust(rows, version):
    specs = sorted({spec for row in rows.values() for spec in row["specs"]}, key=spec_name)
    names = {spec: spec_name(spec) for spec in specs}
    if len(set(names.values())) != len({spec_rust(spec) for spec in specs}):
        sys.exit("two different key specifications share a name")
    out = [
        "//! made by protocol/tools/generate_command_table.py; do not edit.",
        "//!",
        f"//! What redis-server {version} answers to COMMAND, and what Redis up to 8.6, Valkey up to 9.1 and the",
        "//! well-known modules added and changed (protocol/tools/commands_*.json). Sorted by name, so that a",
        "//! difference is a difference.",
        "",
        "use super::spec::KeysFound::{Counted, Range};",
        "use super::spec::RequestPolicy::{self, AllNodes, AllShards, ByKeys, MultiShard};",
        "use super::spec::ResponsePolicy::{",
        "    self, AggLogicalAnd, AggMin, AggSum, AllSucceeded, Default, OneSucceeded,",
        "};",
        "use super::spec::{CommandSpec, KeyAccess, KeySearch, KeySearch::Index as At, KeySearch::Keyword, KeySpec, KeysFound};",
        "",
    ]
    out.append("/// The one argument the search finds.")
    out.append("const ONE: KeysFound = Range { last: 0, step: 1, limit: 0 };")
    written = set()
    for spec in specs:
        if names[spec] in written:
            continue
        written.add(names[spec])
        search, found, access, varies = spec_rust(spec)
        out.append(
            f"const {names[spec]}: KeySpec = KeySpec {{ search: {search}, found: {found}, access: {access}, varies: {varies} }};"
        )
    top = sorted(name for name in rows if "|" not in name)
    index = {name: place for place, name in enumerate(sorted(rows, key=lambda name: ("|" in name, name)))}
    children = {name: sorted(child for child in rows if child.startswith(name + "|")) for name in top}
    out += ["", "/// How many rows there are, subcommands included.", f"pub(super) const ROWS: usize = {len(rows)};", ""]

    def row_rust(name):
        row = rows[name]
        for flag in row["flags"]:
            if flag not in FLAGS:
                sys.exit(f"{name}: unknown flag {flag}")
        for tip in row["tips"]:
            if not tip.startswith(("request_policy:", "response_policy:")) and tip not in OTHER_TIPS:
                sys.exit(f"{name}: unknown tip {tip}")
        flags = " ".join(flag for flag in FLAGS if flag in row["flags"])
        keys = ", ".join(names[spec] for spec in row["specs"])
        request = policy(name, row["tips"], "request_policy:", REQUEST_POLICIES)
        response = policy(name, row["tips"], "response_policy:", RESPONSE_POLICIES)
        request = "RequestPolicy::Special" if request == "Special" else request
        response = "ResponsePolicy::Special" if response == "Special" else response
        subcommands = identifier(name) if children.get(name) else "&[]"
        return (
            f'    CommandSpec::row({index[name]}, "{name}", {row["arity"]}, "{flags}", &[{keys}], '
            f"{request}, {response}, {subcommands}),"
        )

    for name in top:
        if children[name]:
            out.append(f"static {identifier(name)}: &[CommandSpec] = &[")
            out += [row_rust(child) for child in children[name]]
            out += ["];", ""]
    out.append("pub(super) static COMMANDS: &[CommandSpec] = &[")
    out += [row_rust(name) for name in top]
    out += ["];", "", "#[cfg(test)]", '#[path = "table_tests.rs"]', "mod tests;", ""]
    return "\n".join(out)


def formatted(text):
    program = shutil.which("rustfmt") or sys.exit("rustfmt is not on PATH")
    done = subprocess.run(
        [program, "--edition", "2024", "--config-path", str(HERE.parent.parent)],
        input=text, capture_output=True, text=True, check=False,
    )
    if done.returncode != 0:
        sys.exit(done.stderr)
    return done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", help="host:port of a running redis-server")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the table is not up to date")
    options = parser.parse_args()
    changes = [json.loads(path.read_text()) for path in CHANGES]
    process = None
    with tempfile.TemporaryDirectory() as directory:
        if options.address:
            host, _, port = options.address.rpartition(":")
        else:
            process, port = start_server(directory)
            host = "127.0.0.1"
        try:
            server = Server(host, int(port))
            version = pairs_of_info(server.ask("INFO", "server"))["redis_version"]
            made_from = changes[0]["made_from"]
            if not version.startswith(made_from + "."):
                sys.exit(f"the server is {version}; {CHANGES[0].name} speaks of changes since {made_from}")
            rows = read_rows(server)
        finally:
            if process:
                process.terminate()
                process.wait(timeout=10)
    for each in changes:
        apply_changes(rows, each)
    text = formatted(table_rust(rows, version))
    if options.check:
        if TABLE.read_text() != text:
            sys.exit(f"{TABLE} is not what this program would write: run it")
    else:
        TABLE.write_text(text)
    print(f"{len(rows)} rows, subcommands included, from redis-server {version} and {', '.join(path.name for path in CHANGES)}")


def pairs_of_info(text):
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


if __name__ == "__main__":
    main()
