"""Secrets, TLS and Unix sockets: which clients and servers are accepted."""

import socket
import ssl
import threading
import time

import pytest
from lib.certificates import Authority
from lib.server import Server
from lib.tls import VERSIONS, TlsServer


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def other_authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("other"), "other")


@pytest.fixture(scope="session")
def pair(authority):
    return authority.issue("server")


def at(server):
    return f"server=127.0.0.1:{server.port}"


def status(lines):
    return lines[0][1]


def works(lines):
    return [line[1] for line in lines] == ["DONE"] * len(lines)


# ---- secrets ----

def test_only_the_right_secret_authenticates(attempt):
    with Server("--auth-token", "s3cret") as server:
        assert works(attempt(at(server), "auth=s3cret", "ping", "acquire=0", "release"))
        for wrong in "wrong", "s3cre", "s3cretx", "x" * 65536:
            for action in "ping", "acquire=0", "enqueue":
                assert status(attempt(at(server), f"auth={wrong}", action)) == "REFUSED"
        assert status(attempt(at(server), "acquire=0")) == "REFUSED"
        assert status(attempt(at(server), "auth=two\nlines", "ping")) == "INVALID"


def test_a_secret_for_a_server_without_one_is_refused(attempt):
    with Server() as server:
        line, = attempt(at(server), "auth=s3cret", "acquire=0")
        assert line[1] == "REFUSED" and "does not use a secret" in " ".join(line)


def test_a_new_connection_authenticates_again(attempt):
    with Server("--auth-token", "s3cret", "--read-timeout", "1") as server:
        assert works(attempt(at(server), "auth=s3cret", "acquire=0", "release", "sleep=1500",
                             "acquire=0", "release"))


# ---- TLS ----

@pytest.mark.parametrize("version", VERSIONS)
def test_a_certificate_of_the_authority_is_trusted(attempt, authority, pair, version):
    with TlsServer(pair, "--auth-token", "s3cret", version=version) as server:
        ca = f"ca={authority.certificate}"
        assert works(attempt(at(server), "tls=1", ca, "auth=s3cret", "ping", "acquire=0",
                             "renew=50", "release", "acquire=0", "release"))
        assert works(attempt(f"server=localhost:{server.port}", "tls=1", ca, "auth=s3cret", "ping"))
        assert status(attempt(at(server), "tls=1", ca, "auth=wrong", "acquire=0")) == "REFUSED"


def test_a_lock_is_renewed_over_tls(attempt, authority, pair):
    with TlsServer(pair) as server:
        assert works(attempt(at(server), "tls=1", f"ca={authority.certificate}", "lease=1",
                             "acquire=0", "sleep=3500", "renew", "release"))


def test_a_lock_over_tls_is_lost_with_its_server(start, authority, pair):
    with TlsServer(pair) as server:
        holder = start(at(server), "tls=1", f"ca={authority.certificate}", "lease=2", "acquire=0",
                       "sleep=8000")
        assert holder.stdout.readline().split()[:2] == ["acquire", "DONE"]
        server.kill()
        assert holder.stdout.readline().split() == ["lost", "LOST"]


def test_an_unknown_authority_is_not_trusted(attempt, other_authority, pair):
    with TlsServer(pair) as server:
        line, = attempt(at(server), "tls=1", f"ca={other_authority.certificate}", "acquire=0")
        assert line[1] == "UNTRUSTED"
        assert "not signed by a trusted CA" in " ".join(line)
        # The authorities of the system do not know it either.
        assert status(attempt(at(server), "tls=1", "acquire=0")) == "UNTRUSTED"


def test_a_certificate_for_another_name_is_not_trusted(attempt, authority, pair):
    ca = f"ca={authority.certificate}"
    with TlsServer(pair) as server:
        line, = attempt(at(server), "tls=1", ca, "name=elsewhere.example", "acquire=0")
        assert line[1] == "UNTRUSTED"
        assert "for another name" in " ".join(line)
        assert works(attempt(at(server), "tls=1", ca, "name=localhost", "ping"))
        assert status(attempt(f"server=127.0.0.2:{server.port}", "tls=1", ca,
                              "acquire=0")) in ("UNTRUSTED", "UNREACHABLE")


