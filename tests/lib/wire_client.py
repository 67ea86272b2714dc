"""A client of the wire that tells a line from silence, an orderly close and a reset."""

import errno
import json
import socket
import struct
import time

TIMEOUT_S = 20  # seconds
MEGABYTE = 1 << 20
MORE_THAN_BUFFERS = 64 * MEGABYTE  # more than all buffers between two processes hold
CLOSED, RESET, SILENCE = "(closed)", "(reset)", "(silence)"


def request(command, key="_", arg=""):
    """The bytes of one request; each field is text or bytes."""
    parts = (part if isinstance(part, bytes) else str(part).encode() for part in
             (command, key, arg))
    return b"".join(part + b"\n" for part in parts)


class Client:
    def __init__(self, server):
        self.socket = server.connect()
        if self.socket.family != socket.AF_UNIX:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = bytearray()
        self.end = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        """Send it all. A server that has closed is no error here: what is heard next tells."""
        try:
            self.socket.sendall(data)
        except (ConnectionResetError, BrokenPipeError):
            pass

    def send_until_blocked(self, data, patience=2.0):
        """Send until all is sent, or nothing was taken for so many seconds. Returns the count."""
        sent = 0
        self.socket.settimeout(patience)
        try:
            while sent < len(data):
                sent += self.socket.send(data[sent:sent + 65536])
        except (TimeoutError, BlockingIOError, ConnectionError):
            pass
        self.socket.settimeout(TIMEOUT_S)
        return sent

    def read_line(self, seconds=TIMEOUT_S):
        """The next line with its newline, or CLOSED, RESET, or SILENCE for so many seconds.

        An end after an unfinished line gives that line first.
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
        """Send a request and return its reply as text, without the newline."""
        self.send(request(command, key, arg))
        heard = self.read_line()
        return heard.decode().rstrip("\n") if isinstance(heard, bytes) else heard

    def acquire(self, key, arg="0"):
        """The token of a lock that must be granted."""
        reply = self.call("l", key, arg).split(" ")
        assert reply[0] == "ok" and len(reply) == 3, reply
        return reply[1]

    def stats(self):
        reply = self.call("stats")
        assert reply.startswith("ok "), reply[:200]
        return json.loads(reply[3:])

    def fin(self):
        """Say that no more is sent. Where all has ended already there is nothing to say."""
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
    """Wait until `condition()` returns something true, and return that."""
    limit = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < limit, f"never came true: {condition.__doc__ or condition}"
        time.sleep(0.02)


def settle(server, seconds=TIMEOUT_S, also_idle=False, auth=None):
    """Wait until a new connection finds itself alone and nothing held or waited for.

    With `also_idle`, until the states of released keys are collected too.
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
        assert time.monotonic() < limit, f"left behind: {str(seen)[:2000]}"
        time.sleep(0.05)
