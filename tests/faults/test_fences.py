"""Fences while processes die, disks fill and clocks jump: none repeats, none goes back, and the file
is ahead of every one that a client has seen.

Most of it is tried on a server that reserves 256 fences at a time, and so all the time.
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
from fault_test import SANITIZED, record
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
    """What clients saw, and nothing else: the rules that fences must keep."""

    def __init__(self):
        self.highest = 0  # of all rounds that are over
        self.seen = set()  # in this round
        self.total = 0

    def see(self, connection, fence):
        """`connection` is granted something. What it has itself comes in order."""
        assert fence > self.highest, f"{fence:x} again, or back: {self.highest:x} was before"
        assert fence not in self.seen, f"{fence:x} twice"
        assert fence > connection.last, f"{fence:x} after {connection.last:x}"
        connection.last = fence
        self.seen.add(fence)

    def compare(self, ceiling):
        """The file was read after all that was seen so far."""
        if self.seen:
            assert max(self.seen) < ceiling, f"{max(self.seen):x}, and stored is {ceiling:x}"

    def round_over(self):
        self.highest = max(self.seen, default=self.highest)
        self.total += len(self.seen)
        self.seen.clear()


class Loader:
    """A connection that is granted slots of a semaphore of its own, a batch at a time."""

    def __init__(self, server, number):
        self.socket = server.connect()
        self.ask = request("sl", f"key {number}".replace(" ", "-"), f"0 {SLOTS}") * BATCH
        self.rest = b""
        self.last = 0

    def send(self):
        self.socket.sendall(self.ask)

    def receive(self, checker):
        """The answers that are there or come, up to a batch. False when the server is gone."""
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
    """Batches over all connections; the file is read between them."""
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
            # What came before the end counts too.
            try:
                while loader.receive(checker) is not None:
                    pass
            except (ConnectionError, socket.timeout):
                pass
            loader.socket.close()


def test_no_fence_repeats_though_the_server_is_killed_again_and_again(tmp_path, seed):
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
    """How large files may be that it writes: 0 stands for a full disk."""
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (size, UNLIMITED))


def grants(client, most):
    """Fences of up to so many grants of one key, until one fails."""
    fences = []
    for _ in range(most):
        reply = client.call("sl", "many", f"0 {SLOTS}").split()
        if reply[0] != "ok":
            assert reply == ["error"], reply
            break
        fences.append(int(reply[1][:16], 16))
    return fences


def grants_in_all(client, count):
    """Fences of so many grants: ranges this small may be used up before the next one is stored."""
    fences = []

    def enough():
        fences.extend(grants(client, count - len(fences)))
        return len(fences) == count

    assert eventually(enough)
    return fences


def test_without_room_grants_go_on_to_the_end_of_the_range_and_again_once_there_is_room(tmp_path):
    path = tmp_path / "fences"
    with (serve(path, "--shutdown-timeout", "1") as server, Client(server) as client,
          Client(server) as waiter):
        limit_files(server, 0)
        ceiling = stored(path)
        token = client.acquire("held")
        assert waiter.call("e", "held") == "queued"
        seen = grants(client, 10 * RANGE)
        # All that were stored are used: the waiter's is promised, and the holder had one.
        assert len(seen) == RANGE - 2
        assert max(seen) < stored(path) == ceiling
        for _ in range(20):
            assert client.call("l", "another", "1") == "error"
            assert client.call("e", "another") == "error"
            assert client.call("se", "another", "3") == "error"
        # What needs no fence is served, and who was let in is granted.
        assert client.call("ping") == "ok"
        assert client.call("n", "held", token) == "ok 33"
        assert client.call("r", "held", token) == "ok"
        last = waiter.call("w", "held", "5").split()
        assert last[0] == "ok" and max(seen) < int(last[1][:16], 16) == ceiling - 1
        eventually(lambda: "level=ERROR" in "".join(server.log))
        time.sleep(1)
        told = [line for line in server.log if "fences" in line]
        assert 1 <= len(told) <= 3, told
        assert "File too large" in told[-1]
        assert stored(path) == ceiling

        limit_files(server, UNLIMITED)
        eventually(lambda: client.call("l", "another", "0").startswith("ok"))
        more = grants_in_all(client, 10 * RANGE)
        assert more == sorted(set(more)) and more[0] > ceiling
        assert max(more) < stored(path)
        eventually(lambda: "stored again" in "".join(server.log))
        server.terminate()
        assert server.wait() == 0
    with serve(path) as server, Client(server) as client:
        assert grants(client, 1)[0] > max(more)


def test_trouble_between_two_ranges_goes_unnoticed_by_clients(tmp_path):
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


def test_a_server_that_is_told_to_end_without_room_ends(tmp_path):
    path = tmp_path / "fences"
    with serve(path, "--shutdown-timeout", "1") as server, Client(server) as client:
        limit_files(server, 0)
        grants(client, 10 * RANGE)
        server.terminate()
        assert server.wait() == 0
    assert stored(path)


def test_a_range_of_a_million_is_reserved_while_clients_work(tmp_path):
    """The real server, past the end of its first range."""
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
    """A file system with room for one page. Only root may have it."""
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


def test_a_full_disk_is_told_at_the_start(small_disk):
    (small_disk / "filler").write_bytes(bytes(4096))
    path = small_disk / "fences"
    assert "No space left on device" in refusal(path)
    (small_disk / "filler").unlink()
    with serve(path) as server, Client(server) as client:
        assert grants(client, 3 * RANGE)[-1] < stored(path)


def test_a_disk_that_may_only_be_read_is_told_at_the_start(small_disk):
    path = small_disk / "fences"
    path.write_bytes(bytes(8))
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert "Read-only file system" in refusal(path)


@pytest.mark.skipif(SANITIZED, reason="a sanitizer wants to be the first library")
def test_fences_rise_though_the_clock_was_set_back(clock_library, tmp_path):  # noqa: F811
    clock = ShiftedClock(clock_library, tmp_path / "shift")
    path = tmp_path / "fences"
    last = 0
    for days in [0, -1, -3650, -7300, 30, -30]:
        clock.set(days * DAY_NS)
        with serve(path, environment=clock.environment) as server, Client(server) as client:
            seen = grants(client, RANGE)
            assert seen == sorted(set(seen)) and seen[0] > last
            # The clock was shifted for the server, and further fences come from the file.
            clock.set((days - 10000) * DAY_NS)
            seen += grants(client, RANGE)
            assert seen == sorted(set(seen))
            last = seen[-1]
            server.kill()


def test_the_lock_of_a_killed_server_is_free_at_once(tmp_path):
    path = Path(tmp_path / "fences")
    for _ in range(10):
        with serve(path) as server, Client(server) as client:
            grants(client, RANGE)
            server.kill()
