"""A client that listens for signals, as 1.9.0 can, keeps its connection open by pings."""

import time

import pytest
from lib.server import Server

from .client_process import ClientError
from .package import clients_with

pytestmark = pytest.mark.parametrize("client", clients_with("signals"), indirect=True, ids=str)


def test_a_ping_keeps_a_connection_open_beyond_the_read_timeout(start_client):
    with Server("--read-timeout", "2") as server:
        signals = start_client().new("SignalConn", server=[server.host, server.port],
                                     heartbeat_interval_s=0.25)
        signals.call("connect")
        time.sleep(4.5)
        # The server has no signals, but replies on the same connection.
        with pytest.raises(ClientError, match="signal failed: 'error'"):
            signals.call("emit", "channel", "payload")
