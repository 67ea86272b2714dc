"""Rows about what a server takes where nothing happens: memory, and CPU time."""

import math
import time
from contextlib import ExitStack, contextmanager

from comparison import process
from comparison.holder import Crowd, Talk, acquire, key, raise_descriptor_limit
from comparison.row import Bound, Figure, Row
from comparison.servers import Ceiling, Dflockd, Original, Redis

PATIENT = "--read-timeout", "3600"  # who says nothing stays
BYTES = Figure("bytes", "B")
IDLE_SECONDS = 10
IDLE_CONNECTIONS = 8000
IDLE_LEASES = 100000
SETTLE_SECONDS = 0.2
QUIET_SECONDS = 2
SPARE_DESCRIPTORS = 200


def grown(server, count, act):
    """Bytes that the process has grown by, for each of `count` things that `act` brings about."""
    before = process.resident_bytes(server.pid)
    act()
    time.sleep(SETTLE_SECONDS)
    return {"bytes": (process.resident_bytes(server.pid) - before) / count}


def fresh(kind, measure, size):
    """A function that starts a server, warms it up and measures."""
    flags = PATIENT if kind in (Dflockd, Original) else ()

    def act():
        with kind(*flags) as server, Crowd(server, 10), Talk(server) as talk:
            talk.warm_up()
            time.sleep(SETTLE_SECONDS)
            return measure(server, size)
    return act


class Memory(Row):
    figures = (BYTES,)
    sizes = {}  # of each kind of server
    connected = False  # it takes a connection for each

    @contextmanager
    def contestants(self, seconds):
        most = raise_descriptor_limit() - SPARE_DESCRIPTORS if self.connected else math.inf
        yield {f"{kind.name}/{size}": fresh(kind, self.measure, size)
               for kind, sizes in self.sizes.items() for size in sizes if size <= most}

    @staticmethod
    def measure(server, size):
        raise NotImplementedError


class MemoryConnection(Memory):
    name = "memory-connection"
    title = "memory of an idle connection"
    target = "<= 512 B of the process's RSS"
    how = ("what the resident memory of a new process that was sent 2 MiB of refused requests "
           "(Rss of smaps_rollup) grows by with so many connections that say nothing")
    sizes = {Ceiling: (8000,), Dflockd: (800, 8000, 16000, 80000), Redis: (8000,),
             Original: (8000,)}
    connected = True
    targets = (Bound("dflockd/800", "bytes", 512, "B", what="800"),
               Bound("dflockd/8000", "bytes", 512, "B", what="8,000"),
               Bound("dflockd/80000", "bytes", 512, "B", what="80,000", optional=True))

    @staticmethod
    def measure(server, size):
        with ExitStack() as stack:
            return grown(server, size, lambda: stack.enter_context(Crowd(server, size)))


class MemoryLock(Memory):
    name = "memory-lock"
    title = "memory of a held lock, 20-byte key"
    target = "<= 200 B"
    how = "the same for so many locks held on one connection"
    sizes = {Dflockd: (10000, 100000, 1000000), Redis: (100000, 1000000), Original: (100000,)}
    targets = (Bound("dflockd/10000", "bytes", 200, "B", what="10,000"),
               Bound("dflockd/100000", "bytes", 200, "B", what="100,000"),
               Bound("dflockd/1000000", "bytes", 200, "B", what="1,000,000"))

    @staticmethod
    def measure(server, size):
        with Talk(server) as talk:
            return grown(server, size, lambda: talk.hold(size))


class MemoryEnqueued(Memory):
    name = "memory-enqueued"
    title = "memory of a waiter, enqueued by `e`"
    target = "<= 128 B"
    how = ("one connection holds so many keys; the growth is that by another one's being "
           "enqueued for each of them")
    sizes = {Dflockd: (10000, 100000, 1000000), Original: (10000,)}
    targets = (Bound("dflockd/10000", "bytes", 128, "B", what="10,000"),
               Bound("dflockd/100000", "bytes", 128, "B", what="100,000"),
               Bound("dflockd/1000000", "bytes", 128, "B", what="1,000,000"))

    @staticmethod
    def measure(server, size):
        with Talk(server) as holder, Talk(server) as waiter:
            holder.hold(size)
            return grown(server, size, lambda: waiter.enqueue(size))


class MemoryBlocked(Memory):
    name = "memory-blocked"
    title = "memory of a waiter, in `l`, connection apart"
    target = "<= 128 B"
    how = ("so many connections, each of which has been answered once, then wait for one key; the "
           "growth is that of the second step alone, for which the first may have left room")
    sizes = {Dflockd: (800, 8000), Original: (8000,)}
    connected = True
    targets = (Bound("dflockd/800", "bytes", 128, "B", what="800"),
               Bound("dflockd/8000", "bytes", 128, "B", what="8,000"))

    @staticmethod
    def measure(server, size):
        with Talk(server) as holder, Crowd(server, size) as crowd:
            holder.hold(1)
            crowd.send(lambda _: acquire(key(0), "0"))
            crowd.hear()
            return grown(server, size, lambda: crowd.send(lambda _: acquire(key(0), "3600")))


class Idle(Row):
    name = "idle"
    title = "8,000 idle connections and 100,000 leases, 10 s with nothing due"
    target = "0.0 % CPU, no wake-up"
    how = ("time on the processor (schedstat) and context switches of both kinds, of all threads; "
           "dflockd with 1 and with 2 workers")
    figures = Figure("cpu_percent", "% CPU", 2), Figure("wake_ups", "wake-ups")
    targets = (Bound("dflockd", "cpu_percent", 0, "% CPU", digits=1),
               Bound("dflockd", "wake_ups", 0, "wake-ups"),
               Bound("dflockd, 2 workers", "wake_ups", 0, "wake-ups", what="2 workers"))

    @contextmanager
    def contestants(self, seconds):
        yield {
            "dflockd": lambda: self.measure(Dflockd(*PATIENT)),
            "dflockd, 2 workers": lambda: self.measure(Dflockd(*PATIENT, threads=2)),
            "redis": lambda: self.measure(Redis()),
            "python": lambda: self.measure(Original(*PATIENT)),
        }

    @staticmethod
    def measure(starting):
        with starting as server, Crowd(server, IDLE_CONNECTIONS), Talk(server) as talk:
            talk.hold(IDLE_LEASES)
            time.sleep(QUIET_SECONDS)
            cpu_ns, switches = process.cpu_ns(server.pid), process.switches(server.pid)
            begin = time.monotonic()
            time.sleep(IDLE_SECONDS)
            spent_ns = process.cpu_ns(server.pid) - cpu_ns
            return {"cpu_percent": spent_ns / (time.monotonic() - begin) / 1e7,
                    "wake_ups": process.switches(server.pid) - switches}


MEMORY = MemoryConnection(), MemoryLock(), MemoryEnqueued(), MemoryBlocked()
IDLE = Idle()
