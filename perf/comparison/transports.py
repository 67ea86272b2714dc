"""Rows about ways to connect that the server may not have yet."""

from contextlib import contextmanager

from comparison.row import Row
from comparison.servers import refused


class Transport(Row):
    """Only whether the server takes the flags that this row would need."""

    flags = ()
    once = True

    @contextmanager
    def contestants(self, seconds):
        yield {"dflockd": lambda: {"refused": refused(*self.flags) is not None}}


class UnixSocket(Transport):
    name = "unix-socket"
    title = "Unix socket, 16 connections"
    target = "CPU per op <= 0.7 x our TCP"
    flags = "--unix-socket", "socket-that-nobody-connects-to"


class Tls(Transport):
    name = "tls"
    title = "TLS 1.3, 16 connections"
    target = "CPU per op <= 1.6 x plain"
    flags = "--tls-cert", "certificate.pem"


TRANSPORTS = UnixSocket(), Tls()
