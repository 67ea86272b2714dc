"""Starts the server with given arguments and environment, also if the start must fail."""

import os
import re
import subprocess

from lib.server import BINARY, Server

EXIT_SECONDS = 30


def clean_environment(extra=None):
    """Returns this environment without DFLOCKD variables, and with `extra`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DFLOCKD")}
    return {**kept, **(extra or {})}


def run_server(*args, environment=None, prefix=(), preexec=None):
    """Runs the server to its end. A server that keeps running fails the test."""
    return subprocess.run(
        [*prefix, str(BINARY), *args], env=clean_environment(environment), capture_output=True,
        text=True, timeout=EXIT_SECONDS, check=False, stdin=subprocess.DEVNULL, preexec_fn=preexec)


def assert_refused(done, *names):
    """Checks for one line on stderr that contains each of `names`, and exit status 1."""
    assert done.returncode == 1, done
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].strip(), f"not one line: {lines}"
    for name in names:
        # Whole names: --auth-token-file does not name --auth-token, but --x names -x.
        bare = re.escape(name.lstrip("-"))
        assert re.search(rf"(?<![\w-])-*{bare}(?![\w-])", lines[0]), lines[0]


class ServerAsGiven(Server):
    """A server without further arguments, not even a port."""

    def __init__(self, *args, environment=None, prefix=()):
        super().__init__(environment=environment)
        self.command = [*prefix, str(BINARY), *args]
