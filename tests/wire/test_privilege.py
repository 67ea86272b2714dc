"""Least privilege: other processes do not see the secret, the program is hardened, and it works
with the privileges of the unit and the profile in tools/dist."""

import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from lib.certificates import Authority
from lib.server import BINARY, ROOT, Server
from lib.tls import TlsServer
from lib.wire_client import Client, eventually, request
from startup import ServerAsGiven, clean_environment

DIST = ROOT / "tools" / "dist"
UNIT = DIST / "dflockd.service"
SECRET = "s3cret-of-the-server"
SECCOMP = Path(__file__).with_name("seccomp.py")
SYMBOLS = subprocess.run(["readelf", "--wide", "--syms", "--dyn-syms", str(BINARY)],
                         capture_output=True, text=True, check=True).stdout
SANITIZED = "__asan_init" in SYMBOLS
plain_build = pytest.mark.skipif(SANITIZED, reason="a sanitized build")
as_root = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"),
                             reason="needs root and setpriv")


# ---- the secret ----

def shown(server, name):
    return Path(f"/proc/{server.pid}/{name}").read_bytes()


@pytest.mark.parametrize("arguments, environment", [
    (("--auth-token", SECRET), {}), ((f"--auth-token={SECRET}",), {}),
    (("-auth-token", SECRET), {}),
    (("--auth-token", SECRET + "-old", "--auth-token", SECRET), {}),
    ((), {"DFLOCKD_AUTH_TOKEN": SECRET}),
    (("--auth-token", SECRET), {"DFLOCKD_AUTH_TOKEN": SECRET + "-not-used"}),
    (("--admin-token", SECRET), {}), ((f"-admin-token={SECRET}",), {}),
    ((), {"DFLOCKD_ADMIN_TOKEN": SECRET}),
    (("--admin-token", SECRET, "--auth-token", SECRET + "-of-clients"),
     {"DFLOCKD_AUTH_TOKEN": SECRET + "-not-used", "DFLOCKD_ADMIN_TOKEN": SECRET + "-either"})])
def test_proc_does_not_show_the_secret(arguments, environment):
    with Server(*arguments, "--max-locks", "99", environment=environment) as server:
        assert SECRET.encode() not in shown(server, "cmdline")
        assert SECRET.encode() not in shown(server, "environ")
        # The other arguments stay visible.
        assert b"--max-locks\0" + b"99" in shown(server, "cmdline")
        with Client(server) as client:
            assert client.call("auth", "_", SECRET) == "ok"


def core_after_abort(folder, *args):
    server = Server(*map(str, args))
    server.command = [sys.executable, "-c", "import os, resource, sys\n"
                      "resource.setrlimit(resource.RLIMIT_CORE, (-1, -1))\n"
                      "os.chdir(sys.argv[1])\nos.execv(sys.argv[2], sys.argv[2:])",
                      str(folder), *server.command]
    with server:
        server.terminate(signal.SIGABRT)
        assert server.wait() == -signal.SIGABRT
    return list(folder.glob("core*"))


def cores_are_files():
    pattern = Path("/proc/sys/kernel/core_pattern").read_text(encoding="ascii").strip()
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    return re.fullmatch(r"core\S*", pattern) and (hard == resource.RLIM_INFINITY
                                                  or os.geteuid() == 0)


@plain_build
@pytest.mark.skipif(not cores_are_files(), reason="core dumps go elsewhere here")
def test_a_server_with_a_secret_writes_no_core_dump(tmp_path):
    assert core_after_abort(tmp_path)  # so that the test would see it
    for core in tmp_path.iterdir():
        core.unlink()
    assert core_after_abort(tmp_path, "--auth-token", SECRET) == []
    assert core_after_abort(tmp_path, "--admin-token", SECRET) == []
    with tempfile.TemporaryDirectory() as folder:
        pair = Authority(Path(folder)).issue("server")
        assert core_after_abort(tmp_path, "--tls-cert", pair.certificate, "--tls-key",
                                pair.key) == []


NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all",
          "--inh-caps=-all"]


