"""`lock` and `sem`: a command that runs while a lock is held, and the end of both."""

import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from ctl import (CANNOT_RUN, CTL, LOST, NO_SERVER, NOT_FOUND, OUTPUT, REFUSED, TIMED_OUT, USAGE,
                 Running, Terminal, ctl, environment, holders_of, wait_gone)
from lib.link import Link
from lib.server import Server
from lib.stand_in import StandIn
from lib.wire_client import Client, eventually

FORWARDED = ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGALRM"]
TRAP = "trap 'echo got; exit 7' {}; echo ready; while :; do sleep 0.05; done"
STUBBORN = "trap 'echo asked' TERM; echo ready; while :; do sleep 0.05; done"


def held(server, kind="locks"):
    with Client(server) as client:
        return client.stats()[kind]


def waits(server, count=1):
    eventually(lambda: sum(lock["waiters"] for lock in held(server)) == count)


# ---- the command ----

@pytest.mark.parametrize("status", [0, 1, 42, 255])
def test_lock_exits_with_the_status_of_the_command(server, status):
    done = ctl(server, "lock", "key", "--", "sh", "-c", f"exit {status}")
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL", "SIGSEGV"])
def test_a_killed_command_gives_128_plus_the_signal(server, name):
    done = ctl(server, "lock", "key", "--", "sh", "-c", f"kill -{name[3:]} $$")
    assert done.returncode == 128 + getattr(signal, name)


def test_the_command_inherits_stdin_and_stdout(server):
    done = ctl(server, "lock", "key", "--", "tr", "a-z", "A-Z", input="some text")
    assert (done.returncode, done.stdout) == (0, "SOME TEXT")


def test_the_command_has_key_token_and_fence_in_its_environment(server):
    script = ('echo "$DFLOCKD_KEY $DFLOCKD_TOKEN $DFLOCKD_FENCE"; '
              'printf "r\\n$DFLOCKD_KEY\\n$DFLOCKD_TOKEN\\n"')
    first, second = (ctl(server, "lock", "key", "--", "sh", "-c", script).stdout.split()[:3]
                     for _ in range(2))
    for key, token, fence in (first, second):
        assert key == "key"
        assert re.fullmatch("[0-9a-f]{32}", token)
        assert int(fence) == int(token[:16], 16)
    assert int(second[2]) > int(first[2])


def test_the_token_holds_the_lock(server):
    with Running(server, "lock", "key", "--", "sh", "-c",
                 "echo $DFLOCKD_TOKEN; exec sleep 100") as running, Client(server) as client:
        token = running.line()
        assert client.call("n", "key", "0" * 32) == "error"
        assert client.call("n", "key", token).startswith("ok ")


def test_lock_holds_exactly_while_the_command_runs(server):
    with Running(server, "lock", "key", "--", "sh", "-c", "echo; sleep 0.5") as running:
        running.line()
        assert [lock["key"] for lock in held(server)] == ["key"]
        running.finish()
    assert held(server) == []


@pytest.mark.parametrize("command, status, word", [
    (["/nowhere/at-all"], NOT_FOUND, "No such file"), (["no-such-command-here"], NOT_FOUND, ""),
    (["/etc/passwd"], CANNOT_RUN, "Permission denied"), (["/"], CANNOT_RUN, "")])
def test_a_command_that_cannot_run_is_reported_and_releases(server, command, status, word):
    done = ctl(server, "lock", "key", "--", *command)
    assert done.returncode == status
    assert done.stderr.count("\n") == 1 and command[0] in done.stderr and word in done.stderr
    assert held(server) == []


def test_a_key_may_begin_with_a_dash(server):
    done = ctl(server, "lock", "--", "--try", "--", "sh", "-c", "echo $DFLOCKD_KEY")
    assert (done.returncode, done.stdout) == (0, "--try\n")


def test_arguments_after_the_dashes_belong_to_the_command(server):
    done = ctl(server, "lock", "key", "--", "echo", "--timeout", "1", "--", "--auth-token", "x")
    assert done.stdout == "--timeout 1 -- --auth-token x\n"


# ---- mutual exclusion ----

def test_lock_runs_one_command_at_a_time(server, tmp_path):
    alone = f"mkdir {tmp_path}/inside || exit 9; sleep 0.02; rmdir {tmp_path}/inside"
    runners = [Running(server, "lock", "key", "--", "sh", "-c", alone) for _ in range(8)]
    assert [running.finish() for running in runners] == [(0, "", "")] * 8


def test_sem_runs_as_many_commands_as_it_has_slots(server):
    runners = [Running(server, "sem", "key", "-n", "2", "--", "sh", "-c", "exec sleep 100")
               for _ in range(3)]
    try:
        eventually(lambda: [(s["holders"], s["waiters"]) for s in held(server, "semaphores")]
                   == [(2, 1)])
        for running in runners:
            running.send(signal.SIGTERM)
        assert sorted(running.finish()[0] for running in runners) == [143, 143, 143]
    finally:
        for running in runners:
            running.__exit__()


def test_sem_renews_and_releases_its_slot(server):
    with Running(server, "sem", "key", "-n", "3", "--lease", "1", "--", "sh", "-c",
                 "echo; sleep 2.5"):
        time.sleep(2)
        assert held(server, "semaphores")[0]["holders"] == 1
    eventually(lambda: not held(server, "semaphores"))


@pytest.mark.parametrize("flags", [["--try"], ["--timeout", "0"], ["--timeout=1"]])
def test_a_timeout_has_its_exit_status(server, flags):
    with Client(server) as client:
        client.acquire("key")
        done = ctl(server, "lock", *flags, "key", "--", "echo", "ran")
    assert (done.returncode, done.stdout) == (TIMED_OUT, "")
    assert done.stderr.startswith("dflockctl: no lock on 'key': ") and "show" in done.stderr


