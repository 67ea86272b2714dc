"""Options of HTTP: flags, variables, defaults and bad values."""

import socket

import pytest
from lib.http_client import HTTP_PORT, Http, HttpServer
from lib.server import Server, unused_address
from startup import assert_refused, run_server

NUMBERS = {
    "http-port": "HTTP_PORT", "http-session-idle-timeout": "HTTP_SESSION_IDLE_S",
    "http-max-sessions": "HTTP_MAX_SESSIONS",
    "http-max-sessions-per-ip": "HTTP_MAX_SESSIONS_PER_IP",
    "http-max-connections-per-ip": "HTTP_MAX_CONNECTIONS_PER_IP",
    "http-rate-limit-per-ip": "HTTP_RATE_LIMIT_PER_IP",
    "http-rate-limit-burst": "HTTP_RATE_LIMIT_BURST"}
TEXTS = {"http-host": "HTTP_HOST", "http-cors-allowed-origins": "HTTP_CORS_ALLOWED_ORIGINS"}
DEFAULTS = {"http-port": "0", "http-session-idle-timeout": "20", "http-max-sessions": "0",
            "http-max-sessions-per-ip": "0", "http-max-connections-per-ip": "0",
            "http-rate-limit-per-ip": "0", "http-rate-limit-burst": "0"}


@pytest.mark.parametrize("value", ["", "abc", "1.5", "-1", "99999999999999999999", "1 2", "10s"],
                         ids=ascii)
@pytest.mark.parametrize("flag", NUMBERS)
def test_a_number_that_is_none_is_refused(flag, value):
    assert_refused(run_server("--port=0", f"--{flag}={value}"), f"--{flag}")
    if value:
        variable = f"DFLOCKD_{NUMBERS[flag]}"
        assert_refused(run_server("--port=0", environment={variable: value}), variable)


@pytest.mark.parametrize("flag, value", [
    ("http-port", "65536"), ("http-session-idle-timeout", "0"),
    ("http-session-idle-timeout", "9223372037"),
    ("http-cors-allowed-origins", "app.example.com"), ("http-cors-allowed-origins", "ftp://a"),
    ("http-cors-allowed-origins", "https://a/path"), ("http-cors-allowed-origins", "https://a,,")])
def test_a_value_out_of_range_is_refused(flag, value):
    names = NUMBERS | TEXTS
    assert_refused(run_server("--port=0", f"--http-port={HTTP_PORT}", f"--{flag}={value}"),
                   f"--{flag}")
    variable = f"DFLOCKD_{names[flag]}"
    environment = {"DFLOCKD_HTTP_PORT": str(HTTP_PORT)} | {variable: value}
    assert_refused(run_server("--port=0", environment=environment), variable)


def test_a_host_that_cannot_be_used_is_refused():
    assert_refused(run_server("--port=0", f"--http-port={HTTP_PORT}", "--http-host=192.0.2.1"),
                   "--http-host")


def test_a_port_in_use_is_refused():
    address = unused_address()
    with socket.create_server((address, HTTP_PORT)):
        assert_refused(run_server("--port=0", f"--http-host={address}",
                                  f"--http-port={HTTP_PORT}"), "--http-port")


@pytest.mark.parametrize("flag", DEFAULTS)
def test_help_states_the_default(flag):
    text = run_server("--help").stdout
    entry = text.split(f"--{flag}", 1)[1].split("\n  -", 1)[0]
    assert f"DFLOCKD_{NUMBERS[flag]}" in entry or NUMBERS[flag] in entry
    assert f"default: {DEFAULTS[flag]}" in " ".join(entry.split()) or DEFAULTS[flag] == "0"


def test_every_variable_is_read():
    address = unused_address()
    environment = {
        "DFLOCKD_HTTP_PORT": str(HTTP_PORT), "DFLOCKD_HTTP_HOST": address,
        "DFLOCKD_HTTP_SESSION_IDLE_S": "7", "DFLOCKD_HTTP_MAX_SESSIONS": "1",
        "DFLOCKD_HTTP_MAX_SESSIONS_PER_IP": "2", "DFLOCKD_HTTP_MAX_CONNECTIONS_PER_IP": "1000",
        "DFLOCKD_HTTP_RATE_LIMIT_PER_IP": "1", "DFLOCKD_HTTP_RATE_LIMIT_BURST": "3",
        "DFLOCKD_HTTP_CORS_ALLOWED_ORIGINS": "*"}
    with Server(environment=environment) as server:
        connection = socket.create_connection((address, HTTP_PORT), 20)
        with Http(server, connection=connection) as http:
            headers = [("Origin", "https://app.example.com")]
            first = http.call("POST", "/v1/sessions", headers=headers)
            assert first.json()["idle_timeout_s"] == 7
            assert first.header("Access-Control-Allow-Origin") == "*"
            assert http.call("POST", "/v1/sessions").error == "max_sessions"
            assert http.call("POST", "/v1/sessions").error == "max_sessions"
            assert http.call("POST", "/v1/sessions").error == "rate_limited"


def test_the_host_is_that_of_tcp():
    address = unused_address()
    with Server(f"--host={address}", f"--http-port={HTTP_PORT}") as server:
        connection = socket.create_connection((address, HTTP_PORT), 20)
        with Http(server, connection=connection) as http:
            assert http.call("GET", "/health").status == 200
        assert server.host == address


def test_port_0_is_off():
    with Server("--http-port=0") as server:
        assert not any("protocol=http" in line for line in server.log)


def test_the_log_names_the_address():
    with HttpServer() as server:
        line = next(line for line in server.log if "listening" in line and "protocol=http" in line)
        assert f"{server.http_host}:{HTTP_PORT}" in line


def test_check_accepts_the_options():
    done = run_server("--check", "--port=0", f"--http-port={HTTP_PORT}",
                      f"--http-host={unused_address()}", "--http-session-idle-timeout=30",
                      "--http-cors-allowed-origins=https://app.example.com,*")
    assert done.returncode == 0, done


def test_http_serves_over_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6")
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as probe:
        port = probe.getsockname()[1]
    with Server("--http-host=::1", f"--http-port={port}") as server:
        with Http(server, connection=socket.create_connection(("::1", port), 20)) as http:
            assert http.call("GET", "/v1/stats", host=f"[::1]:{port}").status == 200
