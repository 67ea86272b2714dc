"""Timeouts: what counts as progress, and that a delayed server does not time out its clients."""

import socket
import time

import pytest
from lib.server import Server
from lib.wire_client import CLOSED, RESET, SILENCE, Client, eventually, request

SECRET = "secret"
LONG = b"x" * 300


def trickle_until_closed(client, most_seconds):
    """Sends a byte every 0.4 s until the server closes. Returns its output and the seconds."""
    start = time.monotonic()
    while time.monotonic() < start + most_seconds:
        client.send(b"x")
        reply = client.read_line(0.4)
        if reply != SILENCE:
            return reply, time.monotonic() - start
    return SILENCE, most_seconds


@pytest.mark.parametrize("before", [b"", b"l\n", b"l\nkey\n"], ids=["command", "key", "arg"])
def test_dropped_bytes_of_a_too_long_line_are_not_progress(before):
    with Server("--read-timeout", "1") as server, Client(server) as client:
        client.send(before + LONG)
        reply, seconds = trickle_until_closed(client, 12)
        assert reply == b"error\n" and seconds < 6
        assert client.read_line() in (CLOSED, RESET)


def test_dropped_bytes_before_authentication_are_not_progress():
    options = ["--read-timeout", "1", "--max-connections", "5", "--auth-token", SECRET]
    with Server(*options) as server:
        clients = [Client(server) for _ in range(5)]
        for client in clients:
            client.send(LONG)
        reply, seconds = trickle_until_closed(clients[0], 12)
        assert reply == b"error_auth\n" and seconds < 6

        def enters():
            with Client(server) as late:
                return late.call("auth", "_", SECRET) == "ok"

        assert eventually(enters, seconds=6)


def test_each_line_of_a_request_gets_a_whole_timeout():
    """The timeout is for each line: the too long line has started its own."""
    with Server("--read-timeout", "2") as server, Client(server) as client:
        for part in (b"ping\n", b"_\n", b"\nping\n"):
            client.send(part)
            time.sleep(1.2)
        assert client.read_line() == b"ok\n"


@pytest.mark.parametrize("before", [b"", b"ping\n\n\n"], ids=["first", "second"])
def test_a_too_long_line_cut_by_the_end_of_input_is_an_error(before):
    with Server() as server, Client(server) as client:
        client.send(before + LONG)
        client.socket.shutdown(socket.SHUT_WR)
        assert client.read_line() == (b"ok\n" if before else b"error\n")
        if before:
            assert client.read_line() == b"error\n"
        assert client.read_line() == CLOSED


def test_a_short_line_cut_by_the_end_of_input_is_dropped():
    with Server() as server, Client(server) as client:
        client.send(b"x" * 256)
        client.socket.shutdown(socket.SHUT_WR)
        assert client.read_line() == CLOSED


def stop_beyond_the_time_out(server, clients, data):
    """All clients send while the server is stopped for longer than the read timeout."""
    with server.stopped():
        for client in clients:
            client.send(data)
        time.sleep(2.3)


@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_resumed_server_serves_the_input_that_arrived_meanwhile(threads):
    with Server("--read-timeout", "2", "--threads", threads) as server:
        clients = [Client(server) for _ in range(500)]
        for client in clients:
            assert client.call("ping") == "ok"
        stop_beyond_the_time_out(server, clients, request("ping"))
        assert [client.read_line() for client in clients] == [b"ok\n"] * 500
        for client in clients:
            client.close()


def test_a_resumed_server_serves_the_rest_of_a_request():
    """Also a rest that is longer than a receive buffer, and so arrives in parts."""
    with Server("--read-timeout", "2", "--auth-token", "s" * 60000) as server:
        clients = [Client(server) for _ in range(20)]
        for client in clients:
            client.send(b"auth\n_\nsss")
        time.sleep(0.2)
        stop_beyond_the_time_out(server, clients, b"s" * (60000 - 3) + b"\n")
        assert [client.read_line() for client in clients] == [b"ok\n"] * 20
        for client in clients:
            client.close()


def test_a_resumed_server_closes_a_connection_without_progress():
    with Server("--read-timeout", "2") as server:
        clients = [Client(server) for _ in range(20)]
        for client in clients:
            client.send(b"pi")
        time.sleep(0.2)
        stop_beyond_the_time_out(server, clients, b"n")
        assert [client.read_line() for client in clients] == [b"error\n"] * 20
        for client in clients:
            assert client.read_line() == CLOSED
            client.close()


def test_a_resumed_server_keeps_a_client_that_has_read_meanwhile():
    """The write timeout passes while the server is stopped, and the client has read."""
    with Server("--write-timeout", "2", "--max-locks", "100000") as server:
        with Client(server) as holder, Client(server) as slow:
            for number in range(0, 40000, 1000):
                holder.send(b"".join(request("l", f"{'k' * 200}-{i}", "0")
                                     for i in range(number, number + 1000)))
                for _ in range(1000):
                    holder.read_line()
            slow.send(request("stats"))
            time.sleep(0.8)  # the server has filled all buffers by now, and waits
            with server.stopped():
                time.sleep(2.3)
                slow.socket.settimeout(0.2)
                try:
                    while True:
                        slow.received += slow.socket.recv(1 << 20)
                except TimeoutError:
                    slow.socket.settimeout(20)
            line = slow.read_line(60)
            assert isinstance(line, bytes) and line.endswith(b"}\n")


