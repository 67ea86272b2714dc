"""An unwritable log does not delay clients, and the server counts the lost lines."""

import errno
import os
import re
import resource
import signal
import socket
import subprocess
import threading
import time

import pytest
from lib.process import sleeps
from lib.server import BINARY
from lib.wire_client import Client, eventually

DROPPED = re.compile(r'level=WARN msg="log lines dropped" count=(\d+)\n')
FLOOD = 4000  # connections with two --debug lines each: more than the buffer holds


class Quiet:
    """A server that logs to `stderr` and serves on a Unix socket."""

    def __init__(self, path, stderr, *args, preexec=None):
        self.path = str(path)
        self.process = subprocess.Popen(
            [str(BINARY), "--port=0", "--debug", f"--unix-socket={path}", *args], stderr=stderr,
            stdin=subprocess.DEVNULL, preexec_fn=preexec)
        self.pid = self.process.pid

    def __enter__(self):
        eventually(lambda: os.path.exists(self.path))
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait(10)

    def connect(self):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(20)
        connection.connect(self.path)
        return connection


def visit(server, times):
    """Connects `times` times; the server must serve each connection in time."""
    for _ in range(times):
        with Client(server) as client:
            assert client.call("ping") == "ok"


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    yield reader, writer
    for end in reader, writer:
        try:
            os.close(end)
        except OSError as error:
            assert error.errno == errno.EBADF


@pytest.mark.parametrize("blocking", [True, False])
def test_an_unread_log_pipe_does_not_delay_clients(tmp_path, pipe, blocking):
    reader, writer = pipe
    os.set_blocking(writer, blocking)
    with Quiet(tmp_path / "socket", writer) as server:
        os.close(writer)
        visit(server, FLOOD)
        # A late reader gets the oldest lines, then the number of missing lines.
        text = []
        thread = threading.Thread(
            target=lambda: text.extend(os.fdopen(reader, "r", closefd=False)), daemon=True)
        thread.start()
        eventually(lambda: any(DROPPED.search(line) for line in text))
        server.process.terminate()
        assert server.process.wait(20) == 0
        thread.join(20)
        assert text[-1].endswith('msg="stopped"\n')
        assert all(line.startswith("time=") and line.count("time=") == 1 for line in text)
        dropped = sum(int(DROPPED.search(line)[1]) for line in text if DROPPED.search(line))
        seen = sum('msg="connection ' in line for line in text)
        assert seen + dropped == 2 * FLOOD


@pytest.mark.parametrize("signals", [1, 2])
def test_an_unread_log_pipe_does_not_delay_the_exit(tmp_path, pipe, signals):
    reader, writer = pipe
    with Quiet(tmp_path / "socket", writer) as server:
        os.close(writer)
        visit(server, FLOOD // 2)
        with Client(server) as holder:
            holder.acquire("key")
            start = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            if signals == 2:
                eventually(lambda: not os.path.exists(server.path))
                server.process.send_signal(signal.SIGTERM)
            else:
                holder.close()
            assert server.process.wait(20) == 0
            assert time.monotonic() - start < 15
    os.close(reader)


def test_a_broken_log_pipe_does_not_delay_clients(tmp_path, pipe):
    reader, writer = pipe
    with Quiet(tmp_path / "socket", writer) as server:
        os.close(writer)
        os.close(reader)
        visit(server, 200)
        server.process.terminate()
        assert server.process.wait(20) == 0


def test_the_log_counts_the_lines_lost_on_a_full_disk(tmp_path):
    """A limit of the file's size simulates a full disk; the test lifts it later."""
    log = tmp_path / "log"
    with open(log, "wb") as file, Quiet(tmp_path / "socket", file) as server:
        _, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (log.stat().st_size + 1500, hard))
        visit(server, 300)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (hard, hard))
        eventually(lambda: visit(server, 1) or DROPPED.search(log.read_text()))
        server.process.terminate()
        assert server.process.wait(20) == 0
        text = log.read_text().splitlines(keepends=True)
        assert text[-1].endswith('msg="stopped"\n')
        # The limit may have cut one line; the next one starts on a new line.
        broken = [line for line in text if not re.fullmatch(r"time=\S+Z level=\w+ .*\n", line)]
        assert len(broken) <= 1 and all(line.count("time=") <= 1 for line in text)


def test_a_log_that_is_read_loses_no_lines(tmp_path):
    log = tmp_path / "log"
    with open(log, "wb") as file, Quiet(tmp_path / "socket", file) as server:
        visit(server, 1000)
        server.process.terminate()
        assert server.process.wait(20) == 0
        text = log.read_text()
        assert "dropped" not in text
        assert text.count('msg="connection accepted"') == 1000
        assert text.count('msg="connection closed"') == 1000


def test_the_log_thread_sleeps_while_the_server_logs_nothing(tmp_path):
    log = tmp_path / "log"
    with open(log, "wb") as file, Quiet(tmp_path / "socket", file) as server:
        def switches():
            tasks = os.listdir(f"/proc/{server.pid}/task")
            return {task: int(re.search(r"\nvoluntary_ctxt_switches:\s*(\d+)",
                                        open(f"/proc/{server.pid}/task/{task}/status").read())[1])
                    for task in tasks
                    if open(f"/proc/{server.pid}/task/{task}/comm").read() == "dflockd-log\n"}
        with Client(server) as client:
            assert client.call("ping") == "ok"
            eventually(lambda: "connection accepted" in log.read_text())
            time.sleep(0.5)
            before = switches()
            for _ in range(100):
                assert client.call("ping") == "ok"
            time.sleep(1)
            assert len(before) == 1 and switches() == before
        assert len(sleeps(server)) == len(os.listdir(f"/proc/{server.pid}/task")) - 1
