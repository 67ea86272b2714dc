"""Networks that make a client wait: name servers, and a socket with a full backlog."""

import signal
import socket
import time
from contextlib import ExitStack, suppress

import pytest
from ctl import NO_SERVER, Running, ctl

# getaddrinfo(3) gives up on a silent name server after 10 s.
RESOLVER_SECONDS = 10
COMMANDS = [("lock", "key", "--", "echo", "ran"), ("acquire", "key"), ("ls",), ("stats",),
            ("ping",), ("release", "key", "0" * 32)]


class Timed:
    def __enter__(self):
        self._begin = time.monotonic()
        return self

    def __exit__(self, *_):
        self.seconds = time.monotonic() - self._begin


def run(names, server, *arguments):
    with Running(server, *arguments, prefix=names.prefix) as running:
        return running.finish()


# ---- name servers ----

@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_the_connect_timeout_ends_the_look_up(names, command):
    with Timed() as timed:
        status, output, errors = run(names, "silent.test", "--connect-timeout", "2", *command)
    assert status == NO_SERVER and "ran" not in output
    assert "silent.test: cannot resolve the host: timed out" in errors
    assert 2 <= timed.seconds < RESOLVER_SECONDS - 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_look_up(names, number):
    with Running("silent.test", "lock", "key", "--", "echo", "ran", prefix=names.prefix) as running:
        time.sleep(0.5)
        with Timed() as timed:
            running.send(number)
            _, output, _ = running.finish()
    assert output == "" and timed.seconds < RESOLVER_SECONDS / 2


def test_a_late_name_server_delays_the_command(names, named):
    with Timed() as timed:
        done = run(names, named("late.test"), "lock", "key", "--", "echo", "ran")
    assert done == (0, "ran\n", "") and timed.seconds >= 1


def test_an_unknown_name_is_reported_with_the_reason(names, named):
    status, _, errors = run(names, named("unknown.test"), "ping")
    assert status == NO_SERVER
    assert "cannot resolve the host: Name or service not known" in errors


@pytest.mark.parametrize("name", ["prompt.test", "two.test"])
def test_a_name_leads_to_a_server(names, named, name):
    """The first address of two.test has no listener."""
    assert run(names, named(name), "lock", "key", "--", "echo", "ran") == (0, "ran\n", "")


# ---- Unix sockets ----

class FullSocket:
    """A listener whose backlog is full."""

    def __init__(self, path):
        self.address = f"unix:{path}"
        self._sockets = ExitStack()
        self._accepted = []
        self._listener = self._add(socket.socket(socket.AF_UNIX))
        self._listener.bind(str(path))
        self._listener.listen(0)
        with suppress(BlockingIOError):
            while True:
                self._add(socket.socket(socket.AF_UNIX)).connect(str(path))

    def _add(self, new):
        self._sockets.enter_context(new)
        new.setblocking(False)
        return new

    def serve(self):
        """Accepts all waiting connections, and replies ok to each request."""
        with suppress(BlockingIOError):
            while True:
                self._accepted.append(self._add(self._listener.accept()[0]))
        for connection in self._accepted:
            with suppress(BlockingIOError):
                if connection.recv(64):
                    connection.sendall(b"ok\n")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._sockets.close()


@pytest.fixture
def full(tmp_path):
    with FullSocket(tmp_path / "socket") as full:
        yield full


def test_a_full_backlog_delays_until_the_timeout(full):
    with Timed() as timed:
        done = ctl(full.address, "--connect-timeout", "1", "ping")
    assert done.returncode == NO_SERVER
    assert f"{full.address}: the backlog of the socket is full: timed out" in done.stderr
    assert timed.seconds >= 1


def test_a_client_connects_once_the_backlog_has_room(full):
    with Running(full.address, "ping") as running:
        time.sleep(0.3)
        assert running.process.poll() is None
        while running.process.poll() is None:
            full.serve()
            time.sleep(0.02)
        status, output, errors = running.finish()
    assert (status, errors) == (0, "") and "ms" in output
