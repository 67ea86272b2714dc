"""A bystander: the server must serve it during every attack, and keep nothing afterwards."""

import threading
import time

from lib.process import SANITIZED, descriptor_count, resident_kib
from lib.server import QUICK_COLLECTION, Server
from lib.wire_client import Client, eventually, settle

MEMORY_FACTOR = 16 if SANITIZED else 1


def steady_descriptors(server):
    """Returns the number of descriptors after the server has closed the last connection."""
    counts = [descriptor_count(server)]

    def unchanged():
        time.sleep(0.1)
        counts.append(descriptor_count(server))
        return counts[-1] == counts[-2]
    eventually(unchanged)
    return counts[-1]


class Bystander:
    """A connection that acquires and releases all the time, and keeps the first error."""

    def __init__(self, server, auth=None):
        self.client = Client(server)
        if auth:
            assert self.client.call("auth", "_", auth) == "ok"
        self.rounds = 0
        self.error = None
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        try:
            while not self.stop.wait(0.001):
                token = self.client.acquire("bystander")
                assert self.client.call("ping") == "ok"
                assert self.client.call("r", "bystander", token) == "ok"
                self.rounds += 1
        except (AssertionError, OSError) as error:
            self.error = error

    def served(self):
        """Waits until the server has served it again from now on."""
        before = self.rounds
        eventually(lambda: self.error or self.rounds > before + 3)
        assert self.error is None, f"another connection was not served: {self.error}"

    def end(self):
        self.served()
        self.stop.set()
        self.thread.join()
        self.client.close()


class WatchedServer:
    """A server with a bystander. At the end the bystander was served throughout, and no connection,
    key, waiter or descriptor is left."""

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
                eventually(self.has_initial_descriptors)
                assert self.server.process.poll() is None
        finally:
            self.bystander.stop.set()
            self.bystander.thread.join()
            self.server.__exit__()

    def has_initial_descriptors(self):
        """The server has as many descriptors as at the start."""
        return descriptor_count(self.server) == self.descriptors

    def client(self):
        """A new connection for the test, authenticated if the server requires it."""
        client = Client(self.server)
        if self.auth:
            assert client.call("auth", "_", self.auth) == "ok"
        return client

    def grows_at_most(self, kib):
        """Returns a check that the server's memory has grown by at most `kib` since this call."""
        before = resident_kib(self.server)

        def check():
            grown = resident_kib(self.server) - before
            assert grown <= kib * MEMORY_FACTOR, f"grew by {grown} KiB"
        return check
