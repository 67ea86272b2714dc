"""Under load the server is stopped, continued and terminated, or its wall clock jumps."""

import os
import random
import re
import signal
import socket
import struct
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from crowd import Crowd
from fault_test import ALL_COMMANDS, WITH_ADMINISTRATORS, FaultTest, Witness, record
from lib.process import SANITIZED
from lib.server import QUICK_COLLECTION, Server

HERE = Path(__file__).resolve().parent
SHUTDOWN_SECONDS = 3
DAY_NS = 86400 * 10**9


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_server_under_load_answers_every_client_after_sigterm(number):
    with Server(*QUICK_COLLECTION, *WITH_ADMINISTRATORS, "--shutdown-timeout",
                str(SHUTDOWN_SECONDS)) as server:
        witness = Witness(server, seconds=30, drains=1, connections=300, keys=8, semaphores=1,
                          two_phase=1, hold_us=50000, **ALL_COMMANDS).start()
        time.sleep(2)
        begin = time.monotonic()
        server.terminate(number)
        status = server.wait(SHUTDOWN_SECONDS + 10)
        seconds = time.monotonic() - begin
        witness.check()
        record(f"{signal.Signals(number).name} under load", ended_after=f"{seconds:.2f} s",
               witness=witness, refusals=witness.figures["refusals"], cut=witness.figures["cut"],
               resets=witness.figures["resets"])
        assert status == 0, "".join(server.log)[-4000:]
        assert seconds < SHUTDOWN_SECONDS + 5
        assert witness.figures["refusals"] > 0
        # Each request gets a reply or a close; no reset.
        assert witness.figures["resets"] == 0


def test_a_flooded_server_replies_before_each_close_after_sigterm():
    count = 16
    with Server(*QUICK_COLLECTION) as server, Crowd(server) as crowd:
        crowd.do("connect", count)
        # All are holders: the server closes a silent connection without a lease unanswered.
        crowd.do("send", "l\nlock-{n}\n0 600\n")
        assert crowd.count_words("answers", 1, 20) == {"ok": count}
        crowd.start("blast_until_end", "ping\n_\n\n", 30)
        assert crowd.members[0].stdout.readline() == "blasting\n"
        time.sleep(1)
        server.terminate()
        words = crowd.results()[0]
        assert server.wait() == 0
        record("SIGTERM under a flood", answers=words)
        assert words.pop("ok") > count
        assert words == {"error_draining": count, "(closed)": count}, words


def ping_until_refused(address, answers):
    """Connects and pings until the server refuses; records the replies and errors."""
    while True:
        try:
            connection = socket.create_connection(address)
        except ConnectionRefusedError:
            return
        with connection:
            try:
                connection.sendall(b"ping\n_\n\n")
                answers.append(connection.recv(100))
            except OSError as error:
                answers.append(error)


def test_a_draining_server_answers_each_accepted_connection():
    seen = Counter()
    for _ in range(10):
        with Server(*QUICK_COLLECTION) as server:
            answers = []
            threads = [threading.Thread(target=ping_until_refused,
                                        args=(("127.0.0.1", server.port), answers))
                       for _ in range(8)]
            for thread in threads:
                thread.start()
            time.sleep(0.2)
            server.terminate()
            for thread in threads:
                thread.join()
            assert server.wait() == 0
            seen.update(map(str, answers))
    record("SIGTERM while connections pour in", answers=dict(seen))
    assert set(seen) <= {str(b"ok\n"), str(b"error_draining\n")}, seen


def test_a_server_stopped_for_longer_than_all_leases_grants_nothing_twice():
    def fault(stops=1):
        witness = Witness(test.server, seconds=4 * stops + 2, lease=1, two_phase=1, semaphores=1,
                          hold_us=300000, **ALL_COMMANDS).start()
        for _ in range(stops):
            time.sleep(1)
            with test.server.stopped():
                time.sleep(3)
        witness.check()
        return {"witness": witness}

    with FaultTest(*WITH_ADMINISTRATORS) as test:
        test.warm_up(fault)
        # The bystanders wait for 3 seconds.
        test.measure("stopped for 3 s, twice", lambda: fault(2),
                     others={"p99_ms": 10000, "worst_ms": 10000})


@pytest.fixture(scope="module")
def clock_library(tmp_path_factory):
    """The library that shifts the wall clock of a process."""
    library = tmp_path_factory.mktemp("clock") / "shifted_clock.so"
    subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O1", "-D_GNU_SOURCE", "-o",
                    library, HERE / "shifted_clock.c"], check=True)
    return library


class ShiftedClock:
    """The wall clock of a server, with an adjustable error."""

    def __init__(self, library, path):
        self.path = path
        self.set(0)
        self.environment = {"LD_PRELOAD": str(library), "SHIFTED_CLOCK": str(path)}

    def set(self, shift_ns):
        mode = "r+b" if self.path.exists() else "wb"
        with self.path.open(mode) as file:
            file.write(struct.pack("q", shift_ns))


def logged_day(server):
    """Returns the date of the last log line."""
    return re.match(r"time=(\S+)T", server.log[-1])[1]


@pytest.mark.skipif(SANITIZED, reason="a sanitizer wants to be the first library")
def test_a_wall_clock_that_jumps_changes_no_lease_and_no_fence(clock_library, tmp_path, seed):
    chance = random.Random(seed)
    clock = ShiftedClock(clock_library, tmp_path / "shift")

    def fault(jumps=20):
        witness = Witness(test.server, seconds=jumps * 3 // 10, lease=1, two_phase=1, semaphores=1,
                          hold_us=100000).start()
        days = set()
        for step in range(jumps):
            clock.set(chance.choice([-1, 1]) * chance.choice([1, 30, 3650]) * DAY_NS * (step > 0))
            time.sleep(0.25)
            with test.client() as client:
                client.call("ping")
            time.sleep(0.02)
            days.add(logged_day(test.server))
        clock.set(0)
        witness.check()
        # The log shows that the jumps took effect.
        assert len(days) > 2
        return {"witness": witness, "days": len(days)}

    with FaultTest("--debug", environment=clock.environment) as test:
        test.warm_up(lambda: fault(8))
        test.measure("wall clock jumps by up to 10 years", fault, memory_kib=4096)
