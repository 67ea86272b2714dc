"""Makes tests/lib importable, and finds the library and its test programs."""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from lib.names import named, names  # noqa: E402,F401
from lib.seed import seed  # noqa: E402,F401
from lib.server import BINARY, ROOT  # noqa: E402

BUILD = BINARY.resolve().parent
PROGRAMS = BUILD / "tests" / "client_library"


@pytest.fixture(scope="session")
def build():
    return BUILD


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def programs():
    return PROGRAMS


@pytest.fixture
def attempt():
    """Runs `attempt`. Returns the lines that it prints, each a list of words."""
    def attempt(*arguments, timeout=60):
        done = subprocess.run([PROGRAMS / "attempt", *map(str, arguments)], timeout=timeout,
                              capture_output=True, check=False)
        assert done.returncode == 0, done
        # Texts of a server may hold any bytes.
        return [line.split() for line in done.stdout.decode(errors="replace").splitlines()]
    return attempt


@pytest.fixture
def start():
    """Starts `attempt` with a pipe for stdout. All of them end with the test."""
    with ExitStack() as stack:
        def start(*arguments):
            process = stack.enter_context(subprocess.Popen(
                [PROGRAMS / "attempt", *map(str, arguments)], stdout=subprocess.PIPE, text=True))
            stack.callback(process.kill)
            return process
        yield start


@pytest.fixture
def shard():
    """Returns the servers of keys (bytes) among 1 to 16 servers."""
    def shard(keys):
        done = subprocess.run([PROGRAMS / "shard"], input=b"".join(key + b"\n" for key in keys),
                              timeout=60, capture_output=True, check=True)
        return [list(map(int, line.split())) for line in done.stdout.splitlines()]
    return shard
