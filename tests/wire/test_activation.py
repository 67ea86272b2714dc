"""Sockets passed by a service manager: the server uses them as they are, without host and port."""

import os
import re
import socket
import subprocess
import sys
import time

import pytest
from lib.process import cpu_ns
from lib.server import BINARY, Server
from lib.wire_client import CLOSED, RESET, Client, eventually, request
from startup import EXIT_SECONDS, assert_refused, clean_environment
from test_unix_socket import UnixServer
from workers import all_serve

# Runs as the service manager's child, because LISTEN_PID is known only after the fork.
PASS_ON = """
import os, sys
count = int(sys.argv[1])
for place, descriptor in enumerate(map(int, sys.argv[2:2 + count])):
    os.dup2(descriptor, 100 + place)
for place in range(count):
    os.dup2(100 + place, 3 + place)
    os.close(100 + place)
os.environ["LISTEN_PID"] = str(os.getpid() + int(os.environ.get("PID_OFF", "0")))
os.environ.setdefault("LISTEN_FDS", str(count))
os.execv(sys.argv[2 + count], sys.argv[2 + count:])
"""


def command(sockets, *args):
    descriptors = [str(each.fileno()) for each in sockets]
    return [sys.executable, "-c", PASS_ON, str(len(sockets)), *descriptors, str(BINARY), *args]


class ActivatedServer(Server):
    """A server with these listening sockets. The test keeps them open, as systemd does."""

    def __init__(self, sockets, *args, environment=None):
        super().__init__(environment=environment)
        self.command = command(sockets, *args)
        self.sockets = sockets

    def __enter__(self):
        for each in self.sockets:
            each.set_inheritable(True)
        spawn = subprocess.Popen

        def popen(*args, **options):
            return spawn(*args, close_fds=False, **options)
        subprocess.Popen = popen
        try:
            return super().__enter__()
        finally:
            subprocess.Popen = spawn


@pytest.fixture
def tcp():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def local(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "passed.sock"))
        listener.listen()
        yield listener


def ping(address, family):
    with socket.socket(family) as client:
        client.settimeout(20)
        client.connect(address)
        client.sendall(request("ping"))
        return client.recv(100)


def test_a_passed_tcp_socket_replaces_host_and_port(tcp):
    with ActivatedServer([tcp], "--host", "256.1.1.1", "--port", "1") as server:
        assert server.port == tcp.getsockname()[1]
        with Client(server) as client:
            assert client.call("ping") == "ok"
        eventually(lambda: any("service manager" in line for line in server.log))
        eventually(lambda: any(re.search(r"listening.*from=service-manager", line)
                               for line in server.log))


def test_passed_tcp_and_unix_sockets_serve_the_same_locks(tcp, local):
    with ActivatedServer([local, tcp], "--threads", "2") as server, Client(server) as far:
        far.acquire("key")
        assert ping(local.getsockname(), socket.AF_UNIX) == b"ok\n"
        with socket.socket(socket.AF_UNIX) as near:
            near.settimeout(20)
            near.connect(local.getsockname())
            near.sendall(request("l", "key", "10"))
            eventually(lambda: far.stats()["locks"][0]["waiters"] == 1)
            far.close()
            assert near.recv(100).startswith(b"ok ")


def test_the_server_also_listens_on_its_path_beside_passed_sockets(tcp, tmp_path):
    path = tmp_path / "own.sock"
    with ActivatedServer([tcp], "--unix-socket", str(path)) as server, Client(server) as client:
        assert client.call("ping") == "ok"
        assert ping(str(path), socket.AF_UNIX) == b"ok\n"
        client.close()
        server.terminate()
        assert server.wait() == 0
        assert not path.exists()


def test_workers_share_a_passed_socket(tcp):
    with ActivatedServer([tcp], "--threads", "3") as server:
        clients = [Client(server) for _ in range(30)]
        all_serve(server, clients)
        for client in clients:
            client.close()


