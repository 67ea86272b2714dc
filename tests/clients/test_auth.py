"""A server with a token serves only clients that have it."""

import pytest
from lib.server import Server

from .client_process import ClientError
from .observer import held_keys
from .package import CLIENTS, clients_with

SECRET = "correct horse battery staple"

with_auth = pytest.mark.parametrize("client", clients_with("auth"), indirect=True, ids=str)


@pytest.fixture
def guarded():
    with Server("--auth-token", SECRET) as server:
        yield server


@with_auth
def test_the_right_token_is_accepted(guarded, start_client):
    lock, semaphore = (make("key", guarded, auth_token=SECRET, **limit) for make, limit in (
        (start_client().lock, {}), (start_client().semaphore, {"limit": 2})))
    rival = start_client().lock("key", guarded, auth_token=SECRET, acquire_timeout_s=0)
    assert lock.acquire() and semaphore.acquire()
    assert rival.acquire() is False
    assert lock.release() and semaphore.release()


@with_auth
@pytest.mark.parametrize("wrong", ["wrong", SECRET[:-1], SECRET + "x", SECRET.upper()])
def test_a_wrong_token_is_refused(guarded, start_client, wrong):
    with pytest.raises(ClientError) as caught:
        start_client().lock("key", guarded, auth_token=wrong).acquire()
    assert "PermissionError" in caught.value.names
    assert start_client().lock("key", guarded, auth_token=SECRET).acquire() is True


@with_auth
def test_a_token_for_a_server_without_one_is_refused(server, start_client):
    with pytest.raises(ClientError) as caught:
        start_client().lock("key", server, auth_token=SECRET).acquire()
    assert "PermissionError" in caught.value.names
    assert held_keys(server) == set()


@pytest.mark.parametrize("client", CLIENTS, indirect=True, ids=str)
def test_a_client_without_a_token_is_refused(client, guarded, start_client):
    with pytest.raises(ClientError, match="error_auth") as caught:
        start_client().lock("key", guarded).acquire()
    expected = "AuthError" if client.has("errors") else "RuntimeError"
    assert caught.value.names[0] == expected


@pytest.mark.parametrize("client", clients_with("errors"), indirect=True, ids=str)
def test_a_connection_function_sends_the_token(guarded, start_client):
    process = start_client()
    connection = process.connect(guarded)
    assert connection.call("authenticate", SECRET) is None
    with pytest.raises(ClientError) as caught:
        connection.call("authenticate", SECRET)
    assert "PermissionError" in caught.value.names
    assert connection.call("acquire", "key", 0)[1] == 33
    refused = process.connect(guarded)
    with pytest.raises(ClientError) as caught:
        refused.call("authenticate", "wrong")
    assert "PermissionError" in caught.value.names
    with pytest.raises(ClientError) as caught:
        refused.call("acquire", "key", 0)
    assert "ConnectionError" in caught.value.names
