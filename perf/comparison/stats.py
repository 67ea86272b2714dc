"""The row about the delay that `stats` over many keys causes to other clients."""

import time
from contextlib import ExitStack, contextmanager

from comparison.bystander import Bystander
from comparison.footprint import NO_READ_TIMEOUT
from comparison.holder import Pipeline
from comparison.row import Bound, Figure, Row
from comparison.servers import Dflockd

PAUSE_SECONDS = 0.05


def measure(server, seconds, with_stats):
    """Returns the bystander's latency, and the longest time of a `stats`."""
    took = []
    with Pipeline(server) as pipeline, Bystander(server) as others:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if with_stats:
                begin = time.monotonic()
                pipeline.request([b"stats\n_\n\n"], b"ok {")
                took.append(time.monotonic() - begin)
            time.sleep(PAUSE_SECONDS)
    return {"stats_ms": 1000 * max(took, default=0), **others.figures}


class Stats(Row):
    name = "stats"
    title = "`stats` over 100,000 keys"
    target = "no other request waits more than 10 ms for it"
    how = ("4 connections send requests while another one requests `stats` repeatedly, or while "
           "none does; they and the reader of `stats` share the CPU of the load")
    figures = (Figure("others_p99_ms", "ms others' p99", 2),
               Figure("others_max_ms", "ms others' max", 1), Figure("stats_ms", "ms for it", 0))
    sizes = 10000, 100000, 1000000
    targets = (Bound("dflockd/100000", "others_max_ms", 10, "ms", 1, "others' max"),)

    @contextmanager
    def contestants(self, seconds):
        with ExitStack() as stack:
            result = {}
            for size in self.sizes:
                server = stack.enter_context(Dflockd(*NO_READ_TIMEOUT))
                stack.enter_context(Pipeline(server)).hold(size)
                result[f"without stats/{size}"] = (
                    lambda server=server: measure(server, seconds, False))
                result[f"dflockd/{size}"] = lambda server=server: measure(server, seconds, True)
            yield result


STATS = Stats()
