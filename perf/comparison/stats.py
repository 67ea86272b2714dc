"""What `stats` over many keys costs others."""

import time
from contextlib import ExitStack, contextmanager

from comparison.bystander import Bystander
from comparison.footprint import PATIENT
from comparison.holder import Talk
from comparison.row import Bound, Figure, Row
from comparison.servers import Dflockd

PAUSE_SECONDS = 0.05


def watch(server, seconds, ask_stats):
    """Others' latency meanwhile, and how long `stats` took."""
    took = []
    with Talk(server) as talk, Bystander(server) as others:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if ask_stats:
                begin = time.monotonic()
                talk.ask([b"stats\n_\n\n"], b"ok {")
                took.append(time.monotonic() - begin)
            time.sleep(PAUSE_SECONDS)
    return {"stats_ms": 1000 * max(took, default=0), **others.figures}


class Stats(Row):
    name = "stats"
    title = "`stats` over 100,000 keys"
    target = "no other request waits more than 10 ms for it"
    how = ("4 connections at work while one asks for `stats` again and again, and beside it while "
           "nobody does; they and the reader of `stats` share the CPU of the load")
    figures = (Figure("others_p99_ms", "ms others' p99", 2),
               Figure("others_max_ms", "ms others' max", 1), Figure("stats_ms", "ms for it", 0))
    sizes = 10000, 100000, 1000000
    targets = (Bound("dflockd/100000", "others_max_ms", 10, "ms", 1, "others' max"),)

    @contextmanager
    def contestants(self, seconds):
        with ExitStack() as stack:
            result = {}
            for size in self.sizes:
                server = stack.enter_context(Dflockd(*PATIENT))
                stack.enter_context(Talk(server)).hold(size)
                result[f"nobody asks/{size}"] = lambda server=server: watch(server, seconds, False)
                result[f"dflockd/{size}"] = lambda server=server: watch(server, seconds, True)
            yield result


STATS = Stats()
