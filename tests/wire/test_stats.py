"""`stats` is valid JSON with the documented fields in their order, for every table."""

import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from lib.server import Server
from lib.wire_client import Client, eventually, request

FIELDS = ["connections", "locks", "semaphores", "idle_locks", "idle_semaphores"]
ENTRY_FIELDS = {
    "locks": ["key", "owner_conn_id", "lease_expires_in_s", "waiters"],
    "semaphores": ["key", "limit", "holders", "waiters"],
    "idle_locks": ["key", "idle_s"],
    "idle_semaphores": ["key", "idle_s"],
}


@pytest.fixture
def server():
    with Server() as running:
        yield running


@pytest.fixture
def client(server):
    with Client(server) as connected:
        yield connected


def checked_stats(client):
    """Returns the stats after checking their form."""
    client.send(request("stats"))
    line = client.read_line(60)
    assert isinstance(line, bytes) and line.startswith(b"ok {") and line.endswith(b"}\n")
    pairs = json.loads(line[3:].decode("utf-8"), object_pairs_hook=list)
    assert [name for name, _ in pairs] == FIELDS
    for name, entries in pairs[1:]:
        assert isinstance(entries, list)
        for entry in entries:
            assert [field for field, _ in entry] == ENTRY_FIELDS[name]
    stats = json.loads(line[3:])
    for name, fields in ENTRY_FIELDS.items():
        for entry in stats[name]:
            assert isinstance(entry["key"], str)
            assert all(isinstance(entry[field], (int, float)) for field in fields[1:])
    return stats


def test_an_empty_server_has_empty_lists(client):
    assert checked_stats(client) == {"connections": 1, "locks": [], "semaphores": [],
                                     "idle_locks": [], "idle_semaphores": []}


def test_a_lock_shows_its_lease_its_waiters_and_its_owner(server, client):
    client.acquire("key", "0 100")
    with Client(server) as waiter, Client(server) as other:
        waiter.send(request("l", "key", "60"))
        assert other.call("e", "key") == "queued"
        assert other.acquire("others", "0 5")
        locks = {}

        def both_wait():
            locks.update({lock["key"]: lock for lock in checked_stats(client)["locks"]})
            return locks["key"]["waiters"] == 2
        eventually(both_wait)
        assert set(locks) == {"key", "others"}
        assert 90 < locks["key"]["lease_expires_in_s"] <= 100
        assert 0 < locks["others"]["lease_expires_in_s"] <= 5
        assert locks["others"]["waiters"] == 0
        owners = [locks[key]["owner_conn_id"] for key in ("key", "others")]
        assert all(isinstance(owner, int) and owner >= 1 for owner in owners)
        assert owners[0] != owners[1]


def test_connection_ids_count_from_1(client):
    client.acquire("key")
    assert checked_stats(client)["locks"][0]["owner_conn_id"] == 1


def test_the_owner_does_not_change_when_another_connection_renews(server, client):
    token = client.acquire("key")
    owner = checked_stats(client)["locks"][0]["owner_conn_id"]
    with Client(server) as other:
        assert other.call("n", "key", f"{token} 50") == "ok 50"
        lock = checked_stats(other)["locks"][0]
    assert lock["owner_conn_id"] == owner
    assert 40 < lock["lease_expires_in_s"] <= 50


def test_the_owner_is_the_waiter_after_a_hand_over(server, client):
    token = client.acquire("key")
    before = checked_stats(client)["locks"][0]["owner_conn_id"]
    with Client(server) as waiter:
        assert waiter.call("e", "key", "20") == "queued"
        assert client.call("r", "key", token) == "ok"
        lock = checked_stats(client)["locks"][0]
        assert lock["owner_conn_id"] != before
        assert lock["waiters"] == 0
        assert 10 < lock["lease_expires_in_s"] <= 20


def test_a_semaphore_shows_its_limit_holders_and_waiters(server, client):
    for _ in range(3):
        assert client.call("sl", "key", "0 3").startswith("ok ")
    with Client(server) as other:
        assert other.call("se", "key", "3") == "queued"
        assert other.call("sl", "roomy", "0 1048576").startswith("ok ")
        listed = {entry["key"]: entry for entry in checked_stats(client)["semaphores"]}
    assert listed == {
        "key": {"key": "key", "limit": 3, "holders": 3, "waiters": 1},
        "roomy": {"key": "roomy", "limit": 1048576, "holders": 1, "waiters": 0}}


