"""Published clients and clients with shared locks exclude each other on one key."""

import pytest
from lib.wire_client import SILENCE, Client

from .client_process import WAIT_SECONDS
from .entry_log import fences, is_rising
from .observer import held_keys, until_waiting
from .package import clients_with


def share(client):
    """Acquires the key shared at once, and returns the token."""
    reply = client.call("rl", "key", "0 600").split()
    assert reply[0] == "ok", reply
    return reply[1]


def test_readers_wait_for_a_published_client(server, start_client):
    lock = start_client().lock("key", server)
    assert lock.acquire()
    with Client(server) as one, Client(server) as other:
        assert one.call("rl", "key", "0") == "timeout"
        for place, client in enumerate((one, other)):
            client.send(f"rl\nkey\n{WAIT_SECONDS}\n".encode())
            until_waiting(server, "key", place + 1)
        token = lock.token
        assert one.read_line(seconds=0) == SILENCE
        assert lock.release()
        replies = [client.read_line().split() for client in (one, other)]
        assert [reply[0] for reply in replies] == [b"ok", b"ok"]
        assert is_rising(fences([token, *(reply[1].decode() for reply in replies)]))


def test_a_published_client_waits_for_all_readers(server, start_client):
    lock = start_client().lock("key", server, acquire_timeout_s=WAIT_SECONDS)
    with Client(server) as one, Client(server) as other, Client(server) as late:
        tokens = [share(one), share(other)]
        acquired = lock.begin("acquire")
        until_waiting(server, "key", 1)
        assert late.call("rl", "key", "0") == "timeout"  # no reader passes it
        assert one.call("r", "key", tokens[0]) == "ok"
        until_waiting(server, "key", 1)
        assert not acquired.done()
        assert other.call("r", "key", tokens[1]) == "ok"
        assert acquired.result(WAIT_SECONDS) is True
        assert is_rising(fences([*tokens, lock.token]))
        assert late.call("rl", "key", "0") == "timeout"
        assert lock.release()
        assert held_keys(server) == set()


def test_a_published_client_that_gives_up_lets_readers_pass(server, start_client):
    lock = start_client().lock("key", server, acquire_timeout_s=1)
    with Client(server) as one, Client(server) as other:
        token = share(one)
        assert lock.acquire() is False
        later = share(other)
        assert is_rising(fences([token, later]))


@pytest.mark.parametrize("client", clients_with("two_phase"), ids=str, indirect=True)
def test_a_published_client_enqueues_between_readers(server, start_client):
    lock = start_client().lock("key", server, acquire_timeout_s=WAIT_SECONDS)
    with Client(server) as one, Client(server) as other:
        token = share(one)
        assert lock.enqueue() == "queued"
        assert other.call("re", "key") == "queued"
        assert one.call("r", "key", token) == "ok"
        assert lock.wait(WAIT_SECONDS) is True
        assert other.call("w", "key", "0") == "timeout"
        assert other.call("re", "key") == "queued"
        between = lock.token
        assert lock.release()
        later = other.call("w", "key", "0").split()[1]
        assert is_rising(fences([token, between, later]))
