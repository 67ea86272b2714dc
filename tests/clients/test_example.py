"""The examples that users paste do what the page about them says.

They are in the folder `examples`, word for word, and run with the default port and with the
names of servers that they have in them.
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
RENEWED_SECONDS = 43  # two leases of 20 seconds have gone by then, and it is still held


@pytest.fixture
def place():
    with places.kind()() as place:
        yield place


@pytest.fixture(params=[package for package in PACKAGES if package.name == "dflockd"], ids=str)
def package(request):
    python_or_skip(request.param)
    return request.param


class Run:
    """A command that runs, and what it has printed until now."""

    def __init__(self, command, output):
        self.output = output
        with open(output, "w") as file:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
                start_new_session=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})

    def text(self):
        return self.output.read_text()

    def until_printed(self, pattern):
        """Wait until all that was printed matches the pattern."""
        until(lambda: re.fullmatch(pattern, self.text()) or self.process.poll() is not None)
        return re.fullmatch(pattern, self.text())

    def result(self):
        """All that it printed, once it has ended well."""
        assert self.process.wait(WAIT_SECONDS) == 0, self.text()
        return self.text()

    def end(self, number=signal.SIGKILL):
        """End it and what it started, which are a process group of their own."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)
        return self.process.wait(10)


@pytest.fixture
def run(tmp_path):
    """Starts commands, which all end with the test."""
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
def test_the_lock_is_held_for_45_seconds_and_free_after(place, package, form, paste, start):
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
    """The places in the list of those servers that have seen the key."""
    reports = [json.loads(places.send_request(place, server, "stats", "_", "_").removeprefix("ok "))
               for server in servers]
    assert not any(report["locks"] for report in reports)
    return [index for index, report in enumerate(reports)
            if key in [entry["key"] for entry in report["idle_locks"]]]


@pytest.fixture
def fleet(place):
    with ExitStack() as stack:
        yield [stack.enter_context(place.serve(name)) for name in ("server1", "server2", "server3")]


def test_a_key_goes_to_one_of_three_servers(place, fleet, paste):
    assert re.fullmatch(f"token={TOKEN} lease=33\n", paste("sharding.py").result())
    assert used_servers(place, fleet, "my-key") == [zlib.crc32(b"my-key") % 3]


def test_a_custom_strategy_sends_a_key_to_the_first_server(place, fleet, paste):
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
    """Runs a command line of the raw example; `options` are more options for nc."""
    def nc(text, options=""):
        return run(place.shell(text.replace("nc localhost", f"nc {options} localhost")))
    return nc


@needs_nc
def test_nc_acquires_a_lock_that_nc_releases_in_another_window(place, nc):
    with place.serve("localhost") as server:
        first = nc(ACQUIRE)
        (token,) = first.until_printed(GRANT).groups()
        assert places.send_request(place, server, "l", "my-key", "0") == "timeout"
        assert nc(RELEASE.replace("<token>", token)).until_printed("ok\n")
        assert places.send_request(place, server, "l", "my-key", "0").startswith("ok ")
        assert first.process.poll() is None


@needs_nc
def test_nc_that_is_interrupted_frees_its_lock(place, nc):
    with place.serve("localhost") as server:
        first = nc(ACQUIRE)
        assert first.until_printed(GRANT)
        second = nc(ACQUIRE)
        first.end(signal.SIGINT)
        assert second.until_printed(GRANT)
        assert places.send_request(place, server, "l", "my-key", "0") == "timeout"


@needs_nc
def test_nc_with_a_time_limit_holds_the_lock_until_then(place, nc):
    with place.serve("localhost") as server:
        limited = nc(ACQUIRE.replace("nc localhost", "timeout 3 nc localhost"))
        assert limited.until_printed(GRANT)
        assert places.send_request(place, server, "l", "my-key", "0") == "timeout"
        limited.process.wait(WAIT_SECONDS)
        assert re.fullmatch(GRANT, limited.text())
        assert places.send_request(place, server, "l", "my-key", "9").startswith("ok ")


@needs_nc
def test_nc_that_closes_its_side_gets_all_answers(place, nc):
    with place.serve("localhost"):
        (token,) = re.fullmatch(GRANT, nc(ACQUIRE, "-N").result()).groups()
        # The lock went with its connection, so there is nothing left to release.
        assert nc(RELEASE.replace("<token>", token), "-N").result() == "error\n"
        assert re.fullmatch(GRANT, nc(ACQUIRE, "-N").result())


@needs_nc
def test_nc_ends_when_the_server_closes_an_idle_connection(place, nc):
    with place.serve("localhost", "--read-timeout", "1"):
        assert nc(RELEASE).result() == "error\nerror\n"
