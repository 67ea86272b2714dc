"""Enqueue, wait, try and release in every order agree with a small model of one key.

Connection A does all four, B tries and releases. The test plays every sequence of LENGTH steps,
each on its own key.
"""

import itertools

import pytest
from lib.server import Server
from lib.wire_client import Client

LENGTH = 5
STEPS = ["A enqueue", "A wait", "A try", "A release", "B try", "B release"]
UNKNOWN = "0" * 32


class Model:
    """The expected replies. The number of its step identifies a grant."""

    def __init__(self, limit):
        self.limit = limit
        self.holders = []
        self.queued = None     # the step at which A enqueued
        self.enqueued = None   # the grant that A's `e` has, or "queued"
        self.known = {"A": [], "B": []}

    def step(self, number, who, what):
        """Returns the reply's first word, and the grant whose token it holds (None: no token)."""
        return getattr(self, f"_{what}")(number, who)

    def _try(self, number, who):
        if len(self.holders) == self.limit:
            return "timeout", None
        return "ok", self._grant(number, who)

    def _enqueue(self, number, who):
        if self.enqueued is not None:
            return "error_already_enqueued", None
        if len(self.holders) == self.limit:
            self.queued, self.enqueued = number, "queued"
            return "queued", None
        self.enqueued = self._grant(number, who)
        return "acquired", self.enqueued

    def _wait(self, _, who):
        enqueued, self.enqueued = self.enqueued, None
        if enqueued is None:
            return "error_not_enqueued", None
        if enqueued == "queued":
            self.queued = None
            return "timeout", None
        if enqueued not in self.known[who]:
            self.known[who].append(enqueued)
        return "ok", enqueued

    def _release(self, _, who):
        """Releases the newest grant that this connection knows and holds."""
        held = [grant for grant in self.known[who] if grant in self.holders]
        if not held:
            return "error", None
        self.holders.remove(held[-1])
        if self.enqueued == held[-1]:
            self.enqueued = None
        if self.queued is not None:
            # A's waiter gets the lock; A does not know its token before `w`.
            self.holders.append(self.queued)
            self.queued, self.enqueued = None, self.queued
        return "ok", held[-1]

    def _grant(self, number, who):
        self.holders.append(number)
        self.known[who].append(number)
        return number


class Player:
    """Sends the steps as requests, and keeps the token of each grant."""

    def __init__(self, clients, limit):
        self.clients = clients
        prefix, extra = ("", "") if limit is None else ("s", str(limit))
        self.requests = {"enqueue": (f"{prefix}e", extra), "wait": (f"{prefix}w", "0"),
                         "try": (f"{prefix}l", f"0 {extra}"), "release": (f"{prefix}r", None)}

    def send(self, key, who, what, grant, tokens):
        command, arg = self.requests[what]
        if what == "release":
            arg = tokens.get(grant, UNKNOWN)
        word, *fields = self.clients[who].call(command, key, arg).split(" ")
        if fields:
            assert tokens.setdefault(grant, fields[0]) == fields[0], "another token"
        return word, len(fields)


@pytest.mark.parametrize("limit", [None, 1, 2], ids=["lock", "semaphore-1", "semaphore-2"])
def test_every_order_agrees_with_the_model(limit):
    with Server("--max-locks", str(len(STEPS)**LENGTH)) as server, \
            Client(server) as first, Client(server) as second:
        player = Player({"A": first, "B": second}, limit)
        for count, steps in enumerate(itertools.product(STEPS, repeat=LENGTH)):
            model, tokens, replies = Model(limit or 1), {}, []
            for number, step in enumerate(steps):
                who, what = step.split()
                word, grant = model.step(number, who, what)
                reply = player.send(f"key-{count}", who, what, grant, tokens)
                replies.append((step, *reply))
                fields = 2 if grant is not None and what != "release" else 0
                assert reply == (word, fields), f"expected {word}: {replies}"
            # The tokens of several grants differ.
            assert len(set(tokens.values())) == len(tokens)
