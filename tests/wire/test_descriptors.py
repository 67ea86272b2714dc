"""More connections than the server has descriptors: those that it has are served, none is lost."""

import subprocess
import sys
from pathlib import Path

import pytest
from bystander import QUICK_COLLECTION, WatchedServer
from lib.wire_client import SILENCE, Client, eventually, request
from startup import ServerAsGiven

CROWD = Path(__file__).with_name("hold_connections.py")


def limited_server(descriptors):
    return ServerAsGiven("--port=0", *QUICK_COLLECTION,
                         prefix=["prlimit", f"--nofile={descriptors}:{descriptors}"])


class Crowd:
    """Processes that together keep `count` connections open."""

    def __init__(self, server, count, processes):
        self.processes = [subprocess.Popen(
            [sys.executable, str(CROWD), str(server.port), str(count // processes)],
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
def test_out_of_descriptors_it_serves_whom_it_has_and_recovers(
        descriptors, connections, processes):
    with WatchedServer(server=limited_server(descriptors)) as watched:
        early = watched.client()
        token = early.acquire("early", "0 600")
        with Crowd(watched.server, connections, processes):
            watched.bystander.served()
            assert early.call("n", "early", f"{token} 600") == "ok 600"
            eventually(lambda: early.stats()["connections"] > descriptors // 2)
            # It really ran out of them.
            assert early.stats()["connections"] < min(descriptors, connections)
            watched.bystander.served()
        # The crowd has gone: whoever comes now is served.
        eventually(lambda: early.stats()["connections"] < 10, seconds=60)
        with Client(watched.server) as late:
            assert late.call("l", "early", "0") == "timeout"
        assert early.call("r", "early", token) == "ok"
        early.close()


def test_out_of_descriptors_a_place_that_falls_free_is_taken_by_who_waits():
    with WatchedServer(server=limited_server(128)) as watched:
        crowd = [Client(watched.server) for _ in range(300)]
        for client in crowd:
            client.send(request("ping"))

        def all_were_served():
            for client in list(crowd):
                heard = client.read_line(0.005)
                if heard != SILENCE:
                    assert heard == b"ok\n"
                    client.close()
                    crowd.remove(client)
            return not crowd
        eventually(all_were_served, seconds=60)
