"""Starting the server in ways that must fail, or with other limits than usual."""

import os
import re
import subprocess

from lib.server import BINARY, Server

EXIT_SECONDS = 30


def clean_environment(extra=None):
    """This process's environment without any DFLOCKD variable, and with `extra`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DFLOCKD")}
    return {**kept, **(extra or {})}


def run_server(*args, environment=None, prefix=(), preexec=None):
    """Run it to its end. One that keeps running fails the test."""
    return subprocess.run(
        [*prefix, str(BINARY), *args], env=clean_environment(environment), capture_output=True,
        text=True, timeout=EXIT_SECONDS, check=False, stdin=subprocess.DEVNULL, preexec_fn=preexec)


def assert_refused(done, *names):
    """It said in one line on stderr what is wrong, naming each of `names`, and exited with 1."""
    assert done.returncode == 1, done
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].strip(), f"not one line: {lines}"
    for name in names:
        # The whole name: --auth-token is not named by --auth-token-file. -x is named by --x too.
        bare = re.escape(name.lstrip("-"))
        assert re.search(rf"(?<![\w-])-*{bare}(?![\w-])", lines[0]), lines[0]


class ServerAsGiven(Server):
    """A server with no port of its own accord: only what the arguments and environment say."""

    def __init__(self, *args, environment=None, prefix=()):
        super().__init__(environment=environment)
        self.command = [*prefix, str(BINARY), *args]
