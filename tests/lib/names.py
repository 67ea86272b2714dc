"""A network namespace with a name server that replies at once, late, or never.

    with Names() as names:
        subprocess.run(names.within(["getent", "hosts", "late.test"]))

As a program this file is the name server, which also sets up its namespaces.
"""

import socket
import struct
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.namespace import Forbidden, Namespace  # noqa: E402
from lib.server import Server  # noqa: E402

NAME_SERVER = ("127.0.0.1", 53)
LATE_SECONDS = 1
A, NXDOMAIN = 1, 3
ANSWER_FLAGS = 0x8180  # a response, to a recursive query, by a recursive server
# The known names. The name server does not reply for silent.test.
ADDRESSES = {
    "prompt.test": ["127.0.0.1"],
    "late.test": ["127.0.0.1"],
    "two.test": ["127.0.0.2", "127.0.0.1"],
}


class Names(Namespace):
    """Namespaces in which this program is the name server."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory()
        super().__init__(sys.executable, __file__, self._folder.name)

    def __exit__(self, *_):
        super().__exit__()
        self._folder.cleanup()

    def serve(self, server):
        """Makes a Server that has not started run in the namespaces."""
        server.command = self.within(server.command)
        return server


@pytest.fixture(scope="module")
def names():
    """Namespaces with a name server, or skips the test."""
    with ExitStack() as stack:
        try:
            names = stack.enter_context(Names())
        except Forbidden as reason:
            pytest.skip(f"needs network and mount namespaces: {reason}")
        yield names


@pytest.fixture
def named(names):
    """A server in the namespaces. Returns its address with a given host name."""
    with names.serve(Server("--host", "127.0.0.1", "--threads", "1")) as server:
        yield lambda name: f"{name}:{server.port}"


# ---- the name server ----

def mount_file(folder, path, text):
    """Mounts a file with `text` over `path` in this namespace."""
    file = Path(folder) / Path(path).name
    file.write_text(text)
    subprocess.run(["mount", "--bind", file, path], check=True)


def question_of(query):
    """Returns the name and the type of a query, and its bytes."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode().lower())
        at += 1 + query[at]
    kind, = struct.unpack_from("!H", query, at + 1)
    return ".".join(labels), kind, query[12:at + 5]


def response_to(query):
    name, kind, question = question_of(query)
    records = [b"\xc0\x0c" + struct.pack("!HHIH", A, 1, 0, 4) + socket.inet_aton(address)
               for address in ADDRESSES.get(name, []) if kind == A]
    flags = ANSWER_FLAGS | (0 if name in ADDRESSES else NXDOMAIN)
    return (query[:2] + struct.pack("!HHHHH", flags, 1, len(records), 0, 0) + question
            + b"".join(records))


def reply_to_queries(listener):
    while True:
        query, peer = listener.recvfrom(512)
        name = question_of(query)[0]
        if name == "silent.test":
            continue
        delay = LATE_SECONDS if name == "late.test" else 0
        threading.Timer(delay, listener.sendto, (response_to(query), peer)).start()


def main(folder):
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    mount_file(folder, "/etc/resolv.conf", f"nameserver {NAME_SERVER[0]}\n")
    mount_file(folder, "/etc/nsswitch.conf", "hosts: dns\n")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(NAME_SERVER)
        threading.Thread(target=reply_to_queries, args=(listener,), daemon=True).start()
        print("ready", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1])
