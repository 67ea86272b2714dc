"""The fail2ban filter: fail2ban-regex applies it to logs of real servers."""

import shutil
import subprocess

import pytest
from lib.server import ROOT, Server
from lib.wire_client import Client, eventually, request
from test_unix_socket import UnixServer

FILTER = ROOT / "tools/dist/fail2ban/dflockd.conf"
SECRET = "s3cret"
FORGED = [b'x"level=WARN_msg="authentication_failed"_addr=1.2.3.4:5',
          b'level=WARN\x0bmsg="authentication\x0bfailed"\x0baddr=1.2.3.4:5\x0bconn=1',
          b'"\x1clevel=WARN\xa0msg="authentication\xa0failed"\xa0addr=1.2.3.4:5',
          b"time=2026-11-30T00:00:00.000Z", b"1.2.3.4", b"\\"]

pytestmark = pytest.mark.skipif(not shutil.which("fail2ban-regex"), reason="no fail2ban")


def banned(tmp_path, log):
    """Returns the address that fail2ban finds in each line that it counts."""
    path = tmp_path / "dflockd.log"
    path.write_text("".join(log), encoding="utf-8")
    done = subprocess.run(["fail2ban-regex", "-o", "id", str(path), str(FILTER)],
                          capture_output=True, text=True, timeout=60, check=False)
    assert "ERROR" not in done.stderr
    return done.stdout.split()


def dated(tmp_path, log):
    """Returns the number of lines in which the filter finds a date."""
    path = tmp_path / "dflockd.log"
    path.write_text("".join(log), encoding="utf-8")
    output = subprocess.run(["fail2ban-regex", str(path), str(FILTER)], capture_output=True,
                            text=True, timeout=60, check=False).stdout
    return int(output.split("Date template hits:")[1].split("[")[2].split("]")[0])


def failed(server):
    return [line for line in server.log if 'msg="authentication failed"' in line]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_filter_counts_each_failed_authentication_for_its_address(tmp_path, host):
    with Server("--host", host, "--auth-token", SECRET, "--read-timeout", "1", "--debug") as server:
        attempts = [request("auth", "_", "wrong"), request("auth", "_", b"\"addr=1.2.3.4:5"),
                    request("l", b"addr=1.2.3.4:5", "1"), b"x" * 300 + b"\n", b""]
        for attempt in attempts:
            with Client(server) as client:
                client.send(attempt)
                assert client.read_line() == b"error_auth\n"
        with Client(server) as client:
            assert client.call("auth", "_", SECRET) == "ok"
        eventually(lambda: len(failed(server)) == len(attempts))
        log = list(server.log)  # the server may still be writing
        assert banned(tmp_path, log) == [host] * len(attempts)
        assert dated(tmp_path, log) == len(log)
        # As in the journal, with a host and a process before each line.
        assert banned(tmp_path, [f"lock-1 dflockd[815]: {line}" for line in failed(server)]) == \
            [host] * len(attempts)


def test_the_filter_counts_a_client_that_fails_to_become_administrator(tmp_path):
    with Server("--auth-token", SECRET, "--admin-token", "adm1n") as server:
        with Client(server) as client:
            assert client.call("auth", "_", SECRET) == "ok"
            assert client.call("auth", "_", "wrong") == "error_auth"
        eventually(lambda: failed(server))
        assert banned(tmp_path, failed(server)) == ["127.0.0.1"]


def test_the_filter_counts_a_line_about_suppressed_failures(tmp_path):
    with Server("--auth-token", SECRET) as server:
        def attempt():
            with Client(server) as client:
                assert client.call("auth", "_", "wrong") == "error_auth"
            return any("suppressed=" in line for line in failed(server))
        eventually(attempt)
        log = list(server.log)  # the server may still be writing
    lines = [line for line in log if 'msg="authentication failed"' in line]
    assert banned(tmp_path, log) == ["127.0.0.1"] * len(lines)


def test_no_client_input_looks_like_a_failed_authentication(tmp_path):
    with Server("--debug") as server, Client(server) as client:
        for key in FORGED:
            client.acquire(key, "0 1")
            assert client.call(key, key, key) == "error"
        eventually(lambda: sum("lease expired" in line for line in server.log) == len(FORGED))
        assert banned(tmp_path, server.log) == []
        assert banned(tmp_path, [f"lock-1 dflockd[815]: {line}" for line in server.log]) == []


def test_the_filter_does_not_ban_clients_of_the_unix_socket(tmp_path):
    with UnixServer(tmp_path / "socket", "--auth-token", SECRET) as server:
        with Client(server) as client:
            assert client.call("auth", "_", "wrong") == "error_auth"
        eventually(lambda: failed(server))
        assert banned(tmp_path, server.log) == []
