"""io_uring errors: no wake-up is lost, no worker spins or aborts, and no reply is misplaced."""

import errno
import os
import time
from pathlib import Path

import pytest
from crowd import Crowd
from fault_test import raise_descriptor_limit, record
from lib.process import cpu_ns, descriptor_count
from lib.server import Server
from lib.wire_client import CLOSED, RESET, Client, eventually, request, settle
from ring_faults import FOR_EVER, OP_MSG_RING, RingFaults
from test_unix_socket import UnixServer

BUFFERS = 512
SECOND_NS = 10**9
SECONDS = 10  # for a reply that does not depend on a timeout


@pytest.fixture
def faults(tmp_path):
    return RingFaults(tmp_path)


def logged(server, text):
    return [line for line in server.log if text in line]


def wait_logged(server, text, count=1):
    """Waits for `count` lines with the text, and returns all of them."""
    eventually(lambda: len(logged(server, text)) >= count)
    return logged(server, text)


def waiters(client):
    return sum(lock["waiters"] for lock in client.stats()["locks"])


# ---- messages to other workers ----

@pytest.fixture
def two_workers(faults, tmp_path):
    """The first worker accepts, and hands every second connection to the other one."""
    with UnixServer(tmp_path / "socket", "--threads", "2",
                    environment=faults.environment) as server:
        yield server


def test_the_server_repeats_a_failed_wake_up(faults, two_workers):
    """A grant reaches a client of the other worker, although the first wake-ups fail."""
    with Client(two_workers) as first, Client(two_workers) as second:
        assert first.call("ping") == second.call("ping") == "ok"
        holder, waiter = first, second
        token = holder.acquire("key")
        for _ in range(20):
            waiter.send(request("l", "key", "600"))
            time.sleep(0.01)
            faults.set(spoil_opcode=OP_MSG_RING, spoil_count=3)
            holder.send(request("r", "key", token))
            assert holder.read_line(SECONDS) == b"ok\n"
            reply = waiter.read_line(SECONDS)
            assert reply.startswith(b"ok "), f"the waiter received {reply}"
            token = reply.split()[1].decode()
            holder, waiter = waiter, holder
        assert faults.spoiled >= 20


def test_persistent_wake_up_failures_cost_little(faults, two_workers):
    with Client(two_workers) as first, Client(two_workers) as second:
        token = first.acquire("key")
        second.send(request("l", "key", "600"))
        time.sleep(0.1)
        faults.set(spoil_opcode=OP_MSG_RING, spoil_count=FOR_EVER)
        before_ns = cpu_ns(two_workers)
        assert first.call("r", "key", token) == "ok"
        time.sleep(2)
        spoiled, used_ns = faults.spoiled, cpu_ns(two_workers) - before_ns
        faults.set(spoil_count=0)
        assert second.read_line(SECONDS).startswith(b"ok ")
    record("2 s of failed wake-ups", attempts=spoiled, cpu=f"{used_ns / 1e6:.0f} ms")
    assert 10 < spoiled < 3000
    assert used_ns < SECOND_NS


def test_each_worker_drains_after_a_failed_wake_up(faults, two_workers):
    with Client(two_workers) as first, Client(two_workers) as second:
        for number, client in enumerate((first, second)):
            assert client.acquire(f"key-{number}")
        faults.set(spoil_opcode=OP_MSG_RING, spoil_count=3)
        two_workers.terminate()
        eventually(lambda: faults.spoiled == 3, SECONDS)
        for client in (first, second):
            eventually(lambda client=client: client.call("ping") == "error_draining")
    assert two_workers.wait() == 0


def test_the_server_repeats_the_last_message_of_a_drained_worker(faults, two_workers):
    """The first worker ends after the other one's message that it has finished."""
    clients = [Client(two_workers) for _ in range(2)]
    tokens = [client.acquire(f"key-{number}") for number, client in enumerate(clients)]
    two_workers.terminate()
    for number, client in enumerate(clients):
        assert client.call("n", f"key-{number}", tokens[number]) == "ok 33"
    before = descriptor_count(two_workers)
    clients[0].close()
    eventually(lambda: descriptor_count(two_workers) < before)
    time.sleep(0.2)
    faults.set(spoil_opcode=OP_MSG_RING, spoil_count=3)
    clients[1].close()
    assert two_workers.wait() == 0
    assert faults.spoiled == 3