@pytest.mark.parametrize("host, name", [("localhost", "localhost"), ("127.0.0.1", None)])
def test_the_server_receives_the_name_of_the_host(attempt, authority, pair, host, name):
    names = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    context.sni_callback = lambda _, name, __: names.append(name)

    def serve(listener):
        plain, _ = listener.accept()
        with plain, context.wrap_socket(plain, server_side=True) as sealed:
            sealed.recv(100)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve, args=(listener,))
        server.start()
        port = listener.getsockname()[1]
        attempt(f"server={host}:{port}", "tls=1", f"ca={authority.certificate}", "acquire=0")
        server.join(20)
    assert names == [name]


def test_an_expired_certificate_is_not_trusted(attempt, authority):
    # Valid when the server starts, and expired when the client connects.
    with TlsServer(authority.issue("soon-old", ends=2)) as server:
        attempt("sleep=3200")
        line, = attempt(at(server), "tls=1", f"ca={authority.certificate}", "acquire=0")
        assert line[1] == "UNTRUSTED" and "not valid now" in " ".join(line)


def test_tls_insecure_accepts_any_certificate(attempt, pair):
    with TlsServer(pair) as server:
        assert works(attempt(at(server), "tls=1", "insecure=1", "acquire=0", "release"))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_sends_its_certificate(attempt, authority, other_authority, pair, version):
    ca = f"ca={authority.certificate}"
    own = authority.issue(f"client-{version}", usage="clientAuth")
    other = other_authority.issue(f"other-{version}", usage="clientAuth")
    with TlsServer(pair, "--tls-client-ca", str(authority.certificate),
                   version=version) as server:
        assert works(attempt(at(server), "tls=1", ca, f"certificate={own.certificate}",
                             f"private={own.key}", "acquire=0", "release"))
        assert status(attempt(at(server), "tls=1", ca, "acquire=0")) in (
            "UNTRUSTED", "UNREACHABLE", "DISCONNECTED")
        assert status(attempt(at(server), "tls=1", ca, f"certificate={other.certificate}",
                              f"private={other.key}", "acquire=0")) in (
            "UNTRUSTED", "UNREACHABLE", "DISCONNECTED")
        line, = attempt(at(server), "tls=1", ca, f"certificate={own.certificate}",
                        f"private={other.key}", "acquire=0")
        assert line[:2] == ["open", "UNTRUSTED"] and "is not the key of" in " ".join(line)


def test_tls_and_plain_cannot_connect(attempt, authority, pair):
    with Server() as server:
        assert status(attempt(at(server), "tls=1", f"ca={authority.certificate}", "acquire=0")) in (
            "UNTRUSTED", "UNREACHABLE")
    with TlsServer(pair) as server:
        assert status(attempt(at(server), "acquire=0")) == "DISCONNECTED"


# ---- Unix sockets ----

def test_a_unix_socket_works_as_tcp(attempt, tmp_path):
    path = tmp_path / "socket"
    with Server("--unix-socket", str(path), "--auth-token", "s3cret"):
        assert works(attempt(f"server=unix:{path}", "auth=s3cret", "lease=1", "acquire=0",
                             "sleep=2200", "renew", "release", "enqueue", "wait=1", "ping"))
    # The kernel closes the socket of a killed process later.
    end = time.monotonic() + 20
    while status(attempt(f"server=unix:{path}", "acquire=0")) != "UNREACHABLE":
        assert time.monotonic() < end
    assert status(attempt(f"server=unix:{'x' * 200}", "acquire=0")) == "INVALID"


def test_tls_over_a_unix_socket_expects_localhost_or_tls_server_name(attempt, tmp_path,
                                                                          authority, pair):
    path = tmp_path / "socket"
    ca = f"ca={authority.certificate}"
    with TlsServer(pair, "--unix-socket", str(path)):
        assert works(attempt(f"server=unix:{path}", "tls=1", ca, "acquire=0", "release"))
        assert status(attempt(f"server=unix:{path}", "tls=1", ca, "name=elsewhere",
                              "acquire=0")) == "UNTRUSTED"
