"""SIGTERM: what ends, what is still served, and what probes see."""

import time

import pytest
from lib.http_client import Http, HttpServer, Session
from lib.wire_client import Client, eventually
from waiting import wait_for_waiters

DRAINING = (503, "draining")


def outcome(response):
    return response.status, response.error


@pytest.fixture
def draining():
    """A draining server; a session that holds `key`, and another that waited for it."""
    with HttpServer("--shutdown-timeout=30") as server, Session(server) as holder, \
            Session(server) as waiter, Client(server) as tcp:
        holder.token = holder.acquire("key", lease_ttl_s=60)
        blocked = waiter.start_acquire("key", 60)
        wait_for_waiters(tcp, "key", 1)
        server.terminate()
        assert outcome(blocked.answer()) == DRAINING
        yield server, holder, waiter


def test_probes_see_the_drain(draining):
    server, holder, _ = draining
    with Http(server) as http:  # a new connection is accepted
        assert http.call("GET", "/health").body == b'{"status":"ok"}\n'
        response = http.call("GET", "/ready")
        assert (response.status, response.body) == (503, b'{"status":"draining"}\n')
        assert http.call("HEAD", "/ready").status == 503
    assert holder.release("key", holder.token).status == 204
    assert server.wait() == 0


def test_release_renew_and_ping_are_served(draining):
    server, holder, waiter = draining
    assert holder.renew("key", holder.token).status == 200
    assert holder.ping().status == 204
    assert waiter.ping().status == 204
    assert holder.release("key", "0" * 32).error == "not_held"
    assert holder.release("key", holder.token).status == 204
    assert server.wait() == 0


def test_a_release_on_a_new_connection_is_served(draining):
    server, holder, _ = draining
    response = holder.start("/v1/locks/key/release", {"token": holder.token}).answer()
    assert response.status == 204
    assert server.wait() == 0


@pytest.mark.parametrize("method, path, body", [
    ("POST", "/v1/sessions", None), ("POST", "/v1/locks/new", {"acquire_timeout_s": 0}),
    ("POST", "/v1/locks/new/enqueue", None), ("POST", "/v1/locks/key/wait", {"timeout_s": 0}),
    ("POST", "/v1/semaphores/s", {"acquire_timeout_s": 0, "limit": 1}), ("GET", "/v1/stats", None),
    ("GET", "/v1/locks/key", None)])
def test_all_else_is_503(draining, method, path, body):
    _, holder, _ = draining
    assert outcome(holder.call(path, body, method)) == DRAINING


def test_the_server_ends_when_the_last_lease_does():
    with HttpServer("--shutdown-timeout=30") as server, Session(server) as holder:
        holder.acquire("key", lease_ttl_s=2)
        begun = time.monotonic()
        server.terminate()
        assert server.wait() == 0
        assert 1 < time.monotonic() - begun < 10


def test_a_server_without_leases_ends_at_once():
    with HttpServer("--shutdown-timeout=30") as server, Session(server), Http(server) as idle:
        assert idle.call("GET", "/health").status == 200
        begun = time.monotonic()
        server.terminate()
        assert server.wait() == 0
        assert time.monotonic() - begun < 5


def test_the_shutdown_timeout_ends_the_wait():
    with HttpServer("--shutdown-timeout=1") as server, Session(server) as holder:
        holder.acquire("key", lease_ttl_s=600)
        begun = time.monotonic()
        server.terminate()
        server.wait()
        assert 0.8 < time.monotonic() - begun < 6


def test_a_second_signal_ends_the_wait():
    with HttpServer("--shutdown-timeout=60") as server, Session(server) as holder:
        holder.acquire("key", lease_ttl_s=600)
        server.terminate()
        eventually(lambda: holder.http.call("GET", "/ready").status == 503)
        server.terminate()
        server.wait(10)


def test_a_tcp_holder_keeps_http_open():
    with HttpServer("--shutdown-timeout=30") as server, Client(server) as tcp:
        token = tcp.acquire("key", "0 60")
        server.terminate()
        with Http(server) as http:
            eventually(lambda: http.call("GET", "/ready").status == 503)
            assert http.call("GET", "/health").status == 200
            assert tcp.call("r", "key", token) == "ok"
            assert server.wait() == 0


def test_a_wait_that_is_enqueued_ends_too():
    with HttpServer("--shutdown-timeout=30") as server, Session(server) as holder, \
            Session(server) as waiter:
        token = holder.acquire("key", lease_ttl_s=60)
        assert waiter.call("/v1/locks/key/enqueue").json() == {"status": "queued"}
        wait = waiter.start("/v1/locks/key/wait", {"timeout_s": 60})
        time.sleep(0.3)
        behind = waiter.start_acquire("other", 0)
        time.sleep(0.1)
        server.terminate()
        assert outcome(wait.answer()) == DRAINING
        assert outcome(behind.answer()) == DRAINING
        assert holder.release("key", token).status == 204
        assert server.wait() == 0
