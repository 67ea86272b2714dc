"""Every client selects the server of a key by its CRC-32, or by a custom strategy."""

import zlib
from contextlib import ExitStack

import pytest
from lib.server import Server

from .observer import held_keys

KEYS = [f"key-{number}" for number in range(50)] + [f"schlüssel-{number}" for number in range(10)]


@pytest.fixture
def servers():
    with ExitStack() as stack:
        yield [stack.enter_context(Server()) for _ in range(3)]


def hold_all(process, servers, **options):
    """Makes the process hold every key, and returns the keys that each server holds."""
    for key in KEYS:
        assert process.lock(key, *servers, **options).acquire() is True
    return [held_keys(server) for server in servers]


def expected(index_of):
    return [{key for key in KEYS if index_of(key) == index} for index in range(3)]


def test_the_checksum_of_a_key_selects_its_server(servers, start_client):
    held = hold_all(start_client(), servers)
    assert held == expected(lambda key: zlib.crc32(key.encode()) % 3)
    assert all(held)


def test_a_custom_strategy_selects_the_server_of_a_key(servers, start_client):
    held = hold_all(start_client(), servers, sharding_strategy="by_length")
    assert held == expected(lambda key: len(key) % 3)
    assert held != expected(lambda key: zlib.crc32(key.encode()) % 3)


def test_each_key_is_held_on_exactly_one_of_three_servers(servers, start_client):
    holder = start_client().lock("key", *servers)
    rival = start_client().lock("key", *servers, acquire_timeout_s=0)
    assert holder.acquire() is True
    assert rival.acquire() is False
    assert holder.release() is True
    assert rival.acquire() is True
