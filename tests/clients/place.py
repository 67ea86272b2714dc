"""Where an example runs as pasted: the default port and the names of servers are ours there.

A `Namespace` is a network of its own, in which nothing is patched. Where the kernel forbids
that, a `Launcher` has the servers on free ports and leads the examples to them; the variable
DFLOCKD_TEST_PLACE=launcher chooses it.
"""

import functools
import json
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

from lib.server import BINARY, Server

PORT = 6388
ADDRESSES = {"localhost": "127.0.0.1", "server1": "127.0.0.2", "server2": "127.0.0.3",
             "server3": "127.0.0.4"}
DRIVERS = Path(__file__).with_name("drivers")
KEEPER, RUN_EXAMPLE, ASK = (DRIVERS / name for name in ("keeper.py", "run_example.py", "ask.py"))
ROOT_USER = os.geteuid() == 0


class Forbidden(Exception):
    """The kernel, or a missing tool, refuses a namespace; the text says what it said."""


class Namespace:
    """A network namespace, kept by a process in it, with its own /etc/hosts."""

    def __enter__(self):
        self._hosts = tempfile.NamedTemporaryFile("w", suffix=".hosts")
        self._hosts.writelines(f"{address} {name}\n" for name, address in ADDRESSES.items())
        self._hosts.flush()
        user = [] if ROOT_USER else ["--map-root-user"]
        try:
            self._keeper = subprocess.Popen(
                ["unshare", *user, "--net", "--mount", "--", sys.executable, str(KEEPER),
                 self._hosts.name],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True)
        except FileNotFoundError as reason:
            raise Forbidden(str(reason)) from reason
        answer = self._keeper.stdout.readline().strip()
        if answer != "ready":
            self.__exit__()
            raise Forbidden(answer)
        return self

    def __exit__(self, *_):
        self._keeper.kill()
        self._keeper.communicate()
        self._hosts.close()

    def within(self, command):
        """The command that runs `command` in here."""
        user = [] if ROOT_USER else ["--user", "--preserve-credentials"]
        return ["nsenter", "--target", str(self._keeper.pid), *user, "--net", "--mount", "--",
                *command]

    @contextmanager
    def serve(self, name, *arguments):
        """A server on the default port of the host `name`."""
        server = Server("--host", ADDRESSES[name], *arguments, binary=BINARY.resolve(), port=PORT)
        server.command = self.within(server.command)
        with server:
            yield server

    def script(self, python, path):
        return self.within([str(python), str(path)])

    def shell(self, text):
        return self.within(["sh", "-c", text])


class Launcher:
    """The same without a namespace."""

    def __enter__(self):
        self._ports = {}
        return self

    def __exit__(self, *_):
        pass

    def within(self, command):
        return command

    @contextmanager
    def serve(self, name, *arguments):
        with Server(*arguments) as server:
            self._ports[name] = server.port
            yield server

    def script(self, python, path):
        return [str(python), str(RUN_EXAMPLE), json.dumps(self._ports), str(path)]

    def shell(self, text):
        return ["sh", "-c", text.replace(f"localhost {PORT}",
                                         f"localhost {self._ports['localhost']}")]


@functools.cache
def kind():
    """The kind of place that can be had here."""
    if os.environ.get("DFLOCKD_TEST_PLACE") == "launcher":
        return Launcher
    try:
        with Namespace() as place:
            entered = subprocess.run(place.within(["true"]), stderr=subprocess.DEVNULL)
            return Launcher if entered.returncode else Namespace
    except Forbidden:
        return Launcher


def send_request(place, server, *lines):
    """The answer of a server in the place to one request."""
    return subprocess.run(
        place.within([sys.executable, str(ASK), server.host, str(server.port)]),
        input="".join(f"{line}\n" for line in lines), stdout=subprocess.PIPE, text=True,
        check=True).stdout.rstrip("\n")
