"""Fences over kills, full disks and clock jumps: none repeats, all rise, and the stored ceiling is
above each fence that a client has seen.

Most tests use a server that reserves only 256 fences at a time, and so often.
"""

import os
import random
import resource
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

import pytest
from fault_test import record
from lib.process import SANITIZED
from lib.server import BINARY, Server
from lib.wire_client import Client, eventually, request
from test_signals_and_clocks import DAY_NS, ShiftedClock, clock_library  # noqa: F401

SHORT_RANGES = BINARY.parent / "tests" / "faults" / "dflockd-short-ranges"
RANGE = 256
ROUNDS = int(os.environ.get("FENCE_ROUNDS", "200"))
CONNECTIONS = 6
BATCH = 100
SLOTS = 1 << 20
UNLIMITED = resource.RLIM_INFINITY


def serve(path, *flags, binary=SHORT_RANGES, **keywords):
    return Server("--fence-state-file", str(path), *flags, binary=binary, **keywords)


def stored(path):
    content = path.read_bytes()
    assert len(content) == 8, content
    return struct.unpack(">Q", content)[0]


class Checker:
    """The fences that clients saw, and the rules for them."""

    def __init__(self):
        self.highest = 0  # of all finished rounds
        self.seen = set()  # in this round
        self.total = 0

    def see(self, connection, fence):
        """Records a grant. The fences of one connection rise."""
        assert fence > self.highest, f"{fence:x} again, or back: {self.highest:x} was before"
        assert fence not in self.seen, f"{fence:x} twice"
        assert fence > connection.last, f"{fence:x} after {connection.last:x}"
        connection.last = fence
        self.seen.add(fence)

    def compare(self, ceiling):
        """Compares with the file's ceiling, read after all fences seen so far."""
        if self.seen:
            assert max(self.seen) < ceiling, f"{max(self.seen):x}, and stored is {ceiling:x}"

    def round_over(self):
        self.highest = max(self.seen, default=self.highest)
        self.total += len(self.seen)
        self.seen.clear()


class Loader:
    """A connection that acquires slots of its own semaphore in batches."""

    def __init__(self, server, number):
        self.socket = server.connect()
        self.batch = request("sl", f"key {number}".replace(" ", "-"), f"0 {SLOTS}") * BATCH
        self.rest = b""
        self.last = 0

    def send(self):
        self.socket.sendall(self.batch)

    def receive(self, checker):
        """Reads replies, and returns their number, or None after the server's end."""
        data = self.socket.recv(1 << 16)
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            word, *fields = line.split()
            if word == b"ok":
                checker.see(self, int(fields[0][:16], 16))
            else:
                assert word == b"error", line
        return len(lines) if data else None


def load_until_it_dies(server, path, checker):
    """Sends batches over all connections, and reads the file between them."""
    loaders = []
    try:
        loaders = [Loader(server, number) for number in range(CONNECTIONS)]
        while True:
            for loader in loaders:
                loader.send()
            for loader in loaders:
                answers = 0
                while answers < BATCH:
                    got = loader.receive(checker)
                    if got is None:
                        return
                    answers += got
            checker.compare(stored(path))
    except (ConnectionError, BrokenPipeError):
        pass
    finally:
        for loader in loaders:
            # Fences that arrived before the end count too.
            try:
                while loader.receive(checker) is not None:
                    pass
            except (ConnectionError, socket.timeout):
                pass
            loader.socket.close()


def test_no_fence_repeats_over_repeated_kills(tmp_path, seed):
    chance = random.Random(seed)
    path = tmp_path / "fences"
    checker = Checker()
    reserved = 0
    begin = time.monotonic()
    for _ in range(ROUNDS):
        with serve(path) as server:
            first = stored(path) - RANGE
            end = threading.Timer(chance.uniform(0.01, 0.15), server.process.kill)
            end.start()
            load_until_it_dies(server, path, checker)
            end.join()
            server.process.wait(10)
        ceiling = stored(path)
        checker.compare(ceiling)
        reserved += (ceiling - first) // RANGE
        checker.round_over()
    record("fences over kills", rounds=ROUNDS, seconds=f"{time.monotonic() - begin:.0f}",
           fences=checker.total, ranges=reserved)
    assert checker.total > ROUNDS * 10
    assert reserved > ROUNDS * 2


def limit_files(server, size):
    """Limits the size of the server's files: 0 simulates a full disk."""
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (size, UNLIMITED))


def grants(client, most):
    """Returns the fences of up to `most` grants of one key, until one fails."""
    fences = []
    for _ in range(most):
        reply = client.call("sl", "many", f"0 {SLOTS}").split()
        if reply[0] != "ok":
            assert reply == ["error"], reply
            break
        fences.append(int(reply[1][:16], 16))
    return fences


def grants_exactly(client, count):
    """Returns the fences of `count` grants. A small range may end before the next is stored."""
    fences = []

    def enough():
        fences.extend(grants(client, count - len(fences)))
        return len(fences) == count

    assert eventually(enough)
    return fences


