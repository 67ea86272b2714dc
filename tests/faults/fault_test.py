"""Tests a fault on a server under the load of bystanders.

    with FaultTest() as test:
        test.warm_up(fault)
        test.measure("a fault", fault)

`measure` runs the fault with bystanders, and checks that each of their requests got a correct reply
in time. It also checks that the server returns to its state after the warm-up: no connections, an
empty table, the same descriptors and memory. It prints the figures, also into build/faults.txt.
"""

import fcntl
import json
import math
import os
import resource
import subprocess
import time
from pathlib import Path

from crowd import Crowd
from lib.process import SANITIZED, descriptor_count, resident_kib
from lib.server import BINARY, QUICK_COLLECTION, ROOT, Server
from lib.wire_client import Client, eventually, settle

WITNESS_DIRECTORY = Path(os.environ.get("WITNESS_DIRECTORY", BINARY.parent / "tests" / "witness"))
# For a witness that uses all commands: options of the server, and settings.
WITH_ADMINISTRATORS = "--admin-token", "witness-administrator"
ALL_COMMANDS = {"shared": 500, "moves": 1, "revokes": 2, "revoke_us": 1000}
FIGURES = ROOT / "build" / "faults.txt"

# The targets of others' latency are 5 ms (p99) and 10 ms (maximum). A test on a busy machine allows
# 50 and 200 times as much, more with sanitizers. The figures themselves are recorded.
TIME_FACTOR = 4 if SANITIZED else 1
OTHERS_P99_MS = 250 * TIME_FACTOR
OTHERS_WORST_MS = 2000 * TIME_FACTOR
SETTLE_SECONDS = 60
DESCRIPTORS = 20000
READABLE = 1500  # connections, for the 512 receive buffers of each of two workers
MEMORY_FACTOR = math.inf if SANITIZED else 1


def raise_descriptor_limit():
    """For thousands of sockets; children inherit the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, DESCRIPTORS), hard))


def record(name, **figures):
    """Prints the figures in one line, also into build/faults.txt."""
    line = f"{name}: " + ", ".join(f"{key.replace('_', ' ')} {value}"
                                   for key, value in figures.items())
    print(line)
    FIGURES.parent.mkdir(exist_ok=True)
    with FIGURES.open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(line + "\n")


class Bystanders:
    """A process of clients that work during a fault; `figures` has their results afterwards."""

    def __init__(self, server, connections=4):
        self.command = [str(WITNESS_DIRECTORY / "bystander"), str(server.port), str(connections)]
        self.figures = None

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_):
        output, _ = self.process.communicate(timeout=90)
        self.figures = json.loads(output)

    def check(self, p99_ms=OTHERS_P99_MS, worst_ms=OTHERS_WORST_MS):
        """Checks that all replies were correct and in time."""
        assert self.figures["problem"] == "", self.figures
        assert self.figures["requests"] > 0, self.figures
        assert self.figures["p99_us"] <= p99_ms * 1000, self.figures
        assert self.figures["max_us"] <= worst_ms * 1000, self.figures

    def __str__(self):
        return (f"p50 {self.figures['p50_us']:.0f} p99 {self.figures['p99_us']:.0f}"
                f" max {self.figures['max_us']:.0f} us of {self.figures['requests']}")


class Witness:
    """The witness of tests/witness at work on a server: `start`, then `finish`."""

    def __init__(self, server, **settings):
        self.command = [str(WITNESS_DIRECTORY / "witness"), f"port={server.port}",
                        *(f"{name}={value}" for name, value in settings.items())]
        self.output = ""
        self.figures = {}

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        return self

    def finish(self, seconds=120):
        """Returns its exit status, and sets `figures` to its counts."""
        self.output, _ = self.process.communicate(timeout=seconds)
        lines = [line for line in self.output.splitlines() if line.startswith("# grants=")]
        if lines:
            self.figures = {name: int(value) for name, value in
                            (field.split("=") for field in lines[-1].split()[1:])}
        return self.process.returncode

    def check(self, grants=100):
        """Checks that it found no fault in at least `grants` grants."""
        assert self.finish() == 0, self.output
        assert self.figures["grants"] >= grants, self.output

    def __str__(self):
        return (f"{self.figures['grants']} grants {self.figures['hand_overs']} hand-overs"
                f" {self.figures['pairs']} pairs")


class FaultTest:
    def __init__(self, *flags, **keywords):
        self.server = Server(*QUICK_COLLECTION, *flags, **keywords)
        self.descriptors = None
        self.memory_kib = None

    def __enter__(self):
        raise_descriptor_limit()
        self.server.__enter__()
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.server.terminate()
                assert self.server.wait() == 0, self.server.log
        finally:
            self.server.__exit__()

    def client(self):
        return Client(self.server)

    def settle(self):
        settle(self.server, seconds=SETTLE_SECONDS, also_idle=True)
        time.sleep(0.1)

    def use_buffers(self):
        """Makes the server use all its receive buffers, which occupy no memory before their first
        use: it finds more readable connections than buffers."""
        with Crowd(self.server) as crowd:
            crowd.do("connect", READABLE)
            with self.server.stopped():
                crowd.do("send", "ping\n_\n\n")
            assert crowd.count_words("answers", 1, 30)["ok"] > 0
            crowd.do("leave", "reset")

    def warm_up(self, fault):
        """Runs the fault once; its descriptors and memory are the limits of later runs."""
        self.use_buffers()
        with Bystanders(self.server) as others:
            fault()
        assert others.figures["problem"] == "", others.figures
        self.settle()
        self.descriptors = descriptor_count(self.server)
        self.memory_kib = resident_kib(self.server)

    def measure(self, name, fault, memory_kib=2048, others=None, **figures):
        """Runs the fault again. `others` replaces the limits of the bystanders' latency. The fault
        may return a dictionary of further figures."""
        with Bystanders(self.server) as bystanders:
            time.sleep(0.1)
            begin = time.monotonic()
            result = fault()
            seconds = time.monotonic() - begin
        self.settle()
        eventually(lambda: descriptor_count(self.server) <= self.descriptors)
        after_kib = resident_kib(self.server)
        record(name, seconds=f"{seconds:.1f}", others=bystanders, **figures, **(result or {}),
               memory=f"{self.memory_kib} to {after_kib} KiB",
               descriptors=f"{self.descriptors} to {descriptor_count(self.server)}")
        bystanders.check(**(others or {}))
        assert after_kib <= self.memory_kib + memory_kib * MEMORY_FACTOR
        assert self.server.process.poll() is None
