"""If memory for buffers is short, clients without a lease lose their connections before holders."""

import time
from contextlib import ExitStack

import pytest
from crowd import Crowd
from fault_test import record
from lib.certificates import Authority
from lib.server import Server
from lib.tls import TlsServer
from lib.wire_client import Client, eventually, request

SECRET = "s3cret"
HOLDERS = 100
ROUNDS = 5
ROUND_SECONDS = 0.3
TLS_STREAMS = 512  # 16 MiB hold as many TLS connections
HALF_A_SECRET = "auth\n_\n" + "x" * 64000


class Place:
    """A server with little memory for buffers, and clients that hold a lock each."""

    def __init__(self, server, secret):
        self.server = server
        self.secret = secret
        self.stack = ExitStack()

    def __enter__(self):
        self.stack.enter_context(self.server)
        self.holders = [self.client() for _ in range(HOLDERS)]
        self.tokens = [holder.acquire(f"key-{number}", "0 600")
                       for number, holder in enumerate(self.holders)]
        return self

    def __exit__(self, *reasons):
        self.stack.__exit__(*reasons)

    def client(self):
        client = self.stack.enter_context(Client(self.server))
        if self.secret:
            assert client.call("auth", "_", SECRET) == "ok"
        return client

    def renew(self, in_pieces=False):
        """All holders renew at once. Returns how many got no reply."""
        requests = [request("n", f"key-{number}", f"{token} 600")
                    for number, token in enumerate(self.tokens)]
        for holder, data in zip(self.holders, requests):
            holder.send(data[:7] if in_pieces else data)
        if in_pieces:
            time.sleep(0.1)
            for holder, data in zip(self.holders, requests):
                holder.send(data[7:])
        return sum(holder.read_line() != b"ok 600\n" for holder in self.holders)

    def renew_often(self):
        """Returns how many holders got no reply in some round."""
        lost = 0
        for number in range(ROUNDS):
            lost = max(lost, self.renew(in_pieces=number % 2 == 1))
            time.sleep(ROUND_SECONDS)
        return lost

    def check_recovered(self):
        """Checks that a new client is served."""
        def is_served():
            with Client(self.server) as client:
                return client.call(*(("auth", "_", SECRET) if self.secret else ("ping",))) == "ok"
        eventually(is_served)
        assert self.server.process.poll() is None, self.server.log


@pytest.fixture(params=["secret", "open"])
def secret(request):
    return ("--auth-token", SECRET) if request.param == "secret" else ()


@pytest.fixture(params=[1, 2], ids=["1-worker", "2-workers"])
def flags(request, secret):
    return "--threads", str(request.param), *secret


@pytest.fixture
def tls(tmp_path, flags, secret):
    pair = Authority(tmp_path).issue("server")
    return Place(TlsServer(pair, "--max-buffered-mib", "16", *flags), secret)


@pytest.fixture
def plain(flags, secret):
    return Place(Server("--max-buffered-mib", "4", *flags), secret)


def test_tls_connections_without_handshake_take_nothing_from_holders(tls):
    with tls as place, Crowd(place.server) as crowd:
        crowd.do("connect", TLS_STREAMS)
        lost = place.renew_often()
        record("TLS connections without handshake", lost=lost)
        assert lost == 0
        place.check_recovered()


def test_tls_connections_without_a_lease_take_nothing_from_holders(tls):
    with tls as place:
        with ExitStack() as stack:
            for _ in range(TLS_STREAMS):
                try:
                    stack.enter_context(place.server.connect())
                except OSError:
                    pass
            lost = place.renew_often()
            record("TLS connections without a lease", lost=lost)
            assert lost == 0
            place.check_recovered()


def test_half_sent_secrets_take_nothing_from_holders(plain):
    with plain as place, Crowd(place.server) as crowd:
        crowd.do("connect", 80)
        crowd.do("send", HALF_A_SECRET)
        lost = place.renew_often()
        record("half-sent secrets", lost=lost)
        assert lost == 0
        place.check_recovered()


def test_connections_of_one_byte_take_nothing_from_holders(plain):
    with plain as place, Crowd(place.server) as crowd, Crowd(place.server) as other:
        other.do("connect", 80)
        other.do("send", HALF_A_SECRET)
        crowd.do("connect", 5000)
        crowd.do("send", "l")
        lost = place.renew_often()
        record("connections of one byte", lost=lost)
        assert lost == 0
        place.check_recovered()


def test_attackers_that_come_back_take_nothing_from_holders(plain):
    with plain as place, Crowd(place.server) as crowd:
        for _ in range(ROUNDS):
            crowd.do("connect", 2000)
            crowd.do("send", "l\nk")
            lost = place.renew(in_pieces=True)
            assert lost == 0
            crowd.do("leave", "reset")
        place.check_recovered()
