"""Draining: replies, closes, and the notification of the service manager."""

import socket

import pytest
from lib.server import Server
from lib.wire_client import CLOSED, Client, eventually, request

UNKNOWN = "0" * 32


def begin(server):
    """Sends SIGTERM, and returns when draining has begun."""
    server.terminate()
    eventually(lambda: any("msg=\"draining\"" in line for line in server.log))


def test_the_server_answers_unread_requests_before_the_close():
    with Server("--threads", "2") as server, Client(server) as client, Client(server) as other:
        assert client.call("ping") == other.call("ping") == "ok"
        with server.stopped():
            server.terminate()
            client.send(request("ping"))
            other.send(request("r", "key", UNKNOWN) * 3)
        # The order of the two is undefined.
        assert client.read_line() in (b"error_draining\n", b"ok\n")
        assert client.read_line() == CLOSED
        assert [other.read_line() for _ in range(4)] == [b"error\n"] * 3 + [CLOSED]
        client.close()
        other.close()
        assert server.wait() == 0


def test_the_server_answers_a_whole_flood_before_the_close():
    count = 20000
    with Server("--threads", "1", "--shutdown-timeout", "0") as server, Client(server) as client:
        assert client.call("ping") == "ok"
        with server.stopped():
            server.terminate()
            taken = client.send_until_blocked(request("r", "key", UNKNOWN) * count, 0.5)
        whole = taken // len(request("r", "key", UNKNOWN))
        assert whole > 100
        for _ in range(whole):
            assert client.read_line() == b"error\n"
        assert client.read_line() == CLOSED
        client.close()
        assert server.wait() == 0


def test_a_draining_server_closes_a_connection_whose_last_lease_another_released():
    with Server("--threads", "3", "--shutdown-timeout", "0") as server:
        with Client(server) as holder, Client(server) as other:
            token = holder.acquire("key")
            kept = other.acquire("another")
            begin(server)
            assert other.call("r", "key", token) == "ok"
            assert holder.read_line() == CLOSED
            assert other.call("n", "another", kept) == "ok 33"
            assert other.call("r", "another", kept) == "ok"
            assert other.read_line() == CLOSED
            holder.close()
            other.close()
            assert server.wait() == 0


def test_a_draining_server_renews_and_releases_for_a_holder():
    with Server("--threads", "2") as server, Client(server) as holder:
        token = holder.acquire("key", "0 2")
        begin(server)
        for _ in range(8):
            assert holder.read_line(0.5) == "(silence)"
            assert holder.call("n", "key", f"{token} 2") == "ok 2"
        assert holder.call("r", "key", token) == "ok"
        assert holder.read_line() == CLOSED
        holder.close()
        assert server.wait() == 0


def test_a_draining_server_does_not_grant_released_locks():
    with Server("--threads", "4") as server, Client(server) as holder:
        token = holder.acquire("key")
        kept = holder.acquire("kept")
        with Client(server) as waiter, Client(server) as queued:
            waiter.acquire("other")
            queued.acquire("third")
            assert queued.call("e", "key") == "queued"
            waiter.send(request("l", "key", "60"))
            eventually(lambda: [each["waiters"] for each in holder.stats()["locks"]
                                if each["key"] == "key"] == [2])
            begin(server)
            assert waiter.read_line() == b"error_draining\n"
            assert holder.call("r", "key", token) == "ok"
            assert queued.call("w", "key", "10") == "error_draining"
            assert waiter.read_line(0.5) == "(silence)"
        assert holder.call("r", "kept", kept) == "ok"


@pytest.mark.parametrize("threads", ["1", "8"])
def test_a_server_drains_without_limit_until_leases_of_all_workers_end(threads):
    with Server("--threads", threads, "--shutdown-timeout", "0") as server:
        clients = [Client(server) for _ in range(16)]
        for number, client in enumerate(clients):
            client.acquire(f"key-{number}", f"0 {1 + number % 3}")
        begin(server)
        for client in clients:
            assert client.read_line() == CLOSED
            client.close()
        assert server.wait() == 0


def test_a_draining_server_closes_a_silent_new_connection():
    with Server("--shutdown-timeout", "0", "--read-timeout", "1000") as server:
        with Client(server) as silent, Client(server) as half:
            half.send(b"l\nkey\n")
            with Client(server) as client:
                assert client.call("ping") == "ok"
            begin(server)
            assert silent.read_line() == half.read_line() == CLOSED
            silent.close()
            half.close()
            assert server.wait() == 0


def test_the_server_notifies_systemd_when_draining_begins(tmp_path):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(20)
        with Server(environment={"NOTIFY_SOCKET": path}) as server, Client(server) as holder:
            assert b"READY=1" in manager.recv(4096)
            token = holder.acquire("key")
            server.terminate()
            assert manager.recv(4096) == b"STOPPING=1"
            assert holder.call("n", "key", token) == "ok 33"
            assert holder.call("r", "key", token) == "ok"
            holder.close()
            assert server.wait() == 0
            manager.setblocking(False)
            with pytest.raises(BlockingIOError):
                manager.recv(4096)


@pytest.mark.parametrize("holders", [0, 2])
def test_the_log_counts_the_holders_that_the_shutdown_timeout_cuts_off(holders):
    with Server("--threads", "2", "--shutdown-timeout", "1") as server, Client(server) as first, \
            Client(server) as second, Client(server) as waiter:
        if holders:
            first.acquire("key", "0 60")
            second.acquire("other", "0 60")
            waiter.send(request("l", "key", "60"))
        server.terminate()
        assert server.wait() == 0
        found = [line for line in server.log if "--shutdown-timeout" in line]
        assert len(found) == (1 if holders else 0)
        assert all("level=WARN " in line and "connections=2\n" in line for line in found)
