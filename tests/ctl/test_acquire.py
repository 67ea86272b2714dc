"""`acquire`, `release` and `renew`: locks whose holder is a script."""

import json
import os
import re
import signal
import subprocess
import time

import pytest
from ctl import (CTL, LOST, NO_SERVER, TIMED_OUT, USAGE, Running, ctl, environment, gone,
                 holders_of, signals_as_usual)
from lib.original_server import OriginalServer, original_python_or_skip
from lib.server import Server
from lib.wire_client import Client, eventually, settle

TOKEN = re.compile("[0-9a-f]{32}\n")


@pytest.fixture
def name(request):
    """A key of this test alone, so that processes left behind are told from others'."""
    key = f"{request.node.name}-{os.getpid()}"
    yield key
    for pid in holders_of(key):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def patient():
    """A server that never closes a connection because it is idle."""
    with Server("--threads", "1", "--read-timeout", "100000") as running:
        yield running


@pytest.fixture
def hasty():
    """A server that closes who holds nothing after a second."""
    with Server("--threads", "1", "--read-timeout", "1") as running:
        yield running


def acquire(server, *arguments):
    done = ctl(server, "acquire", *arguments)
    assert done.returncode == 0 and done.stderr == "", done
    assert TOKEN.fullmatch(done.stdout), done
    return done.stdout.strip()


def is_free(server, name):
    with Client(server) as client:
        return client.call("l", name, "0").startswith("ok ")


def is_free_again(server, name):
    """As is_free, and leaves it so where a grant outlives its connection."""
    with Client(server) as client:
        reply = client.call("l", name, "0")
        return reply.startswith("ok ") and client.call("r", name, reply.split()[1]) == "ok"


def shell(server, script, **variables):
    return subprocess.run(["sh", "-c", script], env=environment(server, CTL=str(CTL), **variables),
                          capture_output=True, text=True, check=False, timeout=30,
                          stdin=subprocess.DEVNULL)


def test_what_acquire_took_is_held_until_it_is_released(server, name):
    token = acquire(server, name)
    assert not is_free(server, name)
    assert ctl(server, "acquire", name, "--try").returncode == TIMED_OUT
    done = ctl(server, "release", name, token)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert is_free(server, name)


def test_released_twice_it_is_not_held(server, name):
    token = acquire(server, name)
    assert ctl(server, "release", name, token).returncode == 0
    done = ctl(server, "release", name, token)
    assert done.returncode == LOST and "not held by this token" in done.stderr
    assert ctl(server, "renew", name, token).returncode == LOST


def test_the_lease_ends_it_and_the_process_left_behind(hasty, name):
    acquire(hasty, name, "--lease", "1")
    assert holders_of(name)
    assert not is_free(hasty, name)
    eventually(lambda: is_free(hasty, name))
    eventually(lambda: not holders_of(name))


def test_released_the_process_left_behind_ends(hasty, name):
    token = acquire(hasty, name, "--lease", "1000")
    assert ctl(hasty, "release", name, token).returncode == 0
    eventually(lambda: not holders_of(name))


@pytest.mark.parametrize("arguments", [(), ("--while", str(os.getpid())), ("-n", "2")])
@pytest.mark.parametrize("seconds", [0, 2])
def test_the_process_left_behind_ends_soon_after_a_release(patient, name, arguments, seconds):
    token = acquire(patient, name, *arguments, "--lease", "100000")
    time.sleep(seconds)
    [pid] = holders_of(name)
    with Client(patient) as client:
        assert client.call("sr" if "-n" in arguments else "r", name, token) == "ok"
        eventually(lambda: gone(pid))
        eventually(lambda: client.stats()["connections"] == 1)


def test_the_process_left_behind_ends_soon_after_the_lease(patient, name):
    acquire(patient, name, "--lease", "1")
    eventually(lambda: not holders_of(name))
    assert is_free(patient, name)


def test_many_released_locks_leave_room_for_connections(name):
    with Server("--read-timeout", "100000", "--max-connections-per-ip", "12") as server:
        for turn in range(3):
            tokens = [acquire(server, f"{name}-{i}", "--lease", "1000") for i in range(8)]
            for i, token in enumerate(tokens):
                assert ctl(server, "release", f"{name}-{i}", token).returncode == 0
            eventually(lambda: not [pid for i in range(8) for pid in holders_of(f"{name}-{i}")])


def test_checking_changes_nothing(patient, name):
    """A lock that is held stays as it is: held, with its lease, and alone on the server."""
    acquire(patient, name, "--lease", "1000")
    [pid] = holders_of(name)
    time.sleep(3)
    assert holders_of(name) == [pid]
    with Client(patient) as client:
        stats = client.stats()
    [lock] = stats["locks"]
    assert lock["key"] == name and lock["lease_expires_in_s"] < 998
    assert stats["semaphores"] == [] and stats["connections"] == 2


