"""Rows about the memory and the CPU time of an idle server."""

import math
import time
from contextlib import ExitStack, contextmanager

from comparison import process
from comparison.holder import (Connections, Pipeline, acquire, key, raise_descriptor_limit,
                               release)
from comparison.row import Bound, Figure, Row
from comparison.servers import Ceiling, Dflockd, Original, Redis

NO_READ_TIMEOUT = "--read-timeout", "3600"  # idle connections stay open
BYTES = Figure("bytes", "B")
IDLE_SECONDS = 10
IDLE_CONNECTIONS = 8000
IDLE_LEASES = 100000
SETTLE_SECONDS = 0.2
QUIET_SECONDS = 2
SPARE_DESCRIPTORS = 200


def grown(server, count, act):
    """Returns the bytes that the process grows by for each of the `count` objects of `act`."""
    before = process.resident_bytes(server.pid)
    act()
    time.sleep(SETTLE_SECONDS)
    return {"bytes": (process.resident_bytes(server.pid) - before) / count}


def fresh(kind, measure, size):
    """Returns a function that starts a server, warms it up and measures."""
    flags = NO_READ_TIMEOUT if kind in (Dflockd, Original) else ()

    def act():
        with kind(*flags) as server, Connections(server, 10), Pipeline(server) as pipeline:
            pipeline.warm_up()
            time.sleep(SETTLE_SECONDS)
            return measure(server, size)
    return act


class Memory(Row):
    figures = (BYTES,)
    sizes = {}  # the sizes of each kind of server
    connected = False  # each object is a connection

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
    how = ("growth of the resident memory (Rss of smaps_rollup) per silent connection, of a new "
           "process that has received 2 MiB of refused requests; by the number of connections")
    sizes = {Ceiling: (8000,), Dflockd: (800, 8000, 16000, 80000), Redis: (8000,),
             Original: (8000,)}
    connected = True
    targets = (Bound("dflockd/800", "bytes", 512, "B", what="800"),
               Bound("dflockd/8000", "bytes", 512, "B", what="8,000"),
               Bound("dflockd/80000", "bytes", 512, "B", what="80,000", optional=True))

    @staticmethod
    def measure(server, size):
        with ExitStack() as stack:
            return grown(server, size, lambda: stack.enter_context(Connections(server, size)))


class MemoryServed(Memory):
    name = "memory-served"
    title = "memory of an idle connection that has been served"
    target = "<= 400 B"
    how = ("the same for each of so many connections that have sent a ping; receive buffers, which "
           "do not depend on the connections, are not counted")
    sizes = {Dflockd: (8000, 80000), Redis: (8000,)}
    connected = True
    targets = (Bound("dflockd/8000", "bytes", 400, "B", what="8,000"),
               Bound("dflockd/80000", "bytes", 400, "B", what="80,000", optional=True))

    @staticmethod
    def measure(server, size):
        def serve():
            connections = stack.enter_context(Connections(server, size))
            connections.send(lambda _: b"PING\r\n" if redis else b"ping\n_\n\n")
            connections.read_replies()
        redis = server.protocol == "redis"
        with ExitStack() as stack:
            return grown(server, size, serve)


class MemoryHeldOnce(MemoryServed):
    name = "memory-held-once"
    title = "memory of an idle connection that has held a lock, with the idle key"
    how = "the same for connections that have acquired and released a key each, one by one"
    sizes = {Dflockd: (8000, 80000)}

    @staticmethod
    def measure(server, size):
        def serve():
            connections = stack.enter_context(Connections(server, size))
            for number, one in enumerate(connections.sockets):
                one.sendall(acquire(key(number)))
                token = one.recv(4096).split()[1].decode()
                one.sendall(release(key(number), token))
                assert one.recv(4096) == b"ok\n"
        with ExitStack() as stack:
            return grown(server, size, serve)


