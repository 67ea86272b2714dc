"""Which workers serve clients, told by their sleep: who has nothing to do is not woken."""

from lib.threads import sleeps
from lib.wire_client import eventually


def all_serve(server, clients):
    """Wait until the requests of `clients` have woken every thread of the server."""
    for client in clients:
        assert client.call("ping") == "ok"  # so all are where they belong
    before = sleeps(server)
    for client in clients:
        assert client.call("ping") == "ok"

    def all_woken():
        """each thread went to sleep again"""
        return all(now > then for now, then in zip(sleeps(server), before, strict=True))

    eventually(all_woken)
