"""Rows that put the same load on several servers."""

from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from comparison import load
from comparison.holder import Pipeline, keep_similar_fences, leave_leases
from comparison.place import LOAD_CPU, SERVER_CPU
from comparison.row import Figure, Ratio, Row
from comparison.servers import ALL, Ceiling, Dflockd, Original

CONNECTIONS = 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000
MORE_CONNECTIONS = 10000
KEYS_HELD = 0, 1000, 10000, 100000, 1000000
DEAD_CLIENTS = 0, 12000, 120000
SIMILAR_FENCES = 0, 4000
WAITERS = 10, 100, 1000, 10000
# The difference of two equal measurements that counts as noise.
NOISE = 0.03
FLAT = 1.15

REQUESTS = Figure("requests_per_s", "req/s")
CPU = Figure("cpu_us", "us CPU", 2)
P50 = Figure("p50", "us p50")
P99 = Figure("p99", "us p99")
CYCLES = Figure("rounds_per_s", "cycles/s")
CYCLE_CPU = Figure("round_cpu_us", "us CPU", 1)


def workers(count, *flags):
    return "--workers", str(count), *flags


class Load(Row):
    """The same load on each of some servers."""

    flags = ()
    servers = ALL
    distribution = False
    figures = REQUESTS, CPU, P50, P99

    @contextmanager
    def contestants(self, seconds):
        with ExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory()))
            result = {}
            for kind in self.servers:
                server = stack.enter_context(kind())
                file = folder / "distribution" if self.distribution else None
                result[kind.name] = lambda server=server, file=file: load.run(
                    server, seconds, *self.flags, distribution=file)
            yield result


class Own16(Load):
    name = "own-16"
    title = "acquire and release of own keys, 16 connections"
    target = "CPU per op <= 1.10 x ceiling"
    how = "closed loop: each connection sends its next request after the reply to the last one"
    flags = workers(16)
    brief = REQUESTS, CPU
    distribution = True
    targets = (Ratio("dflockd", "ceiling", "cpu_us", at_most=1.10, what="CPU"),)


class OneConnection(Load):
    name = "one"
    title = "the same, 1 connection"
    target = "p50 <= 1.05 x ceiling"
    flags = workers(1)
    brief = P50, CPU
    targets = (Ratio("dflockd", "ceiling", "p50", at_most=1.05, what="p50"),)


class Own100(Load):
    name = "own-100"
    title = "the same, 100 connections"
    target = "CPU per op <= 1.10 x ceiling, p99 <= 1.2 x ceiling"
    flags = workers(100)
    brief = REQUESTS, CPU, P99
    targets = (Ratio("dflockd", "ceiling", "cpu_us", at_most=1.10, what="CPU"),
               Ratio("dflockd", "ceiling", "p99", at_most=1.20, what="p99"))


class SharedOwn16(Row):
    name = "shared-own-16"
    title = "own keys, 16 connections, shared locks beside exclusive ones"
    target = "CPU per op <= 1.05 x exclusive"
    how = "on one server: acquire shared and release, then acquire and release"
    figures = REQUESTS, CPU, P50
    brief = REQUESTS, CPU
    targets = (Ratio("dflockd shared", "dflockd", "cpu_us", at_most=1.05, what="CPU"),)

    @contextmanager
    def contestants(self, seconds):
        with Dflockd() as server:
            yield {"dflockd shared": lambda: load.run(server, seconds, *Own16.flags,
                                                      "--load", "shared"),
                   "dflockd": lambda: load.run(server, seconds, *Own16.flags)}


class PipelinedPing(Load):
    name = "pipelined-ping"
    title = "32 connections, 20 pings pipelined"
    target = ">= 0.85 x ceiling"
    how = ("32 connections send 20 requests at a time. If the load limits the throughput, not the "
           "server, the ratio of throughput is not enough: the CPU for a request must also be "
           "within the inverse of the same bound")
    flags = workers(32, "--depth", "20", "--load", "ping")
    servers = Ceiling, Dflockd
    brief = REQUESTS, CPU
    targets = (Ratio("dflockd", "ceiling", "requests_per_s", at_least=0.85, what="requests/s"),
               Ratio("dflockd", "ceiling", "cpu_us", at_most=1 / 0.85, what="CPU"))


class PipelinedLocks(Load):
    name = "pipelined-lr"
    title = "32 connections, 20 acquires, then 20 releases pipelined"
    target = ">= 0.60 x ceiling"
    how = "as before"
    brief = REQUESTS, CPU
    flags = workers(32, "--depth", "20")
    targets = (Ratio("dflockd", "ceiling", "requests_per_s", at_least=0.60, what="requests/s"),
               Ratio("dflockd", "ceiling", "cpu_us", at_most=1 / 0.60, what="CPU"))


