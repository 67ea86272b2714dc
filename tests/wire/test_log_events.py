"""Log events of connections and leases: their texts, addresses and limits."""

import re
import socket
import ssl
import time
from contextlib import suppress

import pytest
from lib.certificates import Authority
from lib.server import Server
from lib.tls import TlsServer, client_context
from lib.wire_client import CLOSED, MEGABYTE, Client, eventually, request
from test_log import LINE
from test_unix_socket import UnixServer

SECRET = "s3cret-of-the-server"
PER_SECOND = 10  # LOG_LIMIT_PER_SECOND


def lines(server, message, **pairs):
    """Returns the lines of level WARN or INFO with this message and these unquoted values."""
    def fits(line):
        return (f' msg="{message}" ' in line and "level=DEBUG" not in line and
                all(f'{key}="{value}"' in line or re.search(rf"{key}={re.escape(value)}\s", line)
                    for key, value in pairs.items()))
    return [line for line in server.log if fits(line)]


def address(client):
    host, port = client.socket.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def logged(server, message, **pairs):
    """Returns the first such line, and checks its shape."""
    eventually(lambda: lines(server, message, **pairs))
    line = lines(server, message, **pairs)[0]
    assert LINE.fullmatch(line)
    return line


@pytest.mark.parametrize("attempt, reason", [
    (request("auth", "_", "wrong"), "wrong secret"),
    (request("l", "key", "1"), "first request is not auth"),
    (b"x" * 300 + b"\n", "first request is not auth"),
    (b"auth\n_", "no secret within --read-timeout"),
    (b"", "no secret within --read-timeout")])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_server_logs_a_failed_authentication_with_its_address(host, attempt, reason):
    with Server("--host", host, "--auth-token", SECRET, "--read-timeout", "1") as server, \
            Client(server) as client:
        client.send(attempt)
        assert client.read_line() == b"error_auth\n"
        line = logged(server, "authentication failed", addr=address(client), reason=reason)
        assert "level=WARN" in line and "conn=1 " in line
        assert len(lines(server, "authentication failed")) == 1


def test_a_port_probe_is_not_a_failed_authentication():
    with Server("--auth-token", SECRET, "--debug") as server:
        with Client(server) as client:
            client.fin()
            assert client.read_line() == b"error_auth\n"
        eventually(lambda: any("input ended before authentication" in line
                               for line in server.log))
        assert not lines(server, "authentication failed")


def test_the_server_logs_an_ipv4_client_of_an_ipv6_socket_by_its_ipv4_address():
    with Server("--host", "::", "--auth-token", SECRET) as server:
        server.host = "127.0.0.1"
        with Client(server) as client:
            assert client.call("auth", "_", "wrong") == "error_auth"
            logged(server, "authentication failed", addr=address(client))


def test_log_lines_of_unix_clients_have_no_address(tmp_path):
    with UnixServer(tmp_path / "socket", "--auth-token", SECRET) as server, \
            Client(server) as client:
        assert client.call("auth", "_", "wrong") == "error_auth"
        logged(server, "authentication failed", addr="unix")


@pytest.mark.parametrize("flag", ["--max-connections", "--max-connections-per-ip"])
def test_the_server_logs_refusals_by_each_connection_limit(flag):
    with Server(flag, "2") as server:
        clients = [Client(server) for _ in range(2)]
        assert [client.call("ping") for client in clients] == ["ok", "ok"]
        with Client(server) as refused:
            assert refused.read_line() == CLOSED
            line = logged(server, "connection refused", reason=f"{flag} reached",
                          addr=address(refused))
            assert "level=WARN" in line and "conn=" not in line
        for client in clients:
            client.close()


@pytest.mark.parametrize("sent, reason", [
    (request("nonsense", "key", "1"), "invalid request"),
    (request("l", "", "1"), "invalid request"),
    (request("l", "key", "x"), "invalid request"),
    (request("auth", "_", SECRET), "invalid request"),
    (b"x" * 300 + b"\n", "line too long"),
    (b"l\nkey\n", "request not complete within --read-timeout")])
