"""Bodies: one JSON object with the fields that the route takes, and nothing else."""

import json

import pytest

MEGABYTE = 1 << 20
SECONDS_MAX = 9223372036
TOKEN = "0123456789abcdef" * 2
ACQUIRE, SEMAPHORE = "/v1/locks/key", "/v1/semaphores/key"

# Each valid body of a route, by its required and its optional fields.
ROUTES = {
    ACQUIRE: ({"acquire_timeout_s": 0}, {"lease_ttl_s": 5, "mode": "exclusive"}),
    "/v1/locks/key/release": ({"token": TOKEN}, {}),
    "/v1/locks/key/renew": ({"token": TOKEN}, {"lease_ttl_s": 5}),
    "/v1/locks/key/enqueue": ({}, {"lease_ttl_s": 5, "mode": "exclusive"}),
    "/v1/locks/key/wait": ({"timeout_s": 0}, {}),
    "/v1/locks/key/own": ({"token": TOKEN}, {}),
    SEMAPHORE: ({"acquire_timeout_s": 0, "limit": 2}, {"lease_ttl_s": 5}),
    "/v1/semaphores/key/release": ({"token": TOKEN}, {}),
    "/v1/semaphores/key/renew": ({"token": TOKEN}, {"lease_ttl_s": 5}),
    "/v1/semaphores/key/enqueue": ({"limit": 2}, {"lease_ttl_s": 5}),
    "/v1/semaphores/key/wait": ({"timeout_s": 0}, {}),
    "/v1/semaphores/key/own": ({"token": TOKEN}, {}),
    "/v1/sessions": ({}, {}),
}
FIELDS = {"acquire_timeout_s": 0, "lease_ttl_s": 5, "token": TOKEN, "limit": 2, "timeout_s": 0,
          "fence": TOKEN[:16], "mode": "shared"}
routes = pytest.mark.parametrize("path", ROUTES)


def assert_refused(response, *names):
    """The answer is 400, and its detail contains each of the names."""
    assert (response.status, response.error) == (400, "bad_request"), response
    for name in names:
        assert name in response.detail, response


@routes
def test_all_fields_of_a_route_are_taken(session, path):
    required, optional = ROUTES[path]
    for body in (required, required | optional):
        assert session.call(path, body).status != 400


@routes
def test_a_missing_field_is_named(session, path):
    required, optional = ROUTES[path]
    for name in required:
        body = {each: value for each, value in (required | optional).items() if each != name}
        assert_refused(session.call(path, body), name)
    if required:
        for empty in (None, b"", {}):
            assert_refused(session.call(path, empty), next(iter(required)))


@routes
def test_a_field_of_another_route_is_refused(session, path):
    required, optional = ROUTES[path]
    for name in FIELDS.keys() - required.keys() - optional.keys():
        assert_refused(session.call(path, required | {name: FIELDS[name]}), name)


@routes
def test_an_unknown_field_is_named(session, path):
    required, _ = ROUTES[path]
    for name in ("frobnicate", "Token", "", "lease_ttl_s ", "__proto__"):
        assert_refused(session.call(path, required | {name: 1}), "unknown field", name)


def test_a_field_that_is_there_twice_is_refused(session):
    for body in (b'{"acquire_timeout_s":0,"acquire_timeout_s":0}',
                 b'{"acquire_timeout_s":0,"\\u0061cquire_timeout_s":0}'):
        assert_refused(session.call(ACQUIRE, body), "acquire_timeout_s")


@pytest.mark.parametrize("value", [-1, 1.5, 1e3, SECONDS_MAX + 1, 1 << 63, 1 << 64, 10 ** 40, "1",
                                   "", None, True, False, [], [1], {}, {"a": 1}], ids=ascii)
def test_a_number_that_is_not_whole_or_out_of_range_is_named(session, value):
    for path, name in ((ACQUIRE, "acquire_timeout_s"), (ACQUIRE, "lease_ttl_s"),
                       (SEMAPHORE, "limit"), ("/v1/locks/key/wait", "timeout_s"),
                       ("/v1/locks/key/renew", "lease_ttl_s")):
        response = session.call(path, ROUTES[path][0] | {name: value})
        assert (response.status, response.error) == (400, "bad_request"), response
        if not isinstance(value, (list, dict)):
            assert name in response.detail, response


@pytest.mark.parametrize("text", [b"01", b"+1", b"0x1", b".5", b"1.", b"1e", b"NaN", b"Infinity",
                                  b"1_000", b"--1", b"1 2"])
def test_a_number_that_json_does_not_have_is_refused(session, text):
    assert_refused(session.call(ACQUIRE, b'{"acquire_timeout_s":' + text + b"}"))


@pytest.mark.parametrize("limit, good", [(0, False), (1, True), (1 << 20, True),
                                         ((1 << 20) + 1, False), (-1, False)])
def test_a_limit_is_1_to_1048576(session, limit, good):
    response = session.call(SEMAPHORE, {"acquire_timeout_s": 0, "limit": limit})
    if good:
        assert response.json()["status"] == "ok"
    else:
        assert_refused(response, "limit")


def test_the_longest_times_are_accepted(session):
    response = session.call(ACQUIRE, {"acquire_timeout_s": SECONDS_MAX,
                                      "lease_ttl_s": SECONDS_MAX})
    assert response.json()["lease_ttl_s"] == SECONDS_MAX
    assert session.renew("key", response.json()["token"],
                         lease_ttl_s=SECONDS_MAX).json() == {"remaining_s": SECONDS_MAX}


