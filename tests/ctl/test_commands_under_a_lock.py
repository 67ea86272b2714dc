"""`lock` and `sem`: processes, signals, job control and the terminal of the command."""

import contextlib
import fcntl
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ctl import (CTL, LOST, NO_SERVER, PATIENCE, TIMED_OUT, Running, Terminal, ctl, environment,
                 gone, default_signals, wait_gone)
from lib.wire_client import Client, eventually

ROUNDS = 50
STALL_S = 0.05  # half of the time within which dflockctl takes two signals for one
SANITIZED = b"__asan_init" in CTL.read_bytes()
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
# Counts a signal in a file, and ends some time after the first one.
COUNTER = """
import os, signal, sys, time
number, path = int(sys.argv[1]), sys.argv[2]
def count(*_):
    with open(path, "a") as file:
        file.write("x")
signal.signal(number, count)
print("ready", flush=True)
while not os.path.exists(path):
    time.sleep(0.01)
time.sleep(0.5)
"""
# Has an orphan, a process in another session, and a child; prints their process ids.
FAMILY = ("(sleep 1000 & echo $!); setsid sleep 1000 & echo $!; sleep 1000 & echo $!; "
          "echo .; ")


def own_session():
    default_signals()
    os.setsid()


def own_group():
    """In the session of the test: an orphaned group could not be stopped."""
    default_signals()
    os.setpgid(0, 0)


def holders(server):
    with Client(server) as client:
        return [lock["key"] for lock in client.stats()["locks"] if lock["owner_conn_id"]]