def test_lock_waits_in_the_queue_then_runs(server):
    with Client(server) as client:
        token = client.acquire("key")
        with Running(server, "lock", "key", "--", "echo", "ran") as running:
            waits(server)
            assert client.call("r", "key", token) == "ok"
            assert running.finish() == (0, "ran\n", "")


def test_lock_renews_in_the_background(server):
    with Running(server, "lock", "key", "--lease", "1", "--", "sh", "-c", "echo; sleep 3"):
        time.sleep(2.2)
        assert ctl(server, "lock", "key", "--try", "--", "true").returncode == TIMED_OUT


# ---- signals ----

@pytest.mark.parametrize("name", FORWARDED)
def test_lock_forwards_signals(server, name):
    with Running(server, "lock", "key", "--", "sh", "-c", TRAP.format(name[3:])) as running:
        assert running.line() == "ready"
        running.send(getattr(signal, name))
        assert running.finish() == (7, "got\n", "")
    assert held(server) == []


def test_an_ignored_signal_stays_ignored(server):
    def ignore():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with Running(server, "lock", "key", "--", "sh", "-c", "echo; sleep 0.5; echo alive",
                 preexec=ignore) as running:
        running.line()
        running.send(signal.SIGHUP)
        assert running.finish() == (0, "alive\n", "")


def test_an_ignored_signal_does_not_end_the_wait(server):
    def ignore():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with Client(server) as client:
        token = client.acquire("key")
        with Running(server, "lock", "key", "--", "echo", "ran", preexec=ignore) as running:
            waits(server)
            running.send(signal.SIGHUP)
            time.sleep(0.3)
            assert client.call("r", "key", token) == "ok"
            assert running.finish() == (0, "ran\n", "")


def test_the_interrupt_of_a_terminal_reaches_the_command_once(server, tmp_path):
    count = tmp_path / "count"
    script = ("import pathlib, signal, time\n"
              "seen = []\n"
              "signal.signal(signal.SIGINT, lambda *_: seen.append(1))\n"
              "print('ready', flush=True)\n"
              "while not seen: time.sleep(0.02)\n"
              "time.sleep(0.5)\n"
              f"pathlib.Path({str(count)!r}).write_text(str(len(seen)))\n")
    with Terminal(server, "lock", "key", "--", sys.executable, "-c", script) as terminal:
        terminal.see("ready")
        terminal.type(b"\x03")
        assert terminal.finish() == 0
    assert count.read_text() == "1"


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1"])
def test_a_signal_ends_the_wait(server, name):
    number = getattr(signal, name)
    with Client(server) as client:
        client.acquire("key")
        with Running(server, "lock", "key", "--", "echo", "ran") as running:
            waits(server)
            running.send(number)
            status, output, errors = running.finish()
        by_itself = number in (signal.SIGINT, signal.SIGQUIT)
        assert (status, output) == (-number if by_itself else 128 + number, "")
        assert errors.startswith("dflockctl: gave up waiting for 'key'")
        waits(server, 0)


def test_a_grant_after_the_signal_is_released():
    """Also if the server keeps grants of closed connections."""
    with Server("--no-auto-release-on-disconnect") as server, Client(server) as client:
        token = client.acquire("key")
        with Running(server, "lock", "key", "--lease", "1000", "--", "echo", "ran") as running:
            waits(server)
            running.send(signal.SIGSTOP)
            assert client.call("r", "key", token) == "ok"
            eventually(lambda: held(server)[0]["waiters"] == 0)
            running.send(signal.SIGTERM)
            running.send(signal.SIGCONT)
            assert running.finish()[:2] == (143, "")
        assert held(server) == []


def test_a_grant_received_late_is_renewed_in_time(server):
    with Client(server) as client:
        token = client.acquire("key")
        with Running(server, "lock", "key", "--lease", "3", "--", "sleep", "3") as running:
            waits(server)
            running.send(signal.SIGSTOP)
            assert client.call("r", "key", token) == "ok"
            time.sleep(2)
            running.send(signal.SIGCONT)
            assert running.finish() == (0, "", "")


def test_the_interrupt_of_a_terminal_ends_the_wait(server):
    with Client(server) as client:
        client.acquire("key")
        with Terminal(server, "lock", "key", "--", "echo", "ran") as terminal:
            terminal.see("waiting for 'key'; press ^C to give up")
            terminal.type(b"\x03")
            assert terminal.finish() == -signal.SIGINT
            assert "ran" not in terminal.text()


def test_the_command_gets_sigterm_if_dflockctl_is_killed(server):
    with Running(server, "lock", "key", "--", "sh", "-c", "echo $$; exec sleep 100") as running:
        pid = int(running.line())
        running.send(signal.SIGKILL)
        wait_gone(pid)
    eventually(lambda: held(server) == [])


# ---- lost ----

def test_a_loss_sends_sigterm_then_sigkill(server):
    with Running(server, "lock", "key", "--grace", "1", "--", "sh", "-c", STUBBORN) as running:
        assert running.line() == "ready"
        server.kill()
        assert running.line() == "asked"
        status, _, errors = running.finish()
    assert status == LOST
    assert "lost 'key'" in errors and "SIGTERM" in errors and "SIGKILL in 1 s" in errors


def test_a_command_that_ends_on_sigterm_shortens_the_grace(server):
    with Running(server, "lock", "key", "--grace", "1000", "--", "sh", "-c",
                 TRAP.format("TERM")) as running:
        assert running.line() == "ready"
        server.kill()
        status, output, _ = running.finish()
    assert (status, output) == (LOST, "got\n")


