"""The limit of buffered bytes: the server closes connections with much, and serves the others."""

import os
import socket
from contextlib import ExitStack

import pytest
from lib.certificates import Authority
from lib.server import Server
from lib.tls import TlsServer
from lib.wire_client import Client, eventually, request

MEGABYTE = 1 << 20
CAP = 16  # MiB
CLIENTS = 300
BEHIND = request("ping") * 7000  # each client sends 63 KB behind a blocked request


@pytest.fixture(params=["plain", "tls"])
def start(request, tmp_path):
    pair = Authority(tmp_path).issue("server") if request.param == "tls" else None
    options = f"--max-buffered-mib={CAP}", "--threads=1", "--write-timeout=60"
    return lambda *more: (TlsServer(pair, *options, *more) if pair else Server(*options, *more))


def memory_of(server):
    with open(f"/proc/{server.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))


def assert_bounded(server, before):
    """Checks that the server's memory has grown by the limit and a constant at most."""
    if "asan" not in os.environ.get("DFLOCKD", ""):  # a sanitizer keeps freed memory
        assert memory_of(server) - before < (CAP + 24) * MEGABYTE


def closed(client):
    client.socket.settimeout(0.02)
    try:
        return client.socket.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_connections_with_much_behind_a_blocked_request_are_closed(start):
    with start() as server, ExitStack() as stack:
        other = stack.enter_context(Client(server))
        token = other.acquire("key")
        before = memory_of(server)
        clients = [stack.enter_context(Client(server)) for _ in range(CLIENTS)]
        for client in clients:
            client.send(request("l", "key", "600") + BEHIND)
        eventually(lambda: any(map(closed, clients)))
        assert_bounded(server, before)
        assert other.call("ping") == "ok"
        assert other.call("n", "key", token) == "ok 33"
        for client in clients:
            client.close()
        eventually(lambda: other.stats()["connections"] == 1)
        with Client(server) as new:
            new.send(request("l", "key", "600") + BEHIND)
            eventually(lambda: other.stats()["locks"][0]["waiters"] == 1)
            assert other.call("r", "key", token) == "ok"
            assert new.read_line().startswith(b"ok ")
            assert all(new.read_line() == b"ok\n" for _ in range(7000))


def test_connections_that_do_not_read_are_closed(start):
    with start("--max-locks=3000") as server, ExitStack() as stack:
        other = stack.enter_context(Client(server))
        for number in range(2000):
            other.send(request("l", f"{number:0200}", "0 600"))
        assert all(other.read_line().startswith(b"ok ") for _ in range(2000))
        before = memory_of(server)
        clients = [stack.enter_context(Client(server)) for _ in range(CLIENTS)]
        for client in clients:
            getattr(client.socket, "plain", client.socket).setsockopt(
                socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.send(request("stats") * 30)
        assert_bounded(server, before)
        assert other.call("ping") == "ok"
        for client in clients:
            client.close()
        eventually(lambda: other.stats()["connections"] == 1)
