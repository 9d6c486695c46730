"""Starts the real pointsman binary, embedded, on free ports for the Python client tests.

The binary is the one named by POINTSMAN_BINARY, or target/quick/pointsman of this workspace.
"""

import contextlib
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import tempfile
import urllib.error
import urllib.request

from waiting import until

WORKSPACE = pathlib.Path(__file__).resolve().parents[2]
START_SECONDS = 20
STOP_SECONDS = 20
STARTS_MAX = 5
# Below the ports that the kernel hands out to outgoing connections, as in the Rust harness.
PORTS = range(22_600, 29_990)


def binary():
    path = pathlib.Path(os.environ.get("POINTSMAN_BINARY", WORKSPACE / "target/quick/pointsman")).resolve()
    if not path.exists():
        raise FileNotFoundError(
            f"there is no {path}: run 'make test', or build it with 'cargo build --profile quick --bin pointsman'"
        )
    return path


@contextlib.contextmanager
def free_ports(count):
    """A run of free ports. The UDP sockets of the same numbers reserve them among all tests."""
    while True:
        first = random.choice(PORTS[: len(PORTS) - count])
        with contextlib.ExitStack() as held:
            try:
                for port in range(first, first + count):
                    token = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                    token.bind(("127.0.0.1", port))
                    with socket.socket() as probe:
                        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                        probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            yield list(range(first, first + count))
            return


class Pointsman:
    """Three bundled shards with a replica each behind one port."""

    SHARDS = 3
    REPLICAS = 1

    def __init__(self):
        self._held = contextlib.ExitStack()
        self.log = tempfile.TemporaryFile()
        for _ in range(STARTS_MAX):
            if self._start():
                return
        raise RuntimeError(f"pointsman did not start in {STARTS_MAX} tries:\n{self.output()}")

    def _start(self):
        ports = self._held.enter_context(free_ports(2 + self.SHARDS * (1 + self.REPLICAS)))
        self.port, self.admin_port, node_port = ports[0], ports[1], ports[2]
        self.process = subprocess.Popen(
            [
                # It dies with us, whatever happens to us.
                "setpriv", "--pdeathsig", "KILL", "--", str(binary()),
                "--listen", f"127.0.0.1:{self.port}", "--admin", f"127.0.0.1:{self.admin_port}",
                "--node-port", str(node_port), "--shards", str(self.SHARDS), "--replicas", str(self.REPLICAS),
            ],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        return self._wait_until_ready()

    def _wait_until_ready(self):
        """True once it is ready; false if it found a port taken."""
        try:
            until("pointsman is ready", lambda: self.process.poll() is not None or self._ready(), START_SECONDS)
        except AssertionError as error:
            self.process.kill()
            raise TimeoutError(f"{error}:\n{self.output()}") from None
        if self.process.poll() is None:
            return True
        if "in use" not in self.output():
            raise RuntimeError(f"pointsman ended at its start:\n{self.output()}")
        return False

    def _ready(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/ready", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def output(self):
        self.log.seek(0)
        return re.sub(r"\x1b\[[0-9;]*m", "", self.log.read().decode(errors="replace"))

    def stop(self):
        """Asks it to stop; unexpected warnings and errors in its log fail the test."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self._held.close()
        output = self.output()
        self.log.close()
        bad = [line for line in output.splitlines() if re.search(r"\b(WARN|ERROR)\b|panicked at", line)]
        if code != 0 or bad:
            raise AssertionError(f"pointsman ended with {code}, and logged:\n" + "\n".join(bad or [output]))
