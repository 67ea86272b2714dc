"""A client for tests that distinguishes a line, silence, a close and a reset."""

import errno
import json
import socket
import struct
import time

TIMEOUT_S = 20
MEGABYTE = 1 << 20
MORE_THAN_BUFFERS = 64 * MEGABYTE  # more than all buffers between two processes hold
CLOSED, RESET, SILENCE = "(closed)", "(reset)", "(silence)"


def request(command, key="_", arg=""):
    """Returns the bytes of one request; each field is text or bytes."""
    parts = (part if isinstance(part, bytes) else str(part).encode() for part in
             (command, key, arg))
    return b"".join(part + b"\n" for part in parts)


class Client:
    def __init__(self, server, connection=None):
        self.socket = connection or server.connect()
        if self.socket.family != socket.AF_UNIX:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = bytearray()
        self.end = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        """Sends all data. If the server has closed, the next read_line reports it."""
        try:
            self.socket.sendall(data)
        except (ConnectionResetError, BrokenPipeError):
            pass

    def send_until_blocked(self, data, seconds=2.0):
        """Sends until the kernel accepts nothing for `seconds`. Returns the number of bytes."""
        sent = 0
        self.socket.settimeout(seconds)
        try:
            while sent < len(data):
                sent += self.socket.send(data[sent:sent + 65536])
        except (TimeoutError, BlockingIOError, ConnectionError):
            pass
        self.socket.settimeout(TIMEOUT_S)
        return sent

    def read_line(self, seconds=TIMEOUT_S):
        """Returns the next line with its newline, or CLOSED, RESET, or SILENCE after `seconds`.

        An unfinished line before the end is returned first.
        """
        limit = time.monotonic() + seconds
        while b"\n" not in self.received and self.end is None:
            remaining = limit - time.monotonic()
            if remaining <= 0:
                return SILENCE
            self._receive(remaining)
        if not self.received:
            return self.end
        length = self.received.find(b"\n") + 1 or len(self.received)
        line = bytes(self.received[:length])
        del self.received[:length]
        return line

    def _receive(self, seconds):
        self.socket.settimeout(seconds)
        try:
            data = self.socket.recv(1 << 18)
        except (socket.timeout, BlockingIOError):
            return
        except ConnectionResetError:
            self.end = RESET
            return
        finally:
            self.socket.settimeout(TIMEOUT_S)
        self.received += data
        if not data:
            self.end = CLOSED

    def call(self, command, key="_", arg=""):
        """Sends a request and returns its reply as text, without the newline."""
        self.send(request(command, key, arg))
        line = self.read_line()
        return line.decode().rstrip("\n") if isinstance(line, bytes) else line

    def acquire(self, key, arg="0"):
        """Acquires a lock, which must succeed, and returns its token."""
        reply = self.call("l", key, arg).split(" ")
        assert reply[0] == "ok" and len(reply) == 3, reply
        return reply[1]

    def stats(self):
        reply = self.call("stats")
        assert reply.startswith("ok "), reply[:200]
        return json.loads(reply[3:])

    def fin(self):
        """Shuts down writing. A connection that has ended already is not an error."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise

    def close(self):
        self.socket.close()

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def eventually(condition, seconds=TIMEOUT_S):
    """Waits until `condition()` returns a true value, and returns it."""
    limit = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < limit, f"did not become true: {condition.__doc__ or condition}"
        time.sleep(0.02)


def settle(server, seconds=TIMEOUT_S, also_idle=False, auth=None):
    """Waits until a new connection is the only one, and no lock is held or waited for.

    With `also_idle`, waits until the server has also collected the released keys.
    """
    lists = ["locks", "semaphores"] + (["idle_locks", "idle_semaphores"] if also_idle else [])
    limit = time.monotonic() + seconds
    while True:
        try:
            with Client(server) as client:
                if auth:
                    assert client.call("auth", "_", auth) == "ok"
                seen = client.stats()
        except (AssertionError, OSError) as error:
            seen = {"connections": repr(error)}
        if seen["connections"] == 1 and not any(seen[name] for name in lists):
            return
        assert time.monotonic() < limit, f"still there: {str(seen)[:2000]}"
        time.sleep(0.05)
