"""The fence that a client reads from a token rises with every grant: clients from 2.1.1 on."""

import pytest

from .entry_log import fences, is_rising
from .package import clients_with

pytestmark = pytest.mark.parametrize("client", clients_with("fence"), indirect=True, ids=str)


def test_the_fence_of_a_token_rises_with_every_grant(server, start_client):
    process = start_client()
    connection = process.connect(server)
    tokens = []
    for number in range(20):
        tokens.append(connection.call("acquire", f"key-{number % 3}", 0)[0])
        connection.call("release", f"key-{number % 3}", tokens[-1])
        tokens.append(connection.call("sem_acquire", "slots", 0, 100)[0])
    read = [process.call("package", function="fence_from_token", arguments=[token])
            for token in tokens]
    assert read == fences(tokens)
    assert is_rising(read)
