"""--auth-token: the sources of the secret; a wrong secret does not affect other clients."""

import os
import signal
import time

import pytest
from lib.server import Server
from lib.wire_client import CLOSED, Client, eventually, request
from startup import assert_refused, run_server

LONGEST = 65536


def accepts(server, token):
    with Client(server) as client:
        reply = client.call("auth", "_", token)
        if reply == "ok":
            assert client.call("ping") == "ok"
        else:
            assert reply == "error_auth" and client.read_line() == CLOSED
        return reply == "ok"


@pytest.fixture
def secret_file(tmp_path):
    def write(content):
        path = tmp_path / "secret"
        path.write_bytes(content)
        return str(path)
    return write


@pytest.mark.parametrize("content", [b"s3cret", b"s3cret\n", b"s3cret\r\n", b"  s3cret \t\n\n"])
def test_the_server_trims_the_secret_of_a_file(secret_file, content):
    path = secret_file(content)
    with Server("--auth-token-file", path) as server:
        assert accepts(server, "s3cret")
        assert not accepts(server, "wrong")
    with Server(environment={"DFLOCKD_AUTH_TOKEN_FILE": path}) as server:
        assert accepts(server, "s3cret")
        assert not accepts(server, "wrong")


def test_the_server_trims_the_secret_of_flag_and_variable():
    with Server("--auth-token", "  s3cret\t") as server:
        assert accepts(server, "s3cret")
    with Server(environment={"DFLOCKD_AUTH_TOKEN": " s3cret "}) as server:
        assert accepts(server, "s3cret")


def test_the_secret_comes_from_flag_then_file_flag_then_variable_then_file_variable(tmp_path):
    for name in ("two", "four"):
        (tmp_path / name).write_text(name, encoding="ascii")
    one = ("--auth-token", "one")
    two = ("--auth-token-file", str(tmp_path / "two"))
    three = {"DFLOCKD_AUTH_TOKEN": "three"}
    four = {"DFLOCKD_AUTH_TOKEN_FILE": str(tmp_path / "four")}
    for arguments, environment, winner in [
            (one + two, three | four, "one"), (two + one, four, "one"), (two, three | four, "two"),
            ((), three | four, "three"), ((), four, "four"), (one, four, "one")]:
        with Server(*arguments, environment=environment) as server:
            for token in ("one", "two", "three", "four"):
                assert accepts(server, token) is (token == winner)


def test_an_unused_secret_file_may_be_missing():
    with Server("--auth-token", "one",
                environment={"DFLOCKD_AUTH_TOKEN_FILE": "/nowhere"}) as server:
        assert accepts(server, "one")


@pytest.mark.parametrize("content", [b"", b"\n", b" \t\r\n", b"two\nlines", b"two\n\nlines\n"])
def test_a_secret_file_without_exactly_one_line_is_refused(secret_file, content):
    path = secret_file(content)
    assert_refused(run_server("--port=0", f"--auth-token-file={path}"), "--auth-token-file")
    assert_refused(run_server("--port=0", environment={"DFLOCKD_AUTH_TOKEN_FILE": path}),
                   "DFLOCKD_AUTH_TOKEN_FILE")


@pytest.mark.parametrize("value", ["", " ", "\t \n", "two\nlines"])
def test_an_empty_secret_or_one_with_a_newline_is_refused(value):
    assert_refused(run_server("--port=0", f"--auth-token={value}"), "--auth-token")


def test_a_variable_with_a_newline_is_refused():
    assert_refused(run_server("--port=0", environment={"DFLOCKD_AUTH_TOKEN": "two\nlines"}),
                   "DFLOCKD_AUTH_TOKEN")


@pytest.mark.parametrize("path", ["/nowhere/at/all", "/"])
def test_an_unreadable_secret_file_is_refused(path):
    assert_refused(run_server("--port=0", f"--auth-token-file={path}"), "--auth-token-file")
    assert_refused(run_server("--port=0", environment={"DFLOCKD_AUTH_TOKEN_FILE": path}),
                   "DFLOCKD_AUTH_TOKEN_FILE")


def test_a_secret_of_64_kib_is_accepted(secret_file):
    secret = "x" * (LONGEST - 1) + "y"
    with Server("--auth-token-file", secret_file(secret.encode())) as server:
        assert accepts(server, secret)
        assert not accepts(server, secret[:-1])
        assert not accepts(server, "x" * LONGEST)


def test_a_secret_that_is_too_long_to_send_is_refused(secret_file):
    path = secret_file(b"x" * (LONGEST + 1))
    assert_refused(run_server("--port=0", f"--auth-token-file={path}"), "--auth-token-file")


def test_a_secret_may_contain_any_bytes(secret_file):
    secret = bytes(byte for byte in range(1, 256) if byte not in b"\r\n") + b"end"
    with Server("--auth-token-file", secret_file(secret)) as server:
        assert accepts(server, secret.strip())


def test_wrong_secrets_do_not_delay_other_clients():
    # If each wrong secret delayed the server for its 100 ms, this would take 10 seconds.
    with Server("--auth-token", "s3cret", "--threads", "1") as server, Client(server) as good:
        intruders = [Client(server) for _ in range(100)]
        for intruder in intruders:
            intruder.send(request("auth", "_", "wrong"))
        good.send(request("auth", "_", "s3cret") + request("ping"))
        assert good.read_line(5) == b"ok\n"
        assert good.read_line(5) == b"ok\n"
        for intruder in intruders:
            assert intruder.read_line() == b"error_auth\n"
            assert intruder.read_line() == CLOSED
            intruder.close()


def test_a_wrong_secret_gets_a_reply_at_once_and_a_delayed_close():
    with Server("--auth-token", "s3cret") as server, Client(server) as client:
        assert client.call("auth", "_", "wrong") == "error_auth"
        assert client.read_line(0.03) == "(silence)"
        assert client.read_line() == CLOSED