def test_a_worker_serves_a_connection_that_it_cannot_hand_over(faults, two_workers):
    faults.set(spoil_opcode=OP_MSG_RING, spoil_count=FOR_EVER)
    for _ in range(10):
        with Client(two_workers) as client:
            assert client.call("ping") == "ok"
    assert faults.spoiled >= 5


# ---- the fence file ----

def test_the_fence_file_is_opened_in_blocking_mode(tmp_path):
    """With O_NONBLOCK a write by the ring fails if the device must wait."""
    path = tmp_path / "fences"
    with Server("--fence-state-file", str(path)) as server:
        folder = Path(f"/proc/{server.pid}")
        number = next(name for name in os.listdir(folder / "fd")
                      if os.readlink(folder / "fd" / name) == str(path))
        text = (folder / "fdinfo" / number).read_text(encoding="ascii")
    flags = int(text.split("flags:")[1].split()[0], 8)
    assert flags & os.O_ACCMODE == os.O_RDWR
    assert not flags & os.O_NONBLOCK


# ---- system calls that fail ----

@pytest.mark.parametrize("error", [errno.EINTR, errno.EBUSY, errno.EAGAIN, errno.ENOMEM,
                                   errno.EINVAL])
def test_the_server_survives_occasional_failed_turns(faults, error):
    with Server("--threads", "1", environment=faults.environment) as server:
        faults.set(turn_error=-error, turn_every=3, turn_count=FOR_EVER)
        with Client(server) as client:
            for i in range(100):
                token = client.acquire(f"key-{i}")
                assert client.call("r", f"key-{i}", token) == "ok"
        settle(server)
        if error in (errno.ENOMEM, errno.EINVAL):
            assert os.strerror(error) in wait_logged(server, "io_uring call failed")[0]
        else:
            assert not logged(server, "io_uring call failed")
        assert faults.failed > 50
        faults.set(turn_count=0)
        server.terminate()
        assert server.wait() == 0


def test_the_server_does_not_spin_while_all_turns_fail(faults):
    with Server("--threads", "1", environment=faults.environment) as server:
        with Client(server) as client:
            assert client.call("ping") == "ok"
            faults.set(turn_error=-errno.ENOMEM, turn_count=FOR_EVER)
            client.send(request("ping"))
            before_ns = cpu_ns(server)
            time.sleep(2.5)
            failed, used_ns = faults.failed, cpu_ns(server) - before_ns
            faults.set(turn_count=0)
            assert client.read_line() == b"ok\n"
        lines = wait_logged(server, "io_uring call failed")
        record("2.5 s of ENOMEM", attempts=failed, cpu=f"{used_ns / 1e6:.0f} ms",
               lines=len(lines))
    assert failed < 1000
    assert used_ns < SECOND_NS
    assert 1 <= len(lines) <= 4


def test_the_server_repeats_submissions_that_fail_within_a_turn(faults):
    """3,000 replies in a turn, for a queue of 2,048, while the kernel refuses submissions."""
    count = 3000
    raise_descriptor_limit()
    with Server("--threads", "1", environment=faults.environment) as server:
        with Client(server) as holder, Crowd(server) as crowd:
            token = holder.acquire("key", "0 600")
            crowd.do("connect", count)
            crowd.do("send", request("l", "key", "600").decode())
            eventually(lambda: waiters(holder) == count)
            faults.set(submit_error=-errno.ENOMEM, submit_count=1100)
            server.terminate()
            assert crowd.count_words("answers", 1, 60) == {"error_draining": count}
            assert holder.call("r", "key", token) == "ok"
        assert server.wait() == 0
        assert faults.failed == 1100
        assert logged(server, "io_uring call failed")


# ---- dropped completions ----

def drop(faults, clients, turns=1):
    """Drops the completions of `turns` turns that requests of the clients cause."""
    before = faults.dropped
    faults.set(drop_count=turns)
    for client in clients:
        client.send(request("ping"))
    eventually(lambda: faults.drop_count == 0 and faults.dropped > before)


