"""Each route: method, body, success, and the order in which a request is checked."""

import re

import pytest
from lib.http_client import UNKNOWN_SESSION, Http, HttpServer, Session
from lib.wire_client import Client

TOKEN = re.compile("[0-9a-f]{32}")
NO_TOKEN = "0" * 32
KINDS = [("locks", {}), ("semaphores", {"limit": 1})]
kinds = pytest.mark.parametrize("kind, fields", KINDS, ids=["lock", "semaphore"])


# ---- without a session ----

def test_health_is_ok(http):
    response = http.call("GET", "/health")
    assert (response.status, response.body) == (200, b'{"status":"ok"}\n')


def test_ready_is_ok(http):
    response = http.call("GET", "/ready")
    assert (response.status, response.body) == (200, b'{"status":"ok"}\n')


def test_metrics_is_text_for_prometheus(http):
    response = http.call("GET", "/metrics")
    assert response.status == 200
    assert response.header("Content-Type").startswith("text/plain; version=0.0.4")
    assert b"\ndflockd_ready 1\n" in b"\n" + response.body


def test_stats_is_the_json_of_tcp(server, session, tcp):
    session.acquire("held")
    session.acquire("slots", kind="semaphores", limit=3)
    over_http = session.http.call("GET", "/v1/stats")
    over_tcp = tcp.stats()
    assert over_http.status == 200
    for stats in (over_tcp, parsed := over_http.json()):
        for lock in stats["locks"]:
            assert 0 < lock.pop("lease_expires_in_s") <= 33
    assert parsed == over_tcp
    assert [lock["key"] for lock in parsed["locks"]] == ["held"]
    assert parsed["semaphores"] == [{"key": "slots", "limit": 3, "holders": 1, "waiters": 0}]


def test_connections_counts_tcp_connections_and_sessions(server, tcp):
    with Session(server) as first, Session(server) as second, Http(server):
        assert tcp.stats()["connections"] == 3
        assert first.http.call("GET", "/v1/stats").json()["connections"] == 3
        assert second.delete().status == 204
        assert tcp.stats()["connections"] == 2


# ---- sessions ----

@pytest.mark.parametrize("body", [None, b"", {}, b" { } "], ids=ascii)
def test_a_session_is_created(http, body):
    response = http.call("POST", "/v1/sessions", body)
    assert response.status == 200
    assert list(response.json()) == ["session_id", "idle_timeout_s"]
    assert TOKEN.fullmatch(response.json()["session_id"])
    assert response.json()["idle_timeout_s"] == 20


def test_session_ids_differ(server, http):
    ids = {http.call("POST", "/v1/sessions").json()["session_id"] for _ in range(50)}
    assert len(ids) == 50


def test_ping_of_a_session_is_204(session):
    assert session.ping().status == 204


def test_delete_of_a_session_is_204_and_later_410(session):
    assert session.delete().status == 204
    for response in (session.delete(), session.ping()):
        assert (response.status, response.error) == (410, "session_gone")


@pytest.mark.parametrize("name", ["x", "0" * 31, "0" * 33, "A" * 32, "g" * 32, "%30" * 32, "..",
                                  "%2e%2e"])
def test_a_session_id_that_is_no_id_is_400(http, name):
    for method, path in (("DELETE", f"/v1/sessions/{name}"),
                         ("POST", f"/v1/sessions/{name}/ping")):
        response = http.call(method, path)
        assert (response.status, response.error) == (400, "bad_request")


def test_an_unknown_session_is_410(http):
    for method, path in (("DELETE", f"/v1/sessions/{UNKNOWN_SESSION}"),
                         ("POST", f"/v1/sessions/{UNKNOWN_SESSION}/ping")):
        response = http.call(method, path)
        assert (response.status, response.error) == (410, "session_gone")


# ---- locks and semaphores ----

@kinds
def test_acquire_answers_status_token_and_lease(session, kind, fields):
    response = session.call(f"/v1/{kind}/key", {"acquire_timeout_s": 0, **fields})
    assert response.status == 200
    assert list(response.json()) == ["status", "token", "lease_ttl_s"]
    assert TOKEN.fullmatch(response.json()["token"])
    assert (response.json()["status"], response.json()["lease_ttl_s"]) == ("ok", 33)