def test_grace_0_kills_at_once(server):
    with Running(server, "lock", "key", "--grace", "0", "--", "sh", "-c", STUBBORN) as running:
        assert running.line() == "ready"
        server.kill()
        status, output, _ = running.finish()
    assert (status, output) == (LOST, "")


@pytest.mark.parametrize("flags, trap", [(("--grace", "1000"), ""), (("--grace", "0"), ""),
                                         (("--grace", "1"), "trap '' TERM; ")])
def test_a_loss_ends_all_processes_of_the_command(server, flags, trap):
    """Also one in its own session, an orphan, and a stopped one."""
    script = (trap + "sleep 100 & echo $!; setsid sleep 100 & echo $!; "
              "(sleep 100 & echo $!); sleep 100 & echo $!; kill -STOP $!; echo .; wait")
    with Running(server, "lock", "key", *flags, "--", "sh", "-c", script) as running:
        pids = [int(line) for line in iter(running.line, ".")]
        assert len(pids) == 4
        server.kill()
        assert running.finish()[0] == LOST
        for pid in pids:
            wait_gone(pid)


def test_a_server_silent_beyond_the_lease_is_a_loss(server):
    with Running(server, "lock", "key", "--lease", "1", "--", "sh", "-c",
                 "echo; exec sleep 100") as running:
        running.line()
        server.terminate(signal.SIGSTOP)
        try:
            status, _, errors = running.finish()
        finally:
            server.terminate(signal.SIGCONT)
    assert status == LOST
    assert "did not renew the lease in time" in errors and "stopped" not in errors


def test_a_release_by_another_client_is_a_loss(server):
    with Running(server, "lock", "key", "--lease", "1", "--", "sh", "-c",
                 "echo $DFLOCKD_TOKEN; exec sleep 100") as running, Client(server) as client:
        assert client.call("r", "key", running.line()) == "ok"
        status, _, errors = running.finish()
    assert status == LOST and "lost 'key'" in errors


def test_a_loss_while_stopped_ends_the_command(server):
    """As by ^Z: dflockctl does not renew, and detects the loss when it continues."""
    with Running(server, "lock", "key", "--lease", "1", "--", "sh", "-c",
                 "echo $$; exec sleep 100") as running:
        command = int(running.line())
        os.kill(running.pid, signal.SIGSTOP)
        os.kill(command, signal.SIGSTOP)
        eventually(lambda: held(server) == [])
        os.kill(running.pid, signal.SIGCONT)
        status, _, errors = running.finish()
        assert status == LOST and "the lease ended while dflockctl was stopped" in errors
        wait_gone(command)


def test_a_server_killed_at_the_end_of_the_command_is_a_loss(server):
    """The command succeeds, but dflockctl cannot know that it held the lock until then."""
    script = f"kill -STOP $PPID; kill -KILL {server.pid}; (sleep 0.3; kill -CONT $PPID) & exit 0"
    with Running(server, "lock", "key", "--", "sh", "-c", script) as running:
        status, _, errors = running.finish()
    assert status == LOST and "lost" in errors


# ---- servers ----

def test_lock_names_the_server_that_is_missing(nowhere):
    done = ctl(nowhere, "lock", "key", "--", "echo", "ran")
    assert (done.returncode, done.stdout) == (NO_SERVER, "")
    assert nowhere in done.stderr and "--servers" in done.stderr
    assert done.stderr.count("\n") == 1


def test_limits_of_the_server_are_reported(server):
    with Server("--max-locks", "1") as small, Client(small) as client:
        client.acquire("other")
        done = ctl(small, "lock", "key", "--", "true")
        assert done.returncode == REFUSED and "--max-locks" in done.stderr
    with Server("--max-waiters", "1") as small, Client(small) as client:
        client.acquire("key")
        assert client.call("e", "key") == "queued"
        done = ctl(small, "lock", "key", "--", "true")
        assert done.returncode == REFUSED and "--max-waiters" in done.stderr
    with Client(server) as client:
        assert client.call("sl", "key", "0 3").startswith("ok ")
        done = ctl(server, "sem", "key", "-n", "4", "--", "true")
        assert done.returncode == REFUSED and "another limit" in done.stderr


def test_a_draining_server_ends_the_wait(server):
    with Client(server) as client:
        client.acquire("key")
        with Running(server, "lock", "--no-retry", "key", "--", "true") as running:
            waits(server)
            server.terminate()
            status, _, errors = running.finish()
    assert status == NO_SERVER and "being stopped" in errors


def test_a_lost_server_after_a_reply_is_not_said_to_need_tls():
    with Server() as server, Client(server) as client:
        client.acquire("key")
        with Running(server, "lock", "--no-retry", "key", "--", "true") as running:
            waits(server)
            time.sleep(0.2)
            server.kill()
            status, _, errors = running.finish()
    assert status == NO_SERVER and "--tls" not in errors and "has ended" in errors


# ---- a shell line ----

def test_c_runs_a_line_of_the_shell(server):
    for flag in ("-c", "--command"):
        done = ctl(server, "lock", "key", flag, "echo $DFLOCKD_KEY; exit 3",
                   variables={"SHELL": ""})
        assert (done.returncode, done.stdout) == (3, "key\n")
    done = ctl(server, "lock", "-c", "exit 4", "--", "--key", variables={"SHELL": "/bin/sh"})
    assert done.returncode == 4


def test_c_runs_the_shell_of_the_user(server, tmp_path):
    shell = tmp_path / "shell"
    shell.write_text('#!/bin/sh\necho "my shell: $1 $2"\n')
    shell.chmod(0o755)
    done = ctl(server, "lock", "key", "-c", "the line", variables={"SHELL": str(shell)})
    assert (done.returncode, done.stdout) == (0, "my shell: -c the line\n")


