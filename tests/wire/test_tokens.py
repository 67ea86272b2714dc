"""Tokens: 16 hex digits of a rising fence, then 16 of random salt."""

import time

from lib.server import Server
from lib.wire_client import Client, request


def fence(token):
    return int(token[:16], 16)


def grants(client, keys):
    client.send(b"".join(request("l", key, "0") for key in keys))
    lines = [client.read_line() for _ in keys]
    assert all(line.startswith(b"ok ") for line in lines)
    return [line.split()[1].decode() for line in lines]


def test_fences_rise_across_keys_and_connections():
    with Server("--max-locks", "5000") as server:
        tokens = []
        clients = [Client(server) for _ in range(4)]
        for turn in range(20):
            for number, client in enumerate(clients):
                tokens += grants(client, [f"{turn}-{number}-{key}" for key in range(10)])
        for client in clients:
            client.close()
    fences = [fence(token) for token in tokens]
    assert fences == sorted(set(fences))


def test_the_fence_starts_from_the_wall_clock_in_nanoseconds():
    before = time.time_ns()
    with Server() as server, Client(server) as client:
        first = fence(client.acquire("key"))
        assert before - 10**9 < first < time.time_ns() + 10**9


def test_the_fence_rises_over_a_restart():
    with Server() as server, Client(server) as client:
        before = max(fence(token) for token in grants(client, [str(key) for key in range(500)]))
    with Server() as server, Client(server) as client:
        assert fence(client.acquire("key")) > before


def test_salts_are_unique_and_independent_of_the_fence():
    with Server("--max-locks", "5000") as first, Client(first) as one, \
            Server("--max-locks", "5000") as second, Client(second) as two:
        keys = [str(key) for key in range(2000)]
        salts = [token[16:] for token in grants(one, keys) + grants(two, keys)]
    assert len(set(salts)) == len(salts)
    # Each of 64 bits is set in half of 4000 salts on average: 6 standard deviations are 190.
    for bit in range(64):
        count = sum(int(salt, 16) >> bit & 1 for salt in salts)
        assert abs(count - 2000) < 200


def test_an_uppercase_token_is_not_valid():
    with Server() as server, Client(server) as client:
        token = client.acquire("key")
        assert token != token.upper()
        assert client.call("r", "key", token.upper()) == "error"
        assert client.call("n", "key", token.upper()) == "error"
        assert client.call("r", "key", token) == "ok"


def test_every_digit_of_a_token_is_compared():
    with Server() as server, Client(server) as client:
        token = client.acquire("key")
        for position in range(32):
            other = format(int(token[position], 16) ^ 1, "x")
            changed = token[:position] + other + token[position + 1:]
            assert client.call("r", "key", changed) == "error"
            assert client.call("r", "key", token[:position]) == "error"
        assert client.call("r", "key", token) == "ok"
