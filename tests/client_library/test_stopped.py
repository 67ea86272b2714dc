"""A program that was stopped knows that its lease ended meanwhile."""

import signal
import time

from lib.server import Server


def at(server):
    return f"server=127.0.0.1:{server.port}"


def exchange(connection, *lines):
    connection.sendall(("\n".join(lines) + "\n").encode())
    return connection.makefile().readline().split()


def test_a_lease_that_ended_while_the_program_was_stopped_is_lost(start):
    with Server() as server, server.connect() as other:
        holder = start(at(server), "lease=1", "acquire=0", "sleep=500", "sleep=3000", "release")
        assert holder.stdout.readline().split()[:2] == ["acquire", "DONE"]
        holder.send_signal(signal.SIGSTOP)
        assert exchange(other, "l", "key", "10")[0] == "ok"
        holder.send_signal(signal.SIGCONT)
        output = [line.split()[:2] for line in holder.stdout]
        assert output.count(["lost", "LOST"]) + output.count(["lost", "NOT_HELD"]) == 1
        assert ["release", "LOST"] in output


def test_a_grant_that_ended_before_its_reply_was_read_is_not_held(start):
    with Server() as server, server.connect() as first, server.connect() as other:
        token = exchange(first, "l", "key", "0")[1]
        waiter = start(at(server), "lease=1", "acquire=60")
        while b'"waiters":1' not in stats(server):
            time.sleep(0.01)
        waiter.send_signal(signal.SIGSTOP)
        assert exchange(first, "r", "key", token) == ["ok"]
        # The server grants to the stopped program, and after its lease of 1 s to the next one.
        assert exchange(other, "l", "key", "10")[0] == "ok"
        waiter.send_signal(signal.SIGCONT)
        assert waiter.stdout.readline().split()[:2] == ["acquire", "LOST"]


def stats(server):
    with server.connect() as connection:
        connection.sendall(b"stats\n_\n_\n")
        return connection.makefile("rb").readline()
