"""A stand-in for upstream 2.1: a lock server without our commands."""

from contextlib import suppress

from .stand_in import StandIn

TOKEN = b"0" * 31 + b"1"
EMPTY = b'{"connections":1,"locks":[],"semaphores":[],"idle_locks":[],"idle_semaphores":[]}'


class OlderServer(StandIn):
    """Answers `error` to a command that it does not know, and stays open. `requests` has all."""

    def __init__(self, stats=EMPTY):
        super().__init__()
        self.requests = []
        grant = b"ok " + TOKEN + b" 33\n"
        self.replies = {b"l": grant, b"sl": grant, b"ping": b"ok\n", b"n": b"ok 33\n",
                        b"w": b"error_not_enqueued\n", b"stats": b"ok " + stats + b"\n"}

    @property
    def commands(self):
        return [command.decode() for command, _, _ in self.requests]

    def serve(self, connection):
        with connection, connection.makefile("rb") as file, suppress(OSError):
            while line := file.readline():
                request = tuple(each.strip() for each in (line, file.readline(), file.readline()))
                self.requests.append(request)
                reply = self.replies.get(request[0], b"error\n")
                if request[0] == b"r" and request[2] == TOKEN:
                    reply = b"ok\n"
                connection.sendall(reply)
