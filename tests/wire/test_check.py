"""--check does the checks of a start without its effects, also while a server uses the files."""

import errno
import os
import re
import socket
import subprocess

import pytest
from lib.certificates import Authority
from lib.server import BINARY, Server
from lib.wire_client import Client, eventually
from seccomp import forbid_io_uring
from startup import assert_refused, run_server

LIMITS = (r"threads=\d+ max_claims=\d+ max_claims_per_connection=\d+ max_buffered_mib=\d+ "
          r"memory_mib=\d+\n")
VALID = re.compile(r"dflockd: the configuration is valid\ndflockd: limits " + LIMITS)


def check(*args, **more):
    return run_server("--check", *map(str, args), **more)


def assert_valid(done):
    assert (done.returncode, done.stderr) == (0, "")
    assert VALID.fullmatch(done.stdout), done.stdout


def snapshot(folder):
    """Returns the names, contents and times of all files in the folder."""
    return {path.name: (path.lstat().st_mtime_ns, path.lstat().st_mode,
                        path.read_bytes() if path.is_file() else None)
            for path in folder.iterdir()}


def everything(folder, port=0):
    pair = Authority(folder).issue("server")
    secret = folder / "secret"
    secret.write_text("s3cret\n")
    return ["--port", port, "--tls-cert", pair.certificate, "--tls-key", pair.key,
            "--auth-token-file", secret, "--fence-state-file", folder / "fences",
            "--unix-socket", folder / "socket"]


def test_a_check_accepts_a_valid_configuration_and_leaves_no_trace(tmp_path):
    options = everything(tmp_path)
    before = snapshot(tmp_path)
    assert_valid(check())
    assert_valid(check(*options))
    assert_valid(run_server(*map(str, options), "--check=true"))
    assert snapshot(tmp_path) == before  # neither a fence file nor a socket


def test_a_check_passes_while_a_server_uses_the_same_files(tmp_path):
    options = [*everything(tmp_path)[6:]]  # without TLS
    with Server(*map(str, options)) as server:
        before = snapshot(tmp_path)
        assert_valid(check("--port", server.port, *options))
        assert snapshot(tmp_path) == before
        with Client(server) as client:
            assert client.call("auth", "_", "s3cret") == "ok"
            assert client.acquire("key")


def test_a_check_reads_the_variables_of_the_server(tmp_path):
    assert_valid(check(environment={"DFLOCKD_PORT": "7000", "DFLOCKD_FENCE_STATE_FILE":
                                    str(tmp_path / "fences")}))
    assert_refused(check(environment={"DFLOCKD_PORT": "x"}), "DFLOCKD_PORT")
    assert_refused(check(environment={"DFLOCKD_FENCE_STATE_FILE": str(tmp_path)}),
                   "DFLOCKD_FENCE_STATE_FILE")
    assert_refused(check(environment={"DFLOCKD_UNIX_SOCKET": str(tmp_path)}), "DFLOCKD_UNIX_SOCKET")
    assert_refused(check(environment={"DFLOCKD_HOST": "host.invalid"}), "DFLOCKD_HOST")
    pair = Authority(tmp_path).issue("server")
    tls = {"DFLOCKD_TLS_CERT": str(pair.certificate), "DFLOCKD_TLS_KEY": str(pair.key)}
    for name in (*tls, "DFLOCKD_TLS_CLIENT_CA"):
        assert_refused(check(environment={**tls, name: "/nowhere"}), f"{name} '/nowhere'")
    # The check takes no port that a server could need.
    with Server(environment={"DFLOCKD_CHECK": "true"}), Server("--check=false"), \
            Server("--no-check"):
        pass


