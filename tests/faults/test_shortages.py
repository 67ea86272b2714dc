"""Short of descriptors or memory, the server serves whom it has, loses no lock, and recovers."""

import resource
import time
from pathlib import Path

import pytest
from crowd import Crowd
from fault_test import SANITIZED, FaultTest, record
from lib.threads import cpu_ns
from lib.wire_client import CLOSED, RESET, Client, eventually, request

MEGABYTE = 1 << 20

limits_memory = pytest.mark.skipif(SANITIZED, reason="a sanitizer takes all address space there is")


def limited_descriptors(count):
    """A test of a server that may have so many."""
    test = FaultTest()
    test.server.command = ["prlimit", f"--nofile={count}:{count}", *test.server.command]
    return test


def test_out_of_descriptors_it_neither_spins_nor_delays_whom_it_has():
    def fault(seconds=2):
        with Crowd(test.server) as crowd:
            crowd.do("connect", 600)
            time.sleep(0.5)
            begin_ns = cpu_ns(test.server)
            time.sleep(seconds)
            share = (cpu_ns(test.server) - begin_ns) / seconds / 1e9
            # 256 less those of the server have a connection; all the same nobody was refused.
            crowd.do("send", "ping\n_\n\n")
            words = crowd.count_words("answers", 1, 1)
            assert 200 < words["ok"] < 256 and words["ok"] + words["(silent)"] == 600, words
        # The bystanders, who work all the while, are served by the same threads.
        assert share < 0.5
        return {"processor": f"{100 * share:.0f} % with the bystanders"}

    with limited_descriptors(256) as test:
        test.warm_up(fault)
        test.measure("out of descriptors", fault)


class Short:
    """A server whose memory, from now on, may grow by so many megabytes of address space. It has
    one thread: what address space one has had the allocator does not give to another."""

    def __init__(self, megabytes, *flags):
        self.test = FaultTest("--threads", "1", "--max-locks", "100000000", *flags)
        self.megabytes = megabytes

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

    def lives(self):
        """It answers, and holds what it held."""
        assert self.server.process.poll() is None, self.server.log
        assert self.early.call("ping") == "ok"
        assert self.early.call("n", "early", f"{self.token} 600") == "ok 600"

    def is_alone(self):
        """The first client and its lock are all there is, as a new client sees it."""
        with Client(self.server) as client:
            answer = client.call("stats")
        return answer.startswith('ok {"connections":2,') and answer.count('"key"') == 1

    def recovers(self):
        """With the load gone, and no more memory than before, it serves as at the start."""
        eventually(self.is_alone, seconds=60)
        self.lives()
        with Client(self.server) as client:
            assert client.call("l", "early", "0") == "timeout"
            for part in range(0, 10000, 500):
                client.send(b"".join(request("l", f"late-{number}", "0 600")
                                     for number in range(part, part + 500)))
                heard = {client.read_line()[:3] for _ in range(500)}
                assert heard == {b"ok "}, heard
        eventually(self.is_alone, seconds=60)
        assert self.early.call("r", "early", self.token) == "ok"

    def __exit__(self, kind, *_):
        self.early.close()
        self.test.__exit__(kind)


def resources_until_short(short, command, arg):
    """Pipelines requests for new keys until one is not granted, and some more after it. Returns how
    many were granted, and the other answers."""
    granted, others = 0, set()
    with Client(short.server) as client:
        for round_number in range(400):
            client.send(b"".join(request(command, f"{round_number}-{number}" + "k" * 200, arg)
                                 for number in range(1000)))
            for _ in range(1000):
                heard = client.read_line()
                if not isinstance(heard, bytes):
                    others.add(heard)
                elif heard.startswith((b"ok ", b"acquired ")):
                    granted += 1
                else:
                    others.add(heard)
                if heard in (CLOSED, RESET):
                    return granted, others
            short.lives()
            if others and round_number > 50:
                break
    return granted, others


@limits_memory
@pytest.mark.parametrize("command, arg", [("l", "0 600"), ("e", "600"), ("sl", "0 3 600")])
def test_out_of_memory_for_locks_it_says_error_and_recovers(command, arg):
    with Short(16) as short:
        begin = time.monotonic()
        granted, others = resources_until_short(short, command, arg)
        assert granted > 1000
        assert others and others <= {b"error\n", CLOSED, RESET}, others
        short.recovers()
        record(f"out of memory by {command}", granted=granted,
               then=sorted(str(other) for other in others),
               seconds=f"{time.monotonic() - begin:.1f}")


@limits_memory
def test_out_of_memory_for_waiters_it_says_error_and_recovers():
    with Short(8) as short, Crowd(short.server) as crowd:
        begin = time.monotonic()
        crowd.do("connect", 200)
        # Enqueued on many keys that are held: a waiter each.
        for number in range(500):
            crowd.do("send", f"e\nearly-{number}\n600\nl\nearly-{number}\n0\n")
        words = crowd.count_words("answers", 1000, 20)
        assert words.get("error", 0) + words.get("(closed)", 0) + words.get("(reset)", 0) > 0, words
        assert words["queued"] > 1000 and words["acquired"] > 100, words
        short.lives()
        crowd.do("leave", "close")
        short.recovers()
        record("out of memory by waiters", answers=words,
               seconds=f"{time.monotonic() - begin:.1f}")


@limits_memory
def test_out_of_memory_for_connections_it_closes_some_and_recovers():
    with Short(4) as short, Crowd(short.server, processes=2) as crowd:
        begin = time.monotonic()
        crowd.do("connect", 9000)
        crowd.do("send", "ping\n_\n\n")
        words = crowd.count_words("answers", 1, 5)
        assert words["ok"] > 1000, words
        short.lives()
        crowd.kill()
        short.recovers()
        record("out of memory by connections", answers=words,
               seconds=f"{time.monotonic() - begin:.1f}")


@limits_memory
def test_out_of_memory_for_what_is_behind_blocked_requests_it_closes_some_and_recovers():
    with Short(16) as short, Crowd(short.server) as crowd:
        begin = time.monotonic()
        crowd.do("connect", 1000)
        crowd.do("send", "l\nearly\n600\n")
        eventually(lambda: short.early.stats()["locks"][0]["waiters"] == 1000)
        for _ in range(4):
            crowd.do("send", "ping\n_\n\n", 1800)
            short.lives()
        # 64 MB are not there: some connections are gone, with their waiters.
        eventually(lambda: short.early.stats()["connections"] < 900)
        waiters = short.early.stats()["locks"][0]["waiters"]
        assert waiters > 50
        crowd.do("leave", "reset")
        short.recovers()
        record("out of memory by input behind blocked requests", waiters_left=waiters,
               seconds=f"{time.monotonic() - begin:.1f}")


@limits_memory
def test_out_of_memory_for_answers_that_nobody_reads_it_closes_some_and_recovers():
    # Of these, 1 MB stays with the pool of replies as spare chunks when the load is gone.
    with Short(6, "--write-timeout", "2") as short, Crowd(short.server) as crowd:
        begin = time.monotonic()
        crowd.do("connect", 400, 4096)
        for _ in range(20):
            crowd.do("send", "l\nearly\n0\n", 3000)
        short.lives()
        eventually(lambda: short.early.stats()["connections"] < 300, seconds=60)
        crowd.do("leave", "reset")
        short.recovers()
        record("out of memory by answers", seconds=f"{time.monotonic() - begin:.1f}")
