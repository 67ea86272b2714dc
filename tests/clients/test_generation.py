"""All published clients of every generation and form share a server and its keys."""

import pytest

from .client_process import LOCK, SEMAPHORE, WAIT_SECONDS
from .entry_log import fences, is_rising
from .observer import until_waiting
from .package import CLIENTS, clients_with


def test_all_clients_together_never_overlap(server, start, entry_log):
    running = [start(client).begin_rounds(entry_log, LOCK, "key", server, workers=2, rounds=10)
               for client in CLIENTS]
    for one in running:
        one.result(WAIT_SECONDS)
    assert entry_log.most_inside() == 1
    tokens = entry_log.tokens()
    assert len(tokens) == len(CLIENTS) * 20
    assert is_rising(fences(tokens))


def test_all_clients_together_never_exceed_the_limit(server, start, entry_log):
    clients = clients_with("semaphore")
    running = [start(client).begin_rounds(entry_log, SEMAPHORE, "key", server, workers=3, rounds=10,
                                          limit=3)
               for client in clients]
    for one in running:
        one.result(WAIT_SECONDS)
    assert 1 < entry_log.most_inside() <= 3
    assert len(set(entry_log.tokens())) == len(clients) * 30


@pytest.mark.parametrize("clients", [CLIENTS, CLIENTS[::-1]], ids=["oldest first", "newest first"])
def test_all_clients_share_one_queue(server, start, clients):
    locks = [start(client).lock("key", server, acquire_timeout_s=WAIT_SECONDS)
             for client in clients]
    granted = []
    for place, lock in enumerate(locks):
        granted.append(lock.begin("acquire"))
        if place == 0:
            assert granted[0].result(WAIT_SECONDS) is True
        until_waiting(server, "key", place)
    tokens = []
    for place, lock in enumerate(locks):
        assert granted[place].result(WAIT_SECONDS) is True
        assert not any(later.done() for later in granted[place + 1:])
        tokens.append(lock.token)
        assert lock.release() is True
    assert is_rising(fences(tokens))