def test_a_semaphore_of_limit_1_is_listed_under_locks(client):
    token = client.call("sl", "key", "0 1 50").split()[1]
    stats = checked_stats(client)
    assert stats["semaphores"] == []
    [lock] = stats["locks"]
    assert lock["key"] == "key" and 40 < lock["lease_expires_in_s"] <= 50
    assert lock["owner_conn_id"] >= 1 and lock["waiters"] == 0
    assert client.call("sr", "key", token) == "ok"
    stats = checked_stats(client)
    assert stats["locks"] == [] and stats["semaphores"] == []
    assert [entry["key"] for entry in stats["idle_locks"] + stats["idle_semaphores"]] == ["key"]


def test_a_released_key_is_listed_idle_and_its_idle_time_grows(client):
    assert client.call("r", "one", client.acquire("one")) == "ok"
    token = client.call("sl", "two", "0 2").split()[1]
    assert client.call("sr", "two", token) == "ok"

    def idle():
        stats = checked_stats(client)
        assert stats["locks"] == [] and stats["semaphores"] == []
        [lock], [semaphore] = stats["idle_locks"], stats["idle_semaphores"]
        assert (lock["key"], semaphore["key"]) == ("one", "two")
        return lock["idle_s"], semaphore["idle_s"]
    first = idle()
    assert all(0 <= seconds < 30 for seconds in first)
    eventually(lambda: all(now > then for now, then in zip(idle(), first)))


def test_idle_keys_are_not_listed_once_collected():
    with Server("--gc-interval", "1", "--gc-max-idle", "0") as server, Client(server) as client:
        assert client.call("r", "one", client.acquire("one")) == "ok"
        client.acquire("two")
        eventually(lambda: checked_stats(client)["idle_locks"] == [])
        assert [lock["key"] for lock in checked_stats(client)["locks"]] == ["two"]


def test_the_connection_count_is_that_of_open_connections(server, client):
    others = [Client(server) for _ in range(20)]
    eventually(lambda: checked_stats(client)["connections"] == 21)
    for other in others:
        other.close()
    eventually(lambda: checked_stats(client)["connections"] == 1)


KEYS_IN_UTF_8 = ['"', "\\", '\\"', "/", "'", "\x01\x02\x1b\x1f\x7f", "\x00", "a\x00b",
                 "\x08\x0b\x0c", "é", "鍵", "🔒", "\u2028\u2029", "\ufeff", "\uffff",
                 "</script>", "{}", "%s%n",
                 "é" * 128, '"' * 256, "\x01" * 256, "\\" * 256]
KEYS_NOT_IN_UTF_8 = [
    b"\xff", b"\x80", b"\xc3", b"ab\xc3", b"\xe2\x82", b"\xf0\x9f\x94", b"\xc0\xaf",
    b"\xed\xa0\x80", b"\xed\xb2\x80", b"\xf4\x90\x80\x80", b"\xfe\xfe\xff\xff",
    b"\xff" * 256, b"\xc3" * 256,
    b"\xc3\"", b"\xe2\x82\\", b"\xf8\x88\x80\x80\x80", b"\xc1\xbf", b"\xe0\x80\x80",
    b"\xf0\x80\x80\x80"]


@pytest.mark.parametrize("key", KEYS_IN_UTF_8, ids=ascii)
def test_stats_show_a_utf_8_key_unchanged(client, key):
    token = client.acquire(key.encode())
    assert client.call("sl", key.encode(), "0 2").startswith("ok ")
    stats = checked_stats(client)
    assert [lock["key"] for lock in stats["locks"]] == [key]
    assert [entry["key"] for entry in stats["semaphores"]] == [key]
    assert client.call("r", key.encode(), token) == "ok"
    assert [entry["key"] for entry in checked_stats(client)["idle_locks"]] == [key]


@pytest.mark.parametrize("key", KEYS_NOT_IN_UTF_8, ids=ascii)
def test_a_key_not_in_utf_8_leaves_the_json_valid(client, key):
    client.acquire(key)
    client.acquire("after")
    keys = [lock["key"] for lock in checked_stats(client)["locks"]]
    assert len(keys) == 2 and "after" in keys


def test_every_key_of_two_bytes_leaves_the_json_valid():
    blanks = b" \t\r\n"
    keys = [bytes([first, second]) for first in range(256) for second in (0x22, 0x5c, 0x80, 0xbf)
            if first not in blanks]
    with Server("--max-locks", "2000") as server, Client(server) as client:
        client.send(b"".join(request("l", key, "0") for key in keys))
        assert all(client.read_line().startswith(b"ok ") for _ in keys)
        assert len(checked_stats(client)["locks"]) == len(keys)


