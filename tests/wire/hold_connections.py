"""Opens connections to a port and keeps them open, with the descriptors of its own process.

    hold_connections.py PORT COUNT

Prints the number of connections, and ends with its input.
"""

import socket
import sys


def main():
    port, count = int(sys.argv[1]), int(sys.argv[2])
    connections = []
    for _ in range(count):
        connection = socket.socket()
        # With a full backlog a connection stays half open, which is good enough.
        connection.setblocking(False)
        connection.connect_ex(("127.0.0.1", port))
        connections.append(connection)
    print(len(connections), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
