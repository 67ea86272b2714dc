"""Simultaneous events for a server on the test's CPU."""

import os
from contextlib import contextmanager

from lib.wire_client import eventually, request

# With these flags no deadline wakes a worker during the test.
QUIET = ("--read-timeout", "600", "--gc-interval", "600")


@contextmanager
def at_once(server):
    """The server finds all events of the block together, if the block does not sleep."""
    threads = [int(name) for name in os.listdir(f"/proc/{server.pid}/task")]
    cpus = os.sched_getaffinity(0)

    def run(policy, where):
        for thread in threads:
            os.sched_setscheduler(thread, policy, os.sched_param(0))
        for each in [0, *threads]:
            os.sched_setaffinity(each, where)
    # A thread with SCHED_BATCH does not preempt another one when it is woken.
    run(os.SCHED_BATCH, [min(cpus)])
    try:
        yield
    finally:
        run(os.SCHED_OTHER, cpus)


def blocked(waiter, holder, key="key"):
    """Lets the waiter wait for the holder's lock, and returns the holder's token."""
    token = holder.acquire(key, "0 600")
    waiter.send(request("l", key, "600 600"))
    eventually(lambda: any(lock["key"] == key and lock["waiters"] for lock in
                           holder.stats()["locks"]))
    return token
