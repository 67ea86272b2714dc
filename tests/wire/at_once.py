"""Many things at once, for a server that shares the test's CPU."""

import os
from contextlib import contextmanager

from lib.wire_client import eventually, request

# Flags with which nothing is due for so long that nobody is woken by a deadline.
QUIET = ("--read-timeout", "600", "--gc-interval", "600")


@contextmanager
def at_once(server):
    """What is done meanwhile, without sleeping, the server finds all together."""
    threads = [int(name) for name in os.listdir(f"/proc/{server.pid}/task")]
    cpus = os.sched_getaffinity(0)

    def run(policy, where):
        for thread in threads:
            os.sched_setscheduler(thread, policy, os.sched_param(0))
        for each in [0, *threads]:
            os.sched_setaffinity(each, where)
    # Who runs by SCHED_BATCH takes the CPU from nobody when it is woken.
    run(os.SCHED_BATCH, [min(cpus)])
    try:
        yield
    finally:
        run(os.SCHED_OTHER, cpus)


def blocked(waiter, holder, key="key"):
    """The holder's token of a lock that the waiter waits for."""
    token = holder.acquire(key, "0 600")
    waiter.send(request("l", key, "600 600"))
    eventually(lambda: any(lock["key"] == key and lock["waiters"] for lock in
                           holder.stats()["locks"]))
    return token
