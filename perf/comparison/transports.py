"""Rows about Unix sockets and TLS."""

from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from comparison import load
from comparison.loads import CPU, P50, P99, REQUESTS, Own16
from comparison.row import Ratio, Row
from comparison.servers import Dflockd
from lib.certificates import Authority

FLAGS = Own16.flags


class UnixSocket(Row):
    name = "unix-socket"
    title = "Unix socket, 16 connections"
    target = "CPU per op <= 0.7 x dflockd's TCP"
    how = "own keys, over both sockets of the same server"
    figures = REQUESTS, CPU, P50, P99
    brief = REQUESTS, CPU
    targets = (Ratio("dflockd/unix", "dflockd/tcp", "cpu_us", at_most=0.7, what="CPU"),)

    @contextmanager
    def contestants(self, seconds):
        with TemporaryDirectory() as folder:
            path = Path(folder) / "socket"
            with Dflockd("--unix-socket", str(path)) as server:
                yield {
                    "dflockd/tcp": lambda: load.run(server, seconds, *FLAGS),
                    "dflockd/unix": lambda: load.run(server, seconds, *FLAGS,
                                                     address=f"unix:{path}"),
                }


class Tls(Row):
    name = "tls"
    title = "TLS 1.3, 16 connections"
    target = "CPU per op <= 1.6 x plain"
    how = "own keys, on a server with a certificate (P-256) and on one without"
    figures = REQUESTS, CPU, P50, P99
    brief = REQUESTS, CPU
    targets = (Ratio("dflockd/tls", "dflockd/plain", "cpu_us", at_most=1.6, what="CPU"),)

    @contextmanager
    def contestants(self, seconds):
        with TemporaryDirectory() as folder:
            authority = Authority(folder)
            pair = authority.issue("server")
            trust = "--tls", "--tls-ca", str(authority.certificate)
            with Dflockd() as plain, Dflockd("--tls-cert", str(pair.certificate), "--tls-key",
                                             str(pair.key)) as secured:
                yield {
                    "dflockd/plain": lambda: load.run(plain, seconds, *FLAGS),
                    "dflockd/tls": lambda: load.run(secured, seconds, *FLAGS, *trust),
                }


TRANSPORTS = UnixSocket(), Tls()
