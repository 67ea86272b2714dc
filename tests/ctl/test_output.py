"""Standard output that cannot be written: commands fail, and `acquire` keeps no lock."""

import contextlib
import fcntl
import json
import os
import pty
import signal
import subprocess
import time

import pytest
from ctl import CTL, NO_SERVER, OUTPUT, Running, ctl, environment, holders_of, default_signals
from lib.server import Server
from lib.wire_client import Client, eventually

PRINTING = [
    ("ls",), ("ls", "--json"), ("stats",), ("stats", "--json"), ("show", "key"),
    ("show", "key", "--json"), ("ping",), ("ping", "--json"), ("ping", "--count", "1000"),
    ("shard", "key"), ("shard", "key", "--json"), ("--help",), ("--version",), ("ls", "--help"),
    ("lock", "--help")]
ACQUIRING = [(), ("--json",), ("-n", "2"), ("--while", "SELF"), ("--no-hold",),
             ("--no-hold", "-n", "2")]
FULL, BROKEN, CLOSED = "full disk", "broken pipe", "closed"
WAYS = {FULL: "No space left on device", BROKEN: "Broken pipe", CLOSED: "Bad file descriptor"}
every_way = pytest.mark.parametrize("way", WAYS)


@pytest.fixture
def name(request):
    key = f"{request.node.name}-{os.getpid()}".replace(" ", "_")
    yield key
    for pid in holders_of(key):
        os.kill(pid, signal.SIGKILL)


def ignoring_broken_pipes():
    default_signals()
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)


def with_default_signals():
    default_signals()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def closing_output():
    default_signals()
    os.close(1)


@contextlib.contextmanager
def broken_pipe():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as file:
        yield file


def lose(way, server, *arguments, preexec=ignoring_broken_pipes):
    """Run dflockctl with a standard output that cannot be written."""
    if way == CLOSED:
        return ctl(server, *arguments, preexec=closing_output)
    opened = broken_pipe() if way == BROKEN else open("/dev/full", "wb")
    with opened as file:
        return ctl(server, *arguments, stdout=file, preexec=preexec)


@every_way
@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_lost_output_is_an_error(server, way, arguments):
    with Client(server) as client:
        client.acquire("key")
        done = lose(way, server, *arguments)
    assert done.returncode == OUTPUT
    assert done.stderr == f"dflockctl: standard output: {WAYS[way]}\n"


@every_way
def test_a_lost_long_list_is_an_error(server, way):
    with Client(server) as client:
        for i in range(400):
            client.acquire(f"{i}-{'k' * 200}")
        for form in ((), ("--json",)):
            done = lose(way, server, "ls", *form)
            assert done.returncode == OUTPUT
            assert done.stderr.startswith("dflockctl: standard output: ")
            assert done.stderr.count("\n") == 1


def test_sigpipe_ends_a_list(server):
    with broken_pipe() as file, Client(server) as client:
        client.acquire("key")
        done = ctl(server, "ls", stdout=file, preexec=with_default_signals)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, "")


def test_commands_without_output_ignore_stdout(server, name):
    token = ctl(server, "acquire", name).stdout.strip()
    for arguments in (("release", name, token), ("ls",), ("lock", "key", "--", "true")):
        for way in WAYS:
            done = lose(way, server, *arguments)
            if arguments[0] != "release" or way == FULL:
                assert (done.returncode, done.stderr) == (0, "")


def test_another_failure_keeps_its_status(server, nowhere):
    done = lose(FULL, [server, nowhere], "stats")
    assert done.returncode == NO_SERVER
    assert "standard output" in done.stderr and nowhere in done.stderr


def test_a_command_under_a_lock_has_the_output_to_itself(server):
    done = lose(FULL, server, "lock", "key", "--", "sh", "-c", "echo lost 2>/dev/null; exit 7")
    assert (done.returncode, done.stderr) == (7, "")


@every_way
def test_renew_reports_lost_output_and_the_new_lease(server, name, way):
    token = ctl(server, "acquire", name, "--lease", "5").stdout.strip()
    done = lose(way, server, "renew", name, token, "--lease", "500")
    assert done.returncode == OUTPUT
    assert done.stderr == (f"dflockctl: standard output: {WAYS[way]}; "
                           "the lease is renewed, for 500 s\n")
    with Client(server) as client:
        assert client.stats()["locks"][0]["lease_expires_in_s"] > 400


# ---- acquire ----

