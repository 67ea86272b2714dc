"""What comes upon a worker while a silent send is under way: nobody waits for what happens beside.

Server and test share a CPU, on which the server runs only when the test sleeps. What the test does
until then, the worker finds in this order: the first thing wakes it, and the others come with its
next turn, the one that sends what the first was answered with.
"""

import os
from contextlib import contextmanager

from lib.server import Server
from test_unix_socket import UnixServer
from wire_client import Client, eventually, request

ROUNDS = 20
# Nothing is due for so long that nobody is woken by a deadline.
QUIET = ("--read-timeout", "600", "--gc-interval", "600")


@contextmanager
def at_once(server):
    """What is done meanwhile, without sleeping, the server finds all together."""
    threads = [int(name) for name in os.listdir(f"/proc/{server.pid}/task")]
    cpus = os.sched_getaffinity(0)
    for thread in threads:
        os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))
    for each in [0, *threads]:
        os.sched_setaffinity(each, [min(cpus)])
    try:
        yield
    finally:
        for each in [0, *threads]:
            os.sched_setaffinity(each, cpus)


def blocked(waiter, holder):
    """The holder's token of a lock that the waiter waits for."""
    token = holder.acquire("key", "0 600")
    waiter.send(request("l", "key", "600 600"))
    eventually(lambda: holder.stats()["locks"][0]["waiters"] == 1)
    return token


def served(server):
    client = Client(server)
    assert client.ask("ping") == "ok"
    return client


def assert_heard(waiter, holder):
    """The lock went from one to the other, who had asked for more."""
    assert holder.hear() == b"ok\n"
    granted = waiter.hear().split()
    assert granted[0] == b"ok"
    assert waiter.hear() == b"ok\n"
    assert waiter.ask("r", "key", granted[1].decode()) == "ok"


def test_an_answer_does_not_wait_for_those_who_are_refused_beside_it():
    with Server("--threads", "1", "--max-connections", "2", *QUIET) as server:
        waiter, holder = served(server), served(server)
        for _ in range(ROUNDS):
            token = blocked(waiter, holder)
            with at_once(server):
                holder.send(request("r", "key", token))
                waiter.send(request("ping"))
                late = Client(server)
            assert_heard(waiter, holder)
            late.close()


def test_an_answer_does_not_wait_while_a_connection_is_handed_to_another_worker(tmp_path):
    with UnixServer(tmp_path / "socket", "--threads", "2", *QUIET) as server:
        waiter, _elsewhere, holder = served(server), served(server), served(server)
        for _ in range(ROUNDS):
            token = blocked(waiter, holder)
            with at_once(server):
                holder.send(request("r", "key", token))
                waiter.send(request("ping"))
                guest = Client(server)
            assert_heard(waiter, holder)
            assert guest.ask("ping") == "ok"
            served(server).close()  # of the first worker: the next one is the second's again


def test_a_connection_makes_room_though_another_is_refused_as_it_ends():
    with Server("--threads", "1", "--max-connections", "2", *QUIET) as server:
        waiter, holder = served(server), served(server)

        def entered():
            nonlocal waiter
            waiter = Client(server)
            return waiter.ask("ping") == "ok" or waiter.close()
        for _ in range(ROUNDS):
            token = blocked(waiter, holder)
            with at_once(server):
                holder.send(request("r", "key", token))
                waiter.close()
                late = Client(server)
            late.ask("ping")
            late.close()
            eventually(entered)
            assert holder.hear() == b"ok\n"
