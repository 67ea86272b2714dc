"""Without descriptors or memory the server serves its connections, loses no lock, and recovers."""

import resource
import time
from pathlib import Path

import pytest
from crowd import Crowd
from fault_test import FaultTest, record
from lib.process import SANITIZED, cpu_ns
from lib.wire_client import CLOSED, RESET, Client, eventually, request

MEGABYTE = 1 << 20

limits_memory = pytest.mark.skipif(SANITIZED, reason="a sanitizer takes all address space there is")


def limited_descriptors(count):
    """A test of a server with a limit of `count` descriptors."""
    test = FaultTest()
    test.server.command = ["prlimit", f"--nofile={count}:{count}", *test.server.command]
    return test


def test_a_server_without_descriptors_neither_spins_nor_delays_clients():
    def fault(seconds=2):
        with Crowd(test.server) as crowd:
            crowd.do("connect", 600)
            time.sleep(0.5)
            begin_ns = cpu_ns(test.server)
            time.sleep(seconds)
            share = (cpu_ns(test.server) - begin_ns) / seconds / 1e9
            # 256 less the server's own descriptors are connections; the server refused none.
            crowd.do("send", "ping\n_\n\n")
            words = crowd.count_words("answers", 1, 3)
            assert 200 < words["ok"] < 256 and words["ok"] + words["(silent)"] == 600, words
        # The same threads serve the bystanders.
        assert share < 0.5
        return {"processor": f"{100 * share:.0f} % with the bystanders"}

    with limited_descriptors(256) as test:
        test.warm_up(fault)
        test.measure("out of descriptors", fault)


class LimitedMemory:
    """A server whose address space may grow only by `megabytes` for each thread from now on."""

    def __init__(self, megabytes, *flags, threads=1):
        self.test = FaultTest("--threads", str(threads), "--max-locks", "100000000", *flags)
        self.megabytes = megabytes * threads

    def __enter__(self):
        self.test.__enter__()
        self.server = self.test.server
        self.early = Client(self.server)
        self.token = self.early.acquire("early", "0 600")
        self.limit(self.megabytes * MEGABYTE)
        return self

    def limit(self, room):
        status = Path(f"/proc/{self.server.pid}/status").read_text(encoding="ascii")
        used = int(status.split("VmSize:")[1].split()[0]) * 1024
        resource.prlimit(self.server.pid, resource.RLIMIT_AS, (used + room, -1))

    def check_serving(self):
        """Checks that the server answers, and that the first client holds its lock."""
        assert self.server.process.poll() is None, self.server.log
        assert self.early.call("ping") == "ok"
        assert self.early.call("n", "early", f"{self.token} 600") == "ok 600"

    def is_alone(self):
        """Whether a new client sees only the first client and its lock."""
        with Client(self.server) as client:
            answer = client.call("stats")
        return answer.startswith('ok {"connections":2,') and answer.count('"key"') == 1

    def grants_late(self):
        """Whether a new client is granted locks, all in one connection."""
        with Client(self.server) as client:
            if client.call("l", "early", "0") != "timeout":
                return False
            for part in range(0, 10000, 500):
                client.send(b"".join(request("l", f"late-{number}", "0 600")
                                     for number in range(part, part + 500)))
                if {client.read_line()[:3] for _ in range(500)} != {b"ok "}:
                    return False
        return True

    def check_recovered(self):
        """Checks that the server works without the load, and without more memory."""
        eventually(self.is_alone, seconds=60)
        self.check_serving()
        # A worker that was short of memory may close connections for a moment longer.
        eventually(self.grants_late, seconds=60)
        eventually(self.is_alone, seconds=60)
        assert self.early.call("r", "early", self.token) == "ok"

    def __exit__(self, kind, *_):
        self.early.close()
        self.test.__exit__(kind)


def resources_until_short(short, command, arg):
    """Pipelines requests for new keys until one is not granted, then some more. Returns the number
    of grants, and the other replies."""
    granted, others = 0, set()
    with Client(short.server) as client:
        for round_number in range(400):
            client.send(b"".join(request(command, f"{round_number}-{number}" + "k" * 200, arg)
                                 for number in range(1000)))
            for _ in range(1000):
                reply = client.read_line()
                if not isinstance(reply, bytes):
                    others.add(reply)
                elif reply.startswith((b"ok ", b"acquired ")):
                    granted += 1
                else:
                    others.add(reply)
                if reply in (CLOSED, RESET):
                    return granted, others
            short.check_serving()
            if others and round_number > 50:
                break
    return granted, others