@kinds
@pytest.mark.parametrize("lease, granted", [(0, 33), (1, 1), (90, 90), (9223372036, 9223372036)])
def test_a_lease_of_0_is_the_default(session, kind, fields, lease, granted):
    response = session.call(f"/v1/{kind}/key",
                            {"acquire_timeout_s": 0, "lease_ttl_s": lease, **fields})
    assert response.json()["lease_ttl_s"] == granted


@kinds
@pytest.mark.parametrize("timeout", [0, 1])
def test_acquire_of_a_held_key_times_out(session, other, kind, fields, timeout):
    session.acquire("key", kind=kind, **fields)
    response = other.call(f"/v1/{kind}/key", {"acquire_timeout_s": timeout, **fields})
    assert (response.status, response.body) == (200, b'{"status":"timeout"}\n')


@kinds
def test_release_is_204_and_then_not_held(session, other, kind, fields):
    token = session.acquire("key", kind=kind, **fields)
    released = session.release("key", token, kind)
    assert released.status == 204
    again = session.release("key", token, kind)
    assert (again.status, again.error) == (404, "not_held")
    other.acquire("key", kind=kind, **fields)


@kinds
def test_a_token_releases_in_another_session(session, other, kind, fields):
    token = session.acquire("key", kind=kind, **fields)
    assert other.release("key", token, kind).status == 204


@kinds
def test_renew_answers_the_new_lease(session, kind, fields):
    token = session.acquire("key", kind=kind, **fields)
    for asked, remaining in (({}, 33), ({"lease_ttl_s": 0}, 33), ({"lease_ttl_s": 90}, 90)):
        response = session.renew("key", token, kind, **asked)
        assert response.status == 200
        assert response.body == b'{"remaining_s":%d}\n' % remaining
    response = session.renew("key", NO_TOKEN, kind)
    assert (response.status, response.error) == (404, "not_held")


@kinds
def test_enqueue_of_a_free_key_acquires_it(session, kind, fields):
    response = session.call(f"/v1/{kind}/key/enqueue", {"lease_ttl_s": 50, **fields})
    assert response.status == 200
    assert list(response.json()) == ["status", "token", "lease_ttl_s"]
    assert (response.json()["status"], response.json()["lease_ttl_s"]) == ("acquired", 50)
    # The grant is kept for `wait` as over TCP.
    waited = session.call(f"/v1/{kind}/key/wait", {"timeout_s": 0})
    assert waited.json()["token"] == response.json()["token"]
    assert session.release("key", response.json()["token"], kind).status == 204


@pytest.mark.parametrize("body", [None, b"", {}, {"lease_ttl_s": 0}], ids=ascii)
def test_enqueue_of_a_lock_needs_no_body(session, body):
    response = session.call("/v1/locks/key/enqueue", body)
    assert response.json()["status"] == "acquired"


@kinds
def test_enqueue_of_a_held_key_queues_and_wait_gets_it(session, other, kind, fields):
    token = session.acquire("key", kind=kind, **fields)
    queued = other.call(f"/v1/{kind}/key/enqueue", fields)
    assert (queued.status, queued.body) == (200, b'{"status":"queued"}\n')
    again = other.call(f"/v1/{kind}/key/enqueue", fields)
    assert (again.status, again.error) == (409, "already_enqueued")
    waiting = other.start(f"/v1/{kind}/key/wait", {"timeout_s": 20})
    assert session.release("key", token, kind).status == 204
    granted = waiting.answer()
    assert list(granted.json()) == ["status", "token", "lease_ttl_s"]
    assert (granted.json()["status"], granted.json()["lease_ttl_s"]) == ("ok", 33)
    assert other.release("key", granted.json()["token"], kind).status == 204


@kinds
def test_a_wait_times_out_and_leaves_the_queue(session, other, kind, fields):
    session.acquire("key", kind=kind, **fields)
    assert other.call(f"/v1/{kind}/key/enqueue", fields).json() == {"status": "queued"}
    response = other.call(f"/v1/{kind}/key/wait", {"timeout_s": 0})
    assert (response.status, response.body) == (200, b'{"status":"timeout"}\n')
    response = other.call(f"/v1/{kind}/key/wait", {"timeout_s": 0})
    assert (response.status, response.error) == (409, "not_enqueued")


@kinds
def test_wait_without_enqueue_is_409(session, kind, fields):
    response = session.call(f"/v1/{kind}/key/wait", {"timeout_s": 0})
    assert (response.status, response.error) == (409, "not_enqueued")


