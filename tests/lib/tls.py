"""A server with a certificate, and a client socket with TLS over memory.

Python's own ssl sockets cannot close one direction alone or stop at any byte of ciphertext, and
they hide how the server closed.
"""

import socket
import ssl

from .server import Server

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def client_context(authority=None, version=None, pair=None):
    """A context that trusts `authority`, or every server; `pair` is a client certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if authority:
        context.load_verify_locations(authority.certificate)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if version:
        context.minimum_version = context.maximum_version = VERSIONS[version]
    if pair:
        context.load_cert_chain(pair.certificate, pair.key)
    return context


class TlsSocket:
    """The part of a socket that the tests use. Sends `piece` bytes of ciphertext at a time.

    An end without close-notify is a ConnectionResetError, because it could be an attack.
    """

    def __init__(self, plain, context, piece=None, session=None):
        self.plain = plain
        self.piece = piece
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost",
                                    session=session)
        self.sent = bytearray()
        self._until_done(self.tls.do_handshake)

    def _flush(self):
        data = self.outgoing.read()
        self.sent += data
        if self.piece:
            self.plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for begin in range(0, len(data), self.piece or max(len(data), 1)):
            self.plain.sendall(data[begin:begin + (self.piece or len(data))])

    def _fill(self):
        data = self.plain.recv(1 << 16)
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()

    def _until_done(self, step):
        while True:
            try:
                value = step()
                self._flush()
                return value
            except ssl.SSLWantReadError:
                self._flush()
                self._fill()
            except ssl.SSLError:
                self._flush_last()
                raise

    def _flush_last(self):
        try:
            self._flush()
        except OSError:
            pass

    def encrypt(self, data):
        """Returns the ciphertext of `data` without sending it."""
        self.tls.write(data)
        return self.outgoing.read()

    def sendall(self, data):
        if data:
            self.tls.write(data)
            self._flush()

    def send(self, data):
        self.sendall(data)
        return len(data)

    def recv(self, size):
        try:
            return self._until_done(lambda: self.tls.read(size))
        except ssl.SSLZeroReturnError:
            return b""
        except ssl.SSLEOFError as error:
            raise ConnectionResetError("ended without close-notify") from error

    def shutdown(self, _):
        """Sends close-notify, and shuts down writing."""
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        self._flush()
        self.plain.shutdown(socket.SHUT_WR)

    def settimeout(self, seconds):
        self.plain.settimeout(seconds)

    @property
    def family(self):
        return self.plain.family

    def setsockopt(self, *arguments):
        self.plain.setsockopt(*arguments)

    def close(self):
        self.plain.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class TlsServer(Server):
    """A server with the certificate of `pair`, and its TLS clients."""

    def __init__(self, pair, *args, version=None, piece=None, client=None, authority=None, **more):
        super().__init__("--tls-cert", str(pair.certificate), "--tls-key", str(pair.key),
                         *args, **more)
        self.context = client_context(authority, version, client)
        self.piece = piece

    def connect_plain(self, timeout=20):
        return super().connect(timeout)

    def connect(self, timeout=20, context=None, session=None):
        plain = self.connect_plain(timeout)
        try:
            return TlsSocket(plain, context or self.context, self.piece, session)
        except BaseException:
            plain.close()
            raise