def test_an_unauthenticated_connection_cannot_use_the_table():
    with Server("--auth-token", "s3cret", "--gc-max-idle", "0") as server:
        with Client(server) as intruder:
            intruder.send(request("l", "key", "0") * 100)
            assert intruder.read_line() == b"error_auth\n"
            assert intruder.read_line() == CLOSED
        with Client(server) as client:
            assert client.call("auth", "_", "s3cret") == "ok"
            stats = client.stats()
            assert stats["locks"] == [] and stats["idle_locks"] == []


# ---- SIGHUP ----

def reload(server, message):
    """Sends SIGHUP, and waits for one more line with this message."""
    def count():
        return sum(f'msg="{message}"' in line for line in server.log)
    before = count()
    server.terminate(signal.SIGHUP)
    eventually(lambda: count() > before)


@pytest.mark.parametrize("by_variable", [False, True])
def test_sighup_reloads_the_secret_and_keeps_the_previous_one_valid(
        secret_file, by_variable):
    path = secret_file(b"first\n")
    environment = {"DFLOCKD_AUTH_TOKEN_FILE": path} if by_variable else {}
    flags = [] if by_variable else ["--auth-token-file", path]
    with Server("--read-timeout", "2", *flags, environment=environment) as server, \
            Client(server) as early:
        assert early.call("auth", "_", "first") == "ok"
        token = early.acquire("key", "0 60")
        secret_file(b"second\n")
        assert not accepts(server, "second")
        start = time.monotonic()
        reload(server, "secret reloaded")
        assert accepts(server, "second")
        valid = accepts(server, "first")
        assert valid or time.monotonic() - start > 1.5
        eventually(lambda: not accepts(server, "first"))
        assert time.monotonic() - start >= 1.9
        assert accepts(server, "second") and not accepts(server, "third")
        # An authenticated connection stays authenticated.
        assert early.call("r", "key", token) == "ok"


def test_only_the_last_two_secrets_are_valid_after_two_reloads(secret_file):
    path = secret_file(b"first")
    with Server("--auth-token-file", path, "--read-timeout", "60") as server:
        for secret in b"second", b"third":
            secret_file(secret)
            reload(server, "secret reloaded")
        assert accepts(server, "third") and accepts(server, "second")
        assert not accepts(server, "first")
        reload(server, "secret unchanged")
        assert accepts(server, "third") and accepts(server, "second")


def test_an_unusable_file_does_not_change_the_secret(secret_file, tmp_path):
    path = secret_file(b"first")
    with Server("--auth-token-file", path, "--read-timeout", "1") as server:
        for content in b"", b"two\nlines", b"with\0nul", b"x" * (LONGEST + 1):
            secret_file(content)
            reload(server, "secret not reloaded, the old one stays")
            assert accepts(server, "first")
        os.unlink(path)
        reload(server, "secret not reloaded, the old one stays")
        os.mkfifo(path)  # a FIFO, which the server must not wait for
        reload(server, "secret not reloaded, the old one stays")
        assert accepts(server, "first")
        errors = [line for line in server.log if "not reloaded" in line]
        assert all("level=ERROR" in line and f"file={path}" in line and "error=" in line
                   for line in errors)
        assert not any("lines" in line or "with" in line for line in errors)
        os.unlink(path)
        secret_file(b"second")
        reload(server, "secret reloaded")
        assert accepts(server, "second")


def test_the_server_does_not_reload_a_secret_of_flag_or_variable(secret_file):
    path = secret_file(b"of-the-file")
    for flags, environment in ((("--auth-token", "given", "--auth-token-file", path), {}),
                               ((), {"DFLOCKD_AUTH_TOKEN": "given",
                                     "DFLOCKD_AUTH_TOKEN_FILE": path})):
        with Server(*flags, environment=environment) as server:
            reload(server, "nothing to reload")
            assert accepts(server, "given") and not accepts(server, "of-the-file")


def test_no_log_line_contains_a_reloaded_secret(secret_file):
    path = secret_file(b"first-s3cret")
    with Server("--auth-token-file", path, "--debug") as server:
        secret_file(b"second-s3cret")
        reload(server, "secret reloaded")
        assert accepts(server, "second-s3cret") and accepts(server, "first-s3cret")
        assert not accepts(server, "third-s3cret")
        assert not [line for line in server.log if "s3cret" in line]


@pytest.mark.skipif("asan" in os.environ.get("DFLOCKD", ""), reason="terabytes of shadow memory")
def test_the_server_wipes_a_previous_secret_without_any_client(secret_file):
    """Reads the memory of the process as a debugger does."""
    path = secret_file(b"a-secret-that-is-found-in-memory-1")
    with Server("--auth-token-file", path, "--read-timeout", "1") as server:
        def found(text):
            with open(f"/proc/{server.pid}/maps", encoding="ascii") as maps, \
                    open(f"/proc/{server.pid}/mem", "rb") as memory:
                for line in maps:
                    span, rights = line.split()[:2]
                    begin, end = (int(part, 16) for part in span.split("-"))
                    if rights.startswith("rw"):
                        memory.seek(begin)
                        try:
                            if text in memory.read(end - begin):
                                return True
                        except OSError:
                            pass
            return False
        try:
            assert found(b"a-secret-that-is-found-in-memory-1")
        except PermissionError:
            pytest.skip("only root may read the memory of a process that hides it")
        secret_file(b"a-secret-that-is-found-in-memory-2")
        reload(server, "secret reloaded")
        eventually(lambda: not found(b"a-secret-that-is-found-in-memory-1"))
        assert found(b"a-secret-that-is-found-in-memory-2")
