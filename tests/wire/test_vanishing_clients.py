"""A client that vanishes in any state and way leaves nothing."""

import random
import time

import pytest
from bystander import WatchedServer
from lib.server import Server
from lib.wire_client import CLOSED, MEGABYTE, RESET, Client, eventually, request

AUTH = "s3cret"


def nothing_sent(watched):
    return watched.client()


def mid_line(watched):
    client = watched.client()
    client.send(b"l\nke")
    return client


def mid_request(watched):
    client = watched.client()
    client.send(b"l\nkey\n")
    return client


def mid_long_line(watched):
    client = watched.client()
    client.send(b"x" * 100000)
    return client


def held(watched):
    """Returns a key that another connection holds until the end of the test."""
    watched.holder = watched.client()
    watched.holder.acquire("held", "0 600")


def waits_for_it(watched):
    """Whether a client waits for the key."""
    return any(lock["key"] == "held" and lock["waiters"] for lock in
               watched.holder.stats()["locks"])


def blocked_l(watched):
    held(watched)
    client = watched.client()
    client.send(request("l", "held", "600"))
    eventually(lambda: waits_for_it(watched))
    return client


def blocked_w(watched):
    held(watched)
    client = watched.client()
    client.send(request("e", "held") + request("w", "held", "600"))
    assert client.read_line() == b"queued\n"
    eventually(lambda: waits_for_it(watched))
    return client


def blocked_with_more_behind(watched):
    client = blocked_l(watched)
    client.send(request("l", "more", "0") * 100)
    return client


def holding(watched):
    client = watched.client()
    for number in range(20):
        client.acquire(f"key-{number}", "0 600")
        assert client.call("sl", "slots", "0 50 600").startswith("ok ")
    return client


def enqueued(watched):
    held(watched)
    client = watched.client()
    assert client.call("e", "held") == "queued"
    assert client.call("e", "free", "600").startswith("acquired ")
    assert client.call("se", "held", "2 600").startswith("acquired ")
    return client


def auth_wait(watched):
    return Client(watched.server)


def auth_unfinished(watched):
    client = Client(watched.server)
    client.send(b"auth\n_\ns3c")
    return client


def auth_failed(watched):
    client = Client(watched.server)
    assert client.call("auth", "_", "wrong") == "error_auth"
    return client


def replies_unread(watched):
    client = watched.client()
    client.acquire("deaf", "0 600")
    client.send_until_blocked(request("ping") * (2 * MEGABYTE), seconds=0.3)
    return client


STATES = [nothing_sent, mid_line, mid_request, mid_long_line, blocked_l, blocked_w,
          blocked_with_more_behind, holding, enqueued, replies_unread]
BEFORE_AUTH = [auth_wait, auth_unfinished, auth_failed]
WAYS = ["reset", "close", "fin"]


def vanish(watched, state, way):
    watched.holder = None
    client = state(watched)
    getattr(client, way)()
    if way == "fin":
        # The client closes after the server's close, so that it is certainly gone.
        while isinstance(received := client.read_line(), bytes):
            pass
        assert received in (CLOSED, RESET)
        client.close()
    if watched.holder:
        eventually(lambda: not waits_for_it(watched))
        watched.holder.close()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_a_client_that_vanishes_leaves_nothing(state, way):
    with WatchedServer("--write-timeout", "1") as watched:
        vanish(watched, state, way)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("state", BEFORE_AUTH, ids=lambda state: state.__name__)
def test_a_client_that_vanishes_before_it_has_authenticated_leaves_nothing(state, way):
    with WatchedServer("--write-timeout", "1", auth=AUTH) as watched:
        vanish(watched, state, way)


def test_many_clients_that_vanish_at_once_leave_nothing(seed):
    chance = random.Random(seed)
    with WatchedServer("--write-timeout", "1") as watched:
        clients = []
        for number in range(300):
            client = watched.client()
            client.send(chance.choice([
                b"", b"l", b"l\nkey", request("l", "key", "600"), request("e", "key"),
                request("e", "key") + request("w", "key", "600"), request("sl", "key", "600 3"),
                request("se", "key", "3") + request("sw", "key", "600"),
                request("l", f"own-{number}", "0 600"), request("stats") * 20]))
            clients.append(client)
        watched.bystander.served()
        chance.shuffle(clients)
        for client in clients:
            getattr(client, chance.choice(WAYS))()
        watched.bystander.served()
        for client in clients:
            client.close()


@pytest.mark.parametrize("behind", [0, 9000], ids=["reading", "paused"])
@pytest.mark.parametrize("ends_first", [True, False])
def test_a_client_that_has_ended_is_not_granted_in_the_same_turn(behind, ends_first):
    """Nor is what it sent behind the request served. The server is stopped, so that the release
    and the end reach it at once."""
    with Server("--no-auto-release-on-disconnect", "--threads", "1") as server, \
            Client(server) as holder, Client(server) as waiter:
        token = holder.acquire("held", "0 600")
        waiter.send(request("l", "held", "30 600") + request("l", "other", "0 600") +
                    request("ping") * behind)
        eventually(lambda: any(lock["waiters"] for lock in holder.stats()["locks"]))
        time.sleep(0.2)  # until reading is paused
        with server.stopped():
            if ends_first:
                waiter.fin()
            holder.send(request("r", "held", token))
            waiter.fin()
        assert waiter.read_line() in (CLOSED, RESET)
        assert holder.read_line() == b"ok\n"
        assert holder.stats()["locks"] == []