def test_the_server_logs_a_protocol_error(sent, reason):
    with Server("--read-timeout", "1") as server, Client(server) as client:
        client.send(sent)
        assert client.read_line() == b"error\n"
        line = logged(server, "protocol error", reason=reason, addr=address(client), conn="1")
        assert "level=WARN" in line
        assert len(lines(server, "protocol error")) == 1


def test_a_refusal_for_a_state_is_not_a_protocol_error():
    with Server() as server, Client(server) as client:
        token = client.acquire("key", "0 60")
        assert client.call("r", "key", "0" * 32) == "error"
        assert client.call("l", "key", "0") == "timeout"
        assert client.call("w", "key", "0") == "error_not_enqueued"
        assert client.call("r", "key", token) == "ok"
        client.close()
        server.terminate()
        assert server.wait() == 0
        assert not [line for line in server.log if "level=WARN" in line]


@pytest.mark.parametrize("flag, refused, reply", [
    ("--max-locks", "l other 0", "error_max_locks"),
    ("--max-locks", "se key 3", "error_max_locks"),
    ("--max-waiters", "l key 9", "error_max_waiters"),
    ("--max-waiters", "e key ", "error_max_waiters"),
    ("--max-claims", "e other ", "error_max_locks"),
    ("--max-claims", "l key 9", "error_max_waiters"),
    ("--max-claims-per-connection", "l other 0", "error_max_locks"),
    ("--max-claims-per-connection", "e key ", "error_max_waiters")])
def test_the_server_logs_a_request_that_a_cap_refuses(flag, refused, reply):
    # Without the second flag, --max-claims would set the cap on a connection to 1 as well.
    more = [] if "connection" in flag else ["--max-claims-per-connection", "9"]
    with Server("--threads", "1", flag, "1", *more) as server, Client(server) as client, \
            Client(server) as waiter:
        client.acquire("key", "0 60")
        if flag == "--max-waiters":
            assert waiter.call("e", "key") == "queued"
        assert client.call(*refused.split(" ", 2)) == reply
        line = logged(server, "request refused", reason=f"{flag} reached", addr=address(client),
                      conn="1")
        assert "level=WARN" in line
        assert len(lines(server, "request refused")) == 1


def test_an_idle_timeout_is_not_a_protocol_error():
    with Server("--read-timeout", "1", "--debug") as server, Client(server) as client:
        assert client.read_line() == b"error\n"
        eventually(lambda: any("idle for --read-timeout" in line for line in server.log))
        assert not [line for line in server.log if "level=WARN" in line]


