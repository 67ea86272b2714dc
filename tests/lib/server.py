"""Starts a dflockd for a test, and stops it afterwards.

    with Server("--max-locks", "8") as server:
        with server.connect() as connection:
            connection.sendall(b"l\nkey\n0\n")

The kernel chooses the port; the server logs it.
"""

import os
import random
import re
import signal
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path

# With these flags the server collects a released key within a second.
QUICK_COLLECTION = ("--gc-interval", "1", "--gc-max-idle", "0")
ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("DFLOCKD", ROOT / "build" / "dflockd"))
# Not that of HTTP.
LISTENING = re.compile(
    r'msg="?listening"? addr=(?P<host>\S+):(?P<port>\d+)(?!.*\bprotocol=http\b)')
START_SECONDS = 20


def unused_address():
    """A loopback address that no other test uses, so that all its ports are free."""
    number = random.SystemRandom().randrange(2 << 16, 1 << 24)
    return f"127.{number >> 16}.{number >> 8 & 255}.{number & 255}"


class Server:
    """One running dflockd on a free port of 127.0.0.1; `log` holds the lines of its stderr."""

    def __init__(self, *args, environment=None, binary=BINARY, port=0):
        self.command = [str(binary), "--port", str(port), *args]
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("DFLOCKD")}
        self.environment.update(environment or {})
        self.log = []
        self.host = None
        self.port = None
        self._listening = threading.Event()

    def __enter__(self):
        # In a group of its own: the kernel may send SIGHUP to all of a group without a shell that
        # has a stopped process.
        self.process = subprocess.Popen(
            self.command, env=self.environment, stderr=subprocess.PIPE, text=True,
            stdin=subprocess.DEVNULL, process_group=0)
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

    def connect_small(self, receive_bytes=4096):
        """As connect, with a receive buffer that the kernel does not enlarge.

        It is set before the connection: a window that shrinks later makes TCP lose packets.
        """
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.settimeout(20)
        connection.connect((self.host, self.port))
        return connection

    def terminate(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    @contextmanager
    def stopped(self):
        """Stops the process: afterwards the server finds everything that happened meanwhile."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)  # all threads stand still
        try:
            yield
            time.sleep(0.2)
        finally:
            self.process.send_signal(signal.SIGCONT)

    def wait(self, timeout=20):
        """Waits for the end of the process and its log, and returns the exit status."""
        status = self.process.wait(timeout)
        self._reader.join(5)
        return status

    def kill(self):
        self.process.kill()
        self.process.wait(10)
