"""The refusals of wrong options and files, word for word: "object: problem; remedy"."""

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
from lib.certificates import Authority
from lib.server import BINARY, unused_address
from startup import assert_refused, clean_environment, run_server

FENCES = "--fence-state-file"


def refusal(*args, **more):
    """The message of a server that refuses to start, which --check repeats."""
    done = run_server("--port=0", *args, **more)
    assert_refused(done)
    checked = run_server("--port=0", *args, "--check", **more)
    assert_refused(checked)
    assert checked.stderr == done.stderr
    return done.stderr.removeprefix("dflockd: ").rstrip("\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with right and wrong files. Messages begin with their names."""
    path = tmp_path_factory.mktemp("files")
    authority = Authority(path)
    pair = authority.issue("server")
    shutil.copy(pair.certificate, path / "cert.pem")
    shutil.copy(pair.key, path / "key.pem")
    shutil.copy(authority.issue("other").key, path / "other.pem")
    (path / "der").write_bytes(b"\x30\x82\x01\x00")
    (path / "empty").touch()
    (path / "text").write_text("some text\n")
    (path / "lines").write_text("one\ntwo\n")
    (path / "nul").write_bytes(b"a\0b")
    (path / "long").write_bytes(b"x" * 65537)
    return path


@pytest.fixture
def inside(folder, monkeypatch):
    monkeypatch.chdir(folder)


NOWHERE = "No such file or directory; check the path"
TLS = [
    ("nowhere key.pem", f"--tls-cert 'nowhere': {NOWHERE}"),
    (". key.pem", "--tls-cert '.': not a regular file; give a file"),
    ("empty key.pem", "--tls-cert 'empty': holds no certificate in PEM; give a file with one"),
    ("key.pem cert.pem", "--tls-cert 'key.pem': holds a private key instead of a certificate; "
                         "give the certificate"),
    ("der key.pem", "--tls-cert 'der': is not in PEM; convert it: openssl x509 -inform der"),
    ("cert.pem nowhere", f"--tls-key 'nowhere': {NOWHERE}"),
    ("cert.pem text", "--tls-key 'text': holds no private key in PEM; give a file with one"),
    ("cert.pem cert.pem", "--tls-key 'cert.pem': holds a certificate instead of a private key; "
                          "give the key"),
    ("cert.pem der", "--tls-key 'der': is not in PEM; convert it: openssl pkey -inform der"),
    ("cert.pem other.pem", "--tls-key 'other.pem': is not the key of the certificate 'cert.pem'; "
                           "give the key that belongs to it"),
    ("cert.pem key.pem nowhere", f"--tls-client-ca 'nowhere': {NOWHERE}"),
    ("cert.pem key.pem key.pem", "--tls-client-ca 'key.pem': holds a private key instead of a "
                                 "certificate; give the certificate"),
]


@pytest.mark.usefixtures("inside")
@pytest.mark.parametrize("files, message", TLS)
def test_a_wrong_tls_file_is_refused_with_its_remedy(files, message):
    flags = [f"{flag}={file}" for flag, file in
             zip(("--tls-cert", "--tls-key", "--tls-client-ca"), files.split())]
    assert refusal(*flags) == message


HOST = "cannot resolve host"
UNKNOWN = "Name or service not known"
OWN = "a name or an address of this machine, or 0.0.0.0 or :: for all"


@pytest.mark.usefixtures("inside")
@pytest.mark.parametrize("flags, message", [
    ("--tls-cert=cert.pem", "--tls-cert: needs --tls-key as well"),
    ("--tls-client-ca=cert.pem", "--tls-client-ca: needs --tls-cert as well"),
    ("--auth-token-file=nowhere", f"--auth-token-file: cannot read 'nowhere': {NOWHERE}"),
    ("--auth-token-file=.",
     "--auth-token-file: cannot read '.': Is a directory; give a file"),
    ("--auth-token-file=empty",
     "--auth-token-file: 'empty': the secret is empty; give at least one byte"),
    ("--auth-token-file=lines",
     "--auth-token-file: 'lines': the secret holds a newline; write it in one line"),
    ("--auth-token-file=nul", "--auth-token-file: 'nul': the secret holds a NUL byte; write it as "
                              "text, such as base64"),
    ("--auth-token-file=long",
     "--auth-token-file: 'long': the secret is longer than 65536 bytes; give a shorter one"),
    (f"{FENCES}=.", f"{FENCES}: .: Is a directory; give a file"),
    (f"{FENCES}=no/file", f"{FENCES}: no/file: its directory does not exist; create it"),
    (f"{FENCES}=text", f"{FENCES}: text: holds 10 bytes and not 8; not a fence state file"),
    ("--unix-socket=no/socket", "--unix-socket: cannot listen on 'no/socket': its directory does "
                                "not exist; create it"),
    ("--unix-socket=text", "--unix-socket: cannot listen on 'text': the file there is not a "
                           "socket and was not changed; give another path"),
    ("--unix-socket-mode=999", "--unix-socket-mode: '999' is not an octal number from 0 to 777"),
    ("--host=host.invalid", f"--host: {HOST} 'host.invalid': {UNKNOWN}; give {OWN}"),
    ("--host=127.0.0.1:6388", f"--host: {HOST} '127.0.0.1:6388': {UNKNOWN}; give a host without "
                              "a port, which --port gives"),
    ("--host=[::1]", f"--host: {HOST} '[::1]': {UNKNOWN}; write an IPv6 address without "
                     "brackets, and the port with --port"),
    ("--host=unix:/run/socket", f"--host: {HOST} 'unix:/run/socket': {UNKNOWN}; --unix-socket "
                                "gives the path of a Unix socket"),
    ("--host=192.0.2.1", "--host: cannot listen on 192.0.2.1 port 0: this machine does not have "
                         "that address; give one of its own, or 0.0.0.0 or :: for all"),
    ("--debug false", "false: not a flag; write --debug=false"),
    ("--max-lokcs=5", "--max-lokcs: unknown flag; did you mean --max-locks?"),
    ("--no-auto-release", "--no-auto-release: unknown flag; did you mean "
                          "--no-auto-release-on-disconnect?"),
])
def test_a_wrong_option_is_refused_with_its_remedy(flags, message):
    assert refusal(*flags.split()) == message


@pytest.mark.usefixtures("inside")
def test_a_message_names_the_variable_that_gave_the_value():
    for name, value in {"HOST": "192.0.2.1", "PORT": "-1", "UNIX_SOCKET": "text",
                        "FENCE_STATE_FILE": ".", "AUTH_TOKEN_FILE": "nowhere"}.items():
        done = run_server("--check", environment={f"DFLOCKD_{name}": value})
        assert_refused(done)
        assert done.stderr.startswith(f"dflockd: DFLOCKD_{name}: ")


def test_a_port_from_kubernetes_is_refused_with_its_remedy():
    done = run_server(environment={"DFLOCKD_PORT": "tcp://10.96.0.7:6388"})
    assert_refused(done)
    assert done.stderr == (
        "dflockd: DFLOCKD_PORT: 'tcp://10.96.0.7:6388' is not a whole number from 0 to 65535; "
        "Kubernetes sets it for a service of this name: set enableServiceLinks: false\n")


def test_a_port_in_use_is_refused_with_its_remedy():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = run_server(f"--port={port}")
    assert_refused(done)
    assert done.stderr == (f"dflockd: --port: cannot listen on 127.0.0.1 port {port}: another "
                           "process already listens there; stop it or give another port\n")


@pytest.mark.parametrize("variables, source", [
    ({}, "--port"), ({"DFLOCKD_PORT": ""}, "--port"), ({"DFLOCKD_PORT": "6388"}, "DFLOCKD_PORT")])
def test_a_default_port_in_use_is_not_blamed_on_a_variable(variables, source):
    host = unused_address()
    with socket.create_server((host, 6388)):
        done = run_server("--host", host, environment=variables)
    assert_refused(done)
    assert done.stderr.startswith(f"dflockd: {source}: cannot listen on {host} port 6388: ")


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="takes root, setpriv")
@pytest.mark.parametrize("flags, message", [
    ("--port=1", "--port: cannot listen on 127.0.0.1 port 1: no permission; a port below 1024 "
                 "needs root or CAP_NET_BIND_SERVICE"),
    ("--port=0 --auth-token-file=closed", "--auth-token-file: cannot read 'closed': Permission "
                                          "denied; let the user of this process read it"),
    ("--port=0 --tls-cert=closed --tls-key=closed",
     "--tls-cert 'closed': Permission denied; let the user of this process read it"),
    (f"--port=0 {FENCES}=new", f"{FENCES}: new: Permission denied; let the user of this process "
                               "write the file and its directory"),
    (f"--port=0 {FENCES}=closed", f"{FENCES}: closed: Permission denied; let the user of this "
                                  "process write the file and its directory"),
    ("--port=0 --unix-socket=new", "--unix-socket: cannot listen on 'new': no permission"),
])
def test_a_missing_right_is_refused_with_its_remedy(flags, message):
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / "dflockd"
        shutil.copy(BINARY, copy)
        (Path(name) / "closed").touch(mode=0o600)
        copy.chmod(0o755)
        Path(name).chmod(0o755)
        for more in [], ["--check"]:
            done = subprocess.run(
                ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                 "--bounding-set=-all", "--inh-caps=-all", str(copy), *flags.split(), *more],
                cwd=name, env=clean_environment(), capture_output=True, text=True, timeout=30,
                check=False)
            assert_refused(done)
            assert done.stderr.startswith(f"dflockd: {message}")
