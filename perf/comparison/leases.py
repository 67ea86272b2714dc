"""The row about late ends of leases, measured by waiters for their keys."""

import gc
import math
import selectors
import socket
import time
from contextlib import ExitStack, contextmanager

from comparison.bystander import Bystander
from comparison.footprint import NO_READ_TIMEOUT
from comparison.holder import WINDOW, Pipeline, acquire, key
from comparison.row import Bound, Figure, Row
from comparison.servers import Dflockd, Original

ALONE = 200          # leases that end one by one
ALONE_SECONDS = 2.0  # the time in which they end
WITNESSES = 1000     # waiters for leases that end together
LEASE_SECONDS = 3
WAIT_SECONDS = 30
TOO_LATE_SECONDS = 10


class Waiters:
    """Waiters, one connection for each key. Measures how late they receive their grants."""

    def __init__(self, server, count):
        self.selector = selectors.DefaultSelector()
        self.sockets = [server.connect() for _ in range(count)]
        self.due = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.selector.close()
        for one in self.sockets:
            one.close()

    def wait_for(self, number, key_text, due):
        """Waits for a key. Its lease ends at `due` if it began when it was requested."""
        one = self.sockets[number]
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        one.sendall(acquire(key_text, str(WAIT_SECONDS)))
        self.due[one] = due
        self.selector.register(one, selectors.EVENT_READ)

    def lateness(self):
        """Returns the seconds from the due time to the grant of each waiter, in rising order."""
        late = []
        while len(late) < len(self.due):
            events = self.selector.select(TOO_LATE_SECONDS)
            assert events, f"only {len(late)} of {len(self.due)} leases have ended"
            now = time.monotonic()
            for event, _ in events:
                assert event.fileobj.recv(4096).startswith(b"ok "), "not granted"
                self.selector.unregister(event.fileobj)
                late.append(now - self.due[event.fileobj])
        return sorted(late)


def figures_of(late, others, spread):
    return {"late_p50_ms": late[len(late) // 2] * 1000,
            "late_p99_ms": late[math.ceil(0.99 * len(late)) - 1] * 1000,
            "late_max_ms": late[-1] * 1000, "spread_s": spread, **others}


def alone(server):
    """Measures leases that end one by one."""
    with Pipeline(server) as holder, Waiters(server, ALONE) as waiters:
        begin = time.monotonic()
        for number in range(ALONE):
            time.sleep(max(0, begin + number * ALONE_SECONDS / ALONE - time.monotonic()))
            requested = time.monotonic()
            holder.request([acquire(key(number), f"0 {LEASE_SECONDS}")], b"ok ")
            waiters.wait_for(number, key(number), requested + LEASE_SECONDS)
        with Bystander(server) as others:
            late = waiters.lateness()
    return figures_of(late, others.figures, ALONE_SECONDS)


def together(server, count):
    """Measures `count` leases that end within a second.

    They are requested in windows. A waiter waits for the first lease of each window, which the
    server grants as soon as it is requested.
    """
    window = min(WINDOW, max(1, count // WITNESSES))
    firsts = range(0, count, window)
    requests = [[acquire(key(number), f"0 {LEASE_SECONDS}")
                 for number in range(first, min(first + window, count))] for first in firsts]
    gc.collect()
    with Pipeline(server) as holder, Waiters(server, len(firsts)) as waiters:
        begin = time.monotonic()
        for number, first in enumerate(firsts):
            requested = time.monotonic()
            holder.request(requests[number], b"ok ")
            waiters.wait_for(number, key(first), requested + LEASE_SECONDS)
        spread = time.monotonic() - begin
        # The bystander runs from shortly before the first lease ends until the last has ended.
        time.sleep(max(0, begin + LEASE_SECONDS - 0.1 - time.monotonic()))
        with Bystander(server) as others:
            late = waiters.lateness()
    return figures_of(late, others.figures, spread)


class Leases(Row):
    name = "leases"
    title = "end of a lease"
    target = ("p99 <= 5 ms, never more than 20 ms late, also when 100,000 end in the same second, "
              "others' p99 <= 5 ms meanwhile")
    how = (f"{ALONE} leases that end one every {ALONE_SECONDS / ALONE * 1000:.0f} ms, and 1,000 to "
           "100,000 that the server granted as fast as possible (within the time under 'spread') "
           f"and that end so; up to {WITNESSES:,} of them have a waiter. Lateness is the time from "
           "the request for the lease plus its length to the waiter's receipt of its grant; the "
           "travel of two messages is included. Others are 4 connections that send requests "
           "meanwhile, from the CPU of the load")
    figures = (Figure("late_p99_ms", "ms p99", 1), Figure("late_max_ms", "ms max", 1),
               Figure("others_p99_ms", "ms others' p99", 2), Figure("spread_s", "s spread", 2))
    sizes = 1000, 10000, 100000
    targets = tuple(bound for label, what in (("dflockd/alone", "alone"),
                                              ("dflockd/100000", "100,000"))
                    for bound in (
                        Bound(label, "late_p99_ms", 5, "ms", 1, f"{what}: p99"),
                        Bound(label, "late_max_ms", 20, "ms", 1, f"{what}: max"),
                        Bound(label, "others_p99_ms", 5, "ms", 2, f"{what}: others' p99"))
                    )

    @contextmanager
    def contestants(self, seconds):
        with ExitStack() as stack:
            ours = stack.enter_context(Dflockd(*NO_READ_TIMEOUT))
            original = stack.enter_context(Original(*NO_READ_TIMEOUT))
            result = {"dflockd/alone": lambda: alone(ours), "python/alone": lambda: alone(original)}
            result.update((f"dflockd/{size}", lambda size=size: together(ours, size))
                          for size in self.sizes)
            yield result


LEASES = Leases()
