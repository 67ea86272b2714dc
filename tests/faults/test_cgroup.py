"""In a cgroup of 96 MiB, clients that take all the memory they can do not end the server.

Without a right to create cgroups the tests are skipped.
"""

import os
import time
from pathlib import Path

import pytest
from crowd import Crowd
from fault_test import FaultTest, record
from lib.process import SANITIZED
from lib.server import Server
from lib.wire_client import Client, eventually, request

MIB = 1 << 20
LIMIT = 96 * MIB
# Version 1, then version 2: the hierarchy, the file of the limit, its contents.
MEMORY = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes", str(LIMIT)),
          ("/sys/fs/cgroup", "memory.max", str(LIMIT))]
ONE_CPU = [("/sys/fs/cgroup/cpu", "cpu.cfs_quota_us", "100000"),
           ("/sys/fs/cgroup", "cpu.max", "100000 100000")]
PEAKS = "memory.max_usage_in_bytes", "memory.peak"

pytestmark = pytest.mark.skipif(SANITIZED, reason="a sanitizer needs more memory")


class Cgroup:
    """A new cgroup with a limit, one of `choices`. Skips the test if there can be none."""

    def __init__(self, choices):
        self.choices = choices

    def __enter__(self):
        for parent, limit, contents in self.choices:
            self.path = Path(parent) / f"dflockd-test-{os.getpid()}-{time.monotonic_ns()}"
            try:
                self.path.mkdir()
                (self.path / limit).write_text(contents, encoding="ascii")
                return self
            except OSError:
                if self.path.exists():
                    self.path.rmdir()
        pytest.skip(f"this user cannot create a cgroup with {self.choices[0][1]}")

    def __exit__(self, *_):
        eventually(self.is_removed)

    def is_removed(self):
        try:
            self.path.rmdir()
        except OSError:
            return False
        return True

    def run(self, command):
        """Returns the command that runs `command` in this cgroup."""
        return ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', str(self.path), *command]

    def peak_mib(self):
        peak = next(self.path / name for name in PEAKS if (self.path / name).exists())
        return int(peak.read_text(encoding="ascii")) / MIB


class SmallServer:
    """A server in such a cgroup, and a client that holds a lock."""

    def __init__(self, *flags):
        self.flags = flags

    def __enter__(self):
        self.cgroup = Cgroup(MEMORY).__enter__()
        self.test = FaultTest(*self.flags)
        self.test.server.command = self.cgroup.run(self.test.server.command)
        self.server = self.test.__enter__().server
        self.holder = Client(self.server)
        self.token = self.holder.acquire("mine", "0 600")
        return self

    def check(self):
        assert self.server.process.poll() is None, self.server.log
        assert self.holder.call("n", "mine", f"{self.token} 600") == "ok 600"

    def __exit__(self, kind, *_):
        self.holder.close()
        self.test.__exit__(kind)
        self.cgroup.__exit__()


def fill_with_claims(server, command, key, arg, connections=12, requests=40000):
    """Pipelines requests on several connections. Returns how often each word came."""
    words = {}
    for _ in range(connections):
        client = Client(server)
        for part in range(0, requests, 1000):
            client.send(b"".join(request(command, key.format(n=number), arg)
                                 for number in range(part, part + 1000)))
            for _ in range(1000):
                word = client.read_line().split()[0].decode()
                words[word] = words.get(word, 0) + 1
        yield client, words


@pytest.mark.parametrize("threads", [1, 4])
def test_slots_of_a_semaphore_do_not_fill_the_memory(threads):
    with SmallServer("--threads", str(threads)) as small:
        clients = []
        for client, words in fill_with_claims(small.server, "sl", "k", "0 1048576 9223372036"):
            clients.append(client)
            small.check()
        assert words["error_max_locks"] > 0 and words["ok"] > 100000, words
        assert small.cgroup.peak_mib() < LIMIT / MIB * 3 / 4
        with Client(small.server) as other:
            assert other.call("l", "mine", "0") == "timeout"
        clients.pop(0).close()
        with Client(small.server) as other:
            eventually(lambda: other.call("l", "other", "0").startswith("ok "))
        record("slots in 96 MiB", **words, peak=f"{small.cgroup.peak_mib():.0f} MiB")
        for client in clients:
            client.close()


def test_claims_and_buffers_together_do_not_fill_the_memory():
    with SmallServer("--threads", "2", "--write-timeout", "60") as small, \
            Crowd(small.server) as crowd, Crowd(small.server) as readers:
        clients = []
        for client, words in fill_with_claims(small.server, "e", "k{n:0200}", "9223372036", 160,
                                              1000):
            clients.append(client)
        assert words["queued"] > 100000 and words["error_max_waiters"] > 0, words
        small.check()
        # Half of a line on each, then input behind blocked requests.
        crowd.do("connect", 5000)
        crowd.do("send", "l\n" + "k" * 250)
        small.check()
        readers.do("connect", 600, 4096)
        for _ in range(4):
            readers.do("send", "l\nmine\n600\n" + "l\nmine\n0\n" * 100, 60)
            small.check()
        peak = small.cgroup.peak_mib()
        assert peak < LIMIT / MIB, peak
        record("claims and buffers in 96 MiB", **words, peak=f"{peak:.0f} MiB")
        crowd.kill()
        readers.kill()
        for client in clients:
            client.close()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) == 1, reason="the machine has one CPU")
def test_a_quota_of_one_cpu_makes_one_worker():
    def tasks(server):
        return len(list(Path(f"/proc/{server.pid}/task").iterdir()))

    with Cgroup(ONE_CPU) as cgroup:
        limited = Server()
        limited.command = cgroup.run(limited.command)
        with limited, Server("--threads", "1") as single:
            assert tasks(limited) == tasks(single)
