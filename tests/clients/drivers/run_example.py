"""Runs an example unchanged, but directs its port and server names elsewhere.

    run_example.py PORTS EXAMPLE

PORTS is a JSON object with the local ports of the server names.
"""

import json
import runpy
import socket
import sys

from dflockd import sharding

ports = json.loads(sys.argv[1])
resolve = socket.getaddrinfo


def resolve_here(host, port, *arguments, **options):
    if host in ports:
        host, port = "127.0.0.1", ports[host]
    return resolve(host, port, *arguments, **options)


socket.getaddrinfo = resolve_here
sharding.DEFAULT_SERVERS[:] = [("127.0.0.1", ports.get("localhost", 0))]
runpy.run_path(sys.argv[2], run_name="__main__")
