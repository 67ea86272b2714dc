"""A network of its own, in which a name server of ours answers, is late, or stays silent.

    with Names() as names:
        subprocess.run(names.within(["getent", "hosts", "late.test"]))

Run as a program it is that name server: it furnishes the namespaces that it was started in.
"""

import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

ROOT_USER = os.geteuid() == 0
NAME_SERVER = ("127.0.0.1", 53)
LATE_SECONDS = 1
A, NXDOMAIN = 1, 3
ANSWER_FLAGS = 0x8180  # a response, to a recursive query, of a recursive server
# Names that the server knows. It does not answer for silent.test, and knows no others.
ADDRESSES = {
    "prompt.test": ["127.0.0.1"],
    "late.test": ["127.0.0.1"],
    "two.test": ["127.0.0.2", "127.0.0.1"],
}


class Forbidden(Exception):
    """The kernel, or a missing tool, refuses the namespaces; the text has the reason."""


class Names:
    """Network and mount namespaces, kept by the name server in them."""

    def __enter__(self):
        self._folder = tempfile.TemporaryDirectory()
        user = [] if ROOT_USER else ["--map-root-user"]
        try:
            self._server = subprocess.Popen(
                ["unshare", *user, "--net", "--mount", "--", sys.executable, __file__,
                 self._folder.name],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True)
        except FileNotFoundError as reason:
            raise Forbidden(str(reason)) from reason
        answer = self._server.stdout.readline().strip()
        entered = answer == "ready" and subprocess.run(
            self.within(["true"]), stderr=subprocess.DEVNULL).returncode == 0
        if not entered:
            self.__exit__()
            raise Forbidden(answer)
        return self

    def __exit__(self, *_):
        self._server.kill()
        self._server.communicate()
        self._folder.cleanup()

    @property
    def prefix(self):
        user = [] if ROOT_USER else ["--user", "--preserve-credentials"]
        return ["nsenter", "--target", str(self._server.pid), *user, "--net", "--mount", "--"]

    def within(self, command):
        """The command that runs `command` in here."""
        return [*self.prefix, *command]

    def serve(self, server):
        """A lib.server.Server that is not started yet, in here."""
        server.command = self.within(server.command)
        return server


@contextmanager
def names_or_skip():
    with ExitStack() as stack:
        try:
            names = stack.enter_context(Names())
        except Forbidden as reason:
            pytest.skip(f"needs network and mount namespaces: {reason}")
        yield names


# ---- the name server ----

def mount_file(folder, path, text):
    """Puts a file with `text` in the place of the one at `path`, within this namespace."""
    file = Path(folder) / Path(path).name
    file.write_text(text)
    subprocess.run(["mount", "--bind", file, path], check=True)


def question_of(query):
    """The name and the type of a query, and its bytes."""
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


def answer(listener):
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
        threading.Thread(target=answer, args=(listener,), daemon=True).start()
        print("ready", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1])