def test_a_wait_after_the_lease_is_409(session):
    assert session.call("/v1/locks/key/enqueue", {"lease_ttl_s": 1}).status == 200
    with Client(session.http.server) as client:
        assert client.call("l", "key", "10").startswith("ok ")
    response = session.call("/v1/locks/key/wait", {"timeout_s": 0})
    assert (response.status, response.error) == (409, "lease_expired")


def test_another_limit_is_409(session):
    session.acquire("key", kind="semaphores", limit=3)
    for path in ("/v1/semaphores/key", "/v1/semaphores/key/enqueue"):
        body = {"limit": 2} | ({} if "enqueue" in path else {"acquire_timeout_s": 0})
        response = session.call(path, body)
        assert (response.status, response.error) == (409, "limit_mismatch")


def test_a_semaphore_has_limit_holders(session, other):
    for _ in range(3):
        session.acquire("key", kind="semaphores", limit=3)
    response = other.call("/v1/semaphores/key", {"acquire_timeout_s": 0, "limit": 3})
    assert response.json() == {"status": "timeout"}


def test_locks_and_semaphores_are_two_namespaces(session, other):
    session.acquire("key")
    other.acquire("key", kind="semaphores", limit=1)


def test_max_locks_and_max_waiters_are_503():
    with HttpServer("--max-locks=1", "--max-waiters=1") as server, Session(server) as session, \
            Session(server) as other, Session(server) as third:
        session.acquire("key")
        response = session.call("/v1/locks/more", {"acquire_timeout_s": 0})
        assert (response.status, response.error) == (503, "max_locks")
        assert other.call("/v1/locks/key/enqueue").json() == {"status": "queued"}
        response = third.call("/v1/locks/key", {"acquire_timeout_s": 5})
        assert (response.status, response.error) == (503, "max_waiters")


def test_a_key_named_as_a_verb_works(session):
    for key in ("release", "renew", "enqueue", "wait", "own", "revoke"):
        token = session.acquire(key)
        assert session.renew(key, token).status == 200
        assert session.release(key, token).status == 204
        assert session.release(key, token).error == "not_held"


# ---- what no route has ----

