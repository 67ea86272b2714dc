"""Authentication and TLS: by flags, variables and files; secrets stay hidden from others."""

import os
import signal
from pathlib import Path

import pytest
from ctl import CTL, NO_SERVER, REFUSED, USAGE, Running, ctl
from lib.certificates import Authority
from lib.server import Server
from lib.tls import TlsServer
from lib.wire_client import eventually

SECRET = "s3cret-of-the-server"
NOWHERE = "/nowhere/ca.pem"
SHOW = "tr '\\0' '\\n' </proc/$PPID/cmdline; tr '\\0' '\\n' </proc/self/environ; env"


@pytest.fixture
def guarded():
    with Server("--auth-token", SECRET) as running:
        yield running


@pytest.fixture
def secret_file(tmp_path):
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")
    return str(file)


# ---- the secret ----

def ways(secret_file):
    return [(["--auth-token", SECRET], {}), ([f"--auth-token={SECRET}"], {}),
            (["--auth-token-file", secret_file], {}), ([], {"DFLOCKD_AUTH_TOKEN": SECRET}),
            ([], {"DFLOCKD_AUTH_TOKEN_FILE": secret_file}),
            (["--auth-token-file", secret_file], {"DFLOCKD_AUTH_TOKEN": "wrong"}),
            (["--auth-token", SECRET], {"DFLOCKD_AUTH_TOKEN_FILE": "/nowhere"})]


def test_the_secret_comes_from_flag_variable_or_file(guarded, secret_file):
    for flags, variables in ways(secret_file):
        for words in (["ping"], ["ls"], ["lock", "key"]):
            command = ["--", "true"] if words[0] == "lock" else []
            done = ctl(guarded, *words, *flags, *command, variables=variables)
            assert (done.returncode, done.stderr) == (0, ""), (words, flags, variables)
        assert ctl(guarded, *flags, "ping", variables=variables).returncode == 0


@pytest.mark.parametrize("flags", [[], ["--auth-token", "wr0ng-secret"]])
@pytest.mark.parametrize("words", [["ping"], ["lock", "key", "--", "true"], ["acquire", "key"]])
def test_a_missing_or_wrong_secret_is_refused(guarded, words, flags):
    done = ctl(guarded, words[0], *flags, *words[1:])
    assert (done.returncode, done.stdout) == (REFUSED, "")
    assert done.stderr.count("\n") == 1 and "--auth-token-file" in done.stderr
    assert "wr0ng-secret" not in done.stderr


def test_a_missing_secret_differs_from_a_wrong_one(guarded):
    assert "requires a secret; give it with --auth-token-file" in ctl(guarded, "ping").stderr
    refused = ctl(guarded, "ping", "--auth-token", "x")
    assert "refused the authentication; check the secret" in refused.stderr


@pytest.mark.parametrize("words", [["ls"], ["stats"], ["show", "key"], ["ping"],
                                   ["renew", "key", "0" * 32], ["release", "key", "0" * 32]])
def test_a_refusal_is_reported_once(guarded, words):
    done = ctl(guarded, *words)
    assert done.returncode == REFUSED and done.stderr.count("dflockctl:") == 1


def test_a_secret_for_a_server_without_one_is_reported(server):
    done = ctl(server, "ping", "--auth-token", SECRET)
    assert done.returncode == REFUSED
    assert "does not use a secret; leave out --auth-token-file and --auth-token" in done.stderr
    assert SECRET not in done.stderr


def test_neither_processes_nor_commands_find_the_secret(guarded, secret_file):
    for flags, variables in ways(secret_file):
        done = ctl(guarded, "lock", *flags, "key", "--", "sh", "-c", SHOW, variables=variables)
        assert done.returncode == 0, done
        assert SECRET not in done.stdout and "DFLOCKD_KEY=key" in done.stdout
        assert "DFLOCKD_AUTH_TOKEN=" not in done.stdout
        with Running(guarded, "lock", *flags, "key", "--", "sh", "-c", "echo; exec sleep 100",
                     variables=variables) as running:
            running.line()
            for name in ("cmdline", "environ"):
                assert SECRET.encode() not in Path(f"/proc/{running.pid}/{name}").read_bytes()


def test_a_command_under_a_lock_may_use_the_file(guarded, secret_file):
    done = ctl(guarded, "lock", "key", "--", str(CTL), "renew",
               variables={"DFLOCKD_AUTH_TOKEN_FILE": secret_file})
    assert (done.returncode, done.stdout) == (0, "33\n")


def test_arguments_of_the_command_are_not_wiped(server):
    done = ctl(server, "lock", "key", "--", "echo", "--auth-token", "kept")
    assert done.stdout == "--auth-token kept\n"


