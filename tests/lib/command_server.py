"""Starts a server that reports its start only by accepting a connection."""

import socket
import subprocess
import tempfile
import time

from .server import START_SECONDS


class CommandServer:
    """One running server on a free port of `host`, in an empty folder of its own.

    Subclasses set `command`.
    """

    command: list

    def __init__(self, host="127.0.0.1"):
        self.host = host
        with socket.socket() as probe:
            probe.bind((host, 0))
            self.port = probe.getsockname()[1]

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    @property
    def pid(self):
        return self.process.pid

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.process = subprocess.Popen(
            self.command, cwd=self.folder.name, stdin=subprocess.DEVNULL,
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

    def connect(self, timeout=20):
        return socket.create_connection((self.host, self.port), timeout=timeout)
