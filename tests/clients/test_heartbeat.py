"""A client that listens for signals, as 1.9.0 can, sends a ping now and then and is kept."""

import time

import pytest
from lib.server import Server

from .package import clients_with
from .peer import ClientError

pytestmark = pytest.mark.parametrize("client", clients_with("signals"), indirect=True, ids=str)


def test_a_ping_keeps_a_connection_open_beyond_the_read_time_out(peers):
    with Server("--read-timeout", "1") as server:
        signals = peers().new("SignalConn", server=[server.host, server.port],
                              heartbeat_interval_s=0.25)
        signals.call("connect")
        time.sleep(2.5)
        # The server has no signals, but it answers, and on the same connection.
        with pytest.raises(ClientError, match="signal failed: 'error'"):
            signals.call("emit", "channel", "payload")
