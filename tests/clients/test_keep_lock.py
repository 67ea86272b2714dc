"""The recipe for a lock that survives a lost connection, with the published client."""

import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from lib.link import Link
from lib.python_environment import python_or_skip
from lib.server import ROOT, Server

from .observer import call, entry, stats, until
from .package import PACKAGES

DRIVER = Path(__file__).with_name("drivers") / "keep_lock.py"


class Holder:
    """A process with the lock. `do` calls a method of it and returns the line that it prints."""

    def __init__(self, python, port, lease_s):
        self.process = subprocess.Popen(
            [str(each) for each in (python, DRIVER, ROOT / "tools/examples", port, lease_s)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.token = self.line()

    def line(self):
        return self.process.stdout.readline().rstrip("\n")

    def do(self, method):
        self.process.stdin.write(f"{method}\n")
        return self.line()

    def end(self):
        self.process.kill()
        self.process.communicate()


@pytest.fixture(params=[package for package in PACKAGES if package.name == "dflockd"], ids=str)
def hold(request):
    """Starts a server, a link to it and a holder on the link."""
    python = python_or_skip(request.param)

    @contextmanager
    def hold(*flags, lease_s=60):
        with Server(*flags) as server, Link(server) as link:
            holder = Holder(python, link.port, lease_s)
            try:
                assert len(holder.token) == 32
                yield server, link, holder
            finally:
                holder.end()
    return hold


def cut(server, link):
    """Returns when the server knows that the connection is lost."""
    link.cut()
    until(lambda: stats(server)["connections"] == 1)  # that of this request


def test_the_lock_survives_a_lost_connection(hold):
    with hold("--no-auto-release-on-disconnect") as (server, link, holder):
        assert holder.do("renew") == holder.token
        before = entry(server, "key")["owner_conn_id"]
        for _ in range(3):
            cut(server, link)
            assert call(server, "l", "key", "0") == "timeout"
            assert holder.do("renew") == holder.token
        # The new connection owns the lock, so the server does not close it as idle.
        assert entry(server, "key")["owner_conn_id"] > before
        cut(server, link)
        assert holder.do("release") == holder.token
        assert call(server, "l", "key", "0").startswith("ok ")


def test_the_holder_learns_that_the_server_released_the_lock(hold):
    with hold() as (server, link, holder):
        cut(server, link)
        token = call(server, "l", "key", "0").split()[1]
        assert token != holder.token
        assert holder.do("renew") == "LockLost"
        assert holder.do("release") == "LockLost"


def test_the_holder_learns_that_another_client_has_the_lock(hold):
    with hold("--no-auto-release-on-disconnect", lease_s=1) as (server, link, holder):
        cut(server, link)
        assert call(server, "l", "key", "30").startswith("ok ")
        assert holder.do("renew") == "LockLost"


def test_the_holder_gives_up_after_its_lease_if_no_server_answers(hold):
    with hold("--no-auto-release-on-disconnect", lease_s=2) as (server, link, holder):
        server.kill()
        link.cut()
        assert holder.do("renew") == "LockLost"


def test_the_holder_learns_that_the_server_restarted(hold):
    with hold("--no-auto-release-on-disconnect") as (server, link, holder):
        server.kill()
        link.cut()
        with Server() as again:
            link.server = again
            assert holder.do("renew") == "LockLost"
