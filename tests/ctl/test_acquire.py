"""`acquire`, `release` and `renew`: locks that a script holds."""

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest
from ctl import (CTL, LOST, NO_SERVER, TIMED_OUT, USAGE, Running, ctl, environment, gone,
                 holders_of, default_signals)
from lib.older_server import TOKEN as OLDER_TOKEN, OlderServer
from lib.original_server import OriginalServer, original_python_or_skip
from lib.server import Server
from lib.wire_client import Client, eventually, settle

TOKEN = re.compile("[0-9a-f]{32}\n")


@pytest.fixture
def name(request):
    """A key that only this test uses, so that it finds only its own holders."""
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
    """A server that closes idle connections after a second."""
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
    """As is_free, and releases the lock again."""
    with Client(server) as client:
        reply = client.call("l", name, "0")
        return reply.startswith("ok ") and client.call("r", name, reply.split()[1]) == "ok"


def shell(server, script, **variables):
    return subprocess.run(["sh", "-c", script], env=environment(server, CTL=str(CTL), **variables),
                          capture_output=True, text=True, check=False, timeout=30,
                          stdin=subprocess.DEVNULL)


def test_acquire_holds_until_release(server, name):
    token = acquire(server, name)
    assert not is_free(server, name)
    assert ctl(server, "acquire", name, "--try").returncode == TIMED_OUT
    done = ctl(server, "release", name, token)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert is_free(server, name)


def test_a_second_release_fails(server, name):
    token = acquire(server, name)
    assert ctl(server, "release", name, token).returncode == 0
    done = ctl(server, "release", name, token)
    assert done.returncode == LOST and "not held by this token" in done.stderr
    assert ctl(server, "renew", name, token).returncode == LOST


def test_the_end_of_the_lease_ends_lock_and_holder(hasty, name):
    acquire(hasty, name, "--lease", "1")
    assert holders_of(name)
    assert not is_free(hasty, name)
    eventually(lambda: is_free(hasty, name))
    eventually(lambda: not holders_of(name))


def test_a_release_ends_the_holder(hasty, name):
    token = acquire(hasty, name, "--lease", "1000")
    assert ctl(hasty, "release", name, token).returncode == 0
    eventually(lambda: not holders_of(name))


@pytest.mark.parametrize("arguments", [(), ("--while", str(os.getpid())), ("-n", "2")])
@pytest.mark.parametrize("seconds", [0, 2])
def test_the_holder_ends_soon_after_a_release(patient, name, arguments, seconds):
    token = acquire(patient, name, *arguments, "--lease", "100000")
    time.sleep(seconds)
    [pid] = holders_of(name)
    with Client(patient) as client:
        assert client.call("sr" if "-n" in arguments else "r", name, token) == "ok"
        eventually(lambda: gone(pid))
        eventually(lambda: client.stats()["connections"] == 1)


def test_the_holder_ends_soon_after_the_lease(patient, name):
    acquire(patient, name, "--lease", "1")
    eventually(lambda: not holders_of(name))
    assert is_free(patient, name)


def test_holders_of_released_locks_close_their_connections(name):
    with Server("--read-timeout", "100000", "--max-connections-per-ip", "12") as server:
        for turn in range(3):
            tokens = [acquire(server, f"{name}-{i}", "--lease", "1000") for i in range(8)]
            for i, token in enumerate(tokens):
                assert ctl(server, "release", f"{name}-{i}", token).returncode == 0
            eventually(lambda: not [pid for i in range(8) for pid in holders_of(f"{name}-{i}")])


def test_the_check_of_the_holder_changes_nothing(patient, name):
    """The lock stays held, its lease is not renewed, and the server has no other entry."""
    acquire(patient, name, "--lease", "1000")
    [pid] = holders_of(name)
    time.sleep(3)
    assert holders_of(name) == [pid]
    with Client(patient) as client:
        stats = client.stats()
    [lock] = stats["locks"]
    assert lock["key"] == name and lock["lease_expires_in_s"] < 998
    assert stats["semaphores"] == [] and stats["connections"] == 2


def test_the_holder_holds_while_the_server_drains(name):
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


def test_the_holder_sends_no_own_to_a_server_without_it(name):
    """Such a server closes the connection on an unknown command, and so releases the lock."""
    with OriginalServer(original_python_or_skip()) as original:
        acquire(original, name, "--while", str(os.getpid()))
        [pid] = holders_of(name)
        time.sleep(3)
        assert holders_of(name) == [pid]
        assert ctl(original, "acquire", name, "--try").returncode == TIMED_OUT


