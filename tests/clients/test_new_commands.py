"""Published clients beside shared locks and administrators on the same key."""

import contextlib

import pytest
from lib.server import Server
from lib.wire_client import Client, request

from .client_process import WAIT_SECONDS, ClientError
from .entry_log import fences, is_rising
from .observer import call, held_keys, until, until_waiting
from .package import clients_with

SECRET = "adm1n"
WITH_TWO_PHASE = pytest.mark.parametrize("client", clients_with("two_phase"), indirect=True,
                                         ids=str)
WITH_SEMAPHORES = pytest.mark.parametrize("client", clients_with("semaphore"), indirect=True,
                                          ids=str)


@pytest.fixture
def server():
    with Server("--admin-token", SECRET) as server:
        yield server


@pytest.fixture
def reader(server):
    with Client(server) as reader:
        yield reader


@pytest.fixture
def second_reader(server):
    with Client(server) as reader:
        yield reader


def token_of(reply):
    word, token, _ = reply.split()
    assert word in ("ok", "acquired"), reply
    return token


def revoke(server, key, token, kind="l"):
    """Revokes the grant of this token as an administrator."""
    with Client(server) as administrator:
        assert administrator.call("auth", "_", SECRET) == "ok"
        assert administrator.call("revoke", key, f"{kind} {token[:16]}") == "ok"


def test_a_published_client_excludes_a_reader(server, start_client, reader):
    lock = start_client().lock("key", server)
    assert lock.acquire()
    token = lock.token
    assert reader.call("rl", "key", "0") == "timeout"
    assert lock.release()
    assert is_rising(fences([token, token_of(reader.call("rl", "key", "0"))]))


def test_readers_exclude_a_published_client(server, start_client, reader, second_reader):
    lock = start_client().lock("key", server, acquire_timeout_s=0)
    readers = reader, second_reader
    tokens = [token_of(each.call("rl", "key", "0")) for each in readers]
    for each, token in zip(readers, tokens):
        assert lock.acquire() is False
        assert each.call("r", "key", token) == "ok"
    assert lock.acquire() is True
    assert is_rising(fences([*tokens, lock.token]))


def test_readers_and_a_published_client_wait_in_request_order(server, start_client, reader,
                                                              second_reader):
    process = start_client()
    writer, last = (process.lock("key", server, acquire_timeout_s=WAIT_SECONDS) for _ in range(2))
    tokens = [token_of(reader.call("rl", "key", "0"))]
    writer_granted = writer.begin("acquire")
    until_waiting(server, "key", 1)
    second_reader.send(request("rl", "key", WAIT_SECONDS))
    until_waiting(server, "key", 2)
    last_granted = last.begin("acquire")
    until_waiting(server, "key", 3)
    # The second reader fits beside the first one, but does not pass the client.
    assert reader.call("r", "key", tokens[0]) == "ok"
    assert writer_granted.result(WAIT_SECONDS) is True
    tokens.append(writer.token)
    until_waiting(server, "key", 2)
    assert writer.release()
    tokens.append(token_of(second_reader.read_line().decode()))
    until_waiting(server, "key", 1)
    assert not last_granted.done()
    assert second_reader.call("r", "key", tokens[2]) == "ok"
    assert last_granted.result(WAIT_SECONDS) is True
    assert is_rising(fences([*tokens, last.token]))


def test_a_release_by_a_published_client_grants_all_waiting_readers(server, start_client, reader,
                                                                    second_reader):
    lock = start_client().lock("key", server)
    assert lock.acquire()
    tokens = [lock.token]
    for place, each in enumerate((reader, second_reader), start=1):
        each.send(request("rl", "key", WAIT_SECONDS))
        until_waiting(server, "key", place)
    assert lock.release()
    tokens += [token_of(each.read_line().decode()) for each in (reader, second_reader)]
    assert is_rising(fences(tokens))


@WITH_TWO_PHASE
def test_enqueue_waits_in_turn_with_readers(server, start_client, reader, second_reader):
    lock = start_client().lock("key", server)
    first = token_of(reader.call("re", "key"))
    assert lock.enqueue() == "queued"
    assert second_reader.call("re", "key") == "queued"
    assert reader.call("r", "key", first) == "ok"
    assert lock.wait(WAIT_SECONDS) is True
    token = lock.token
    second_reader.send(request("w", "key", WAIT_SECONDS))
    until_waiting(server, "key", 1)
    assert lock.release()
    assert is_rising(fences([first, token, token_of(second_reader.read_line().decode())]))


def test_a_client_learns_of_a_revocation_as_of_a_lost_lease(server, start_client):
    holder, waiting = start_client(), start_client()
    lost = holder.lock("key", server, lease_ttl_s=2)
    lock = waiting.lock("key", server, acquire_timeout_s=WAIT_SECONDS)
    assert lost.acquire()
    token = lost.token
    granted = lock.begin("acquire")
    until_waiting(server, "key", 1)
    revoke(server, "key", token)
    assert granted.result(WAIT_SECONDS) is True
    assert is_rising(fences([token, lock.token]))
    until(lambda: any("lost (renew failed)" in line for line in holder.log))
    with contextlib.suppress(ClientError):
        lost.release()
    assert call(server, "n", "key", lock.token) == "ok 33"
    assert lock.release() is True
    assert lost.acquire() is True


def test_the_module_functions_report_a_revocation(server, start_client):
    connection = start_client().connect(server)
    token, _ = connection.call("acquire", "key", 0, 600)
    revoke(server, "key", token)
    assert held_keys(server) == set()
    for function in "renew", "release":
        with pytest.raises(ClientError, match="'error'") as caught:
            connection.call(function, "key", token)
        assert "RuntimeError" in caught.value.names
    later, _ = connection.call("acquire", "key", 0)
    assert is_rising(fences([token, later]))


@WITH_TWO_PHASE
def test_wait_reports_a_grant_that_was_revoked_before(server, start_client):
    holder, queued = (start_client().lock("key", server) for _ in range(2))
    assert holder.acquire()
    assert queued.enqueue() == "queued"
    assert holder.release()
    with Client(server) as client:
        shown = client.call("show", "key", "l")
    revoke(server, "key", shown.split('"fence":"')[1])
    assert held_keys(server) == set()
    with pytest.raises(ClientError) as caught:
        queued.wait(WAIT_SECONDS)
    assert "RuntimeError" in caught.value.names
    assert holder.acquire() is True


@WITH_SEMAPHORES
def test_a_revoked_slot_of_a_semaphore_passes_to_the_next_waiter(server, start_client):
    process = start_client()
    holders = [process.semaphore("key", server, limit=2) for _ in range(2)]
    waiter = process.semaphore("key", server, limit=2, acquire_timeout_s=WAIT_SECONDS)
    for holder in holders:
        assert holder.acquire()
    granted = waiter.begin("acquire")
    until_waiting(server, "key", 1)
    revoke(server, "key", holders[0].token, "s")
    assert granted.result(WAIT_SECONDS) is True
    assert call(server, "sn", "key", holders[0].token) == "error"
    assert call(server, "sn", "key", holders[1].token).startswith("ok ")
    with contextlib.suppress(ClientError):
        holders[0].release()
    assert holders[1].release() is True
    assert waiter.release() is True
