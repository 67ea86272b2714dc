"""Rules of shared locks with many clients. Fences show the order of grants, not times.

HOLDERS=1000000 makes the test of many holders longer.
"""

import os
import resource
import select
import time
from contextlib import ExitStack, contextmanager

import pytest
from lib.process import SANITIZED
from lib.server import Server
from lib.wire_client import SILENCE, Client, eventually, request

READERS = 1000
WRITERS = 5
HOLDERS = int(os.environ.get("HOLDERS", "20000" if SANITIZED else "100000"))
HOLDER_CONNECTIONS = 1000
DESCRIPTORS = 4096
WAIT = "600"


@pytest.fixture(autouse=True)
def many_descriptors():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(before[1], DESCRIPTORS), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@contextmanager
def clients(server, count):
    with ExitStack() as stack:
        yield [stack.enter_context(Client(server)) for _ in range(count)]


def fence(token):
    return int(token[:16], 16)


def token_of(line):
    words = line.split()
    assert words[0] in (b"ok", b"acquired") and len(words) == 3, line
    return words[1].decode()


def granted(client):
    """Reads a grant. Returns its token."""
    return token_of(client.read_line())


def held(client, key="key"):
    """Returns the entry of a lock in the server's stats, or None."""
    return next((lock for lock in client.stats()["locks"] if lock["key"] == key), None)


def until_waiting(client, count, key="key"):
    eventually(lambda: (held(client, key) or {"waiters": 0})["waiters"] == count)


def queue_up(observer, *requests):
    """Sends each request, a client and its command, when the previous one waits."""
    for place, (client, command) in enumerate(requests):
        client.send(request(command, "key", WAIT))
        until_waiting(observer, place + 1)


def release(client, token, key="key"):
    assert client.call("r", key, token) == "ok"


# ---- starvation ----


class Reader:
    """A client that acquires a key shared and releases it."""

    def __init__(self, client):
        self.client = client
        self.state = "idle"
        self.late = False  # the request was sent after the writer was queued

    def ask(self, late):
        self.client.send(request("rl", "key", WAIT))
        self.state, self.late = "waits", late

    def take(self):
        """Reads a reply, and releases after a grant. Returns its fence, else None."""
        line = self.client.read_line()
        if self.state == "releases":
            assert line == b"ok\n"
            self.state = "idle"
            return None
        token = token_of(line)
        self.client.send(request("r", "key", token))
        self.state = "releases"
        return fence(token)


class Traffic:
    """Readers that come and go."""

    def __init__(self, connections):
        self.readers = {client.socket.fileno(): Reader(client) for client in connections}
        self.poll = select.epoll()
        for descriptor in self.readers:
            self.poll.register(descriptor, select.EPOLLIN)

    def start(self, late):
        for reader in self.readers.values():
            if reader.state == "idle":
                reader.ask(late)

    def step(self, seconds=20):
        """Handles the next replies. Yields the readers that were granted, with fences."""
        events = self.poll.poll(seconds)
        assert events or seconds < 1, "no reply"
        for descriptor, _ in events:
            reader = self.readers[descriptor]
            number = reader.take()
            if number is not None:
                yield reader, number

    def finish(self):
        """Yields the fences of all grants until no reader waits."""
        while any(reader.state != "idle" for reader in self.readers.values()):
            yield from (number for _, number in self.step())


@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_writer_never_starves_among_readers_that_come_and_go(threads):
    with Server("--threads", threads) as server, clients(server, READERS) as connections, \
            Client(server) as anchor, Client(server) as writer:
        traffic = Traffic(connections)
        for _ in range(WRITERS):
            token = token_of(anchor.call("rl", "key", f"0 {WAIT}").encode())
            before = []
            while len(before) < 2 * READERS:
                traffic.start(late=False)
                before += [number for _, number in traffic.step()]
            assert writer.call("e", "key", WAIT) == "queued"
            release(anchor, token)

            def all_wait_behind_the_writer():
                """all readers wait"""
                traffic.start(late=True)
                for reader, number in traffic.step(0.01):
                    assert not reader.late, "a reader passed the writer"
                    before.append(number)
                return (held(anchor) or {"waiters": 0})["waiters"] == READERS

            eventually(all_wait_behind_the_writer)
            own = token_of(writer.call("w", "key", WAIT).encode())
            assert max(before) < fence(own) and held(writer)["waiters"] == READERS
            release(writer, own)
            after = list(traffic.finish())
            assert len(after) == READERS and min(after) > fence(own)
            assert held(writer) is None


