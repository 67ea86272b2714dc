"""The row about loads of one client that others must not feel: the programs of tests/attacks."""

from contextlib import contextmanager

from comparison.bystander import CONNECTIONS
from comparison.footprint import NO_READ_TIMEOUT
from comparison.place import BUILD, LOAD_CPU, SERVER_CPU, pinned
from comparison.row import Bound, Figure, Row
from comparison.servers import Dflockd
from lib.attack import attack

PROGRAM = BUILD / "tests" / "attacks" / "attack"
WORKERS = 1, 2, 8
MANY_CLAIMS = "--max-claims", "4000000", "--max-claims-per-connection", "2000000"
# Backlogs are for each worker, up to two: `stop` lets all waits end in the same moment.
ATTACKS = {
    "waits that time out": ("backlogs", {"connections": 1000, "wait_s": 5, "stop": 1}),
    "waits that are granted": ("backlogs", {"connections": 1000, "kind": "grants"}),
    "claims": ("claims", {"connections": 500, "claims": 2000000, "kind": "slots"}),
    "stats": ("stats", {"connections": 1, "claims": 1000000}),
}


def plural(workers):
    return f"{workers} worker{'s' if workers > 1 else ''}"


def measure(title, workers):
    """Returns the figures of an attack on a new server."""
    name, settings = ATTACKS[title]
    if name == "backlogs":
        settings = {**settings, "connections": settings["connections"] * min(workers, 2)}
    cpus = (SERVER_CPU,) if workers == 1 else (SERVER_CPU, LOAD_CPU)
    load_cpus = (LOAD_CPU,) if workers == 1 else cpus
    with Dflockd(*NO_READ_TIMEOUT, *MANY_CLAIMS, threads=workers, cpus=cpus) as server:
        result = attack(PROGRAM, server, name, lambda command: pinned(command, *load_cpus),
                        others=CONNECTIONS * min(workers, 2), **settings)
    assert not result["problem"], result
    others = result["others"]
    return {"others_max_ms": others["max_us"] / 1000, "others_p99_ms": others["p99_us"] / 1000,
            "server_cpu_ms": others["cpu_max_us"] / 1000, "others_requests": others["requests"],
            "seconds": result["seconds"]}


class LongestTurn(Row):
    name = "longest-turn"
    title = "longest turn: other clients' requests during any load of one client"
    target = ("worst <= 5 ms, with 1,000 connections whose 64 KiB backlogs are released at once, "
              "2,000,000 claims closing at once, `stats` of a million keys")
    how = ("4 connections send requests while a load is released: 1,000 connections that wait with "
           "63 KiB of requests behind them, until all waits time out in one moment, or until one "
           "client releases all slots; 500 connections with 2,000,000 slots that close at once; "
           "one `stats` of 1,000,000 keys. The seconds last until the load has its last reply. "
           "Every reply is checked. The server's CPU time is the most that its process used "
           "between one of these requests and its reply. With 2 and 8 workers there are 8 such "
           "connections and 2,000 that wait, and workers and load share both CPUs: these figures "
           "include the time that threads wait for a CPU, so that they have no target")
    figures = (Figure("others_max_ms", "ms others' max", 1),
               Figure("others_p99_ms", "ms others' p99", 2),
               Figure("server_cpu_ms", "ms server's CPU", 1), Figure("seconds", "s", 2))
    brief = figures[:1]
    targets = tuple(Bound(f"dflockd/{title}, {plural(1)}", "others_max_ms", 5, "ms", 1, title)
                    for title in ATTACKS)

    @contextmanager
    def contestants(self, seconds):
        yield {f"dflockd/{title}, {plural(workers)}":
               lambda title=title, workers=workers: measure(title, workers)
               for workers in WORKERS for title in ATTACKS}


LONGEST_TURN = LongestTurn()