def test_dropped_completions_close_all_connections_and_nothing_else(faults, tmp_path):
    with Server("--threads", "1", "--fence-state-file", str(tmp_path / "fences"),
                environment=faults.environment) as server:
        with Client(server) as other:
            assert other.call("ping") == "ok"
        settle(server)
        descriptors = descriptor_count(server)
        for i in range(5):
            holder, waiter, idle = clients = [Client(server) for _ in range(3)]
            token = holder.acquire(f"key-{i}", "0 600")
            waiter.send(request("l", f"key-{i}", "600"))
            assert idle.call("ping") == "ok"
            drop(faults, [holder])
            for client in clients:
                # No client receives a reply that could belong to another request.
                assert client.read_line(SECONDS) in (CLOSED, RESET)
            with Client(server) as fresh:
                # The holder's key is free.
                token = fresh.acquire(f"key-{i}", "10")
                assert fresh.call("r", f"key-{i}", token) == "ok"
            for client in clients:
                client.close()
        settle(server)
        eventually(lambda: descriptor_count(server) <= descriptors)
        assert len(wait_logged(server, "completions dropped", 5)) == 5
        server.terminate()
        assert server.wait() == 0


def test_after_dropped_completions_leases_and_timeouts_end_in_time(faults):
    """The dropped completions can include the ring's alarm."""
    with Server("--threads", "1", environment=faults.environment) as server:
        with Client(server) as client:
            client.acquire("key", "0 1")  # the alarm is set
            time.sleep(0.1)
            faults.set(drop_count=1)  # the next one: the alarm, or the end of the lease
            eventually(lambda: faults.drop_count == 0)
            assert client.read_line(SECONDS) in (CLOSED, RESET)
        for _ in range(3):
            with Client(server) as holder, Client(server) as waiter:
                holder.acquire("key", "0 1")
                waiter.send(request("l", "key", "30"))
                assert waiter.read_line(SECONDS).startswith(b"ok ")
                waiter.send(request("l", "other", "0 1"))
                assert waiter.read_line(SECONDS).startswith(b"ok ")


def test_dropped_completions_cost_no_receive_buffer(faults):
    raise_descriptor_limit()
    with Server("--threads", "1", environment=faults.environment) as server:
        while faults.dropped < 3 * BUFFERS:
            with Crowd(server) as crowd:
                crowd.do("connect", BUFFERS)
                crowd.do("send", request("ping").decode())
                assert crowd.count_words("answers", 1, 30) == {"ok": BUFFERS}
                with server.stopped():
                    crowd.do("send", request("ping").decode())
                    faults.set(drop_count=1)
                assert crowd.count_words("answers", 1, 30).get("(silent)", 0) == 0
        with Crowd(server) as crowd:
            crowd.do("connect", BUFFERS)
            crowd.do("send", request("ping").decode())
            assert crowd.count_words("answers", 1, 30) == {"ok": BUFFERS}


@pytest.mark.parametrize("count", [1, 100])
def test_the_server_survives_dropped_completions_of_accept_and_signals(faults, count):
    """The next completion is that of an accept; if it is dropped, its client gets no reply."""
    with Server("--threads", "1", environment=faults.environment) as server:
        for _ in range(count):
            faults.set(drop_count=1)
            with Client(server) as client:
                eventually(lambda: faults.drop_count == 0)
                assert client.read_line(0.01) != b"ok\n"
            with Client(server) as client:
                assert client.call("ping") == "ok"
        # The completion of the signal is dropped.
        faults.set(drop_count=1)
        server.terminate()
        assert server.wait() == 0


def test_dropped_completions_do_not_stop_draining(faults):
    with Server("--threads", "2", environment=faults.environment) as server:
        clients = [Client(server) for _ in range(20)]
        for number, client in enumerate(clients):
            client.acquire(f"key-{number}", "0 600")
        server.terminate()
        eventually(lambda: clients[0].call("ping") == "error_draining")
        faults.set(drop_count=10)
        for client in clients:
            client.send(request("ping") * 10)
        for client in clients:
            client.close()
        assert server.wait() == 0


# ---- receive buffers ----

def test_a_turn_does_not_repeat_all_receives_without_a_buffer(faults):
    """Connections arrive at once, each with more requests than a buffer holds."""
    count = 4000
    requests = 250  # 32 KiB
    raise_descriptor_limit()
    with Server("--threads", "1", environment=faults.environment) as server:
        with Crowd(server) as crowd:
            with server.stopped():
                crowd.do("connect", count)
                crowd.do("send", request("ping", "k" * 120).decode(), requests)
                before, turns = faults.receives, faults.turns
            words = crowd.count_words("answers", requests, 60)
            receives, turns = faults.receives - before, faults.turns - turns
        record(f"{count} connections at once, {BUFFERS} buffers", receives=receives, turns=turns)
        assert words == {"ok": requests * count}
        # Each connection starts one receive, not counting the repetitions.
        assert receives <= count + BUFFERS * turns