# ---- order ----


@pytest.mark.parametrize("writer_form", ["l", "e"])
@pytest.mark.parametrize("holder_form", ["rl", "l"])
def test_no_reader_passes_a_waiting_writer(holder_form, writer_form):
    with Server() as server, clients(server, 6) as (holder, writer, tries, enqueues, waits, spare):
        token = token_of(holder.call(holder_form, "key", f"0 {WAIT}").encode())
        if writer_form == "e":
            assert writer.call("e", "key", WAIT) == "queued"
        writer.send(request(*{"l": ("l", "key", WAIT), "e": ("w", "key", WAIT)}[writer_form]))
        until_waiting(spare, 1)
        assert tries.call("rl", "key", "0") == "timeout"
        assert enqueues.call("re", "key") == "queued"
        waits.send(request("rl", "key", WAIT))
        until_waiting(spare, 3)
        # Not even the holder itself.
        assert holder.call("rl", "key", "0") == "timeout"
        assert enqueues.call("w", "key", "0") == "timeout"
        assert enqueues.call("re", "key") == "queued"
        release(holder, token)
        own = granted(writer)
        assert waits.read_line(seconds=0) == SILENCE and held(spare)["waiters"] == 2
        release(writer, own)
        readers = [fence(granted(waits)), fence(token_of(enqueues.call("w", "key", "0").encode()))]
        assert fence(own) < readers[0] < readers[1]


def test_readers_next_to_each_other_are_granted_together_between_writers():
    """The queue of 60 readers, a writer, 60 readers and so on is granted in its order."""
    with Server() as server, clients(server, 4 * 61) as queue, Client(server) as holder:
        token = holder.acquire("key", f"0 {WAIT}")
        queue_up(holder, *((client, "l" if place % 61 == 60 else "rl")
                           for place, client in enumerate(queue)))
        release(holder, token)
        fences = []
        for start in range(0, len(queue), 61):
            readers = [(client, granted(client)) for client in queue[start:start + 60]]
            fences += [fence(token) for _, token in readers]
            until_waiting(holder, len(queue) - start - 60)
            for client, token in readers:
                assert queue[start + 60].read_line(seconds=0) == SILENCE
                release(client, token)
            own = granted(queue[start + 60])
            fences.append(fence(own))
            until_waiting(holder, len(queue) - start - 61)
            release(queue[start + 60], own)
    assert fences == sorted(fences) and len(set(fences)) == len(queue)


# ---- waiters that leave ----


def leave_after_a_timeout(writer):
    writer.send(request("l", "key", "1"))
    return lambda: writer.read_line() == b"timeout\n"


def leave_the_queue(writer):
    assert writer.call("e", "key") == "queued"
    return lambda: writer.call("w", "key", "0") == "timeout"


def close_while_enqueued(writer):
    assert writer.call("e", "key") == "queued"
    return lambda: writer.close() is None


def close_while_waiting(writer):
    writer.send(request("l", "key", WAIT))
    return lambda: writer.close() is None


def reset_while_waiting(writer):
    writer.send(request("l", "key", WAIT))
    return lambda: writer.reset() is None


@pytest.mark.parametrize("leave", [leave_after_a_timeout, leave_the_queue, close_while_enqueued,
                                   close_while_waiting, reset_while_waiting],
                         ids=lambda leave: leave.__name__)
