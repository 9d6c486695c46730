"""Worker processes of job frameworks, for as long as a test needs them."""

import os
import subprocess
import tempfile

STOP_SECONDS = 30


class Worker:
    """A process that runs until the `with` block ends; its output is shown if that fails."""

    def __init__(self, command, cwd, **environment):
        self._command, self._cwd, self._environment = command, cwd, environment

    def __enter__(self):
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *map(str, self._command)],
            cwd=self._cwd, env={**os.environ, **self._environment},
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT,
        )
        return self

    def output(self):
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def __exit__(self, kind, error, _):
        ended = self._process.poll()
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            if kind is None:
                raise
        finally:
            if kind is not None:
                error.add_note(f"the worker {'ended with ' + str(ended) if ended is not None else 'ran'}:\n{self.output()}")
            self._log.close()
        if kind is None and ended is not None:
            raise AssertionError(f"{self._command} ended by itself, with {ended}")