def test_renew_extends_the_lease(hasty, name):
    token = acquire(hasty, name, "--lease", "2")
    for _ in range(4):
        time.sleep(1)
        done = ctl(hasty, "renew", name, token, "--lease", "2")
        assert (done.returncode, done.stdout) == (0, "2\n")
        assert not is_free(hasty, name)


def test_while_renews_until_the_process_ends(hasty, name):
    with subprocess.Popen(["sleep", "100"]) as process:
        acquire(hasty, name, "--lease", "1", "--while", str(process.pid))
        time.sleep(2.5)
        assert not is_free(hasty, name)
        process.kill()
    eventually(lambda: is_free(hasty, name))
    eventually(lambda: not holders_of(name))


# ---- a loss ----

LOSS_SCRIPT = """trap 'echo lost; exit 7' USR1
token=$($CTL acquire {name} --while $$ --on-loss {signal} --lease 1) || exit
echo "$token"
{next}
i=0
while [ $i -lt {turns} ]; do sleep 0.1; i=$((i + 1)); done
echo kept"""


@pytest.mark.parametrize("spelling", ["USR1", "sigusr1", str(int(signal.SIGUSR1))])
def test_on_loss_signals_the_process_of_while(name, spelling):
    with Server() as server:
        script = LOSS_SCRIPT.format(name=name, signal=spelling, turns=200, next="kill -9 $SERVER")
        done = shell(server, script, SERVER=str(server.pid))
    assert done.returncode == 7 and done.stdout.endswith("\nlost\n"), done


def test_a_release_by_the_token_is_not_a_loss(server, name):
    """Neither right away, nor when the holder notices it."""
    script = LOSS_SCRIPT.format(name=name, signal="USR1", turns=30,
                                next=f'$CTL release {name} "$token"')
    done = shell(server, script)
    assert done.returncode == 0 and done.stdout.endswith("\nkept\n"), done


def watched(server, name, process):
    """Acquire with a lease that does not end; a loss ends the process."""
    done = ctl(server, "acquire", name, "--while", str(process.pid), "--on-loss", "TERM",
               "--lease", "1000")
    assert done.returncode == 0, done
    return done.stdout.strip()


@pytest.fixture
def process():
    with subprocess.Popen(["sleep", "100"]) as running:
        yield running
        running.kill()


@pytest.fixture
def governed():
    with Server("--threads", "1", "--admin-token", "administrator") as running:
        yield running


def revoke(server, name):
    return ctl(server, "revoke", name, "--yes", variables={"DFLOCKD_AUTH_TOKEN": "administrator"})


def test_a_revocation_is_a_loss(governed, name, process):
    watched(governed, name, process)
    assert revoke(governed, name).returncode == 0
    assert process.wait(30) == -signal.SIGTERM
    eventually(lambda: not holders_of(name))


def test_a_release_that_fails_does_not_hide_a_later_loss(governed, name, process):
    token = watched(governed, name, process)
    assert ctl(governed, "release", "other", token).returncode == LOST
    assert revoke(governed, name).returncode == 0
    assert process.wait(30) == -signal.SIGTERM


def test_a_release_after_a_revocation_does_not_hide_it(governed, name, process):
    token = watched(governed, name, process)
    assert revoke(governed, name).returncode == 0
    assert ctl(governed, "release", name, token).returncode == LOST
    assert process.wait(30) == -signal.SIGTERM


def test_a_release_by_another_program_is_a_loss(server, name, process):
    token = watched(server, name, process)
    with Client(server) as client:
        assert client.call("r", name, token) == "ok"
    assert process.wait(30) == -signal.SIGTERM


def announce(token):
    """Connect to the holder as `dflockctl release` does."""
    announcer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    announcer.connect(f"\0dflockctl-release-{token[:16]}-0")
    announcer.send(token.encode())
    return announcer


@pytest.mark.parametrize("succeeds", [True, False])
def test_the_holder_waits_for_the_result_of_a_release(server, name, process, succeeds):
    token = watched(server, name, process)
    with announce(token) as announcer, Client(server) as client:
        assert client.call("r", name, token) == "ok"
        time.sleep(3)
        assert process.poll() is None and holders_of(name)
        if succeeds:
            announcer.send(b"r")
    eventually(lambda: not holders_of(name))
    if succeeds:
        assert process.poll() is None
    else:
        assert process.wait(30) == -signal.SIGTERM