def state(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        return file.read().rsplit(")", 1)[1].split()[0]


def parent(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        return int(file.read().rsplit(")", 1)[1].split()[1])


def children(pid):
    found = []
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError):
            if parent(int(entry)) == pid:
                found.append(int(entry))
    return found


def pids_until_dot(running):
    return [int(line) for line in iter(running.line, ".")]


def end_all(pids):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


# ---- each signal once ----

class Stalls:
    """Counts how often this machine did not run a thread in time."""

    def __init__(self):
        self.count = 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    def _watch(self):
        before = time.monotonic()
        while not self.ended.wait(STALL_S / 5):
            now = time.monotonic()
            self.count += now - before > STALL_S
            before = now


def send_to_process(running):
    os.kill(running.pid, signal.SIGTERM)


def send_to_group(running):
    os.killpg(running.pid, signal.SIGTERM)


def send_to_each(running):
    """As systemd does with KillMode=control-group; send_to_process is KillMode=mixed."""
    pids = [running.pid]
    for pid in pids:
        pids += children(pid)
    for pid in pids:
        os.kill(pid, signal.SIGTERM)


@pytest.mark.parametrize("send, prefix", [
    (send_to_process, ()), (send_to_group, ()), (send_to_each, ()),
    (send_to_process, ("timeout", "1000")), (send_to_process, ("timeout", "--foreground", "1000"))])
def test_a_signal_reaches_the_command_exactly_once(server, tmp_path, send, prefix):
    def count(index):
        path = tmp_path / str(index)
        stalls_before = stalls.count
        with Running(server, "lock", f"key{index}", "--", sys.executable, "-c", COUNTER,
                     str(int(signal.SIGTERM)), str(path), preexec=own_session,
                     prefix=prefix) as running:
            assert running.line() == "ready"
            send(running)
            assert running.finish()[1:] == ("", "")
        counted = path.read_text()
        # A machine that stalls may part the signals of one sender.
        assert counted == "x" or counted == "xx" and stalls.count > stalls_before

    with Stalls() as stalls, ThreadPoolExecutor(4) as pool:
        list(pool.map(count, range(ROUNDS)))


def test_a_signal_to_the_group_reaches_a_command_that_left_it(server, tmp_path):
    path = tmp_path / "count"
    with Running(server, "lock", "key", "--", "setsid", sys.executable, "-c", COUNTER,
                 str(int(signal.SIGINT)), str(path), preexec=own_session) as running:
        assert running.line() == "ready"
        os.killpg(running.pid, signal.SIGINT)
        assert running.finish() == (0, "", "")
    assert path.read_text() == "x"


def test_an_alarm_set_before_reaches_the_command(server):
    def set_alarm():
        default_signals()
        signal.setitimer(signal.ITIMER_REAL, 1)

    with Running(server, "lock", "key", "--", "sh", "-c",
                 "trap 'echo alarm; exit 7' ALRM; while :; do sleep 0.05; done",
                 preexec=set_alarm) as running:
        assert running.finish() == (7, "alarm\n", "")


def test_the_hangup_of_the_terminal_reaches_the_command(server, tmp_path):
    path = tmp_path / "hangup"
    pid, master = pty.fork()
    if pid == 0:
        default_signals()
        os.execve(CTL, [str(CTL), "lock", "key", "--", "sh", "-c",
                        f"trap 'echo > {path}; exit' HUP; echo ready; "
                        "while :; do sleep 0.05; done"], environment(server))
    try:
        assert b"ready" in os.read(master, 100)
        os.close(master)
        eventually(path.exists)
    finally:
        end_all([pid])
        os.waitpid(pid, 0)


def test_the_command_inherits_the_signal_dispositions(server):
    show = ["grep", "-E", "^Sig(Blk|Ign|Cgt)", "/proc/self/status"]

    def ignore():
        default_signals()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    plain = subprocess.run(show, capture_output=True, text=True, check=True, timeout=PATIENCE,
                           preexec_fn=ignore)
    assert ctl(server, "lock", "key", "--", *show, preexec=ignore).stdout == plain.stdout


# ---- interrupts end dflockctl too ----

@pytest.mark.parametrize("name", ["INT", "QUIT"])
def test_dflockctl_dies_of_the_interrupt_of_the_command(server, name):
    done = ctl(server, "lock", "key", "--", "sh", "-c", f"kill -{name} $$; sleep 10")
    assert done.returncode == -getattr(signal, f"SIG{name}")


def test_an_interrupt_that_the_command_handles_is_an_exit(server):
    done = ctl(server, "lock", "key", "--", "sh", "-c", "trap 'exit 130' INT; kill -INT $$; :")
    assert done.returncode == 130


def test_one_interrupt_ends_a_loop_of_a_shell(server):
    script = (f"for i in 1 2 3; do echo run $i; {CTL} lock key -- sleep 1000; done; echo after")
    with Terminal(server, command=["bash", "-c", script]) as terminal:
        terminal.see("run 1")
        eventually(lambda: holders(server))
        terminal.type(b"\x03")
        assert terminal.finish() == -signal.SIGINT
        assert "run 2" not in terminal.text() and "after" not in terminal.text()


# ---- stopped and continued ----

def test_a_stop_of_dflockctl_stops_the_command_and_its_children(server):
    with Running(server, "lock", "key", "--lease", "2", "--", "sh", "-c",
                 FAMILY + "echo $$; exec sleep 1000", preexec=own_group) as running:
        pids = pids_until_dot(running) + [int(running.line()), running.pid]
        os.kill(running.pid, signal.SIGTSTP)
        for pid in pids:
            eventually(lambda pid=pid: state(pid) == "T")
        eventually(lambda: not holders(server))
        os.kill(running.pid, signal.SIGCONT)
        status, _, errors = running.finish()
        assert status == LOST and "lost 'key'" in errors
        for pid in pids[:-1]:
            wait_gone(pid)


def test_a_stopped_command_continues_with_dflockctl(server):
    with Running(server, "lock", "key", "--lease", "1000", "--", "sh", "-c",
                 "echo $$; sleep 1; echo done", preexec=own_group) as running:
        command = int(running.line())
        for _ in range(3):
            os.kill(running.pid, signal.SIGTSTP)
            eventually(lambda: state(command) == "T" and state(running.pid) == "T")
            os.kill(running.pid, signal.SIGCONT)
            eventually(lambda: state(command) != "T" and state(running.pid) != "T")
        assert running.finish() == (0, "done\n", "")


def test_dflockctl_stops_and_continues_as_the_command_does(server):
    with Running(server, "lock", "key", "--lease", "1000", "--", "sh", "-c",
                 "echo $$; exec sleep 1", preexec=own_group) as running:
        command = int(running.line())
        os.kill(command, signal.SIGSTOP)
        eventually(lambda: state(running.pid) == "T")
        os.kill(command, signal.SIGCONT)
        assert running.finish() == (0, "", "")


@pytest.mark.parametrize("number", [signal.SIGTSTP, signal.SIGSTOP])
def test_while_the_command_runs_a_stop_does_not_end_the_renewals(server, number):
    with Running(server, "lock", "key", "--lease", "1", "--", "sh", "-c",
                 "trap '' TSTP; echo; exec sleep 1000", preexec=own_group) as running:
        running.line()
        os.kill(running.pid, number)
        for _ in range(10):
            time.sleep(0.3)
            assert holders(server) == ["key"]
        os.kill(running.pid, signal.SIGCONT)
        os.kill(running.pid, signal.SIGTERM)
        assert running.finish() == (128 + signal.SIGTERM, "", "")


# Cleans up before it stops, as editors do.
CLEANS_UP = """
import os, signal, time
def stop(*_):
    time.sleep(0.5)
    print("cleaned up", flush=True)
    signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTSTP])
    os.kill(os.getpid(), signal.SIGTSTP)
    signal.signal(signal.SIGTSTP, stop)
    print("went on", flush=True)
signal.signal(signal.SIGTSTP, stop)
print("ready", flush=True)
while True:
    time.sleep(0.1)
"""


def test_job_control_of_a_shell(server, tmp_path):
    script = tmp_path / "editor"
    script.write_text(CLEANS_UP)
    with Terminal(server, command=["bash", "--norc", "--noprofile", "-i"]) as terminal:
        terminal.type(f"PS1='prompt> '; clear\n{CTL} lock key -- {sys.executable} {script}\n"
                      .encode())
        terminal.see("ready")
        for _ in range(3):
            terminal.type(b"\x1a")
            terminal.see("cleaned up", "Stopped")
            text = terminal.text()
            assert text.index("cleaned up") < text.index("Stopped")
            terminal.type(b"clear; fg\n")
            terminal.see("went on")
        terminal.type(b"\x1a")
        terminal.see("Stopped")
        terminal.type(b"clear; bg\n")
        terminal.see("went on")
        terminal.type(b"clear; fg\n")
        terminal.see("lock key")
        time.sleep(0.3)
        terminal.type(b"\x03")
        terminal.see("prompt>")
        terminal.type(b"clear; echo $?; jobs; exit\n")
        assert terminal.finish() == 130 or terminal.process.returncode == 0
        eventually(lambda: not holders(server))


def test_a_background_command_that_reads_the_terminal_is_stopped(server):
    with Terminal(server, command=["bash", "--norc", "--noprofile", "-i"]) as terminal:
        terminal.type(f"clear; {CTL} lock key -- head -n 1 &\n".encode())
        eventually(lambda: holders(server))
        time.sleep(0.5)
        terminal.type(b"clear; jobs\n")
        terminal.see("Stopped")
        terminal.type(b"clear; fg\n")
        terminal.see("head -n 1")
        time.sleep(0.3)
        terminal.type(b"some words\n")
        eventually(lambda: terminal.text().count("some words") == 2)
        terminal.type(b"clear; exit\n")
        assert terminal.finish() == 0


# ---- killed ----

@pytest.mark.parametrize("kill", [os.kill, os.killpg])
def test_all_processes_of_the_command_end_if_dflockctl_is_killed(server, kill):
    slow = f"{sys.executable} -c 'import signal, time; signal.signal(15, lambda *_: " \
           "(time.sleep(1.5), exit())); print(\".\", flush=True); time.sleep(1000)'"
    with Running(server, "lock", "key", "--", "sh", "-c",
                 FAMILY.replace("echo .", f"setsid {slow} & echo $!") + "exec sleep 1000",
                 preexec=own_session) as running:
        pids = pids_until_dot(running)
        kill(running.pid, signal.SIGKILL)
        while not gone(pids[-1]):
            assert holders(server) == ["key"] or gone(pids[-1])
            time.sleep(0.05)
        for pid in pids:
            wait_gone(pid)
        eventually(lambda: not holders(server))


def test_a_process_that_ignores_sigterm_gets_sigkill(server):
    with Running(server, "lock", "key", "--grace", "1", "--", "sh", "-c",
                 "trap '' TERM; " + FAMILY + "while :; do sleep 1; done") as running:
        pids = pids_until_dot(running)
        running.send(signal.SIGKILL)
        for pid in pids:
            wait_gone(pid)
        eventually(lambda: not holders(server))


def test_if_the_supervisor_is_killed_the_command_ends(server):
    with Running(server, "lock", "key", "--", "sh", "-c",
                 FAMILY + "echo $PPID; exec sleep 1000") as running:
        pids = pids_until_dot(running)
        supervisor = int(running.line())
        assert supervisor != running.pid
        os.kill(supervisor, signal.SIGKILL)
        status, _, errors = running.finish()
        assert status == LOST and "lost 'key'" in errors
        for pid in pids:
            wait_gone(pid)


def test_no_process_of_dflockctl_remains(server):
    """Neither a process of dflockctl, nor one that its parent did not reap."""
    script = f"{CTL} lock key -- true; ps -o pid=,stat=,comm= --ppid $$"
    done = subprocess.run(["sh", "-c", script], env=environment(server), capture_output=True,
                          text=True, check=False, timeout=PATIENCE)
    assert [line.split()[-1] for line in done.stdout.splitlines()] == ["ps"]


# ---- the loss reaches the command ----

def full_pipe():
    """Returns its ends; a write to the second one would wait forever."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, bytes(4096))
    os.set_blocking(writing, True)
    return reading, writing


def full_socket():
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            writing.send(bytes(4096))
    writing.setblocking(True)
    return reading.detach(), writing.detach()


def pipe_without_reader():
    reading, writing = os.pipe()
    os.close(reading)
    return os.open("/dev/null", os.O_RDONLY), writing


@pytest.mark.parametrize("make", [full_pipe, full_socket, pipe_without_reader])
@pytest.mark.parametrize("grace", ["0", "1000"])
def test_a_loss_reaches_the_command_if_stderr_is_not_read(server, tmp_path, make, grace):
    asked = tmp_path / "asked"
    reading, writing = make()
    script = "exec 2>/dev/null; " \
             f"trap 'echo > {asked}; exit' TERM; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen([CTL, "lock", "key", "--grace", grace, "--", "sh", "-c", script],
                          env=environment(server), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=writing, text=True) as process:
        os.close(writing)
        assert process.stdout.readline() == "ready\n"
        server.kill()
        assert process.wait(PATIENCE) == LOST
    os.close(reading)
    assert asked.exists() == (grace != "0")


def test_a_loss_reaches_the_command_on_a_stopped_terminal(server, tmp_path):
    asked = tmp_path / "asked"
    script = "exec 2>/dev/null; " \
             f"trap 'echo > {asked}; exit' TERM; echo ready; while :; do sleep 0.05; done"
    with Terminal(server, "lock", "key", "--", "sh", "-c", script) as terminal:
        terminal.see("ready")
        terminal.type(b"\x13")
        time.sleep(0.2)
        server.kill()
        assert terminal.process.wait(PATIENCE) == LOST
        assert asked.exists()


@pytest.mark.parametrize("arguments", [("ls",), ("acquire", "key"), ("lock", "key", "--", "true"),
                                       ("show", "key"), ("top",), ("unknown",)])
@pytest.mark.parametrize("make", [full_pipe, pipe_without_reader])
def test_an_unread_message_changes_no_exit_status(nowhere, arguments, make):
    reading, writing = make()
    with subprocess.Popen([CTL, *arguments], env=environment(nowhere), stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=writing) as process:
        os.close(writing)
        assert process.wait(PATIENCE) == ctl(nowhere, *arguments).returncode
    os.close(reading)


def test_a_message_leaves_the_shared_descriptor_as_it_was(nowhere):
    reading, writing = os.pipe()
    with subprocess.Popen([CTL, "ls"], env=environment(nowhere), stderr=writing) as process:
        assert process.wait(PATIENCE) == NO_SERVER
    assert not fcntl.fcntl(writing, fcntl.F_GETFL) & os.O_NONBLOCK
    assert os.read(reading, 1000).startswith(b"dflockctl: ")
    os.close(reading)
    os.close(writing)


# ---- which processes are the command's ----

def test_dflockctl_does_not_signal_inherited_children(server):
    """Neither children that dflockctl inherited by exec, nor orphans of these."""
    script = ("sleep 1000 & echo $!; sh -c 'sleep 1000 & echo $!; sleep 0.5' & "
              f"sleep 0.2; echo .; exec {CTL} lock key -- sh -c '{FAMILY} sleep 1000'")
    with subprocess.Popen(["sh", "-c", script], env=environment(server), text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as process:
        before, after = ([int(line) for line in iter(process.stdout.readline, ".\n")]
                         for _ in range(2))
        try:
            eventually(lambda: parent(before[1]) == 1 or parent(before[1]) != process.pid)
            time.sleep(0.5)
            server.kill()
            assert process.wait(PATIENCE) == LOST
            for pid in after:
                wait_gone(pid)
            assert [gone(pid) for pid in before] == [False, False]
        finally:
            end_all(before)


SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
FILE *fopen(const char *path, const char *mode)
{
    FILE *(*next)(const char *, const char *) = dlsym(RTLD_NEXT, "fopen");
    const char *name = strrchr(path, '/');
    if (name && strcmp(name, "/children") == 0) { errno = ENOENT; return NULL; }
    return next(path, mode);
}
"""


def assert_all_end(server, running, grandchildren_of=FAMILY):
    pids = pids_until_dot(running)
    server.kill()
    status, _, errors = running.finish()
    assert status == LOST
    for pid in pids:
        wait_gone(pid)
    assert len(pids) == grandchildren_of.count("$!")
    return errors


@pytest.mark.skipif(SANITIZED, reason="a sanitizer wants to be the first library")
@pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")
def test_all_processes_end_without_lists_of_children(server, tmp_path):
    (tmp_path / "shim.c").write_text(SHIM)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", tmp_path / "shim.so", tmp_path / "shim.c",
                    "-ldl"], check=True, timeout=PATIENCE)
    with Running(server, "lock", "key", "--", "sh", "-c", FAMILY + "exec sleep 1000",
                 variables={"LD_PRELOAD": str(tmp_path / "shim.so")}) as running:
        errors = assert_all_end(server, running)
    assert "sent SIGTERM to 4 processes" in errors


