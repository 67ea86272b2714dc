"""The servers that are compared, each on one CPU.

    with Dflockd() as server:
        server.address, server.pid
"""

import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod

from comparison.place import BUILD, SERVER_CPU, pinned
from lib.original_server import OriginalServer, original_python
from lib.server import Server

START_SECONDS = 20
# More than any row needs, so that no server refuses a request.
LOCKS_MAX = 20000000
CLIENTS_MAX = 100000


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


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

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self):
        return self.process.pid


class Command(ABC):
    """A server that has started when it accepts a connection."""

    protocol = "dflockd"

    def __init__(self, cpus=(SERVER_CPU,)):
        self.port = free_port()
        self.cpus = cpus

    @abstractmethod
    def command(self):
        """Returns the command that starts the server on `self.port`."""

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self):
        return self.process.pid

    def connect(self, timeout=20):
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.process = subprocess.Popen(
            pinned(self.command(), *self.cpus), cwd=self.folder.name, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                self.connect().close()
                return self
            except ConnectionRefusedError:
                if time.monotonic() > end or self.process.poll() is not None:
                    self.__exit__()
                    raise
                time.sleep(0.02)

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait(10)
        self.folder.cleanup()


class Ceiling(Command):
    """The server of perf/ceiling.c."""

    name = "ceiling"

    def __init__(self, threads=1, **place):
        super().__init__(**place)
        self.threads = threads

    def command(self):
        return [BUILD / "perf" / "ceiling", self.port, self.threads]


class Redis(Command):
    """Redis without persistence."""

    name = "redis"
    protocol = "redis"

    def command(self):
        return ["redis-server", "--port", self.port, "--bind", "127.0.0.1", "--save", "",
                "--appendonly", "no", "--maxclients", CLIENTS_MAX]


ALL = (Ceiling, Dflockd, Redis, Original)
