"""Names that a real name server resolves, late, partly, or not at all."""

import subprocess
import time

import pytest


@pytest.fixture
def attempt_within(names, programs):
    """Runs `attempt` in the namespaces of the name server. Returns its output."""
    def attempt_within(*arguments):
        done = subprocess.run(names.within([programs / "attempt", *arguments]), timeout=60,
                              capture_output=True, text=True, check=False)
        assert done.returncode == 0, done
        return done.stdout
    return attempt_within


@pytest.mark.parametrize("name", ["prompt.test", "late.test", "two.test"])
def test_a_name_resolves_to_a_server(attempt_within, named, name):
    """The first address of two.test has no listener."""
    output = attempt_within(f"server={named(name)}", "acquire=5", "release")
    assert output == "acquire DONE \nrelease DONE \n"


def test_an_unknown_name_has_a_reason(attempt_within):
    assert attempt_within("server=unknown.test", "acquire=5") == (
        "acquire UNREACHABLE unknown.test: cannot resolve the host: "
        "Name or service not known\n")


def test_a_silent_name_server_costs_the_connect_timeout(attempt_within):
    """The program ends while the look-up is pending."""
    begin = time.monotonic()
    assert attempt_within("server=silent.test", "timeout=500", "acquire=0", "ping") == (
        "acquire UNREACHABLE silent.test: cannot resolve the host: timed out\n"
        "ping UNREACHABLE silent.test: cannot resolve the host: timed out\n")
    assert 1 <= time.monotonic() - begin < 8


def test_an_abandoned_look_up_ends_by_itself(attempt_within):
    """Its thread ends a second later."""
    assert attempt_within("server=late.test", "timeout=200", "acquire=0", "sleep=2000") == (
        "acquire UNREACHABLE late.test: cannot resolve the host: timed out\n"
        "sleep DONE late.test: cannot resolve the host: timed out\n")
