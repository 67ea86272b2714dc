"""`revoke` against grants whose reply is on its way: two clients never both believe.

Fences are consecutive, so that an administrator can revoke a grant before its client knows it.
"""

import json
import random
import threading
from contextlib import ExitStack

import pytest
from lib.server import Server
from lib.wire_client import Client, eventually, request
from workers import all_serve

SECRET = "adm1n"
GRANT_LOST = "error_lease_expired"
ROUNDS = 300


def administrator(stack, server):
    client = stack.enter_context(Client(server))
    assert client.call("auth", "_", SECRET) == "ok"
    return client


def fence_after(token, number=1):
    """Returns the fence of a grant that follows the one of `token`."""
    return f"{int(token[:16], 16) + number:016x}"


def reply(client):
    return client.read_line().decode().rstrip("\n")


def wait_for_waiters(client, count):
    """Waits until so many requests for the key are blocked."""
    def blocked():
        waiters = json.loads(client.call("show", "key", "l")[3:])["waiters"]
        return sum(waiter["timeout_in_s"] is not None for waiter in waiters) == count
    eventually(blocked)


def holds(client, token):
    return client.call("n", "key", token) == "ok 33"


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_a_grant_that_is_revoked_in_transit_reaches_no_client(threads, seed):
    """One send releases the lock and revokes the grants that follow, before a worker wakes."""
    chance = random.Random(seed)
    with ExitStack() as stack:
        server = stack.enter_context(Server("--threads", str(threads), "--admin-token", SECRET))
        admin = administrator(stack, server)
        clients = [stack.enter_context(Client(server)) for _ in range(4 * threads)]
        if threads == 2:
            all_serve(server, clients)
        lost = 0
        for _ in range(ROUNDS // 10):
            waiters = chance.sample(clients, min(4, len(clients)))
            token = admin.acquire("key")
            for client in waiters:
                assert client.call("e", "key") == "queued"
            for client in waiters:
                client.send(request("w", "key", "20"))
            wait_for_waiters(admin, len(waiters))
            revoked = len(waiters) - 1
            admin.send(request("r", "key", token) + b"".join(
                request("revoke", "key", f"l {fence_after(token, number + 1)}")
                for number in range(revoked)))
            assert [reply(admin) for _ in range(revoked + 1)] == ["ok"] * (revoked + 1)
            replies = [reply(client) for client in waiters]
            last = replies[-1].split()
            assert last[0] == "ok" and last[1][:16] == fence_after(token, revoked + 1)
            for client, got in zip(waiters[:-1], replies, strict=False):
                lost += got == GRANT_LOST
                # A reply that was in the output when the grant ended counts as sent.
                assert got == GRANT_LOST or not holds(client, got.split()[1])
            assert waiters[-1].call("r", "key", last[1]) == "ok"
        assert lost > 0


class Racer:
    """Sends in a thread of its own, at the same time as the others."""

    def __init__(self, barrier):
        self.barrier = barrier
        self.job = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while True:
            self.barrier.wait()
            if self.job is None:
                return
            client, data = self.job
            client.send(data)
            self.barrier.wait()


def race(barrier, racers, jobs):
    for racer, job in zip(racers, jobs, strict=True):
        racer.job = job
    barrier.wait()
    if jobs[0]:
        barrier.wait()


def judge(admin_reply, waiters, replies):
    """The revoked client, if any, and one other: returns the client that holds and its token."""
    believers = [(client, got.split()[1]) for client, got in zip(waiters, replies, strict=True)
                 if got.startswith("ok ")]
    holding = [(client, token) for client, token in believers if holds(client, token)]
    assert len(holding) <= 1, replies
    if admin_reply == "error":
        assert len(believers) == 1 and holding == believers, replies
    else:
        assert replies[0] == GRANT_LOST or not holds(*believers[0]), replies
        assert holding and holding[0][0] is waiters[1], replies
    return holding[0]


@pytest.mark.parametrize("threads", [2, 8])
def test_release_and_revoke_at_once_leave_one_client_that_believes(threads, seed):
    chance = random.Random(seed)
    outcomes = {"refused": 0, "lost": 0, "sent": 0}
    with ExitStack() as stack:
        server = stack.enter_context(Server("--threads", str(threads), "--admin-token", SECRET))
        admin = administrator(stack, server)
        clients = [stack.enter_context(Client(server)) for _ in range(3 * threads)]
        barrier = threading.Barrier(3)
        racers = [Racer(barrier) for _ in range(2)]
        for _ in range(ROUNDS):
            holder, *waiters = chance.sample(clients, 3)
            token = holder.acquire("key")
            for number, client in enumerate(waiters, 1):
                client.send(request("l", "key", "20"))
                wait_for_waiters(admin, number)
            # Some attempts come too early, some too late.
            attempts = chance.randrange(1, 4)
            revocation = request("revoke", "key", f"l {fence_after(token)}") * attempts
            race(barrier, racers, [(holder, request("r", "key", token)), (admin, revocation)])
            assert reply(holder) == "ok"
            answers = [reply(admin) for _ in range(attempts)]
            assert answers.count("ok") <= 1
            revoked = "ok" in answers
            first = reply(waiters[0])
            if revoked:
                replies = [first, reply(waiters[1])]
                outcomes["lost" if first == GRANT_LOST else "sent"] += 1
            else:
                outcomes["refused"] += 1
                replies = [first, "queued"]
            client, last = judge("ok" if revoked else "error", waiters, replies)
            assert client.call("r", "key", last) == "ok"
            if not revoked:
                got = reply(waiters[1]).split()
                assert waiters[1].call("r", "key", got[1]) == "ok"
        race(barrier, racers, [None, None])
    print(outcomes)
    assert outcomes["refused"] < ROUNDS


def test_a_client_that_leaves_after_its_grant_was_revoked_in_transit_takes_nothing_along(seed):
    """The grant of the next client stays, and so does another one of the same client."""
    with ExitStack() as stack:
        server = stack.enter_context(Server("--threads", "1", "--admin-token", SECRET,
                                            "--no-auto-release-on-disconnect"))
        admin = administrator(stack, server)
        for _ in range(20):
            first, second = (stack.enter_context(Client(server)) for _ in range(2))
            kept = first.acquire("kept")
            token = admin.acquire("key")
            for number, client in enumerate((first, second), 1):
                client.send(request("l", "key", "20"))
                wait_for_waiters(admin, number)
            with server.stopped():
                admin.send(request("r", "key", token) +
                           request("revoke", "key", f"l {fence_after(token)}"))
                first.reset()
            assert [reply(admin), reply(admin)] == ["ok", "ok"]
            last = reply(second).split()
            assert holds(second, last[1])
            assert admin.call("r", "kept", kept) == "ok"
            assert admin.call("r", "key", last[1]) == "ok"
