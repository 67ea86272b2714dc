"""Shared locks: `lock --shared` and `acquire --shared`."""

import json

import pytest
from ctl import LOST, STRANGE, TIMED_OUT, USAGE, Running, ctl
from lib.older_server import OlderServer
from lib.original_server import OriginalServer, original_python_or_skip
from lib.wire_client import Client


@pytest.fixture
def reader(server):
    """A client that holds `key` shared."""
    with Client(server) as client:
        assert client.call("rl", "key", "0 1000").startswith("ok ")
        yield client


@pytest.mark.parametrize("flag", ["--shared", "-s"])
def test_shared_holders_hold_together(server, reader, flag):
    done = ctl(server, "lock", flag, "key", "--try", "--", "echo", "read")
    assert (done.returncode, done.stdout, done.stderr) == (0, "read\n", "")
    done = ctl(server, "lock", "key", flag, "--try", "-c", "echo again")
    assert (done.returncode, done.stdout) == (0, "again\n")


def test_a_shared_and_an_exclusive_holder_exclude_each_other(server, reader):
    assert ctl(server, "lock", "key", "--try", "--", "true").returncode == TIMED_OUT
    with Client(server) as writer:
        writer.acquire("other")
        done = ctl(server, "lock", "-s", "other", "--try", "--", "true")
    assert done.returncode == TIMED_OUT and "no shared lock on 'other'" in done.stderr


def test_a_shared_lock_is_held_until_the_command_ends(server):
    with Running(server, "lock", "-s", "key", "--", "sh", "-c", "echo held; sleep 30") as running:
        assert running.line() == "held"
        assert ctl(server, "lock", "key", "--try", "--", "true").returncode == TIMED_OUT
        assert ctl(server, "lock", "-s", "key", "--try", "--", "true").returncode == 0


def test_all_keys_of_a_shared_lock_are_shared(server, reader):
    done = ctl(server, "lock", "-s", "other", "key", "--try", "--", "printenv", "DFLOCKD_KEYS")
    assert (done.returncode, done.stdout) == (0, "other key\n")
    with Client(server) as writer:
        writer.acquire("other")
        done = ctl(server, "lock", "-s", "other", "key", "--try", "--", "true")
    assert done.returncode == TIMED_OUT


def test_acquire_shared_prints_a_token_to_renew_and_release(server, reader):
    done = ctl(server, "acquire", "key", "--shared", "--try", "--lease", "100", "--json")
    token = json.loads(done.stdout)["token"]
    assert ctl(server, "renew", "key", token, "--lease", "200").stdout == "200\n"
    assert ctl(server, "lock", "key", "--try", "--", "true").returncode == TIMED_OUT
    assert ctl(server, "release", "key", token).returncode == 0
    assert ctl(server, "release", "key", token).returncode == LOST
    assert ctl(server, "lock", "-s", "key", "--try", "--", "true").returncode == 0


def test_a_slot_cannot_be_shared(server):
    done = ctl(server, "acquire", "key", "--shared", "-n", "3")
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert "--shared: cannot be combined with -n" in done.stderr
    for flag in ("-s", "--shared"):
        done = ctl(server, "sem", "key", "-n", "3", flag, "--", "true")
        assert done.returncode == USAGE and f"{flag}: not a flag of sem" in done.stderr
        assert "for a shared lock use lock" in done.stderr


def without_shared_locks(address, *arguments):
    done = ctl(address, *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (STRANGE, "", 1), done
    assert "this server does not support shared locks" in done.stderr


@pytest.mark.parametrize("arguments", [
    ("lock", "-s", "key", "--", "echo", "ran"), ("lock", "--shared", "key"),
    ("lock", "-s", "key", "--retry", "--", "echo", "ran"),
    ("lock", "-s", "a", "b", "--try", "--", "echo", "ran"), ("acquire", "-s", "key"),
    ("acquire", "--shared", "key", "--no-hold", "--timeout", "1")])
def test_an_older_server_is_reported_and_never_asked_for_an_exclusive_lock(arguments):
    with OlderServer() as older:
        without_shared_locks(older.address, *arguments)
        assert "rl" in older.commands and "l" not in older.commands


def test_the_original_server_is_reported():
    with OriginalServer(original_python_or_skip()) as original:
        without_shared_locks(original, "lock", "-s", "key", "--", "echo", "ran")
        assert ctl(original, "lock", "key", "--try", "--", "true").returncode == 0