@pytest.mark.parametrize("count", [1, 300])
def test_a_waiting_writer_that_leaves_hands_over_to_the_readers_behind_it(leave, count):
    with Server() as server, clients(server, 2 * count) as readers, \
            clients(server, 3) as (holder, leaver, writer):
        first, second = readers[:count], readers[count:]
        token = token_of(holder.call("rl", "key", f"0 {WAIT}").encode())
        go = leave(leaver)
        until_waiting(holder, 1)
        waiting = 1
        for group in (first, [writer], second):
            for client in group:
                client.send(request("l" if client is writer else "rl", "key", WAIT))
            waiting += len(group)
            if leave is leave_after_a_timeout:
                eventually(lambda expected=waiting: (held(holder) or {})["waiters"] in
                           (expected, expected - 1 - count))
            else:
                until_waiting(holder, waiting)
        assert go()
        tokens = [granted(client) for client in first]
        # The next writer and the readers behind it wait.
        until_waiting(holder, 1 + count)
        for client, own in zip((holder, *first), (token, *tokens)):
            assert writer.read_line(seconds=0) == SILENCE
            release(client, own)
        own = granted(writer)
        assert all(fence(token) < fence(other) < fence(own) for other in tokens)
        assert held(holder)["waiters"] == count
        release(writer, own)
        assert all(fence(granted(client)) > fence(own) for client in second)


def test_a_writer_that_leaves_behind_a_writer_hands_nothing_over():
    with Server() as server, clients(server, 3) as (holder, leaver, reader):
        token = holder.acquire("key", f"0 {WAIT}")
        go = leave_the_queue(leaver)
        reader.send(request("rl", "key", WAIT))
        until_waiting(holder, 2)
        assert go()
        until_waiting(holder, 1)
        assert reader.read_line(seconds=0) == SILENCE
        release(holder, token)
        assert fence(granted(reader)) > fence(token)


# ---- many holders ----


def read_grants(connections, each):
    """Reads `each` grants from each connection. Returns their fences."""
    poll = select.epoll()
    left = {}
    fences = []
    for client in connections:
        poll.register(client.socket, select.EPOLLIN)
        left[client.socket.fileno()] = [client.socket, b"", each]
    while left:
        for descriptor, _ in poll.poll(20):
            source, rest, missing = left[descriptor]
            *lines, rest = (rest + source.recv(1 << 16)).split(b"\n")
            fences += [fence(token_of(line)) for line in lines]
            left[descriptor] = [source, rest, missing - len(lines)]
            if missing == len(lines):
                poll.unregister(descriptor)
                del left[descriptor]
    return fences


@pytest.mark.parametrize("threads", ["1", "2"])
def test_many_readers_are_granted_while_others_are_served(threads):
    """Readers wait on each connection, with more requests behind; a writer's release grants all.

    Each grant of the server takes the next fence. So the fences of another client show how often
    the server served it between the first and the last reader.
    """
    each = HOLDERS // HOLDER_CONNECTIONS
    count = each * HOLDER_CONNECTIONS
    with Server("--threads", threads, "--read-timeout", WAIT) as server, \
            clients(server, 3) as (writer, other, heir), \
            clients(server, HOLDER_CONNECTIONS) as connections:
        token = writer.acquire("key", f"0 {WAIT}")
        # Requests and replies fit into the buffers of the kernel.
        for client in connections:
            client.send(request("rl", "key", f"{WAIT} {WAIT}") * each)
        until_waiting(writer, HOLDER_CONNECTIONS)
        release(writer, token)
        served = [fence(token)]
        while served[-1] <= fence(token) + count:
            own = other.acquire("other")
            assert other.call("ping") == "ok"
            release(other, own, "other")
            served.append(fence(own))
        fences = read_grants(connections, each)
        assert len(set(fences)) == count and min(fences) > fence(token)
        between = sum(min(fences) < number < max(fences) for number in served)
        assert between >= 3, f"another client was served {between} times"
        assert held(writer)["waiters"] == 0
        assert heir.call("e", "key") == "queued"
        for client in connections:
            client.close()
        assert fence(token_of(heir.call("w", "key", WAIT).encode())) > max(fences)
        assert held(writer)["waiters"] == 0


# ---- limits and stats ----


def test_readers_and_writers_share_the_limit_of_waiters():
    with Server("--max-waiters", "2") as server, clients(server, 5) as (a, b, c, d, e):
        token = a.acquire("key", f"0 {WAIT}")
        queue_up(a, (b, "rl"))
        assert c.call("e", "key") == "queued"
        until_waiting(a, 2)
        for command, arg in (("rl", WAIT), ("l", WAIT), ("re", ""), ("e", ""), ("rl", "0")):
            assert d.call(command, "key", arg) == "error_max_waiters"
        release(a, token)
        own = granted(b)
        # A place is free, but the writer waits: a reader waits behind it.
        assert d.call("re", "key") == "queued"
        assert e.call("rl", "key", "0") == "error_max_waiters"
        c.close()
        assert token_of(d.call("w", "key", WAIT).encode()) and token_of(
            e.call("rl", "key", "0").encode())
        release(b, own)


