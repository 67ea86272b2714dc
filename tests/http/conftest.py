"""Makes tests/lib and the helpers beside this file importable."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "wire")]

from lib.http_client import Http, HttpServer, Session  # noqa: E402
from lib.seed import seed  # noqa: E402,F401
from lib.wire_client import Client  # noqa: E402


@pytest.fixture
def server():
    with HttpServer("--shutdown-timeout=1") as server:
        yield server
        server.terminate()
        assert server.wait() == 0, "".join(server.log)  # a sanitizer looks for leaks at the exit


@pytest.fixture
def http(server):
    with Http(server) as http:
        yield http


@pytest.fixture
def session(server):
    with Session(server) as session:
        yield session


@pytest.fixture
def other(server):
    """Another session."""
    with Session(server) as session:
        yield session


@pytest.fixture
def tcp(server):
    with Client(server) as client:
        yield client