def test_clients_that_connect_between_two_servers_wait_and_are_served(tcp, local):
    """The sockets stay open, so a restart loses no connection that was not accepted."""
    path, port = local.getsockname(), tcp.getsockname()
    with ActivatedServer([tcp, local]) as server, Client(server) as client:
        assert client.call("ping") == "ok"
        server.terminate()
        eventually(lambda: client.call("ping") != "ok")
        client.close()
        assert server.wait() == 0
    assert os.path.exists(path)
    early = [socket.create_connection(port, timeout=20), socket.socket(socket.AF_UNIX)]
    early[1].settimeout(20)
    early[1].connect(path)
    for each in early:
        each.sendall(request("ping"))
    with ActivatedServer([tcp, local]):
        for each in early:
            assert each.recv(100) == b"ok\n"
            each.close()


def test_connections_made_while_draining_wait_for_the_next_server(tcp):
    with ActivatedServer([tcp], "--threads", "2") as server, Client(server) as holder:
        holder.acquire("key")
        server.terminate()
        eventually(lambda: any("draining" in line for line in server.log))
        time.sleep(0.2)
        with socket.create_connection(tcp.getsockname(), timeout=20) as late:
            late.sendall(request("ping"))
            holder.close()
            assert server.wait() == 0
            with ActivatedServer([tcp]):
                assert late.recv(100) == b"ok\n"


def test_a_nonblocking_passed_socket_causes_no_busy_loop(tcp):
    tcp.setblocking(False)
    with ActivatedServer([tcp], "--threads", "1") as server, Client(server) as client:
        assert client.call("ping") == "ok"
        before_ns = cpu_ns(server)
        time.sleep(0.5)
        assert cpu_ns(server) - before_ns < 200e6
        assert client.call("ping") == "ok"


def refused(sockets, environment=None):
    for each in sockets:
        each.set_inheritable(True)
    done = subprocess.run(
        command(sockets, "--port=0"), env=clean_environment(environment), capture_output=True,
        text=True, close_fds=False, timeout=EXIT_SECONDS, check=False, stdin=subprocess.DEVNULL)
    assert_refused(done, "LISTEN_FDS")


def test_the_server_refuses_anything_but_a_listening_stream_socket(tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
        refused([datagram])
    with socket.socket() as silent:
        refused([silent])
    with open(tmp_path / "file", "w", encoding="ascii") as file:
        os.set_inheritable(file.fileno(), True)
        done = subprocess.run(
            [sys.executable, "-c", PASS_ON, "1", str(file.fileno()), str(BINARY), "--port=0"],
            env=clean_environment(), capture_output=True, text=True, close_fds=False,
            timeout=EXIT_SECONDS, check=False)
    assert_refused(done, "LISTEN_FDS")


@pytest.mark.parametrize("count", ["x", "-1", "9", "1000000", "2"])
def test_the_server_refuses_a_wrong_socket_count(tcp, count):
    refused([tcp], {"LISTEN_FDS": count})


@pytest.mark.parametrize("environment", [{"PID_OFF": "1"}, {"LISTEN_FDS": "0"}])
def test_the_server_ignores_sockets_for_another_process(tcp, environment):
    with ActivatedServer([tcp], "--port", "0", environment=environment) as server:
        assert server.port != tcp.getsockname()[1]
        with Client(server) as client:
            assert client.call("ping") == "ok"


def test_the_limit_per_address_holds_for_passed_sockets(tcp):
    with ActivatedServer([tcp], "--threads", "2", "--max-connections-per-ip", "2") as server:
        first, second, third = (Client(server) for _ in range(3))
        received = [each.call("ping") for each in (first, second, third)]
        assert received.count("ok") == 2 and set(received) <= {"ok", CLOSED, RESET}


def test_a_passed_unix_socket_alone_is_enough(local):
    server = ActivatedServer([local])
    server.__class__ = type("PathOnly", (ActivatedServer,), {"connect": UnixServer.connect})
    server.path = local.getsockname()
    process = subprocess.Popen(server.command, env=server.environment, pass_fds=[local.fileno()],
                               stderr=subprocess.PIPE, text=True)
    try:
        assert ping(server.path, socket.AF_UNIX) == b"ok\n"
        process.terminate()
        log = process.communicate(timeout=20)[1]
    finally:
        process.kill()
    assert f"addr=unix:{server.path}" in log
    assert log.count('msg="listening"') == 1
