"""The lease that `renew` requests if no --lease is given: a renewal never ends a lease earlier."""

import pytest
from ctl import CTL, USAGE, ctl
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


def test_a_lease_is_given_for_a_shared_lock(server):
    with Client(server) as client, Client(server) as other:
        token = client.call("rl", "key", "0 1000").split()[1]
        assert other.call("rl", "key", "0 20").startswith("ok ")
        assert ctl(server, "renew", "key", token, "--lease", "900").stdout == "900\n"
    assert "give --lease for a shared lock" in ctl((), "help", "renew").stdout


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


def test_renew_requests_the_default_for_a_slot(server):
    with Client(server) as client:
        reply = client.call("sl", "key", "0 2 1000")
        assert ctl(server, "renew", "key", reply.split()[1]).stdout == "3\n"


@pytest.mark.parametrize("variables, wanted", [
    ({"DFLOCKD_KEY": "a b"}, "DFLOCKD_KEY: key 'a b'"),
    ({"DFLOCKD_KEY": "key", "DFLOCKD_TOKEN": "xyz"}, "DFLOCKD_TOKEN: not a token (32 hex digits"),
    ({"DFLOCKD_KEY": "", "DFLOCKD_TOKEN": "0" * 32}, "renew: no key"),
    ({"DFLOCKD_KEY": "key", "DFLOCKD_TOKEN": ""}, "renew: no token")])
def test_a_wrong_variable_is_reported_by_name(variables, wanted):
    done = ctl((), "renew", variables=variables)
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert done.stderr.startswith("dflockctl: " + wanted)
