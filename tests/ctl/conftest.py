"""Makes tests/lib, the client of tests/wire and the helpers beside this file importable."""

import socket
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
sys.path.append(str(HERE.parent / "wire"))

from lib.certificates import Authority  # noqa: E402
from lib.names import named, names  # noqa: E402,F401
from lib.server import Server  # noqa: E402


@pytest.fixture
def server():
    with Server("--threads", "1", "--default-lease-ttl", "3") as running:
        yield running


@pytest.fixture
def nowhere():
    """An address at which no server listens while the test runs."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def pair(authority):
    return authority.issue("server")
