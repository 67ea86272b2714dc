"""Pages of other origins and names of other machines are refused; CORS allows some."""

import socket

import pytest
from lib.http_client import Http, HttpServer

APP = "https://app.example.com"
PREFLIGHT = [("Access-Control-Request-Method", "POST"),
             ("Access-Control-Request-Headers", "X-Dflockd-Session, Content-Type")]


def origin(value):
    return [("Origin", value)]


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "LOCALHOST", "app.localhost",
                                  "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8080", "10.1.2.3",
                                  socket.gethostname()])
def test_a_host_that_no_stranger_can_resolve_is_served(http, host):
    assert http.call("GET", "/v1/stats", host=host).status == 200


@pytest.mark.parametrize("host", ["example.com", "localhost.example.com", "evil.com:8080",
                                  "127.0.0.1.nip.io", "xlocalhost", "a b", "[::1"])
def test_a_host_of_a_stranger_is_403(http, host):
    for method, path in (("GET", "/v1/stats"), ("POST", "/v1/sessions"), ("GET", "/"),
                         ("GET", "/v1/openapi.json"), ("GET", "/nothing")):
        response = http.call(method, path, host=host)
        assert (response.status, response.error) in ((403, "forbidden"), (400, "bad_request"))
    for path in ("/health", "/ready"):
        assert http.call("GET", path, host=host).status == 200


def test_a_host_does_not_matter_if_there_is_a_secret():
    with HttpServer("--auth-token=secret") as server, Http(server, "secret") as http:
        assert http.call("GET", "/v1/stats", host="locks.example.com").status == 200


def test_the_host_of_an_allowed_origin_is_served():
    with HttpServer(f"--http-cors-allowed-origins={APP}") as server, Http(server) as http:
        assert http.call("GET", "/v1/stats", host="app.example.com").status == 200
        assert http.call("GET", "/v1/stats", host="example.com").status == 403


@pytest.mark.parametrize("value, host", [
    ("http://localhost:8080", "localhost:8080"), ("https://localhost", "localhost"),
    ("http://127.0.0.1", "127.0.0.1"), ("http://LOCALHOST:8080", "localhost:8080")])
def test_the_origin_of_the_server_is_served(http, value, host):
    response = http.call("GET", "/v1/stats", headers=origin(value), host=host)
    assert response.status == 200
    assert response.header("Access-Control-Allow-Origin") is None


@pytest.mark.parametrize("value", [APP, "null", "", "http://localhost:1", "file://", "x",
                                   "https://localhost.example.com"])
def test_another_origin_is_403(http, value):
    for method, path in (("GET", "/v1/stats"), ("POST", "/v1/sessions"),
                         ("POST", "/v1/locks/k"), ("GET", "/nothing")):
        response = http.call(method, path, headers=origin(value), host="localhost:8080")
        assert (response.status, response.error) == (403, "forbidden")
    assert http.call("GET", "/health", headers=origin(value)).status == 200


def test_a_foreign_origin_is_refused_before_authentication():
    with HttpServer("--auth-token=secret") as server, Http(server) as http:
        assert http.call("GET", "/v1/stats", headers=origin(APP)).status == 403


# ---- CORS ----

def check_preflight(response, allowed):
    assert response.status == 204
    assert response.header("Access-Control-Allow-Origin") == allowed
    assert (response.header("Vary") or "").lower() == ("" if allowed == "*" else "origin")
    methods = {each.strip() for each in
               response.header("Access-Control-Allow-Methods").split(",")}
    assert methods == {"GET", "POST", "DELETE", "OPTIONS"}
    headers = {each.strip().lower() for each in
               response.header("Access-Control-Allow-Headers").split(",")}
    assert headers == {"authorization", "content-type", "x-dflockd-session"}
    assert response.header("Access-Control-Max-Age") == "300"
    assert response.header("Access-Control-Allow-Credentials") is None


@pytest.mark.parametrize("allowed", [APP, f"http://localhost:3000, {APP}", "*"])
def test_a_preflight_is_204_before_authentication(allowed):
    with HttpServer("--auth-token=secret", f"--http-cors-allowed-origins={allowed}") as server, \
            Http(server) as http:
        for path in ("/v1/locks/key", "/v1/sessions", "/v1/stats"):
            response = http.call("OPTIONS", path, headers=origin(APP) + PREFLIGHT)
            check_preflight(response, "*" if allowed == "*" else APP)


@pytest.mark.parametrize("allowed", [APP, "*"])
def test_answers_to_an_allowed_origin_say_so(allowed):
    shown = "*" if allowed == "*" else APP
    with HttpServer("--auth-token=secret", f"--http-cors-allowed-origins={allowed}") as server, \
            Http(server, "secret") as http, Http(server) as stranger:
        answers = [http.call("GET", "/v1/stats", headers=origin(APP)),
                   http.call("GET", "/nothing", headers=origin(APP)),
                   http.call("PUT", "/v1/stats", headers=origin(APP)),
                   http.call("POST", "/v1/locks/a%20b", headers=origin(APP)),
                   stranger.call("GET", "/v1/stats", headers=origin(APP)),
                   http.call("GET", "/health", headers=origin(APP))]
        assert [each.status for each in answers] == [200, 404, 405, 400, 401, 200]
        for each in answers:
            assert each.header("Access-Control-Allow-Origin") == shown
            assert (each.header("Vary") or "").lower() == ("" if allowed == "*" else "origin")


def test_other_origins_are_still_refused():
    with HttpServer(f"--http-cors-allowed-origins={APP}") as server, Http(server) as http:
        for value in ("https://example.com", "http://app.example.com", APP + ":8443", "null"):
            response = http.call("GET", "/v1/stats", headers=origin(value))
            assert response.status == 403
            assert response.header("Access-Control-Allow-Origin") is None
            response = http.call("OPTIONS", "/v1/stats", headers=origin(value) + PREFLIGHT)
            assert response.status in (403, 405)
            assert response.header("Access-Control-Allow-Origin") is None


def test_without_the_option_a_preflight_allows_nothing(http):
    response = http.call("OPTIONS", "/v1/locks/key", headers=origin(APP) + PREFLIGHT)
    assert response.status in (403, 405)
    assert response.header("Access-Control-Allow-Origin") is None


def test_a_request_without_an_origin_gets_no_cors_headers():
    with HttpServer(f"--http-cors-allowed-origins={APP}") as server, Http(server) as http:
        response = http.call("GET", "/v1/stats")
        assert response.status == 200
        assert response.header("Access-Control-Allow-Origin") is None


def test_options_without_a_requested_method_is_405():
    with HttpServer(f"--http-cors-allowed-origins={APP}") as server, Http(server) as http:
        assert http.call("OPTIONS", "/v1/stats", headers=origin(APP)).status == 405
