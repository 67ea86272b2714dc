"""More connections than descriptors: the server serves those that it has, and loses none."""

import subprocess
import sys
from pathlib import Path

import pytest
from bystander import WatchedServer
from lib.server import QUICK_COLLECTION
from lib.wire_client import SILENCE, Client, eventually, request
from startup import ServerAsGiven

HOLD_CONNECTIONS = Path(__file__).with_name("hold_connections.py")


def limited_server(descriptors):
    return ServerAsGiven("--port=0", *QUICK_COLLECTION,
                         prefix=["prlimit", f"--nofile={descriptors}:{descriptors}"])


class HeldConnections:
    """Processes that together keep `count` connections open."""

    def __init__(self, server, count, processes):
        self.processes = [subprocess.Popen(
            [sys.executable, str(HOLD_CONNECTIONS), str(server.port), str(count // processes)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(processes)]

    def __enter__(self):
        try:
            for process in self.processes:
                assert int(process.stdout.readline()) > 0
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.stdin.close()
            process.wait(60)
            process.stdout.close()


@pytest.mark.parametrize("descriptors, connections, processes", [
    (256, 400, 1), (4000, 6000, 2)])
def test_out_of_descriptors_the_server_serves_its_connections_and_recovers(
        descriptors, connections, processes):
    with WatchedServer(server=limited_server(descriptors)) as watched:
        early = watched.client()
        token = early.acquire("early", "0 600")
        with HeldConnections(watched.server, connections, processes):
            watched.bystander.served()
            assert early.call("n", "early", f"{token} 600") == "ok 600"
            eventually(lambda: early.stats()["connections"] > descriptors // 2)
            # The server really ran out of descriptors.
            assert early.stats()["connections"] < min(descriptors, connections)
            watched.bystander.served()
        # The connections have closed: the server serves new clients.
        eventually(lambda: early.stats()["connections"] < 10, seconds=60)
        with Client(watched.server) as late:
            assert late.call("l", "early", "0") == "timeout"
        assert early.call("r", "early", token) == "ok"
        early.close()


def test_out_of_descriptors_a_pending_client_gets_the_next_free_descriptor():
    with WatchedServer(server=limited_server(128)) as watched:
        clients = [Client(watched.server) for _ in range(300)]
        for client in clients:
            client.send(request("ping"))

        def all_were_served():
            for client in list(clients):
                received = client.read_line(0.005)
                if received != SILENCE:
                    assert received == b"ok\n"
                    client.close()
                    clients.remove(client)
            return not clients
        eventually(all_were_served, seconds=60)
