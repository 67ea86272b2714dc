"""Servers that do not know some of the commands that ours add to the protocol."""

import socket
import threading
from contextlib import suppress

from lib.original_server import OriginalServer, original_python_or_skip
from lib.server import Server
from lib.stand_in import StandIn

LOCKS = 12


class Older(StandIn):
    """Passes requests to a server, but replies `error` to `unknown` ones, as published 2.1 does."""

    def __init__(self, server, *unknown):
        super().__init__()
        self.unknown = [command.encode() + b"\n" for command in unknown]
        self.host = "127.0.0.1"
        self.server = (server.host, server.port)
        self.accepted = 0
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
                if request[0] in self.unknown:
                    self.refused.append(request[0].decode().strip())
                    connection.sendall(b"error\n")
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
        assert older.refused == ["own"] * 2


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
