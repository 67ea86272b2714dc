"""--max-connections-per-ip: what is over the limit is closed without a byte, and counts stay right."""

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
    """Whether a connection from there is served; it is gone afterwards."""
    with Client(place) as client:
        reply = client.call("ping")
        # A reset where the ping had come already when the server closed.
        assert reply in ("ok", CLOSED, RESET), reply
        return reply == "ok"


def fill(place, count):
    clients = [Client(place) for _ in range(count)]
    for client in clients:
        assert client.call("ping") == "ok"
    return clients


def test_who_is_one_too_many_gets_no_byte():
    with Server(LIMIT, "1") as server:
        crowd = fill(From(server, "127.0.0.20"), 1)
        with Client(From(server, "127.0.0.20")) as late:
            assert late.read_line() == CLOSED
        assert crowd[0].call("ping") == "ok"


@pytest.mark.parametrize("threads", ["1", "3"])
def test_each_address_has_as_many_as_it_may(threads):
    with Server(LIMIT, "3", "--threads", threads) as server:
        one, two = From(server, "127.0.0.21"), From(server, "127.0.0.22")
        crowd = fill(one, 3)
        for _ in range(20):
            assert not enters(one)
        crowd += fill(two, 3)
        assert not enters(two)
        assert enters(From(server, "127.0.0.23"))
        # Those who are in go on.
        assert all(client.call("ping") == "ok" for client in crowd)
        assert crowd[0].stats()["connections"] == 6
        crowd.pop(0).close()
        eventually(lambda: enters(one))


def kill(clients, place):
    """Whoever is killed has its sockets closed by the kernel."""
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
    "end of input": lambda clients, place: [(client.fin(), client.read_line()) for client in clients],
    "too long a line": lambda clients, place: [
        (client.send(b"x" * 5000 + b"\n"), client.read_line(), client.close()) for client in clients],
    "unread output": lambda clients, place: [
        (client.send(request("stats") * 2000), client.reset()) for client in clients],
    "killed": kill,
}


@pytest.mark.parametrize("end", ENDS)
def test_whatever_the_end_the_place_is_free_again(end):
    with Server(LIMIT, "2", "--threads", "2") as server:
        place = From(server, "127.0.0.31")
        for _ in range(5):
            clients = []

            def filled():
                while len(clients) < 2:
                    client = Client(place)
                    if client.call("ping") != "ok":
                        client.close()
                        return False
                    clients.append(client)
                return True
            eventually(filled)
            assert not enters(place)
            ENDS[end](clients, place)
        # Neither too few nor too many: two get in, and no third.
        clients.clear()
        eventually(filled)
        assert not enters(place)


def test_connections_reset_before_they_are_accepted_leave_nothing():
    with Server(LIMIT, "2") as server:
        place = From(server, "127.0.0.41")
        for _ in range(300):
            Client(place).reset()
        kept = []

        def entered():
            kept.append(Client(place))
            return kept[-1].call("ping") == "ok" or kept.pop().close()
        eventually(entered)
        eventually(entered)
        assert not enters(place)


def test_refusals_by_another_limit_are_not_counted():
    with Server(LIMIT, "2", "--max-connections", "2") as server:
        one = From(server, "127.0.0.51")
        two = From(server, "127.0.0.52")
        crowd = fill(one, 2)
        for _ in range(10):
            assert not enters(two)
        for client in crowd:
            client.close()
        eventually(lambda: enters(two))
        crowd = []
        eventually(lambda: len(crowd) == 2 or crowd.extend(fill(two, 2 - len(crowd))))
        assert not enters(one)


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
def test_an_address_of_ipv4_is_one_whatever_the_listener():
    with Server(LIMIT, "1", "--host", "::") as server:
        four = From(server, "127.0.0.61", to="127.0.0.1")
        other = From(server, "127.0.0.62", to="127.0.0.1")
        six = From(server, "::1", to="::1")
        crowd = fill(four, 1) + fill(other, 1) + fill(six, 1)
        assert not enters(four) and not enters(other) and not enters(six)
        assert crowd[0].stats()["connections"] == 3


def test_a_unix_socket_has_no_address_to_be_counted(tmp_path):
    with UnixServer(tmp_path / "socket", LIMIT, "1") as server:
        crowd = fill(server, 5)
        assert crowd[0].stats()["connections"] == 5
        assert enters(From(server, "127.0.0.71"))


def test_without_a_limit_nobody_is_asked_for_an_address():
    """No getpeername: what is not asked for costs nothing."""
    for limit, asked in (("0", False), ("5", True)):
        server = Server(LIMIT, limit, "--threads", "1")
        # -D: what is started here, and killed in the end, is the server and not strace.
        server.command = ["strace", "-D", "-f", "-qq", "-e", "trace=getpeername", *server.command]
        with server:
            for _ in range(3):
                with Client(server) as client:
                    assert client.call("ping") == "ok"
        assert any("getpeername(" in line for line in server.log) is asked, server.log
