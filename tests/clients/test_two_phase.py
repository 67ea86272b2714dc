"""Enqueue takes a place in the queue, wait waits for the grant: clients from 0.5.0 on."""

import pytest

from .client_process import WAIT_SECONDS, ClientError
from .entry_log import fences, is_rising
from .observer import held_keys, until_waiting, waiters
from .package import clients_with

pytestmark = pytest.mark.parametrize("client", clients_with("two_phase"), indirect=True, ids=str)


def test_enqueue_acquires_a_free_lock_at_once(server, start_client):
    lock = start_client().lock("key", server, lease_ttl_s=40)
    assert lock.enqueue() == "acquired"
    token = lock.token
    assert (len(token), lock.lease) == (32, 40)
    assert lock.wait() is True
    assert lock.token == token
    assert lock.release() is True
    assert held_keys(server) == set()


def test_wait_gets_the_lock_in_its_turn(server, start_client):
    holder, queued = (start_client().lock("key", server) for _ in range(2))
    assert holder.enqueue() == "acquired"
    token = holder.token
    assert queued.enqueue() == "queued"
    assert queued.token is None
    granted = queued.begin("wait", WAIT_SECONDS)
    assert not granted.done()
    assert holder.release()
    assert granted.result(WAIT_SECONDS) is True
    assert queued.lease == 33
    assert is_rising(fences([token, queued.token]))
    assert queued.release() is True


def test_wait_returns_at_once_after_a_grant(server, start_client):
    holder, queued = (start_client().lock("key", server) for _ in range(2))
    assert holder.acquire()
    assert queued.enqueue() == "queued"
    assert holder.release()
    assert held_keys(server) == {"key"}
    assert queued.wait(0) is True
    assert queued.release() is True


def test_a_wait_that_times_out_leaves_the_queue(server, start_client):
    holder, queued = (start_client().lock("key", server) for _ in range(2))
    assert holder.acquire()
    assert queued.enqueue() == "queued"
    assert waiters(server, "key") == 1
    assert queued.wait(1) is False
    assert waiters(server, "key") == 0
    assert holder.release()
    assert held_keys(server) == set()


def test_enqueue_sets_the_order_not_wait(server, start_client):
    process = start_client()
    holder, first, second = (process.lock("key", server) for _ in range(3))
    assert holder.acquire()
    assert first.enqueue() == second.enqueue() == "queued"
    second_granted = second.begin("wait", WAIT_SECONDS)
    first_granted = first.begin("wait", WAIT_SECONDS)
    assert holder.release()
    assert first_granted.result(WAIT_SECONDS) is True
    assert not second_granted.done()
    assert first.release()
    assert second_granted.result(WAIT_SECONDS) is True


def test_a_killed_client_loses_its_place_in_the_queue(server, start_client):
    killed = start_client()
    holder, second = start_client().lock("key", server), start_client().lock("key", server)
    assert holder.acquire()
    assert killed.lock("key", server).enqueue() == "queued"
    assert second.enqueue() == "queued"
    killed.kill()
    until_waiting(server, "key", 1)
    assert holder.release()
    assert second.wait(WAIT_SECONDS) is True


def test_the_module_functions_do_both_phases(server, start_client):
    first, second = start_client().connect(server), start_client().connect(server)
    status, token, lease = first.call("enqueue", "key", 50)
    assert (status, len(token), lease) == ("acquired", 32, 50)
    assert second.call("enqueue", "key") == ["queued", None, None]
    with pytest.raises(ClientError) as caught:
        second.call("wait", "key", 0)
    assert "TimeoutError" in caught.value.names
    assert second.call("enqueue", "key", 60) == ["queued", None, None]
    assert first.call("wait", "key", 0) == [token, 50]
    assert first.call("release", "key", token) is None
    later, lease = second.call("wait", "key", WAIT_SECONDS)
    assert lease == 60
    assert is_rising(fences([token, later]))
    assert second.call("release", "key", later) is None
