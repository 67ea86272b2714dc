"""Every client finds the server of a key by the CRC-32 of its name, or as it is told."""

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
    """Have the process hold every key, and say which keys each server holds then."""
    for key in KEYS:
        assert process.lock(key, *servers, **options).acquire() is True
    return [held_keys(server) for server in servers]


def expected(index_of):
    return [{key for key in KEYS if index_of(key) == index} for index in range(3)]


def test_a_key_is_on_the_server_that_its_checksum_names(servers, start_client):
    held = hold_all(start_client(), servers)
    assert held == expected(lambda key: zlib.crc32(key.encode()) % 3)
    assert all(held)


def test_a_key_is_on_the_server_that_ones_own_strategy_names(servers, start_client):
    held = hold_all(start_client(), servers, sharding_strategy="by_length")
    assert held == expected(lambda key: len(key) % 3)
    assert held != expected(lambda key: zlib.crc32(key.encode()) % 3)


def test_a_key_is_held_once_among_three_servers(servers, start_client):
    holder = start_client().lock("key", *servers)
    rival = start_client().lock("key", *servers, acquire_timeout_s=0)
    assert holder.acquire() is True
    assert rival.acquire() is False
    assert holder.release() is True
    assert rival.acquire() is True