class OlderServerOfMany(OlderServer):
    def serve(self, connection):
        threading.Thread(target=super().serve, args=(connection,), daemon=True).start()


def test_a_release_ends_the_holder_of_its_token_only(name, process):
    """Two servers may have granted equal fences. This one does not know `own`."""
    first = OLDER_TOKEN.decode()
    second = first[:-1] + "2"
    with OlderServerOfMany() as older:
        assert watched(older.address, name, process) == first
        [kept] = holders_of(name)
        older.replies[b"l"] = f"ok {second} 33\n".encode()
        assert watched(older.address, name, process) == second
        [other] = [pid for pid in holders_of(name) if pid != kept]
        assert ctl(older.address, "release", name, second).returncode == LOST
        assert {kept, other} == set(holders_of(name))
        assert ctl(older.address, "release", name, first).returncode == 0
        eventually(lambda: gone(kept))
        assert holders_of(name) == [other] and process.poll() is None


def test_a_holder_that_is_stopped_past_its_lease_signals_the_loss(server, name):
    with subprocess.Popen(["sleep", "100"]) as process:
        acquire(server, name, "--while", str(process.pid), "--on-loss", "TERM", "--lease", "1")
        [pid] = holders_of(name)
        os.kill(pid, signal.SIGSTOP)
        eventually(lambda: is_free_again(server, name))
        os.kill(pid, signal.SIGCONT)
        assert process.wait(30) == -signal.SIGTERM


def test_the_script_of_the_help_works(server, name):
    done = shell(server, f'token=$($CTL acquire {name} --while $$) || exit\n'
                         f'$CTL acquire {name} --try && exit 1\n'
                         f'$CTL release {name} "$token" && echo "$token"')
    assert done.returncode == 0, done
    assert TOKEN.fullmatch(done.stdout)
    assert is_free(server, name)


def test_the_end_of_a_script_releases_its_lock(server, name):
    done = shell(server, f'$CTL acquire {name} --while $$ || exit; kill -KILL $$')
    assert done.returncode == -signal.SIGKILL and TOKEN.fullmatch(done.stdout)
    eventually(lambda: is_free(server, name))
    eventually(lambda: not holders_of(name))


def test_killing_the_holder_releases_the_lock(server, name):
    acquire(server, name)
    for pid in holders_of(name):
        os.kill(pid, signal.SIGTERM)
    eventually(lambda: is_free(server, name))


def test_the_holder_keeps_no_descriptor_of_the_caller(server, name, tmp_path):
    """A pipe of the caller ends although the holder stays, and its folder can be removed."""
    folder = tmp_path / "folder"
    folder.mkdir()
    reading, writing = os.pipe()
    done = subprocess.run([str(CTL), "acquire", name], env=environment(server), check=False,
                          capture_output=True, text=True, timeout=30, pass_fds=[writing],
                          cwd=folder)
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


def test_an_interrupt_while_waiting_leaves_no_holder(server, name):
    with Client(server) as client:
        client.acquire(name)
        with Running(server, "acquire", name) as running:
            eventually(lambda: client.stats()["locks"][0]["waiters"] == 1)
            running.send(signal.SIGINT)
            assert running.finish()[0] == -signal.SIGINT  # 130 to a shell
            eventually(lambda: client.stats()["locks"][0]["waiters"] == 0)
    eventually(lambda: not holders_of(name))


def test_a_timeout_leaves_no_holder(server, name):
    with Client(server) as client:
        client.acquire(name)
        done = ctl(server, "acquire", name, "--timeout", "1")
    assert (done.returncode, done.stdout) == (TIMED_OUT, "")
    assert done.stderr.startswith(f"dflockctl: no lock on '{name}': ")
    assert not holders_of(name)
    settle(server)


def ignore_children():
    default_signals()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)


def test_acquire_works_if_the_caller_ignores_sigchld(server, nowhere, name):
    done = ctl(server, "acquire", name, preexec=ignore_children)
    assert done.returncode == 0 and TOKEN.fullmatch(done.stdout)
    done = ctl(server, "acquire", name, "--try", preexec=ignore_children)
    assert done.returncode == TIMED_OUT and done.stderr.count("\n") == 1
    done = ctl(nowhere, "acquire", name, preexec=ignore_children)
    assert done.returncode == NO_SERVER and done.stderr.count("\n") == 1
    done = ctl(server, "acquire", name, "--no-hold", "--try", preexec=ignore_children)
    assert done.returncode == TIMED_OUT and done.stderr.count("\n") == 1


