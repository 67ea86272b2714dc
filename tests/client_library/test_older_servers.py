"""Servers that do not know some of the commands that ours add to the protocol."""

import socket
import ssl
import threading
from contextlib import suppress

import pytest
from lib.certificates import Authority
from lib.original_server import OriginalServer, original_python_or_skip
from lib.server import Server
from lib.stand_in import StandIn

LOCKS = 12


class Older(StandIn):
    """Passes requests to a server, but replies `error` to `unknown` ones, as published 2.1 does.

    `requests` and `refused` have the commands that it received, in order.
    """

    answers_probe = False
    refusal = b"error\n"
    closes = False

    def __init__(self, server, *unknown):
        super().__init__()
        self.unknown = [command.encode() + b"\n" for command in unknown]
        self.host = "127.0.0.1"
        self.server = (server.host, server.port)
        self.accepted = 0
        self.requests = []
        self.refused = []

    def serve(self, connection):
        self.accepted += 1
        threading.Thread(target=self._pass, args=(connection,), daemon=True).start()

    def _pass(self, connection):
        with connection, socket.create_connection(self.server) as server, suppress(OSError):
            requests = connection.makefile("rb")
            replies = server.makefile("rb")
            while request := [requests.readline() for _ in range(3)]:
                if not request[2]:
                    return
                self.requests.append(request[0].decode().strip())
                if request[0] in self.unknown:
                    self.refused.append(request[0].decode().strip())
                    connection.sendall(self.refusal)
                    if self.closes:
                        return
                    continue
                server.sendall(b"".join(request))
                connection.sendall(replies.readline())


def assert_held_and_released(attempt, server):
    assert attempt(f"server={server.host}:{server.port}", "lease=2", f"many={LOCKS}", "sleep=100",
                   "held", "sleep=3000", "held", "release-many") == [
        ["many", "DONE"], ["sleep", "DONE"], [str(LOCKS), "held", "DONE"], ["sleep", "DONE"],
        [str(LOCKS), "held", "DONE"], ["release-many", "DONE"]]


def test_error_keeps_the_connections(attempt):
    with Server() as server, Older(server, "own") as older:
        assert_held_and_released(attempt, older)
        assert older.accepted == LOCKS + 1
        assert older.refused == ["own"]


def test_own_is_known_to_a_server_without_names(attempt):
    with Server() as server, Older(server, "name", "show", "revoke") as older:
        assert_held_and_released(attempt, older)
        assert older.refused == ["name"]
        assert older.requests.count("own") == LOCKS - 4


def test_a_closed_connection_keeps_the_connections(attempt):
    with OriginalServer(original_python_or_skip()) as original:
        assert_held_and_released(attempt, original)


def assert_no_shared_locks(attempt, server):
    for action in "acquire=1", "enqueue":
        [line, free] = attempt(f"server={server.host}:{server.port}", "shared=1", action, "release")
        assert line[1] == "UNSUPPORTED"
        assert " ".join(line[2:]) == (f"{server.host}:{server.port}: "
                                      "this server does not support shared locks")
        assert free[1] == "NOT_HELD"
    # Nothing is held there, shared or not.
    assert attempt(f"server={server.host}:{server.port}", "acquire=0")[0][1] == "DONE"


def test_error_to_a_shared_lock_is_unsupported(attempt):
    with Server() as server, Older(server, "rl", "re") as older:
        assert_no_shared_locks(attempt, older)
        assert older.refused == ["rl", "re"]


def test_the_original_server_has_no_shared_locks(attempt):
    with OriginalServer(original_python_or_skip()) as original:
        assert_no_shared_locks(attempt, original)


# ---- servers that close the connection after an unknown command, as 0.1.0 to 0.4.1 do ----

class Closing(Older):
    def __init__(self, server, refusal, pair=None):
        super().__init__(server, "w", "name", "own", "rl", "re", "show", "revoke")
        self.refusal = refusal
        self.closes = True
        self.tls = pair and ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if pair:
            self.tls.load_cert_chain(pair.certificate, pair.key)

    def serve(self, connection):
        with suppress(OSError):
            super().serve(self.tls.wrap_socket(connection, server_side=True)
                          if self.tls else connection)


REFUSALS = pytest.mark.parametrize("refusal", [b"error\n", b""])


@REFUSALS
@pytest.mark.parametrize("secret", [[], ["auth=s3cret"]])
def test_a_closing_server_grants_locks(attempt, refusal, secret):
    options = ["--auth-token", "s3cret"] if secret else []
    with Server(*options) as server, Closing(server, refusal) as closing:
        assert [line[1] for line in attempt(
            f"server={closing.address}", *secret, "acquire=0", "renew", "release",
            "acquire=0", "release")] == ["DONE"] * 5
        assert closing.refused == ["w"]
        assert closing.accepted == 2