# ---- without a command ----

@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("command", [("lock", "key"), ("sem", "key", "-n", "2")])
def test_without_a_command_the_lock_is_held_until_a_signal(server, command, name):
    with Running(server, *command, "--lease", "1") as running, Client(server) as client:
        token = running.line()
        assert re.fullmatch("[0-9a-f]{32}", token)
        time.sleep(1.5)
        kind = "locks" if command[0] == "lock" else "semaphores"
        assert [entry["key"] for entry in held(server, kind)] == ["key"]
        running.send(getattr(signal, name))
        assert running.finish() == (
            0, "", f"dflockctl: holds 'key', fence {int(token[:16], 16)}, until SIGINT (^C) or "
            "SIGTERM\n")
        assert client.stats()[kind] == []


def test_without_a_command_another_signal_has_its_status(server):
    for number, status in ((signal.SIGHUP, 129), (signal.SIGQUIT, -signal.SIGQUIT)):
        with Running(server, "lock", "key") as running:
            running.line()
            running.send(number)
            assert running.finish()[0] == status
        assert held(server) == []


def test_without_a_command_a_loss_has_its_status(server):
    with Running(server, "lock", "key", "--lease", "1") as running, Client(server) as client:
        assert client.call("r", "key", running.line()) == "ok"
        status, _, errors = running.finish()
    assert status == LOST and "lost 'key': " in errors


def test_without_a_command_a_stop_past_the_lease_is_a_loss(server):
    with Running(server, "lock", "key", "--lease", "1") as running:
        running.line()
        running.send(signal.SIGSTOP)
        time.sleep(2)
        running.send(signal.SIGCONT)
        status, _, errors = running.finish()
    assert status == LOST and "the lease ended while dflockctl was stopped" in errors


def test_without_a_command_standard_input_is_not_read(server):
    reader, writer = os.pipe()
    os.write(writer, b"kept")
    with subprocess.Popen([str(CTL), "lock", "key"], stdin=reader, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, env=environment(server)) as process:
        assert process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert os.read(reader, 10) == b"kept"
    os.close(reader)
    os.close(writer)


def test_without_a_command_a_full_output_releases(server):
    with open("/dev/full", "w", encoding="ascii") as full:
        done = ctl(server, "lock", "key", stdout=full)
    assert done.returncode == OUTPUT and "standard output" in done.stderr
    assert held(server) == []


@contextmanager
def held_with_full_output(server):
    """A `lock key` that has the lock, and no room for its token: the process, and the pipe."""
    reader, writer = os.pipe()
    os.write(writer, b"x" * fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096))
    process = subprocess.Popen([str(CTL), "lock", "key", "--lease", "1"], stdout=writer,
                               stderr=subprocess.PIPE, text=True, env=environment(server))
    os.close(writer)
    try:
        eventually(lambda: held(server))
        time.sleep(1.5)
        yield process, reader
    finally:
        process.kill()
        process.communicate()
        os.close(reader)


def rest_of(process, reader):
    """Exit status, all of standard output after the filling, standard error."""
    errors = process.communicate(timeout=30)[1]
    output = b""
    while data := os.read(reader, 65536):
        output += data
    return process.returncode, output.lstrip(b"x").decode(), errors


def test_without_a_command_the_lock_is_kept_while_output_is_full(server):
    with held_with_full_output(server) as (process, reader):
        assert [entry["key"] for entry in held(server)] == ["key"]
        assert os.read(reader, 4096) == b"x" * 4096
        token = os.read(reader, 4096).decode().strip()
        assert f"fence {int(token[:16], 16)}, until" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert rest_of(process, reader) == (0, "", "")
    assert held(server) == []


def test_without_a_command_a_signal_ends_it_while_output_is_full(server):
    with held_with_full_output(server) as (process, reader):
        process.send_signal(signal.SIGTERM)
        assert rest_of(process, reader) == (0, "", "")
        assert held(server) == []


def test_without_a_command_a_loss_is_reported_while_output_is_full(server):
    with held_with_full_output(server) as (process, reader):
        server.kill()
        status, output, errors = rest_of(process, reader)
    assert (status, output) == (LOST, "")
    assert errors.startswith("dflockctl: lost 'key': ") and errors.count("\n") == 1
    assert "stopped" not in errors


# ---- several keys ----

def test_several_keys_are_held_together(server):
    script = ('echo "$DFLOCKD_KEYS/$DFLOCKD_TOKENS/$DFLOCKD_FENCES/${DFLOCKD_KEY-none}"; '
              "exec sleep 100")
    with Running(server, "lock", "b", "c", "a", "--lease", "1", "--", "sh", "-c", script,
                 variables={"DFLOCKD_KEY": "outer"}) as running:
        keys, tokens, fences, single = running.line().split("/")
        assert (keys, single) == ("b c a", "none")
        time.sleep(1.5)
        with Client(server) as client:
            assert sorted(lock["key"] for lock in client.stats()["locks"]) == ["a", "b", "c"]
            for key, token, fence in zip(keys.split(), tokens.split(), fences.split(),
                                         strict=True):
                assert int(token[:16], 16) == int(fence)
                assert client.call("n", key, token + " 1") == "ok 1"
        by_key = dict(zip(keys.split(), map(int, fences.split()), strict=True))
        assert by_key["a"] < by_key["b"] < by_key["c"]
        running.send(signal.SIGTERM)
        assert running.finish()[0] == 143
    assert held(server) == []


