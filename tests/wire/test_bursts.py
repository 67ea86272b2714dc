"""Bursts of anything at all, each followed by silence: in it every answer must come.

Under a steady load whatever was forgotten is done when something else wakes the worker. Here
nothing else does.
"""

import random
import socket

import pytest
from at_once import QUIET, at_once, blocked
from lib.certificates import Authority
from lib.server import Server
from lib.tls import TlsServer
from lib.wire_client import CLOSED, RESET, SILENCE, Client, eventually, request
from test_unix_socket import UnixServer

BURSTS = 200
CLIENTS = 8
KEYS = 4
# Answered at once, whatever is held; and by so little that nobody has to read to be served further.
ALWAYS_ANSWERED = [
    lambda number: request("ping"),
    lambda number: request("l", f"key{number % KEYS}", "0 600"),
    lambda number: request("sl", f"slots{number % KEYS}", "0 3 600"),
    lambda number: request("r", f"key{number % KEYS}", "0" * 32),
]


class Party:
    """Clients, how many answers each has yet to hear, and what was done."""

    def __init__(self, server, dice):
        self.server = server
        self.dice = dice
        self.due = {}
        self.ended = []
        self.late = []
        self.done = []
        self.bursts = 0

    def enters(self):
        try:
            client = Client(self.server)
        except OSError:  # refused before its TLS was ready
            return False
        if client.call("ping") != "ok":
            client.close()
            return False
        self.due[client] = 0
        return True

    def fill(self):
        while len(self.due) < CLIENTS:
            eventually(self.enters)

    def hand_over(self):
        """Someone waits for another one's lock: the release is the burst's to do, or its end."""
        waiter, holder = self.dice.sample(list(self.due), 2)
        key = f"of-burst-{self.bursts}"
        token = blocked(waiter, holder, key)
        self.due[waiter] += 1

        def release():
            if holder in self.due:
                holder.send(request("r", key, token))
                self.due[holder] += 1
        return release

    def ask(self):
        client = self.dice.choice(list(self.due))
        count = self.dice.choice([1, 1, 1, 2, 20])
        kinds = self.dice.choices(ALWAYS_ANSWERED, [6, 3, 3, 2], k=count)
        client.send(b"".join(kind(self.dice.randrange(100)) for kind in kinds))
        self.due[client] += count

    def end(self):
        client = self.dice.choice(list(self.due))
        way = self.dice.choice(["close", "reset", "fin"] if isinstance(client.socket, socket.socket)
                               else ["close", "fin"])
        del self.due[client]
        getattr(client, way)()
        if way == "fin":
            self.ended.append(client)

    def come(self):
        """Over TLS a newcomer has not shaken hands, and is not answered."""
        connect = getattr(self.server, "connect_plain", None)
        if connect:
            connect().close()
            return
        client = Client(self.server)
        client.send(request("ping"))
        self.late.append(client)

    def burst(self):
        self.bursts += 1
        self.done.append(f"-- {self.bursts}")
        actions = self.dice.choices([self.ask, self.end, self.come], [6, 1, 3],
                                    k=self.dice.randrange(1, 8))
        if self.dice.random() < 0.7:
            actions.insert(self.dice.randrange(2), self.hand_over())
        with at_once(self.server):
            for action in actions:
                self.done.append(action.__name__)
                if self.due:
                    action()

    def heard(self, client):
        heard = client.read_line()
        assert heard != SILENCE, self.done[-20:]
        return heard

    def hear(self):
        for client, count in self.due.items():
            for _ in range(count):
                assert isinstance(self.heard(client), bytes), self.done[-20:]
            self.due[client] = 0
        for client in self.ended:
            while isinstance(self.heard(client), bytes):
                pass
            client.close()
        for client in self.late:
            assert self.heard(client) in (b"ok\n", CLOSED, RESET)
            client.close()
        self.ended.clear()
        self.late.clear()

    def play(self):
        for _ in range(BURSTS):
            self.fill()
            self.burst()
            self.read_line()


LIMITS = ("--max-connections", str(CLIENTS), "--max-locks", "100000", *QUIET)


@pytest.mark.parametrize("threads", ["1", "2", "3"])
@pytest.mark.parametrize("way", ["TCP", "a path", "TLS"])
def test_nobody_waits_for_what_others_do(way, threads, seed, tmp_path):
    flags = (*LIMITS, "--threads", threads)
    if way == "TCP":
        server = Server(*flags)
    elif way == "a path":
        server = UnixServer(tmp_path / "socket", *flags)
    else:
        server = TlsServer(Authority(tmp_path).issue("server"), *flags)
    with server:
        Party(server, random.Random(seed)).play()