@contextmanager
def nobodys_program():
    """A copy of the server, because other users may have no access to the build folder."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        copy = Path(folder) / "dflockd"
        shutil.copy(BINARY, copy)
        copy.chmod(0o755)
        yield str(copy)


@as_root
def test_the_server_needs_neither_root_nor_a_capability():
    with nobodys_program() as program:
        server = ServerAsGiven()
        server.command = [*NOBODY, "--no-new-privs", program, "--port=0"]
        with server, Client(server) as client:
            assert client.call("ping") == "ok"


@as_root
@pytest.mark.parametrize("args, readable", [((), True), (("--auth-token", SECRET), False)])
def test_a_process_of_the_same_user_cannot_read_the_servers_memory(args, readable):
    with nobodys_program() as program:
        server = Server(*args)
        server.command[:1] = [*NOBODY, program]
        with server:
            done = subprocess.run(
                [*NOBODY, "/usr/bin/python3", "-c",
                 "import sys; open(f'/proc/{sys.argv[1]}/mem', 'rb')", str(server.pid)],
                capture_output=True, text=True, check=False, cwd="/")
            assert (done.returncode == 0) is readable, done


# ---- the program ----

def elf(program, *options):
    return subprocess.run(["readelf", "--wide", *options, str(BINARY.with_name(program))],
                          capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("program", ["dflockd", "dflockctl", "dflockd-bench"])
def test_the_program_is_hardened(program):
    segments = elf(program, "--program-headers")
    assert "Elf file type is DYN" in segments
    assert "GNU_RELRO" in segments
    stack = next(line for line in segments.splitlines() if "GNU_STACK" in line)
    assert " RW " in stack and "RWE" not in segments
    flags = elf(program, "--dynamic")
    assert "BIND_NOW" in flags and "PIE" in flags
    assert "RPATH" not in flags and "RUNPATH" not in flags
    symbols = elf(program, "--dyn-syms")
    assert "__stack_chk_fail" in symbols
    if not SANITIZED:
        assert re.search(r"__(memcpy|snprintf)_chk", symbols)


@plain_build
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="of this architecture only")
def test_the_program_marks_calls_and_returns_for_the_processor():
    """Call targets are marked, except in Debian's C start-up code."""
    code = subprocess.run(["objdump", "-d", "--no-show-raw-insn", str(BINARY)],
                          capture_output=True, text=True, check=True).stdout
    assert "endbr64" in code[code.index("<main>:"):][:200]


# ---- system calls and sandboxes ----

def work(server, path, secret=None):
    """Uses every feature of a server, from its start to its end."""
    with Client(server) as client, Client(server) as other:
        for each in (client, other):
            if secret:
                assert each.call("auth", "_", secret) == "ok"
        token = client.acquire("key", "0 1")
        assert other.call("l", "key", "10").startswith("ok ")  # after the lease has ended
        assert client.call("r", "key", token) == "error"
        client.send(request("stats") * 300)
        clients = [Client(server) for _ in range(300)]
        with socket.socket(socket.AF_UNIX) as near:
            near.connect(str(path))
            near.sendall(request("ping"))
            near.recv(100)
        for each in clients:
            each.reset()
        server.terminate()
        eventually(lambda: any("draining" in line for line in server.log))
    assert server.wait() == 0
    assert not path.exists()


def under_filter(tmp_path, names, tls=False):
    path = tmp_path / "dflockd.sock"
    secret = tmp_path / "secret"
    allowed = tmp_path / "allowed"
    secret.write_text(SECRET, encoding="ascii")
    allowed.write_text("\n".join(sorted(names)), encoding="ascii")
    notify = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(notify)
        args = ["--unix-socket", str(path), "--threads", "3", "--host", "localhost",
                "--max-connections-per-ip", "1000", "--auth-token-file", str(secret),
                "--gc-max-idle", "0", "--gc-interval", "1",
                "--fence-state-file", str(tmp_path / "fences")]
        environment = {"NOTIFY_SOCKET": notify}
        if tls:
            pair = Authority(tmp_path).issue("server")
            server = TlsServer(pair, *args, environment=environment)
        else:
            server = Server(*args, environment=environment)
        server.command = [sys.executable, str(SECCOMP), "kill", str(allowed), *server.command]
        with server:
            if tls:
                server.terminate(signal.SIGHUP)
                eventually(lambda: any("certificate reloaded" in line for line in server.log))
            work(server, path, SECRET)


def profile_groups():
    return json.loads((DIST / "seccomp.json").read_text(encoding="ascii"))["syscalls"]


@plain_build
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_the_container_profile_allows_the_server_to_work(tmp_path, tls):
    """The test's filter kills on every other system call."""
    names = {name for group in profile_groups() for name in group["names"]
             if "container runtime" not in group["comment"]}
    under_filter(tmp_path, names | {"execve"}, tls)


@plain_build
@pytest.mark.parametrize("missing", ["io_uring_enter", "signalfd4", "clone3"])
def test_the_kernel_applies_the_filter_of_these_tests(tmp_path, missing):
    names = {name for group in profile_groups() for name in group["names"]} - {missing}
    with pytest.raises((RuntimeError, AssertionError, OSError)):
        under_filter(tmp_path, names)


