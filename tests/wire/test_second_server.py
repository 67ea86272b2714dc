"""A server that starts while another one drains on its address waits for the other one's end."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from lib.server import BINARY, Server
from lib.wire_client import Client, eventually, request
from startup import assert_refused, clean_environment, run_server
from test_activation import PASS_ON, ActivatedServer
from test_draining import begin
from test_unix_socket import UnixServer, path  # pylint: disable=unused-import

NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
as_root = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"),
                             reason="needs root and setpriv")
WAITS = 'msg="waiting for a draining server"'
LISTENS = 'msg="listening"'


class Next:
    """The next server; it may listen late."""

    def __init__(self, *args, environment=None, command=(str(BINARY),), **options):
        self.log = []
        self.process = subprocess.Popen(
            [*command, *args], env=clean_environment(environment), stderr=subprocess.PIPE,
            text=True, stdin=subprocess.DEVNULL, **options)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stderr:
            self.log.append(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        self.reader.join(10)

    def has_logged(self, text):
        return any(text in line for line in self.log)

    def waits_for(self, server):
        eventually(lambda: self.has_logged(WAITS) or self.process.poll() is not None)
        assert self.has_logged(f"pid={server.pid}"), self.log

    def listens_after(self, server):
        eventually(lambda: self.has_logged(LISTENS) or self.process.poll() is not None)
        assert self.has_logged(LISTENS), self.log
        assert has_ended(server.process)


def has_ended(process):
    """Whether the process has no memory. The kernel frees it first, then closes the sockets, and
    reports the end last."""
    return process.poll() is not None or not Path(f"/proc/{process.pid}/maps").read_bytes()


@contextmanager
def draining(server):
    """A draining server, one of whose clients holds the lock "key"."""
    with Client(server) as holder:
        token = holder.acquire("key", "0 1000")
        begin(server)
        yield holder, token


def port_of(server):
    return f"--port={server.port}"


def assert_still_holds(holder, token, following):
    time.sleep(0.3)
    assert not following.has_logged(LISTENS)
    assert holder.call("n", "key", f"{token} 900") == "ok 900"


def grants(server, port):
    """Returns the next server's reply to a request for the lock that the first one granted."""
    with socket.create_connection((server.host or "127.0.0.1", port), timeout=20) as client:
        client.sendall(request("l", "key", "0"))
        return client.recv(100)[:3]


@pytest.mark.parametrize("threads", ["1", "3"])
def test_the_next_server_grants_nothing_before_the_draining_server_ends(threads):
    with Server("--threads", threads) as server, draining(server) as (holder, token):
        with Next(port_of(server), "--threads", threads) as following:
            following.waits_for(server)
            assert_still_holds(holder, token, following)
            with pytest.raises(ConnectionRefusedError):
                server.connect()
            assert holder.call("r", "key", token) == "ok"
            holder.close()
            following.listens_after(server)
            assert server.wait() == 0
            assert grants(server, server.port) == b"ok "


def test_the_next_server_opens_the_fence_file_after_the_draining_server_ends(tmp_path):
    fences = f"--fence-state-file={tmp_path / 'fences'}"
    with Server(fences) as server, draining(server) as (holder, token):
        with Next(port_of(server), fences) as following:
            following.waits_for(server)
            assert_still_holds(holder, token, following)
            holder.close()
            following.listens_after(server)
            with socket.create_connection((server.host, server.port), timeout=20) as client:
                client.sendall(request("l", "key", "0"))
                assert client.recv(100).split()[1].decode() > token


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "twice"])
def test_the_next_server_starts_after_the_draining_server_is_killed(number):
    with Server() as server, draining(server):
        with Next(port_of(server)) as following:
            following.waits_for(server)
            server.terminate(number)
            following.listens_after(server)
            assert grants(server, server.port) == b"ok "


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_waiting_server_ends_at_once_on_sigterm(number):
    with Server() as server, draining(server) as (holder, token):
        with Next(port_of(server)) as following:
            following.waits_for(server)
            following.process.send_signal(signal.SIGHUP)
            assert_still_holds(holder, token, following)
            following.process.send_signal(number)
            assert following.process.wait(20) == 0
            assert_still_holds(holder, token, following)
            assert holder.call("r", "key", token) == "ok"


def test_only_one_of_two_waiting_servers_serves():
    with Server() as server, draining(server) as (holder, _):
        with Next(port_of(server)) as one, Next(port_of(server)) as other:
            one.waits_for(server)
            other.waits_for(server)
            holder.close()
            eventually(lambda: one.has_logged(LISTENS) or other.has_logged(LISTENS))
            winner, loser = (one, other) if one.has_logged(LISTENS) else (other, one)
            winner.listens_after(server)
            assert loser.process.wait(20) == 1
            assert grants(server, server.port) == b"ok "


def test_a_server_on_one_address_waits_for_a_server_on_all_addresses():
    with Server("--host", "0.0.0.0") as server, draining(server) as (holder, token):
        with Next(port_of(server), "--host", "127.0.0.1") as following:
            following.waits_for(server)
            assert_still_holds(holder, token, following)
            holder.close()
            following.listens_after(server)


def test_a_server_waits_for_a_draining_server_on_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 here")
    with Server("--host", "::1") as server, draining(server) as (holder, token):
        with Next(port_of(server), "--host", "::1") as following:
            following.waits_for(server)
            assert_still_holds(holder, token, following)
            holder.close()
            following.listens_after(server)


# ---- paths ----

