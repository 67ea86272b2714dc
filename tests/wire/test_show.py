"""`show` of many holders and waiters, on several workers, over a Unix socket and TLS."""

import json
from contextlib import ExitStack

import pytest
from lib.certificates import Authority
from lib.server import Server
from lib.tls import TlsServer
from lib.wire_client import Client, eventually, request
from test_unix_socket import UnixServer

SHOWN = 100
MANY = 150


def show(client, key, kind="l"):
    reply = client.call("show", key, kind)
    assert reply.startswith("ok "), reply[:200]
    return json.loads(reply[3:])


def address(client):
    return "%s:%d" % client.socket.getsockname()


@pytest.mark.parametrize("threads", ["1", "2", "5"])
def test_show_lists_the_first_100_holders_and_waiters_in_their_order(threads):
    with ExitStack() as stack:
        server = stack.enter_context(Server("--threads", threads))
        holders = [stack.enter_context(Client(server)) for _ in range(MANY)]
        waiters = [stack.enter_context(Client(server)) for _ in range(MANY)]
        fences = []
        for number, client in enumerate(holders):
            assert client.call("name", "_", f"holder {number}") == "ok"
            fences.append(client.call("sl", "key", f"0 {MANY}").split()[1][:16])
        for number, client in enumerate(waiters):
            assert client.call("name", "_", f"waiter {number}") == "ok"
            assert client.call("se", "key", str(MANY)) == "queued"
        with Client(server) as client:
            shown = show(client, "key", "s")
            assert shown["holder_count"] == shown["waiter_count"] == MANY
            assert shown["limit"] == MANY and shown["kind"] == "semaphore"
            assert [entry["fence"] for entry in shown["holders"]] == fences[:SHOWN]
            assert [entry["position"] for entry in shown["waiters"]] == list(range(1, SHOWN + 1))
            for kind, clients, entries in (("holder", holders, shown["holders"]),
                                           ("waiter", waiters, shown["waiters"])):
                assert len({entry["connection"] for entry in entries}) == SHOWN
                for number, entry in enumerate(entries):
                    assert entry["name"] == f"{kind} {number}"
                    assert entry["address"] == address(clients[number])
            assert all(entry["timeout_in_s"] is None for entry in shown["waiters"])
            # The next ones follow.
            for gone in holders[:60]:
                gone.close()
            eventually(lambda: show(client, "key", "s")["waiter_count"] == MANY - 60)
            shown = show(client, "key", "s")
            assert shown["holder_count"] == MANY
            assert [entry["name"] for entry in shown["holders"]] == (
                [f"holder {number}" for number in range(60, MANY)] +
                [f"waiter {number}" for number in range(10)])
            assert shown["waiters"][0]["name"] == "waiter 60"
            assert len(shown["waiters"]) == MANY - 60


def test_replies_of_show_may_be_pipelined():
    with Server() as server, Client(server) as holder, Client(server) as client:
        for _ in range(120):
            assert holder.call("sl", "key", "0 200").startswith("ok ")
        client.send((request("show", "key", "s") + request("ping")) * 300)
        for _ in range(300):
            assert len(json.loads(client.read_line()[3:])["holders"]) == SHOWN
            assert client.read_line() == b"ok\n"


def test_show_reports_unix_clients_without_an_address(tmp_path):
    with UnixServer(tmp_path / "socket") as server, Client(server) as client:
        client.acquire("key")
        assert show(client, "key")["holders"][0]["address"] == "unix"


def test_show_reports_clients_of_an_ipv6_socket_as_the_log_does():
    with Server("--host", "::1") as server, Client(server) as client:
        client.acquire("key")
        port = client.socket.getsockname()[1]
        assert show(client, "key")["holders"][0]["address"] == f"[::1]:{port}"


def test_names_work_over_tls(tmp_path):
    authority = Authority(tmp_path)
    with TlsServer(authority.issue("server"), authority=authority) as server, \
            Client(server) as client:
        assert client.call("name", "_", "over TLS") == "ok"
        client.acquire("key")
        holder, = show(client, "key")["holders"]
        assert holder["name"] == "over TLS" and holder["address"].startswith("127.0.0.1:")
