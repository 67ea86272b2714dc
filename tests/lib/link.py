"""A TCP connection to a server that a test can cut."""

import socket
import threading

from lib.stand_in import StandIn


class Link(StandIn):
    """A TCP proxy to a server. `cut` ends its connections. While `silent`, it only accepts."""

    answers_probe = False

    def __init__(self, server):
        super().__init__()
        self.server = server
        self.silent = False
        self.ends = []
        self.mute = 0

    def serve(self, connection):
        if self.silent:
            self.mute += 1
            self.ends.append(connection)
            return
        there = self.server.connect()
        self.ends += [connection, there]
        for source, sink in [(connection, there), (there, connection)]:
            threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    @staticmethod
    def _carry(source, sink):
        try:
            while data := source.recv(4096):
                sink.sendall(data)
        except OSError:
            pass

    def cut(self):
        """Ends the connections of now. Those that clients make meanwhile stay."""
        ends, self.ends = self.ends, []
        for end in ends:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
