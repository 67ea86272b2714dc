"""Every option has its effect, as a flag in any form or as a variable of any name."""

import re
import socket
from pathlib import Path

import pytest
from lib.server import Server, unused_address
from lib.wire_client import CLOSED, MORE_THAN_BUFFERS, SILENCE, Client, eventually, request, settle
from startup import ServerAsGiven, run_server

# The documented options: flag, and names of its variable without DFLOCKD_.
OPTIONS = {
    "host": ["HOST"], "port": ["PORT"], "default-lease-ttl": ["DEFAULT_LEASE_TTL_S"],
    "lease-sweep-interval": ["LEASE_SWEEP_INTERVAL_S"],
    "gc-interval": ["GC_INTERVAL_S", "GC_LOOP_SLEEP"],
    "gc-max-idle": ["GC_MAX_IDLE_S", "GC_MAX_UNUSED_TIME"], "grant-after": ["GRANT_AFTER_S"],
    "max-locks": ["MAX_LOCKS"],
    "max-connections": ["MAX_CONNECTIONS"], "max-connections-per-ip": ["MAX_CONNECTIONS_PER_IP"],
    "max-waiters": ["MAX_WAITERS"], "read-timeout": ["READ_TIMEOUT_S"],
    "write-timeout": ["WRITE_TIMEOUT_S"], "shutdown-timeout": ["SHUTDOWN_TIMEOUT_S"],
    "auto-release-on-disconnect": ["AUTO_RELEASE_ON_DISCONNECT"], "tls-cert": ["TLS_CERT"],
    "tls-key": ["TLS_KEY"], "tls-client-ca": ["TLS_CLIENT_CA"],
    "auth-token": ["AUTH_TOKEN"], "auth-token-file": ["AUTH_TOKEN_FILE"],
    "admin-token": ["ADMIN_TOKEN"], "admin-token-file": ["ADMIN_TOKEN_FILE"],
    "fence-state-file": ["FENCE_STATE_FILE"], "http-port": ["HTTP_PORT"],
    "http-host": ["HTTP_HOST"], "debug": ["DEBUG"], "threads": ["THREADS"],
    "unix-socket": ["UNIX_SOCKET"], "unix-socket-mode": ["UNIX_SOCKET_MODE"],
    "max-buffered-mib": ["MAX_BUFFERED_MIB"], "max-claims": ["MAX_CLAIMS"],
    "max-claims-per-connection": ["MAX_CLAIMS_PER_CONNECTION"],
}


def lease_is_7(server):
    with Client(server) as client:
        assert re.fullmatch(r"ok [0-9a-f]{32} 7", client.call("l", "key", "0"))


def grants_nothing(server):
    with Client(server) as client:
        assert client.call("l", "key", "0") == "timeout"
        assert client.call("e", "key") == "queued"


def one_lock_at_most(server):
    with Client(server) as client:
        client.acquire("one")
        assert client.call("l", "two", "0") == "error_max_locks"


def one_waiter_at_most(server):
    with Client(server) as client, Client(server) as other:
        client.acquire("key")
        assert client.call("e", "key") == "queued"
        assert other.call("e", "key") == "error_max_waiters"


def one_claim_at_most(server):
    with Client(server) as client, Client(server) as other:
        client.acquire("key")
        assert other.call("l", "other", "0") == "error_max_locks"
        assert other.call("e", "key") == "error_max_waiters"


def one_claim_of_each_at_most(server):
    with Client(server) as client, Client(server) as other:
        client.acquire("key")
        assert client.call("l", "other", "0") == "error_max_locks"
        assert client.call("e", "key") == "error_max_waiters"
        assert other.call("e", "key") == "queued"


def one_connection_at_most(server):
    with Client(server) as first:
        assert first.call("ping") == "ok"
        with Client(server) as second:
            assert second.read_line() == CLOSED


def idle_for_a_second_at_most(server):
    with Client(server) as client:
        assert client.read_line(10) == b"error\n"
        assert client.read_line() == CLOSED


def collects_by_the_second(server):
    with Client(server) as client:
        assert client.call("r", "key", client.acquire("key")) == "ok"
        eventually(lambda: client.stats()["idle_locks"] == [], seconds=30)


def collects_at_the_next_tick(server):
    # The interval is the default of 5 seconds.
    with Client(server) as client:
        assert client.call("r", "key", client.acquire("key")) == "ok"
        eventually(lambda: client.stats()["idle_locks"] == [], seconds=30)


def holds_after_disconnect(server):
    with Client(server) as client:
        client.acquire("key")
    with Client(server) as client:
        eventually(lambda: client.stats()["connections"] == 1)
        assert client.call("l", "key", "0") == "timeout"


def closes_a_second_after_the_signal(server):
    with Client(server) as client:
        client.acquire("key")
        server.terminate()
        assert client.read_line(0.4) == SILENCE
        assert client.read_line(10) == CLOSED
    assert server.wait() == 0


