"""--auth-token: where the secret comes from, and that a wrong one costs nobody else."""

import pytest
from launch import assert_refused, outcome
from lib.server import Server
from wire_client import CLOSED, Client, request

LONGEST = 65536


def accepts(server, token):
    with Client(server) as client:
        reply = client.ask("auth", "_", token)
        if reply == "ok":
            assert client.ask("ping") == "ok"
        else:
            assert reply == "error_auth" and client.hear() == CLOSED
        return reply == "ok"


@pytest.fixture
def secret_file(tmp_path):
    def write(content):
        path = tmp_path / "secret"
        path.write_bytes(content)
        return str(path)
    return write


@pytest.mark.parametrize("content", [b"s3cret", b"s3cret\n", b"s3cret\r\n", b"  s3cret \t\n\n"])
def test_a_file_holds_the_secret_trimmed(secret_file, content):
    path = secret_file(content)
    with Server("--auth-token-file", path) as server:
        assert accepts(server, "s3cret")
        assert not accepts(server, "wrong")
    with Server(environment={"DFLOCKD_AUTH_TOKEN_FILE": path}) as server:
        assert accepts(server, "s3cret")
        assert not accepts(server, "wrong")


def test_flag_and_variable_are_trimmed():
    with Server("--auth-token", "  s3cret\t") as server:
        assert accepts(server, "s3cret")
    with Server(environment={"DFLOCKD_AUTH_TOKEN": " s3cret "}) as server:
        assert accepts(server, "s3cret")


def test_the_order_is_flag_file_flag_variable_file_variable(tmp_path):
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


def test_a_file_that_is_not_used_need_not_exist():
    with Server("--auth-token", "one",
                environment={"DFLOCKD_AUTH_TOKEN_FILE": "/nowhere"}) as server:
        assert accepts(server, "one")


@pytest.mark.parametrize("content", [b"", b"\n", b" \t\r\n", b"two\nlines", b"two\n\nlines\n"])
def test_a_file_that_holds_no_single_line_is_refused(secret_file, content):
    path = secret_file(content)
    assert_refused(outcome("--port=0", f"--auth-token-file={path}"), "--auth-token-file")
    assert_refused(outcome("--port=0", environment={"DFLOCKD_AUTH_TOKEN_FILE": path}),
                   "DFLOCKD_AUTH_TOKEN_FILE")


@pytest.mark.parametrize("value", ["", " ", "\t \n", "two\nlines"])
def test_an_empty_secret_or_one_with_a_newline_is_refused(value):
    assert_refused(outcome("--port=0", f"--auth-token={value}"), "--auth-token")


def test_a_variable_with_a_newline_is_refused():
    assert_refused(outcome("--port=0", environment={"DFLOCKD_AUTH_TOKEN": "two\nlines"}),
                   "DFLOCKD_AUTH_TOKEN")


@pytest.mark.parametrize("path", ["/nowhere/at/all", "/"])
def test_a_file_that_cannot_be_read_is_refused(path):
    assert_refused(outcome("--port=0", f"--auth-token-file={path}"), "--auth-token-file")
    assert_refused(outcome("--port=0", environment={"DFLOCKD_AUTH_TOKEN_FILE": path}),
                   "DFLOCKD_AUTH_TOKEN_FILE")


def test_a_secret_of_64_kib_is_accepted(secret_file):
    secret = "x" * (LONGEST - 1) + "y"
    with Server("--auth-token-file", secret_file(secret.encode())) as server:
        assert accepts(server, secret)
        assert not accepts(server, secret[:-1])
        assert not accepts(server, "x" * LONGEST)


def test_a_secret_that_no_client_could_send_is_refused(secret_file):
    path = secret_file(b"x" * (LONGEST + 1))
    assert_refused(outcome("--port=0", f"--auth-token-file={path}"), "--auth-token-file")


def test_a_secret_may_be_any_bytes(secret_file):
    secret = bytes(byte for byte in range(1, 256) if byte not in b"\r\n") + b"end"
    with Server("--auth-token-file", secret_file(secret)) as server:
        assert accepts(server, secret.strip())


def test_wrong_secrets_of_others_delay_nobody():
    # Were each wrong one to hold up the server for its 100 ms, this would take 10 seconds.
    with Server("--auth-token", "s3cret", "--threads", "1") as server, Client(server) as good:
        strangers = [Client(server) for _ in range(100)]
        for stranger in strangers:
            stranger.send(request("auth", "_", "wrong"))
        good.send(request("auth", "_", "s3cret") + request("ping"))
        assert good.hear(5) == b"ok\n"
        assert good.hear(5) == b"ok\n"
        for stranger in strangers:
            assert stranger.hear() == b"error_auth\n"
            assert stranger.hear() == CLOSED
            stranger.close()


def test_a_wrong_secret_is_answered_at_once_and_closed_a_little_later():
    with Server("--auth-token", "s3cret") as server, Client(server) as client:
        assert client.ask("auth", "_", "wrong") == "error_auth"
        assert client.hear(0.03) == "(silence)"
        assert client.hear() == CLOSED


def test_a_connection_that_never_authenticates_gets_nothing_from_the_table():
    with Server("--auth-token", "s3cret", "--gc-max-idle", "0") as server:
        with Client(server) as stranger:
            stranger.send(request("l", "key", "0") * 100)
            assert stranger.hear() == b"error_auth\n"
            assert stranger.hear() == CLOSED
        with Client(server) as client:
            assert client.ask("auth", "_", "s3cret") == "ok"
            stats = client.stats()
            assert stats["locks"] == [] and stats["idle_locks"] == []
