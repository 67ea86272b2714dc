"""Start a dflockd, ours or the original in Python, for a test; stop it afterwards.

    with Server("--max-locks", "8") as server:
        with server.connect() as connection:
            connection.sendall(b"l\nkey\n0\n")

The server under test listens on a port the kernel chooses, and says which in its log.
"""

import os
import re
import signal
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("DFLOCKD", ROOT / "build" / "dflockd"))
LISTENING = re.compile(r'msg="?listening"? addr=(?P<host>\S+):(?P<port>\d+)')
START_SECONDS = 20


class Server:
    """One running dflockd on a free port of 127.0.0.1; `log` holds what it wrote to stderr."""

    def __init__(self, *args, environment=None, binary=BINARY, port=0):
        self.command = [str(binary), "--port", str(port), *args]
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("DFLOCKD")}
        self.environment.update(environment or {})
        self.log = []
        self.host = None
        self.port = None
        self._listening = threading.Event()

    def __enter__(self):
        self.process = subprocess.Popen(
            self.command, env=self.environment, stderr=subprocess.PIPE, text=True,
            stdin=subprocess.DEVNULL)
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        if not self._listening.wait(START_SECONDS) or self.port is None:
            self.kill()
            raise RuntimeError("server did not start:\n" + "".join(self.log))
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()
        self._reader.join(5)

    def _read_log(self):
        for line in self.process.stderr:
            self.log.append(line)
            match = LISTENING.search(line)
            if match and self.port is None:
                self.host = match["host"].strip("[]")
                self.port = int(match["port"])
                self._listening.set()
        self._listening.set()

    @property
    def pid(self):
        return self.process.pid

    def connect(self, timeout=20):
        """A TCP connection to the server, blocking calls limited to `timeout` seconds."""
        return socket.create_connection((self.host, self.port), timeout=timeout)

    def terminate(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    @contextmanager
    def stopped(self):
        """What is done meanwhile the server comes upon all at once."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
            time.sleep(0.2)
        finally:
            self.process.send_signal(signal.SIGCONT)

    def wait(self, timeout=20):
        """The exit status."""
        return self.process.wait(timeout)

    def kill(self):
        self.process.kill()
        self.process.wait(10)


class PythonServer:
    """The original server of PyPI's `dflockd` 0.5.0, run by the interpreter of its environment."""

    def __init__(self, python, *args):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.host, self.port = probe.getsockname()
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