def test_while_the_server_drains_it_is_still_held(name):
    with Server("--shutdown-timeout", "1000") as server, Client(server) as client:
        kept = client.acquire("other")
        token = acquire(server, name, "--lease", "5", "--while", str(os.getpid()))
        [pid] = holders_of(name)
        time.sleep(1.5)
        server.terminate()
        time.sleep(2.5)
        assert holders_of(name) == [pid]
        assert client.call("n", name, token) == "ok 33"
        assert client.call("r", name, token) == "ok"
        eventually(lambda: gone(pid))
        assert client.call("r", "other", kept) == "ok"
        client.close()
        assert server.wait() == 0


def test_a_server_without_own_is_not_asked_by_the_holder(name):
    """It closes a connection for a command that it does not know, and so releases the lock."""
    with OriginalServer(original_python_or_skip()) as original:
        acquire(original, name, "--while", str(os.getpid()))
        [pid] = holders_of(name)
        time.sleep(3)
        assert holders_of(name) == [pid]
        assert ctl(original, "acquire", name, "--try").returncode == TIMED_OUT


def test_renewed_it_is_held_beyond_its_lease(hasty, name):
    token = acquire(hasty, name, "--lease", "2")
    for _ in range(4):
        time.sleep(1)
        done = ctl(hasty, "renew", name, token, "--lease", "2")
        assert (done.returncode, done.stdout) == (0, "2\n")
        assert not is_free(hasty, name)


def test_while_a_process_lives_it_is_renewed_and_then_released(hasty, name):
    with subprocess.Popen(["sleep", "100"]) as process:
        acquire(hasty, name, "--lease", "1", "--while", str(process.pid))
        time.sleep(2.5)
        assert not is_free(hasty, name)
        process.kill()
    eventually(lambda: is_free(hasty, name))
    eventually(lambda: not holders_of(name))


def test_the_script_of_the_help_works(server, name):
    done = shell(server, f'token=$($CTL acquire {name} --while $$) || exit\n'
                         f'$CTL acquire {name} --try && exit 1\n'
                         f'$CTL release {name} "$token" && echo "$token"')
    assert done.returncode == 0, done
    assert TOKEN.fullmatch(done.stdout)
    assert is_free(server, name)


def test_a_script_that_dies_leaves_nothing_locked(server, name):
    done = shell(server, f'$CTL acquire {name} --while $$ || exit; kill -KILL $$')
    assert done.returncode == -signal.SIGKILL and TOKEN.fullmatch(done.stdout)
    eventually(lambda: is_free(server, name))
    eventually(lambda: not holders_of(name))


def test_to_kill_the_process_left_behind_is_to_release(server, name):
    acquire(server, name)
    for pid in holders_of(name):
        os.kill(pid, signal.SIGTERM)
    eventually(lambda: is_free(server, name))


def test_the_process_left_behind_keeps_nothing_of_the_caller(server, name, tmp_path):
    """A pipe of the caller's ends although the process stays, and its folder can be removed."""
    folder = tmp_path / "folder"
    folder.mkdir()
    reading, writing = os.pipe()
    done = subprocess.run([str(CTL), "acquire", name], env=environment(server), check=False,
                          capture_output=True, text=True, timeout=30, pass_fds=[writing], cwd=folder)
    os.close(writing)
    assert done.returncode == 0
    assert os.read(reading, 1) == b""
    os.close(reading)
    [pid] = holders_of(name)
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    targets = [os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")]
    assert sorted(target.split(":")[0] for target in targets) == [
        "/dev/null", "/dev/null", "/dev/null", "anon_inode", "anon_inode", "socket"]
    assert os.getsid(pid) == pid


def test_given_up_while_waiting_nothing_stays(server, name):
    with Client(server) as client:
        client.acquire(name)
        with Running(server, "acquire", name) as running:
            eventually(lambda: client.stats()["locks"][0]["waiters"] == 1)
            running.send(signal.SIGINT)
            assert running.finish()[0] == -signal.SIGINT  # 130 to a shell
            eventually(lambda: client.stats()["locks"][0]["waiters"] == 0)
    eventually(lambda: not holders_of(name))


def test_not_granted_in_time_nothing_stays(server, name):
    with Client(server) as client:
        client.acquire(name)
        done = ctl(server, "acquire", name, "--timeout", "1")
    assert (done.returncode, done.stdout) == (TIMED_OUT, "")
    assert done.stderr.startswith(f"dflockctl: no lock on '{name}': ")
    assert not holders_of(name)
    settle(server)


def ignoring_children():
    signals_as_usual()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)


def test_whether_the_caller_ignores_its_children_makes_no_difference(server, nowhere, name):
    done = ctl(server, "acquire", name, preexec=ignoring_children)
    assert done.returncode == 0 and TOKEN.fullmatch(done.stdout)
    done = ctl(server, "acquire", name, "--try", preexec=ignoring_children)
    assert done.returncode == TIMED_OUT and done.stderr.count("\n") == 1
    done = ctl(nowhere, "acquire", name, preexec=ignoring_children)
    assert done.returncode == NO_SERVER and done.stderr.count("\n") == 1
    done = ctl(server, "acquire", name, "--no-hold", "--try", preexec=ignoring_children)
    assert done.returncode == TIMED_OUT and done.stderr.count("\n") == 1