def test_a_random_table_is_listed_in_full(seed):
    chance = random.Random(seed)
    keys = {bytes(chance.choice([byte for byte in range(256) if byte not in b" \t\r\n"])
                  for _ in range(chance.randrange(1, 30))) for _ in range(500)}
    with Server() as server, Client(server) as client:
        for key in keys:
            client.acquire(key)
        assert len(checked_stats(client)["locks"]) == len(keys)


def test_20000_keys_are_listed_while_another_connection_works():
    count = 20000
    keys = [f"key-{number}" for number in range(count)]
    with Server("--max-locks", str(count + 100)) as server, Client(server) as holder, \
            Client(server) as watcher, Client(server) as worker:
        feeder = threading.Thread(
            target=holder.send, args=(b"".join(request("l", key, "0 600") for key in keys),))
        feeder.start()
        assert all(holder.read_line().startswith(b"ok ") for _ in keys)
        feeder.join()

        stop = threading.Event()
        rounds, failures = [], []

        def work():
            try:
                while not stop.is_set():
                    assert worker.call("r", "busy", worker.acquire("busy")) == "ok"
                    rounds.append(1)
            except AssertionError as error:
                failures.append(error)
        thread = threading.Thread(target=work)
        thread.start()
        try:
            for _ in range(5):
                before = len(rounds)
                stats = checked_stats(watcher)
                listed = {lock["key"] for lock in stats["locks"]} - {"busy"}
                assert listed == set(keys)
                assert len(stats["locks"]) - len(listed) <= 1
                eventually(lambda before=before: failures or len(rounds) > before + 10)
        finally:
            stop.set()
            thread.join()
        assert not failures


def test_simultaneous_stats_replies_are_each_complete():
    with Server("--max-locks", "5000") as server, Client(server) as holder:
        holder.send(b"".join(request("l", f"key-{number}", "0") for number in range(3000)))
        assert all(holder.read_line().startswith(b"ok ") for _ in range(3000))
        clients = [Client(server) for _ in range(8)]
        for client in clients:
            client.send(request("stats") * 3 + request("ping"))
        for client in clients:
            for _ in range(3):
                line = client.read_line()
                assert len(json.loads(line[3:])["locks"]) == 3000
            assert client.read_line() == b"ok\n"
            client.close()


def churn(server, key, stop):
    """Acquires and releases the key until `stop` is set."""
    with Client(server) as client:
        while not stop.is_set():
            client.call("r", key, client.acquire(key))


def times_listed(stats, key):
    return sum(entry["key"] == key for name in ENTRY_FIELDS for entry in stats[name])


@pytest.mark.parametrize("threads", ["1", "2"])
def test_stats_list_a_changing_key_once(threads):
    with Server("--threads", threads, "--max-locks", "10000") as server:
        stop = threading.Event()
        keys = [f"churned-{number}" for number in range(3)]
        with Client(server) as client, Client(server) as holder:
            for number in range(2000):
                holder.acquire(f"held-{number}", "0 100")
            for key in keys:
                client.call("r", key, client.acquire(key))
            workers = [threading.Thread(target=churn, args=(server, key, stop)) for key in keys]
            for worker in workers:
                worker.start()
            try:
                for _ in range(100):
                    stats = checked_stats(client)
                    assert [times_listed(stats, key) for key in keys] == [1, 1, 1]
            finally:
                stop.set()
                for worker in workers:
                    worker.join()


def test_more_clients_than_walks_get_stats_while_some_do_not_read():
    """Slow readers keep their walks; further clients wait for a free walk, and are served."""
    with Server("--max-locks", "100000", "--write-timeout", "5") as server:
        with Client(server) as holder:
            for start in range(0, 20000, 1000):
                holder.send(b"".join(request("l", f"{'k' * 200}-{i}", "0 900")
                                     for i in range(start, start + 1000)))
                assert all(holder.read_line().startswith(b"ok ") for _ in range(1000))
            slow = [Client(server) for _ in range(14)]
            for client in slow:
                client.send(request("stats"))
            readers = [Client(server) for _ in range(4)]
            for client in readers:
                client.send(request("stats") + request("ping"))
            # All read at the same time: the write timeout closes a client that does not.
            with ThreadPoolExecutor(len(readers)) as pool:
                replies = list(pool.map(
                    lambda client: (client.read_line(60), client.read_line(60)), readers))
            for line, pong in replies:
                assert isinstance(line, bytes) and len(json.loads(line[3:])["locks"]) == 20000
                assert pong == b"ok\n"
            for client in slow + readers:
                client.close()