def test_a_client_behind_a_full_window_is_closed_and_its_wait_cancelled():
    """200,000 bytes behind a blocked request hide the end of input; the server closes early."""
    with Server("--read-timeout", "1") as server:
        with Client(server) as holder, Client(server) as gone, Client(server) as next_one:
            holder.acquire("blocked", "0 1000")
            token = gone.acquire("held", "0 1000")
            assert token
            gone.send(request("l", "blocked", "900"))
            gone.send_until_blocked(request("l", "blocked", "10") * 14000, seconds=0.5)
            gone.socket.close()
            assert next_one.call("l", "held", "15").startswith("ok ")
            assert next_one.stats()["locks"][0]["waiters"] == 0


def test_a_moderate_backlog_behind_a_blocked_request_is_kept():
    with Server("--read-timeout", "1") as server:
        with Client(server) as holder, Client(server) as patient:
            token = holder.acquire("key", "0 1000")
            patient.send(request("l", "key", "900") + request("ping") * 5000)
            time.sleep(3)
            assert holder.call("r", "key", token) == "ok"
            assert patient.read_line().startswith(b"ok ")
            assert [patient.read_line() for _ in range(5000)] == [b"ok\n"] * 5000


def enter(server):
    """Returns a connection that the server serves, as soon as it has a free slot."""
    def served():
        client = Client(server)
        if client.call("ping") == "ok":
            return client
        client.close()
        return None

    return eventually(served)


@pytest.mark.parametrize("options", [["--max-connections", "1"],
                                     ["--max-connections-per-ip", "1"]])
def test_a_connection_closed_by_the_server_does_not_count(options):
    """The connection lingers for up to two seconds, but its slot is free at once."""
    with Server(*options) as server:
        for _ in range(20):
            with enter(server) as ended:
                ended.send(LONG + b"\n")
                assert ended.read_line() == b"error\n"
                assert ended.read_line() == CLOSED
                with Client(server) as following:
                    assert following.call("ping") == "ok"
                    assert following.stats()["connections"] == 1


def test_the_oldest_lingering_connections_make_room():
    """Above the limit of lingering connections the server closes the oldest ones."""
    with Server("--threads", "1") as server, Client(server) as bystander:
        ended = []
        for _ in range(1500):
            client = Client(server)
            client.send(LONG + b"\n")
            ended.append(client)
        for client in ended:
            assert client.read_line() in (b"error\n", CLOSED, RESET)
        assert bystander.call("ping") == "ok"
        assert bystander.stats()["connections"] == 1
        for client in ended:
            client.close()


@pytest.mark.parametrize("rest", [b"", b"ping\n"], ids=["between requests", "amid one"])
def test_the_read_timeout_runs_again_after_a_pause(rest):
    """More than 64 KiB behind a waiting request pause reading; then the server serves all of it."""
    padded = b"ping\n" + b"x" * 250 + b"\n" + b"y" * 250 + b"\n"
    with Server("--read-timeout", "2", "--threads", "1") as server:
        with Client(server) as holder, Client(server) as client:
            holder.acquire("key", "0 600")
            client.send(request("l", "key", "1"))
            time.sleep(0.1)
            client.send(padded * 132 + rest)
            assert client.read_line() == b"timeout\n"
            assert {client.read_line() for _ in range(132)} == {b"ok\n"}
            assert client.read_line(12) == b"error\n"
            assert client.read_line() == CLOSED


@pytest.mark.parametrize("ended", [True, False])
def test_a_long_incomplete_request_behind_a_pause_is_received_or_ends(ended):
    """More than 64 KiB behind a waiting request, of which 60,000 belong to one line."""
    line = b"x" * 60000
    with Server("--read-timeout", "2") as server, Client(server) as holder:
        token = holder.acquire("key", "0 600")
        client = Client(server)
        client.send(request("l", "key", "60") + request("ping") * 1000 + b"auth\n_\n" + line)
        eventually(lambda: holder.stats()["locks"][0]["waiters"] == 1)
        time.sleep(0.2)  # until reading is paused
        if ended:
            client.fin()
        else:
            client.send(b"\n" + request("ping"))
        if ended:
            assert client.read_line() in (CLOSED, RESET)
        assert holder.call("r", "key", token) == "ok"
        if not ended:
            assert client.read_line().startswith(b"ok ")
            assert {client.read_line() for _ in range(1000)} == {b"ok\n"}
            assert client.read_line() != SILENCE
        client.close()
        eventually(lambda: holder.stats()["connections"] == 1)


def test_pending_stats_are_served_while_reading_is_paused():
    """A client that has closed meanwhile is no longer counted, and does not delay the exit."""
    options = ["--max-locks", "100000", "--read-timeout", "3", "--write-timeout", "2",
               "--shutdown-timeout", "0"]
    with Server(*options) as server, Client(server) as holder:
        for start in range(0, 20000, 1000):
            holder.send(b"".join(request("l", f"{'k' * 200}-{i}", "0 900")
                                 for i in range(start, start + 1000)))
            assert all(holder.read_line().startswith(b"ok ") for _ in range(1000))
        slow = [Client(server) for _ in range(11)]
        for client in slow:
            client.send(request("stats"))
        time.sleep(0.5)
        gone = [Client(server) for _ in range(10)]
        for client in gone:
            client.send_until_blocked(request("stats") + request("ping") * 12000, seconds=0.3)
            client.close()
        with Client(server) as patient:
            patient.send(request("stats") + request("ping") * 12000)
            line = patient.read_line(60)
            assert isinstance(line, bytes) and line.startswith(b"ok {")
            assert [patient.read_line() for _ in range(12000)] == [b"ok\n"] * 12000
            eventually(lambda: patient.stats()["connections"] == 2, seconds=60)
        for client in slow:
            client.close()
        holder.close()
        server.terminate()
        assert server.wait(20) == 0
