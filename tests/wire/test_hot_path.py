"""A request costs no allocator call, and a batch of requests costs one system call."""

import json
import os
import shutil
import subprocess

import pytest
from lib.process import sleeps
from lib.server import Server
from lib.wire_client import Client
from test_unix_socket import UnixServer

IN_FLIGHT = 100  # concurrent pairs, on one connection or on this many
GETRANDOM_PER_GRANT = 1 / 512  # the server fetches random salts in batches


def acquire_and_release(server, pairs, connections=1):
    """Acquires and releases different keys, IN_FLIGHT at a time."""
    each_has = IN_FLIGHT // connections
    sockets = [server.connect() for _ in range(connections)]
    files = [each.makefile("rb") for each in sockets]
    acquires = [b"".join(b"l\nkey-%d-%d\n0\n" % (owner, i) for i in range(each_has))
                for owner in range(connections)]
    for _ in range(pairs // IN_FLIGHT):
        for owner, each in enumerate(sockets):
            each.sendall(acquires[owner])
        for owner, each in enumerate(sockets):
            releases = b""
            for i in range(each_has):
                word, token, _ = files[owner].readline().split()
                assert word == b"ok"
                releases += b"r\nkey-%d-%d\n%s\n" % (owner, i, token)
            each.sendall(releases)
        for answers in files:
            for _ in range(each_has):
                assert answers.readline() == b"ok\n"
    for each in files + sockets:
        each.close()


def allocations_for(pairs, connections):
    """Returns the number of jemalloc requests in the life of a server that serves `pairs`."""
    with Server("--threads", "1",
                environment={"MALLOC_CONF": "stats_print:true,stats_print_opts:J"}) as server:
        acquire_and_release(server, pairs, connections)
        server.terminate()
        assert server.wait() == 0
    text = "".join(server.log)
    stats, _ = json.JSONDecoder().raw_decode(text[text.index('{"jemalloc"'):])
    arenas = stats["jemalloc"]["stats.arenas"]
    # With one arena jemalloc prints no sum over all.
    counts = arenas.get("merged") or arenas["0"]
    return counts["small"]["nrequests"] + counts["large"]["nrequests"]


@pytest.mark.skipif("asan" in os.environ.get("DFLOCKD", ""), reason="built without jemalloc")
@pytest.mark.parametrize("connections", [1, 100])
def test_a_million_requests_make_no_allocator_call(connections):
    few = allocations_for(50_000, connections)
    many = allocations_for(500_000, connections)
    assert few > 0
    assert many - few < 50, f"{few} allocations in a short life, {many} in a long one"


def system_calls(server, pairs):
    """Returns strace's counts by name while `pairs` are acquired and released."""
    tracer = subprocess.Popen(
        ["strace", "-f", "-c", "-p", str(server.pid)],
        stderr=subprocess.PIPE, text=True)
    try:
        line = tracer.stderr.readline()
        if "attached" not in line:
            pytest.skip(f"strace can't attach here: {line.strip()}")
        acquire_and_release(server, pairs)
    finally:
        tracer.send_signal(2)
        _, report = tracer.communicate(timeout=30)
    calls = {}
    for line in report.splitlines():
        fields = line.split()
        if len(fields) >= 5 and fields[0][0].isdigit() and fields[-1] != "total":
            calls[fields[-1]] = int(fields[3])
    return calls


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_a_batch_costs_one_system_call():
    pairs = 50_000
    batches = 2 * pairs // IN_FLIGHT
    with Server("--threads", "1") as server:
        calls = system_calls(server, pairs)
    enters = calls.pop("io_uring_enter")
    # A batch of 100 requests can arrive in a few pieces, and its replies leave in two.
    assert batches / 2 < enters < 6 * batches, f"{enters} for {batches} batches"
    assert calls.pop("getrandom", 0) <= pairs * GETRANDOM_PER_GRANT + 2
    others = sum(calls.values())
    assert others < 20, f"other system calls: {calls}"


def test_a_lease_does_not_wake_a_worker_whose_alarm_comes_first(tmp_path):
    """A client of one worker acquires and releases keys; half of them belong to the other worker.

    The other worker sleeps repeatedly without held locks, because of its own client.
    """
    rounds = 200
    keys = [f"key-{i}" for i in range(8)]
    with UnixServer(tmp_path / "socket", "--threads", "2") as server:
        with Client(server) as locks, Client(server) as pings:

            def a_round():
                assert pings.call("ping") == "ok"
                for key in keys:
                    grant = locks.call("l", key, "0").split()
                    assert locks.call("r", key, grant[1]) == "ok"

            for _ in range(5):  # all connections are on their workers, which have set their alarms
                a_round()
            before = sleeps(server)
            for _ in range(rounds):
                a_round()
            slept = min(now - then for now, then in zip(sleeps(server), before, strict=True))
    assert slept < rounds * 5 / 4, f"{slept} wakes for {rounds} pings"
