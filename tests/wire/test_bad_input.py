"""Bad and hostile input does not affect other clients, and leaves nothing."""

import random
import threading
import time
from pathlib import Path

import pytest
from bystander import WatchedServer
from lib.server import Server
from lib.wire_client import (CLOSED, MEGABYTE, MORE_THAN_BUFFERS, RESET, SILENCE, Client,
                             eventually, request)
from startup import ServerAsGiven


@pytest.fixture
def watched():
    with WatchedServer("--write-timeout", "1") as running:
        yield running


def test_closing_a_connection_closes_no_other(watched):
    """The kernel reuses descriptors at once: the server must not confuse the clients."""
    end = time.monotonic() + 2
    served = []

    def send_garbage():
        while time.monotonic() < end:
            with Client(watched.server) as client:
                client.send(b"x" * 300 + b"\n")
                client.read_line()

    def use_lock():
        while time.monotonic() < end:
            with Client(watched.server) as client:
                time.sleep(random.random() / 2000)
                client.send(request("ping"))
                served.append(client.read_line())

    threads = [threading.Thread(target=act) for act in [send_garbage] * 4 + [use_lock] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(served) > 100 and set(served) == {b"ok\n"}
    # A request that the ring hands to a kernel thread could cause such a mix-up.
    tasks = Path(f"/proc/{watched.server.pid}/task").glob("*/comm")
    assert not [task for task in tasks if task.read_text().startswith("iou-wrk")]


@pytest.mark.parametrize("before", [b"", b"l\n", b"l\nkey\n"], ids=["command", "key", "arg"])
def test_a_line_of_300_bytes_gets_an_error_and_a_close(watched, before):
    for _ in range(20):
        with Client(watched.server) as client:
            client.send(before + b"x" * 300 + b"\n")
            assert client.read_line() == b"error\n"
            assert client.read_line() == CLOSED


def test_10_megabytes_without_a_newline_take_no_memory(watched):
    with Client(watched.server) as client:
        client.send(b"x" * MEGABYTE)
        watched.bystander.served()
        check = watched.grows_at_most(4096)
        for _ in range(9):
            client.send(b"x" * MEGABYTE)
        watched.bystander.served()
        check()
        assert client.read_line(0.2) == SILENCE
        client.send(b"\n")
        assert client.read_line() == b"error\n"
        assert client.read_line() == CLOSED


def test_10_megabytes_of_a_secret_take_no_memory():
    with WatchedServer(auth="s3cret") as watched, Client(watched.server) as client:
        check = watched.grows_at_most(4096)
        client.send(b"auth\n_\n")
        for _ in range(10):
            client.send(b"x" * MEGABYTE)
        check()
        client.send(b"\n")
        assert client.read_line() == b"error_auth\n"
        assert client.read_line() == CLOSED


def test_nul_bytes_are_ordinary_bytes(watched):
    with Client(watched.server) as client:
        client.send(b"\0\n\0\n\0\n" * 1000)
        assert all(client.read_line() == b"error\n" for _ in range(1000))
        assert client.call("l", b"\0" * 256, "0").startswith("ok ")
        assert client.call("l", "key", b"0\0") == "error"
        client.send(b"\0" * 257 + b"\n")
        assert client.read_line() == b"error\n"
        assert client.read_line() == CLOSED


@pytest.mark.parametrize("number", [2**31, 2**32, 2**32 + 1, 9223372037, 2**63 - 1, 2**63,
                                    2**63 + 1, 2**64 - 1, 2**64, 2**64 + 1, 10**100, -1, -2**63,
                                    -2**63 - 1])
def test_a_number_never_wraps(watched, number):
    timeout_ok = 0 <= number <= 9223372036
    limit_ok = 1 <= number <= 1048576
    with Client(watched.server) as client:
        for key, arg in (("timeout", f"{number}"), ("lease", f"0 {number}")):
            reply = client.call("l", key, arg)
            assert reply.startswith("ok ") if timeout_ok else reply == "error"
        assert client.call("e", "enqueued", f"{number}").startswith("acquired ") is timeout_ok
        assert client.call("sl", "semaphore", f"0 {number}").startswith("ok ") is limit_ok
        assert client.call("se", "semaphore", f"{number}").startswith("acq") is limit_ok


def test_random_bytes_do_not_disturb_the_server(watched, seed):
    chance = random.Random(seed)
    words = [b"l", b"r", b"n", b"e", b"w", b"sl", b"se", b"sw", b"key", b"0", b"0 1", b"1 1", b"\n",
             b"\r", b"\0", b" ", b"\t", b"\xff", b"-1", b"9" * 30, b"x" * 255, b"x" * 257, b"auth",
             b"stats", b"ping", b"0" * 32, b"\n\n\n"]
    for _ in range(60):
        with Client(watched.server) as client:
            for _ in range(chance.randrange(1, 40)):
                words_sent = b"".join(chance.choice(words) + chance.choice([b"\n", b"\n", b""])
                                      for _ in range(chance.randrange(1, 12)))
                client.send(words_sent)
            if chance.random() < 0.3:
                client.reset()
            elif chance.random() < 0.5:
                client.fin()
                while isinstance(client.read_line(), bytes):
                    pass
    watched.bystander.served()


def test_a_request_of_single_bytes_with_pauses_is_served(watched):
    with Client(watched.server) as client:
        for byte in request("l", "key", "0"):
            client.send(bytes([byte]))
            time.sleep(0.01)
        assert client.read_line().startswith(b"ok ")


def test_the_server_answers_100000_pipelined_requests_in_order(watched):
    count = 100000
    with Client(watched.server) as client:
        batch = b"".join(request("ping") + request("r", "key", "0" * 32) for _ in range(count // 2))
        feeder = threading.Thread(target=client.send, args=(batch,))
        feeder.start()
        for number in range(count):
            assert client.read_line() == (b"error\n" if number % 2 else b"ok\n"), number
        feeder.join()


def blocked_client(watched, command):
    """Returns a connection that waits for a key, and the holder of the key."""
    holder, client = watched.client(), watched.client()
    token = holder.acquire("blocked")
    if command == "w":
        assert client.call("e", "blocked") == "queued"
    client.send(request(command, "blocked", "600"))
    eventually(lambda: holder.stats()["locks"] and any(
        lock["key"] == "blocked" and lock["waiters"] == 1 for lock in holder.stats()["locks"]))
    return client, holder, token


@pytest.mark.parametrize("command", ["l", "w"])
def test_the_server_stops_reading_behind_a_blocked_command(watched, command):
    client, holder, token = blocked_client(watched, command)
    check = watched.grows_at_most(6144)
    requests = request("ping") * (MORE_THAN_BUFFERS // len(request("ping")))
    sent = client.send_until_blocked(requests)
    # All but 64 KiB of the accepted bytes are in the kernel's buffers.
    assert sent < 40 * MEGABYTE
    check()
    watched.bystander.served()
    # The server serves everything that was sent after the blocked command ends.
    assert holder.call("r", "blocked", token) == "ok"
    assert client.read_line().startswith(b"ok ")
    whole, part = divmod(sent, len(request("ping")))
    for number in range(whole):
        assert client.read_line() == b"ok\n", number
    assert part == 0 or client.read_line(0.1) == SILENCE
    client.close()
    holder.close()


@pytest.mark.parametrize("command", ["l", "w"])
def test_a_reset_behind_a_blocked_command_is_noticed_while_reading_is_paused(watched, command):
    client, holder, _ = blocked_client(watched, command)
    client.send_until_blocked(request("ping") * MEGABYTE)
    client.reset()
    eventually(lambda: holder.stats()["locks"][0]["waiters"] == 0)
    eventually(lambda: holder.stats()["connections"] == 2)
    holder.close()


@pytest.mark.parametrize("end", ["close", "fin"])
@pytest.mark.parametrize("command", ["l", "w"])
def test_a_fin_behind_a_blocked_command_is_noticed_while_reading_is_paused(watched, command, end):
    client, holder, _ = blocked_client(watched, command)
    # More than 64 KiB, but less than the kernel's buffers, so that the FIN arrives.
    client.send(request("ping") * (80 * 1024 // len(request("ping"))))
    watched.bystander.served()
    getattr(client, end)()
    eventually(lambda: all(lock["waiters"] == 0 for lock in holder.stats()["locks"]))
    eventually(lambda: holder.stats()["connections"] == 2)
    if end == "fin":
        assert client.read_line() in (CLOSED, RESET)
        client.close()
    holder.close()


@pytest.mark.parametrize("count", [8000, 8190, 8191, 8192, 8193, 8200, 16000, 70000])
def test_about_64_kib_behind_a_blocked_command_are_served_after_it(watched, count):
    client, holder, token = blocked_client(watched, "l")
    feeder = threading.Thread(target=client.send, args=(request("ping") * count,))
    feeder.start()
    watched.bystander.served()
    assert holder.call("r", "blocked", token) == "ok"
    assert client.read_line().startswith(b"ok ")
    for number in range(count):
        assert client.read_line() == b"ok\n", number
    feeder.join()
    client.close()
    holder.close()


@pytest.mark.parametrize("what", ["ping", "stats"])
def test_a_client_that_never_reads_is_closed_after_the_write_timeout(watched, what):
    with WatchedServer("--write-timeout", "1", "--max-locks", "3000") as watched:
        holder = watched.client()
        holder.send(b"".join(request("l", f"key-{number}", "0 600") for number in range(2000)))
        assert all(holder.read_line().startswith(b"ok ") for _ in range(2000))
        reader = watched.client()
        reader.acquire("held-by-the-reader")
        check = watched.grows_at_most(16384)
        requests = request(what) * (MORE_THAN_BUFFERS // len(request(what)))
        assert reader.send_until_blocked(requests, seconds=0.5) < len(requests)
        eventually(lambda: holder.stats()["connections"] == 3, seconds=60)
        check()
        assert holder.call("l", "held-by-the-reader", "10").startswith("ok ")
        reader.close()
        holder.close()


def test_a_client_that_reads_slowly_is_not_closed(watched):
    count = 400000
    with Client(watched.server) as slow:
        feeder = threading.Thread(target=slow.send, args=(request("ping") * count,))
        feeder.start()
        received = 0
        begin = time.monotonic()
        while received < 3 * count:
            # First a little every 100 ms, for longer than the write timeout.
            hasty = time.monotonic() - begin > 4
            data = slow.socket.recv(1 << 20 if hasty else 20000)
            assert data, f"closed after {received} bytes"
            received += len(data)
            if not hasty:
                time.sleep(0.1)
        feeder.join()
        assert received == 3 * count


def test_a_slow_client_is_not_closed_without_a_write_timeout():
    with ServerAsGiven("--port=0", "--write-timeout=0") as server, Client(server) as reader:
        pings = request("ping") * (MORE_THAN_BUFFERS // len(request("ping")))
        taken = reader.send_until_blocked(pings, seconds=0.5)
        assert taken < len(pings)
        time.sleep(2)
        whole = taken // len(request("ping"))
        assert all(reader.read_line() == b"ok\n" for _ in range(whole))


def test_many_silent_connections_are_closed_in_time():
    with WatchedServer("--read-timeout", "1") as watched:
        silent = [Client(watched.server) for _ in range(200)]
        for client in silent:
            assert client.read_line() == b"error\n"
            assert client.read_line() == CLOSED
            client.close()


def test_the_server_survives_refusals_by_its_limits():
    with Server("--max-connections", "5") as server:
        clients = [Client(server) for _ in range(50)]
        received = [client.read_line(1) for client in clients]
        assert received.count(SILENCE) == 5 and received.count(CLOSED) == 45
        for client in clients:
            client.close()

        def served():
            with Client(server) as client:
                return client.call("ping") == "ok"
        eventually(served)
