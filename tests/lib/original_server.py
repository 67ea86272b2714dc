"""The original server, of PyPI's `dflockd` 0.5.0, in its own Python environment."""

import socket
import subprocess
import time

from .python_environment import Package, python_of, python_or_skip
from .server import START_SECONDS, unused_address

PACKAGE = Package("dflockd", "0.5.0", ("dflockd.client", "dflockd.sync_client"))


def original_python():
    return python_of(PACKAGE)


def original_python_or_skip():
    return python_or_skip(PACKAGE)


class OriginalServer:
    """One running original server, by default on an unused loopback address."""

    def __init__(self, python, *args, host=None):
        self.host = host or unused_address()
        with socket.socket() as probe:
            probe.bind((self.host, 0))
            self.port = probe.getsockname()[1]
        self.command = [str(python), "-m", "dflockd.server", "--host", self.host,
                        "--port", str(self.port), *args]

    def __enter__(self):
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                self.connect().close()
                return self
            except ConnectionRefusedError:
                if time.monotonic() > end or self.process.poll() is not None:
                    raise
                time.sleep(0.02)

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait(10)

    def connect(self, timeout=20):
        return socket.create_connection((self.host, self.port), timeout=timeout)
