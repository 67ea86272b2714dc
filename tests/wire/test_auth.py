"""--auth-token, --admin-token: sources and reloads; a wrong secret affects no other client."""

import os
import signal
import time
from typing import NamedTuple

import pytest
from lib.certificates import Authority
from lib.server import Server
from lib.tls import TlsServer
from lib.wire_client import CLOSED, Client, eventually, request
from startup import assert_refused, run_server
from test_unix_socket import UnixServer

LONGEST = 65536


class Role(NamedTuple):
    """Which secret a test is about. Both follow the same rules."""
    flag: str
    file_flag: str
    variable: str
    file_variable: str


ROLES = [Role(f"--{name}-token", f"--{name}-token-file", f"DFLOCKD_{name.upper()}_TOKEN",
              f"DFLOCKD_{name.upper()}_TOKEN_FILE") for name in ("auth", "admin")]
each_role = pytest.mark.parametrize("role", ROLES, ids=lambda role: role.flag)


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


@each_role
@pytest.mark.parametrize("content", [b"s3cret", b"s3cret\n", b"s3cret\r\n", b"  s3cret \t\n\n"])
def test_the_server_trims_the_secret_of_a_file(role, secret_file, content):
    path = secret_file(content)
    with Server(role.file_flag, path) as server:
        assert accepts(server, "s3cret")
        assert not accepts(server, "wrong")
    with Server(environment={role.file_variable: path}) as server:
        assert accepts(server, "s3cret")
        assert not accepts(server, "wrong")


@each_role
def test_the_server_trims_the_secret_of_flag_and_variable(role):
    with Server(role.flag, "  s3cret\t") as server:
        assert accepts(server, "s3cret")
    with Server(environment={role.variable: " s3cret "}) as server:
        assert accepts(server, "s3cret")


@each_role
def test_the_secret_comes_from_flag_then_file_flag_then_variable_then_file_variable(role, tmp_path):
    for name in ("two", "four"):
        (tmp_path / name).write_text(name, encoding="ascii")
    one = (role.flag, "one")
    two = (role.file_flag, str(tmp_path / "two"))
    three = {role.variable: "three"}
    four = {role.file_variable: str(tmp_path / "four")}
    for arguments, environment, winner in [
            (one + two, three | four, "one"), (two + one, four, "one"), (two, three | four, "two"),
            ((), three | four, "three"), ((), four, "four"), (one, four, "one")]:
        with Server(*arguments, environment=environment) as server:
            for token in ("one", "two", "three", "four"):
                assert accepts(server, token) is (token == winner)


@each_role
def test_an_unused_secret_file_may_be_missing(role):
    with Server(role.flag, "one", environment={role.file_variable: "/nowhere"}) as server:
        assert accepts(server, "one")


@each_role
@pytest.mark.parametrize("content", [b"", b"\n", b" \t\r\n", b"two\nlines", b"two\n\nlines\n"])
def test_a_secret_file_without_exactly_one_line_is_refused(role, secret_file, content):
    path = secret_file(content)
    assert_refused(run_server("--port=0", f"{role.file_flag}={path}"), role.file_flag)
    done = run_server("--port=0", environment={role.file_variable: path})
    assert_refused(done, role.file_variable)


@each_role
@pytest.mark.parametrize("value", ["", " ", "\t \n", "two\nlines"])
def test_an_empty_secret_or_one_with_a_newline_is_refused(role, value):
    assert_refused(run_server("--port=0", f"{role.flag}={value}"), role.flag)


@each_role
def test_a_variable_with_a_newline_is_refused(role):
    assert_refused(run_server("--port=0", environment={role.variable: "two\nlines"}), role.variable)


@each_role
@pytest.mark.parametrize("path", ["/nowhere/at/all", "/"])
def test_an_unreadable_secret_file_is_refused(role, path):
    assert_refused(run_server("--port=0", f"{role.file_flag}={path}"), role.file_flag)
    done = run_server("--port=0", environment={role.file_variable: path})
    assert_refused(done, role.file_variable)


@each_role
def test_a_secret_of_64_kib_is_accepted(role, secret_file):
    secret = "x" * (LONGEST - 1) + "y"
    with Server(role.file_flag, secret_file(secret.encode())) as server:
        assert accepts(server, secret)
        assert not accepts(server, secret[:-1])
        assert not accepts(server, "x" * LONGEST)


@each_role
def test_a_secret_that_is_too_long_to_send_is_refused(role, secret_file):
    path = secret_file(b"x" * (LONGEST + 1))
    assert_refused(run_server("--port=0", f"{role.file_flag}={path}"), role.file_flag)


