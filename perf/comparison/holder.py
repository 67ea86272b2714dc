"""Many clients that hold keys, wait for them, or do nothing."""

import resource
import socket

from comparison.place import DESCRIPTORS

WINDOW = 500  # pending requests
PORTS_OF_AN_ADDRESS = 25000
HELD_SECONDS = 100000
CONNECT_SECONDS = 30
WARM_UP_BYTES = 2 << 20  # twice the size of dflockd's receive buffers
IP_BIND_ADDRESS_NO_PORT = 24  # of linux/in.h, unknown to Python 3.11


def raise_descriptor_limit():
    """Raises the limit for this process and its children. Returns the new limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limits in ((DESCRIPTORS, max(hard, DESCRIPTORS)), (hard, hard)):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            return limits[0]
        except (ValueError, PermissionError):
            continue
    return soft


def key(number, space="held"):
    """Returns a key of 20 bytes."""
    return f"{space}:{number:0{19 - len(space)}}"


def acquire(key_text, arguments=f"0 {HELD_SECONDS}"):
    return f"l\n{key_text}\n{arguments}\n".encode()


def enqueue(key_text):
    return f"e\n{key_text}\n{HELD_SECONDS}\n".encode()


def release(key_text, token):
    return f"r\n{key_text}\n{token}\n".encode()


def redis_set(key_text):
    words = "SET", key_text, "0123456789abcdef" * 2, "NX", "PX", str(HELD_SECONDS * 1000)
    parts = [f"*{len(words)}"] + [f"${len(word)}\r\n{word}" for word in words]
    return ("\r\n".join(parts) + "\r\n").encode()


class Pipeline:
    """A connection with many pipelined requests, each of which must succeed."""

    def __init__(self, server):
        self.server = server
        self.socket = server.connect(CONNECT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def request(self, requests, word):
        """Sends requests in windows. Every reply must begin with `word`."""
        for begin in range(0, len(requests), WINDOW):
            window = requests[begin:begin + WINDOW]
            self.socket.sendall(b"".join(window))
            lines = self.lines(len(window))
            wrong = next((line for line in lines if not line.startswith(word)), None)
            assert wrong is None, f"unexpected reply: {wrong}"

    def lines(self, count):
        parts = []
        while count > 0:
            parts.append(self.socket.recv(1 << 18))
            assert parts[-1], "the server has closed the connection"
            count -= parts[-1].count(b"\n")
        return b"".join(parts).splitlines()

    def warm_up(self):
        """Sends requests that hold nothing until the server has used all its receive buffers."""
        redis = self.server.protocol == "redis"
        request = b"PING\r\n" if redis else release(key(0), "0" * 32)
        self.request([request] * (WARM_UP_BYTES // len(request)), b"")

    def hold(self, count, first=0):
        """Acquires `count` keys from number `first` on, for longer than a row lasts."""
        redis = self.server.protocol == "redis"
        make, word = (redis_set, b"+OK") if redis else (acquire, b"ok ")
        for begin in range(first, first + count, 100 * WINDOW):
            end = min(begin + 100 * WINDOW, first + count)
            self.request([make(key(number)) for number in range(begin, end)], word)

    def enqueue(self, count):
        """Enqueues for keys that another client holds."""
        self.request([enqueue(key(number)) for number in range(count)], b"queued")


def leave_leases(server, count):
    """Lets clients connect one after the other, acquire a key each, and disconnect.

    A server without auto-release keeps their leases. They all use one connection slot.
    """
    for number in range(count):
        with Pipeline(server) as client:
            client.request([acquire(key(number))], b"ok ")


def keep_similar_fences(server, client, count, low_bits=8):
    """Acquires keys, and keeps those leases whose fences have the same low bits.

    An attacker could do this to put its fences into one bucket of a predictable hash map.
    """
    wanted, kept, number = None, 0, 0
    while kept < count:
        names = [key(number + i) for i in range(WINDOW)]
        client.socket.sendall(b"".join(acquire(name) for name in names))
        tokens = [line.split()[1].decode() for line in client.lines(WINDOW)]
        number += WINDOW
        fences = [int(token[:16], 16) & (1 << low_bits) - 1 for token in tokens]
        wanted = fences[0] if wanted is None else wanted
        others = [release(name, token) for name, token, fence in zip(names, tokens, fences)
                  if fence != wanted]
        kept += WINDOW - len(others)
        client.request(others, b"ok")


class Connections:
    """Connections that are silent until `send`."""

    def __init__(self, server, count):
        self.sockets = []
        for number in range(count):
            one = socket.socket()
            # A local address has about 28,000 such ports; connect() picks one.
            one.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            one.bind((f"127.0.1.{1 + number // PORTS_OF_AN_ADDRESS}", 0))
            one.settimeout(CONNECT_SECONDS)
            one.connect(("127.0.0.1", server.port))
            self.sockets.append(one)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for one in self.sockets:
            one.close()

    def send(self, make_request):
        """Sends the request for its number on each connection."""
        for number, one in enumerate(self.sockets):
            one.sendall(make_request(number))

    def read_replies(self):
        """Waits for a reply on each connection."""
        for one in self.sockets:
            assert one.recv(4096), "the server has closed the connection"
