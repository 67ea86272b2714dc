"""Many locks at a server that does not know `own`: each keeps its own connection."""

import socket
import threading
from contextlib import suppress

from lib.original_server import OriginalServer, original_python_or_skip
from lib.server import Server
from lib.stand_in import StandIn

LOCKS = 12


class WithoutOwn(StandIn):
    """Passes requests to a server, but replies `error` to `own`, as published 2.1 does."""

    def __init__(self, server):
        super().__init__()
        self.host = "127.0.0.1"
        self.server = (server.host, server.port)
        self.accepted = 0
        self.owns = 0

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
                if request[0] == b"own\n":
                    self.owns += 1
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
    with Server() as server, WithoutOwn(server) as without:
        assert_held_and_released(attempt, without)
        assert without.accepted == LOCKS + 1
        assert without.owns == 2


def test_a_closed_connection_keeps_the_connections(attempt):
    with OriginalServer(original_python_or_skip()) as original:
        assert_held_and_released(attempt, original)