# ---- TLS ----

@pytest.fixture(scope="module")
def tls(pair):
    with TlsServer(pair, "--auth-token", SECRET) as running:
        yield running


def trusting(authority, *more):
    return ("--tls", "--tls-ca", str(authority.certificate), "--auth-token", SECRET, *more)


def test_tls_works_with_a_trusted_authority(tls, authority):
    flags = trusting(authority)
    assert ctl(tls, "ping", *flags).returncode == 0
    done = ctl(tls, "lock", *flags, "--lease", "1", "tls-key", "--", "sh", "-c",
               "sleep 1.5; echo ran")
    assert (done.returncode, done.stdout, done.stderr) == (0, "ran\n", "")
    variables = {"DFLOCKD_TLS": "1", "DFLOCKD_TLS_CA": str(authority.certificate),
                 "DFLOCKD_AUTH_TOKEN": SECRET}
    assert ctl(tls, "stats", variables=variables).returncode == 0


def test_acquire_keeps_a_lock_over_tls(tls, authority):
    flags = trusting(authority)
    done = ctl(tls, "acquire", "kept", *flags, "--while", str(os.getpid()), "--lease", "1")
    assert done.returncode == 0, done
    token = done.stdout.strip()
    assert ctl(tls, "lock", *flags, "kept", "--timeout", "2", "--", "true").returncode == 75
    assert ctl(tls, "release", "kept", token, *flags).returncode == 0
    assert ctl(tls, "lock", *flags, "kept", "--try", "--", "true").returncode == 0


def test_a_grant_after_the_signal_is_released_over_tls(pair, authority):
    """As without TLS, on a server that keeps grants of closed connections."""
    flags = ("--tls", "--tls-ca", str(authority.certificate))

    def waiters():
        [line] = ctl(server, "ls", *flags).stdout.splitlines()
        return line.split("\t")[3]

    with TlsServer(pair, "--no-auto-release-on-disconnect") as server:
        token = ctl(server, "acquire", "key", *flags, "--lease", "1000").stdout.strip()
        with Running(server, "lock", "key", *flags, "--lease", "1000", "--", "true") as running:
            eventually(lambda: waiters() == "1")
            running.send(signal.SIGSTOP)
            assert ctl(server, "release", "key", token, *flags).returncode == 0
            running.send(signal.SIGTERM)
            running.send(signal.SIGCONT)
            assert running.finish()[0] == 143
        assert ctl(server, "lock", "key", "--try", *flags, "--", "true").returncode == 0


def test_a_certificate_that_is_not_trusted_is_refused(tls, tmp_path):
    other = Authority(tmp_path, "other")
    done = ctl(tls, "ping", *trusting(other))
    assert (done.returncode, done.stdout) == (REFUSED, "")
    assert done.stderr.count("\n") == 1 and "--tls-ca" in done.stderr
    assert ctl(tls, "ping", "--tls", "--auth-token", SECRET).returncode == REFUSED
    assert ctl(tls, "ping", "--tls", "--tls-insecure", "--auth-token", SECRET).returncode == 0


def test_the_certificate_must_have_the_server_name(tls, authority):
    assert ctl(tls, "ping", *trusting(authority, "--tls-server-name", "localhost")).returncode == 0
    done = ctl(tls, "ping", *trusting(authority, "--tls-server-name", "elsewhere.example"))
    assert done.returncode == REFUSED and "--tls-server-name" in done.stderr


def test_a_missing_tls_file_is_reported(tls):
    for given, source in ((("--tls-ca", NOWHERE), "--tls-ca"),
                          (("--tls-client-cert", NOWHERE, "--tls-client-key", "/dev/null"),
                           "--tls-client-cert"),
                          (("--tls-client-cert", "/dev/null", "--tls-client-key", NOWHERE),
                           "--tls-client-key")):
        done = ctl(tls, "ping", "--tls", *given)
        assert done.returncode == USAGE
        assert done.stderr == (f"dflockctl: {source}: cannot read '{NOWHERE}': "
                               "No such file or directory\n")
    done = ctl(tls, "ping", "--tls", variables={"DFLOCKD_TLS_CA": NOWHERE})
    assert done.returncode == USAGE and done.stderr.startswith("dflockctl: DFLOCKD_TLS_CA: cannot")