def test_the_profile_allows_privileged_calls_only_to_the_runtime():
    allowed = {name for group in profile_groups() for name in group["names"]
               if "container runtime" not in group["comment"]}
    forbidden = {"ptrace", "bpf", "mount", "setns", "unshare", "keyctl", "kexec_load", "execve",
                 "init_module", "perf_event_open", "process_vm_readv", "setuid", "userfaultfd"}
    assert not allowed & forbidden
    assert {"io_uring_setup", "io_uring_enter", "io_uring_register"} <= allowed
    assert all(group["action"] == "SCMP_ACT_ALLOW" for group in profile_groups())


systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd")


def analyze(*args):
    return subprocess.run(["systemd-analyze", "--no-pager", *map(str, args)], capture_output=True,
                          text=True, check=False)


def system_calls(name):
    """Returns the system calls of a set, including those of its subsets."""
    if not name.startswith("@"):
        return {name}
    lines = analyze("syscall-filter", name).stdout.splitlines()
    names = [line.strip() for line in lines if line.startswith("    ")]
    return set().union(*(system_calls(each) for each in names if not each.startswith("#")))


def allowed_by_unit():
    allowed = set()
    for line in re.findall(r"^SystemCallFilter=(.*)$", UNIT.read_text(encoding="ascii"), re.M):
        named = set().union(*(system_calls(name) for name in line.lstrip("~").split()))
        allowed = allowed - named if line.startswith("~") else allowed | named
    return allowed


@systemd
@plain_build
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_the_unit_allows_the_server_to_work(tmp_path, tls):
    under_filter(tmp_path, allowed_by_unit(), tls)


def installed(tmp_path):
    folder = tmp_path / "root"
    subprocess.run(["make", "--no-print-directory", "-o", "all", "install", f"DESTDIR={folder}",
                    "PREFIX=/opt/dflockd", f"BUILD={BINARY.parent}"],
                   cwd=ROOT, check=True, capture_output=True, env=clean_environment())
    return folder / "opt/dflockd"


@systemd
def test_the_installed_units_are_valid(tmp_path):
    folder = installed(tmp_path)
    units = folder / "lib/systemd/system"
    assert (folder / "bin/dflockd").exists()
    service = (units / "dflockd.service").read_text(encoding="ascii")
    assert "ExecStart=/opt/dflockd/bin/dflockd\n" in service
    # systemd requires the program to exist.
    here = tmp_path / "dflockd.service"
    here.write_text(service.replace("/opt/dflockd/bin", str(folder / "bin")), encoding="ascii")
    shutil.copy(units / "dflockd.socket", tmp_path)
    for unit in ("dflockd.service", "dflockd.socket"):
        done = analyze("verify", tmp_path / unit)
        assert done.returncode == 0 and done.stderr == "", done
    assert json.loads((folder / "share/doc/dflockd/seccomp.json").read_text(encoding="ascii"))


@systemd
def test_the_unit_scores_as_a_tight_sandbox():
    done = analyze("security", "--offline=true", "--threshold=13", UNIT)
    assert done.returncode == 0, done.stdout[-2000:]
    score = re.search(r"exposure level for dflockd.service: ([\d.]+)", done.stdout)
    assert float(score[1]) <= 1.3


# ---- unauthenticated connections ----

def test_an_unauthenticated_connection_is_closed_within_the_read_timeout():
    with Server("--auth-token", SECRET, "--read-timeout", "1") as server:
        begun = time.monotonic()
        with Client(server) as silent, Client(server) as slow:
            slow.send(b"auth\n_\n" + SECRET[:3].encode())
            for client in (silent, slow):
                assert client.read_line(10) == b"error_auth\n"
                assert client.read_line(10) == "(closed)"
        assert time.monotonic() - begun < 5


def test_single_bytes_do_not_extend_the_time_to_authenticate():
    with Server("--auth-token", SECRET, "--read-timeout", "1") as server, Client(server) as slow:
        slow.send(b"auth\n_\n")
        begun = time.monotonic()
        while slow.read_line(0.1) == "(silence)":
            assert time.monotonic() - begun < 5
            slow.send(b"x")


def test_the_server_compares_secrets_in_constant_time():
    """The server compares secrets only by libsodium's function."""
    source = (ROOT / "src/server/secrets.c").read_text(encoding="ascii")
    assert "sodium_memcmp(token, bytes, length)" in source
    assert "sodium_memcmp" in SYMBOLS
    for file in sorted((ROOT / "src").glob("*/*.c")):
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"(?<!sodium_)(memcmp|strn?cmp)\([^;]*auth_token\b[^;]*\)", text), file
