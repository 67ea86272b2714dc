"""Runs dflockctl: to its end, in the background, or on a terminal of its own."""

import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
import threading
import time

import pyte
from lib.server import BINARY
from lib.wire_client import eventually

CTL = BINARY.parent / "dflockctl"
PATIENCE = 30
USAGE, NO_SERVER, STRANGE, OUTPUT, TIMED_OUT, LOST, REFUSED = 64, 69, 70, 74, 75, 76, 77
CANNOT_RUN, NOT_FOUND = 126, 127


def address(server):
    return f"{server.host}:{server.port}"


def environment(servers=(), **extra):
    """The environment of this process, with `servers` and no other DFLOCKD variable."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith("DFLOCKD") and name != "NO_COLOR"}
    kept.update(LC_ALL="C.UTF-8", TERM="xterm")
    if not isinstance(servers, (list, tuple)):
        servers = [servers]
    if servers:
        kept["DFLOCKD_SERVERS"] = ",".join(
            one if isinstance(one, str) else address(one) for one in servers)
    return {**kept, **extra}


def default_signals():
    """A shell ignores these signals for the tests that it runs in the background."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def ctl(servers, *arguments, variables=None, preexec=default_signals, **keywords):
    """Run dflockctl to its end."""
    keywords.setdefault("text", True)
    keywords.setdefault("stdout", subprocess.PIPE)
    if "input" not in keywords:
        keywords["stdin"] = subprocess.DEVNULL
    return subprocess.run(
        [str(CTL), *arguments], env=environment(servers, **(variables or {})), check=False,
        stderr=subprocess.PIPE, timeout=PATIENCE, preexec_fn=preexec, **keywords)


class Running:
    """A dflockctl in the background; `finish` waits for its end."""

    def __init__(self, servers, *arguments, variables=None, preexec=default_signals, prefix=()):
        self.process = subprocess.Popen(
            [*prefix, str(CTL), *arguments], env=environment(servers, **(variables or {})),
            text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=preexec)
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=PATIENCE)

    def send(self, number):
        self.process.send_signal(number)

    def line(self):
        """The next line of its standard output, or the command's."""
        return self.process.stdout.readline().rstrip("\n")

    def finish(self):
        """Exit status, the rest of standard output, standard error."""
        output, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, output, errors


class Terminal:
    """A dflockctl on a terminal: `screen` is the visible text, `raw` the bytes written."""

    def __init__(self, servers, *arguments, variables=None, rows=24, columns=80, command=None):
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = bytearray()
        self.lock = threading.Lock()
        self.master, slave = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(slave)
        self.slave = slave

        def own_terminal():
            default_signals()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            command or [str(CTL), *arguments], env=environment(servers, **(variables or {})),
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=own_terminal)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        os.close(self.slave)
        self.reader.join(PATIENCE)
        os.close(self.master)

    def _read(self):
        while True:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                return
            if not data:
                return
            with self.lock:
                self.raw += data
                self.stream.feed(data)

    def _display(self):
        with self.lock:
            return [line.rstrip() for line in self.screen.display]

    def lines(self):
        """The screen, once it was the same for a moment: not in the middle of a picture."""
        while True:
            before = self._display()
            time.sleep(0.03)
            if self._display() == before:
                return before

    def text(self):
        return "\n".join(self.lines())

    def see(self, *wanted, seconds=PATIENCE):
        """Wait until all that is on the screen."""
        limit = time.monotonic() + seconds
        while not all(one in self.text() for one in wanted):
            assert time.monotonic() < limit, f"never saw {wanted}:\n{self.text()}"
            time.sleep(0.02)

    def type(self, keys):
        os.write(self.master, keys)

    def resize(self, rows, columns):
        with self.lock:
            self.screen.resize(rows, columns)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def finish(self):
        """Its exit status, once all that it wrote was read."""
        status = self.process.wait(PATIENCE)
        time.sleep(0.1)
        return status

    def modes(self):
        return termios.tcgetattr(self.slave)


def gone(pid):
    """Whether the process has ended, reaped or not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_gone(pid):
    eventually(lambda: gone(pid))


def holders_of(name):
    """The process ids of holders that `dflockctl acquire NAME` left."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except (OSError, ValueError):
            continue
        if words[0] == str(CTL).encode() and b"acquire" in words and name.encode() in words:
            found.append(int(entry))
    return [pid for pid in found if not gone(pid)]
