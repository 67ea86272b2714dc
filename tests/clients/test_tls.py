"""Clients with TLS lock over it, and trust only the right server."""

import pytest
from lib.certificates import Authority
from lib.tls import TlsServer

from .client_process import ClientError
from .package import clients_with

SECRET = "correct horse battery staple"

with_tls = pytest.mark.parametrize("client", clients_with("tls"), indirect=True, ids=str)


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def pair(authority):
    return authority.issue("server")


@with_tls
def test_a_lock_is_acquired_renewed_and_released_over_tls(client, start_client, authority, pair):
    trust = {"ssl_context": str(authority.certificate)}
    with TlsServer(pair, "--auth-token", SECRET, "--default-lease-ttl=4") as server:
        lock, semaphore = (make("key", server, auth_token=SECRET, **trust, **limit)
                           for make, limit in ((start_client().lock, {}),
                                               (start_client().semaphore, {"limit": 2})))
        rival = start_client().lock("key", server, auth_token=SECRET, acquire_timeout_s=6, **trust)
        assert lock.acquire() and semaphore.acquire()
        assert rival.acquire() is False
        assert lock.release() and semaphore.release()
        assert rival.acquire() is True


@with_tls
def test_the_client_refuses_an_untrusted_server(start_client, tmp_path, pair):
    other = Authority(tmp_path, "other")
    with TlsServer(pair) as server:
        with pytest.raises(ClientError, match="CERTIFICATE_VERIFY_FAILED"):
            start_client().lock("key", server, ssl_context=str(other.certificate)).acquire()