def test_commands_with_common_keys_do_not_block_each_other(server, tmp_path):
    alone = f"mkdir {tmp_path}/inside || exit 9; sleep 0.02; rmdir {tmp_path}/inside"
    orders = [("a", "b", "c"), ("c", "b", "a"), ("b", "a"), ("c", "a")]
    runners = [Running(server, "lock", *keys, "--", "sh", "-c", alone) for keys in orders * 3]
    assert [running.finish() for running in runners] == [(0, "", "")] * 12


def test_all_keys_are_given_back_if_one_is_not_granted(server):
    with Client(server) as client:
        token = client.acquire("b")
        done = ctl(server, "lock", "c", "a", "b", "--timeout", "0.3", "--", "echo", "ran")
        assert (done.returncode, done.stdout) == (TIMED_OUT, "")
        assert done.stderr.startswith("dflockctl: no lock on 'b': ")
        assert [lock["key"] for lock in held(server)] == ["b"]
        with Running(server, "lock", "a", "b", "--", "true") as running:
            waits(server)
            running.send(signal.SIGTERM)
            assert running.finish()[0] == 143
        assert [lock["key"] for lock in held(server)] == ["b"]
        assert client.call("r", "b", token) == "ok"


def test_the_loss_of_one_key_ends_the_command(server):
    """The other keys stay held until all processes have ended."""
    script = ("trap 'echo asked; i=0; while [ $i -lt 30 ]; do sleep 0.1; i=$((i + 1)); done; "
              "exit 5' TERM; echo $DFLOCKD_TOKENS; sleep 100 & wait")
    with Running(server, "lock", "a", "b", "--lease", "2", "--", "sh", "-c",
                 script) as running, Client(server) as client:
        assert client.call("r", "b", running.line().split()[1]) == "ok"
        assert running.line() == "asked"
        time.sleep(2.5)
        assert [lock["key"] for lock in held(server)] == ["a"]
        status, _, errors = running.finish()
        assert status == LOST and "lost 'b': " in errors
        assert held(server) == []


def test_a_key_that_is_lost_during_the_wait_gives_all_back(server):
    with Client(server) as client:
        client.acquire("b")
        with Running(server, "lock", "a", "b", "--lease", "1", "--", "true") as running:
            waits(server)
            # The token of `a` is unknown here: the server that holds it is stopped past its lease.
            server.terminate(signal.SIGSTOP)
            time.sleep(1.5)
            server.terminate(signal.SIGCONT)
            status, output, errors = running.finish()
        assert (status, output) == (LOST, "") and "lost 'a' while waiting" in errors


MANY = [f"key-{i}" for i in range(16)]  # 16 timeouts of 4 s are longer than a test waits


def test_several_releases_share_one_timeout(server):
    try:
        done = ctl(server, "lock", *MANY, "--reply-timeout", "4", "--", "sh", "-c",
                   f"kill -STOP {server.pid}; exit 3")
    finally:
        server.terminate(signal.SIGCONT)
    assert done.returncode == 3
    assert done.stderr.count("did not confirm the release") == len(MANY)


def test_giving_up_several_keys_takes_one_timeout(server):
    with Client(server) as client:
        client.acquire("z", "10 1000")
        with Running(server, "lock", "z", *MANY, "--lease", "1000", "--reply-timeout", "4", "--",
                     "true") as running:
            waits(server)
            server.terminate(signal.SIGSTOP)
            running.send(signal.SIGTERM)
            status, _, errors = running.finish()
            server.terminate(signal.SIGCONT)
        assert status == 143 and errors.startswith("dflockctl: gave up waiting")
        eventually(lambda: [entry["key"] for entry in held(server)] == ["z"])


