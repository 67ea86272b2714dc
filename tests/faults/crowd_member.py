"""A process with many connections that executes orders: see crowd.py.

    crowd_member.py PORT

Each line of input is a JSON list: a function of this file and its arguments. Each line of output
is what the function returned.
"""

import collections
import json
import resource
import select
import socket
import struct
import sys
import time

PORT = int(sys.argv[1])
RESET = struct.pack("ii", 1, 0)
connections = []
received = {}  # by descriptor: the bytes of an incomplete line


def connect(count, receive_bytes=0):
    """Opens more connections, each with a receive buffer of `receive_bytes`; 0: the default."""
    for _ in range(count):
        connection = socket.socket()
        connection.settimeout(60)
        if receive_bytes:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.connect(("127.0.0.1", PORT))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        connections.append(connection)
        received[connection.fileno()] = b""
    return len(connections)


def send(text, repeat=1):
    """Sends on each connection; {n} in the text is its number. Returns the full sends."""
    complete = 0
    for number, connection in enumerate(connections):
        data = text.replace("{n}", str(number)).encode() * repeat
        try:
            complete += connection.send(data) == len(data)
        except (BlockingIOError, ConnectionError):
            pass
    return complete


def trickle(text):
    """Sends the text on each connection, a byte a second. Returns the number of bytes sent."""
    sent = 0
    for byte in text.encode():
        begin = time.monotonic()
        for connection in connections:
            try:
                sent += connection.send(bytes([byte]))
            except (BlockingIOError, ConnectionError):
                pass
        time.sleep(max(0, begin + 1 - time.monotonic()))
    return sent


def answers(count, seconds):
    """Reads `count` lines from each connection, or until its end. Returns the counts of first
    words, and of connections that were closed, reset and silent."""
    words = collections.Counter()
    poll = select.epoll()
    left = {}
    for connection in connections:
        poll.register(connection, select.EPOLLIN)
        left[connection.fileno()] = [connection, count]
    end = time.monotonic() + seconds
    while left and time.monotonic() < end:
        for descriptor, _ in poll.poll(0.2):
            connection, wanted = left[descriptor]
            try:
                data = connection.recv(65536)
            except ConnectionError:
                words["(reset)"] += 1
                wanted = 0
            else:
                lines = (received[descriptor] + data).split(b"\n")
                received[descriptor] = lines.pop()
                words.update(line.split(b" ")[0].decode() for line in lines)
                wanted -= len(lines)
                if not data:
                    words["(closed)"] += 1
                    wanted = 0
            left[descriptor][1] = wanted
            if wanted <= 0:
                poll.unregister(descriptor)
                del left[descriptor]
    if left:
        words["(silent)"] = len(left)
    poll.close()
    return words


def enqueue(key):
    """Enqueues one connection after the other."""
    for connection in connections:
        connection.setblocking(True)
        connection.sendall(f"e\n{key}\n600\n".encode())
        reply = connection.recv(100)
        assert reply == b"queued\n", reply
        connection.setblocking(False)
    return len(connections)


def hand_on(key, seconds):
    """All wait for the key, and each releases it at once. Returns the numbers of the connections in
    the order of their grants, and the microseconds between grants."""
    poll = select.epoll()
    number_of = {}
    released = set()
    order = []
    first = last = 0
    for number, connection in enumerate(connections):
        number_of[connection.fileno()] = number
        poll.register(connection, select.EPOLLIN)
        connection.send(f"w\n{key}\n600\n".encode())
    end = time.monotonic() + seconds
    print("waiting", flush=True)
    while len(released) < len(connections) and time.monotonic() < end:
        for descriptor, _ in poll.poll(0.2):
            connection = connections[number_of[descriptor]]
            reply = connection.recv(100).decode().split()
            if len(reply) == 3 and reply[0] == "ok":
                last = time.monotonic()
                first = first or last
                order.append(number_of[descriptor])
                connection.send(f"r\n{key}\n{reply[1]}\n".encode())
            else:
                assert reply == ["ok"], reply
                released.add(descriptor)
    poll.close()
    return {"order": order, "released": len(released),
            "us": 1e6 * (last - first) / max(1, len(order) - 1)}


def blast(text, seconds):
    """Sends on each connection as fast as possible, and reads all replies. Returns the numbers of
    requests and replies."""
    chunk = memoryview(text.encode() * (256 * 1024 // len(text)))
    poll = select.epoll()
    position = {}
    by_descriptor = {}
    answered = 0
    for connection in connections:
        poll.register(connection, select.EPOLLIN | select.EPOLLOUT)
        by_descriptor[connection.fileno()] = connection
        position[connection.fileno()] = 0
    sent = 0
    end = time.monotonic() + seconds
    finish = end + 30
    while time.monotonic() < finish:
        sending = time.monotonic() < end
        for descriptor, event in poll.poll(0.05):
            connection = by_descriptor[descriptor]
            if event & select.EPOLLIN:
                answered += connection.recv(1 << 20).count(b"\n")
            if event & select.EPOLLOUT and (sending or position[descriptor]):
                try:
                    taken = connection.send(chunk[position[descriptor]:])
                except BlockingIOError:
                    continue
                sent += taken
                position[descriptor] = (position[descriptor] + taken) % len(chunk)
        if not sending and not any(position.values()):
            for descriptor in by_descriptor:
                poll.modify(descriptor, select.EPOLLIN)
            if answered >= sent // len(text):
                break
    poll.close()
    return {"sent": sent // len(text), "answered": answered}


def blast_until_end(text, seconds):
    """As blast, until the server closes each connection. Returns the counts of first words, and of
    closed and reset connections."""
    chunk = memoryview(text.encode() * (64 * 1024 // len(text)))
    words = collections.Counter()
    poll = select.epoll()
    position = {}
    by_descriptor = {connection.fileno(): connection for connection in connections}
    for descriptor in by_descriptor:
        poll.register(descriptor, select.EPOLLIN | select.EPOLLOUT)
        position[descriptor] = 0
    print("blasting", flush=True)
    end = time.monotonic() + seconds
    while by_descriptor and time.monotonic() < end:
        for descriptor, event in poll.poll(0.1):
            connection = by_descriptor[descriptor]
            try:
                if event & ~select.EPOLLOUT:
                    data = connection.recv(1 << 18)
                    lines = (received[descriptor] + data).split(b"\n")
                    received[descriptor] = lines.pop()
                    words.update(line.split(b" ")[0].decode() for line in lines)
                    if not data:
                        words["(closed)"] += 1
                        words["(half a line)"] += received[descriptor] != b""
                        poll.unregister(descriptor)
                        del by_descriptor[descriptor]
                        continue
                if event & select.EPOLLOUT:
                    taken = connection.send(chunk[position[descriptor]:])
                    position[descriptor] = (position[descriptor] + taken) % len(chunk)
            except BlockingIOError:
                pass
            except ConnectionError:
                words["(reset)"] += 1
                poll.unregister(descriptor)
                del by_descriptor[descriptor]
    words["(silent)"] = len(by_descriptor)
    poll.close()
    return +words


def leave(how):
    """Ends all connections by close, reset or fin; after fin it reads until the server closes."""
    for connection in connections:
        try:
            if how == "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            if how == "fin":
                connection.shutdown(socket.SHUT_WR)
            else:
                connection.close()
        except OSError:
            pass
    words = answers(1 << 30, 30) if how == "fin" else {}
    for connection in connections:
        connection.close()
    connections.clear()
    return words


def main():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for line in sys.stdin:
        function, *arguments = json.loads(line)
        print(json.dumps(globals()[function](*arguments)), flush=True)


if __name__ == "__main__":
    main()