def test_a_full_disk_stops_grants_after_the_range_until_there_is_room(tmp_path):
    path = tmp_path / "fences"
    with (serve(path, "--shutdown-timeout", "1") as server, Client(server) as client,
          Client(server) as waiter):
        begin = time.monotonic()
        limit_files(server, 0)
        ceiling = stored(path)
        token = client.acquire("held")
        assert waiter.call("e", "held") == "queued"
        seen = grants(client, 10 * RANGE)
        # All stored fences are used: the waiter has one reserved, and the holder had one.
        assert len(seen) == RANGE - 2
        assert max(seen) < stored(path) == ceiling
        for _ in range(20):
            assert client.call("l", "another", "1") == "error"
            assert client.call("e", "another") == "error"
            assert client.call("se", "another", "3") == "error"
        # The server serves requests without a fence, and grants the queued waiter.
        assert client.call("ping") == "ok"
        assert client.call("n", "held", token) == "ok 33"
        assert client.call("r", "held", token) == "ok"
        last = waiter.call("w", "held", "5").split()
        assert last[0] == "ok" and max(seen) < int(last[1][:16], 16) == ceiling - 1
        eventually(lambda: "level=ERROR" in "".join(server.log))
        time.sleep(1)
        lines = [line for line in server.log if "fences" in line]
        assert 1 <= len(lines) <= 2 + time.monotonic() - begin, lines
        assert "File too large" in lines[-1]
        assert stored(path) == ceiling

        limit_files(server, UNLIMITED)
        eventually(lambda: client.call("l", "another", "0").startswith("ok"))
        more = grants_exactly(client, 10 * RANGE)
        assert more == sorted(set(more)) and more[0] > ceiling
        assert max(more) < stored(path)
        eventually(lambda: "stored again" in "".join(server.log))
        server.terminate()
        assert server.wait() == 0
    with serve(path) as server, Client(server) as client:
        assert grants(client, 1)[0] > max(more)


def test_a_short_disk_failure_does_not_affect_clients(tmp_path):
    path = tmp_path / "fences"
    with serve(path) as server, Client(server) as client:
        seen = []
        for _ in range(5):
            limit_files(server, 0)
            seen += grants(client, RANGE // 4)
            limit_files(server, UNLIMITED)
            time.sleep(0.6)
            seen += grants(client, RANGE // 4)
        assert len(seen) == 5 * 2 * (RANGE // 4)
        assert seen == sorted(set(seen)) and seen[-1] < stored(path)


def test_a_server_with_a_full_disk_ends_on_sigterm(tmp_path):
    path = tmp_path / "fences"
    with serve(path, "--shutdown-timeout", "1") as server, Client(server) as client:
        limit_files(server, 0)
        grants(client, 10 * RANGE)
        server.terminate()
        assert server.wait() == 0
    assert stored(path)


def test_the_server_reserves_a_range_of_a_million_while_clients_work(tmp_path):
    """The real server, beyond the end of its first range."""
    path = tmp_path / "fences"
    with Server("--fence-state-file", str(path), binary=BINARY) as server:
        first = stored(path)
        checker = Checker()
        loader = Loader(server, 1)
        wanted = (1 << 19) + 4 * BATCH
        while len(checker.seen) < wanted:
            loader.send()
            answers = 0
            while answers < BATCH:
                answers += loader.receive(checker)
        loader.socket.close()
        eventually(lambda: stored(path) == first + (1 << 20))
        checker.compare(stored(path))


# ---- disks and clocks ----

@pytest.fixture
def small_disk(tmp_path):
    """A file system with room for one page; needs root."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "none", place],
                             capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("may not mount")
    yield place
    subprocess.run(["umount", place], check=True)


def refusal(path):
    done = subprocess.run(serve(path).command, capture_output=True, text=True, timeout=20,
                          stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done
    assert f"--fence-state-file: {path}: " in done.stderr
    return done.stderr


def test_the_server_reports_a_full_disk_at_the_start(small_disk):
    (small_disk / "filler").write_bytes(bytes(4096))
    path = small_disk / "fences"
    assert "No space left on device" in refusal(path)
    (small_disk / "filler").unlink()
    with serve(path) as server, Client(server) as client:
        assert grants(client, 3 * RANGE)[-1] < stored(path)


def test_the_server_reports_a_read_only_disk_at_the_start(small_disk):
    path = small_disk / "fences"
    path.write_bytes(bytes(8))
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert "Read-only file system" in refusal(path)


@pytest.mark.skipif(SANITIZED, reason="a sanitizer wants to be the first library")
def test_fences_rise_after_the_clock_is_set_back(clock_library, tmp_path):  # noqa: F811
    clock = ShiftedClock(clock_library, tmp_path / "shift")
    path = tmp_path / "fences"
    last = 0
    for days in [0, -1, -3650, -7300, 30, -30]:
        clock.set(days * DAY_NS)
        with serve(path, environment=clock.environment) as server, Client(server) as client:
            seen = grants(client, RANGE)
            assert seen == sorted(set(seen)) and seen[0] > last
            # The clock of the server is shifted; further fences come from the file.
            clock.set((days - 10000) * DAY_NS)
            seen += grants(client, RANGE)
            assert seen == sorted(set(seen))
            last = seen[-1]
            server.kill()


def test_a_killed_server_frees_its_fence_file_at_once(tmp_path):
    path = Path(tmp_path / "fences")
    for _ in range(10):
        with serve(path) as server, Client(server) as client:
            grants(client, RANGE)
            server.kill()