def test_a_free_slot_needs_no_place_in_the_queue():
    with Server("--max-waiters", "1") as server, clients(server, 3) as (holder, waiter, other):
        holders = [token_of(client.call("rl", "key", "0").encode())
                   for client in (holder, waiter, other)]
        assert len({fence(token) for token in holders}) == 3
        queue_up(holder, (waiter, "l"))
        assert other.call("rl", "key", "0") == "error_max_waiters"


def test_the_holders_of_a_key_need_one_place_among_the_locks():
    with Server("--max-locks", "1") as server, clients(server, 20) as readers, \
            Client(server) as writer:
        tokens = [token_of(client.call("rl", "key", "0").encode()) for client in readers]
        for client in (readers[0], writer):
            for command in ("rl", "l"):
                assert client.call(command, "other", "0") == "error_max_locks"
            assert client.call("re", "other") == "error_max_locks"
        writer.send(request("l", "key", WAIT))
        for client, token in zip(readers, tokens):
            release(client, token)
        granted(writer)


def test_shared_holders_count_as_claims():
    with Server("--max-claims", "4", "--max-claims-per-connection", "2") as server, \
            clients(server, 3) as (one, two, three):
        for client in (one, two):
            tokens = [token_of(client.call("rl", "key", "0").encode()) for _ in range(2)]
            assert client.call("rl", "key", "0") == "error_max_locks"
        assert three.call("rl", "key", "0") == "error_max_locks"
        release(two, tokens[0])
        assert three.call("rl", "key", "0").startswith("ok ")


def connection_id(client):
    token = client.acquire("own")
    number = held(client, "own")["owner_conn_id"]
    release(client, token, "own")
    return number


def test_stats_show_a_shared_lock_once_with_its_latest_holder():
    with Server() as server, clients(server, 5) as (one, two, three, reader, writer):
        ids = [connection_id(client) for client in (one, two, three)]
        tokens = [token_of(client.call("rl", "key", f"0 {lease}").encode())
                  for client, lease in ((one, 1000), (two, 2000), (three, 3000))]
        queue_up(one, (writer, "l"), (reader, "rl"))
        for holder, lease in ((2, 3000), (0, 1000)):
            stats = one.stats()
            lock, = stats["locks"]
            assert (lock["owner_conn_id"], lock["waiters"]) == (ids[holder], 2)
            assert lease - 500 < lock["lease_expires_in_s"] <= lease
            assert not any("key" == idle["key"] for idle in stats["idle_locks"])
            # The latest holder leaves, then one in the middle: the owner is a holder that is left.
            if holder == 2:
                release(three, tokens[2])
                assert held(one)["owner_conn_id"] == ids[1]
                release(two, tokens[1])
        release(one, tokens[0])
        own = granted(writer)
        assert held(one)["waiters"] == 1
        release(writer, own)
        release(reader, granted(reader))
        stats = one.stats()
        assert stats["locks"] == [] and {idle["key"] for idle in stats["idle_locks"]} == \
            {"key", "own"}


def test_the_end_of_a_readers_lease_ends_no_other_hold():
    with Server() as server, clients(server, 4) as (brief, long, writer, reader):
        lost = token_of(brief.call("rl", "key", "0 1").encode())
        kept = token_of(long.call("rl", "key", f"0 {WAIT}").encode())
        queue_up(brief, (writer, "l"), (reader, "rl"))
        time.sleep(1.5)
        assert brief.call("n", "key", f"{lost} 1") == "error"
        assert writer.read_line(seconds=0) == SILENCE and held(brief)["waiters"] == 2
        release(long, kept)
        own = granted(writer)
        assert reader.read_line(seconds=0) == SILENCE
        release(writer, own)
        assert fence(kept) < fence(own) < fence(granted(reader))
