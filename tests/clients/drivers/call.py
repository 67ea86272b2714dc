"""Sends its input to HOST PORT and prints the replies."""

import shutil
import socket
import sys

with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=60) as connection:
    connection.sendall(sys.stdin.buffer.read())
    connection.shutdown(socket.SHUT_WR)
    shutil.copyfileobj(connection.makefile("rb"), sys.stdout.buffer)
