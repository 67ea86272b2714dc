"""Loads that one client prepares and releases at once lose no reply and leave nothing behind.

tests/attacks has the programs. perf/compare measures larger ones on an idle machine.
"""

import pytest
from fault_test import TIME_FACTOR, WITNESS_DIRECTORY, FaultTest, raise_descriptor_limit, record
from lib.attack import attack
from lib.certificates import Authority
from lib.process import SANITIZED, descriptor_count
from lib.server import Server
from lib.wire_client import eventually

PROGRAM = WITNESS_DIRECTORY.parent / "attacks" / "attack"
# A sanitized build is slow: two workers use all code.
THREADS = pytest.mark.parametrize("threads", [2] if SANITIZED else [1, 2, 8])
WAIT_SECONDS = 2 * TIME_FACTOR
READ_TIMEOUT = 4 * TIME_FACTOR
LOCKS = "--max-locks", "200000"

# The settings of each attack, and the replies that it must check; None: it is enough that each
# reply is correct.
ATTACKS = {
    "backlogs that end by timeouts": ("backlogs", {"connections": 100}, None),
    "backlogs that end by grants": ("backlogs", {"connections": 100, "kind": "grants"}, None),
    "claims of slots": ("claims", {"connections": 50, "claims": 100000, "kind": "slots"}, 0),
    "claims of keys": ("claims", {"connections": 50, "claims": 50000, "kind": "keys"}, 0),
    "stats": ("stats", {"connections": 12, "silent": 4, "claims": 20000}, 20008),
    "idle connections that close": ("closes", {"connections": 2000}, 0),
    "blocked connections that close": ("closes", {"connections": 2000, "kind": "blocked"}, 0),
    "new connections": ("connects", {"connections": 2000, "stop": 1}, 2000),
    # Each lease is acquired twice. 20 leases have a waiter.
    "expiries": ("expiries", {"connections": 2000, "claims": 20000, "stop": 1}, 42020),
}


def run(server, name, **settings):
    """Returns the figures of a flawless attack."""
    for _ in range(3):
        figures = attack(PROGRAM, server, name, **settings)
        # On a busy machine the waits may end before everything is prepared.
        if not figures["problem"].startswith("preparation"):
            break
        settings["wait_s"] *= 2
    assert figures["problem"] == "", figures
    return figures


def shown(figures):
    """Returns the figures to record."""
    others = figures["others"]
    shown_figures = {"replies": figures["replies"],
                     "worst of others": f"{others['max_us'] / 1000:.1f} ms",
                     "server's CPU meanwhile": f"{others['cpu_max_us'] / 1000:.1f} ms"}
    if figures["late_max_ms"]:
        shown_figures["late"] = f"{figures['late_max_ms']:.1f} ms"
    return shown_figures


@THREADS
@pytest.mark.parametrize("title", ATTACKS)
def test_an_attack_loses_no_reply_and_leaves_nothing(title, threads):
    name, settings, replies = ATTACKS[title]

    def fault():
        figures = run(test.server, name, wait_s=WAIT_SECONDS, **settings)
        assert replies in (None, figures["replies"]), figures
        return shown(figures)

    with FaultTest("--threads", str(threads), *LOCKS) as test:
        test.warm_up(fault)
        test.measure(f"{title}, {threads} threads", fault, memory_kib=8192)


@THREADS
def test_idle_connections_whose_time_ends_together_get_an_error_each(threads, count=1000):
    def fault():
        figures = run(test.server, "timeouts", connections=count, wait_s=READ_TIMEOUT, stop=1)
        assert figures["replies"] == figures["closed"] == count, figures
        return shown(figures)

    with FaultTest("--threads", str(threads), "--read-timeout", str(READ_TIMEOUT)) as test:
        test.warm_up(fault)
        test.measure(f"read timeouts, {threads} threads", fault, memory_kib=8192)


@THREADS
def test_holders_renew_while_a_drain_removes_100000_waits(threads, claims=100000):
    with Server("--threads", str(threads), *LOCKS) as server:
        figures = run(server, "drain", claims=claims)
        assert figures["replies"] == 2 * claims, figures
        assert figures["closed"] == 1, figures
        assert server.wait() == 0, server.log
    record(f"drain of waits, {threads} threads", **shown(figures))


@THREADS
def test_incomplete_handshakes_do_not_stop_clients_of_tls(threads, tmp_path, count=200):
    raise_descriptor_limit()
    pair = Authority(tmp_path).issue("server")
    with Server("--threads", str(threads), "--tls-cert", str(pair.certificate), "--tls-key",
                str(pair.key)) as server:
        before = descriptor_count(server)
        figures = run(server, "handshakes", connections=count)
        assert figures["replies"] == count, figures
        eventually(lambda: descriptor_count(server) == before)
    record(f"handshakes, {threads} threads", **shown(figures))
