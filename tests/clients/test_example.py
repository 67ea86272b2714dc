"""The published examples work as documented.

The folder `examples` has exact copies, which run with their own port and server names.
"""

import json
import os
import re
import signal
import subprocess
import time
import zlib
from contextlib import ExitStack
from pathlib import Path

import pytest
from lib.python_environment import python_or_skip

from . import place as places
from .client_process import WAIT_SECONDS
from .entry_log import fences, is_rising
from .observer import until
from .package import FORMS, PACKAGES, Client

EXAMPLES = Path(__file__).with_name("examples")
TOKEN = "[0-9a-f]{32}"
RENEWED_SECONDS = 43  # two leases of 20 seconds have passed, and the lock is still held


@pytest.fixture
def place():
    with places.kind()() as place:
        yield place


@pytest.fixture(params=[package for package in PACKAGES if package.name == "dflockd"], ids=str)
def package(request):
    python_or_skip(request.param)
    return request.param


class Run:
    """A running command, and its output so far."""

    def __init__(self, command, output):
        self.output = output
        with open(output, "w") as file:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
                start_new_session=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})

    def text(self):
        return self.output.read_text()

    def until_printed(self, pattern):
        """Waits until the whole output matches the pattern."""
        until(lambda: re.fullmatch(pattern, self.text()) or self.process.poll() is not None)
        return re.fullmatch(pattern, self.text())

    def result(self):
        """Waits for a successful exit, and returns the output."""
        assert self.process.wait(WAIT_SECONDS) == 0, self.text()
        return self.text()

    def end(self, number=signal.SIGKILL):
        """Ends the command's process group."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)
        return self.process.wait(10)


@pytest.fixture
def run(tmp_path):
    """Starts commands, which end with the test."""
    with ExitStack() as stack:
        def run(command):
            run.count += 1
            running = Run(command, tmp_path / f"output-{run.count}")
            stack.callback(running.end)
            return running
        run.count = 0
        yield run


@pytest.fixture
def paste(place, package, run):
    """Runs an example with the package under test."""
    return lambda name: run(place.script(python_or_skip(package), EXAMPLES / name))


@pytest.mark.long
@pytest.mark.parametrize("form", FORMS)
def test_the_example_holds_its_lock_for_45_seconds(place, package, form, paste, start):
    with place.serve("localhost") as server:
        rival = start(Client(package, form), within=place.within).lock(
            "foo", server, acquire_timeout_s=0)
        example = paste(f"hold_{form}.py")
        assert example.until_printed(f"acquired key=foo token={TOKEN} lease=20\n")
        end = time.monotonic() + RENEWED_SECONDS
        while time.monotonic() < end:
            assert rival.acquire() is False
            time.sleep(1)
        acquired, done = example.result().splitlines()
        assert done == "done critical section"
        assert rival.acquire() is True


@pytest.mark.long
@pytest.mark.parametrize("form", FORMS)
def test_nine_workers_take_turns(place, form, paste):
    with place.serve("localhost"):
        lines = paste(f"fifo_{form}.py").result().splitlines()
    turns = [re.fullmatch(rf"(acquired|released)  \((\d)\): ({TOKEN})", line).groups()
             for line in lines]
    acquired, released = turns[::2], turns[1::2]
    assert {event for event, *_ in acquired} == {"acquired"}
    assert {event for event, *_ in released} == {"released"}
    assert [turn[1:] for turn in acquired] == [turn[1:] for turn in released]
    assert sorted(worker for _, worker, _ in acquired) == list("012345678")
    assert is_rising(fences([token for *_, token in acquired]))


def used_servers(place, servers, key):
    """Returns the indexes of the servers that have seen the key."""
    reports = [json.loads(places.call(place, server, "stats", "_", "_").removeprefix("ok "))
               for server in servers]
    assert not any(report["locks"] for report in reports)
    return [index for index, report in enumerate(reports)
            if key in [entry["key"] for entry in report["idle_locks"]]]


@pytest.fixture
def fleet(place):
    with ExitStack() as stack:
        yield [stack.enter_context(place.serve(name)) for name in ("server1", "server2", "server3")]


def test_the_example_sends_a_key_to_one_of_three_servers(place, fleet, paste):
    assert re.fullmatch(f"token={TOKEN} lease=33\n", paste("sharding.py").result())
    assert used_servers(place, fleet, "my-key") == [zlib.crc32(b"my-key") % 3]


def test_the_custom_strategy_sends_a_key_to_the_first_server(place, fleet, paste):
    assert re.fullmatch(f"token={TOKEN}\n", paste("custom_strategy.py").result())
    assert used_servers(place, fleet, "my-key") == [0]


def is_openbsd_netcat():
    try:
        return "OpenBSD" in subprocess.run(["nc", "-h"], capture_output=True, text=True).stderr
    except FileNotFoundError:
        return False


ACQUIRE, RELEASE = (EXAMPLES / "raw.sh").read_text().split("\n\n")
GRANT = rf"ok ({TOKEN}) 33\n"

needs_nc = pytest.mark.skipif(not is_openbsd_netcat(), reason="there is no nc of netcat-openbsd")


@pytest.fixture
def nc(place, run):
    """Runs a command line of the raw example; `options` are further options of nc."""
    def nc(text, options=""):
        return run(place.shell(text.replace("nc localhost", f"nc {options} localhost")))
    return nc


@needs_nc
def test_one_nc_releases_the_lock_of_another_nc(place, nc):
    with place.serve("localhost") as server:
        first = nc(ACQUIRE)
        (token,) = first.until_printed(GRANT).groups()
        assert places.call(place, server, "l", "my-key", "0") == "timeout"
        assert nc(RELEASE.replace("<token>", token)).until_printed("ok\n")
        assert places.call(place, server, "l", "my-key", "0").startswith("ok ")
        assert first.process.poll() is None


@needs_nc
def test_an_interrupted_nc_frees_its_lock(place, nc):
    with place.serve("localhost") as server:
        first = nc(ACQUIRE)
        assert first.until_printed(GRANT)
        second = nc(ACQUIRE)
        first.end(signal.SIGINT)
        assert second.until_printed(GRANT)
        assert places.call(place, server, "l", "my-key", "0") == "timeout"


@needs_nc
def test_nc_with_a_time_limit_holds_the_lock_until_its_end(place, nc):
    with place.serve("localhost") as server:
        limited = nc(ACQUIRE.replace("nc localhost", "timeout 5 nc localhost"))
        assert limited.until_printed(GRANT)
        assert places.call(place, server, "l", "my-key", "0") == "timeout"
        limited.process.wait(WAIT_SECONDS)
        assert re.fullmatch(GRANT, limited.text())
        assert places.call(place, server, "l", "my-key", "9").startswith("ok ")


@needs_nc
def test_nc_gets_all_replies_after_it_half_closes(place, nc):
    with place.serve("localhost"):
        (token,) = re.fullmatch(GRANT, nc(ACQUIRE, "-N").result()).groups()
        # The server has released the lock with its connection.
        assert nc(RELEASE.replace("<token>", token), "-N").result() == "error\n"
        assert re.fullmatch(GRANT, nc(ACQUIRE, "-N").result())


@needs_nc
def test_nc_ends_when_the_server_closes_an_idle_connection(place, nc):
    with place.serve("localhost", "--read-timeout", "1"):
        assert nc(RELEASE).result() == "error\nerror\n"