@REFUSALS
def test_a_closing_server_grants_locks_over_tls(attempt, refusal, tmp_path):
    authority = Authority(tmp_path)
    with Server("--auth-token", "s3cret") as server, \
            Closing(server, refusal, authority.issue("server")) as closing:
        assert [line[1] for line in attempt(
            f"server={closing.address}", "tls=1", f"ca={authority.certificate}", "auth=s3cret",
            "acquire=0", "renew", "release")] == ["DONE"] * 3
        assert closing.refused == ["w"]


@REFUSALS
def test_a_closing_server_keeps_many_locks(attempt, refusal):
    with Server() as server, Closing(server, refusal) as closing:
        assert_held_and_released(attempt, closing)
        assert closing.refused == ["w"]


def test_a_server_that_ends_during_the_probe_is_probed_again(start):
    """It was not the probe that ended the connection, since the next one ends too."""
    with Server() as server, Closing(server, b"") as older:
        older.unknown.append(b"l\n")
        process = start(f"server={older.address}", "acquire=0", "sleep=500", "acquire=0", "release")
        assert read_line(process) == ["acquire", "DISCONNECTED"]
        older.unknown.clear()
        assert [read_line(process) for _ in range(3)] == [
            ["sleep", "DONE"], ["acquire", "DONE"], ["release", "DONE"]]
        assert older.requests == ["w", "l", "w", "name", "l", "r"]


# ---- names ----

def test_each_connection_sends_its_name_first(attempt):
    """One probe per client. The name of a later connection costs no round trip."""
    with Server() as server, Older(server) as proxy:
        assert attempt(f"server={proxy.address}", "acquire=0", "ping", "release", "acquire=0")
        assert proxy.requests == ["w", "name", "l", "name", "ping", "r", "l", "r"]
        assert proxy.accepted == 2


def test_an_unknown_name_is_sent_once(attempt):
    with Server() as server, Older(server, "name") as older:
        attempt(f"server={older.address}", "acquire=0", "ping", "ping")
        assert older.requests == ["w", "name", "l", "ping", "ping", "r"]


def test_a_client_without_a_name_does_not_probe(attempt):
    with Server() as server, Older(server) as proxy:
        attempt(f"server={proxy.address}", "as=", "shared=1", "acquire=0", "release")
        assert proxy.requests == ["rl", "r"]


def test_the_original_server_is_not_sent_a_name(attempt):
    with OriginalServer(original_python_or_skip()) as original:
        assert [line[1] for line in attempt(
            f"server={original.host}:{original.port}", "acquire=0", "renew", "release",
            "enqueue", "wait=1", "release")] == ["DONE"] * 6


# ---- show and revoke ----

@pytest.mark.parametrize("name", ["as=", "as=me"])
def test_error_to_show_and_revoke_is_unsupported(attempt, name):
    with Server() as server, Older(server, "name", "show", "revoke") as older:
        assert [line[1] for line in attempt(
            f"server={older.address}", name, "acquire=0", "show", "revoke=1", "release")] == [
                "DONE", "UNSUPPORTED", "UNSUPPORTED", "DONE"]


@pytest.mark.parametrize("name", ["as=", "as=me"])
def test_the_original_server_has_no_show(attempt, name):
    with OriginalServer(original_python_or_skip()) as original:
        assert [line[1] for line in attempt(
            f"server={original.host}:{original.port}", name, "show", "revoke=1", "acquire=0")] == [
                "UNSUPPORTED", "UNSUPPORTED", "DONE"]


# ---- an older server in place of a newer one ----

def read_line(process):
    return process.stdout.readline().split()[:2]


def test_a_server_that_loses_its_commands_is_recognised(start):
    with Server() as server, Older(server) as older:
        process = start(f"server={older.address}", "shared=1", "acquire=0", "release", "sleep=500",
                        "acquire=0", "enqueue", "show", "release")
        assert [read_line(process) for _ in range(2)] == [["acquire", "DONE"], ["release", "DONE"]]
        older.unknown = [b"rl\n", b"re\n", b"name\n", b"show\n"]
        assert [read_line(process) for _ in range(5)] == [
            ["sleep", "DONE"], ["acquire", "UNSUPPORTED"], ["enqueue", "UNSUPPORTED"],
            ["show", "UNSUPPORTED"], ["release", "NOT_HELD"]]
