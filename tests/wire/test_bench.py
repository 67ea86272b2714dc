"""dflockd-bench in short runs: requests, counts, checks and reports. No test measures speed."""

import csv
import io
import json
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from lib.certificates import Authority
from lib.original_server import OriginalServer, original_python_or_skip
from lib.server import BINARY, ROOT, Server, unused_address
from lib.wire_client import Client, eventually
from startup import assert_refused, clean_environment

BENCH = BINARY.parent / "dflockd-bench"
CHEATING_SERVER = ROOT / "tests" / "faults" / "cheating_server.py"
RUN_SECONDS = 60
WORKERS, ROUNDS = 4, 30
SHORT = ("--workers", str(WORKERS), "--rounds", str(ROUNDS))
LATENCIES = {"mean", "p50", "p90", "p99", "p99_9", "p99_99", "max"}
FIELDS = {
    "rounds", "requests", "seconds", "rounds_per_s", "requests_per_s", "latency_us", "round_us",
    "readers", "writers", "kinds", "errors", "failed", "lost", "connects_failed", "unanswered",
    "late", "skipped", "interrupted", "server_cpu_us_per_request", "server_rss_bytes",
    "own_cpu_share", "check"}

# The requests of each load in a successful round.
REQUESTS = {
    "lock": {"acquire": 1, "release": 1},
    "semaphore": {"semaphore_acquire": 1, "semaphore_release": 1},
    "try": {"try": 1, "release": 1},
    "two-phase": {"enqueue": 1, "wait": 1, "release": 1},
    "ping": {"ping": 1},
    "shared": {"shared_acquire": 1, "shared_release": 1},
    "shared-two-phase": {"shared_enqueue": 1, "shared_wait": 1, "shared_release": 1},
}


def bench(*arguments, stdout=subprocess.PIPE, environment=None):
    """Runs the bench until it ends."""
    return subprocess.run([str(BENCH), *map(str, arguments)], stdout=stdout, text=True,
                          stderr=subprocess.PIPE, timeout=RUN_SECONDS, check=False,
                          stdin=subprocess.DEVNULL, env=clean_environment(environment))


def address(server):
    return f"{server.host}:{server.port}"


def load(server, *arguments, status=0):
    """Returns the JSON report of a load."""
    done = bench("--servers", address(server), "--quiet", "--json", *arguments)
    assert done.returncode == status, done
    result = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1
    assert set(result) == FIELDS
    assert set(result["latency_us"]) == set(result["round_us"]) == LATENCIES
    assert sum(kind["count"] for kind in result["kinds"].values()) == result["requests"]
    return result


def counts(result):
    return {name: kind["count"] for name, kind in result["kinds"].items()}