def wants_s3cret(server):
    with Client(server) as client:
        assert client.call("ping") == "error_auth"
    with Client(server) as client:
        assert client.call("auth", "_", "s3cret") == "ok"
        assert client.call("ping") == "ok"


def knows_administrators(server):
    with Client(server) as client:
        assert client.call("ping") == "ok"
        assert client.call("auth", "_", "adm1n") == "ok"
        assert client.call("auth", "_", "s3cret") == "error_auth"


def logs_debug(server):
    with Client(server) as client:
        assert client.call("ping") == "ok"
    eventually(lambda: any("level=DEBUG" in line for line in server.log))


def ends_leases_in_time(server):
    # Accepted without effect: a lease of a second does not last the 30 seconds of the sweep.
    with Client(server) as client, Client(server) as waiter:
        client.acquire("key", "0 1")
        assert waiter.call("l", "key", "10").startswith("ok ")


def has_3_workers(server):
    with ServerAsGiven("--port", "0", "--threads", "1") as single:
        one = len(list(Path(f"/proc/{single.pid}/task").iterdir()))
    assert len(list(Path(f"/proc/{server.pid}/task").iterdir())) == one + 2


def is_on_another_address(server):
    assert server.host == "127.0.0.2"
    with Client(server) as client:
        assert client.call("ping") == "ok"


