"""--unix-socket: the same protocol on a path; the owner and the removal of its file."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import threading

import pytest
import transcript
from conversation import Conversation
from lib.server import BINARY, Server
from lib.wire_client import CLOSED, Client, eventually, request, settle
from startup import ServerAsGiven, assert_refused, clean_environment, run_server
from test_transcripts import PATHS, leaves_nothing
from workers import all_serve

FLAG = "--unix-socket"


class UnixServer(Server):
    """A server whose clients connect to its path."""

    def __init__(self, path, *args, environment=None):
        super().__init__(FLAG, str(path), *args, environment=environment)
        self.path = str(path)

    def connect(self, timeout=20):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(timeout)
        try:
            connection.connect(self.path)
        except FileNotFoundError as error:  # clients can no longer connect
            connection.close()
            raise ConnectionRefusedError(str(error)) from error
        except OSError:
            connection.close()
            raise
        return connection


@pytest.fixture
def path(tmp_path):
    return tmp_path / "dflockd.sock"


def leave_behind(path):
    """Creates a socket file without a listener."""
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()


@pytest.mark.parametrize("style", ["as written", "pipelined"])
@pytest.mark.parametrize("script", PATHS, ids=lambda path: path.stem)
def test_every_transcript_holds_on_the_unix_socket(script, style, seed, path):
    script = transcript.read(script)
    with UnixServer(path, *script.server_flags) as server:
        with Conversation(script, server, style, seed) as conversation:
            conversation.play()
        if leaves_nothing(script):
            settle(server)


def test_path_and_port_serve_the_same_locks(path):
    with UnixServer(path, "--threads", "2") as server, Client(server) as near:
        with socket.create_connection((server.host, server.port), timeout=20) as far:
            near.acquire("key")
            far.sendall(request("l", "key", "10"))
            eventually(lambda: near.stats()["locks"][0]["waiters"] == 1)
            assert near.stats()["connections"] == 2
            near.close()
            assert far.recv(100).startswith(b"ok ")


def test_a_variable_names_the_path_and_its_mode(path):
    given = {"DFLOCKD_UNIX_SOCKET": str(path), "DFLOCKD_UNIX_SOCKET_MODE": "0606"}
    with Server(environment=given):
        assert stat.S_IMODE(path.stat().st_mode) == 0o606


@pytest.mark.parametrize("flags, mode", [
    ((), 0o660), (("--unix-socket-mode=0600",), 0o600), (("--unix-socket-mode", "777"), 0o777)])
def test_the_file_has_its_mode_whatever_the_umask(path, flags, mode):
    before = os.umask(0o077)
    try:
        with UnixServer(path, *flags):
            assert stat.S_ISSOCK(path.stat().st_mode)
            assert stat.S_IMODE(path.stat().st_mode) == mode
    finally:
        os.umask(before)


def test_unix_connections_count_as_connections(path):
    with UnixServer(path, "--max-connections", "2") as server:
        with Client(server) as one, Client(server) as two:
            assert one.call("ping") == two.call("ping") == "ok"
            with Client(server) as three:
                assert three.read_line() == CLOSED
            assert one.stats()["connections"] == 2


def test_all_workers_serve_the_path(path):
    """The server distributes connections in turn: no one of three workers has all."""
    with UnixServer(path, "--threads", "3") as server:
        clients = [Client(server) for _ in range(30)]
        all_serve(server, clients)
        for client in clients:
            client.close()


# ---- the end ----

@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_server_removes_the_file_at_its_exit(path, number):
    with UnixServer(path) as server:
        server.terminate(number)
        assert server.wait() == 0
    assert not path.exists()


def test_a_second_signal_also_removes_the_file(path):
    with UnixServer(path) as server, Client(server) as holder:
        holder.acquire("key")
        server.terminate()
        eventually(lambda: not path.exists())
        server.terminate()
        assert server.wait() == 0
    assert not path.exists()


def test_a_draining_server_refuses_new_clients_and_serves_holders(path, tmp_path):
    with UnixServer(path, "--threads", "2") as server, Client(server) as holder:
        token = holder.acquire("key")
        # A second name of the file does not help a client either.
        other = tmp_path / "other"
        os.link(path, other)
        server.terminate()
        eventually(lambda: not path.exists())
        with socket.socket(socket.AF_UNIX) as late, pytest.raises(ConnectionRefusedError):
            late.connect(str(other))
        assert holder.call("r", "key", token) == "ok"
        holder.close()
        assert server.wait() == 0


def test_a_client_that_connects_as_draining_begins_is_answered_or_refused(path):
    with UnixServer(path, "--threads", "2") as server:
        stop = threading.Event()
        received = []

        def connect():
            while not stop.is_set():
                try:
                    with Client(server) as client:
                        client.send(request("ping"))
                        received.append(client.read_line())
                except ConnectionRefusedError:
                    return

        clients = [threading.Thread(target=connect) for _ in range(4)]
        for thread in clients:
            thread.start()
        eventually(lambda: len(received) > 100)
        server.terminate()
        for thread in clients:
            thread.join(20)
        stop.set()
        assert server.wait() == 0
        assert set(received) <= {b"ok\n", b"error_draining\n"}


def test_the_server_does_not_remove_a_file_of_another_server(path):
    with UnixServer(path) as server, socket.socket(socket.AF_UNIX) as another:
        path.unlink()
        another.bind(str(path))
        server.terminate()
        assert server.wait() == 0
        assert path.exists()


def test_a_path_belongs_to_its_server_after_its_file_is_removed(path):
    """The first server still serves its clients: a second one would grant the same locks."""
    with UnixServer(path) as server, Client(server) as holder:
        holder.acquire("key")
        path.unlink()
        assert_refused(run_server("--port=0", f"{FLAG}={path}"), FLAG)
        assert holder.call("ping") == "ok"
    with UnixServer(path) as following, Client(following) as client:
        assert client.call("ping") == "ok"


def test_a_path_has_one_server_across_network_namespaces(path):
    """The second server sees no notice there: it fails while the first one drains."""
    apart = ["unshare", "--net", "sh", "-c", "ip link set lo up; exec \"$@\"", "sh"]
    if subprocess.run([*apart, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to make a network namespace")
    with UnixServer(path) as server, Client(server) as holder:
        token = holder.acquire("key", "0 600")
        server.terminate()
        eventually(lambda: not path.exists())
        assert_refused(run_server("--port=0", f"{FLAG}={path}", prefix=apart), FLAG)
        assert holder.call("r", "key", token) == "ok"
        assert server.wait() == 0
    assert list(path.parent.iterdir()) == []


def test_a_failed_start_leaves_no_file(path):
    done = run_server("--port=0", f"{FLAG}={path}", prefix=["prlimit", "--nofile=6:6"])
    assert done.returncode == 1
    assert not path.exists()


# ---- the start ----

def test_the_server_replaces_the_file_of_a_killed_server(path):
    for _ in range(3):
        with UnixServer(path) as server, Client(server) as client:
            assert client.call("ping") == "ok"
            server.kill()
        assert path.exists()
    leave_behind(path.with_name("other"))
    with UnixServer(path.with_name("other")) as server, Client(server) as client:
        assert client.call("ping") == "ok"


def test_the_file_of_a_live_server_is_not_replaced(path):
    with UnixServer(path) as server, Client(server) as client:
        assert_refused(run_server("--port=0", f"{FLAG}={path}"), FLAG, "already")
        assert client.call("ping") == "ok"
        with Client(server) as late:
            assert late.call("ping") == "ok"


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_a_live_socket_of_another_kind_is_not_replaced(path, kind):
    with socket.socket(socket.AF_UNIX, kind) as other:
        other.bind(str(path))
        if kind == socket.SOCK_SEQPACKET:
            other.listen()
        before = path.stat()
        assert_refused(run_server("--port=0", f"{FLAG}={path}"), FLAG)
        assert path.stat().st_ino == before.st_ino


def test_only_one_of_many_servers_takes_a_stale_path(path):
    for _ in range(5):
        leave_behind(path)
        started = [subprocess.Popen([str(BINARY), "--port=0", f"{FLAG}={path}"],
                                    env=clean_environment(), stderr=subprocess.PIPE, text=True)
                   for _ in range(6)]
        try:
            eventually(lambda: sum(each.poll() is None for each in started) == 1)
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(20)
                client.connect(str(path))
                client.sendall(request("ping"))
                assert client.recv(10) == b"ok\n"
        finally:
            for each in started:
                each.kill()
                each.communicate()
        path.unlink()


def fill(path, kind):
    if kind == "file":
        path.write_text("precious", encoding="ascii")
    elif kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        leave_behind(path.with_name("target"))
        path.symlink_to("target" if kind == "link to a socket" else "nowhere")


@pytest.mark.parametrize("kind", ["file", "directory", "pipe", "link to a socket", "broken link"])
def test_the_server_never_touches_other_kinds_of_files(path, kind):
    fill(path, kind)
    before = path.lstat()
    done = run_server("--port=0", f"{FLAG}={path}")
    assert_refused(done, FLAG)
    assert "not a socket" in done.stderr
    assert (path.lstat().st_ino, path.lstat().st_mode) == (before.st_ino, before.st_mode)
    if kind == "file":
        assert path.read_text(encoding="ascii") == "precious"


def test_the_longest_path_serves_and_a_longer_one_is_refused(tmp_path):
    longest = tmp_path / ("x" * (107 - len(str(tmp_path)) - 1))
    with UnixServer(longest) as server, Client(server) as client:
        assert client.call("ping") == "ok"
    done = run_server("--port=0", f"{FLAG}={longest}x")
    assert_refused(done, FLAG)
    assert "107" in done.stderr


@pytest.mark.parametrize("where", ["nowhere/dflockd.sock", "file/dflockd.sock"])
def test_the_server_reports_a_missing_directory(tmp_path, where):
    (tmp_path / "file").write_text("", encoding="ascii")
    done = run_server("--port=0", f"{FLAG}={tmp_path / where}")
    assert_refused(done, FLAG)
    assert "directory" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="no setpriv")
def test_the_server_reports_a_directory_without_permission(tmp_path):
    program = tmp_path / "dflockd"
    shutil.copy(BINARY, program)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o755 if os.geteuid() == 0 else 0o555)
    prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
              "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    opened = [folder for folder in tmp_path.parents if os.stat(folder).st_uid == os.geteuid()]
    modes = [(folder, stat.S_IMODE(folder.stat().st_mode)) for folder in [tmp_path, *opened]]
    try:
        for folder, mode in modes:
            folder.chmod(mode | 0o011)
        done = subprocess.run(
            [*prefix, str(program), "--port=0", f"{FLAG}={closed / 'dflockd.sock'}"],
            env=clean_environment(), capture_output=True, text=True, timeout=30, check=False)
    finally:
        for folder, mode in modes:
            folder.chmod(mode)
    assert_refused(done, FLAG)
    assert "permission" in done.stderr


@pytest.mark.parametrize("mode", ["rw", "0888", "01000", "-1", ""])
def test_an_invalid_mode_is_refused(path, mode):
    assert_refused(run_server("--port=0", f"{FLAG}={path}", f"--unix-socket-mode={mode}"),
                   "--unix-socket-mode")
    assert not path.exists()


def test_an_empty_path_means_no_path():
    with ServerAsGiven("--port=0", f"{FLAG}=") as server:
        assert not [line for line in server.log if "unix:" in line]


def test_out_of_descriptors_a_pending_client_of_the_path_is_served_later(path):
    with UnixServer(path) as server:
        server.kill()
    server = UnixServer(path)
    server.command = ["prlimit", "--nofile=64:64", *server.command]
    with server:
        clients = [Client(server) for _ in range(100)]
        for client in clients:
            client.send(request("ping"))
        for client in clients:
            assert client.read_line() == b"ok\n"
            client.close()
