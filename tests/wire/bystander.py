"""What must hold around every mistreatment: others are served meanwhile, and nothing remains."""

import threading
import time
from pathlib import Path

from lib.server import BINARY, Server
from lib.wire_client import Client, eventually, settle

# A sanitized server keeps what it frees, for a while, to notice its use.
MEMORY_FACTOR = 16 if b"__asan_init" in BINARY.read_bytes() else 1
QUICK_COLLECTION = ("--gc-interval", "1", "--gc-max-idle", "0")


def descriptors(server):
    return len(list(Path(f"/proc/{server.pid}/fd").iterdir()))


def steady_descriptors(server):
    """Their number once the end of the last connection has been dealt with."""
    counts = [descriptors(server)]

    def unchanged():
        time.sleep(0.1)
        counts.append(descriptors(server))
        return counts[-1] == counts[-2]
    eventually(unchanged)
    return counts[-1]


def resident_kib(server):
    status = Path(f"/proc/{server.pid}/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0])


class Bystander:
    """A connection that acquires and releases all the while, and notes the first thing wrong."""

    def __init__(self, server, auth=None):
        self.client = Client(server)
        if auth:
            assert self.client.call("auth", "_", auth) == "ok"
        self.rounds = 0
        self.wrong = None
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        try:
            while not self.stop.wait(0.001):
                token = self.client.acquire("witness")
                assert self.client.call("ping") == "ok"
                assert self.client.call("r", "witness", token) == "ok"
                self.rounds += 1
        except (AssertionError, OSError) as error:
            self.wrong = error

    def served(self):
        """Wait until it was served again, from now on."""
        before = self.rounds
        eventually(lambda: self.wrong or self.rounds > before + 3)
        assert self.wrong is None, f"another connection was not served: {self.wrong}"

    def end(self):
        self.served()
        self.stop.set()
        self.thread.join()
        self.client.close()


class WatchedServer:
    """A server with a witness; at the end the witness was served throughout, and nothing is left:
    no connection, key, waiter or descriptor more than at the start."""

    def __init__(self, *args, auth=None, server=None):
        flags = QUICK_COLLECTION + args + (("--auth-token", auth) if auth else ())
        self.server = server or Server(*flags)
        self.auth = auth

    def __enter__(self):
        self.server.__enter__()
        try:
            settle(self.server, auth=self.auth)
            self.descriptors = steady_descriptors(self.server)
            self.bystander = Bystander(self.server, self.auth)
            self.bystander.served()
        except BaseException:
            self.server.__exit__()
            raise
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.bystander.end()
                settle(self.server, seconds=60, also_idle=True, auth=self.auth)
                eventually(self.has_the_descriptors_of_the_start)
                assert self.server.process.poll() is None
        finally:
            self.bystander.stop.set()
            self.bystander.thread.join()
            self.server.__exit__()

    def has_the_descriptors_of_the_start(self):
        """The server has as many open as at its start."""
        return descriptors(self.server) == self.descriptors

    def client(self):
        """A connection that may do as the test likes (authenticated if need be)."""
        client = Client(self.server)
        if self.auth:
            assert client.call("auth", "_", self.auth) == "ok"
        return client

    def grows_at_most(self, kib):
        """A check that the server's memory has not grown by more since now."""
        before = resident_kib(self.server)

        def check():
            grown = resident_kib(self.server) - before
            assert grown <= kib * MEMORY_FACTOR, f"grew by {grown} KiB"
        return check