def test_a_second_signal_ends_the_release(server):
    with Client(server) as client:
        client.acquire("z", "10 1000")
        with Running(server, "lock", "z", "a", "b", "--lease", "1000", "--reply-timeout", "600",
                     "--", "true") as running:
            waits(server)
            server.terminate(signal.SIGSTOP)
            running.send(signal.SIGINT)
            assert "gave up" in running.process.stderr.readline()
            running.send(signal.SIGINT)
            status = running.finish()[0]
            server.terminate(signal.SIGCONT)
        assert status == -signal.SIGINT
        eventually(lambda: [entry["key"] for entry in held(server)] == ["z"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_release_after_the_command(server, number):
    with Running(server, "lock", "a", "b", "--reply-timeout", "600", "--", "sh", "-c",
                 f"kill -STOP {server.pid}; echo $$; exit 3") as running:
        wait_gone(int(running.line()))

        def ends():
            running.send(number)
            return running.process.poll() is not None

        eventually(ends)
        status, _, errors = running.finish()
        server.terminate(signal.SIGCONT)
    assert status == 3 and errors.count("did not confirm the release") == 2
    eventually(lambda: held(server) == [])


def test_a_lease_that_ends_after_the_command_is_no_loss(server):
    script = f"kill -STOP {server.pid}; (sleep 2.5; kill -CONT {server.pid}) & exit 0"
    with Running(server, "lock", "a", "b", "--lease", "1", "--reply-timeout", "20", "--", "sh",
                 "-c", script) as running:
        status, _, errors = running.finish()
    assert status == 0 and "lost" not in errors
    eventually(lambda: held(server) == [])


def test_a_release_by_another_client_before_the_end_is_a_loss(server):
    script = "echo $DFLOCKD_TOKENS; read line; exit 0"
    with subprocess.Popen([str(CTL), "lock", "a", "b", "--lease", "1000", "--", "sh", "-c", script],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, env=environment(server)) as process, Client(server) as client:
        assert client.call("r", "b", process.stdout.readline().split()[1]) == "ok"
        errors = process.communicate("\n", timeout=30)[1]
    assert process.returncode == LOST and "'b' was lost before the command ended" in errors


def test_keys_of_several_servers_are_held_together(server):
    with Server() as other:
        keys = [f"key-{i}" for i in range(8)]
        with Running([server, other], "lock", *keys, "--lease", "2", "--", "sh", "-c",
                     "echo; exec sleep 100") as running:
            running.line()
            counts = [len(held(one)) for one in (server, other)]
            assert sum(counts) == 8 and all(counts)
            other.kill()
            status, _, errors = running.finish()
        assert status == LOST and "lost 'key-" in errors
    eventually(lambda: held(server) == [])


# ---- timeouts below a second ----

def test_a_fraction_of_a_second_ends_the_wait(server):
    """The protocol has whole seconds: the server would wait for a second."""
    with Client(server) as client:
        client.acquire("key")
        with Running(server, "lock", "key", "--timeout", "0.2", "--", "echo", "ran") as running:
            waits(server)
            server.terminate(signal.SIGSTOP)  # so that only the client can end the wait
            try:
                status, output, errors = running.finish()
            finally:
                server.terminate(signal.SIGCONT)
        assert (status, output) == (TIMED_OUT, "")
        assert "not granted before the timeout" in errors
        waits(server, 0)


def test_a_free_lock_is_granted_however_short_the_timeout_is(server):
    for _ in range(10):
        assert ctl(server, "lock", "key", "--timeout", "0.001", "--", "true").returncode == 0


def test_a_grant_that_crosses_the_end_of_a_timeout_is_released():
    """The client is stopped at that time. The grant may be used, or is released."""
    with Server("--no-auto-release-on-disconnect") as server, Client(server) as client:
        for _ in range(10):
            token = client.acquire("key")
            with Running(server, "lock", "key", "--timeout", "0.25", "--lease", "1000", "--",
                         "true") as running:
                waits(server)
                time.sleep(0.2)
                client.call("r", "key", token)
                assert running.finish()[0] in (0, TIMED_OUT)
            assert held(server) == []


@pytest.mark.parametrize("flag", ["-E", "--conflict-exit-code"])
@pytest.mark.parametrize("command", [("lock", "key", "--", "true"), ("acquire", "key"),
                                     ("acquire", "key", "--no-hold")])
def test_a_conflict_has_the_given_status(server, command, flag):
    with Client(server) as client:
        client.acquire("key")
        for timeout in ("0", "0.1"):
            done = ctl(server, command[0], "--timeout", timeout, flag, "5", *command[1:])
            assert done.returncode == 5


@pytest.mark.parametrize("timeout", ["0", "0.1"])
@pytest.mark.parametrize("command", [
    ("lock", "key"), ("lock", "key", "--", "echo", "ran"), ("lock", "key", "-c", "echo ran"),
    ("lock", "free", "key", "--", "echo", "ran"), ("lock", "key", "later", "--", "echo", "ran"),
    ("sem", "slots", "-n", "1"), ("sem", "slots", "-n", "1", "--", "echo", "ran"),
    ("acquire", "key"), ("acquire", "key", "--while", str(os.getpid())),
    ("acquire", "key", "--no-hold"), ("acquire", "slots", "-n", "1")])
def test_a_conflict_of_status_0_runs_nothing_and_prints_nothing(server, command, timeout):
    with Client(server) as client, Client(server) as other:
        client.acquire("key", "0 1000")
        other.call("sl", "slots", "0 1 1000")
        for _ in range(5):
            done = ctl(server, command[0], "--timeout", timeout, "-E", "0", *command[1:])
            assert (done.returncode, done.stdout) == (0, "")
            assert done.stderr.count("\n") == 1 and "not granted before" in done.stderr
        assert sorted(entry["key"] for entry in held(server)) == ["key", "slots"]


# ---- retries ----

@contextmanager
def restarted(server):
    """Another server at the address of one that has ended."""
    server.wait()
    with Server("--port", str(server.port)) as following:
        yield following


@pytest.mark.parametrize("end", ["kill", "terminate"])
@pytest.mark.parametrize("command", [("lock",), ("sem", "-n", "1")])
def test_a_waiter_survives_the_restart_of_its_server(end, command):
    with Server() as server, Client(server) as client:
        if command[0] == "lock":
            client.acquire("key")
        else:
            client.call("sl", "key", "0 1 100")
        with Running(server, command[0], "key", *command[1:], "--", "echo", "run") as running:
            waits(server)
            time.sleep(0.2)
            getattr(server, end)()
            client.close()
            with restarted(server):
                assert running.finish()[:2] == (0, "run\n")


def test_acquire_survives_the_restart_of_its_server():
    with Server() as server, Client(server) as client:
        client.acquire("key")
        with Running(server, "acquire", "key", "--while", str(os.getpid())) as running:
            waits(server)
            time.sleep(0.2)
            server.kill()
            with restarted(server) as following:
                token = running.line()
                assert running.finish()[0] == 0
                assert ctl(following, "release", "key", token).returncode == 0


@pytest.mark.parametrize("flags", [("--no-retry",), ("--timeout", "60")])
def test_a_waiter_with_a_timeout_or_without_retry_ends_with_its_server(flags):
    with Server() as server, Client(server) as client:
        client.acquire("key")
        with Running(server, "lock", "key", *flags, "--", "true") as running:
            waits(server)
            time.sleep(0.2)
            server.kill()
            assert running.finish()[0] == NO_SERVER


def test_retry_waits_for_a_server_to_start():
    with Server() as server:
        server.kill()
    with Running(server, "lock", "key", "--retry", "--timeout", "60", "--",
                 "echo", "run") as running:
        time.sleep(1)
        assert running.process.poll() is None
        with Server("--port", str(server.port)):
            status, output, errors = running.finish()
    assert (status, output) == (0, "run\n")
    assert errors.count("trying again") == 1


def test_the_timeout_ends_the_retries(nowhere):
    begun = time.monotonic()
    done = ctl(nowhere, "lock", "key", "--retry", "--timeout", "1", "--", "true")
    assert done.returncode == NO_SERVER
    assert time.monotonic() - begun >= 1


def test_a_signal_ends_the_retries(nowhere):
    with Running(nowhere, "lock", "key", "--retry", "--", "true") as running:
        assert "trying again" in running.process.stderr.readline()
        running.send(signal.SIGTERM)
        assert running.finish()[0] == 128 + signal.SIGTERM


# ---- pauses, and servers that do not reply ----

def test_a_grant_that_ended_while_the_waiter_was_stopped_runs_nothing(tmp_path):
    """The waiter is granted while it is stopped, and its lease ends: the next client is granted."""
    with Server() as server, Client(server) as first, Client(server) as following:
        token = first.acquire("key")
        with Running(server, "lock", "key", "--lease", "1", "--no-retry", "--",
                     "touch", str(tmp_path / "ran")) as running:
            waits(server)
            running.send(signal.SIGSTOP)
            assert first.call("r", "key", token) == "ok"
            following.acquire("key", "10")
            running.send(signal.SIGCONT)
            assert running.finish()[0] == LOST
        assert not (tmp_path / "ran").exists()


def test_acquire_prints_no_token_of_a_grant_that_ended_while_it_was_stopped():
    with Server() as server, Client(server) as first, Client(server) as following:
        token = first.acquire("key")
        with Running(server, "acquire", "key", "--lease", "1", "--no-retry") as running:
            waits(server)
            holder = holders_of("key")
            for pid in holder:
                os.kill(pid, signal.SIGSTOP)
            assert first.call("r", "key", token) == "ok"
            following.acquire("key", "10")
            for pid in holder:
                os.kill(pid, signal.SIGCONT)
            status, output, _ = running.finish()
        assert (status, output) == (LOST, "")


@pytest.mark.parametrize("command", [
    ("lock", "key", "--try", "--", "true"), ("acquire", "key", "--try"), ("ping",), ("stats",),
    ("ls",), ("show", "key"), ("renew", "key", "0" * 32), ("release", "key", "0" * 32)])
def test_timeouts_limit_the_wait_for_a_silent_server(server, command):
    server.terminate(signal.SIGSTOP)
    try:
        begun = time.monotonic()
        done = ctl(server, command[0], "--connect-timeout", "1", "--reply-timeout", "1",
                   *command[1:])
        taken = time.monotonic() - begun
    finally:
        server.terminate(signal.SIGCONT)
    assert done.returncode == NO_SERVER
    assert server.host in done.stderr
    assert taken < 10


# The requests that dflockctl sends before that for a lock, and the replies.
BEFORE_A_LOCK = {b"w\n": b"error_not_enqueued\n", b"name\n": b"ok\n", b"r\n": b"error\n"}


class SilentServer(StandIn):
    """Replies to what precedes a request for a lock if `replies`, and to nothing else."""

    def __init__(self, replies):
        super().__init__()
        self.replies = BEFORE_A_LOCK if replies else {}

    def serve(self, connection):
        with connection.makefile("rb") as file:
            while command := file.readline():
                file.readline()
                file.readline()
                connection.sendall(self.replies.get(command, b""))


@pytest.mark.parametrize("command", [
    ("lock", "key", "--timeout", "0.5", "--", "true"), ("lock", "key", "--try", "--", "true"),
    ("sem", "key", "-n", "2", "--timeout", "1"), ("acquire", "key", "--timeout", "0.5"),
    ("acquire", "key", "--no-hold", "--try"), ("ping",), ("stats",), ("ls",), ("show", "key"),
    ("renew", "key", "0" * 32), ("release", "key", "0" * 32)])
def test_the_connect_timeout_is_not_added_to_the_reply_timeout(command):
    with SilentServer(replies=False) as silent:
        done = ctl(silent.address, command[0], "--connect-timeout", "3600", "--reply-timeout",
                   "0.2", *command[1:])
    assert done.returncode == NO_SERVER
    assert f"{silent.address}: the server did not reply in time" in done.stderr


def test_a_fraction_of_a_second_limits_connecting():
    with SilentServer(replies=False) as silent:
        done = ctl(silent.address, "ping", "--tls", "--tls-insecure", "--connect-timeout", "0.2",
                   "--reply-timeout", "3600")
    assert done.returncode == NO_SERVER


@pytest.mark.parametrize("timeout, status", [("1", NO_SERVER), ("0.5", TIMED_OUT)])
def test_the_connect_timeout_is_not_added_to_the_wait(timeout, status):
    with SilentServer(replies=True) as silent:
        done = ctl(silent.address, "lock", "key", "--timeout", timeout, "--connect-timeout", "3600",
                   "--reply-timeout", "0.2", "--", "true")
    assert done.returncode == status


def test_a_unix_socket_is_a_server_too(tmp_path):
    path = tmp_path / "socket"
    with Server("--unix-socket", str(path)):
        done = ctl(f"unix:{path}", "lock", "key", "--", "echo", "ran")
        assert (done.returncode, done.stdout) == (0, "ran\n")


def test_retry_without_time_to_wait_is_reported(server):
    done = ctl(server, "lock", "key", "--try", "--retry", "--", "true")
    assert done.returncode == 0 and "warning: --retry: has no effect" in done.stderr


@pytest.mark.parametrize("arguments", [
    ("lock",), ("lock", "key", "--"), ("lock", "--", "true"), ("lock", "key", "true"),
    ("lock", "a b", "--", "true"), ("lock", "", "--", "true"), ("lock", "k" * 257, "--", "true"),
    ("sem", "key", "--", "true"), ("sem", "key", "-n", "0", "--", "true"),
    ("lock", "key", "--lease", "0", "--", "true"), ("lock", "key", "--lease", "0.5", "--", "true"),
    ("lock", "key", "--timeout", "0.0005", "--", "true"),
    ("lock", "key", "--reply-timeout", "0", "--", "true"),
    ("lock", "key", "other", "key", "--", "true"), ("lock", "key", "other", "--"),
    ("lock", "key", "other"), ("lock", "key", "-c", "true", "--", "true"),
    ("lock", *map(str, range(65)), "--", "true"), ("lock", "key", "-E", "256", "--", "true"),
    ("lock", "key", "--grace", "-1", "--", "true"),
    ("lock", "key", "--try", "--timeout", "3", "--", "true"),
    ("lock", "key", "-n", "3", "--", "x")])
def test_wrong_arguments_are_reported_in_one_line(server, arguments):
    done = ctl(server, *arguments)
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert done.stderr.startswith("dflockctl: ") and done.stderr.count("\n") == 1


def test_a_release_that_the_server_does_not_confirm_is_reported(server):
    try:
        done = ctl(server, "lock", "key", "--reply-timeout", "1", "--", "sh", "-c",
                   f"kill -STOP {server.pid}; exit 3")
    finally:
        server.terminate(signal.SIGCONT)
    assert done.returncode == 3
    assert "did not confirm the release" in done.stderr


def test_signals_while_the_command_ends_lose_nothing(server):
    """dflockctl may have received them, and its supervisor may not have read them."""
    for _ in range(20):
        with Running(server, "lock", "key", "--", "sleep", "0.02") as running:
            while running.process.poll() is None:
                running.send(signal.SIGWINCH)
                time.sleep(0.0005)
            assert running.finish()[::2] == (0, "")


# ---- stand-in servers ----

class ClosingServer(StandIn):
    """Accepts connections and closes each after `seconds`; `accepted` counts them."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds
        self.accepted = 0

    def serve(self, connection):
        self.accepted += 1
        time.sleep(self.seconds)
        connection.close()


@pytest.mark.parametrize("seconds", [0, 0.5])
def test_a_server_that_never_answered_is_not_retried(seconds):
    with ClosingServer(seconds) as stand_in:
        done = ctl(stand_in.address, "lock", "key", "--", "true")
    assert done.returncode == NO_SERVER and stand_in.accepted == 1


class CrossingServer(StandIn):
    """Grants a lock when the client has ended its side. `released` has the requests after that."""

    TOKEN = "0123456789abcdef" * 2

    def __init__(self):
        super().__init__()
        self.waiting = threading.Event()
        self.released = []

    def serve(self, connection):
        with connection, connection.makefile("rb") as file:
            asked = False
            while command := file.readline():
                file.readline()
                argument = file.readline()
                asked |= command == b"l\n"
                if command == b"l\n":
                    self.waiting.set()
                elif command == b"r\n" and argument.startswith(self.TOKEN.encode()):
                    self.released.append(argument)
                    connection.sendall(b"ok\n")
                else:
                    connection.sendall(BEFORE_A_LOCK[command])
            if asked:
                connection.sendall(f"ok {self.TOKEN} 1000\n".encode())


@pytest.mark.parametrize("command", [
    ("lock", "key", "--", "echo", "ran"), ("lock", "key"), ("acquire", "key"),
    ("acquire", "key", "--no-hold")])
@pytest.mark.parametrize("end", ["signal", "timeout"])
def test_a_grant_that_crosses_the_end_of_the_wait_is_released(command, end):
    """Also if the server keeps grants of closed connections."""
    flags = ("--timeout", "0.3") if end == "timeout" else ()
    with CrossingServer() as stand_in:
        with Running(stand_in.address, command[0], *flags, *command[1:]) as running:
            assert stand_in.waiting.wait(30)
            if end == "signal":
                running.send(signal.SIGTERM)
            status, output, _ = running.finish()
        assert output == "" and status in (TIMED_OUT, 143, -signal.SIGTERM)
        eventually(lambda: stand_in.released)


@pytest.fixture
def link(server):
    with Link(server) as link:
        yield link


def test_a_silent_connection_hides_no_loss(link):
    """The server has released the lock; the first new connection gets no reply."""
    with Running(link.address, "lock", "key", "--lease", "1000", "--connect-timeout", "1",
                 "--reply-timeout", "1", "--", "sh", "-c", "echo; exec sleep 1000") as running:
        running.line()
        link.silent = True
        link.cut()
        eventually(lambda: link.mute == 1)
        link.silent = False
        status, _, errors = running.finish()
    assert status == LOST and "does not know the grant" in errors


def test_acquire_does_not_succeed_while_the_lock_is_unverified(server, link):
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writer, b"x" * 4096)
    process = subprocess.Popen(
        [str(CTL), "acquire", "key", "--while", str(os.getpid())], stdout=writer,
        stderr=subprocess.PIPE, text=True, env=environment(link.address))
    try:
        os.close(writer)
        eventually(lambda: held(server))
        time.sleep(0.3)
        link.silent = True
        link.cut()
        eventually(lambda: link.mute == 1)
        with Client(server) as following:
            following.acquire("key", "10")
            os.read(reader, 4096)
            time.sleep(0.5)
            link.silent = False
            link.cut()
            assert process.wait(30) == LOST
    finally:
        process.kill()
        process.communicate()
        os.close(reader)