@pytest.mark.skipif(SANITIZED, reason="a sanitizer reads /proc")
@as_root
def test_all_processes_end_without_proc(server):
    hide = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "-")
    if subprocess.run([*hide, "true"], check=False, capture_output=True,
                      timeout=PATIENCE).returncode:
        pytest.skip("needs mount namespaces")
    with Running(server, "lock", "key", "--grace", "1", "--", "sh", "-c",
                 FAMILY + "sleep 1000; exit", prefix=hide) as running:
        errors = assert_all_end(server, running)
    assert "sent SIGTERM to" in errors and "/proc: " in errors


BECOME_ROOT = r"""
#include <unistd.h>
int main(int count, char **arguments)
{
    return setgid(0) < 0 || setuid(0) < 0 || execvp(arguments[1], arguments + 1) < 0 ? count : 0;
}
"""


@as_root
@pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")
@pytest.mark.parametrize("grace", ["0", "1"])
def test_a_process_of_another_user_is_reported(server, grace):
    """It cannot be signalled, and dflockctl does not wait for its end."""
    def nobody():
        default_signals()
        os.setgid(65534)
        os.setuid(65534)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "source.c").write_text(BECOME_ROOT)
        subprocess.run(["gcc", "-o", folder / "become-root", folder / "source.c"], check=True,
                       timeout=PATIENCE)
        (folder / "become-root").chmod(0o4755)
        shutil.copy(CTL, folder / "dflockctl")
        script = f"{folder}/become-root sleep 1000 & echo $!; exec sleep 1000"
        with subprocess.Popen([folder / "dflockctl", "lock", "key", "--grace", grace, "--", "sh",
                               "-c", script], env=environment(server), text=True, cwd="/",
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, preexec_fn=nobody) as process:
            other = int(process.stdout.readline())
            try:
                eventually(lambda: os.stat(f"/proc/{other}").st_uid == 0 and
                           Path(f"/proc/{other}/comm").read_text() == "sleep\n")
                server.kill()
                assert process.wait(PATIENCE) == LOST
                assert not gone(other)
            finally:
                end_all([other])
            errors = process.stderr.read()
    assert f"pid {other}: Operation not permitted" in errors
    assert ("SIGTERM" if grace == "1" else "SIGKILL") + " to 1 process" in errors


