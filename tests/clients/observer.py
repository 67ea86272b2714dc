"""What a server says about itself, asked over a plain connection and not through any client."""

import json
import time

from .client_process import WAIT_SECONDS


def send_request(server, *lines):
    """The answer to one request, on a connection of its own."""
    with server.connect() as connection, connection.makefile("rw", newline="\n") as stream:
        stream.write("".join(f"{line}\n" for line in lines))
        stream.flush()
        return stream.readline().rstrip("\n")


def stats(server):
    answer = send_request(server, "stats", "_", "_")
    assert answer.startswith("ok ")
    return json.loads(answer[3:])


def entry(server, key):
    """What the stats say of a key that is held or waited for, or None."""
    report = stats(server)
    entries = report["locks"] + report["semaphores"]
    return next((entry for entry in entries if entry["key"] == key), None)


def waiters(server, key):
    found = entry(server, key)
    return found["waiters"] if found else 0


def held_keys(server):
    return {entry["key"] for entry in stats(server)["locks"]}


def until(condition):
    """Wait for `condition()`; it must come true."""
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def until_waiting(server, key, count):
    until(lambda: waiters(server, key) == count)
