"""The lease that `renew` requests if no --lease is given: a renewal never ends a lease earlier."""

import pytest
from ctl import CTL, USAGE, ctl
from lib.older_server import EMPTY, TOKEN, OlderServer
from lib.server import Server
from lib.wire_client import Client


def held(server, key="key"):
    with Client(server) as client:
        [lease] = [lock["lease_expires_in_s"] for lock in client.stats()["locks"]
                   if lock["key"] == key]
    return lease


@pytest.fixture
def holder(server):
    """A client and its token of `key`, with a lease of 1000 s. The server's default is 3 s."""
    with Client(server) as client:
        yield client, client.acquire("key", "0 1000")


def test_renew_does_not_shorten_a_lease(server, holder):
    done = ctl(server, "renew", "key", holder[1])
    assert done.returncode == 0 and 900 < int(done.stdout) <= 1000
    assert held(server) > 900


def test_renew_extends_a_short_lease_by_the_default():
    with Server("--default-lease-ttl", "500") as server, Client(server) as client:
        token = client.acquire("key", "0 100")
        assert ctl(server, "renew", "key", token).stdout == "500\n"
        assert held(server) > 400
        assert ctl(server, "renew", "key", token, "--lease", "50").stdout == "50\n"


def test_renew_leaves_one_key_and_none_if_the_server_has_no_room():
    with Server("--default-lease-ttl", "500", "--max-locks", "1") as server, \
            Client(server) as client:
        token = client.acquire("key", "0 20")
        assert ctl(server, "renew", "key", token).stdout == "33\n"
        assert [len(one) for one in list(client.stats().values())[1:]] == [1, 0, 0, 0]


def test_renew_keeps_the_lease_of_each_shared_holder(server):
    with Client(server) as client, Client(server) as other:
        token = client.call("rl", "key", "0 1000").split()[1]
        later = other.call("rl", "key", "0 20").split()[1]
        assert 990 < int(ctl(server, "renew", "key", token).stdout) <= 1000
        assert 15 < int(ctl(server, "renew", "key", later).stdout) <= 20


def test_renew_requests_the_default_for_a_holder_that_is_not_listed(server):
    clients = [Client(server) for _ in range(101)]
    tokens = [client.call("rl", "key", "0 1000").split()[1] for client in clients]
    assert ctl(server, "renew", "key", tokens[100]).stdout == "3\n"
    assert int(ctl(server, "renew", "key", tokens[99]).stdout) > 990
    for client in clients:
        client.close()


def test_renew_asks_an_older_server_for_its_statistics():
    stats = EMPTY.replace(b'"locks":[]', b'"locks":[{"key":"key","owner_conn_id":1,'
                                         b'"lease_expires_in_s":499.5,"waiters":0}]')
    with OlderServer(stats) as older:
        assert ctl(older.address, "renew", "key", TOKEN.decode()).returncode == 0
        assert (b"n", b"key", TOKEN + b" 500") in older.requests


def test_renew_asks_for_the_lease_of_the_lock_around_it(server, holder):
    variables = {"DFLOCKD_KEY": "key", "DFLOCKD_TOKEN": holder[1], "DFLOCKD_LEASE": "200"}
    assert ctl(server, "renew", variables=variables).stdout == "200\n"
    assert ctl(server, "renew", "--lease", "300", variables=variables).stdout == "300\n"
    variables["DFLOCKD_LEASE"] = "7x"
    assert int(ctl(server, "renew", variables=variables).stdout) > 290
    variables.update(DFLOCKD_LEASE="5", DFLOCKD_TOKEN="0" * 32)
    assert int(ctl(server, "renew", "key", holder[1], variables=variables).stdout) > 290


def test_renew_under_a_lock_keeps_its_lease(server):
    for command, lease in ((("lock", "key"), 700), (("sem", "key", "-n", "2"), 700)):
        done = ctl(server, *command, "--lease", str(lease), "--", str(CTL), "renew")
        assert (done.returncode, done.stdout) == (0, f"{lease}\n")
    assert ctl(server, "lock", "key", "--", str(CTL), "renew").stdout == "3\n"


def test_renew_keeps_the_lease_of_a_slot(server):
    with Client(server) as client, Client(server) as other:
        token = client.call("sl", "key", "0 2 1000").split()[1]
        assert other.call("sl", "key", "0 2 20").startswith("ok ")
        assert int(ctl(server, "renew", "key", token).stdout) > 990


@pytest.mark.parametrize("variables, wanted", [
    ({"DFLOCKD_KEY": "a b"}, "DFLOCKD_KEY: key 'a b'"),
    ({"DFLOCKD_KEY": "key", "DFLOCKD_TOKEN": "xyz"}, "DFLOCKD_TOKEN: not a token (32 hex digits"),
    ({"DFLOCKD_KEY": "", "DFLOCKD_TOKEN": "0" * 32}, "renew: no key"),
    ({"DFLOCKD_KEY": "key", "DFLOCKD_TOKEN": ""}, "renew: no token")])
def test_a_wrong_variable_is_reported_by_name(variables, wanted):
    done = ctl((), "renew", variables=variables)
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert done.stderr.startswith("dflockctl: " + wanted)