def test_the_process_of_while_ends_before_the_grant(server, name):
    with Client(server) as client, subprocess.Popen(["sleep", "100"]) as process:
        client.acquire(name)
        with Running(server, "acquire", name, "--while", str(process.pid)) as running:
            eventually(lambda: client.stats()["locks"][0]["waiters"] == 1)
            process.kill()
            status, output, errors = running.finish()
        assert (status, output) == (LOST, "")
        assert errors == f"dflockctl: --while: process {process.pid} has ended\n"
    assert not holders_of(name)


def test_the_process_that_waits_for_the_grant_is_ended(server, name):
    with Client(server) as client:
        client.acquire(name)
        with Running(server, "acquire", name) as running:
            eventually(lambda: client.stats()["locks"][0]["waiters"] == 1)
            [holder] = [pid for pid in holders_of(name) if pid != running.pid]
            os.kill(holder, signal.SIGTERM)
            status, output, errors = running.finish()
        assert (status, output) == (128 + signal.SIGTERM, "")
        assert errors.count("\n") == 1
    assert not holders_of(name)


def test_without_a_server_it_says_so(nowhere, name):
    done = ctl(nowhere, "acquire", name)
    assert (done.returncode, done.stdout) == (NO_SERVER, "")
    assert done.stderr.count("\n") == 1 and nowhere in done.stderr
    assert ctl(nowhere, "release", name, "0" * 32).returncode == NO_SERVER


def test_a_slot_of_a_semaphore_is_taken_renewed_and_released(server, name):
    tokens = [acquire(server, name, "-n", "2") for _ in range(2)]
    assert ctl(server, "acquire", name, "-n", "2", "--try").returncode == TIMED_OUT
    assert ctl(server, "renew", name, tokens[0]).returncode == 0
    for token in tokens:
        assert ctl(server, "release", name, token).returncode == 0
    assert ctl(server, "release", name, tokens[0]).returncode == LOST


def test_with_json_it_tells_all_of_the_grant(server, name):
    done = ctl(server, "acquire", name, "--lease", "50", "--json")
    grant = json.loads(done.stdout)
    assert set(grant) == {"key", "token", "fence", "lease_s", "holder_pid"}
    assert (grant["key"], grant["lease_s"]) == (name, 50)
    assert grant["fence"] == int(grant["token"][:16], 16)
    assert holders_of(name) == [grant["holder_pid"]] and not gone(grant["holder_pid"])


# ---- nobody stays ----

def test_without_hold_a_server_that_releases_on_disconnect_is_told_of(server, name):
    done = ctl(server, "acquire", name, "--no-hold")
    assert (done.returncode, done.stdout) == (LOST, "")
    assert "releases on disconnect" in done.stderr and "--no-hold" in done.stderr


def test_without_hold_a_server_that_keeps_it_does(name):
    with Server("--no-auto-release-on-disconnect") as server:
        token = acquire(server, name, "--no-hold", "--lease", "100")
        assert not holders_of(name)
        assert not is_free(server, name)
        assert ctl(server, "release", name, token).returncode == 0
        assert is_free(server, name)


def test_the_process_left_behind_releases_also_where_the_server_keeps(name):
    """Its end is the lock's: by a signal, and when the process that it watches ends."""
    with Server("--no-auto-release-on-disconnect") as server:
        acquire(server, name, "--lease", "1000")
        os.kill(holders_of(name)[0], signal.SIGTERM)
        eventually(lambda: is_free_again(server, name))
        with subprocess.Popen(["sleep", "100"]) as process:
            acquire(server, name, "--lease", "1000", "--while", str(process.pid))
            process.kill()
        eventually(lambda: is_free_again(server, name))


# ---- where the grant comes from ----

def test_a_command_under_a_lock_finds_its_grant_in_the_environment(server):
    done = ctl(server, "lock", "key", "--", "sh", "-c", f"{CTL} renew --lease 77 && {CTL} release")
    assert (done.returncode, done.stdout) == (LOST, "77\n")
    assert "lost before the command ended" in done.stderr


@pytest.mark.parametrize("words", [(), ("key",), ("key", ""), ("key", "a b"), ("a b", "0" * 32)])
@pytest.mark.parametrize("command", ["release", "renew"])
def test_without_key_or_token_it_says_what_is_needed(server, command, words):
    done = ctl(server, command, *words)
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert done.stderr.count("\n") == 1


def test_a_process_that_is_not_there_can_not_be_waited_for(server, name):
    done = ctl(server, "acquire", name, "--while", "2000000000")
    assert done.returncode == USAGE and "--while" in done.stderr
    assert is_free(server, name)
