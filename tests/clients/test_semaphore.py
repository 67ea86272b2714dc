"""A semaphore has exactly as many holders as its limit allows: clients from 1.9.0 on."""

import time

import pytest

from .client_process import SEMAPHORE, WAIT_SECONDS, ClientError
from .observer import entry, until_waiting
from .package import clients_with

pytestmark = pytest.mark.parametrize("client", clients_with("semaphore"), indirect=True, ids=str)

LIMIT = 3


def test_the_limit_of_holders_is_reached_and_the_next_one_waits(server, start_client):
    process = start_client()
    inside = [process.semaphore("key", server, limit=LIMIT) for _ in range(LIMIT)]
    waiting = start_client().semaphore("key", server, limit=LIMIT, acquire_timeout_s=WAIT_SECONDS)
    rival = start_client().semaphore("key", server, limit=LIMIT, acquire_timeout_s=0)
    assert all(one.acquire() for one in inside)
    assert len({one.token for one in inside}) == LIMIT
    assert rival.acquire() is False
    granted = waiting.begin("acquire")
    until_waiting(server, "key", 1)
    assert not granted.done()
    assert inside[1].release() is True
    assert granted.result(WAIT_SECONDS) is True
    assert rival.acquire() is False
    assert waiting.release() is True
    assert rival.acquire() is True


def test_nine_workers_never_exceed_the_limit(server, start_client, entry_log):
    running = start_client().begin_rounds(entry_log, SEMAPHORE, "key", server, workers=9, rounds=5,
                                          limit=LIMIT)
    running.result(WAIT_SECONDS)
    assert 1 < entry_log.most_inside() <= LIMIT
    assert len(set(entry_log.tokens())) == 45


def test_nine_workers_get_slots_in_request_order(server, start_client):
    process = start_client()
    inside = [process.semaphore("key", server, limit=LIMIT) for _ in range(LIMIT)]
    assert all(one.acquire() for one in inside)
    workers = [process.semaphore("key", server, limit=LIMIT, acquire_timeout_s=WAIT_SECONDS)
               for _ in range(9)]
    granted = []
    for place, worker in enumerate(workers, start=1):
        granted.append(worker.begin("acquire"))
        until_waiting(server, "key", place)
    for place, leaving in enumerate(inside + workers[:6]):
        assert leaving.release()
        assert granted[place].result(WAIT_SECONDS) is True
        assert not any(later.done() for later in granted[place + 1:])


@pytest.mark.long
def test_the_client_renews_the_lease_of_a_slot(server, start_client):
    holder = start_client().semaphore("key", server, limit=2, lease_ttl_s=3)
    other = start_client().semaphore("key", server, limit=2)
    rival = start_client().semaphore("key", server, limit=2, acquire_timeout_s=0)
    assert holder.acquire() and other.acquire()
    end = time.monotonic() + 4.3
    while time.monotonic() < end:
        assert rival.acquire() is False
        time.sleep(0.25)
    assert holder.release() is True
    assert rival.acquire() is True


def test_a_killed_holder_frees_its_slot(server, start_client):
    killed, process = start_client(), start_client()
    holders = [owner.semaphore("key", server, limit=2, lease_ttl_s=600)
               for owner in (killed, process)]
    waiting = process.semaphore("key", server, limit=2, acquire_timeout_s=WAIT_SECONDS)
    assert all(holder.acquire() for holder in holders)
    granted = waiting.begin("acquire")
    until_waiting(server, "key", 1)
    killed.kill()
    assert granted.result(WAIT_SECONDS) is True
    assert entry(server, "key")["holders"] == 2


def test_a_lock_and_a_semaphore_of_one_name_are_separate(server, start_client):
    process = start_client()
    lock, semaphore = process.lock("key", server), process.semaphore("key", server, limit=LIMIT)
    assert lock.acquire() and semaphore.acquire()
    assert lock.release() is True
    assert semaphore.release() is True


def test_a_semaphore_has_both_phases(server, start_client):
    first, second = (start_client().semaphore("key", server, limit=2) for _ in range(2))
    third = start_client().semaphore("key", server, limit=2)
    assert first.enqueue() == second.enqueue() == "acquired"
    assert third.enqueue() == "queued"
    granted = third.begin("wait", WAIT_SECONDS)
    assert not granted.done()
    assert second.release() is True
    assert granted.result(WAIT_SECONDS) is True
    assert third.wait() is True
    assert third.release() is True


def test_the_module_functions_hold_a_slot(server, start_client):
    first, second, third = (start_client().connect(server) for _ in range(3))
    token, lease = first.call("sem_acquire", "key", 0, 2, 50)
    assert (len(token), lease) == (32, 50)
    status, other, lease = second.call("sem_enqueue", "key", 2, 60)
    assert (status, lease) == ("acquired", 60)
    assert third.call("sem_enqueue", "key", 2) == ["queued", None, None]
    with pytest.raises(ClientError) as caught:
        third.call("sem_wait", "key", 0)
    assert "TimeoutError" in caught.value.names
    assert first.call("sem_renew", "key", token, 70) == 70
    assert second.call("sem_wait", "key", 0) == [other, 60]
    assert second.call("sem_release", "key", other) is None
    assert third.call("sem_acquire", "key", 0, 2)[1] == 33
