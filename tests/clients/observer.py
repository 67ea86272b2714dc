"""The state of a server, read over a plain connection instead of a published client."""

from lib.wire_client import Client, eventually

from .client_process import WAIT_SECONDS


def call(server, command, key="_", arg=""):
    """Returns the reply to one request on a new connection."""
    with Client(server) as client:
        return client.call(command, key, arg)


def stats(server):
    with Client(server) as client:
        return client.stats()


def entry(server, key):
    """Returns the stats entry of a key that is held or waited for, or None."""
    report = stats(server)
    entries = report["locks"] + report["semaphores"]
    return next((entry for entry in entries if entry["key"] == key), None)


def waiters(server, key):
    found = entry(server, key)
    return found["waiters"] if found else 0


def held_keys(server):
    return {entry["key"] for entry in stats(server)["locks"]}


def until(condition):
    eventually(condition, WAIT_SECONDS)


def until_waiting(server, key, count):
    until(lambda: waiters(server, key) == count)
