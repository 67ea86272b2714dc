"""Requests as bytes: what HTTP/1.1 allows is served; what is wrong or ambiguous is refused."""

import socket
import time

import pytest
from lib.http_client import Http, HttpServer, Response, request_bytes
from lib.wire_client import CLOSED, RESET, Client

HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
CREATE = b"POST /v1/sessions HTTP/1.1\r\nHost: localhost\r\n"
SMUGGLED = b"GET /v1/stats HTTP/1.1\r\nHost: localhost\r\n\r\n"


def read_all(http, seconds=3):
    """Returns the answers until the connection ends or the server sends nothing more."""
    answers = []
    while isinstance(response := http.read(seconds), Response):
        answers.append(response)
    return answers, response


def send_and_read(server, data, method="GET", seconds=3):
    with Http(server) as http:
        http.send(data, method)
        return read_all(http, seconds)


# ---- what is served ----

def test_a_connection_is_kept(http):
    for _ in range(100):
        assert http.call("GET", "/health").status == 200
    assert http.read(0.3) == "(silence)"


def test_pipelined_requests_are_answered_in_order(http):
    paths = ["/health", "/v1/nothing", "/ready", "/v1/stats", "/v1/locks/a%20b"] * 20
    http.send(b"".join(request_bytes("GET", path) for path in paths), None)
    statuses = [http.answer().status for _ in paths]
    assert statuses == [200, 404, 200, 200, 400] * 20


def test_pipelined_requests_with_bodies_are_answered_in_order(session):
    data = b"".join(
        request_bytes("POST", f"/v1/locks/k{number}", {"acquire_timeout_s": 0}, session.headers)
        for number in range(50))
    session.http.send(data, None)
    for _ in range(50):
        assert session.http.answer().json()["status"] == "ok"


def test_a_request_of_single_bytes_is_served(session):
    for byte in request_bytes("POST", "/v1/locks/key", {"acquire_timeout_s": 0}, session.headers):
        session.http.send(bytes([byte]), None)
        time.sleep(0.001)
    assert session.http.answer().json()["status"] == "ok"


def test_a_chunked_body_is_served(session):
    head = (f"POST /v1/locks/key HTTP/1.1\r\nHost: localhost\r\nX-Dflockd-Session: {session.id}"
            "\r\nTransfer-Encoding: chunked\r\n\r\n").encode()
    body = b'{"acquire_timeout_s":0}'
    chunks = b"".join(b"1;name=value\r\n" + bytes([byte]) + b"\r\n" for byte in body)
    session.http.send(head + chunks + b"0\r\nTrailer: x\r\n\r\n" + HEALTH, "POST")
    assert session.http.answer().json()["status"] == "ok"
    assert session.http.answer().json() == {"status": "ok"}


def test_expect_100_continue_is_answered_first(session):
    body = b'{"acquire_timeout_s":0}'
    head = (f"POST /v1/locks/key HTTP/1.1\r\nHost: localhost\r\nX-Dflockd-Session: {session.id}"
            f"\r\nExpect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n").encode()
    session.http.send(head, "POST")
    assert session.http.answer().status == 100
    session.http.send(body, None)
    assert session.http.answer().json()["status"] == "ok"


def test_a_refused_request_with_expect_gets_its_error_at_once(http):
    http.send(CREATE.replace(b"sessions", b"nothing") + b"Expect: 100-continue\r\n"
              b"Content-Length: 10\r\n\r\n", "POST")
    assert http.answer(5).status in (100, 404)


def test_http_1_0_is_served_and_closed(server):
    for data in (b"GET /health HTTP/1.0\r\n\r\n", b"GET /health HTTP/1.0\r\nHost: x\r\n\r\n"):
        answers, end = send_and_read(server, data, seconds=10)
        assert [each.status for each in answers] == [200] and end == CLOSED


def test_connection_close_closes(server):
    request = request_bytes("GET", "/health", headers=[("Connection", "close")])
    answers, end = send_and_read(server, request, seconds=10)
    assert [each.status for each in answers] == [200] and end == CLOSED


def test_an_absolute_uri_is_served(session):
    assert session.http.call("GET", "http://localhost/health").status == 200
    response = session.http.call("POST", "http://localhost/v1/locks/a%2Fb",
                                 {"acquire_timeout_s": 0}, session.headers)
    assert response.json()["status"] == "ok"


def test_a_client_that_ends_its_output_gets_its_answer(server):
    with Http(server) as http:
        http.start("GET", "/health")
        http.socket.shutdown(socket.SHUT_WR)
        assert http.answer().status == 200
        assert http.is_closed()


# ---- what is refused ----

def test_http_1_1_without_host_is_400(server):
    for path in ("/v1/stats", "/v1/sessions"):
        answers, _ = send_and_read(server, f"GET {path} HTTP/1.1\r\n\r\n".encode(), seconds=1)
        assert answers and answers[0].status == 400