@each_role
def test_a_secret_may_contain_any_bytes(role, secret_file):
    secret = bytes(byte for byte in range(1, 256) if byte not in b"\r\n") + b"end"
    with Server(role.file_flag, secret_file(secret)) as server:
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


@each_role
def test_a_wrong_secret_gets_a_reply_at_once_and_a_delayed_close(role):
    with Server(role.flag, "s3cret") as server, Client(server) as client:
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

def reload(server, message, role=""):
    """Sends SIGHUP, and waits for one more line with this message and role."""
    def count():
        return sum(f'msg="{message}"' in line and role in line for line in server.log)
    before = count()
    server.terminate(signal.SIGHUP)
    eventually(lambda: count() > before)


@each_role
@pytest.mark.parametrize("by_variable", [False, True])
def test_sighup_reloads_the_secret_and_keeps_the_previous_one_valid(role, secret_file, by_variable):
    path = secret_file(b"first\n")
    environment = {role.file_variable: path} if by_variable else {}
    flags = [] if by_variable else [role.file_flag, path]
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


@each_role
def test_only_the_last_two_secrets_are_valid_after_two_reloads(role, secret_file):
    path = secret_file(b"first")
    with Server(role.file_flag, path, "--read-timeout", "60") as server:
        for secret in b"second", b"third":
            secret_file(secret)
            reload(server, "secret reloaded")
        assert accepts(server, "third") and accepts(server, "second")
        assert not accepts(server, "first")
        reload(server, "secret unchanged")
        assert accepts(server, "third") and accepts(server, "second")


@each_role
def test_an_unusable_file_does_not_change_the_secret(role, secret_file, tmp_path):
    path = secret_file(b"first")
    with Server(role.file_flag, path, "--read-timeout", "1") as server:
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


@each_role
def test_the_server_does_not_reload_a_secret_of_flag_or_variable(role, secret_file):
    path = secret_file(b"of-the-file")
    for flags, environment in (((role.flag, "given", role.file_flag, path), {}),
                               ((), {role.variable: "given", role.file_variable: path})):
        with Server(*flags, environment=environment) as server:
            reload(server, "nothing to reload")
            assert accepts(server, "given") and not accepts(server, "of-the-file")


@each_role
def test_no_log_line_contains_a_reloaded_secret(role, secret_file):
    path = secret_file(b"first-s3cret")
    with Server(role.file_flag, path, "--debug") as server:
        secret_file(b"second-s3cret")
        reload(server, "secret reloaded")
        assert accepts(server, "second-s3cret") and accepts(server, "first-s3cret")
        assert not accepts(server, "third-s3cret")
        assert not [line for line in server.log if "s3cret" in line]


@each_role
@pytest.mark.skipif("asan" in os.environ.get("DFLOCKD", ""), reason="terabytes of shadow memory")
def test_the_server_wipes_a_previous_secret_without_any_client(role, secret_file):
    """Reads the memory of the process as a debugger does."""
    path = secret_file(b"a-secret-that-is-found-in-memory-1")
    with Server(role.file_flag, path, "--read-timeout", "1") as server:
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


# ---- both secrets ----

@pytest.fixture
def two_files(tmp_path):
    """Writes the secrets of clients and administrators. Returns the flags that name the files."""
    def write(client, administrator):
        for role, secret in zip(ROLES, (client, administrator)):
            (tmp_path / role.flag.strip("-")).write_text(secret, encoding="ascii")
        return [f"{role.file_flag}={tmp_path / role.flag.strip('-')}" for role in ROLES]
    return write


def becomes_administrator(server, secret):
    """Sends the secret after that of clients, "client"."""
    with Client(server) as client:
        assert client.call("auth", "_", "client") == "ok"
        reply = client.call("auth", "_", secret)
        assert reply == "ok" or client.read_line() == CLOSED
        return reply == "ok"


@pytest.mark.parametrize("guarded, secrets, allowed", [
    (True, ("client",), False), (True, ("client", "client"), False), (True, ("admin",), True),
    (True, ("client", "admin"), True), (True, ("admin", "client"), True),
    (False, (), False), (False, ("admin",), True)])
def test_only_the_administrators_secret_gives_the_right_to_revoke(guarded, secrets, allowed):
    flags = ["--auth-token", "client"] if guarded else []
    with Server(*flags, "--admin-token", "admin") as server, Client(server) as holder, \
            Client(server) as other:
        if guarded:
            assert holder.call("auth", "_", "client") == "ok"
        token = holder.acquire("key")
        for secret in secrets:
            assert other.call("auth", "_", secret) == "ok"
        assert other.call("revoke", "key", f"l {token[:16]}") == ("ok" if allowed else "error")
        assert holder.call("n", "key", token) == ("error" if allowed else "ok 33")