def wrong_configurations(folder):
    """Yields arguments and a text that the message must contain."""
    (folder / "empty").touch()
    (folder / "nine").write_bytes(b"123456789")
    (folder / "huge").write_bytes(b"\xff" * 8)
    (folder / "two-lines").write_text("one\ntwo\n")
    os.mkfifo(folder / "pipe")
    return [
        (["--port=x"], "--port"), (["--max-locks=0"], "--max-locks"), (["--nonsense"], "nonsense"),
        (["--auth-token="], "--auth-token"),
        (["--admin-token= "], "--admin-token"),
        (["--auth-token=x", "--admin-token= x"], "--admin-token: the same secret as --auth-token"),
        ([f"--auth-token-file={folder}/missing"], "--auth-token-file"),
        ([f"--admin-token-file={folder}/missing"], "--admin-token-file"),
        ([f"--auth-token-file={folder}/two-lines"], "--auth-token-file"),
        ([f"--tls-cert={folder}/empty", f"--tls-key={folder}/empty"],
         f"--tls-cert '{folder}/empty'"),
        ([f"--tls-cert={folder}/empty"], "--tls-cert"),
        ([f"--fence-state-file={folder}/nine"], "holds 9 bytes"),
        ([f"--fence-state-file={folder}/huge"], "too large for a fence"),
        ([f"--fence-state-file={folder}"], "--fence-state-file"),
        ([f"--fence-state-file={folder}/pipe"], "not a regular file"),
        ([f"--fence-state-file={folder}/missing/fences"], "its directory does not exist"),
        ([f"--unix-socket={folder}/missing/socket"], "its directory does not exist"),
        ([f"--unix-socket={folder}/empty"], "not a socket"),
        ([f"--unix-socket={folder}/{'x' * 200}"], "longer than 107 bytes"),
        (["--host=host.invalid"], "--host: cannot resolve host 'host.invalid'"),
    ]


def test_a_check_refuses_with_the_same_line_as_a_start(tmp_path):
    for args, expected in wrong_configurations(tmp_path):
        before = snapshot(tmp_path)
        checked = check("--port=0", *args)
        assert_refused(checked)
        assert expected in checked.stderr, checked.stderr
        assert snapshot(tmp_path) == before
        assert checked.stderr == run_server("--port=0", *args).stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_check_refuses_an_unwritable_directory(tmp_path):
    tmp_path.chmod(0o500)
    assert_refused(check(f"--fence-state-file={tmp_path}/fences"), "--fence-state-file")
    assert_refused(check(f"--unix-socket={tmp_path}/socket"), "--unix-socket")


def test_a_check_and_the_log_report_the_limits():
    flags = ("--threads=1", "--max-claims=1000", "--max-buffered-mib=24")
    limits = re.compile(r"limits\"? threads=1 max_claims=1000 max_claims_per_connection=250 "
                        r"max_buffered_mib=24 memory_mib=[1-9]\d*\n")
    done = check(*flags)
    assert_valid(done)
    assert limits.search(done.stdout)
    with Server(*flags) as server:
        eventually(lambda: any(limits.search(line) for line in server.log))
    with Server() as server:
        eventually(lambda: any(re.search(r'level=INFO msg="limits" ' + LIMITS, line)
                               for line in server.log))


def test_a_variable_that_no_flag_has_is_reported():
    done = check(environment={"DFLOCKD_MAX_CLIAMS": "s3cret", "DFLOCKD_GC_LOOP_SLEEP": "3",
                              "DFLOCKD_HTTP_PORT": "0", "DFLOCKD": "here"})
    assert done.returncode == 0 and done.stderr.count("\n") == 1
    assert done.stderr.endswith(
        'level=WARN msg="unknown variable ignored" name=DFLOCKD_MAX_CLIAMS '
        "similar=DFLOCKD_MAX_CLAIMS\n")


def test_a_check_ignores_a_port_in_use(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert_valid(check("--port", taken.getsockname()[1]))


@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOSYS])
def test_a_check_refuses_a_machine_without_io_uring(error):
    done = run_server("--check", preexec=lambda: forbid_io_uring(error))
    assert_refused(done, "io_uring")
    assert done.stderr == run_server("--port=0", preexec=lambda: forbid_io_uring(error)).stderr


def test_a_check_fails_if_its_output_cannot_be_written():
    with open("/dev/full", "wb") as full:
        done = subprocess.run([BINARY, "--check"], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1 and b"standard output" in done.stderr