AMBIGUOUS = {
    "two lengths": b"Content-Length: 0\r\nContent-Length: 44\r\n\r\n",
    "two lengths, reversed": b"Content-Length: 44\r\nContent-Length: 0\r\n\r\n",
    "two equal lengths": b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "a list of lengths": b"Content-Length: 0, 44\r\n\r\n",
    "length with chunked": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked with length": b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an unknown coding": b"Transfer-Encoding: gzip\r\n\r\n",
    "gzip and chunked": b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked and identity": b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "xchunked": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "negative length": b"Content-Length: -1\r\n\r\n",
    "signed length": b"Content-Length: +0\r\n\r\n",
    "hexadecimal length": b"Content-Length: 0x0\r\n\r\n",
    "empty length": b"Content-Length: \r\n\r\n",
    "length with a blank inside": b"Content-Length: 0 0\r\n\r\n",
    "a length beyond 64 bits": b"Content-Length: 99999999999999999999999\r\n\r\n",
    "a blank before the colon": b"Content-Length : 44\r\n\r\n",
    "a folded header": b"X-A: b\r\n c\r\n\r\n",
}


@pytest.mark.parametrize("rest", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_an_ambiguous_length_is_refused_and_nothing_behind_it_served(server, rest):
    """A proxy in front could see another end of the request: a second one would be smuggled."""
    answers, _ = send_and_read(server, CREATE + rest + SMUGGLED, "POST", 2)
    assert not answers or 400 <= answers[0].status < 500 or answers[0].status == 501, answers
    assert len(answers) <= 1, answers


CHUNKS = {
    "not hexadecimal": b"xyz\r\n{}\r\n0\r\n\r\n",
    "negative": b"-1\r\n{}\r\n0\r\n\r\n",
    "with 0x": b"0x2\r\n{}\r\n0\r\n\r\n",
    "empty": b"\r\n{}\r\n0\r\n\r\n",
    "beyond 64 bits": b"10000000000000002\r\n{}\r\n0\r\n\r\n",
    "longer than said": b"2\r\n{}  \r\n0\r\n\r\n",
    "shorter than said": b"5\r\n{}\r\n0\r\n\r\n",
    "without an end of line": b"2\r\n{}0\r\n\r\n",
}


@pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS.keys())
def test_a_wrong_chunk_is_refused(server, chunks):
    data = CREATE + b"Transfer-Encoding: chunked\r\n\r\n" + chunks
    answers, _ = send_and_read(server, data + SMUGGLED, "POST", 2)
    assert not answers or answers[0].status == 400, answers
    assert len(answers) <= 1, answers


@pytest.mark.parametrize("data", [
    b"\r\n\r\n\r\n\r\n", b"GET\r\n\r\n", b"GET /health\r\n\r\n", b"GET /health HTTP/9.9\r\n\r\n",
    b"GET /health XTTP/1.1\r\nHost: x\r\n\r\n", b"l\nkey\n10\n", b"\0" * 100, b"\xff" * 1000,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 500, b"GET  /health HTTP/1.1\r\n\r\n",
    b"GET /health HTTP/1.1\nHost: localhost\n\n", b"GET /he\0alth HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET health HTTP/1.1\r\nHost: x\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], ids=ascii)
def test_what_is_no_request_hurts_no_other_client(server, data):
    with Http(server) as other, Client(server) as tcp:
        send_and_read(server, data, None, 0.5)
        assert other.call("GET", "/health").status == 200
        assert tcp.call("ping") == "ok"


@pytest.mark.parametrize("headers", [
    b"X: " + b"x" * (1 << 20) + b"\r\n", b"".join(b"X%d: y\r\n" % n for n in range(100_000)),
    b"X" * (1 << 20) + b": y\r\n"], ids=["a long value", "many", "a long name"])
def test_a_flood_of_headers_is_refused(server, headers):
    answers, end = send_and_read(server, b"GET /health HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n",
                                 seconds=10)
    assert end in (CLOSED, RESET)
    assert all(400 <= each.status < 500 for each in answers), answers


def test_a_path_that_is_too_long_is_refused(server):
    for length in (5000, 30_000, 1 << 20):
        answers, _ = send_and_read(server, request_bytes("GET", "/v1/locks/" + "k" * length),
                                   seconds=2)
        assert all(400 <= each.status < 500 for each in answers), answers


# ---- slow clients ----

def test_slow_headers_end_after_ten_seconds():
    with HttpServer() as server, Http(server) as slow, Http(server) as trickle:
        begun = time.monotonic()
        slow.send(b"GET /health HTTP/1.1\r\n", None)
        while time.monotonic() < begun + 16 and trickle.end is None:
            trickle.send(b"GET /he" if trickle.end is None and time.monotonic() < begun + 0.1
                         else b"x", None)
            trickle._receive(0.5)
        assert slow.read(5) in (CLOSED, RESET) or slow.end
        assert 8 < time.monotonic() - begun < 17
        assert trickle.end in (CLOSED, RESET) or b"408" in trickle.received


def test_a_slow_body_ends_too():
    with HttpServer() as server, Http(server) as http:
        http.send(CREATE + b"Content-Length: 1000\r\n\r\n{", "POST")
        begun = time.monotonic()
        while time.monotonic() < begun + 30 and http.end is None and not http.received:
            http.send(b" ", None)
            http._receive(1)
        assert http.end in (CLOSED, RESET) or http.received
