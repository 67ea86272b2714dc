"""Simultaneous events while a silent send is pending: no client waits for another event.

A test causes several events at once. The first wakes the worker. The others are in the worker's
next turn, which also sends the reply to the first.
"""

from at_once import QUIET, at_once, blocked
from lib.server import Server
from lib.wire_client import Client, eventually, request
from test_unix_socket import UnixServer

ROUNDS = 20


def served(server):
    client = Client(server)
    assert client.call("ping") == "ok"
    return client


def assert_received(waiter, holder):
    """Checks that the lock went from one client to the other."""
    assert holder.read_line() == b"ok\n"
    granted = waiter.read_line().split()
    assert granted[0] == b"ok"
    assert waiter.read_line() == b"ok\n"
    assert waiter.call("r", "key", granted[1].decode()) == "ok"


def test_a_reply_is_sent_while_other_connections_are_refused():
    with Server("--threads", "1", "--max-connections", "2", *QUIET) as server:
        waiter, holder = served(server), served(server)
        for _ in range(ROUNDS):
            token = blocked(waiter, holder)
            with at_once(server):
                holder.send(request("r", "key", token))
                waiter.send(request("ping"))
                late = Client(server)
            assert_received(waiter, holder)
            late.close()


def test_a_reply_is_sent_while_a_connection_moves_to_another_worker(tmp_path):
    with UnixServer(tmp_path / "socket", "--threads", "2", *QUIET) as server:
        waiter, _elsewhere, holder = served(server), served(server), served(server)
        for _ in range(ROUNDS):
            token = blocked(waiter, holder)
            with at_once(server):
                holder.send(request("r", "key", token))
                waiter.send(request("ping"))
                newcomer = Client(server)
            assert_received(waiter, holder)
            assert newcomer.call("ping") == "ok"
            served(server).close()  # on the first worker: the second one gets the next connection


def test_an_ended_connection_makes_room_while_another_is_refused():
    with Server("--threads", "1", "--max-connections", "2", *QUIET) as server:
        waiter, holder = served(server), served(server)

        def entered():
            nonlocal waiter
            waiter = Client(server)
            return waiter.call("ping") == "ok" or waiter.close()
        for _ in range(ROUNDS):
            token = blocked(waiter, holder)
            with at_once(server):
                holder.send(request("r", "key", token))
                waiter.close()
                late = Client(server)
            late.call("ping")
            late.close()
            eventually(entered)
            assert holder.read_line() == b"ok\n"
