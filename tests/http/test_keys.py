"""Keys are percent-encoded segments, and the same keys as over TCP."""

import pytest
from lib.http_client import segment
from waiting import is_free

FORBIDDEN = {0x20, 0x09, 0x0d, 0x0a}


def hold_and_release(server, session, key, path):
    """The key of the path is `key` over TCP, and works in every request."""
    response = session.call(f"/v1/locks/{path}", {"acquire_timeout_s": 0})
    assert response.status == 200 and response.json()["status"] == "ok", (key, response)
    assert not is_free(server, key)
    shown = session.http.call("GET", f"/v1/locks/{path}")
    assert shown.status == 200
    assert shown.json()["key"] == key.decode(errors="replace")
    token = response.json()["token"]
    assert session.call(f"/v1/locks/{path}/renew", {"token": token}).status == 200
    assert session.call(f"/v1/locks/{path}/release", {"token": token}).status == 204
    assert is_free(server, key)


@pytest.mark.parametrize("key", [
    b"/", b"a/b", b"..", b".", b"../..", b"%", b"%2F", b"?", b"#", b"&=+", b"+", b";", b":", b"\\",
    b"\"'", b"{key}", b"k\xc3\xa4se", "\U0001f512".encode(), b"\xff\xfe", b"\x80", b"\0", b"a\0b",
    b"\x7f", b"\x1b[2J", b"k" * 256, b"\xff" * 256, b"/" * 256], ids=ascii)
def test_a_key_has_any_bytes(server, session, key):
    hold_and_release(server, session, key, segment(key))
    hold_and_release(server, session, key, "".join(f"%{byte:02x}" for byte in key))


def test_a_key_may_be_any_single_byte(server, session):
    for byte in range(256):
        path = f"/v1/locks/%{byte:02X}"
        response = session.call(path, {"acquire_timeout_s": 0})
        if byte in FORBIDDEN:
            assert (response.status, response.error) == (400, "bad_request")
        else:
            assert not is_free(server, bytes([byte]))
            assert session.call(f"{path}/release",
                                {"token": response.json()["token"]}).status == 204


def test_unencoded_marks_are_part_of_the_key(server, session):
    for key in (b"..", b".", b"a+b", b"a;b=c", b"a:b", b"a@b", b"~*!'()$,"):
        hold_and_release(server, session, key, key.decode())


@pytest.mark.parametrize("path", ["a%20b", "a%09", "%0A", "%0d", "%", "a%", "%2", "%zz", "%2G",
                                  "%%41", "%u0041", "k" * 257, "%6b" * 257, "k" * 3000], ids=ascii)
@pytest.mark.parametrize("verb", ["", "/release", "/wait"])
def test_a_segment_that_is_no_key_is_400(session, path, verb):
    body = {"acquire_timeout_s": 0} if not verb else {"timeout_s": 0}
    if verb == "/release":
        body = {"token": "0" * 32}
    response = session.call(f"/v1/locks/{path}{verb}", body)
    assert (response.status, response.error) == (400, "bad_request")
    assert "key" in response.detail


def test_an_encoded_slash_does_not_end_the_key(server, session):
    token = session.acquire("a/release")
    assert not is_free(server, "a/release") and is_free(server, "a")
    assert session.call("/v1/locks/a%2Frelease/release", {"token": token}).status == 204
    assert session.call("/v1/locks/a/release/release", {"token": token}).status == 404


def test_a_key_named_release_is_acquired_and_released(server, session):
    response = session.call("/v1/locks/release", {"acquire_timeout_s": 0})
    token = response.json()["token"]
    assert not is_free(server, "release")
    assert session.call("/v1/locks/release/release", {"token": token}).status == 204
    assert is_free(server, "release")