def drops_a_peer_that_does_not_read(server):
    with Client(server) as reader:
        pings = request("ping") * (MORE_THAN_BUFFERS // len(request("ping")))
        assert reader.send_until_blocked(pings, seconds=0.5) < len(pings)
        # Well before the read timeout.
        settle(server, seconds=15)


OBSERVED = [
    ("host", "127.0.0.2", is_on_another_address),
    ("default-lease-ttl", "7", lease_is_7),
    ("lease-sweep-interval", "30", ends_leases_in_time),
    ("gc-interval", "1", collects_by_the_second),
    ("gc-max-idle", "0", collects_at_the_next_tick),
    ("grant-after", "1000", grants_nothing),
    ("max-locks", "1", one_lock_at_most),
    ("max-connections", "1", one_connection_at_most),
    ("max-connections-per-ip", "1", one_connection_at_most),
    ("max-waiters", "1", one_waiter_at_most),
    ("max-claims", "1", one_claim_at_most),
    ("max-claims-per-connection", "1", one_claim_of_each_at_most),
    ("read-timeout", "1", idle_for_a_second_at_most),
    ("write-timeout", "1", drops_a_peer_that_does_not_read),
    ("shutdown-timeout", "1", closes_a_second_after_the_signal),
    ("auto-release-on-disconnect", "false", holds_after_disconnect),
    ("auth-token", "s3cret", wants_s3cret),
    ("admin-token", "adm1n", knows_administrators),
    ("debug", "true", logs_debug),
    ("threads", "3", has_3_workers),
]
# The further options that an observation needs.
BESIDE = {"gc-interval": ("--gc-max-idle", "0")}
VARIABLES = [(flag, f"DFLOCKD_{name}", value, observe)
             for flag, value, observe in OBSERVED for name in OPTIONS[flag]]


@pytest.mark.parametrize("flag, value, observe", OBSERVED)
def test_a_flag_has_its_effect(flag, value, observe):
    with Server(f"--{flag}={value}", *BESIDE.get(flag, ())) as server:
        observe(server)


@pytest.mark.parametrize("flag, variable, value, observe", VARIABLES)
def test_a_variable_has_its_effect(flag, variable, value, observe):
    with Server(*BESIDE.get(flag, ()), environment={variable: value}) as server:
        observe(server)


@pytest.mark.parametrize("form", [
    ("-default-lease-ttl", "7"), ("--default-lease-ttl", "7"), ("-default-lease-ttl=7",),
    ("--default-lease-ttl=7",), ("--default-lease-ttl=9", "--default-lease-ttl=7")])
def test_a_number_is_accepted_in_every_form(form):
    with Server(*form) as server:
        lease_is_7(server)


@pytest.mark.parametrize("form", [("-port", "0"), ("--port", "0"), ("--port=0",), ("-port=0",)])
def test_port_0_selects_a_free_port_and_logs_it(form):
    with ServerAsGiven(*form) as server:
        assert server.host == "127.0.0.1" and server.port > 1023
        with Client(server) as client:
            assert client.call("ping") == "ok"


def test_a_port_is_taken_from_flag_or_variable():
    host = unused_address()
    with ServerAsGiven("--host", host, "--port=6390") as server:
        assert (server.host, server.port) == (host, 6390)
    with ServerAsGiven("--host", host, environment={"DFLOCKD_PORT": "6391"}) as server:
        assert (server.host, server.port) == (host, 6391)


@pytest.mark.parametrize("form", ["-debug", "--debug", "--debug=true", "-debug=true", "--debug=1",
                                  "--debug=TRUE", "--debug=T"])
def test_every_form_switches_a_boolean_on(form):
    with Server(form) as server:
        logs_debug(server)


@pytest.mark.parametrize("form", ["--debug=false", "-debug=false", "--debug=0", "--debug=FALSE"])
def test_every_form_switches_a_boolean_off(form):
    with Server(form, environment={"DFLOCKD_DEBUG": "true"}) as server:
        with Client(server) as client:
            assert client.call("ping") == "ok"
        server.terminate()
        assert server.wait() == 0
    assert not any("level=DEBUG" in line for line in server.log)


@pytest.mark.parametrize("form", [
    "--no-auto-release-on-disconnect", "-no-auto-release-on-disconnect",
    "--auto-release-on-disconnect=false", "-auto-release-on-disconnect=false",
    "--auto-release-on-disconnect=0"])
def test_every_form_switches_auto_release_off(form):
    with Server(form) as server:
        holds_after_disconnect(server)


@pytest.mark.parametrize("form", ["--auto-release-on-disconnect", "-auto-release-on-disconnect",
                                  "--auto-release-on-disconnect=true"])
def test_every_form_switches_auto_release_on(form):
    off = {"DFLOCKD_AUTO_RELEASE_ON_DISCONNECT": "false"}
    with Server(form, environment=off) as server:
        with Client(server) as client:
            client.acquire("key")
        with Client(server) as client:
            assert client.call("l", "key", "10").startswith("ok ")


@pytest.mark.parametrize("value", ["false", "0", "FALSE"])
def test_a_variable_switches_auto_release_off(value):
    with Server(environment={"DFLOCKD_AUTO_RELEASE_ON_DISCONNECT": value}) as server:
        holds_after_disconnect(server)


def test_a_flag_overrides_its_variable():
    with Server("--default-lease-ttl", "7",
                environment={"DFLOCKD_DEFAULT_LEASE_TTL_S": "9"}) as server:
        lease_is_7(server)


def test_a_flag_with_the_default_value_overrides_its_variable():
    with Server("--max-locks=1024", environment={"DFLOCKD_MAX_LOCKS": "1"}) as server, \
            Client(server) as client:
        client.acquire("one")
        client.acquire("two")


def test_a_variable_overrides_the_default():
    with Server(environment={"DFLOCKD_DEFAULT_LEASE_TTL_S": "7"}) as server:
        lease_is_7(server)


def test_the_defaults_match_the_documentation():
    with Server() as server, Client(server) as client, Client(server) as other:
        assert re.fullmatch(r"ok [0-9a-f]{32} 33", client.call("l", "key", "0"))
        for number in range(1023):
            client.acquire(f"key-{number}")
        assert client.call("l", "one-more", "0") == "error_max_locks"
        assert other.call("auth", "_", "token") == "error"
        assert other.call("e", "key") == "queued"
        assert server.host == "127.0.0.1"
    assert not any("level=DEBUG" in line for line in server.log)


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


@pytest.mark.parametrize("host, near", [
    ("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("localhost", "localhost"),
    ("::1", "::1"), ("::", "::1")])
def test_a_host_may_be_a_name_or_an_address_of_either_family(host, near):
    if ":" in host and not has_ipv6():
        pytest.skip("no IPv6 here")
    with Server("--host", host) as server:
        with socket.create_connection((near, server.port), timeout=20) as connection:
            connection.sendall(b"ping\n_\n_\n")
            assert connection.recv(100) == b"ok\n"


@pytest.mark.parametrize("form", ["--help", "-help", "-h"])
def test_help_names_every_flag_and_variable_and_exits_with_0(form):
    done = run_server(form)
    assert done.returncode == 0, done
    text = done.stdout + done.stderr
    for flag, names in OPTIONS.items():
        assert re.search(rf"--?(\[no-\])?{flag}(?![\w-])", text), flag
        for name in names:
            assert re.search(rf"(?<!\w){name}(?!\w)|DFLOCKD_{name}(?!\w)", text), name
    assert re.search(r"--?version(?![\w-])", text)


def test_help_states_that_the_sweep_interval_has_no_effect():
    text = run_server("--help").stdout
    entry = text[text.index("lease-sweep-interval"):]
    entry = entry[:entry.index("gc-interval")]
    assert re.search(r"accepted.*(no|without) effect|ignored", entry, re.IGNORECASE), entry


@pytest.mark.parametrize("form", ["--version", "-version"])
def test_version_is_printed_and_exits_with_0(form):
    done = run_server(form)
    assert done.returncode == 0 and done.stderr == ""
    assert re.fullmatch(r"(dflockd )?v?\d+\.\d+\S*\n", done.stdout), done.stdout