def test_the_server_logs_a_client_that_does_not_read():
    with Server("--write-timeout", "1", "--max-locks", "100000") as server:
        # The kernel could enlarge another buffer to the size of all replies.
        with Client(server, server.connect_small()) as client:
            client.send_until_blocked(request("stats") * (4 * MEGABYTE // 10))
            logged(server, "protocol error", addr=address(client),
                   reason="replies not read within --write-timeout")


def test_the_server_logs_tls_failures(tmp_path):
    authority = Authority(tmp_path)
    with TlsServer(authority.issue("server"), "--read-timeout", "1", authority=authority) as server:
        with socket.create_connection((server.host, server.port)) as plain:
            plain.sendall(request("ping"))
            host, port = plain.getsockname()
            line = logged(server, "TLS failed", addr=f"{host}:{port}")
            assert "level=WARN" in line and "reason=" in line
        with socket.create_connection((server.host, server.port)) as silent:
            host, port = silent.getsockname()
            logged(server, "TLS failed", addr=f"{host}:{port}",
                   reason="handshake not complete within --read-timeout")
        untrusting = ssl.create_default_context()  # the client does not know the authority
        # The connection stays open, because a reset could overtake the alert.
        with untrusting.wrap_socket(server.connect_plain(), server_hostname="localhost",
                                    do_handshake_on_connect=False) as tls:
            with pytest.raises(ssl.SSLError):
                tls.do_handshake()
            eventually(lambda: len(lines(server, "TLS failed")) == 3)


def test_the_server_logs_which_side_refused_a_certificate(tmp_path):
    authority = Authority(tmp_path)
    with TlsServer(authority.issue("server"), "--tls-client-ca", str(authority.certificate),
                   authority=authority) as server:
        for context, reason in [
                (client_context(authority), "the peer sent no certificate of a trusted CA"),
                (ssl.create_default_context(), "the peer's record cannot be decrypted: it may not "
                                               "trust the certificate")]:
            # The connection stays open, because a reset could overtake the alert.
            with context.wrap_socket(server.connect_plain(), server_hostname="localhost",
                                     do_handshake_on_connect=False) as tls:
                with suppress(OSError):
                    tls.do_handshake()
                logged(server, "TLS failed", reason=reason)


@pytest.mark.parametrize("command, limit, kind", [("l", "", "lock"), ("sl", "3 ", "semaphore")])
def test_the_server_logs_an_expired_lease_with_its_key_and_client(command, limit, kind):
    with Server() as server, Client(server) as other, Client(server) as client:
        assert other.call("ping") == client.call("ping") == "ok"
        assert client.call(command, "my-key", f"0 {limit}1").startswith("ok ")
        number = [lock for lock in other.stats()["locks"]]
        line = logged(server, "lease expired", key="my-key", kind=kind)
        assert "level=INFO" in line
        if number:
            assert f"conn={number[0]['owner_conn_id']}\n" in line
        # A release or a disconnect is not an expiry.
        assert other.call("r", "other", other.acquire("other")) == "ok"
        client.acquire("third")
        client.close()
        eventually(lambda: other.stats()["connections"] == 1)
        assert len(lines(server, "lease expired")) == 1


@pytest.mark.parametrize("key, shown", [
    (b'x"level=WARN', r'"x\"level=WARN"'), (b"\x00\xff", r'"\x00\xff"'),
    ("grün".encode(), r'"gr\xc3\xbcn"'), (b"\x1b[31m", r'"\x1b[31m"'),
    (b"\xff" * 256, '"' + r"\xff" * 256 + '"')], ids=ascii)
def test_a_key_of_any_bytes_gives_one_log_line(key, shown):
    with Server() as server, Client(server) as client:
        client.acquire(key, "0 1")
        line = logged(server, "lease expired")
        assert f" key={shown} kind=lock conn=1\n" in line


def test_the_server_limits_and_counts_a_flood_of_one_event():
    with Server("--auth-token", SECRET) as server:
        with Client(server) as member:
            assert member.call("auth", "_", SECRET) == "ok"
            start = time.monotonic()
            for _ in range(20):
                member.send(request("nonsense") * 5)
                for _ in range(5):
                    assert member.read_line() == b"error\n"
            # The flood does not hide an event of another kind.
            with Client(server) as intruder:
                assert intruder.call("auth", "_", "wrong") == "error_auth"
            logged(server, "authentication failed")
            seconds = time.monotonic() - start + 2
            assert 1 <= len(lines(server, "protocol error")) <= PER_SECOND * seconds
            if seconds < 3:
                time.sleep(1.1)
                assert member.call("nonsense") == "error"
                line = eventually(lambda: [line for line in lines(server, "protocol error")
                                           if "suppressed=" in line])
                assert line


def test_every_debug_line_of_a_connection_has_its_address():
    with Server("--debug") as server:
        with Client(server) as client:
            where = address(client)
            assert client.call("ping") == "ok"
            client.reset()  # the kernel has forgotten the address
        eventually(lambda: any("connection closed" in line for line in server.log))
        for message in "connection accepted", "connection closed":
            found, = [line for line in server.log if f'msg="{message}"' in line]
            assert f"level=DEBUG msg=\"{message}\" addr={where} conn=1\n" in found


def test_a_connection_that_is_closed_for_memory_names_the_option():
    with Server("--max-buffered-mib", "1", "--auth-token", SECRET) as server:
        clients = [Client(server) for _ in range(40)]
        for client in clients:
            client.send(b"auth\n_\n" + b"x" * 60000)
        line = logged(server, "connection closed", reason="--max-buffered-mib reached")
        assert re.search(r' detail="(closed to free memory|no room for its requests or replies)"',
                         line)
        for client in clients:
            client.close()
