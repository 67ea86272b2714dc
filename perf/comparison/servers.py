"""The servers that are compared, each on one CPU.

    with Dflockd() as server:
        server.address, server.pid
"""

from comparison.place import BUILD, SERVER_CPU, pinned
from lib.command_server import CommandServer
from lib.original_server import OriginalServer, original_python
from lib.server import Server

# More than any row needs, so that no server refuses a request.
LOCKS_MAX = 20000000
CLIENTS_MAX = 100000


class Dflockd(Server):
    """A dflockd server, with one worker thread by default."""

    name = "dflockd"
    protocol = "dflockd"

    def __init__(self, *flags, threads=1, cpus=(SERVER_CPU,)):
        super().__init__("--threads", str(threads), "--max-locks", str(LOCKS_MAX), *flags,
                         binary=BUILD / "dflockd")
        self.command = pinned(self.command, *cpus)

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"


class Original(OriginalServer):
    """The server of PyPI's `dflockd` 0.5.0, in the environment of the tests."""

    name = "python"
    protocol = "dflockd"

    def __init__(self, *flags):
        super().__init__(original_python(), "--max-locks", str(LOCKS_MAX), *flags,
                         host="127.0.0.1")
        self.command = pinned(self.command, SERVER_CPU)


class Ceiling(CommandServer):
    """The server of perf/ceiling.c."""

    name = "ceiling"
    protocol = "dflockd"

    def __init__(self, threads=1, cpus=(SERVER_CPU,)):
        super().__init__()
        self.command = pinned([BUILD / "perf" / "ceiling", self.port, threads], *cpus)


class Redis(CommandServer):
    """Redis without persistence."""

    name = "redis"
    protocol = "redis"

    def __init__(self):
        super().__init__()
        self.command = pinned(["redis-server", "--port", self.port, "--bind", self.host,
                               "--save", "", "--appendonly", "no",
                               "--maxclients", CLIENTS_MAX], SERVER_CPU)


ALL = (Ceiling, Dflockd, Redis, Original)