@contextmanager
def cheating_server(cheat):
    """Yields a server of CHEATING_SERVER."""
    process = subprocess.Popen([sys.executable, str(CHEATING_SERVER), cheat],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        to = "127.0.0.1", int(process.stdout.readline())
        yield SimpleNamespace(host=to[0], port=to[1],
                              connect=lambda timeout=None: socket.create_connection(to, timeout))
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def server():
    with Server("--threads", "1", "--max-locks", "100000", "--gc-max-idle", "0") as running:
        yield running


def test_a_server_address_can_be_a_path(tmp_path):
    path = tmp_path / "socket"
    with Server("--unix-socket", str(path)) as server:
        done = bench("--servers", f"unix:{path}", "--quiet", "--json", *SHORT)
        assert done.returncode == 0, done
        assert json.loads(done.stdout)["rounds"] == WORKERS * ROUNDS
        assert_clean(server)
    for wrong in ("unix:", "unix:" + "x" * 108):
        assert_refused(bench("--servers", wrong), "--servers")


def assert_clean(server):
    """Checks that no lock is held or waited for."""
    with Client(server) as client:
        stats = client.stats()
    assert stats["locks"] == [] and stats["semaphores"] == []


# ---- loads ----


@pytest.mark.parametrize("name", REQUESTS)
def test_every_load_makes_its_requests(server, name):
    result = load(server, *SHORT, "--load", name)
    assert result["rounds"] == WORKERS * ROUNDS
    assert counts(result) == {kind: number * WORKERS * ROUNDS
                              for kind, number in REQUESTS[name].items()}
    assert result["errors"] == {} and result["lost"] == 0 and result["check"] is None


def test_the_renew_load_acquires_once(server):
    result = load(server, *SHORT, "--load", "renew")
    assert counts(result) == {"acquire": WORKERS, "renew": WORKERS * ROUNDS}
    assert result["rounds"] == WORKERS * ROUNDS and result["errors"] == {}


def test_the_mix_follows_the_weights(server):
    result = load(server, *SHORT, "--rounds", 500, "--load", "lock=8,ping=2")
    seen = counts(result)
    assert set(seen) == {"acquire", "release", "ping"}
    assert seen["acquire"] == seen["release"] and seen["acquire"] + seen["ping"] == 2000
    assert 250 < seen["ping"] < 550  # a fifth of 2000 on average


@pytest.mark.parametrize("weights, kinds", [
    ("shared=0.75", {"shared_acquire": 0.75, "acquire": 0.25}),
    ("shared=3,lock", {"shared_acquire": 0.75, "acquire": 0.25}),
    ("shared=1.5,lock=0.5", {"shared_acquire": 0.75, "acquire": 0.25}),
    ("ping=0.250,try=0.5", {"ping": 0.25, "try": 0.5, "acquire": 0.25}),
    ("ping=0.25,lock=0.5", {"ping": 0.25, "acquire": 0.75})])
def test_weights_may_be_fractions_and_lock_gets_the_rest(server, weights, kinds):
    result = load(server, *SHORT, "--rounds", 500, "--load", weights, "--seed", 1)
    seen = counts(result)
    for kind, share in kinds.items():
        assert seen[kind] == pytest.approx(2000 * share, abs=150)
    assert sum(seen[kind] for kind in kinds) == 2000


def test_a_seed_repeats_the_random_choices(server):
    first, second = (counts(load(server, *SHORT, "--load", "lock,ping", "--seed", 7))
                     for _ in range(2))
    assert first == second


@pytest.mark.parametrize("keys", ["own", "shared", "uniform:3", "zipf:3", "zipf:100:1.2"])
@pytest.mark.parametrize("name", ["lock", "two-phase"])
def test_every_distribution_of_keys_gets_its_grants(server, keys, name):
    result = load(server, *SHORT, "--keys", keys, "--load", name)
    assert result["rounds"] == WORKERS * ROUNDS and result["errors"] == {}


def test_a_try_on_a_held_key_times_out(server):
    with Client(server) as client:
        client.acquire("taken")
        result = load(server, *SHORT, "--load", "try", "--key", "taken", "--keys", "shared")
    assert result["errors"] == {"timeout": WORKERS * ROUNDS}
    assert counts(result) == {"try": WORKERS * ROUNDS}


def test_more_workers_than_slots_take_turns(server):
    result = load(server, *SHORT, "--load", "semaphore", "--keys", "shared", "--limit", 2)
    assert result["rounds"] == WORKERS * ROUNDS and result["errors"] == {}


def test_errors_are_counted_by_kind():
    with Server("--max-locks", "1") as server:
        with Client(server) as client:
            client.acquire("only")
            result = load(server, *SHORT, status=4)
            done = bench("--servers", address(server), *SHORT, "--quiet")
    assert result["errors"] == {"error_max_locks": WORKERS * ROUNDS}
    assert result["failed"] == WORKERS * ROUNDS
    assert done.stderr == ("dflockd-bench: the server refused new keys; raise its --max-locks or "
                           "use fewer keys\n")


def test_a_round_includes_the_hold_time(server):
    result = load(server, "--workers", 1, "--rounds", 5, "--hold", 20000)
    assert result["round_us"]["p50"] > 20000 and result["rounds"] == 5


def sides(result):
    """Returns the grants and refused rounds of readers and of writers."""
    return [(side["grants"], side["refused"]) for side in (result["readers"], result["writers"])]


MIXED = "--load", "shared,shared-two-phase,lock,two-phase,try", "--keys", "shared", "--seed", 1


def test_readers_and_writers_are_counted_apart(server):
    result = load(server, *SHORT, *MIXED)
    seen = counts(result)
    (readers, readers_refused), (writers, writers_refused) = sides(result)
    assert readers == seen["shared_release"] == seen["shared_acquire"] + seen["shared_enqueue"]
    assert writers == seen["release"] and readers_refused == 0
    assert writers_refused == result["errors"].get("timeout", 0)
    assert readers + writers + writers_refused == WORKERS * ROUNDS
    assert set(result["readers"]["grant_us"]) == set(result["writers"]["grant_us"]) == LATENCIES
    other = load(server, *SHORT)
    assert other["readers"] is None and other["writers"] is None


def test_readers_share_a_key_that_others_hold_shared(server):
    with Client(server) as client:
        assert client.call("rl", "taken", "0 1000").startswith("ok ")
        # Without two-phase: no writer waits, so that readers do not wait behind it.
        result = load(server, *SHORT, "--keys", "shared", "--seed", 1, "--key", "taken",
                      "--timeout", 0, "--load", "shared=2,lock,try")
    (readers, readers_refused), (writers, writers_refused) = sides(result)
    assert readers_refused == writers == 0
    assert readers > 0 and writers_refused == result["errors"]["timeout"] > 0


def test_readers_and_writers_wait_for_a_writer(server):
    with Client(server) as client:
        client.acquire("taken", "0 1000")
        result = load(server, *SHORT, *MIXED, "--key", "taken", "--timeout", 0)
    (readers, readers_refused), (writers, writers_refused) = sides(result)
    assert readers == writers == 0 and readers_refused > 0 and writers_refused > 0
    assert result["errors"] == {"timeout": readers_refused + writers_refused}


def test_readers_keep_the_schedule_of_an_open_loop(server):
    result = load(server, *MIXED, "--rate", 200, "--duration", 1, "--warmup-seconds", 0, "--check")
    assert result["rounds"] + result["skipped"] == 200 and result["check"]["violations"] == 0


def test_the_bench_leaves_no_locks(server):
    load(server, *SHORT, "--load",
         "lock,semaphore,try,two-phase,renew,ping,shared,shared-two-phase")
    load(server, "--duration", 1, "--warmup-seconds", 0, "--keys", "shared", "--hold", 3000)
    assert_clean(server)


# ---- order of rounds ----


def test_each_round_can_use_a_new_connection(server):
    result = load(server, *SHORT, "--new-connection")
    assert result["rounds"] == WORKERS * ROUNDS and result["lost"] == 0
    assert counts(result) == {"acquire": WORKERS * ROUNDS, "release": WORKERS * ROUNDS}


@pytest.mark.parametrize("depth", [2, 30, 1000])
def test_rounds_can_be_pipelined(server, depth):
    rounds = depth * 3
    result = load(server, "--workers", 2, "--rounds", rounds, "--depth", depth)
    assert result["rounds"] == 2 * rounds and result["requests"] == 4 * rounds
    assert result["errors"] == {}


def test_pipelined_rounds_can_use_different_loads(server):
    result = load(server, *SHORT, "--depth", 10, "--load", "lock,ping,two-phase,semaphore,renew")
    assert result["rounds"] == WORKERS * ROUNDS and result["errors"] == {}


def test_workers_use_their_connections_in_turn(server):
    result = load(server, *SHORT, "--connections", 3)
    assert result["rounds"] == WORKERS * ROUNDS and result["errors"] == {}


def test_several_threads_share_the_workers(server):
    result = load(server, "--workers", 5, "--rounds", ROUNDS, "--threads", 3)
    assert result["rounds"] == 5 * ROUNDS and result["errors"] == {}


def test_the_warmup_is_not_counted(server):
    result = load(server, *SHORT, "--warmup", 10)
    assert result["rounds"] == WORKERS * ROUNDS


def test_a_ramp_starts_every_worker(server):
    result = load(server, *SHORT, "--ramp", 1)
    assert result["rounds"] == WORKERS * ROUNDS


def test_an_open_loop_starts_the_requested_number_of_rounds(server):
    result = load(server, "--rate", 200, "--duration", 1, "--warmup-seconds", 0)
    assert result["rounds"] + result["skipped"] == 200
    assert result["late"] <= 200


def test_the_bench_reports_rounds_that_could_not_start(server):
    # Each round holds for 0.2 s: one worker has time for five rounds, and a few that end later.
    result = load(server, "--rate", 100, "--workers", 1, "--hold", 200000, "--duration", 1,
                  "--warmup-seconds", 0)
    assert result["rounds"] <= 10 and result["rounds"] + result["skipped"] == 100
    assert result["late"] > 0
    # The time of a late round counts from its scheduled start.
    assert result["round_us"]["max"] > 400000


def test_idle_connections_and_held_keys_do_not_disturb_the_load(server):
    with Client(server) as client:
        seen = {}

        def poll():
            for _ in range(100):
                stats = client.stats()
                for name, value in (("connections", stats["connections"]),
                                    ("locks", len(stats["locks"]))):
                    seen[name] = max(seen.get(name, 0), value)
                time.sleep(0.02)

        poller = threading.Thread(target=poll)
        poller.start()
        load(server, "--duration", 1, "--warmup-seconds", 0, "--workers", 2, "--idle", 40,
             "--held", 700)
        poller.join()
    assert seen["connections"] >= 40 + 2 and seen["locks"] >= 700
    assert_clean(server)


def test_the_bench_reports_refused_held_keys():
    with Server("--max-locks", "10") as server:
        done = bench("--servers", address(server), "--held", 11, "--rounds", 1)
    assert_refused(done, "error_max_locks; raise the server's --max-locks", "held")


def test_the_bench_measures_the_server_process(server):
    result = load(server, *SHORT, "--rounds", 2000, "--server-pid", server.pid)
    assert result["server_cpu_us_per_request"] >= 0
    assert result["server_rss_bytes"] > 1 << 20


# ---- servers ----


def test_several_servers_share_the_workers():
    with Server("--debug") as one, Server("--debug") as other:
        done = bench("--servers", f"{address(one)}, {address(other)}", *SHORT, "--quiet", "--json")
        assert done.returncode == 0, done
        for server in (one, other):
            with Client(server) as client:
                assert len(client.stats()["idle_locks"]) == 2


UNSHARED = "this server does not support shared locks; leave out the shared loads"


@pytest.mark.parametrize("weights", ["shared", "shared=0.001", "ping,shared-two-phase"])
def test_a_server_without_shared_locks_is_refused(weights):
    with cheating_server("unshared") as server:
        done = bench("--servers", address(server), *SHORT, "--load", weights)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"dflockd-bench: {address(server)}: {UNSHARED}\n"
        assert bench("--servers", address(server), *SHORT, "--quiet").returncode == 0


def test_every_server_must_support_shared_locks(server):
    with cheating_server("unshared") as other:
        done = bench("--servers", f"{address(server)},{address(other)}", *SHORT, "--load", "shared")
    assert_refused(done, f"{address(other)}: {UNSHARED}")


def test_the_original_server_is_refused_for_shared_loads():
    with OriginalServer(original_python_or_skip()) as original:
        done = bench("--servers", address(original), *SHORT, "--load", "shared=0.9")
        assert_refused(done, f"{address(original)}: {UNSHARED}")


def test_the_test_for_shared_locks_leaves_nothing():
    with Server("--no-auto-release-on-disconnect", "--max-locks", "1") as server:
        result = load(server, *SHORT, "--load", "shared=0.5,try=0.5", "--keys", "shared",
                      "--key", "only", "--workers", 1)
        assert result["errors"] == {} and result["rounds"] == ROUNDS
        assert_clean(server)


def test_a_held_key_or_a_full_server_passes_the_test_for_shared_locks():
    with Server("--max-locks", "1") as server, Client(server) as client:
        client.acquire("taken")
        result = load(server, *SHORT, "--load", "shared", "--key", "taken", "--keys", "shared",
                      "--timeout", 0)
        assert result["errors"] == {"timeout": WORKERS * ROUNDS}
        result = load(server, *SHORT, "--load", "shared", status=4)
        assert result["errors"] == {"error_max_locks": WORKERS * ROUNDS}


def test_the_original_server_serves_the_load():
    with OriginalServer(original_python_or_skip()) as original:
        result = load(original, *SHORT, "--load", "lock,two-phase,renew", "--keys", "shared")
        assert result["rounds"] == WORKERS * ROUNDS and result["errors"] == {}


@pytest.mark.skipif(not shutil.which("redis-server"), reason="there is no redis-server")
def test_redis_serves_the_load(tmp_path):
    socket_address = f"{unused_address()}:6379"
    host, port = socket_address.split(":")
    process = subprocess.Popen(["redis-server", "--bind", host, "--port", port, "--save", "",
                                "--dir", str(tmp_path)], stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 20
        while bench("--servers", socket_address, "--protocol", "redis", "--workers", 1,
                    "--rounds", 1).returncode != 0:
            assert time.monotonic() < end
        for name in ("lock", "try"):
            done = bench("--servers", socket_address, "--protocol", "redis", *SHORT, "--json",
                         "--quiet", "--load", name)
            result = json.loads(done.stdout)
            assert result["errors"] == {} and counts(result)["release"] == WORKERS * ROUNDS
    finally:
        process.kill()
        process.wait(10)


@pytest.mark.parametrize("life", [(), ("--new-connection",)])
def test_the_bench_authenticates_first(tmp_path, life):
    secret = tmp_path / "secret"
    secret.write_text("open sesame\n")
    with Server("--auth-token-file", str(secret)) as server:
        result = load(server, *SHORT, *life, "--auth-token-file", secret, "--idle", 2, "--held", 2)
        assert result["rounds"] == WORKERS * ROUNDS and result["errors"] == {}
        for name in ("lock", "shared"):
            unauthenticated = load(server, *SHORT, "--load", name, status=2)
            assert set(unauthenticated["errors"]) == {"error_auth"}
            assert unauthenticated["errors"]["error_auth"] <= WORKERS
        secret.write_text("wrong\n")
        done = bench("--servers", address(server), *SHORT, "--auth-token-file", secret)
        assert_refused(done, "the server refused the secret: error_auth; check the secret of")


@pytest.mark.parametrize("length", [SHORT, ("--duration", 1000, "--reconnect", 1000),
                                    ("--rounds", 1000, "--threads", 3, "--warmup", 5)])
def test_the_first_error_auth_ends_the_load(tmp_path, length):
    secret = tmp_path / "secret"
    secret.write_text("open sesame\n")
    with Server("--auth-token-file", str(secret)) as server:
        done = bench("--servers", address(server), *length, "--quiet")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (f"dflockd-bench: {address(server)}: the server requires a secret; "
                               "give it with --auth-token-file\n")


def test_a_secret_that_the_server_does_not_use_is_named(server, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("open sesame\n")
    done = bench("--servers", address(server), *SHORT, "--auth-token-file", secret)
    assert_refused(done, "the server does not use a secret; leave out --auth-token-file")


@pytest.mark.parametrize("flag, own", [
    ("--port", "--servers"), ("--host", "--servers"), ("-c", "--workers"), ("-n", "--rounds"),
    ("-P", "--depth"), ("--clients=3", "--workers"), ("--worker", "--workers"),
    ("--shared", "--load shared or --shared-key"),
    ("--shared=0.9", "--load shared or --shared-key")])
def test_a_flag_of_redis_benchmark_names_ours(flag, own):
    assert_refused(bench(flag, 1), f"{flag.split('=')[0]}: unknown flag; did you mean {own}?")


@pytest.mark.parametrize("loads", [("shared=0.5", "lock=0.5"), ("lock", "lock")])
def test_a_repeated_load_is_refused(loads):
    assert_refused(bench(*(f"--load={load}" for load in loads)), "--load: given more than once")


def test_the_last_value_of_another_repeated_flag_counts(server):
    assert load(server, *SHORT, "--rounds", 2, "--load", "ping")["rounds"] == 2 * WORKERS


NEVER_MEET = "--load: readers and writers share no key"


@pytest.mark.parametrize("arguments, noted", [
    (("--load", "shared=0.9"), True), (("--load", "renew,shared-two-phase"), True),
    (("--load", "shared=0.9", "--quiet"), False),
    (("--load", "shared=0.9", "--keys", "shared"), False),
    (("--load", "shared"), False), (("--load", "shared,ping,semaphore"), False),
    (("--load", "lock"), False)])
def test_a_note_says_that_readers_never_meet_writers(server, arguments, noted):
    done = bench("--servers", address(server), *SHORT, *arguments)
    assert done.returncode == 0 and (NEVER_MEET in done.stderr) == noted, done


def test_a_missing_server_gives_one_clear_line():
    nowhere = f"{unused_address()}:6388"
    done = bench("--servers", nowhere, *SHORT)
    assert_refused(done, f"{nowhere}: cannot connect: Connection refused; check --servers")
    assert_refused(bench("--servers", nowhere, "--tls", "--tls-ca", "/nowhere"), "--tls-ca")


def test_a_server_that_serves_no_request_gives_one_clear_line(server, tmp_path):
    pair = Authority(tmp_path).issue("server")
    with Server("--tls-cert", str(pair.certificate), "--tls-key", str(pair.key)) as tls:
        done = bench("--servers", address(tls), *SHORT)
        assert (done.returncode, done.stdout) == (2, "")
        assert re.fullmatch(f"dflockd-bench: {address(tls)}: closed \\d+ connections without a "
                            "reply; the server may need --tls\n", done.stderr)
    done = bench("--servers", address(server), *SHORT, "--protocol", "redis", "--duration", 0.5,
                 "--quiet")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(f"dflockd-bench: {address(server)}: did not reply within \\d+\\.\\d s\n",
                        done.stderr)
    done = bench("--servers", address(server), *SHORT, "--tls")
    assert_refused(done, "TLS handshake failed: An unexpected TLS packet was received; the server "
                   "may not use TLS: leave out --tls")
    assert not done.stderr.endswith(".\n")


def kill_under_load(server):
    with Client(server) as client:
        eventually(lambda: client.stats()["connections"] > WORKERS)
    time.sleep(0.3)
    server.kill()


def test_a_server_that_is_killed_ends_the_load_with_status_2():
    with Server() as server:
        killer = threading.Thread(target=kill_under_load, args=(server,))
        killer.start()
        result = load(server, "--workers", WORKERS, "--duration", 200, "--warmup-seconds", 0,
                      "--reconnect", 0.5, status=2)
        killer.join()
    # The kernel closes the listener after the process, so that a worker may lose two connections.
    assert result["lost"] >= WORKERS and result["connects_failed"] >= WORKERS
    assert 0 < result["seconds"] < 200 and result["rounds"] > 0


def test_refused_connections_count_as_lost():
    with Server("--max-connections", "2") as server:
        load(server, "--workers", WORKERS, "--rounds", ROUNDS, status=2)


# ---- --check ----


@pytest.mark.parametrize("arguments", [
    ("--keys", "shared", "--load", "lock,two-phase,try"), ("--keys", "uniform:3"),
    ("--load", "renew,lock,semaphore,ping"), ("--depth", "5", "--load", "lock,two-phase"),
    ("--keys", "zipf:4", "--new-connection", "--load", "two-phase"),
    ("--keys", "shared", "--load", "semaphore", "--limit", "2", "--hold", "500"),
    ("--keys", "shared", "--load", "shared=0.5", "--hold", "500"),
    ("--keys", "shared", "--load", "shared-two-phase=0.4,shared=0.2,two-phase=0.2,try=0.1"),
    ("--keys", "uniform:2", "--load", "shared=0.7,two-phase=0.2", "--new-connection"),
    ("--load", "shared=0.5,renew=0.2", "--depth", "5"),
    ("--keys", "shared", "--hold", "1500000", "--lease", "1", "--rounds", "1")], ids=" ".join)
def test_check_accepts_a_correct_server(server, arguments):
    done = bench("--servers", address(server), "--quiet", "--json", "--check", *SHORT, *arguments)
    late = "1500000" in arguments  # the releases come after the leases
    assert done.returncode == (4 if late else 0) and done.stderr == "", done
    check = json.loads(done.stdout)["check"]
    assert set(check) == {"grants", "pairs", "violations"}
    assert check["grants"] > 0 and check["violations"] == 0


READERS = "--load", "shared=0.5", "--hold", "500"


@pytest.mark.parametrize("cheat, rule, arguments", [
    ("none", None, ("--load", "lock,two-phase")),
    ("none", None, ("--load", "shared=0.4,shared-two-phase=0.2,two-phase=0.2", "--hold", "500")),
    ("double", "exceed", ("--hold", "500")),
    ("double", "exceed", READERS),
    ("reader", "exceed", READERS),
    ("reader", "exceed", ("--load", "shared-two-phase,two-phase", "--hold", "500")),
    ("writer", "exceed", READERS),
    ("writer", "exceed", ("--load", "shared-two-phase,two-phase", "--hold", "500")),
    ("pass", "queue", ("--load", "shared-two-phase,two-phase", "--hold", "500", "--rounds", "300")),
    ("lifo", "queue", ("--load", "two-phase", "--hold", "500")),
    ("lifo", "queue", ("--load", "shared-two-phase,two-phase", "--hold", "500")),
    ("fence", "fences", ()),
    ("early", "no timeout is early", ("--hold", "50000", "--rounds", "6", "--timeout", "5")),
    ("expire", "lease", ("--hold", "600000", "--rounds", "2", "--lease", "1")),
    ("expire", "lease", ("--hold", "600000", "--rounds", "2", "--lease", "1", "--load", "shared")),
    ("late", "lease", ("--hold", "1300000", "--rounds", "1", "--lease", "1", "--keys", "own"))])
def test_check_detects_a_server_that_cheats(cheat, rule, arguments):
    with cheating_server(cheat) as server:
        # The last of several equal flags is valid.
        done = bench("--servers", address(server), "--quiet", "--check", "--keys", "shared",
                     *SHORT, "--rounds", "60", "--seed", 1, *arguments)
    assert done.returncode == (3 if rule else 0), done
    assert (rule or "") in done.stderr and "violations" in done.stdout, done


# ---- reports ----


def test_the_text_report_shows_the_measurements(server):
    done = bench("--servers", address(server), *SHORT, "--server-pid", server.pid)
    assert done.returncode == 0
    assert re.search(rf"^rounds +{WORKERS * ROUNDS} +[\d.]+/s$", done.stdout, re.MULTILINE)
    assert re.search(rf"^requests +{2 * WORKERS * ROUNDS} +[\d.]+/s$", done.stdout, re.MULTILINE)
    for name in ("rounds", "requests", "acquire", "release"):
        assert re.search(rf"^{name} +\d+( +[\d.]+){{7}}$", done.stdout, re.MULTILINE), done.stdout
    assert re.search(r"^errors +none$", done.stdout, re.MULTILINE)
    assert re.search(r"^bench +\d+ % of the CPU of its 1 thread$", done.stdout, re.MULTILINE)


def test_the_text_report_shows_readers_and_writers(server):
    done = bench("--servers", address(server), *SHORT, *MIXED, "--quiet")
    assert done.returncode == 0
    for side in ("readers'", "writers'"):
        assert re.search(rf"^{side} grants +[1-9]\d*( +[\d.]+){{7}}$", done.stdout, re.MULTILINE)
    assert re.search(r"^refused  0 rounds of readers, \d+ of writers$", done.stdout, re.MULTILINE)
    assert "readers" not in bench("--servers", address(server), *SHORT, "--quiet").stdout


def test_the_bench_shows_progress_every_second(server):
    done = bench("--servers", address(server), "--duration", 2, "--warmup-seconds", 0,
                 "--workers", 1)
    assert re.search(r"^ +1 s +\d+ rounds/s +\d+ requests/s +[\d.]+ us mean 0 errors$",
                     done.stderr, re.MULTILINE), done.stderr


def test_csv_output_has_a_line_of_names_and_a_line_of_values(server):
    done = bench("--servers", address(server), *SHORT, "--csv", "--quiet", "--load", "lock,ping")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) == 1 and None not in rows[0] and None not in rows[0].values()
    assert rows[0]["load"] == "lock,ping" and rows[0]["rounds"] == str(WORKERS * ROUNDS)
    assert float(rows[0]["request_p99_9_us"]) > 0
    assert rows[0]["reader_grants"] == rows[0]["writer_grant_max_us"] == ""
    done = bench("--servers", address(server), *SHORT, "--csv", "--quiet", "--load", "shared=0.5")
    row, = csv.DictReader(io.StringIO(done.stdout))
    assert None not in row and None not in row.values() and row["reader_refused"] == "0"
    assert int(row["reader_grants"]) + int(row["writer_grants"]) == WORKERS * ROUNDS
    assert float(row["writer_grant_p99_9_us"]) > 0


def test_hdr_output_is_the_distribution_of_all_requests(server, tmp_path):
    path = tmp_path / "latency.hgrm"
    result = load(server, *SHORT, "--hdr", path)
    lines = path.read_text().splitlines()
    assert lines[0].split() == ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
    rows = [list(map(float, line.split())) for line in lines if line and line.strip()[0].isdigit()]
    assert all(before[:3] <= after[:3] for before, after in zip(rows, rows[1:]))
    assert rows[-1][1] == 1 and rows[-1][2] == result["requests"]
    assert rows[-1][0] == pytest.approx(result["latency_us"]["max"], abs=0.001)
    assert [line[:2] for line in lines[-3:]] == ["#["] * 3


def test_the_bench_reports_an_unwritable_file(server, tmp_path):
    done = bench("--servers", address(server), *SHORT, "--quiet", "--hdr", tmp_path / "no" / "file")
    assert done.returncode == 1 and "no/file" in done.stderr
    assert done.stdout == ""  # it did not start the load


@pytest.mark.parametrize("form", [(), ("--json",), ("--csv",)])
def test_an_unwritable_result_is_an_error(server, form):
    with open("/dev/full", "w", encoding="ascii") as full:
        done = bench("--servers", address(server), *SHORT, "--quiet", *form, stdout=full)
    assert done.returncode == 1
    assert done.stderr == "dflockd-bench: standard output: No space left on device\n"


def test_the_bench_reports_errors_even_if_the_result_is_lost():
    with Server("--max-connections", "2") as server, \
            open("/dev/full", "w", encoding="ascii") as full:
        done = bench("--servers", address(server), *SHORT, "--quiet", stdout=full)
    assert done.returncode == 2 and "standard output" in done.stderr


@pytest.mark.parametrize("dashes", ["-", "--"])
@pytest.mark.parametrize("shared", [(), ("shared-key",), ("shared-key=true",)])
def test_a_command_line_of_the_original_still_works(server, dashes, shared):
    words = ["workers", "5", "rounds", "20", "key", "old", "timeout", "30", "lease", "10",
             "servers", address(server), "connections", "0", "warmup", "5"]
    arguments = [word if place % 2 else dashes + word for place, word in enumerate(words)]
    done = bench(*arguments, *(dashes + flag for flag in shared))
    assert done.returncode == 0, done
    assert re.search(r"^rounds +100 ", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("flag, value", [
    ("workers", "x"), ("workers", "-1"), ("load", "lick"), ("load", "lock=0"), ("load", "lock,"),
    ("load", ""), ("load", "lock=1x"), ("load", "shared=0.0"), ("load", "shared=0.0001"),
    ("load", "shared=1."), ("load", "shared=.5"), ("load", "shared=-1"), ("load", "shared=1000001"),
    ("keys", "some"), ("keys", "uniform"), ("keys", "uniform:0"),
    ("keys", "uniform:5:1"), ("keys", "zipf:5:"), ("keys", "zipf:5:0"), ("keys", "zipf:x"),
    ("key", ""), ("key", "a b"), ("key", "k" * 161), ("servers", ""), ("servers", "host:"),
    ("servers", ":1"), ("servers", "127.0.0.1:port"), ("servers", "127.0.0.1:1,"),
    ("protocol", "http"), ("auth-token-file", "/nonexistent"), ("depth", "0"), ("lease", "0"),
    ("threads", "65"), ("nonsense", "1")])
def test_invalid_values_are_refused(flag, value):
    assert_refused(bench(f"--{flag}={value}"), f"--{flag}")


@pytest.mark.parametrize("name, arguments", [
    ("--depth", ("--depth", "2", "--keys", "shared")),
    ("--new-connection", ("--new-connection", "--connections", "2")),
    ("--new-connection", ("--new-connection", "--load", "renew")),
    ("--rate", ("--rate", "5", "--rounds", "5")),
    ("--check", ("--check", "--threads", "2")),
    ("--check", ("--check", "--keys", "uniform:1000000")),
    ("--protocol", ("--protocol", "redis", "--load", "ping")),
    ("--protocol", ("--protocol", "redis", "--load", "shared=0.5")),
    ("--depth", ("--depth", "2", "--keys", "shared", "--load", "shared")),
    ("--protocol", ("--protocol", "redis", "--check")),
    ("--shared-key", ("--shared-key", "--keys", "own")),
    ("--csv", ("--csv", "--json")),
    ("--workers", ("--workers", "0")),
    ("--workers", ("--workers", "0", "--idle", "1", "--rounds", "5"))])
def test_conflicting_options_are_refused(name, arguments):
    assert_refused(bench(*arguments), name)


def test_help_names_every_flag_and_exits_with_0():
    done = bench("--help")
    assert done.returncode == 0 and done.stderr == ""
    for flag in ("servers", "workers", "rounds", "duration", "load", "keys", "rate", "[no-]check",
                 "[no-]json", "hdr"):
        assert re.search(rf"^  --{re.escape(flag)}( [A-Z]+)?$", done.stdout, re.M)


def test_version_is_printed():
    assert re.fullmatch(r"dflockd-bench \d+\.\d+\S*\n", bench("--version").stdout)
