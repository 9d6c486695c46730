"""A small real cluster of redis-servers for Python client tests, and Pointsman in front of it."""

import contextlib
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import redis
from proxy import START_SECONDS, Pointsman, binary, free_ports
from waiting import until


class Cluster:
    """Three primaries without replicas."""

    SIZE = 3
    SLOTS = 16384

    def __init__(self, *options):
        self._held = contextlib.ExitStack()
        self.processes = []
        try:
            self._start(options)
        except BaseException:
            self.stop()
            raise

    def _start(self, options):
        server = shutil.which("redis-server")
        if server is None:
            raise FileNotFoundError("there is no redis-server on PATH: run 'make test', which installs it")
        ports = self._held.enter_context(free_ports(2 * self.SIZE))
        self.ports, buses = ports[: self.SIZE], ports[self.SIZE :]
        for port, bus in zip(self.ports, buses):
            place = self._held.enter_context(tempfile.TemporaryDirectory(prefix="pointsman-python-"))
            command = [
                "setpriv", "--pdeathsig", "KILL", "--", server, "--port", str(port), "--bind", "127.0.0.1",
                "--save", "", "--appendonly", "no", "--cluster-enabled", "yes",
                "--cluster-port", str(bus), *options,
            ]
            self.processes.append(
                subprocess.Popen(
                    command, cwd=place, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
        until("the nodes answer", lambda: all(self._answers(port) for port in self.ports), START_SECONDS)
        share = -(-self.SLOTS // self.SIZE)
        for index, port in enumerate(self.ports):
            node = self._node(port)
            first, last = index * share, min((index + 1) * share, self.SLOTS) - 1
            node.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
            node.execute_command("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
            node.execute_command("CLUSTER", "MEET", "127.0.0.1", self.ports[0], buses[0])
        until("the nodes agree", lambda: all(self._agrees(port) for port in self.ports), START_SECONDS)

    def _node(self, port):
        return redis.Redis(port=port, decode_responses=True)

    def _answers(self, port):
        try:
            return self._node(port).ping()
        except redis.RedisError:
            return False

    def _agrees(self, port):
        info = self._node(port).cluster("INFO")
        return info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) == self.SIZE

    def kill_subscribers(self):
        """Ends every connection that is subscribed to something, on all nodes."""
        for port in self.ports:
            self._node(port).execute_command("CLIENT", "KILL", "TYPE", "pubsub")

    def stop(self):
        for process in self.processes:
            process.kill()
            process.wait()
        self._held.close()


class PointsmanAtCluster(Pointsman):
    """Pointsman in front of a cluster."""

    def __init__(self, cluster, *listener, port=None):
        """`listener`: more keys of the listener, as in its YAML; `port`: one that is reserved for it."""
        self._cluster = cluster
        self._port = port
        self._listener = "".join(f", {line}" for line in listener)
        super().__init__()

    def _start(self):
        ports = self._held.enter_context(free_ports(2))
        self.port, self.admin_port = self._port or ports[0], ports[1]
        place = pathlib.Path(self._held.enter_context(tempfile.TemporaryDirectory(prefix="pointsman-python-")))
        seeds = ", ".join(f"127.0.0.1:{port}" for port in self._cluster.ports)
        configuration = place / "pointsman.yaml"
        configuration.write_text(
            "workers: 2\n"
            f"admin: {{ listen: 127.0.0.1:{self.admin_port} }}\n"
            f"listeners: [{{ listen: 127.0.0.1:{self.port}{self._listener} }}]\n"
            f"backends: {{ main: {{ cluster: {{ seeds: [{seeds}] }} }} }}\n"
        )
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", str(binary()), "--config", str(configuration)],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        return self._wait_until_ready()


def at_cluster(*listener, options=()):
    """For setUpModule: a cluster with these server options and Pointsman in front of it, both stopped behind the
    module's last test. `listener` as above."""
    cluster = Cluster(*options)
    unittest.addModuleCleanup(cluster.stop)
    pointsman = PointsmanAtCluster(cluster, *listener)
    unittest.addModuleCleanup(pointsman.stop)
    return cluster, pointsman
