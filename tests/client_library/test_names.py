"""Names that a real name server resolves, late, in part, or not at all."""

import subprocess
import time

import pytest
from lib.names import names_or_skip
from lib.server import Server


@pytest.fixture(scope="module")
def names():
    with names_or_skip() as names:
        yield names


@pytest.fixture
def named(names):
    """A server in the network of the names, and how its address is written with each of them."""
    with names.serve(Server("--host", "127.0.0.1", "--threads", "1")) as server:
        yield lambda name: f"server={name}:{server.port}"


@pytest.fixture
def attempt_within(names, programs):
    """What `attempt` prints in the network of the names. A leak or a race ends it with a status."""
    def attempt_within(*arguments):
        done = subprocess.run(names.within([programs / "attempt", *arguments]), timeout=60,
                              capture_output=True, text=True, check=False)
        assert done.returncode == 0, done
        return done.stdout
    return attempt_within


@pytest.mark.parametrize("name", ["prompt.test", "late.test", "two.test"])
def test_a_name_leads_to_a_server(attempt_within, named, name):
    """Nobody listens at the first address of two.test."""
    assert attempt_within(named(name), "acquire=5", "release") == "acquire DONE \nrelease DONE \n"


def test_a_name_that_is_unknown_has_the_reason(attempt_within):
    assert attempt_within("server=unknown.test", "acquire=5") == (
        "acquire UNREACHABLE unknown.test: cannot resolve 'unknown.test': "
        "Name or service not known\n")


def test_a_silent_name_server_costs_the_connect_timeout(attempt_within):
    """The program ends while the look-up is pending."""
    begin = time.monotonic()
    assert attempt_within("server=silent.test", "patience=500", "acquire=0", "ping") == (
        "acquire UNREACHABLE silent.test: cannot resolve 'silent.test': timed out\n"
        "ping UNREACHABLE silent.test: cannot resolve 'silent.test': timed out\n")
    assert 1 <= time.monotonic() - begin < 8


def test_a_look_up_that_was_abandoned_ends_by_itself(attempt_within):
    """It ends a second later, and finds that nobody waits for it."""
    assert attempt_within("server=late.test", "patience=200", "acquire=0", "sleep=2000") == (
        "acquire UNREACHABLE late.test: cannot resolve 'late.test': timed out\n"
        "sleep DONE late.test: cannot resolve 'late.test': timed out\n")