@every_way
@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("arguments", ACQUIRING, ids=" ".join)
def test_acquire_releases_a_lock_whose_token_it_cannot_print(name, arguments, way, keeps):
    """Also if the server keeps locks of closed connections."""
    if "--no-hold" in arguments and not keeps:
        pytest.skip("such a server keeps nothing")
    arguments = [str(os.getpid()) if one == "SELF" else one for one in arguments]
    options = ["--no-auto-release-on-disconnect"] if keeps else []
    with Server("--threads", "1", *options) as server, Client(server) as client:
        done = lose(way, server, "acquire", name, "--lease", "1000", *arguments)
        assert (done.returncode, done.stdout or "") == (OUTPUT, "")
        assert done.stderr == f"dflockctl: standard output: {WAYS[way]}; the lock is released\n"
        assert not holders_of(name)
        stats = client.stats()
        assert stats["locks"] == stats["semaphores"] == []


def test_acquire_survives_a_broken_pipe_to_release(server, name):
    with broken_pipe() as file:
        done = ctl(server, "acquire", name, stdout=file, preexec=with_default_signals)
    assert done.returncode == OUTPUT and "the lock is released" in done.stderr
    with Client(server) as client:
        assert client.stats()["locks"] == []


@contextlib.contextmanager
def acquire_before_a_full_pipe(server, *arguments):
    """It has the lock and cannot print the token until `drain` is called."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writing, b"x" * 4096)
    process = subprocess.Popen(
        [str(CTL), "acquire", *arguments], env=environment(server), stdout=writing,
        stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, preexec_fn=default_signals)
    os.close(writing)

    def drain():
        data = b""
        while chunk := os.read(reading, 65536):
            data += chunk
        return data.lstrip(b"x").decode()

    try:
        yield process, drain
    finally:
        os.close(reading)
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=30)


def is_held(client, name):
    return [lock for lock in client.stats()["locks"] if lock["key"] == name] != []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_acquire_that_is_killed_while_it_prints_keeps_no_lock(name, number):
    with Server("--no-auto-release-on-disconnect") as server, Client(server) as client:
        with acquire_before_a_full_pipe(server, name, "--lease", "1000") as (process, _):
            eventually(lambda: is_held(client, name))
            process.send_signal(number)
            assert process.wait(30) == -number
            eventually(lambda: not is_held(client, name))
        eventually(lambda: not holders_of(name))


def test_a_slow_reader_gets_a_token_that_holds_the_lock(server, name):
    with Client(server) as client:
        with acquire_before_a_full_pipe(server, name, "--lease", "2") as (process, drain):
            eventually(lambda: is_held(client, name))
            time.sleep(3)
            token = drain().strip()
            assert process.wait(30) == 0
        assert client.call("n", name, f"{token} 100") == "ok 100"


def test_a_token_whose_lock_was_lost_while_it_was_printed_is_reported(server, name):
    """The holder is stopped meanwhile, as by a terminal or the sleep of the machine."""
    with Client(server) as client:
        with acquire_before_a_full_pipe(server, name, "--lease", "1", "--json") as (process, drain):
            eventually(lambda: is_held(client, name))
            [holder] = [pid for pid in holders_of(name) if pid != process.pid]
            os.kill(holder, signal.SIGSTOP)
            eventually(lambda: not is_held(client, name))
            os.kill(holder, signal.SIGCONT)
            grant = json.loads(drain())
            _, errors = process.communicate(timeout=30)
        assert process.returncode == 76
        assert b"lost" in errors and errors.count(b"\n") == 1
        assert client.call("r", name, grant["token"]) == "error"
    eventually(lambda: not holders_of(name))


def test_acquire_prints_the_token_once(server, name):
    """Neither process prints what the other one has buffered."""
    with Running(server, "acquire", name) as running:
        status, output, errors = running.finish()
    assert (status, errors) == (0, "") and output.count("\n") == 1


# ---- top ----

def test_top_ends_when_its_terminal_cannot_be_written(server):
    keyboard, typing = pty.openpty()
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [str(CTL), "top"], env=environment(server), stdin=typing, stdout=slave,
        stderr=subprocess.PIPE, start_new_session=True, preexec_fn=default_signals)
    os.close(slave)
    try:
        assert os.read(master, 16)
        os.close(master)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == OUTPUT
        assert errors == b"dflockctl: standard output: Input/output error\n"
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate(timeout=30)
        os.close(keyboard)
        os.close(typing)
