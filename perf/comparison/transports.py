"""Rows about other ways to connect than plain TCP."""

from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from comparison import load
from comparison.loads import CPU, P50, REQUESTS, workers
from comparison.row import Ratio, Row
from comparison.servers import Dflockd
from lib.certificates import Authority

CONNECTIONS = workers(16)


class Transport(Row):
    """The same load on a server of ours by TCP, and on one by another way."""

    label = ""
    figures = REQUESTS, CPU, P50

    @contextmanager
    def other(self, folder):
        """A server, and the flags by which the load gets to it."""
        raise NotImplementedError

    @contextmanager
    def contestants(self, seconds):
        with ExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory()))
            plain = stack.enter_context(Dflockd())
            server, flags = stack.enter_context(self.other(folder))
            yield {
                "dflockd": lambda: load.run(plain, seconds, *CONNECTIONS),
                self.label: lambda: load.run(server, seconds, *CONNECTIONS, *flags),
            }


class AtPath(Dflockd):
    """Ours, reached by its Unix socket."""

    def __init__(self, path):
        super().__init__("--unix-socket", str(path))
        self.path = path

    @property
    def address(self):
        return f"unix:{self.path}"


class UnixSocket(Transport):
    name = "unix-socket"
    title = "Unix socket, 16 connections"
    target = "CPU per op <= 0.7 x our TCP"
    how = "own keys, beside the same load by TCP"
    label = "dflockd, Unix socket"
    targets = (Ratio(label, "dflockd", "cpu_us", at_most=0.7, what="CPU"),)

    @contextmanager
    def other(self, folder):
        with AtPath(folder / "socket") as server:
            yield server, ()


class Tls(Transport):
    name = "tls"
    title = "TLS 1.3, 16 connections"
    target = "CPU per op <= 1.6 x plain"
    how = "own keys, beside the same load without TLS; the certificate is of ECDSA P-256"
    label = "dflockd, TLS"
    targets = (Ratio(label, "dflockd", "cpu_us", at_most=1.6, what="CPU"),)

    @contextmanager
    def other(self, folder):
        pair = Authority(folder).issue("server")
        with Dflockd("--tls-cert", str(pair.certificate), "--tls-key", str(pair.key)) as server:
            yield server, ("--tls", "--tls-insecure")


TRANSPORTS = UnixSocket(), Tls()
