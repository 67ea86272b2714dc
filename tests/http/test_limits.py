"""Limits: sessions, connections and requests of an address; crowds of connections."""

import resource
import socket
import time

import pytest
from lib.http_client import Http, HttpServer, Session
from lib.wire_client import CLOSED, Client, eventually

OTHER_ADDRESS = "127.0.0.77"
CROWD = 5000
SLOW_S = 0.25  # of another client's request beside a crowd


def create(server, **more):
    with Http(server, **more) as http:
        return http.call("POST", "/v1/sessions")


# ---- sessions ----

def test_max_sessions_is_503():
    with HttpServer("--http-max-sessions=2") as server, Session(server) as first, \
            Session(server):
        response = create(server)
        assert (response.status, response.error) == (503, "max_sessions")
        response = create(server, source=OTHER_ADDRESS)
        assert (response.status, response.error) == (503, "max_sessions")
        assert first.delete().status == 204
        assert create(server).status == 200


def test_max_sessions_per_ip_is_503():
    with HttpServer("--http-max-sessions-per-ip=1") as server, Session(server) as first:
        response = create(server)
        assert (response.status, response.error) == (503, "max_sessions_per_ip")
        assert create(server, source=OTHER_ADDRESS).status == 200
        assert first.delete().status == 204
        assert create(server).status == 200


def test_a_session_that_ends_idle_leaves_room():
    with HttpServer("--http-max-sessions=1", "--http-max-sessions-per-ip=1",
                    "--http-session-idle-timeout=1") as server:
        assert create(server).status == 200
        assert create(server).status == 503
        eventually(lambda: create(server).status == 200, 10)


def test_ten_thousand_sessions_that_are_never_closed_end():
    with HttpServer("--http-session-idle-timeout=2") as server, Http(server) as http, \
            Client(server) as tcp:
        count = 10_000
        one = b"POST /v1/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
        for _ in range(count // 100):
            http.send(one * 100, None)
            for _ in range(100):
                assert http.answer().status == 200
        assert tcp.call("ping") == "ok"
        eventually(lambda: tcp.stats()["connections"] == 1, 15)


# ---- connections ----

def test_connections_of_an_address_past_the_limit_are_closed_without_a_byte():
    with HttpServer("--http-max-connections-per-ip=3") as server:
        time.sleep(0.2)  # the connection that found the server listening has ended
        kept = [Http(server) for _ in range(3)]
        for http in kept:
            assert http.call("GET", "/health").status == 200
        with Http(server) as refused:
            assert refused.is_closed() and not refused.received
        with Http(server, source=OTHER_ADDRESS) as http:
            assert http.call("GET", "/health").status == 200
        with Client(server) as tcp:
            assert tcp.call("ping") == "ok"
        kept.pop().close()

        def served():
            with Http(server) as http:
                http.start("GET", "/health")
                return http.read() not in (CLOSED, "(reset)")
        eventually(served)
        for http in kept:
            http.close()


# ---- requests ----

def test_requests_past_the_rate_are_429_with_retry_after():
    with HttpServer("--http-rate-limit-per-ip=5", "--http-rate-limit-burst=10") as server, \
            Http(server) as http:
        answers = [http.call("GET", "/v1/stats") for _ in range(30)]
        served = sum(each.status == 200 for each in answers)
        assert 10 <= served <= 15
        for response in answers[15:]:
            assert (response.status, response.error) == (429, "rate_limited")
            assert int(response.header("Retry-After")) >= 1
        for path in ("/health", "/ready"):
            assert http.call("GET", path).status == 200
        with Http(server, source=OTHER_ADDRESS) as other:
            assert other.call("GET", "/v1/stats").status == 200
        time.sleep(1.1)
        assert http.call("GET", "/v1/stats").status == 200


def test_without_a_burst_the_rate_is_the_burst():
    with HttpServer("--http-rate-limit-per-ip=5") as server, Http(server) as http:
        served = sum(http.call("GET", "/v1/stats").status == 200 for _ in range(20))
        assert 5 <= served <= 8


def test_health_does_not_use_up_the_rate():
    with HttpServer("--http-rate-limit-per-ip=2") as server, Http(server) as http:
        for _ in range(50):
            assert http.call("GET", "/health").status == 200
        assert http.call("GET", "/v1/stats").status == 200


def test_the_rate_holds_over_many_connections():
    with HttpServer("--http-rate-limit-per-ip=5") as server:
        statuses = []
        for _ in range(20):
            with Http(server) as http:
                statuses.append(http.call("GET", "/v1/stats").status)
        assert statuses.count(200) <= 8 and statuses.count(429) >= 12


# ---- crowds ----

@pytest.fixture
def many_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * CROWD
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"the limit of descriptors is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def worst_of(calls, seconds):
    """Calls in turn for so many seconds, and returns the longest duration of a call."""
    worst = 0
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        before = time.monotonic()
        for call in calls:
            call()
        worst = max(worst, time.monotonic() - before)
        time.sleep(0.005)
    return worst


def bystanders(tcp, http):
    def over_tcp():
        token = tcp.acquire("bystander")
        assert tcp.call("r", "bystander", token) == "ok"

    def over_http():
        assert http.call("GET", "/ready").status == 200
    return [over_tcp, over_http]


@pytest.mark.parametrize("first", [b"", b"GET /health HTTP/1.1\r\nHost: x\r\nX: "],
                         ids=["idle", "slow"])
def test_a_crowd_of_connections_delays_nobody(many_descriptors, first):
    with HttpServer() as server, Client(server) as tcp, Http(server) as http:
        crowd = []
        try:
            for number in range(CROWD):
                connection = socket.create_connection(
                    (server.http_host, server.http_port),
                    source_address=(f"127.0.1.{number % 200 + 1}", 0))
                connection.sendall(first)
                crowd.append(connection)
            begun = time.monotonic()
            calls = bystanders(tcp, http)
            while time.monotonic() < begun + 4:
                assert worst_of(calls, 0.3) < SLOW_S
                for connection in crowd[::10] if first else []:
                    try:
                        connection.sendall(b"x")
                    except OSError:
                        pass
        finally:
            for connection in crowd:
                connection.close()
        assert worst_of(bystanders(tcp, http), 0.5) < SLOW_S


def test_a_crowd_of_blocked_requests_is_served_in_order(many_descriptors):
    """They belong to sessions of their own; all get the lock, in their order."""
    count = 300
    with HttpServer() as server, Client(server) as tcp:
        token = tcp.acquire("key", "0 60")
        sessions = [Session(server) for _ in range(count)]
        for session in sessions:
            session.blocked = session.start_acquire("key", 60)
        eventually(lambda: tcp.stats()["locks"][0]["waiters"] == count)
        assert worst_of([lambda: tcp.call("ping")], 0.3) < SLOW_S
        assert tcp.call("r", "key", token) == "ok"
        fences = []
        for session in sorted(sessions, key=lambda each: each.http.socket.fileno()):
            token = session.blocked.answer().json()["token"]
            fences.append(token[:16])
            assert session.release("key", token).status == 204
        assert len(set(fences)) == count
        for session in sessions:
            session.__exit__()