class Connect(Load):
    name = "connect"
    title = "connect, acquire, release, close"
    target = "CPU <= 1.25 x ceiling"
    how = "16 clients, each with a new connection for every cycle; CPU is for one cycle"
    flags = workers(16, "--new-connection")
    figures = CYCLES, CYCLE_CPU
    targets = (Ratio("dflockd", "ceiling", "round_cpu_us", at_most=1.25, what="CPU"),)


class Held(Row):
    """The same load on servers of dflockd that differ in the number of keys held by others."""

    flags = ()
    sizes = ()

    @contextmanager
    def contestants(self, seconds):
        with ExitStack() as stack:
            result = {}
            for size in self.sizes:
                server = stack.enter_context(Dflockd())
                if size:
                    stack.enter_context(Pipeline(server)).hold(size)
                result[f"dflockd/{size}"] = lambda server=server: load.run(
                    server, seconds, *self.flags)
            yield result


class ConnectHeld(Held):
    name = "connect-held"
    title = "the same with 100,000 and with 1,000,000 keys held by others"
    target = "within 5 % of the empty server"
    how = "three servers of dflockd; by the number of keys held on one other connection"
    flags = Connect.flags
    sizes = 0, 100000, 1000000
    figures = CYCLES, CYCLE_CPU
    targets = tuple(Ratio(f"dflockd/{size}", "dflockd/0", figure, what=what, **bound)
                    for size in (100000, 1000000)
                    for figure, what, bound in (
                        ("rounds_per_s", f"cycles/s, {size:,}", {"at_least": 0.95}),
                        ("round_cpu_us", f"CPU, {size:,}", {"at_most": 1.05})))


class GrowthKeys(Held):
    name = "growth-keys"
    title = "own keys, 16 connections, beside keys held by others"
    target = "if the work stays the same, a growing cost is a defect"
    how = "as before; the work of 16 connections stays the same"
    flags = Own16.flags
    sizes = KEYS_HELD
    figures = REQUESTS, CPU, P99
    targets = (Ratio("dflockd/1000000", "dflockd/0", "cpu_us", at_most=FLAT,
                     what="CPU, 1,000,000 beside 0"),)


class GrowthDeadClients(Row):
    name = "growth-dead-clients"
    title = "connect, acquire, release, close, beside leases of disconnected clients"
    target = "if the work stays the same, a growing cost is a defect"
    how = ("servers with --no-auto-release-on-disconnect: before the load of `connect`, clients "
           "connect one after the other, acquire a key each, and disconnect; by their number")
    figures = CYCLES, CYCLE_CPU
    targets = (Ratio("dflockd/120000", "dflockd/0", "round_cpu_us", at_most=FLAT,
                     what="CPU, 120,000 beside 0"),)

    @contextmanager
    def contestants(self, seconds):
        with ExitStack() as stack:
            result = {}
            for size in DEAD_CLIENTS:
                server = stack.enter_context(Dflockd("--no-auto-release-on-disconnect"))
                leave_leases(server, size)
                result[f"dflockd/{size}"] = lambda server=server: load.run(
                    server, seconds, *Connect.flags)
            yield result


class GrowthSimilarFences(Row):
    name = "growth-similar-fences"
    title = "own keys, 16 connections, beside leases kept for their fences"
    target = "if the work stays the same, a growing cost is a defect"
    how = ("as before, beside a client that acquires and releases until it holds leases with the "
           "same low 8 bits in their fences; by the number of leases")
    flags = Own16.flags
    figures = REQUESTS, CPU
    targets = (Ratio("dflockd/4000", "dflockd/0", "cpu_us", at_most=FLAT,
                     what="CPU, 4,000 beside 0"),)

    @contextmanager
    def contestants(self, seconds):
        with ExitStack() as stack:
            result = {}
            for size in SIMILAR_FENCES:
                server = stack.enter_context(Dflockd())
                keep_similar_fences(server, stack.enter_context(Pipeline(server)), size)
                result[f"dflockd/{size}"] = lambda server=server: load.run(
                    server, seconds, *self.flags)
            yield result


class Pace:
    """Measures hand-overs on a server, and then own keys at the rate of these hand-overs.

    Both have the same number of messages on as many connections, one after the other.
    """

    def __init__(self, server, seconds, count):
        self.server, self.seconds, self.count = server, seconds, count
        self.rate = 0

    def hand_over(self):
        figures = load.run(self.server, self.seconds,
                           *workers(self.count, "--keys", "shared", "--timeout", "600"))
        self.rate = round(figures["rounds_per_s"])
        return figures

    def own_keys(self):
        return load.run(self.server, self.seconds, *workers(self.count, "--rate", str(self.rate)))


