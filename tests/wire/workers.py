"""Finds out which workers serve clients: idle workers are not woken."""

from lib.process import sleeps
from lib.wire_client import eventually


def all_serve(server, clients):
    """Waits until requests of `clients` have woken every worker."""
    for client in clients:
        assert client.call("ping") == "ok"  # so all connections are on their workers
    before = sleeps(server)
    for client in clients:
        assert client.call("ping") == "ok"

    def all_woken():
        """each worker went to sleep again"""
        return all(now > then for now, then in zip(sleeps(server), before, strict=True))

    eventually(all_woken)
