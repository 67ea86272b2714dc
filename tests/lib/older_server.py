"""A stand-in for upstream 2.1: a lock server without our commands."""

import json
from contextlib import suppress

from .stand_in import StandIn

STATS = {"connections": 1, "locks": [], "semaphores": [], "idle_locks": [], "idle_semaphores": []}
GRANT = b"ok " + b"0" * 31 + b"1 33\n"


class OlderServer(StandIn):
    """Answers `error` to a command that it does not know, and stays open. `commands` has all."""

    def __init__(self):
        super().__init__()
        self.commands = []

    def serve(self, connection):
        replies = {"l": GRANT, "sl": GRANT, "ping": b"ok\n",
                   "stats": b"ok " + json.dumps(STATS).encode() + b"\n"}
        with connection, connection.makefile("rb") as file, suppress(OSError):
            while line := file.readline():
                self.commands.append(line.decode().strip())
                file.readline()
                file.readline()
                connection.sendall(replies.get(self.commands[-1], b"error\n"))
