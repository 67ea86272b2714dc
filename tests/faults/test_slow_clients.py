"""Clients that send slowly or never read do not disturb others."""

from crowd import Crowd
from fault_test import MEMORY_FACTOR, FaultTest
from lib.process import resident_kib
from lib.wire_client import eventually, request

FIRST_USE_KIB = 6000  # receive buffers, which occupy no memory before their first use


def test_a_byte_a_second_on_5000_connections_causes_no_delays_and_times_out():
    def fault(count=5000, text="x" * 6):
        with Crowd(test.server) as crowd:
            crowd.do("connect", count)
            crowd.do("send", "l")
            crowd.do("trickle", text)
            words = crowd.count_words("answers", 2, 20)
            assert words == {"error": count, "(closed)": count}, words
        return {"connections": count}

    # The timeout is for a line; single bytes do not extend it.
    with FaultTest("--read-timeout", "3") as test:
        test.warm_up(lambda: fault(5000, "x" * 4))
        test.measure("a byte a second, 5,000 connections", fault)


def test_a_request_at_a_byte_a_second_is_served():
    with FaultTest() as test, Crowd(test.server) as crowd:
        crowd.do("connect", 1000)
        crowd.do("trickle", "l\nk\n0\n")
        words = crowd.count_words("answers", 1, 20)
        assert words == {"ok": 1, "timeout": 999}, words


def test_unread_stats_of_20000_keys_cause_no_delays_and_cost_no_memory():
    def fault():
        with test.client() as holder:
            holder.send(b"".join(request("l", f"key-{number}", "0 600")
                                 for number in range(20000)))
            assert all(holder.read_line().startswith(b"ok ") for _ in range(20000))
            before_kib = resident_kib(test.server)
            with Crowd(test.server) as crowd:
                crowd.do("connect", 20)
                crowd.do("send", "stats\n_\n\n", 500)
                highest_kib = before_kib

                def all_closed():
                    nonlocal highest_kib
                    highest_kib = max(highest_kib, resident_kib(test.server))
                    return connections(test) < 15
                eventually(all_closed, seconds=60)
            # A stats reply has about 2 MB; the pending output is little more than 64 KiB.
            assert highest_kib - before_kib < FIRST_USE_KIB + 20 * 400 * MEMORY_FACTOR
        return {"grew meanwhile by": f"{highest_kib - before_kib} KiB"}

    with FaultTest("--write-timeout", "2", "--max-locks", "30000") as test:
        test.warm_up(fault)
        test.measure("20 times 500 stats of 20,000 keys never read", fault)


def connections(test):
    """Returns the number of connections, from stats on a new connection."""
    with test.client() as client:
        return int(client.call("stats")[len('ok {"connections":'):].split(",")[0])


def test_unread_replies_of_pipelined_requests_cause_no_delays_and_cost_no_memory():
    def fault(count=10):
        before_kib = resident_kib(test.server)
        highest_kib = before_kib
        with Crowd(test.server) as crowd, test.client() as holder:
            holder.acquire("k", "0 600")
            crowd.do("connect", count, 4096)
            # The replies are longer than these requests, and exceed the kernel's buffers.
            for _ in range(60):
                crowd.do("send", "l\nk\n0\n", 20000)
                highest_kib = max(highest_kib, resident_kib(test.server))
            eventually(lambda: connections(test) < count)
        assert highest_kib - before_kib < FIRST_USE_KIB + count * 400 * MEMORY_FACTOR
        return {"grew meanwhile by": f"{highest_kib - before_kib} KiB"}

    with FaultTest("--write-timeout", "2") as test:
        test.warm_up(fault)
        test.measure("10 connections of tries never read", fault)