def test_acquire_fails_if_the_process_of_while_ends_first(server, name):
    with Client(server) as client, subprocess.Popen(["sleep", "100"]) as process:
        client.acquire(name)
        with Running(server, "acquire", name, "--while", str(process.pid)) as running:
            eventually(lambda: client.stats()["locks"][0]["waiters"] == 1)
            process.kill()
            status, output, errors = running.finish()
        assert (status, output) == (LOST, "")
        assert errors == f"dflockctl: --while: process {process.pid} has ended\n"
    assert not holders_of(name)


def test_acquire_fails_if_its_waiting_holder_is_killed(server, name):
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


def test_acquire_and_release_report_a_missing_server(nowhere, name):
    done = ctl(nowhere, "acquire", name)
    assert (done.returncode, done.stdout) == (NO_SERVER, "")
    assert done.stderr.count("\n") == 1 and nowhere in done.stderr
    assert ctl(nowhere, "release", name, "0" * 32).returncode == NO_SERVER


def test_acquire_renew_and_release_work_for_semaphores(server, name):
    tokens = [acquire(server, name, "-n", "2") for _ in range(2)]
    assert ctl(server, "acquire", name, "-n", "2", "--try").returncode == TIMED_OUT
    assert ctl(server, "renew", name, tokens[0]).returncode == 0
    for token in tokens:
        assert ctl(server, "release", name, token).returncode == 0
    assert ctl(server, "release", name, tokens[0]).returncode == LOST


def test_json_has_all_facts_of_the_grant(server, name):
    done = ctl(server, "acquire", name, "--lease", "50", "--json")
    grant = json.loads(done.stdout)
    assert set(grant) == {"key", "token", "fence", "lease_s", "holder_pid"}
    assert (grant["key"], grant["lease_s"]) == (name, 50)
    assert grant["fence"] == int(grant["token"][:16], 16)
    assert holders_of(name) == [grant["holder_pid"]] and not gone(grant["holder_pid"])


# ---- without a holder ----

def test_no_hold_reports_a_server_that_releases_on_disconnect(server, name):
    done = ctl(server, "acquire", name, "--no-hold")
    assert (done.returncode, done.stdout) == (LOST, "")
    assert "releases on disconnect" in done.stderr and "--no-hold" in done.stderr


def test_no_hold_works_with_a_server_that_keeps_grants(name):
    with Server("--no-auto-release-on-disconnect") as server:
        token = acquire(server, name, "--no-hold", "--lease", "100")
        assert not holders_of(name)
        assert not is_free(server, name)
        assert ctl(server, "release", name, token).returncode == 0
        assert is_free(server, name)


def test_the_holder_releases_even_if_the_server_keeps_grants(name):
    """On a signal, and when the process of --while ends."""
    with Server("--no-auto-release-on-disconnect") as server:
        acquire(server, name, "--lease", "1000")
        os.kill(holders_of(name)[0], signal.SIGTERM)
        eventually(lambda: is_free_again(server, name))
        with subprocess.Popen(["sleep", "100"]) as process:
            acquire(server, name, "--lease", "1000", "--while", str(process.pid))
            process.kill()
        eventually(lambda: is_free_again(server, name))


# ---- arguments ----

def test_release_and_renew_read_the_environment(server):
    done = ctl(server, "lock", "key", "--", "sh", "-c", f"{CTL} renew --lease 77 && {CTL} release")
    assert (done.returncode, done.stdout) == (LOST, "77\n")
    assert "lost before the command ended" in done.stderr


@pytest.mark.parametrize("words", [(), ("key",), ("key", ""), ("key", "a b"), ("a b", "0" * 32)])
@pytest.mark.parametrize("command", ["release", "renew"])
def test_release_and_renew_report_a_missing_or_invalid_token(server, command, words):
    done = ctl(server, command, *words)
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert done.stderr.count("\n") == 1


def test_while_reports_a_missing_process(server, name):
    done = ctl(server, "acquire", name, "--while", "2000000000")
    assert done.returncode == USAGE and "--while" in done.stderr
    assert is_free(server, name)
