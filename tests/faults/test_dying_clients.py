"""Killed clients and masses of closing clients do not disturb others, and leave nothing."""

import subprocess
import sys
from contextlib import ExitStack

import pytest
from crowd import Crowd
from fault_test import FaultTest, Witness
from lib.wire_client import eventually, request

# The states in which a client is killed; {n} is its number.
STATES = ["", "l\nke", "l\nkey-{n}\n", request("l", "own-{n}", "0 600").decode(),
          request("l", "shared", "600 600").decode(), request("e", "shared", "600").decode(),
          (request("e", "shared", "600") + request("w", "shared", "600")).decode(),
          request("sl", "slots", "600 3 600").decode(),
          (request("se", "slots", "3 600") + request("sw", "slots", "600")).decode(),
          (request("l", "shared", "600 600") + request("ping") * 200).decode(),
          request("ping").decode() * 300, request("stats").decode() * 3, "x" * 5000]


def killed(test, processes, connections):
    """Kills processes in each state at once. The server serves the waiter behind them."""
    with ExitStack() as stack:
        crowds = [stack.enter_context(Crowd(test.server, processes)) for _ in STATES]
        for crowd, state in zip(crowds, STATES):
            crowd.do("connect", connections)
            crowd.do("send", state)
        heir = stack.enter_context(test.client())
        heir.send(request("e", "shared", "600"))
        assert heir.read_line().startswith((b"queued\n", b"acquired "))
        for crowd in crowds:
            for member in crowd.members:
                member.kill()
        assert heir.call("w", "shared", "20").startswith("ok ")
        assert heir.call("sl", "slots", "20 3").startswith("ok ")
        assert heir.call("l", "own-0", "20").startswith("ok ")
    return {"killed": f"{processes * len(STATES)} processes with "
                      f"{processes * len(STATES) * connections} connections"}


def test_processes_killed_in_every_state_leave_nothing():
    with FaultTest() as test:
        test.warm_up(lambda: killed(test, 1, 10))
        test.measure("kill -9 in every state", lambda: killed(test, 2, 40))


def test_killed_clients_do_not_harm_other_clients():
    with FaultTest() as test:
        test.warm_up(lambda: Witness(test.server, seconds=1, kills=1, two_phase=1,
                                     semaphores=1).start().check(grants=1))
        witness = Witness(test.server, seconds=6, kills=1, two_phase=1, semaphores=1)
        test.measure("kill -9 under the witness", lambda: witness.start().check(),
                     witness="on the same server")
        assert witness.figures["killed"] > 30, witness.output
        print(witness)


@pytest.mark.parametrize("how", ["fin", "reset", "close"])
def test_thousands_of_simultaneous_closes_leave_nothing(how):
    def fault(count=4000):
        with Crowd(test.server) as crowd, test.client() as holder:
            holder.acquire("shared", "0 600")
            crowd.do("connect", count // 4)
            crowd.do("send", "l\nshared\n600\n")
            crowd.do("connect", count // 4)
            # A request and a half: the first group now has two waits, one behind the other.
            crowd.do("send", "l\nown-{n}\n0 600\nl\nhalf")
            crowd.do("connect", count // 2)
            eventually(lambda: holder.stats()["connections"] > count)
            words = crowd.do("leave", how)[0]
            eventually(lambda: holder.stats()["connections"] < 10)
            # The server closes a half-closed connection that waits; others get their reply first.
            if how == "fin":
                assert words == {"(closed)": count, "ok": count // 4}, words

    with FaultTest("--max-locks", "10000") as test:
        test.warm_up(fault)
        test.measure(f"4,000 connections end at once by {how}", fault)


def test_processes_killed_while_connecting_leave_nothing():
    program = ("import socket, sys\n"
               "while True:\n"
               "    s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
               "    s.sendall(b'l\\nstorm\\n5\\n')\n"
               "    s.close()\n")

    def fault():
        for _ in range(10):
            processes = [subprocess.Popen([sys.executable, "-c", program, str(test.server.port)],
                                          stderr=subprocess.DEVNULL) for _ in range(4)]
            try:
                processes[0].wait(0.15)
            except subprocess.TimeoutExpired:
                pass
            for process in processes:
                process.kill()
                process.wait(10)

    with FaultTest() as test:
        test.warm_up(fault)
        test.measure("killed in a storm of connections", fault)
