"""A client can read the server's stats: clients from 1.9.0 on."""

import pytest

from .client_process import WAIT_SECONDS
from .observer import until_waiting
from .package import clients_with

pytestmark = pytest.mark.parametrize("client", clients_with("stats"), indirect=True, ids=str)


def test_the_stats_list_held_keys_waiters_and_idle_keys(server, start_client):
    process = start_client()
    lock, waiter = (process.lock("held", server, acquire_timeout_s=WAIT_SECONDS) for _ in range(2))
    slots = [process.semaphore("slots", server, limit=3) for _ in range(2)]
    idle = [process.lock("idle-lock", server), process.semaphore("idle-slots", server, limit=2)]
    assert all(one.acquire() and one.release() for one in idle)
    assert all(one.acquire() for one in [lock, *slots])
    waiter.begin("acquire")
    until_waiting(server, "held", 1)

    stats = start_client().connect(server).call("stats")
    assert set(stats) == {"connections", "locks", "semaphores", "idle_locks", "idle_semaphores"}
    assert stats["connections"] >= 5
    (held,) = stats["locks"]
    assert (held["key"], held["waiters"]) == ("held", 1)
    assert held["owner_conn_id"] > 0
    assert 0 < held["lease_expires_in_s"] <= 33
    assert stats["semaphores"] == [{"key": "slots", "limit": 3, "holders": 2, "waiters": 0}]
    assert [(kind, [entry["key"] for entry in stats[kind]])
            for kind in ("idle_locks", "idle_semaphores")] == [
                ("idle_locks", ["idle-lock"]), ("idle_semaphores", ["idle-slots"])]
    assert all(stats[kind][0]["idle_s"] >= 0 for kind in ("idle_locks", "idle_semaphores"))


def test_the_stats_of_a_thousand_keys_come_in_one_reply(server, start_client):
    connection = start_client().connect(server)
    keys = {f"key-{number:04}-{'x' * 100}" for number in range(1000)}
    for key in sorted(keys):
        connection.call("acquire", key, 0)
    stats = connection.call("stats")
    assert {entry["key"] for entry in stats["locks"]} == keys