class MemoryLock(Memory):
    name = "memory-lock"
    title = "memory of a held lock, 20-byte key"
    target = "<= 200 B"
    how = "the same per lock held on one connection; by the number of locks"
    sizes = {Dflockd: (10000, 100000, 1000000), Redis: (100000, 1000000), Original: (100000,)}
    targets = (Bound("dflockd/10000", "bytes", 200, "B", what="10,000"),
               Bound("dflockd/100000", "bytes", 200, "B", what="100,000"),
               Bound("dflockd/1000000", "bytes", 200, "B", what="1,000,000"))

    @staticmethod
    def measure(server, size):
        with Pipeline(server) as pipeline:
            return grown(server, size, lambda: pipeline.hold(size))


class MemoryEnqueued(Memory):
    name = "memory-enqueued"
    title = "memory of a waiter, enqueued by `e`"
    target = "<= 128 B"
    how = ("one connection holds all keys; the growth is per key, for another connection that is "
           "enqueued for each; by the number of keys")
    sizes = {Dflockd: (10000, 100000, 1000000), Original: (10000,)}
    targets = (Bound("dflockd/10000", "bytes", 128, "B", what="10,000"),
               Bound("dflockd/100000", "bytes", 128, "B", what="100,000"),
               Bound("dflockd/1000000", "bytes", 128, "B", what="1,000,000"))

    @staticmethod
    def measure(server, size):
        with Pipeline(server) as holder, Pipeline(server) as waiter:
            holder.hold(size)
            return grown(server, size, lambda: waiter.enqueue(size))


class MemoryBlocked(Memory):
    name = "memory-blocked"
    title = "memory of a waiter, in `l`, connection apart"
    target = "<= 128 B"
    how = ("connections that have received one reply each wait for one key; the growth is for the "
           "wait alone, which may reuse memory of the first request; by the number of connections")
    sizes = {Dflockd: (800, 8000), Original: (8000,)}
    connected = True
    targets = (Bound("dflockd/800", "bytes", 128, "B", what="800"),
               Bound("dflockd/8000", "bytes", 128, "B", what="8,000"))

    @staticmethod
    def measure(server, size):
        with Pipeline(server) as holder, Connections(server, size) as connections:
            holder.hold(1)
            connections.send(lambda _: acquire(key(0), "0"))
            connections.read_replies()
            return grown(server, size, lambda: connections.send(lambda _: acquire(key(0), "3600")))


class Idle(Row):
    name = "idle"
    title = "8,000 idle connections and 100,000 leases, 10 s with nothing due"
    target = "0.0 % CPU, no wake-up"
    how = ("CPU time (schedstat) and context switches, voluntary or not, of all threads; dflockd "
           "with 1 and with 2 workers")
    figures = Figure("cpu_percent", "% CPU", 2), Figure("wake_ups", "wake-ups")
    targets = (Bound("dflockd", "cpu_percent", 0, "% CPU", digits=1),
               Bound("dflockd", "wake_ups", 0, "wake-ups"),
               Bound("dflockd, 2 workers", "wake_ups", 0, "wake-ups", what="2 workers"))

    @contextmanager
    def contestants(self, seconds):
        yield {
            "dflockd": lambda: self.measure(Dflockd(*NO_READ_TIMEOUT)),
            "dflockd, 2 workers": lambda: self.measure(Dflockd(*NO_READ_TIMEOUT, threads=2)),
            "redis": lambda: self.measure(Redis()),
            "python": lambda: self.measure(Original(*NO_READ_TIMEOUT)),
        }

    @staticmethod
    def measure(unstarted):
        with unstarted as server, Connections(server, IDLE_CONNECTIONS), \
                Pipeline(server) as pipeline:
            pipeline.hold(IDLE_LEASES)
            time.sleep(QUIET_SECONDS)
            cpu_ns, switches = process.cpu_ns(server.pid), process.switches(server.pid)
            begin = time.monotonic()
            time.sleep(IDLE_SECONDS)
            spent_ns = process.cpu_ns(server.pid) - cpu_ns
            return {"cpu_percent": spent_ns / (time.monotonic() - begin) / 1e7,
                    "wake_ups": process.switches(server.pid) - switches}


MEMORY = (MemoryConnection(), MemoryServed(), MemoryHeldOnce(), MemoryLock(), MemoryEnqueued(),
          MemoryBlocked())
IDLE = Idle()
