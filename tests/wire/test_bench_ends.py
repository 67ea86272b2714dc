"""dflockd-bench in runs that do not go as planned: signals, restarts, lost connections."""

import csv
import io
import json
import re
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest
from lib.certificates import Authority
from lib.server import Server, unused_address
from lib.wire_client import Client, eventually
from startup import assert_refused, clean_environment
from test_bench import (
    BENCH, ROUNDS, RUN_SECONDS, SHORT, UNSHARED, WORKERS, address, bench, cheating_server, load)

LONG = ("--duration", "300", "--warmup-seconds", "0", "--workers", str(WORKERS))


class Proxy:
    """Forwards connections to a server; cuts them on request."""

    def __init__(self, server, wrap=lambda client: client):
        self.server = server
        self.wrap = wrap
        self.host = unused_address()
        self.listener = socket.create_server((self.host, 0))
        self.port = self.listener.getsockname()[1]
        self.pairs = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()
        self.cut()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            pair = self.wrap(client), self.server.connect(None)
            self.pairs.append(pair)
            for source, target in (pair, pair[::-1]):
                threading.Thread(target=self._forward, args=(source, target), daemon=True).start()

    @staticmethod
    def _forward(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass

    def cut(self):
        pairs, self.pairs = self.pairs, []
        for pair in pairs:
            for end in pair:
                end.shutdown(socket.SHUT_RDWR)


class Run:
    """A bench in the background."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [str(BENCH), *map(str, arguments)], text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def finish(self):
        out, err = self.process.communicate(timeout=RUN_SECONDS)
        return subprocess.CompletedProcess([], self.process.returncode, out, err)


def wait_for_load(server):
    """Waits until the workers have been granted locks."""
    with Client(server) as client:
        eventually(lambda: client.stats()["connections"] > WORKERS)
        eventually(lambda: client.stats()["locks"] or client.stats()["idle_locks"])


# ---- signals ----


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("form", ["text", "json", "csv"])
def test_a_signal_ends_the_load_and_reports_it(number, form, tmp_path):
    path = tmp_path / "latency.hgrm"
    arguments = () if form == "text" else (f"--{form}",)
    with Server() as server, Run("--servers", address(server), *LONG, "--quiet", "--hdr", path,
                                 "--keys", "shared", "--check", *arguments) as run:
        wait_for_load(server)
        run.process.send_signal(number)
        done = run.finish()
        with Client(server) as client:
            assert client.stats()["locks"] == []
    assert done.returncode == -number, done
    assert f"dflockd-bench: interrupted by {number.name}; the result covers " in done.stderr
    assert "violations" not in done.stderr
    if form == "text":
        assert f" s until {number.name}\n" in done.stdout and "\nrounds  " in done.stdout
    elif form == "json":
        result = json.loads(done.stdout)
        assert result["interrupted"] is True and result["rounds"] > 0
        assert 0 < result["seconds"] < 300 and result["unanswered"] == 0
    else:
        row, = csv.DictReader(io.StringIO(done.stdout))
        assert row["interrupted"] == "1" and int(row["rounds"]) > 0
    assert path.read_text().startswith("       Value")


def test_a_signal_in_the_warmup_reports_no_rounds():
    with Server() as server, Run("--servers", address(server), "--warmup-seconds", 300,
                                 "--json") as run:
        wait_for_load(server)
        run.process.send_signal(signal.SIGTERM)
        done = run.finish()
    assert done.returncode == -signal.SIGTERM
    assert json.loads(done.stdout)["rounds"] == 0 and json.loads(done.stdout)["seconds"] == 0


def test_a_signal_ends_a_load_whose_workers_all_wait():
    with Server() as server, Client(server) as client:
        client.acquire("taken", "0 1000")
        with Run("--servers", address(server), "--workers", WORKERS, "--rounds", 1, "--key",
                 "taken", "--keys", "shared", "--timeout", 1000, "--check", "--json") as run:
            eventually(lambda: client.stats()["connections"] > WORKERS)
            eventually(lambda: client.stats()["locks"][0]["waiters"] == WORKERS)
            run.process.send_signal(signal.SIGINT)
            done = run.finish()
    assert done.returncode == -signal.SIGINT, done
    assert json.loads(done.stdout)["check"]["violations"] == 0


def test_a_second_signal_ends_the_bench_at_once():
    with Server() as server, Client(server) as client:
        client.acquire("taken", "0 1000")
        with Run("--servers", address(server), *LONG, "--key", "taken", "--keys", "shared",
                 "--timeout", 1000) as run:
            eventually(lambda: client.stats()["locks"][0]["waiters"] == WORKERS)
            # The bench drains for half a second after the first signal.
            with server.stopped():
                run.process.send_signal(signal.SIGINT)
                time.sleep(0.1)
                run.process.send_signal(signal.SIGTERM)
                done = run.finish()
    assert done.returncode == -signal.SIGTERM and done.stdout == ""


def test_a_shell_sees_128_plus_the_signal():
    with Server() as server:
        script = '"$0" "$@" & wait $!; echo "status $?"'
        run = subprocess.Popen(["sh", "-c", script, str(BENCH), "--servers", address(server), *LONG,
                                "--quiet"], text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, env=clean_environment())
        wait_for_load(server)
        child = subprocess.run(["pgrep", "-P", str(run.pid)], capture_output=True, text=True,
                               check=True).stdout.split()[0]
        subprocess.run(["kill", "-TERM", child], check=True)
        assert run.communicate(timeout=RUN_SECONDS)[0].endswith("status 143\n")


# ---- lost connections ----


@pytest.mark.parametrize("arguments", [
    ("--keys", "shared", "--load", "lock,two-phase,try", "--hold", "500"), ("--load", "renew"),
    ("--keys", "shared", "--load", "shared=0.5,shared-two-phase=0.2,two-phase=0.2",
     "--hold", "500"),
    ("--load", "lock,renew,semaphore", "--depth", "3"), ("--new-connection",), ("--rate", "300")],
    ids=" ".join)
def test_a_load_continues_after_a_restart_of_the_server(arguments):
    with Server() as first:
        with Run("--servers", address(first), "--duration", 4, "--warmup-seconds", 0, "--workers",
                 WORKERS, "--check", "--json", *arguments) as run:
            wait_for_load(first)
            first.kill()
            with Server(port=first.port) as second:
                wait_for_load(second)
                done = run.finish()
    result = json.loads(done.stdout)
    assert done.returncode == 2, done
    assert result["check"]["violations"] == 0, done.stderr
    # A worker may connect once more before the kernel closes the listener.
    assert result["lost"] > 0 and result["failed"] >= 0


def test_idle_connections_and_held_keys_return_after_a_restart():
    with Server() as first:
        with Run("--servers", address(first), *LONG, "--idle", 20, "--held", 30) as run:
            wait_for_load(first)
            first.kill()
            with Server(port=first.port) as second, Client(second) as client:
                eventually(lambda: client.stats()["connections"] > 20 + WORKERS)
                eventually(lambda: len(client.stats()["locks"]) >= 30)
                run.process.send_signal(signal.SIGTERM)
                assert "\nidle     20 were closed by the server\n" in run.finish().stdout


@pytest.mark.parametrize("cheat, weights, status", [
    ("none", "lock", 2), ("double", "lock", 3), ("none", "shared=0.5", 2),
    ("reader", "shared=0.5", 3), ("writer", "shared=0.5", 3)])
def test_check_detects_a_server_that_cheats_after_lost_connections(cheat, weights, status):
    with cheating_server(cheat) as server, Proxy(server) as proxy:
        with Run("--servers", address(proxy), *LONG, "--duration", 2, "--keys", "shared",
                 "--hold", 500, "--load", weights, "--check", "--quiet") as run:
            for _ in range(5):
                eventually(lambda: len(proxy.pairs) >= WORKERS)
                time.sleep(0.1)
                proxy.cut()
            done = run.finish()
    assert done.returncode == status, done


def test_rounds_are_completed_after_a_restart():
    with Server() as first:
        with Run("--servers", address(first), "--rounds", 400, "--hold", 2000, "--workers",
                 WORKERS, "--json") as run:
            wait_for_load(first)
            first.kill()
            with Server(port=first.port):
                result = json.loads(run.finish().stdout)
    # A worker may connect once more before the kernel closes the listener.
    assert result["lost"] >= WORKERS
    # A lost round counts as a round of its worker. A refused connection does not.
    assert 400 * WORKERS - result["lost"] <= result["rounds"] <= 400 * WORKERS
    assert result["rounds"] + result["failed"] == 400 * WORKERS


@pytest.mark.parametrize("release", ["", "no-"])
@pytest.mark.parametrize("name", ["lock", "semaphore", "two-phase", "renew", "shared",
                                  "shared-two-phase"])
def test_a_worker_releases_what_it_held_before_it_lost_its_connection(release, name):
    flag = f"--{release}auto-release-on-disconnect"
    rounds = 6

    with Server(flag) as server, Proxy(server) as proxy, Client(server) as client:
        def all_hold():
            """every worker holds its key"""
            stats = client.stats()
            return len(stats["locks"] + stats["semaphores"]) == WORKERS

        with Run("--servers", address(proxy), "--workers", WORKERS, "--rounds", rounds, "--hold",
                 300000, "--lease", 1000, "--timeout", 1000, "--load", name, "--check",
                 "--json") as run:
            eventually(all_hold)
            # Without auto-release, a grant whose reply is lost lasts until its lease ends.
            time.sleep(0.1)
            proxy.cut()
            done = run.finish()
    result = json.loads(done.stdout)
    assert result["check"]["violations"] == 0, done.stderr
    # Without the release, a worker would wait for its own lease.
    assert result["unanswered"] == 0 and result["errors"] == {}
    assert result["rounds"] + result["failed"] == rounds * WORKERS


def test_progress_and_report_show_lost_connections():
    with Server() as first:
        with Run("--servers", address(first), "--duration", 3, "--warmup-seconds", 0,
                 "--workers", WORKERS) as run:
            wait_for_load(first)
            first.kill()
            done = run.finish()
    assert done.returncode == 2
    lost = re.search(r"\nlost     (\d+) connections\n", done.stdout)
    assert int(lost[1]) >= WORKERS
    assert f" errors {lost[1]} connections lost\n" in done.stderr
    assert " attempts failed, the last: Connection refused\n" in done.stdout


def test_a_worker_without_reconnection_ends():
    with Server() as server:
        with Run("--servers", address(server), *LONG, "--reconnect", 0, "--json") as run:
            wait_for_load(server)
            server.kill()
            done = run.finish()
    result = json.loads(done.stdout)
    assert result["lost"] == WORKERS and result["connects_failed"] == 0
    assert f"dflockd-bench: {WORKERS} workers ended with their connections (--reconnect 0)\n" \
        in done.stderr


def test_workers_that_find_no_server_end_with_the_reason():
    with Server() as server:
        with Run("--servers", address(server), *LONG, "--reconnect", 0.5, "--quiet") as run:
            wait_for_load(server)
            server.kill()
            done = run.finish()
    assert done.returncode == 2
    assert done.stderr == (f"dflockd-bench: {WORKERS} workers ended: no server for 0.5 s "
                           "(--reconnect)\n")


def test_a_stop_of_the_server_explains_its_errors():
    with Server() as server:
        with Run("--servers", address(server), *LONG, "--reconnect", 0.2, "--quiet",
                 "--keys", "shared", "--hold", 300000, "--json") as run:
            wait_for_load(server)
            server.terminate()
            done = run.finish()
    assert json.loads(done.stdout)["errors"].get("error_draining", 0) > 0
    assert "dflockd-bench: a server was stopped during the load: it refused requests with " \
        "error_draining, and closed their connections\n" in done.stderr


# ---- exit status ----


def test_most_rounds_failed_is_status_4():
    with Server() as server, Client(server) as client:
        client.acquire("taken", "0 1000")
        shared = ("--key", "taken", "--keys", "shared")
        result = load(server, *SHORT, *shared, "--load", "try,ping=9")
        assert result["failed"] == 0
        result = load(server, *SHORT, *shared, "--timeout", 0)
        assert result["failed"] == 0 and result["errors"] == {"timeout": WORKERS * ROUNDS}
        result = load(server, *SHORT, *shared, "--timeout", 1, "--rounds", 1, status=4)
        assert result["failed"] == WORKERS


def test_half_of_the_rounds_may_fail():
    with Server() as server, Client(server) as client:
        client.acquire("taken", "0 1000")
        result = load(server, "--workers", 1, "--rounds", 2, "--key", "taken", "--keys", "shared",
                      "--timeout", 1, "--load", "lock,ping", "--seed", 1)
        assert result["failed"] <= 1


# ---- addresses ----


@pytest.mark.parametrize("servers, reason", [
    ("127.0.0.1:82836", "'127.0.0.1:82836'"), ("127.0.0.1:65536", "1 to 65535"),
    ("127.0.0.1:0", "1 to 65535"), ("127.0.0.1:-1", "1 to 65535"), ("[::1", "[::1]:port"),
    ("", "host:port"), ("host.invalid:1", "check the name"), ("x:1,a:b", "give host:port"),
    ("http://localhost:6388", "leave out http://"), ("/tmp/x", "for a path write unix:/tmp/x"),
    ("a/b", "give host:port"), ("unix:" + "x" * 108, "1 to 107 bytes")])
@pytest.mark.parametrize("variable", [False, True])
def test_a_wrong_address_is_explained(servers, reason, variable):
    if variable and not servers:
        return  # an empty variable counts as not set
    done = (bench(environment={"DFLOCKD_SERVERS": servers}) if variable
            else bench("--servers", servers))
    assert done.returncode == 1 and done.stdout == ""
    name = "DFLOCKD_SERVERS" if variable else "--servers"
    assert done.stderr.startswith(f"dflockd-bench: {name}: ") and reason in done.stderr
    assert done.stderr.count("\n") == 1 and ";" in done.stderr


@pytest.mark.parametrize("form", ["[::1]:{}", "localhost:{}"])
@pytest.mark.parametrize("host", ["::1", "127.0.0.1"])
@pytest.mark.parametrize("life", [(), ("--new-connection",)])
def test_all_addresses_of_a_name_are_tried(form, host, life):
    name = form.split(":{", maxsplit=1)[0].strip("[]")
    if host not in {found[4][0] for found in socket.getaddrinfo(name, 0)}:
        pytest.skip("the address is not one of the name's")
    with Server("--host", host) as server:
        done = bench("--servers", form.format(server.port), *SHORT, "--quiet", "--json", *life)
    assert done.returncode == 0, done
    assert json.loads(done.stdout)["rounds"] == WORKERS * ROUNDS


def test_an_ipv6_address_alone_has_the_default_port():
    done = bench("--servers", "::1", *SHORT)
    assert done.returncode in (0, 1) and "--servers: " not in done.stderr


# ---- TLS and authentication ----


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder)
    pair = authority.issue("server")
    client = authority.issue("client", usage="clientAuth")
    secret = folder / "secret"
    secret.write_text("open sesame\n")
    with Server("--tls-cert", str(pair.certificate), "--tls-key", str(pair.key), "--tls-client-ca",
                str(authority.certificate), "--auth-token-file", str(secret)) as server:
        server.authority, server.client, server.secret = authority, client, secret
        yield server


@pytest.mark.parametrize("life", [(), ("--new-connection",), ("--connections", "2")])
def test_a_client_certificate_and_a_secret_can_be_given(tls, life):
    result = load(tls, *SHORT, *life, "--tls", "--tls-ca", tls.authority.certificate,
                  "--tls-client-cert", tls.client.certificate, "--tls-client-key", tls.client.key,
                  "--auth-token-file", tls.secret)
    assert result["rounds"] == WORKERS * ROUNDS and result["lost"] == 0


def test_variables_are_those_of_dflockctl(tls):
    environment = {"DFLOCKD_SERVERS": address(tls), "DFLOCKD_TLS": "1",
                   "DFLOCKD_TLS_CA": str(tls.authority.certificate),
                   "DFLOCKD_TLS_CLIENT_CERT": str(tls.client.certificate),
                   "DFLOCKD_TLS_CLIENT_KEY": str(tls.client.key),
                   "DFLOCKD_TLS_SERVER_NAME": "localhost", "DFLOCKD_AUTH_TOKEN": "open sesame"}
    assert bench(*SHORT, "--quiet", environment=environment).returncode == 0
    # A flag takes precedence.
    done = bench(*SHORT, "--quiet", "--tls-server-name", "other.example", environment=environment)
    assert done.returncode == 1 and "certificate" in done.stderr
    done = bench(*SHORT, "--auth-token", "wrong", environment=environment)
    assert_refused(done, "error_auth")
    done = bench(*SHORT, "--idle", "1", environment=environment)
    assert_refused(done, "DFLOCKD_TLS")
    environment["DFLOCKD_TLS"] = "0"
    assert_refused(bench(*SHORT, environment=environment), "DFLOCKD_TLS_CA")


def test_shared_locks_work_with_tls_and_a_secret(tls):
    result = load(tls, *SHORT, "--load", "shared=0.5", "--keys", "shared", "--check", "--tls",
                  "--tls-ca", tls.authority.certificate, "--tls-client-cert",
                  tls.client.certificate, "--tls-client-key", tls.client.key,
                  "--auth-token-file", tls.secret)
    assert result["rounds"] == WORKERS * ROUNDS and result["readers"]["grants"] > 0
    assert result["errors"] == {} and result["lost"] == result["check"]["violations"] == 0


class TlsProxy(Proxy):
    """Accepts TLS, and forwards the plain bytes."""

    def __init__(self, server, pair):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        super().__init__(server, lambda client: context.wrap_socket(client, server_side=True))


def test_a_server_without_shared_locks_is_refused_over_tls(tmp_path):
    authority = Authority(tmp_path)
    with cheating_server("unshared") as server, \
            TlsProxy(server, authority.issue("server")) as proxy:
        arguments = ("--servers", address(proxy), *SHORT, "--quiet", "--tls", "--tls-ca",
                     authority.certificate, "--tls-server-name", "localhost")
        assert_refused(bench(*arguments, "--load", "shared"), f"{address(proxy)}: {UNSHARED}")


def test_a_missing_client_certificate_is_reported(tls):
    done = bench("--servers", address(tls), *SHORT, "--tls", "--tls-ca", tls.authority.certificate,
                 "--auth-token-file", tls.secret)
    assert_refused(done)
    assert done.stderr.endswith("ertificate is required; give a certificate that the server trusts "
                                "with --tls-client-cert and --tls-client-key\n")


def test_an_unknown_ca_and_another_name_are_reported(tls, tmp_path):
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    done = bench("--servers", address(tls), *SHORT, "--tls", "--tls-ca", other.certificate)
    assert_refused(done, "not signed by a trusted CA; check --tls-ca")
    done = bench("--servers", address(tls), *SHORT, "--tls", "--tls-ca", tls.authority.certificate,
                 "--tls-server-name", "other.example")
    assert_refused(done, "the certificate is for another name; check --tls-server-name")


def test_a_missing_tls_file_is_named_once(tls, tmp_path):
    for flag in ("--tls-ca", "--tls-client-cert", "--tls-client-key"):
        others = [word for other in ("--tls-client-cert", "--tls-client-key") if flag != "--tls-ca"
                  and other != flag for word in (other, tls.client.certificate)]
        done = bench("--servers", address(tls), "--tls", flag, "/nowhere", *others)
        assert done.stderr == (f"dflockd-bench: {flag}: cannot read '/nowhere': No such file or "
                               "directory\n")
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    done = bench("--servers", address(tls), "--tls", "--tls-ca", empty)
    assert done.stderr.count("empty.pem") == 1 and done.stderr.count("tls") <= 1
    assert_refused(bench("--servers", address(tls), "--tls-ca", empty), "--tls-ca", "--tls")


# ---- values ----


@pytest.mark.parametrize("arguments", [("--duration", "0.3"), ("--ramp", "0.2", "--rounds", "2"),
                                       ("--duration", "0.25", "--warmup-seconds", "0.125")])
def test_times_may_be_fractions(arguments):
    with Server() as server:
        if "--warmup-seconds" not in arguments:
            arguments += ("--warmup-seconds", "0.1")
        result = load(server, "--workers", WORKERS, *arguments)
    assert result["rounds"] > 0 and result["seconds"] < 5


@pytest.mark.parametrize("flag", ["timeout", "lease"])
def test_the_times_of_the_protocol_are_whole_seconds(flag):
    assert_refused(bench(f"--{flag}", "0.5"), f"--{flag}", "whole number")


VALUES = "", "x", "-1", "99999999999999999999999", "1.5", "1e3", "nan", " 1", "0x10", "\n"
BOTH_FINE = {"duration", "warmup-seconds", "ramp", "reconnect"}  # fractions
NUMBERS = ["workers", "connections", "rounds", "warmup", "timeout", "lease", "limit", "depth",
           "idle", "held", "hold", "rate", "threads", "seed", "server-pid", "connect-timeout",
           "reply-timeout", *sorted(BOTH_FINE)]


@pytest.mark.parametrize("flag", NUMBERS)
def test_a_wrong_number_is_refused(flag):
    for value in VALUES:
        if flag in BOTH_FINE and value == "1.5":
            continue
        assert_refused(bench(f"--{flag}={value}"), f"--{flag}")


@pytest.mark.parametrize("flag", ["shared-key", "new-connection", "tls", "tls-insecure", "check",
                                  "quiet", "json", "csv"])
def test_a_wrong_switch_is_refused(flag):
    for value in ("", "x", "2", "-1"):
        assert_refused(bench(f"--{flag}={value}"), f"--{flag}")


@pytest.mark.parametrize("flag", ["hdr", "key", "keys", "load", "protocol", "auth-token"])
def test_an_empty_text_is_refused(flag):
    with Server() as server:
        assert_refused(bench("--servers", address(server), f"--{flag}="), f"--{flag}")
