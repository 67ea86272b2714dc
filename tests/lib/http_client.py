"""A client for HTTP/1.1 over raw sockets, which can also send what no library would.

It checks what must hold for every answer: JSON with a newline at the end, and its headers.
"""

import json
import socket
import time
from dataclasses import dataclass
from urllib.parse import quote

from .server import Server, unused_address
from .tls import TlsSocket, client_context
from .wire_client import CLOSED, RESET, SILENCE, TIMEOUT_S, eventually

HTTP_PORT = 8080
UNKNOWN_SESSION = "0" * 32
CODES = {
    400: {"bad_request"}, 401: {"unauthorized"}, 403: {"forbidden"},
    404: {"not_found", "not_held"}, 405: {"method_not_allowed"},
    409: {"limit_mismatch", "already_enqueued", "not_enqueued", "lease_expired"},
    410: {"session_gone"}, 429: {"rate_limited"},
    503: {"max_locks", "max_waiters", "max_sessions", "max_sessions_per_ip", "draining",
          "unavailable"}}


class HttpServer(Server):
    """A server with HTTP on an address of its own, so that the port is free."""

    def __init__(self, *args, http_host=None, **more):
        self.http_host = http_host or unused_address()
        self.http_port = HTTP_PORT
        super().__init__("--http-host", self.http_host, "--http-port", str(self.http_port), *args,
                         **more)

    def __enter__(self):
        super().__enter__()
        try:
            eventually(self.accepts_http)
        except BaseException:
            self.kill()
            raise
        return self

    def accepts_http(self):
        """The server listens for HTTP."""
        try:
            self.connect_http().close()
        except OSError:
            assert self.process.poll() is None, "".join(self.log)
            return False
        return True

    def connect_http(self, timeout=TIMEOUT_S, source=None):
        connection = socket.create_connection((self.http_host, self.http_port), timeout,
                                              source_address=source and (source, 0))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


class HttpsServer(HttpServer):
    """A server with the certificate of `pair`, also for HTTP."""

    def __init__(self, pair, *args, authority=None, client=None, version=None, **more):
        super().__init__("--tls-cert", str(pair.certificate), "--tls-key", str(pair.key), *args,
                         **more)
        self.context = client_context(authority, version, client)

    def connect_plain(self):
        return super().connect_http()

    def accepts_http(self):
        """The server listens for HTTP."""
        try:
            self.connect_plain().close()
        except OSError:
            return False
        return True

    def connect_http(self, timeout=TIMEOUT_S, source=None, context=None):
        plain = super().connect_http(timeout, source)
        try:
            return TlsSocket(plain, context or self.context)
        except BaseException:
            plain.close()
            raise


@dataclass
class Response:
    version: str
    status: int
    headers: list  # of pairs; the names are lower case
    body: bytes
    method: str

    def header(self, name):
        """Returns the value of a header that occurs at most once, or None."""
        values = [value for each, value in self.headers if each == name.lower()]
        assert len(values) <= 1, self
        return values[0] if values else None

    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        """The code of the error; None if the answer is no error."""
        return self.json().get("error") if self.status >= 400 else None

    @property
    def detail(self):
        return self.json().get("detail", "")

    def check(self):
        """What must hold for every answer."""
        assert self.version == "HTTP/1.1", self
        if self.status < 200:
            return
        assert self.header("X-Content-Type-Options") == "nosniff", self
        if self.status == 204:
            assert self.body == b"" and self.header("Content-Length") is None, self
            return
        kind = self.header("Content-Type")
        assert kind, self
        if self.status >= 400:
            assert kind.startswith("application/json"), self
        if self.method == "HEAD":
            return
        if kind.startswith("application/json"):
            assert self.body.endswith(b"\n"), self
            parsed = self.json()
            if self.status >= 400 and parsed != {"status": "draining"}:
                assert set(parsed) <= {"error", "detail"}, self
                assert parsed["error"] in CODES.get(self.status, {parsed["error"]}), self
                assert parsed.get("detail", "-").isprintable(), self
        if self.status == 405:
            assert self.header("Allow"), self


def segment(key):
    """Returns a key of text or bytes as a segment of a path."""
    return quote(key, safe="")


