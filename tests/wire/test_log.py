"""The log: its format, and the secrets that it must never contain."""

import re

import pytest
from lib.server import Server
from lib.wire_client import Client, eventually, request
from startup import run_server

VALUE = r'(?:"(?:[^"\\\x00-\x1f\x7f]|\\.)*"|[^\s"=\x00-\x1f\x7f]+)'
LINE = re.compile(
    r"time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z level=(DEBUG|INFO|WARN|ERROR)"
    rf" msg={VALUE}(?: [a-z][a-z0-9_]*={VALUE})*\n")
SECRET = "s3cret-of-the-server"
WRONG = "guess-of-the-client"


def busy_life(server):
    """Causes every event of a connection, and returns all granted tokens."""
    with Client(server) as first, Client(server) as second:
        for client in (first, second):
            assert client.call("auth", "_", SECRET) == "ok"
        tokens = [first.acquire("key", "0 1"), first.acquire("other", "0 60")]
        assert second.call("e", "other") == "queued"
        assert first.call("n", "other", tokens[1] + " 50") == "ok 50"
        assert first.call("r", "other", "0" * 32) == "error"
        assert first.call("r", "other", tokens[1]) == "ok"
        tokens.append(second.call("w", "other", "10").split()[1])
        tokens.append(second.call("l", "key", "10").split()[1])  # after the lease of 1 has ended
        assert first.call("r", "key", tokens[0]) == "error"
        tokens.append(first.call("sl", "key", "0 2").split()[1])
        assert first.call("sr", "key", tokens[-1] + "0") == "error"
        assert first.call("sr", "key", tokens[-1]) == "ok"
        assert first.call("auth", "_", SECRET) == "error"
        assert first.call(SECRET, "key", tokens[2]) == "error"
        first.send(request("r", "key", tokens[3] + "x" * 300))
        assert first.read_line() == b"error\n"
    for attempt in (request("auth", "_", WRONG), request("l", "key", SECRET),
                    request("auth", "_", SECRET + WRONG)):
        with Client(server) as intruder:
            intruder.send(attempt)
            assert intruder.read_line() == b"error_auth\n"
    return tokens


@pytest.fixture(scope="module")
def debug_log():
    """The complete log of a server in --debug, and the tokens that it granted."""
    with Server("--debug", "--auth-token", SECRET) as server:
        tokens = busy_life(server)
        with Client(server) as client:
            assert client.call("auth", "_", SECRET) == "ok"
            tokens.append(client.acquire("held"))
            server.terminate()
            client.close()
        assert server.wait() == 0
        return server.log, tokens


def test_no_log_line_contains_a_token(debug_log):
    log, tokens = debug_log
    assert len(set(tokens)) == 6
    for token in tokens:
        # The log must not contain the secret half either.
        assert not [line for line in log if token[16:] in line]


def test_no_log_line_contains_a_secret(debug_log):
    log, _ = debug_log
    assert not [line for line in log if SECRET in line or WRONG in line]


def test_every_log_line_consists_of_keys_and_values(debug_log):
    log, _ = debug_log
    assert log
    assert [line for line in log if not LINE.fullmatch(line)] == []


def test_debug_lines_appear_with_debug(debug_log):
    log, _ = debug_log
    assert [line for line in log if " level=DEBUG " in line]


def test_the_server_logs_the_address_on_which_it_listens():
    with Server() as server:
        address = f"{server.host}:{server.port}"
        pattern = re.compile(r'.* level=INFO msg="?listening"? addr=' + re.escape(address) + r"\b")
        assert [line for line in server.log if pattern.match(line)]


def test_the_server_logs_no_ordinary_requests_without_debug():
    with Server() as server:
        with Client(server) as client:
            for number in range(50):
                assert client.call("r", "key", client.acquire("key")) == "ok", number
        server.terminate()
        assert server.wait() == 0
        assert len(server.log) < 20
        assert [line for line in server.log if not LINE.fullmatch(line)] == []


@pytest.mark.parametrize("key", [b'"', b"\\", b"\x1b[31mred", b"a=b", b"\xff\xfe", b"\x00", b"\x7f",
                                 "grün".encode()], ids=ascii)
def test_a_key_cannot_break_the_format(key):
    with Server("--debug") as server:
        with Client(server) as client, Client(server) as other:
            client.acquire(key, "0 1")
            assert other.call("l", key, "10").startswith("ok ")
            assert client.call(key, key, key) == "error"
        with Client(server) as client:
            eventually(lambda: client.stats()["connections"] == 1)
        server.terminate()
        assert server.wait() == 0
        assert [line for line in server.log if not LINE.fullmatch(line)] == []


def test_a_refused_start_does_not_log_the_secret():
    for arguments, environment in [
            ((f"--auth-token={SECRET}\nmore",), {}), (("--auth-token", f"{SECRET}\nmore"), {}),
            ((), {"DFLOCKD_AUTH_TOKEN": f"{SECRET}\nmore"}),
            ((f"--auth-token={SECRET}", "--max-locks=x"), {}),
            ((f"--auth-tokem={SECRET}",), {})]:
        done = run_server("--port=0", *arguments, environment=environment)
        assert done.returncode == 1
        assert SECRET not in done.stderr + done.stdout