@pytest.mark.parametrize("path", [
    "/v1", "/v1/", "/v1/locks", "/v1/locks/", "/v1/locks//", "/v1/locks/foo/bar", "/v1/locks/k/",
    "/v1/locks/k/release/", "/v1//locks/k", "//v1/locks/k", "/V1/locks/k", "/v1/Locks/k",
    "/v1/locks/k/lock", "/v1/semaphores", "/v1/sessions/", "/v1/sessions/x/y", "/health/",
    "/Health", "/healthz", "/v1/stats/", "/v1/locks//release", "/%76%31/locks/k", "/page",
    "/page/", "/page/../page/app.js", "/page/nothing.js", "/favicon.txt", "/v2/locks/k",
    "/v1/locks/k%2Frelease/x"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PUT"])
def test_another_path_is_404(http, method, path):
    response = http.call(method, path)
    assert (response.status, response.error) == (404, "not_found")


ALLOWED = [
    ("/health", "GET, HEAD"), ("/ready", "GET, HEAD"), ("/metrics", "GET, HEAD"),
    ("/v1/openapi.json", "GET, HEAD"), ("/v1/stats", "GET, HEAD"), ("/v1/keys", "GET, HEAD"),
    ("/v1/sessions", "POST"), (f"/v1/sessions/{UNKNOWN_SESSION}", "DELETE"),
    (f"/v1/sessions/{UNKNOWN_SESSION}/ping", "POST"), ("/", "GET, HEAD"),
    ("/page/app.js", "GET, HEAD"), ("/page/style.css", "GET, HEAD"),
    ("/page/icon.svg", "GET, HEAD")]
ALLOWED += [(f"/v1/{kind}/k{rest}", allowed) for kind in ("locks", "semaphores")
            for rest, allowed in [("", "GET, HEAD, POST"), ("/release", "POST"),
                                  ("/renew", "POST"), ("/enqueue", "POST"), ("/wait", "POST"),
                                  ("/own", "POST"), ("/revoke", "POST")]]


@pytest.mark.parametrize("path, allowed", ALLOWED, ids=lambda value: value)
def test_another_method_is_405_with_the_allowed_ones(http, path, allowed):
    for method in ("GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "TRACE", "OPTIONS", "FROB"):
        if method in allowed.split(", "):
            continue
        response = http.call(method, path)
        assert response.status == 405, (method, response)
        assert sorted(response.header("Allow").split(", ")) == sorted(allowed.split(", "))
        if method != "HEAD":
            assert response.error == "method_not_allowed"


@pytest.mark.parametrize("path", ["/health", "/ready", "/v1/stats", "/metrics", "/v1/openapi.json",
                                  "/v1/keys", "/", "/page/app.js"])
def test_head_has_the_headers_of_get_and_no_body(http, path):
    got = http.call("GET", path)
    head = http.call("HEAD", path)
    assert head.status == got.status == 200
    for name in ("Content-Type", "X-Content-Type-Options", "Content-Security-Policy"):
        assert head.header(name) == got.header(name)
    assert http.call("GET", "/health").status == 200  # nothing followed the header


def test_a_query_does_not_change_the_route(http, session):
    assert http.call("GET", "/health?x=/v1/stats").status == 200
    assert session.call("/v1/locks/key?x", {"acquire_timeout_s": 0}).status == 200


# ---- the order of the checks ----

WRONG_BODY = b"{"


def error_of(http, method, path, body, headers=()):
    response = http.call(method, path, body, headers)
    return response.status, response.error


def test_authentication_comes_first():
    with HttpServer("--auth-token=secret") as server, Http(server) as http:
        for method, path in (("POST", "/v1/locks/a%20b"), ("GET", "/nothing"),
                             ("PUT", "/v1/locks/k"), ("POST", "/v1/locks/k")):
            assert error_of(http, method, path, WRONG_BODY) == (401, "unauthorized")


def test_the_route_comes_before_key_session_and_body(http):
    gone = [("X-Dflockd-Session", UNKNOWN_SESSION)]
    for headers in ([], gone):
        assert error_of(http, "POST", "/v1/locks/a%20b/x", WRONG_BODY, headers)[0] == 404
        assert error_of(http, "PUT", "/v1/locks/a%20b", WRONG_BODY, headers)[0] == 405


def test_the_key_comes_before_session_and_body(http):
    gone = [("X-Dflockd-Session", UNKNOWN_SESSION)]
    assert error_of(http, "POST", "/v1/locks/a%20b", WRONG_BODY, gone) == (400, "bad_request")
    assert "key" in http.call("POST", "/v1/locks/a%20b", WRONG_BODY, gone).detail


def test_the_session_comes_before_the_body(http):
    response = http.call("POST", "/v1/locks/key", WRONG_BODY)
    assert response.status == 400 and "X-Dflockd-Session" in response.detail
    gone = [("X-Dflockd-Session", UNKNOWN_SESSION)]
    assert error_of(http, "POST", "/v1/locks/key", WRONG_BODY, gone) == (410, "session_gone")


def test_the_body_comes_before_the_table(session):
    response = session.call("/v1/locks/key/wait", {"timeout_s": -1})
    assert (response.status, response.error) == (400, "bad_request")
    response = session.call("/v1/locks/key/release", {"token": "x"})
    assert (response.status, response.error) == (400, "bad_request")


VERBS = [("", {"acquire_timeout_s": 0}), ("/release", {"token": NO_TOKEN}),
         ("/renew", {"token": NO_TOKEN}), ("/enqueue", {}), ("/wait", {"timeout_s": 0}),
         ("/own", {"token": NO_TOKEN})]


@kinds
@pytest.mark.parametrize("verb, body", VERBS, ids=[verb or "acquire" for verb, _ in VERBS])
def test_a_request_needs_a_session(http, kind, fields, verb, body):
    if verb in ("", "/enqueue"):
        body = body | fields
    path = f"/v1/{kind}/key{verb}"
    assert error_of(http, "POST", path, body) == (400, "bad_request")
    for wrong in ("", "x", "0" * 31, "A" * 32):
        response = http.call("POST", path, body, [("X-Dflockd-Session", wrong)])
        assert response.status in (400, 410), response
    gone = [("X-Dflockd-Session", UNKNOWN_SESSION)]
    assert error_of(http, "POST", path, body, gone) == (410, "session_gone")


def test_two_session_headers_are_refused(session):
    headers = session.headers + [("X-Dflockd-Session", UNKNOWN_SESSION)]
    response = session.http.call("POST", "/v1/locks/key", {"acquire_timeout_s": 0}, headers)
    assert response.status in (400, 410)