class HandOver(Row):
    name = "hand-over"
    title = "hand-over, 32 connections on one key"
    target = "<= 1.15 x dflockd's cost on own keys"
    how = ("32 connections acquire and release the same key. Compared with 32 connections with own "
           "keys on the same server, many of which it serves at a time; and with own keys at the "
           "rate of the hand-overs, one at a time as hand-overs are")
    figures = REQUESTS, CPU
    targets = (Ratio("dflockd", "dflockd own keys", "cpu_us", at_most=1.15, what="CPU"),)

    @contextmanager
    def contestants(self, seconds):
        own = workers(32)
        with Dflockd() as ours, Original() as original:
            pace, original_pace = Pace(ours, seconds, 32), Pace(original, seconds, 32)
            yield {
                "dflockd": pace.hand_over,
                "dflockd own keys": lambda: load.run(ours, seconds, *own),
                "dflockd own keys at that rate": pace.own_keys,
                "python": original_pace.hand_over,
                "python own keys": lambda: load.run(original, seconds, *own),
            }


class HandOverWaiters(Row):
    name = "hand-over-waiters"
    title = "10 to 10,000 waiters on one key"
    target = "hand-over cost flat from 10 to 10,000"
    how = ("the connections acquire and release the same key. Compared with the same number of "
           "connections with own keys at the rate of the hand-overs: the cost of the kernel's "
           f"sockets. Flat means within {FLAT - 1:.0%}. By the number of connections")
    figures = Figure("rounds_per_s", "hand-overs/s"), CYCLE_CPU
    targets = (Ratio("dflockd/10000", "dflockd/10", "round_cpu_us", at_most=FLAT,
                     what="CPU, 10,000 beside 10"),)

    @contextmanager
    def contestants(self, seconds):
        result = {}
        with ExitStack() as stack:
            for size in WAITERS:
                pace = Pace(stack.enter_context(Dflockd()), seconds, size)
                result[f"dflockd/{size}"] = pace.hand_over
                result[f"own keys/{size}"] = pace.own_keys
            yield result


class GrowthConnections(Row):
    name = "growth-connections"
    title = "own keys, 1 to 1,000 connections"
    target = "if the work stays the same, a growing cost is a defect"
    how = "as with 16 connections; dflockd and the ceiling also with 10,000"
    figures = REQUESTS, CPU, P50, P99
    targets = (Ratio("dflockd/1000", "ceiling/1000", "cpu_us", at_most=1.10, what="CPU, 1,000"),
               Ratio("dflockd/10000", "ceiling/10000", "cpu_us", at_most=1.10,
                     what="CPU, 10,000"))

    @contextmanager
    def contestants(self, seconds):
        result = {}
        with ExitStack() as stack:
            servers = [stack.enter_context(kind()) for kind in ALL]
            for size in (*CONNECTIONS, MORE_CONNECTIONS):
                for server in servers:
                    if size == MORE_CONNECTIONS and server.name not in ("dflockd", "ceiling"):
                        continue
                    result[f"{server.name}/{size}"] = lambda server=server, size=size: load.run(
                        server, seconds, *workers(size))
            yield result


class TwoWorkers(Row):
    name = "two-workers"
    title = "2 workers on 2 cores"
    target = ("not slower than 1 on any row; own keys: no request touches another thread "
              "(not measured here)")
    how = ("servers with --threads 1 and --threads 2, and the load, may all use both CPUs; so the "
           "load takes CPU time from two workers. The ceiling with as many threads shows the "
           "largest gain of a second worker, for loads that the ceiling can serve. "
           f"Within {NOISE:.0%} counts as not slower")
    figures = REQUESTS, CPU, P99
    loads = {
        "own-16": workers(16), "own-100": workers(100),
        "hand-over": workers(32, "--keys", "shared"),
        "pipelined-lr": PipelinedLocks.flags, "connect": Connect.flags,
    }
    without_locks = "own-16", "own-100", "pipelined-lr", "connect"  # the ceiling cannot hand over
    targets = tuple(Ratio(f"2 workers {name}", f"1 worker {name}", "rounds_per_s",
                          at_least=1 - NOISE, what=name) for name in loads)

    @contextmanager
    def contestants(self, seconds):
        both = SERVER_CPU, LOAD_CPU
        with ExitStack() as stack:
            servers = {f"{label}{count}": stack.enter_context(kind(threads=threads, cpus=both))
                       for kind, label in ((Dflockd, ""), (Ceiling, "ceiling, "))
                       for threads, count in ((1, "1 worker"), (2, "2 workers"))}
            yield {f"{label} {name}": lambda server=server, flags=flags: load.run(
                       server, seconds, *flags, cpus=both)
                   for name, flags in self.loads.items() for label, server in servers.items()
                   if server.name == "dflockd" or name in self.without_locks}


ROWS = (Own16(), OneConnection(), Own100(), SharedOwn16(), HandOver(), PipelinedPing(),
        PipelinedLocks(), Connect(), ConnectHeld())
GROWTH = GrowthConnections(), GrowthKeys(), GrowthDeadClients(), GrowthSimilarFences()
WORKERS = TwoWorkers()
HAND_OVER_WAITERS = HandOverWaiters()
