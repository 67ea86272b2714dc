"""HTTP over TLS: the same files, their reload, and client certificates."""

import signal
import ssl
import time

import pytest
from lib.certificates import Authority
from lib.http_client import Http, HttpsServer, Session
from lib.tls import VERSIONS, client_context
from lib.wire_client import eventually


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def pair(authority):
    return authority.issue("server")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_works_over_tls(pair, authority, version):
    with HttpsServer(pair, authority=authority, version=version) as server, \
            Session(server) as session, Session(server) as other:
        assert session.http.socket.tls.version() == f"TLSv{version}"
        token = session.acquire("key")
        blocked = other.start_acquire("key", 20)
        time.sleep(0.3)
        assert session.release("key", token).status == 204
        assert blocked.answer().json()["status"] == "ok"


def test_plain_http_is_closed(pair):
    with HttpsServer(pair) as server:
        with Http(server, connection=server.connect_plain()) as http:
            http.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            http._receive(10)
            assert b"200" not in http.received
        with Http(server) as http:
            assert http.call("GET", "/health").status == 200


def test_a_handshake_that_does_not_end_delays_nobody(pair):
    with HttpsServer(pair) as server:
        idle = [server.connect_plain() for _ in range(50)]
        for connection in idle[::2]:
            connection.sendall(b"\x16\x03\x01\x02\x00\x01")
        before = time.monotonic()
        with Http(server) as http:
            assert http.call("GET", "/health").status == 200
        assert time.monotonic() - before < 1
        for connection in idle:
            connection.close()


def test_a_blocked_client_that_goes_away_is_cancelled(pair):
    with HttpsServer(pair) as server, Session(server) as holder, Session(server) as waiter:
        holder.acquire("key")
        blocked = waiter.start_acquire("key", 60)

        def waiters():
            return holder.http.call("GET", "/v1/locks/key").json()["waiter_count"]
        eventually(lambda: waiters() == 1)
        blocked.close()
        eventually(lambda: waiters() == 0)


def serial(http):
    return ssl.DER_cert_to_PEM_cert(http.socket.tls.getpeercert(True))


def test_sighup_reloads_the_certificate(authority, tmp_path):
    pair, new = authority.issue("first"), authority.issue("second")
    with HttpsServer(pair) as server, Session(server) as session:
        token = session.acquire("key")
        old = serial(session.http)
        pair.replace(new)
        server.terminate(signal.SIGHUP)

        def is_new():
            with Http(server) as http:
                assert http.call("GET", "/health").status == 200
                return serial(http) != old
        eventually(is_new)
        assert session.release("key", token).status == 204  # the connection is kept


def test_a_client_needs_a_certificate_of_the_authority(authority, pair, tmp_path):
    good = authority.issue("client", usage="clientAuth")
    stranger = Authority(tmp_path, "stranger").issue("client", usage="clientAuth")
    with HttpsServer(pair, "--tls-client-ca", str(authority.certificate), client=good) as server:
        with Session(server) as session:
            session.acquire("key")
        for wrong in (None, stranger):
            for path in ("/health", "/v1/stats"):
                with pytest.raises((ssl.SSLError, OSError, AssertionError)):
                    connection = server.connect_http(context=client_context(pair=wrong))
                    with Http(server, connection=connection) as http:
                        http.call("GET", path)


def test_draining_works_over_tls(pair):
    with HttpsServer(pair, "--shutdown-timeout=30") as server, Session(server) as holder, \
            Session(server) as waiter:
        token = holder.acquire("key", lease_ttl_s=60)
        blocked = waiter.start_acquire("key", 60)
        time.sleep(0.3)
        server.terminate()
        assert blocked.answer().error == "draining"
        assert holder.release("key", token).status == 204
        assert server.wait() == 0
