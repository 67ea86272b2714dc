"""Each refusal reaches the caller as the client's error for it.

Clients from 2.1.1 on have a class for each; older ones raise a RuntimeError with the reply.
"""

import pytest
from lib.server import Server

from .client_process import WAIT_SECONDS, ClientError
from .observer import held_keys, until, until_waiting
from .package import clients_with

pytestmark = pytest.mark.parametrize("client", clients_with("semaphore"), indirect=True, ids=str)


@pytest.fixture
def refused(client):
    """Checks that a call was refused with the reply, and with the class if the client has one."""
    def refused(call, answer, name):
        with pytest.raises(ClientError, match=f"'{answer}'") as caught:
            call()
        assert caught.value.names[0] == (name if client.has("errors") else "RuntimeError")
        assert "RuntimeError" in caught.value.names
    return refused


def test_a_key_over_the_limit_raises_its_error(start_client, refused):
    with Server("--max-locks", "1") as server:
        first, second = (start_client().lock(key, server) for key in ("first", "second"))
        slot = start_client().semaphore("first", server, limit=2)
        assert first.acquire() is True
        for call in second.acquire, second.enqueue, slot.acquire, slot.enqueue:
            refused(call, "error_max_locks", "MaxLocksError")
        assert first.release() is True
        assert first.acquire() is True


def test_a_waiter_over_the_limit_raises_its_error(start_client, refused):
    with Server("--max-waiters", "1") as server:
        holder, waiter, third = (
            start_client().lock("key", server, acquire_timeout_s=WAIT_SECONDS) for _ in range(3))
        assert holder.acquire() is True
        granted = waiter.begin("acquire")
        until_waiting(server, "key", 1)
        for call in third.acquire, third.enqueue:
            refused(call, "error_max_waiters", "MaxWaitersError")
        assert holder.release() is True
        assert granted.result(WAIT_SECONDS) is True


def test_a_different_limit_raises_its_error(server, start_client, refused):
    first, second = (start_client().semaphore("key", server, limit=limit) for limit in (2, 3))
    assert first.acquire() is True
    for call in second.acquire, second.enqueue:
        refused(call, "error_limit_mismatch", "LimitMismatchError")


@pytest.mark.parametrize("prefix", ["", "sem_"])
def test_a_wait_without_an_enqueue_raises_its_error(server, start_client, refused, prefix):
    connection = start_client().connect(server)
    refused(lambda: connection.call(f"{prefix}wait", "key", 0),
            "error_not_enqueued", "NotQueuedError")


@pytest.mark.parametrize("prefix, limit", [("", []), ("sem_", [2])])
def test_a_second_enqueue_raises_its_error(server, start_client, refused, prefix, limit):
    connection = start_client().connect(server)
    assert connection.call(f"{prefix}enqueue", "key", *limit)[0] == "acquired"
    refused(lambda: connection.call(f"{prefix}enqueue", "key", *limit),
            "error_already_enqueued", "AlreadyQueuedError")


def test_a_wait_after_a_lost_lease_raises_its_error(server, start_client, refused):
    connection = start_client().connect(server)
    status, token, lease = connection.call("enqueue", "key", 1)
    assert status == "acquired"
    until(lambda: not held_keys(server))
    refused(lambda: connection.call("wait", "key", 0),
            "error_lease_expired", "LeaseExpiredError")
    assert connection.call("enqueue", "key")[0] == "acquired"


def test_a_wait_at_a_draining_server_raises_its_error(server, start_client, refused):
    holder, waiter = (
        start_client().lock("key", server, acquire_timeout_s=WAIT_SECONDS) for _ in range(2))
    assert holder.acquire() is True
    waiting = waiter.begin("acquire")
    until_waiting(server, "key", 1)
    server.terminate()
    refused(lambda: waiting.result(WAIT_SECONDS), "error_draining", "DrainingError")
    assert holder.release() is True
    assert server.wait() == 0