@limits_memory
@pytest.mark.parametrize("command, arg, threads", [
    ("l", "0 600", 1), ("e", "600", 1), ("sl", "0 3 600", 1), ("l", "0 600", 4), ("e", "600", 4)])
def test_a_server_without_memory_for_locks_replies_error_and_recovers(command, arg, threads):
    with LimitedMemory(16, threads=threads) as short:
        begin = time.monotonic()
        granted, others = resources_until_short(short, command, arg)
        assert granted > 1000
        assert others and others <= {b"error\n", CLOSED, RESET}, others
        short.check_recovered()
        record(f"out of memory by {command}", granted=granted,
               then=sorted(str(other) for other in others),
               seconds=f"{time.monotonic() - begin:.1f}")


@limits_memory
def test_a_server_without_memory_for_waiters_replies_error_and_recovers():
    with LimitedMemory(8) as short, Crowd(short.server) as crowd:
        begin = time.monotonic()
        crowd.do("connect", 200)
        # A waiter on each of many held keys.
        for number in range(500):
            crowd.do("send", f"e\nearly-{number}\n600\nl\nearly-{number}\n0\n")
        words = crowd.count_words("answers", 1000, 20)
        assert words.get("error", 0) + words.get("(closed)", 0) + words.get("(reset)", 0) > 0, words
        assert words["queued"] > 1000 and words["acquired"] > 100, words
        short.check_serving()
        crowd.do("leave", "close")
        short.check_recovered()
        record("out of memory by waiters", answers=words,
               seconds=f"{time.monotonic() - begin:.1f}")


@limits_memory
def test_a_server_without_memory_for_connections_closes_some_and_recovers():
    with LimitedMemory(4) as short, Crowd(short.server, processes=2) as crowd:
        begin = time.monotonic()
        crowd.do("connect", 9000)
        crowd.do("send", "ping\n_\n\n")
        words = crowd.count_words("answers", 1, 5)
        assert words["ok"] > 1000, words
        short.check_serving()
        crowd.kill()
        short.check_recovered()
        record("out of memory by connections", answers=words,
               seconds=f"{time.monotonic() - begin:.1f}")


@limits_memory
@pytest.mark.parametrize("threads", [1, 4])
def test_a_server_without_memory_for_backlogs_closes_some_and_recovers(threads):
    with LimitedMemory(16 // threads, threads=threads) as short, Crowd(short.server) as crowd:
        begin = time.monotonic()
        crowd.do("connect", 1000)
        crowd.do("send", "l\nearly\n600\n")
        eventually(lambda: short.early.stats()["locks"][0]["waiters"] == 1000)
        for _ in range(4):
            crowd.do("send", "ping\n_\n\n", 1800)
            short.check_serving()
        # The server lacks 64 MB: it has closed some connections, with their waits.
        eventually(lambda: short.early.stats()["connections"] < 900)
        waiters = short.early.stats()["locks"][0]["waiters"]
        assert waiters > 50
        crowd.do("leave", "reset")
        short.check_recovered()
        record("out of memory by input behind blocked requests", waiters_left=waiters,
               seconds=f"{time.monotonic() - begin:.1f}")


@limits_memory
@pytest.mark.parametrize("threads", [1, 4])
def test_a_server_without_memory_for_unread_replies_closes_some_and_recovers(threads):
    # Each worker's pool of replies keeps 1 MB of these as spare chunks after the load.
    with LimitedMemory(6, "--write-timeout", "2", threads=threads) as short, \
            Crowd(short.server) as crowd:
        begin = time.monotonic()
        crowd.do("connect", 400, 4096)
        for _ in range(20):
            crowd.do("send", "l\nearly\n0\n", 3000)
        short.check_serving()
        eventually(lambda: short.early.stats()["connections"] < 300, seconds=60)
        crowd.do("leave", "reset")
        short.check_recovered()
        record("out of memory by answers", seconds=f"{time.monotonic() - begin:.1f}")
