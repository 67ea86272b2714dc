"""Bursts of random actions, each followed by silence in which every reply must come.

Under a steady load the next event hides a forgotten wake-up. Here no other event follows.
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
# The server answers these at once, and briefly enough that no client must read to go on.
ALWAYS_ANSWERED = [
    lambda number: request("ping"),
    lambda number: request("l", f"key{number % KEYS}", "0 600"),
    lambda number: request("sl", f"slots{number % KEYS}", "0 3 600"),
    lambda number: request("r", f"key{number % KEYS}", "0" * 32),
]


class Party:
    """Clients, the number of pending replies of each, and the actions so far."""

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
        except OSError:  # the server refused it before its TLS was ready
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
        """Lets one client wait for another one's lock. The burst releases it or ends the holder."""
        waiter, holder = self.dice.sample(list(self.due), 2)
        key = f"of-burst-{self.bursts}"
        token = blocked(waiter, holder, key)
        self.due[waiter] += 1

        def release():
            if holder in self.due:
                holder.send(request("r", key, token))
                self.due[holder] += 1
        return release

    def send_requests(self):
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

    def connect(self):
        """Connects. Over TLS the new client does no handshake, and gets no reply."""
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
        actions = self.dice.choices([self.send_requests, self.end, self.connect], [6, 1, 3],
                                    k=self.dice.randrange(1, 8))
        if self.dice.random() < 0.7:
            actions.insert(self.dice.randrange(2), self.hand_over())
        with at_once(self.server):
            for action in actions:
                self.done.append(action.__name__)
                if self.due:
                    action()

    def next_line(self, client):
        line = client.read_line()
        assert line != SILENCE, self.done[-20:]
        return line

    def read_all(self):
        for client, count in self.due.items():
            for _ in range(count):
                assert isinstance(self.next_line(client), bytes), self.done[-20:]
            self.due[client] = 0
        for client in self.ended:
            while isinstance(self.next_line(client), bytes):
                pass
            client.close()
        for client in self.late:
            assert self.next_line(client) in (b"ok\n", CLOSED, RESET)
            client.close()
        self.ended.clear()
        self.late.clear()

    def play(self):
        for _ in range(BURSTS):
            self.fill()
            self.burst()
            self.read_all()


LIMITS = ("--max-connections", str(CLIENTS), "--max-locks", "100000", *QUIET)


@pytest.mark.parametrize("threads", ["1", "2", "3"])
@pytest.mark.parametrize("way", ["TCP", "a path", "TLS"])
def test_every_reply_of_a_burst_arrives_without_further_events(way, threads, seed, tmp_path):
    flags = (*LIMITS, "--threads", threads)
    if way == "TCP":
        server = Server(*flags)
    elif way == "a path":
        server = UnixServer(tmp_path / "socket", *flags)
    else:
        server = TlsServer(Authority(tmp_path).issue("server"), *flags)
    with server:
        Party(server, random.Random(seed)).play()
