"""Base class of fake servers and proxies."""

import socket
import threading
from contextlib import suppress


PROBE = b"w\ndflockd-probe\n0\n"


class StandIn:
    """A listener on a free port. A subclass serves one connection after the other by `serve`.

    If `answers_probe`, does not serve a connection that begins with the probe of libdflockd
    (src/client/extensions.h): replies `error` and closes it, as published 0.4.1 does. The library
    then connects again without the probe.
    """

    answers_probe = True

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"

    def serve(self, connection):
        raise NotImplementedError

    def __enter__(self):
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(10)

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with suppress(OSError):
                if self.answers_probe and connection.recv(len(PROBE), socket.MSG_PEEK) == PROBE:
                    with connection:
                        connection.recv(len(PROBE))
                        connection.sendall(b"error\n")
                    continue
                self.serve(connection)
