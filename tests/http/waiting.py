"""Waits for the state of a key, seen over TCP."""

import json

from lib.wire_client import Client, eventually


def show(tcp, key, kind="l"):
    reply = tcp.call("show", key, kind)
    return json.loads(reply[3:]) if reply.startswith("ok ") else None


def wait_for_waiters(tcp, key, count, kind="l"):
    """Waits until `count` clients are in the queue of the key."""
    def queued():
        shown = show(tcp, key, kind)
        return (shown["waiter_count"] if shown else 0) == count
    eventually(queued)


def is_free(server, key):
    """Returns whether a new TCP client gets the lock at once."""
    with Client(server) as client:
        return client.call("l", key, "0").startswith("ok ")


def wait_until_free(server, key, seconds=20):
    def free():
        return is_free(server, key)
    eventually(free, seconds)
