"""Opens connections to a port and keeps them: a process of its own, with descriptors of its own.

    hold_connections.py PORT COUNT

Says how many are open, then waits for the end of its input, and goes with all of them.
"""

import socket
import sys


def main():
    port, count = int(sys.argv[1]), int(sys.argv[2])
    connections = []
    for _ in range(count):
        connection = socket.socket()
        # In a full backlog a connection may stay half open: that is as good.
        connection.setblocking(False)
        connection.connect_ex(("127.0.0.1", port))
        connections.append(connection)
    print(len(connections), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