@pytest.mark.parametrize("by_files", [False, True])
def test_equal_secrets_are_refused_at_the_start(two_files, by_files):
    flags = two_files("same-s3cret\n", " same-s3cret")
    if not by_files:
        flags = ["--auth-token=same-s3cret", "--admin-token= same-s3cret"]
    for check in (), ("--check",):
        done = run_server("--port=0", *flags, *check)
        assert_refused(done, *(flag.split("=")[0] for flag in flags), "another one")
        assert "s3cret" not in done.stderr


def test_each_source_of_equal_secrets_is_named(two_files):
    auth, admin = (flag.split("=")[1] for flag in two_files("same", "same"))
    assert_refused(run_server("--port=0", f"--auth-token-file={auth}", "--admin-token=same"),
                   "--auth-token-file", "--admin-token")
    assert_refused(run_server("--port=0", environment={
        "DFLOCKD_AUTH_TOKEN": "same", "DFLOCKD_ADMIN_TOKEN_FILE": admin}),
        "DFLOCKD_AUTH_TOKEN", "DFLOCKD_ADMIN_TOKEN_FILE")


def test_each_secret_is_reloaded_with_its_previous_one(two_files):
    with Server(*two_files("client", "admin"), "--read-timeout", "60") as server:
        assert becomes_administrator(server, "admin")
        two_files("client", "admin2")
        reload(server, "secret reloaded", "role=administrator")
        assert becomes_administrator(server, "admin2") and becomes_administrator(server, "admin")
        assert not becomes_administrator(server, "admin3")
        two_files("client2", "admin2")
        reload(server, "secret reloaded")
        assert all(accepts(server, secret) for secret in ("client", "client2", "admin", "admin2"))
        assert not accepts(server, "client3")


def test_a_reload_that_makes_both_secrets_equal_is_refused(two_files):
    refused = "secret not reloaded, the old one stays"
    with Server(*two_files("client", "admin"), "--read-timeout", "1") as server:
        for client, administrator, role in (
                ("admin", "admin", ""), ("client", "client", "role=administrator"),
                ("admin", "client", "role=administrator")):
            two_files(client, administrator)
            reload(server, refused, role)
            assert becomes_administrator(server, "admin")
            assert accepts(server, "client")
        errors = [line for line in server.log if refused in line]
        assert len(errors) == 4
        assert all("level=ERROR" in line and "another one" in line for line in errors)


def test_a_reload_does_not_take_the_other_roles_previous_secret(two_files):
    with Server(*two_files("client", "admin"), "--read-timeout", "5") as server:
        two_files("client", "admin2")
        reload(server, "secret reloaded", "role=administrator")
        two_files("admin", "admin2")
        reload(server, "secret not reloaded, the old one stays")
        assert any("perhaps as their previous secret" in line for line in server.log)
        assert accepts(server, "client") and becomes_administrator(server, "admin2")
        eventually(lambda: not accepts(server, "admin"))
        reload(server, "secret reloaded")
        assert accepts(server, "admin") and accepts(server, "admin2")


def test_an_administrator_stays_one_when_the_secrets_change(two_files):
    with Server(*two_files("client", "admin"), "--read-timeout", "1") as server, \
            Client(server) as client:
        assert client.call("auth", "_", "admin") == "ok"
        token = client.acquire("key", "0 60")
        two_files("client2", "admin2")
        reload(server, "secret reloaded", "role=administrator")
        eventually(lambda: not accepts(server, "admin"))
        assert client.call("n", "key", f"{token} 60") == "ok 60"
        assert client.call("auth", "_", "admin2") == "ok"


@pytest.mark.parametrize("flags", [(), ("--auth-token", "client")])
def test_a_wrong_secret_of_a_served_connection_is_logged(flags):
    with Server(*flags, "--admin-token", "admin") as server, Client(server) as client:
        if flags:
            assert client.call("auth", "_", "client") == "ok"
        assert client.call("auth", "_", "wrong") == "error_auth"
        assert client.read_line() == CLOSED
        eventually(lambda: any('msg="authentication failed"' in line and "level=WARN" in line and
                               'reason="wrong secret"' in line for line in server.log))


def test_over_a_unix_socket_and_tls_administrators_authenticate_the_same_way(tmp_path):
    pair = Authority(tmp_path).issue("server")
    for server in (UnixServer(tmp_path / "socket", "--auth-token", "client", "--admin-token",
                              "admin"),
                   TlsServer(pair, "--auth-token", "client", "--admin-token", "admin")):
        with server:
            assert becomes_administrator(server, "admin")
            assert not becomes_administrator(server, "wrong")
            assert accepts(server, "admin")