def test_a_tls_file_with_wrong_contents_is_reported(nowhere, authority, tmp_path):
    client = authority.issue("wrong-contents", usage="clientAuth")
    other = authority.issue("other-contents", usage="clientAuth")
    wrong = tmp_path / "wrong"
    wrong.write_text("no PEM\n")
    certificate = ("--tls-client-cert", str(client.certificate))
    for given, flag, file in (
            (("--tls-ca", str(wrong)), "--tls-ca", wrong),
            (("--tls-client-cert", str(wrong), "--tls-client-key", str(client.key)),
             "--tls-client-cert", wrong),
            ((*certificate, "--tls-client-key", str(wrong)), "--tls-client-key", wrong),
            ((*certificate, "--tls-client-key", str(other.key)), "--tls-client-key", other.key)):
        for words in (["ping"], ["lock", "key", "-c", "true"], ["acquire", "key"]):
            done = ctl(nowhere, *words, "--tls", *given)
            assert (done.returncode, done.stdout) == (USAGE, "")
            assert done.stderr.startswith(f"dflockctl: {flag}: ") and str(file) in done.stderr
    done = ctl(nowhere, "ping", "--tls", variables={"DFLOCKD_TLS_CA": str(wrong)})
    assert done.returncode == USAGE and done.stderr.startswith("dflockctl: DFLOCKD_TLS_CA: ")


@pytest.mark.parametrize("text, count", [("", 1), ("line\n", 2), ("x", 70000), ("x", 1 << 20)])
def test_a_secret_file_with_wrong_contents_is_reported(nowhere, tmp_path, text, count):
    file = tmp_path / "wrong"
    file.write_text(text * count)
    for given, variables in ((("--auth-token-file", str(file)), {}),
                             ((), {"DFLOCKD_AUTH_TOKEN_FILE": str(file)})):
        done = ctl(nowhere, "ping", *given, variables=variables)
        assert (done.returncode, done.stdout) == (USAGE, "") and str(file) in done.stderr


def test_the_advice_names_what_is_wrong_with_tls(pair, authority, server, tmp_path):
    trust = ("--tls", "--tls-ca", str(authority.certificate))
    with TlsServer(pair, "--tls-client-ca", str(authority.certificate)) as strict:
        for words in (["ping"], ["lock", "key", "-c", "true"]):
            done = ctl(strict, *words, *trust)
            assert done.returncode == REFUSED
            assert "--tls-client-cert" in done.stderr and "--tls-ca" not in done.stderr
    done = ctl(server, "ping", *trust)
    assert done.returncode == REFUSED and "leave out --tls" in done.stderr
    assert "--tls-ca" not in done.stderr and ".;" not in done.stderr
    with TlsServer(pair) as running:
        done = ctl(running, "ping", *trust, "--tls-server-name", "elsewhere.example")
        assert "--tls-server-name" in done.stderr and "--tls-ca" not in done.stderr
        done = ctl(running, "ping", "--tls", "--tls-ca", str(Authority(tmp_path, "x").certificate))
        assert "--tls-ca" in done.stderr and "--tls-server-name" not in done.stderr


def test_a_connection_without_tls_hints_at_tls(tls):
    done = ctl(tls, "ping")
    assert done.returncode == NO_SERVER and "--tls" in done.stderr


def test_tls_to_a_plain_server_is_reported(server, authority):
    done = ctl(server, "ping", "--tls", "--tls-ca", str(authority.certificate))
    assert done.returncode in (NO_SERVER, REFUSED)
    assert done.stderr.count("\n") == 1 and ".;" not in done.stderr


def test_the_client_certificate_is_sent(pair, authority):
    client = authority.issue("client", usage="clientAuth")
    own = ("--tls-client-cert", str(client.certificate), "--tls-client-key", str(client.key))
    trust = ("--tls", "--tls-ca", str(authority.certificate))
    with TlsServer(pair, "--tls-client-ca", str(authority.certificate)) as server:
        assert ctl(server, "ping", *trust, *own).returncode == 0
        assert ctl(server, "ping", *trust).returncode in (NO_SERVER, REFUSED)


def test_tls_works_over_a_unix_socket(pair, authority, tmp_path):
    path = tmp_path / "socket"
    with TlsServer(pair, "--unix-socket", str(path)):
        done = ctl(f"unix:{path}", "ping", "--tls", "--tls-ca", str(authority.certificate))
        assert done.returncode == 0, done


@pytest.mark.parametrize("command", [("lock", "key", "--", "true"), ("ping",), ("ls",)])
def test_a_server_that_uses_tls_is_named_to_a_client_without(pair, tmp_path, command):
    (tmp_path / "secret").write_text("secret\n", encoding="ascii")
    with Server("--tls-cert", str(pair.certificate), "--tls-key", str(pair.key)) as server:
        done = ctl(server, *command[:2], "--auth-token-file", str(tmp_path / "secret"),
                   *command[2:])
    assert done.returncode == NO_SERVER and "may need --tls" in done.stderr
