"""Places in which the examples run unchanged, with the default port and their server names.

A `HostsNamespace` is a network namespace, in which nothing is patched. If the kernel forbids it, a
`PortRedirect` uses free ports, and directs the examples to them. The variable
DFLOCKD_TEST_PLACE=redirect selects it.
"""

import functools
import json
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

from lib.namespace import Forbidden, Namespace
from lib.server import BINARY, Server

PORT = 6388
ADDRESSES = {"localhost": "127.0.0.1", "server1": "127.0.0.2", "server2": "127.0.0.3",
             "server3": "127.0.0.4"}
DRIVERS = Path(__file__).with_name("drivers")
SET_UP, RUN_EXAMPLE, CALL = (DRIVERS / name for name in ("set_up.py", "run_example.py", "call.py"))


class HostsNamespace(Namespace):
    """Namespaces with their own /etc/hosts."""

    def __init__(self):
        self._hosts = tempfile.NamedTemporaryFile("w", suffix=".hosts")
        super().__init__(sys.executable, str(SET_UP), self._hosts.name)

    def __enter__(self):
        self._hosts.writelines(f"{address} {name}\n" for name, address in ADDRESSES.items())
        self._hosts.flush()
        return super().__enter__()

    def __exit__(self, *_):
        super().__exit__()
        self._hosts.close()

    @contextmanager
    def serve(self, name, *arguments):
        """Runs a server on the default port of the host `name`."""
        server = Server("--host", ADDRESSES[name], *arguments, binary=BINARY.resolve(), port=PORT)
        server.command = self.within(server.command)
        with server:
            yield server

    def script(self, python, path):
        return self.within([str(python), str(path)])

    def shell(self, text):
        return self.within(["sh", "-c", text])


class PortRedirect:
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
    """Returns the kind of place that works on this machine."""
    if os.environ.get("DFLOCKD_TEST_PLACE") == "redirect":
        return PortRedirect
    try:
        with HostsNamespace():
            return HostsNamespace
    except Forbidden:
        return PortRedirect


def call(place, server, *lines):
    """Returns the reply of a server in the place to one request."""
    return subprocess.run(
        place.within([sys.executable, str(CALL), server.host, str(server.port)]),
        input="".join(f"{line}\n" for line in lines), stdout=subprocess.PIPE, text=True,
        check=True).stdout.rstrip("\n")
