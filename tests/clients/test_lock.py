"""Every published client holds a lock alone, and gets it in request order."""

import contextlib
import time

import pytest
from lib.server import Server

from .client_process import LOCK, WAIT_SECONDS, ClientError
from .entry_log import fences, is_rising
from .observer import call, held_keys, until, until_waiting, waiters

LONG_LEASE_SECONDS = 600


def test_a_lock_is_held_from_acquire_to_release(server, start_client):
    lock = start_client().lock("key", server)
    assert lock.acquire() is True
    assert (len(lock.token), lock.lease) == (32, 33)
    assert held_keys(server) == {"key"}
    assert lock.release() is True
    assert lock.token is None
    assert held_keys(server) == set()


def test_a_lock_is_held_inside_a_with_statement(server, start_client):
    lock = start_client().lock("key", server, lease_ttl_s=50)
    assert lock.call("enter") is True
    assert (len(lock.token), lock.lease) == (32, 50)
    assert held_keys(server) == {"key"}
    lock.call("leave", None, None, None)
    assert held_keys(server) == set()


def test_a_lock_object_can_be_used_again(server, start_client):
    lock = start_client().lock("key", server)
    tokens = []
    for _ in range(3):
        assert lock.acquire()
        tokens.append(lock.token)
        assert lock.release()
    assert is_rising(fences(tokens))


def test_a_second_client_waits_and_gets_the_lock_at_its_release(server, start_client):
    first = start_client().lock("key", server)
    second = start_client().lock("key", server, acquire_timeout_s=WAIT_SECONDS)
    assert first.acquire()
    token = first.token
    granted = second.begin("acquire")
    until_waiting(server, "key", 1)
    assert not granted.done()
    assert first.release()
    assert granted.result(WAIT_SECONDS) is True
    assert is_rising(fences([token, second.token]))
    assert second.release()


@pytest.mark.parametrize("timeout", [0, 1])
def test_an_acquire_of_a_held_lock_times_out(server, start_client, timeout):
    holder = start_client().lock("key", server)
    rival = start_client().lock("key", server, acquire_timeout_s=timeout)
    assert holder.acquire()
    assert rival.acquire() is False
    with pytest.raises(ClientError) as caught:
        rival.call("enter")
    assert "TimeoutError" in caught.value.names
    assert waiters(server, "key") == 0
    assert holder.release()
    assert rival.acquire() is True


def test_a_silent_holder_and_a_silent_waiter_outlive_the_read_timeout(start_client):
    with Server("--read-timeout", "1") as server:
        holder = start_client().lock("key", server, lease_ttl_s=6)
        waiter = start_client().lock("key", server, acquire_timeout_s=WAIT_SECONDS)
        assert holder.acquire()
        granted = waiter.begin("acquire")
        time.sleep(2)  # the client renews at 3
        assert holder.release() is True
        assert granted.result(WAIT_SECONDS) is True


@pytest.mark.long
def test_the_client_renews_the_lease_of_a_held_lock(server, start_client):
    holder = start_client().lock("key", server, lease_ttl_s=3)
    rival = start_client().lock("key", server, acquire_timeout_s=0)
    waiter = start_client().lock("key", server, acquire_timeout_s=6)
    assert holder.acquire()
    token = holder.token
    given_up = waiter.begin("acquire")
    # More than two leases. The client renews at 6.0 s, so the end is not at a renewal.
    end = time.monotonic() + 6.3
    while time.monotonic() < end:
        assert rival.acquire() is False
        time.sleep(0.25)
    assert given_up.result(WAIT_SECONDS) is False
    assert holder.token == token
    assert holder.release() is True
    assert rival.acquire() is True


def test_a_stopped_client_loses_its_lease_to_the_next_waiter(server, start_client):
    stopped, waiting = start_client(), start_client()
    lost = stopped.lock("key", server, lease_ttl_s=2)
    lock = waiting.lock("key", server, acquire_timeout_s=WAIT_SECONDS)
    assert lost.acquire()
    token = lost.token
    stopped.pause()
    assert lock.acquire() is True
    assert is_rising(fences([token, lock.token]))
    # The resumed client learns of the loss at its next renewal, and cannot release the lock.
    stopped.resume()
    until(lambda: any("lost (renew failed)" in line for line in stopped.log))
    with contextlib.suppress(ClientError):
        lost.release()
    assert call(server, "n", "key", lock.token) == "ok 33"
    assert lock.release() is True


def test_a_lease_that_is_never_renewed_passes_to_the_next_waiter(server, start_client):
    connection = start_client().connect(server)
    waiter = start_client().lock("key", server, acquire_timeout_s=WAIT_SECONDS)
    token, lease = connection.call("acquire", "key", 0, 1)
    assert lease == 1
    assert waiter.acquire() is True
    for function in "renew", "release":
        with pytest.raises(ClientError, match="'error'") as caught:
            connection.call(function, "key", token)
        assert "RuntimeError" in caught.value.names
    assert waiter.release() is True


def test_the_module_functions_hold_a_lock(server, start_client):
    first, second = start_client().connect(server), start_client().connect(server)
    token, lease = first.call("acquire", "key", 5)
    assert (len(token), lease) == (32, 33)
    with pytest.raises(ClientError) as caught:
        second.call("acquire", "key", 0)
    assert "TimeoutError" in caught.value.names
    assert first.call("renew", "key", token, 70) == 70
    assert first.call("release", "key", token) is None
    later, lease = second.call("acquire", "key", 0, 44)
    assert lease == 44
    assert is_rising(fences([token, later]))


def test_a_killed_holder_frees_its_lock_for_the_waiter(server, start_client):
    killed = start_client()
    holder = killed.lock("key", server, lease_ttl_s=LONG_LEASE_SECONDS)
    waiter = start_client().lock("key", server, acquire_timeout_s=WAIT_SECONDS)
    assert holder.acquire()
    granted = waiter.begin("acquire")
    until_waiting(server, "key", 1)
    killed.kill()
    assert granted.result(WAIT_SECONDS) is True


def test_the_server_skips_a_killed_waiter(server, start_client):
    killed = start_client()
    holder, second = start_client().lock("key", server), start_client().lock("key", server)
    assert holder.acquire()
    killed.lock("key", server, acquire_timeout_s=WAIT_SECONDS).begin("acquire")
    until_waiting(server, "key", 1)
    granted = second.begin("acquire")
    until_waiting(server, "key", 2)
    killed.kill()
    until_waiting(server, "key", 1)
    assert holder.release()
    assert granted.result(WAIT_SECONDS) is True


def test_nine_workers_get_the_lock_in_request_order(server, start_client):
    process = start_client()
    holder = process.lock("key", server)
    assert holder.acquire()
    tokens = [holder.token]
    workers = [process.lock("key", server, acquire_timeout_s=WAIT_SECONDS) for _ in range(9)]
    granted = []
    for place, worker in enumerate(workers, start=1):
        granted.append(worker.begin("acquire"))
        until_waiting(server, "key", place)
    for place, worker in enumerate(workers):
        assert holder.release()
        assert granted[place].result(WAIT_SECONDS) is True
        assert not any(later.done() for later in granted[place + 1:])
        holder = worker
        tokens.append(holder.token)
    assert is_rising(fences(tokens))


def test_nine_workers_never_overlap(server, start_client, entry_log):
    running = start_client().begin_rounds(entry_log, LOCK, "key", server, workers=9, rounds=5)
    running.result(WAIT_SECONDS)
    assert entry_log.most_inside() == 1
    tokens = entry_log.tokens()
    assert len(tokens) == 45
    assert is_rising(fences(tokens))
