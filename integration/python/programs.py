"""Runs client programs in other languages against Pointsman, and judges how each of them begins.

`golden` holds, for each library, what it says before its first command and how Pointsman answers. A new
version of a library that begins differently is noticed here first. POINTSMAN_REGENERATE=1 writes the files
again.
"""

import os
import pathlib
import re
import shutil
import subprocess
import unittest

from recorder import Recorder

HERE = pathlib.Path(__file__).resolve().parent.parent
NODE = HERE / "node"
NATIVE = HERE / "native"
GOLDEN = HERE / "golden"
MARKER = b"golden:start"
PROGRAM_SECONDS = 120

# What a listener allows to applications that were written for one Redis.
ONE_REDIS = ("multi_across_slots: best_effort", "blocking_across_slots: poll")

# Errors that libraries meet at any Redis: what only a managed service has, and a script's first call.
EXPECTED_ERRORS = re.compile(r"^-?(ERR unknown subcommand 'maint_notifications'|NOSCRIPT )", re.IGNORECASE)


def run(case, port, command, **environment):
    """Runs a program to its end. It prints `ok ...` for each check and ends with 0."""
    finished = subprocess.run(
        ["setpriv", "--pdeathsig", "KILL", "--", *map(str, command)],
        env={**os.environ, "POINTSMAN_PORT": str(port), **environment},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=PROGRAM_SECONDS, text=True, errors="backslashreplace",
    )
    if finished.returncode != 0 or not re.search(r"^ok ", finished.stdout, re.MULTILINE):
        case.fail(f"{command} ended with {finished.returncode}:\n{finished.stdout}")
    return finished.stdout


def needs(program, package, *probe):
    """A program that Debian has and other systems may lack, with what `probe`, its arguments, needs to succeed. CI
    must have it; elsewhere the test is skipped."""
    there = shutil.which(program) is not None
    if there and probe:
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        there = subprocess.run([program, *probe], timeout=PROGRAM_SECONDS, **quiet).returncode == 0
    if not there:
        if os.environ.get("CI") == "true":
            raise FileNotFoundError(f"{package} is not there: scripts/setup installs it")
        raise unittest.SkipTest(f"{package} (Debian's name) is not there")
    return program


def node(major=0):
    needs("node", "nodejs")
    if not (NODE / "node_modules").exists() and os.environ.get("CI") != "true":
        raise unittest.SkipTest("the libraries are not there: scripts/setup installs them where there is npm")
    version = subprocess.run(["node", "--version"], stdout=subprocess.PIPE, check=True, text=True).stdout
    if int(version.lstrip("v").split(".")[0]) < major:
        raise unittest.SkipTest(f"node is {version.strip()}, and this library wants {major}")
    return "node"


def judge_start_up(case, recorder, name=None):
    """Compares what a library says first with what it said before, and looks for errors in the answers.

    Where the version is not ours to choose there is no `name`, and only the answers count.
    """
    lines = recorder.start_up(MARKER)
    errors = [line for line in lines if line.startswith("< -") and not EXPECTED_ERRORS.match(line[2:])]
    case.assertEqual(errors, [], "\n".join(lines))
    if name is not None:
        case.assertEqual(lines, _golden(name, lines), f"{name} begins otherwise than golden/{name}.txt says")


def judge_work(case, recorder, name):
    """The commands of a whole run of a framework: none answered with an error, and none that is new.

    Not every run needs every command, so that one may be missing; POINTSMAN_REGENERATE=1 adds those that are new.
    """
    case.assertEqual([error for error in recorder.errors() if not EXPECTED_ERRORS.match(error[1])], [])
    commands = recorder.commands()
    path = GOLDEN / f"{name}.txt"
    known = path.read_text().splitlines() if path.exists() else []
    new = set(commands) - set(_golden(name, sorted({*known, *commands})))
    case.assertEqual(new, set(), f"{name} sends commands that golden/{name}.txt does not have")


def _golden(name, lines):
    """The lines of a golden file, or with POINTSMAN_REGENERATE=1 these, which are then written to it."""
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("POINTSMAN_REGENERATE"):
        path.write_text("".join(f"{line}\n" for line in lines))
    return path.read_text().splitlines()


class Recorded(unittest.TestCase):
    """A test whose clients talk to a recorder in front of Pointsman."""

    maxDiff = None

    def record(self, port):
        recorder = Recorder(port)
        self.addCleanup(recorder.close)
        return recorder
