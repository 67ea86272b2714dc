"""--max-connections-per-ip: the server closes further connections unanswered, and counts right."""

import socket
import subprocess
import sys

import pytest
from lib.server import Server
from lib.wire_client import CLOSED, RESET, Client, eventually, request
from test_options import has_ipv6
from test_unix_socket import UnixServer

LIMIT = "--max-connections-per-ip"


class From:
    """The server as seen from another address of this machine."""

    def __init__(self, server, address, to=None):
        self.server = server
        self.address = address
        self.to = to or server.host

    def connect(self, timeout=20):
        return socket.create_connection((self.to, self.server.port), timeout=timeout,
                                        source_address=(self.address, 0))


def enters(place):
    """Whether the server serves a connection from there, which this function closes again."""
    with Client(place) as client:
        reply = client.call("ping")
        # A reset if the ping arrived before the server closed.
        assert reply in ("ok", CLOSED, RESET), reply
        return reply == "ok"


def served_client(place):
    """Returns a new connection, or None if the server refuses it."""
    client = Client(place)
    if client.call("ping") == "ok":
        return client
    client.close()
    return None


def fill(place, count):
    clients = [Client(place) for _ in range(count)]
    for client in clients:
        assert client.call("ping") == "ok"
    return clients


def test_a_connection_over_the_limit_gets_no_byte():
    with Server(LIMIT, "1") as server:
        clients = fill(From(server, "127.0.0.20"), 1)
        with Client(From(server, "127.0.0.20")) as late:
            assert late.read_line() == CLOSED
        assert clients[0].call("ping") == "ok"


@pytest.mark.parametrize("threads", ["1", "3"])
def test_each_address_has_its_own_limit(threads):
    with Server(LIMIT, "3", "--threads", threads) as server:
        one, two = From(server, "127.0.0.21"), From(server, "127.0.0.22")
        clients = fill(one, 3)
        for _ in range(20):
            assert not enters(one)
        clients += fill(two, 3)
        assert not enters(two)
        assert enters(From(server, "127.0.0.23"))
        # The server still serves the connections within the limit.
        assert all(client.call("ping") == "ok" for client in clients)
        assert clients[0].stats()["connections"] == 6
        clients.pop(0).close()
        eventually(lambda: enters(one))


def kill(clients, place):
    """The kernel closes the sockets of a killed process."""
    for client in clients:
        client.close()
    program = ("import socket, sys\n"
               "kept = [socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=20,\n"
               "        source_address=(sys.argv[3], 0)) for _ in range(2)]\n"
               "for each in kept: each.sendall(b'l\\nkey\\n60\\n')\n"
               "print(flush=True)\n"
               "sys.stdin.read()\n")
    eventually(lambda: enters(place))
    child = subprocess.Popen(
        [sys.executable, "-c", program, place.to, str(place.server.port), place.address],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    child.kill()
    child.communicate()


ENDS = {
    "close": lambda clients, place: [client.close() for client in clients],
    "reset": lambda clients, place: [client.reset() for client in clients],
    "end of input": lambda clients, place: [
        (client.fin(), client.read_line()) for client in clients],
    "too long a line": lambda clients, place: [
        (client.send(b"x" * 5000 + b"\n"), client.read_line(), client.close())
        for client in clients],
    "unread output": lambda clients, place: [
        (client.send(request("stats") * 2000), client.reset()) for client in clients],
    "killed": kill,
}


@pytest.mark.parametrize("end", ENDS)
def test_every_kind_of_close_frees_the_slot(end):
    with Server(LIMIT, "2", "--threads", "2") as server:
        place = From(server, "127.0.0.31")
        for _ in range(5):
            clients = []
            for _ in range(2):
                clients.append(eventually(lambda: served_client(place)))
            assert not enters(place)
            ENDS[end](clients, place)
        # Exactly two connections are served, not a third.
        clients.clear()
        for _ in range(2):
            clients.append(eventually(lambda: served_client(place)))
        assert not enters(place)


def test_connections_reset_before_accept_leave_no_count():
    with Server(LIMIT, "2") as server:
        place = From(server, "127.0.0.41")
        for _ in range(300):
            Client(place).reset()
        kept = [eventually(lambda: served_client(place)) for _ in range(2)]
        assert not enters(place)
        assert all(client.call("ping") == "ok" for client in kept)


def test_refusals_by_another_limit_are_not_counted():
    with Server(LIMIT, "2", "--max-connections", "2") as server:
        one = From(server, "127.0.0.51")
        two = From(server, "127.0.0.52")
        clients = fill(one, 2)
        for _ in range(10):
            assert not enters(two)
        for client in clients:
            client.close()
        eventually(lambda: enters(two))
        for _ in range(2):
            clients.append(eventually(lambda: served_client(two)))
        assert not enters(one)


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
def test_an_ipv4_address_counts_the_same_on_every_listener():
    with Server(LIMIT, "1", "--host", "::") as server:
        four = From(server, "127.0.0.61", to="127.0.0.1")
        other = From(server, "127.0.0.62", to="127.0.0.1")
        six = From(server, "::1", to="::1")
        clients = fill(four, 1) + fill(other, 1) + fill(six, 1)
        assert not enters(four) and not enters(other) and not enters(six)
        assert clients[0].stats()["connections"] == 3


def test_unix_clients_are_not_counted(tmp_path):
    with UnixServer(tmp_path / "socket", LIMIT, "1") as server:
        clients = fill(server, 5)
        assert clients[0].stats()["connections"] == 5
        assert enters(From(server, "127.0.0.71"))


def test_the_server_reads_no_addresses_without_a_limit():
    """The server does not call getpeername without the limit."""
    for limit, expected in (("0", False), ("5", True)):
        server = Server(LIMIT, limit, "--threads", "1")
        # With -D the process that this test starts and kills is the server, not strace.
        server.command = ["strace", "-D", "-f", "-qq", "-e", "trace=getpeername", *server.command]
        with server:
            for _ in range(3):
                with Client(server) as client:
                    assert client.call("ping") == "ok"
        assert any("getpeername(" in line for line in server.log) is expected, server.log