def test_a_server_waits_for_a_draining_server_on_a_path(path):
    with UnixServer(path) as server, draining(server) as (holder, token):
        with Next("--port=0", f"--unix-socket={path}") as following:
            following.waits_for(server)
            assert_still_holds(holder, token, following)
            assert not path.exists()
            holder.close()
            following.listens_after(server)
            eventually(path.exists)
            assert grants_on(path) == b"ok "


def grants_on(where):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(where))
        client.sendall(request("l", "key", "0"))
        return client.recv(100)[:3]


def test_a_server_waits_for_every_spelling_of_a_path(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with UnixServer(tmp_path / "real" / "s") as server, draining(server) as (holder, token):
        with Next("--port=0", "--unix-socket=link/../real/s", cwd=tmp_path) as following, \
                Next("--port=0", f"--unix-socket={tmp_path}/link/s") as other:
            following.waits_for(server)
            other.waits_for(server)
            assert_still_holds(holder, token, following)
            assert_still_holds(holder, token, other)


def test_a_server_does_not_wait_for_another_path(tmp_path):
    with UnixServer(tmp_path / "one") as server, draining(server):
        with UnixServer(tmp_path / "other") as other, Client(other) as client:
            assert client.call("ping") == "ok"


# ---- sockets of the service manager ----

def test_a_server_waits_for_a_draining_server_on_passed_sockets():
    with socket.create_server(("127.0.0.1", 0)) as passed:
        with ActivatedServer([passed]) as server, draining(server) as (holder, token):
            descriptor = str(passed.fileno())
            with Next(str(BINARY), command=(sys.executable, "-c", PASS_ON, "1", descriptor),
                      close_fds=False) as following:
                following.waits_for(server)
                assert_still_holds(holder, token, following)
                holder.close()
                following.listens_after(server)
                assert grants(server, passed.getsockname()[1]) == b"ok "


# ---- the service manager ----

def test_a_waiting_server_extends_its_start_timeout(tmp_path):
    notify = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(notify)
        manager.settimeout(20)
        with Server() as server, draining(server) as (holder, _):
            with Next(port_of(server), environment={"NOTIFY_SOCKET": notify}) as following:
                following.waits_for(server)
                assert manager.recv(100) == b"EXTEND_TIMEOUT_USEC=30000000"
                holder.close()
                message = manager.recv(100)
                while message.startswith(b"EXTEND_TIMEOUT_USEC="):
                    message = manager.recv(100)
                assert message == b"READY=1"
                following.listens_after(server)


# ---- others ----

SQUAT = """
import socket, sys, time
squatter = socket.socket(socket.AF_UNIX)
squatter.bind("\\0" + sys.argv[1])
squatter.listen(int(sys.argv[2]))
kept = []
for _ in range(int(sys.argv[3])):
    kept.append(socket.socket(socket.AF_UNIX))
    kept[-1].setblocking(False)
    try:
        kept[-1].connect("\\0" + sys.argv[1])
    except BlockingIOError:
        break
print("squats", flush=True)
time.sleep(1000)
"""


@contextmanager
def occupied(name, prefix=NOBODY, backlog=10, fill=0):
    with subprocess.Popen([*prefix, "/usr/bin/python3", "-c", SQUAT, name, str(backlog), str(fill)],
                          stdout=subprocess.PIPE, text=True, cwd="/") as squatter:
        try:
            assert squatter.stdout.readline() == "squats\n"
            yield squatter
        finally:
            squatter.kill()


def name_of_path(where):
    """The same name as that of drain_notice_name_of_path."""
    status = os.stat(where.parent)
    value = 0xcbf29ce484222325
    for byte in where.name.encode():
        value = (value ^ byte) * 0x100000001b3 % (1 << 64)
    return f"dflockd-draining/unix:{status.st_dev:x}-{status.st_ino:x}-{value:016x}"


@as_root
def test_another_program_with_a_ports_notice_delays_no_server():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with occupied(f"dflockd-draining/127.0.0.1:{port}"):
            assert_refused(run_server(f"--port={port}"), str(port))
    with Server() as server:
        with occupied(f"dflockd-draining/127.0.0.1:{server.port}"):
            with draining(server) as (holder, token):
                # The server cannot wait for it, and it cannot grant the same locks.
                assert_refused(run_server(port_of(server)), str(server.port))
                assert holder.call("r", "key", token) == "ok"
            eventually(lambda: any("cannot announce draining" in line for line in server.log))
            assert server.wait() == 0


@as_root
def test_another_program_with_a_paths_notice_blocks_no_server(path):
    # pylint: disable=redefined-outer-name
    with occupied(name_of_path(path)), UnixServer(path) as server:
        with draining(server) as (holder, token):
            done = run_server("--port=0", f"--unix-socket={path}")
            assert_refused(done, "--unix-socket")
            assert "already" in done.stderr
            assert holder.call("n", "key", token) == "ok 33"
            assert holder.call("r", "key", token) == "ok"
        assert server.wait() == 0
        assert not path.exists()
        with UnixServer(path) as following, Client(following) as client:
            assert client.call("ping") == "ok"


def test_a_server_waits_for_a_notice_that_does_not_answer(path):
    # pylint: disable=redefined-outer-name
    with occupied(name_of_path(path), prefix=[], backlog=0, fill=10):
        done = run_server("--port=0", f"--unix-socket={path}")
        assert_refused(done)
        assert "draining server" in done.stderr
        assert not path.exists()