# ---- the terminal ----

RAW = "stty raw -echo; echo ready; exec sleep 1000"


@pytest.mark.parametrize("grace", ["0", "1000"])
def test_a_loss_restores_the_terminal_modes(server, grace):
    with Terminal(server, "lock", "key", "--grace", grace, "--", "sh", "-c", RAW) as terminal:
        terminal.see("ready")
        assert terminal.modes() != terminal.before
        server.kill()
        assert terminal.finish() == LOST
        assert terminal.modes() == terminal.before


def test_a_killed_command_restores_the_terminal_modes(server):
    with Terminal(server, "lock", "key", "--", "sh", "-c", "stty raw -echo; kill -KILL $$"
                  ) as terminal:
        assert terminal.finish() == 128 + signal.SIGKILL
        assert terminal.modes() == terminal.before


def test_modes_set_by_a_command_that_exits_remain(server):
    with Terminal(server, "lock", "key", "--", "stty", "-echo") as terminal:
        assert terminal.finish() == 0
        assert terminal.modes() != terminal.before


def test_the_terminal_of_a_background_job_keeps_its_modes(server):
    """It belongs to the shell then, or to another job."""
    script = (f"set -m; {CTL} lock key -- sh -c 'stty -echo <&3; kill -STOP $$; exec sleep 1000' "
              "3</dev/tty; stty -icanon; bg >/dev/null; echo in background; wait; echo over; "
              "stty -a | grep -o -e ' -icanon'")
    with Terminal(server, command=["bash", "--norc", "--noprofile", "-c", script]) as terminal:
        terminal.see("in background")
        eventually(lambda: holders(server))
        server.kill()
        terminal.see("over", "-icanon")
        terminal.finish()


def test_a_signal_to_all_dflockctl_processes_keeps_the_lock(server):
    """A process that looks for dflockctl by its name may signal all three."""
    with Running(server, "lock", "key", "--", "sh", "-c", "echo; exec sleep 2") as running:
        running.line()
        for pid in children(running.pid):
            os.kill(pid, signal.SIGTERM)
            os.kill(pid, signal.SIGHUP)
        time.sleep(0.5)
        assert ctl(server, "lock", "key", "--try", "--", "true").returncode == TIMED_OUT
        assert running.finish() == (0, "", "")
