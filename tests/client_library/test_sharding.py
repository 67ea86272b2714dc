"""The library chooses the server of a key like the published clients, or by a custom strategy."""

import json
import random
import zlib
from contextlib import ExitStack

import pytest
from lib.server import Server

KEYS = [b"my-key", b"foo", "schlüssel".encode(), "キー".encode(), b"x" * 256]


def random_keys(seed, count):
    dice = random.Random(seed)
    blank = set(b" \t\r\n\0")
    letters = bytes(set(range(256)) - blank)
    keys = []
    for number in range(count):
        if number % 2:
            # Valid UTF-8 from all planes.
            points = [dice.choice([dice.randrange(0x21, 0x7f), dice.randrange(0xa1, 0xd800),
                                   dice.randrange(0x10000, 0x110000)])
                      for _ in range(dice.randrange(1, 60))]
            keys.append("".join(map(chr, points)).encode())
        else:
            keys.append(bytes(dice.choices(letters, k=dice.randrange(1, 257))))
    return keys


def test_ten_thousand_keys_have_the_shard_of_zlib(shard, seed):
    keys = KEYS + random_keys(seed, 10000)
    places = shard(keys)
    assert len(places) == len(keys)
    for key, of_key in zip(keys, places):
        assert of_key == [zlib.crc32(key) % count for count in range(1, 17)], key


@pytest.fixture
def servers():
    with ExitStack() as stack:
        yield [stack.enter_context(Server()) for _ in range(3)]


def held(servers, attempt, key, *options):
    """Returns the servers whose stats list the key."""
    addresses = [f"server={server.host}:{server.port}" for server in servers]
    lines = attempt(*addresses, f"key={key}", *options, "acquire=0",
                    *[f"stats={number}" for number in range(len(servers))])
    assert lines[0][:2] == ["acquire", "DONE"], lines
    reports = [json.loads(line[0].partition("}stats")[0] + "}") for line in lines[1:]]
    return [number for number, report in enumerate(reports)
            if [entry["key"] for entry in report["locks"]] == [key]]


def test_a_key_is_on_the_server_of_its_checksum(servers, attempt):
    for key in ["my-key", "foo", "schlüssel", "キー", "bar"]:
        assert held(servers, attempt, key) == [zlib.crc32(key.encode()) % 3]


def test_a_key_is_on_the_server_of_a_custom_strategy(servers, attempt):
    for key in "abcdef":
        assert held(servers, attempt, key, "strategy=first") == [ord(key) % 3]


def test_a_strategy_with_an_invalid_server_is_refused(servers, attempt):
    assert attempt(f"server=127.0.0.1:{servers[0].port}", "strategy=beyond",
                   "acquire=0")[0][:2] == ["acquire", "INVALID"]
