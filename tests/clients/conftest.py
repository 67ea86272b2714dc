"""Fixtures of the tests with published clients: a client, its processes, a server."""

import os
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest
from lib.python_environment import python_or_skip
from lib.server import Server

from .client_process import ClientProcess
from .entry_log import EntryLog
from .package import CLIENTS

HERE = Path(__file__).parent

# A background job of a shell ignores SIGINT, and its child processes would, too.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=CLIENTS, ids=str)
def client(request):
    """The client under test: every client, unless the test selects some."""
    python_or_skip(request.param.package)
    return request.param


@pytest.fixture
def start():
    """Starts a process of a given client; it ends with the test."""
    with ExitStack() as stack:
        def start(client, **options):
            python = python_or_skip(client.package)
            return stack.enter_context(ClientProcess(client, python, **options))
        yield start


@pytest.fixture
def start_client(client, start):
    """Starts a process of the client under test."""
    return lambda: start(client)


@pytest.fixture
def server():
    with Server() as server:
        yield server


@pytest.fixture
def entry_log(tmp_path):
    return EntryLog(tmp_path / "entry_log")


def pytest_collection_modifyitems(items):
    """Distributes the long tests over the workers of xdist.

    xdist gives each worker a run of adjacent tests first, so each run starts with a long test.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
    run = max(len(items) // workers // 4, 2)
    places = [place for place, item in enumerate(items) if HERE in item.path.parents]
    ours = [items[place] for place in places]
    long = [item for item in ours if item.get_closest_marker("long")]
    short = [item for item in ours if not item.get_closest_marker("long")]
    for index, place in enumerate(places):
        items[place] = (long if long and index % run == 0 or not short else short).pop(0)


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes many seconds, most of them asleep")