def request_bytes(method, path, body=None, headers=(), host="localhost", version="HTTP/1.1"):
    """Returns the bytes of a request. `body` is bytes, or becomes JSON. Headers are pairs."""
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    lines = [f"{method} {path} {version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    lines += [f"{name}: {value}" for name, value in headers]
    if data is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
    elif method == "POST":
        lines.append("Content-Length: 0")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (data or b"")


class Http:
    """One connection to the HTTP port of a server."""

    def __init__(self, server, token=None, connection=None, **more):
        self.server = server
        self.token = token
        self.socket = connection or server.connect_http(**more)
        self.received = bytearray()
        self.end = None
        self.pending = []  # the methods of the requests without an answer

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data, method="GET"):
        """Sends bytes, and expects one answer, to a request with `method` (None: no answer)."""
        if method:
            self.pending.append(method)
        try:
            self.socket.sendall(data)
        except (ConnectionResetError, BrokenPipeError):
            pass

    def start(self, method, path, body=None, headers=(), **more):
        """Sends a request without waiting for its answer."""
        if self.token is not None:
            headers = [("Authorization", f"Bearer {self.token}"), *headers]
        self.send(request_bytes(method, path, body, headers, **more), method)
        return self

    def call(self, method, path, body=None, headers=(), **more):
        return self.start(method, path, body, headers, **more).answer()

    def _receive(self, seconds):
        self.socket.settimeout(max(seconds, 0.001))
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

    def _fill(self, has_all, limit):
        """Receives until `has_all()`; returns whether it became true."""
        while not has_all():
            remaining = limit - time.monotonic()
            if self.end is not None or remaining <= 0:
                return False
            self._receive(remaining)
        return True

    def answer(self, seconds=TIMEOUT_S):
        """Returns the next answer, which must be correct. See `read`."""
        response = self.read(seconds)
        assert isinstance(response, Response), response
        return response

    def read(self, seconds=TIMEOUT_S):
        """Returns the next Response, or CLOSED, RESET, or SILENCE after `seconds`.

        An interim answer, as 100, is a Response too.
        """
        limit = time.monotonic() + seconds
        if not self._fill(lambda: b"\r\n\r\n" in self.received, limit):
            assert not self.received, bytes(self.received)
            return self.end or SILENCE
        length = self.received.index(b"\r\n\r\n")
        status_line, *lines = self.received[:length].decode("latin-1").split("\r\n")
        del self.received[:length + 4]
        version, status, *_ = status_line.split(" ", 2)
        pairs = [line.split(":", 1) for line in lines]
        response = Response(version, int(status),
                            [(name.lower(), value.strip()) for name, value in pairs], b"",
                            self.pending[0] if self.pending else "GET")
        if response.status >= 200:
            self.pending[:1] = []
            response.body = self._read_body(response, limit)
        response.check()
        return response

    def _read_body(self, response, limit):
        if response.method == "HEAD" or response.status == 204:
            return b""
        if (response.header("Transfer-Encoding") or "").lower() == "chunked":
            return self._read_chunks(limit)
        length = response.header("Content-Length")
        if length is None:
            assert not self._fill(lambda: False, limit) and self.end == CLOSED, response
            length = len(self.received)
        return self._take(int(length), limit)

    def _take(self, length, limit):
        assert self._fill(lambda: len(self.received) >= length, limit), bytes(self.received[:200])
        data = bytes(self.received[:length])
        del self.received[:length]
        return data

    def _read_chunks(self, limit):
        body = b""
        while True:
            assert self._fill(lambda: b"\r\n" in self.received, limit)
            line = self._take(self.received.index(b"\r\n") + 2, limit)
            size = int(line, 16)
            body += self._take(size, limit)
            assert self._take(2, limit) == b"\r\n"
            if size == 0:
                return body

    def is_closed(self, seconds=TIMEOUT_S):
        """Returns whether the server closes the connection, without or with a reset."""
        return self.read(seconds) in (CLOSED, RESET)


class Session:
    """An HTTP session; its requests use one connection, or connections of their own."""

    def __init__(self, server, token=None, **more):
        self.http = Http(server, token, **more)
        self.others = []
        created = self.http.call("POST", "/v1/sessions")
        assert created.status == 200, created
        self.id = created.json()["session_id"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for http in [self.http, *self.others]:
            http.close()

    @property
    def headers(self):
        return [("X-Dflockd-Session", self.id)]

    def call(self, path, body=None, method="POST"):
        return self.http.call(method, path, body, self.headers)

    def start(self, path, body=None, method="POST"):
        """Sends a request on a new connection. Returns that, without waiting for the answer."""
        other = Http(self.http.server, self.http.token)
        self.others.append(other)
        return other.start(method, path, body, self.headers)

    def acquire(self, key, timeout=0, kind="locks", **fields):
        """Acquires, which must succeed, and returns the token."""
        response = self.call(f"/v1/{kind}/{segment(key)}",
                             {"acquire_timeout_s": timeout, **fields})
        assert response.status == 200 and response.json()["status"] == "ok", response
        return response.json()["token"]

    def start_acquire(self, key, timeout=20, kind="locks", **fields):
        return self.start(f"/v1/{kind}/{segment(key)}", {"acquire_timeout_s": timeout, **fields})

    def release(self, key, token, kind="locks"):
        return self.call(f"/v1/{kind}/{segment(key)}/release", {"token": token})

    def renew(self, key, token, kind="locks", **fields):
        return self.call(f"/v1/{kind}/{segment(key)}/renew", {"token": token, **fields})

    def ping(self):
        return self.http.call("POST", f"/v1/sessions/{self.id}/ping")

    def delete(self):
        return self.http.call("DELETE", f"/v1/sessions/{self.id}")