@pytest.mark.parametrize("value", ["", "0" * 31, "0" * 33, "A" * 32, "g" * 32, " " + "0" * 31, 0,
                                   None, [], "0" * 31 + "\0", "\u0660" * 32], ids=ascii)
def test_a_token_is_32_lower_case_digits(session, value):
    for verb in ("release", "renew", "own"):
        response = session.call(f"/v1/locks/key/{verb}", {"token": value})
        assert_refused(response, "token" if not isinstance(value, list) else "")


@pytest.mark.parametrize("value", ["", "Shared", "SHARED", "shared ", "sharedx", 1, None, True],
                         ids=ascii)
def test_a_mode_is_exclusive_or_shared(session, value):
    for path in (ACQUIRE, "/v1/locks/key/enqueue"):
        assert_refused(session.call(path, ROUTES[path][0] | {"mode": value}), "mode")


GOOD = b'{"acquire_timeout_s":0}'
NOT_AN_OBJECT = [
    b" ", b"null", b"true", b"0", b'""', b"[]", b"[{}]", b"{", b"}", b"{}}", b"{,}", b"{a:1}",
    b"{'a':1}", b'{"a"}', b'{"a":}', b'{"acquire_timeout_s":0,}', b'{"acquire_timeout_s" 0}',
    b"\xef\xbb\xbf" + GOOD, GOOD + GOOD, GOOD + b"x", GOOD + b"\0", b"\0" + GOOD, GOOD + b",",
    GOOD[:-1], GOOD[:-1] + b"//\n}", b"acquire_timeout_s=0", b'{"\0":1}', b'{"a\0b":1}',
    b'{"a\n":1}',
    b'{"\xff":1}', b'{"\xc0\x80":1}', b'{"\xed\xa0\x80":1}', b'{"\xf5\x80\x80\x80":1}',
    b'{"\\ud800":1}', b'{"\\x41":1}', b'{"\\u12":1}', b"\xff\xfe{\0}\0", "{}".encode("utf-16"),
    b'{"acquire_timeout_s":0,"mode":"\xffshared"}']


@pytest.mark.parametrize("body", NOT_AN_OBJECT, ids=ascii)
def test_what_is_not_one_json_object_is_refused(session, body):
    assert_refused(session.call(ACQUIRE, body))
    assert session.call(ACQUIRE, GOOD).json()["status"] == "ok"


@pytest.mark.parametrize("body", NOT_AN_OBJECT[1:], ids=ascii)
def test_routes_without_fields_check_their_body_too(http, body):
    response = http.call("POST", "/v1/sessions", body)
    assert_refused(response)


@pytest.mark.parametrize("opening, closing", [("[", "]"), ('{"a":', "}")])
def test_deep_json_is_refused(session, opening, closing):
    for depth in (10, 1000, 100_000):
        body = ('{"acquire_timeout_s":' + opening * depth + "1" + closing * depth + "}").encode()
        assert_refused(session.call(ACQUIRE, body[:MEGABYTE]))


def test_blanks_and_escapes_are_json(session):
    body = b' \t\r\n{ "acquire\\u005ftimeout_s" : 0 ,\n"mode":"sh\\u0061red" }\r\n'
    assert session.call(ACQUIRE, body).json()["status"] == "ok"


def test_a_detail_shows_any_name_in_one_line(session):
    for name in ("\n", "\x1b[2J", "\u202e", "\0", '"', "\\", "\U0001f600" * 50, "x" * 100_000):
        body = json.dumps({name: 1}).encode()
        response = session.call(ACQUIRE, body)
        assert_refused(response, "unknown field")
        assert len(response.body) < 1100


# ---- size ----

def padded(length):
    return GOOD + b" " * (length - len(GOOD))


def test_a_body_of_a_mebibyte_is_served(session):
    assert session.call(ACQUIRE, padded(MEGABYTE)).json()["status"] == "ok"


@pytest.mark.parametrize("length", [MEGABYTE + 1, 2 * MEGABYTE, 20 * MEGABYTE])
def test_a_larger_body_is_413(session, length):
    session.http.start("POST", ACQUIRE, padded(length), session.headers)
    response = session.http.answer()
    assert response.status == 413 and response.error


@pytest.mark.parametrize("length", [MEGABYTE + 1, 10 ** 15, (1 << 63) - 1])
def test_a_length_that_is_too_large_is_413_before_the_body(session, length):
    head = (f"POST {ACQUIRE} HTTP/1.1\r\nHost: localhost\r\nX-Dflockd-Session: {session.id}\r\n"
            f"Content-Length: {length}\r\n\r\n").encode()
    session.http.send(head, "POST")
    response = session.http.answer(5)
    assert response.status == 413 and response.error


def test_a_large_chunked_body_is_413(session):
    head = (f"POST {ACQUIRE} HTTP/1.1\r\nHost: localhost\r\nX-Dflockd-Session: {session.id}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n").encode()
    session.http.send(head + (b"10000\r\n" + b" " * 0x10000 + b"\r\n") * 20, "POST")
    assert session.http.answer().status == 413


def test_the_content_type_of_a_request_does_not_matter(session):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; "
                 "boundary=x"):
        data = (f"POST /v1/semaphores/key HTTP/1.1\r\nHost: localhost\r\nX-Dflockd-Session: "
                f"{session.id}\r\nContent-Type: {kind}\r\nContent-Length: 33\r\n\r\n"
                '{"acquire_timeout_s":0,"limit":9}')
        session.http.send(data.encode(), "POST")
        assert session.http.answer().json()["status"] == "ok"
