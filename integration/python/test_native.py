"""What Debian packages: hiredis, phpredis, redis-rb, Redis.pm, and Sidekiq, over a real cluster."""

import pathlib
import subprocess
import tempfile
import unittest

import programs
from cluster import PointsmanAtCluster, at_cluster
from workers import Worker

cluster = None
pointsman = None


def setUpModule():
    global cluster, pointsman
    cluster, pointsman = at_cluster()


class Native(programs.Recorded):
    # How these begin is Debian's choice of a version, so only the answers are judged.
    def run_program(self, *command):
        recorder = self.record(pointsman.port)
        programs.run(self, recorder.port, [*command, recorder.port])
        programs.judge_start_up(self, recorder)

    def test_t28_hiredis(self):
        compiler = programs.needs("cc", "libhiredis-dev", "-E", "-include", "hiredis/hiredis.h", "-x", "c", "/dev/null")
        with tempfile.TemporaryDirectory(prefix="pointsman-python-") as place:
            program = pathlib.Path(place) / "hiredis"
            source = programs.NATIVE / "hiredis.c"
            subprocess.run([compiler, "-O1", "-Wall", "-o", program, source, "-lhiredis"], check=True, timeout=60)
            self.run_program(program)

    def test_t28_phpredis(self):
        php = programs.needs("php", "php-redis", "-r", "exit((int) !class_exists('Redis'));")
        self.run_program(php, programs.NATIVE / "phpredis.php")

    def test_t28_redis_rb(self):
        ruby = programs.needs("ruby", "ruby-redis", "-e", "require 'redis'")
        self.run_program(ruby, programs.NATIVE / "ruby.rb")

    def test_t28_redis_pm(self):
        perl = programs.needs("perl", "libredis-perl", "-MRedis", "-e", "1")
        self.run_program(perl, programs.NATIVE / "redis_perl.pl")

    def test_t28_sidekiq(self):
        # Its heartbeat is a transaction over several slots.
        ruby, sidekiq = programs.needs("ruby", "ruby"), programs.needs("sidekiq", "ruby-sidekiq")
        version = subprocess.run([sidekiq, "--version"], stdout=subprocess.PIPE, check=True, text=True).stdout
        if not version.startswith("Sidekiq 6."):
            self.skipTest(f"the jobs are written for Sidekiq 6, and this is {version.strip()}")
        behind = PointsmanAtCluster(cluster, *programs.ONE_REDIS)
        self.addCleanup(behind.stop)
        recorder = self.record(behind.port)
        worker = [sidekiq, "--require", "./sidekiq_jobs.rb", "--concurrency", "5", "--queue", "default", "--queue", "low"]
        with Worker(worker, programs.NATIVE, POINTSMAN_PORT=str(recorder.port)) as running:
            programs.run(self, recorder.port, [ruby, programs.NATIVE / "sidekiq_client.rb"])
            self.assertNotIn("CROSSSLOT", running.output())
        programs.judge_work(self, recorder, "sidekiq")


if __name__ == "__main__":
    unittest.main()
