"""Secrets: the bearer token, what is open without one, and their reload."""

import signal
import time

import pytest
from lib.http_client import Http, HttpServer, Session
from lib.wire_client import Client, eventually

SECRET = "s3cret"
OPEN = ["/health", "/ready", "/v1/openapi.json", "/", "/page/app.js", "/page/style.css",
        "/page/icon.svg"]
CLOSED_PATHS = [
    ("GET", "/metrics"), ("GET", "/v1/stats"), ("GET", "/v1/keys"), ("POST", "/v1/sessions"),
    ("DELETE", "/v1/sessions/" + "0" * 32), ("POST", "/v1/sessions/" + "0" * 32 + "/ping"),
    ("GET", "/v1/locks/k"), ("POST", "/v1/locks/k"), ("POST", "/v1/locks/k/release"),
    ("GET", "/v1/semaphores/k"), ("POST", "/v1/semaphores/k/wait"),
    ("POST", "/v1/locks/k/revoke"), ("GET", "/nothing"), ("PUT", "/v1/stats")]


@pytest.fixture
def guarded():
    with HttpServer("--auth-token", SECRET) as server:
        yield server
        server.terminate()
        assert server.wait() == 0


@pytest.mark.parametrize("path", OPEN)
def test_health_and_page_are_open(guarded, path):
    with Http(guarded) as http, Http(guarded, "wrong") as wrong:
        assert http.call("GET", path).status == 200
        assert wrong.call("GET", path).status == 200
        assert http.call("HEAD", path).status == 200


@pytest.mark.parametrize("method, path", CLOSED_PATHS)
def test_all_else_needs_the_token(guarded, method, path):
    with Http(guarded) as http, Http(guarded, SECRET) as good:
        response = http.call(method, path)
        assert (response.status, response.error) == (401, "unauthorized")
        assert good.call(method, path).status != 401


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_the_scheme_has_any_case(guarded, scheme):
    with Http(guarded) as http:
        response = http.call("GET", "/v1/stats", headers=[("Authorization", f"{scheme} {SECRET}")])
        assert response.status == 200


@pytest.mark.parametrize("value", [
    "", "Bearer", "Bearer ", SECRET, f"Basic {SECRET}", f"Bearer{SECRET}", f"Bearer {SECRET}x",
    f"Bearer {SECRET[:-1]}", f"Bearer {SECRET.upper()}", f"Bearer {SECRET} x",
    f"Bearer x {SECRET}", "Bearer " + "x" * 7000, f"Token {SECRET}", f'Bearer "{SECRET}"'],
    ids=lambda value: value[:20])
def test_any_other_authorization_is_401(guarded, value):
    with Http(guarded) as http:
        response = http.call("GET", "/v1/stats", headers=[("Authorization", value)])
        assert (response.status, response.error) == (401, "unauthorized")


def test_two_authorizations_are_refused(guarded):
    with Http(guarded) as http:
        response = http.call("GET", "/v1/stats", headers=[
            ("Authorization", "Bearer wrong"), ("Authorization", f"Bearer {SECRET}")])
        assert response.status in (400, 401)


def test_a_wrong_token_is_answered_after_100_ms_and_delays_nobody(guarded):
    with Http(guarded, SECRET) as good, Client(guarded) as tcp:
        assert tcp.call("auth", "_", SECRET) == "ok"
        wrong = [Http(guarded, "wrong").start("GET", "/v1/stats") for _ in range(20)]
        begun = time.monotonic()
        worst = 0
        while time.monotonic() < begun + 0.08:
            before = time.monotonic()
            assert good.call("GET", "/v1/stats").status == 200
            assert tcp.call("ping") == "ok"
            worst = max(worst, time.monotonic() - before)
        assert worst < 0.08
        for http in wrong:
            assert http.answer().status == 401
            http.close()
        with Http(guarded, "wrong") as http:
            before = time.monotonic()
            assert http.call("GET", "/v1/stats").status == 401
            assert 0.095 < time.monotonic() - before < 1


def test_a_client_that_leaves_within_the_delay_hurts_nobody(guarded):
    for _ in range(50):
        Http(guarded, "wrong").start("GET", "/v1/stats").close()
    time.sleep(0.3)
    with Http(guarded, SECRET) as http:
        assert http.call("GET", "/v1/stats").status == 200


def test_a_failed_authentication_is_logged(guarded):
    with Http(guarded, "wrong") as http:
        assert http.call("GET", "/v1/stats").status == 401
    eventually(lambda: any("auth" in line and "127." in line and "listening" not in line
                           for line in guarded.log))
    assert not any("wrong" in line for line in guarded.log)


def test_a_reload_changes_the_token(tmp_path):
    file = tmp_path / "token"
    file.write_text("first\n")
    with HttpServer("--auth-token-file", str(file), "--read-timeout=1") as server, \
            Session(server, "first") as session:
        session.acquire("key", lease_ttl_s=60)
        file.write_text("second\n")
        server.terminate(signal.SIGHUP)
        session.http.token = "second"
        eventually(lambda: session.ping().status == 204)

        def first_is_refused():
            with Http(server, "first") as http:
                return http.call("GET", "/v1/stats").status == 401
        eventually(first_is_refused)
        assert session.ping().status == 204  # the session outlives the secret


@pytest.mark.parametrize("token", ["a b", "tab\there", "\u00e4\u00f6", "x" * 4000, "=+/"],
                         ids=ascii)
def test_a_token_has_any_characters_that_a_header_can_have(token):
    with HttpServer("--auth-token", token) as server, Http(server) as http:
        value = f"Bearer {token}".encode().decode("latin-1")
        assert http.call("GET", "/v1/stats", headers=[("Authorization", value)]).status == 200
