"""TCP clients and HTTP sessions stand in one queue; shared mode, show, own and revoke."""

import random

import pytest
from lib.http_client import Http, HttpServer, Session, segment
from lib.wire_client import SILENCE, Client, eventually, request
from waiting import is_free, show, wait_for_waiters

SECRET, ADMIN = "s3cret", "adm1n"


class TcpWaiter:
    def __init__(self, server):
        self.client = Client(server)

    def start(self, key):
        self.client.send(request("l", key, "60"))

    def token(self, seconds):
        line = self.client.read_line(seconds)
        return None if line == SILENCE else line.decode().split()[1]

    def release(self, key, token):
        assert self.client.call("r", key, token) == "ok"

    def close(self):
        self.client.close()


class HttpWaiter:
    def __init__(self, server):
        self.session = Session(server)
        self.blocked = None

    def start(self, key):
        self.blocked = self.session.start_acquire(key, 60)

    def token(self, seconds):
        response = self.blocked.read(seconds)
        return None if response == SILENCE else response.json()["token"]

    def release(self, key, token):
        assert self.session.release(key, token).status == 204

    def close(self):
        self.session.__exit__()


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_tcp_and_http_waiters_are_granted_in_their_order(threads, seed):
    chance = random.Random(seed)
    with HttpServer("--threads", str(threads)) as server, Client(server) as holder:
        for round_number in range(4):
            key = f"key-{round_number}"
            token = holder.acquire(key)
            waiters = [chance.choice([TcpWaiter, HttpWaiter])(server) for _ in range(12)]
            for number, waiter in enumerate(waiters):
                waiter.start(key)
                wait_for_waiters(holder, key, number + 1)
            assert holder.call("r", key, token) == "ok"
            fences = [token[:16]]
            for number, waiter in enumerate(waiters):
                granted = waiter.token(20)
                if number + 1 < len(waiters):
                    assert waiters[number + 1].token(0.02) is None
                fences.append(granted[:16])
                waiter.release(key, granted)
            assert fences == sorted(set(fences))
            for waiter in waiters:
                waiter.close()


def test_a_tcp_client_releases_and_renews_what_a_session_holds(session, tcp):
    token = session.acquire("key")
    assert tcp.call("n", "key", f"{token} 60") == "ok 60"
    assert tcp.call("r", "key", token) == "ok"
    token = tcp.acquire("key")
    assert session.renew("key", token, lease_ttl_s=50).json() == {"remaining_s": 50}
    assert session.release("key", token).status == 204


def test_two_phases_of_both_front_ends_share_a_queue(session, other, tcp):
    token = tcp.acquire("key")
    assert session.call("/v1/locks/key/enqueue").json() == {"status": "queued"}
    with Client(session.http.server) as second:
        assert second.call("e", "key") == "queued"
        assert other.call("/v1/locks/key/enqueue").json() == {"status": "queued"}
        assert tcp.call("r", "key", token) == "ok"
        first = session.call("/v1/locks/key/wait", {"timeout_s": 10}).json()
        assert second.call("w", "key", "0").startswith("timeout")
        assert session.release("key", first["token"]).status == 204
        assert other.call("/v1/locks/key/wait", {"timeout_s": 10}).json()["status"] == "ok"


# ---- shared ----

def test_shared_holders_exclude_exclusive_ones(session, other, tcp):
    first = session.acquire("key", mode="shared")
    second = other.acquire("key", mode="shared")
    assert tcp.call("l", "key", "0") == "timeout"
    third = tcp.call("rl", "key", "0").split()[1]
    for token in (first, second):
        assert session.release("key", token).status == 204
    assert tcp.call("r", "key", third) == "ok"
    session.acquire("key", mode="exclusive")
    response = other.call("/v1/locks/key", {"acquire_timeout_s": 0, "mode": "shared"})
    assert response.json() == {"status": "timeout"}


def test_shared_enqueue_and_wait(session, other, tcp):
    token = tcp.acquire("key")
    for each in (session, other):
        body = {"mode": "shared", "lease_ttl_s": 40}
        assert each.call("/v1/locks/key/enqueue", body).json() == {"status": "queued"}
    assert tcp.call("r", "key", token) == "ok"
    for each in (session, other):
        response = each.call("/v1/locks/key/wait", {"timeout_s": 10})
        assert (response.json()["status"], response.json()["lease_ttl_s"]) == ("ok", 40)


# ---- show ----

def test_show_is_the_json_of_tcp(session, other, tcp):
    session.acquire("key")
    other.start_acquire("key", 60)
    wait_for_waiters(tcp, "key", 1)
    over_http = session.http.call("GET", "/v1/locks/key")
    assert over_http.status == 200
    both = [over_http.json(), show(tcp, "key")]
    for shown in both:
        assert list(shown) == ["key", "kind", "limit", "holder_count", "waiter_count", "holders",
                               "waiters"]
        for each in [*shown["holders"], *shown["waiters"]]:
            for name in ("held_s", "lease_expires_in_s", "waiting_s", "timeout_in_s"):
                assert each.pop(name, 0) >= 0
    assert both[0] == both[1]
    assert both[0]["holders"][0]["address"].startswith("127.")


def test_show_of_a_semaphore(session):
    session.acquire("key", kind="semaphores", limit=3)
    shown = session.http.call("GET", "/v1/semaphores/key").json()
    assert (shown["kind"], shown["limit"], shown["holder_count"]) == ("semaphore", 3, 1)
    assert session.http.call("GET", "/v1/locks/key").error == "not_found"


@pytest.mark.parametrize("kind", ["locks", "semaphores"])
def test_show_of_an_unknown_key_is_404(http, kind):
    response = http.call("GET", f"/v1/{kind}/{segment('no/such')}")
    assert (response.status, response.error) == (404, "not_found")


# ---- own ----

@pytest.mark.parametrize("kind, fields", [("locks", {}), ("semaphores", {"limit": 2})])
def test_own_attaches_a_grant_to_the_session(server, session, other, kind, fields):
    token = session.acquire("key", kind=kind, **fields)
    assert other.call(f"/v1/{kind}/key/own", {"token": token}).status == 204
    assert session.delete().status == 204
    assert other.renew("key", token, kind).status == 200
    assert other.delete().status == 204
    with Session(server) as third:
        third.acquire("key", kind=kind, **fields)


def test_own_moves_a_lock_from_tcp_to_http_and_back(server, session):
    with Client(server) as first:
        token = first.acquire("key")
        assert session.call("/v1/locks/key/own", {"token": token}).status == 204
    assert not is_free(server, "key")
    with Client(server) as second:
        assert second.call("own", "key", f"l {token}") == "ok"
        assert session.delete().status == 204
        assert not is_free(server, "key")


def test_own_of_what_is_not_held_is_404(session):
    response = session.call("/v1/locks/key/own", {"token": "0" * 32})
    assert (response.status, response.error) == (404, "not_held")


# ---- revoke ----

@pytest.fixture
def guarded():
    with HttpServer("--auth-token", SECRET, "--admin-token", ADMIN) as server:
        yield server


@pytest.mark.parametrize("kind, fields", [("locks", {}), ("semaphores", {"limit": 1})])
def test_revoke_takes_a_grant_away(guarded, kind, fields):
    with Session(guarded, SECRET) as session, Session(guarded, SECRET) as other, \
            Http(guarded, ADMIN) as admin:
        token = session.acquire("key", kind=kind, **fields)
        blocked = other.start_acquire("key", 20, kind, **fields)
        eventually(lambda: admin.call("GET", f"/v1/{kind}/key").json()["waiter_count"] == 1)
        body = {"fence": token[:16]}
        assert admin.call("POST", f"/v1/{kind}/key/revoke", body).status == 204
        assert blocked.answer().json()["status"] == "ok"
        response = session.renew("key", token, kind)
        assert (response.status, response.error) == (404, "not_held")
        response = admin.call("POST", f"/v1/{kind}/key/revoke", body)
        assert (response.status, response.error) == (404, "not_held")
        line = next(line for line in guarded.log if "grant revoked" in line)
        assert "127." in line and "key=key" in line.replace('"', "")


def test_revoke_needs_the_administrator(guarded):
    with Session(guarded, SECRET) as session, Http(guarded, "wrong") as stranger:
        token = session.acquire("key")
        body = {"fence": token[:16]}
        response = session.http.call("POST", "/v1/locks/key/revoke", body)
        assert (response.status, response.error) == (403, "forbidden")
        assert stranger.call("POST", "/v1/locks/key/revoke", body).status == 401
        assert session.renew("key", token).status == 200


def test_revoke_without_an_administrator_is_403(session):
    token = session.acquire("key")
    response = session.http.call("POST", "/v1/locks/key/revoke", {"fence": token[:16]})
    assert (response.status, response.error) == (403, "forbidden")


def test_a_session_of_the_administrator_works(guarded):
    with Session(guarded, ADMIN) as session:
        token = session.acquire("key")
        assert session.release("key", token).status == 204


def test_with_only_an_administrator_others_need_no_token():
    with HttpServer("--admin-token", ADMIN) as server, Session(server) as session, \
            Http(server, ADMIN) as admin:
        token = session.acquire("key")
        body = {"fence": token[:16]}
        assert session.http.call("POST", "/v1/locks/key/revoke", body).status == 403
        assert admin.call("POST", "/v1/locks/key/revoke", body).status == 204


@pytest.mark.parametrize("fence", ["", "0" * 15, "0" * 17, "A" * 16, 1, None])
def test_a_fence_is_16_lower_case_digits(guarded, fence):
    with Http(guarded, ADMIN) as admin:
        response = admin.call("POST", "/v1/locks/key/revoke", {"fence": fence})
        assert (response.status, response.error) == (400, "bad_request")
        assert "fence" in response.detail


def test_a_revoked_grant_of_a_tcp_client_and_the_other_way_round(guarded):
    with Client(guarded) as tcp, Session(guarded, SECRET) as session, \
            Http(guarded, ADMIN) as admin:
        assert tcp.call("auth", "_", ADMIN) == "ok"
        token = tcp.acquire("key")
        assert admin.call("POST", "/v1/locks/key/revoke", {"fence": token[:16]}).status == 204
        assert tcp.call("n", "key", token) == "error"
        token = session.acquire("key")
        assert tcp.call("revoke", "key", f"l {token[:16]}") == "ok"
        assert session.release("key", token).error == "not_held"


# ---- keys ----

def test_keys_lists_the_most_wanted_first(session, other, tcp):
    for key in ("a/1", "a/2", "b"):
        session.acquire(key)
    other.start_acquire("a/2", 60)
    wait_for_waiters(tcp, "a/2", 1)
    found = session.http.call("GET", "/v1/keys?prefix=a%2F&limit=10")
    assert found.status == 200
    keys = found.json()
    assert keys["matched"] == 2
    assert [(each["key"], each["kind"], each["holders"], each["waiters"])
            for each in keys["keys"]] == [("a/2", "lock", 1, 1), ("a/1", "lock", 1, 0)]
    assert set(keys["totals"]) == {"connections", "http_sessions", "locks_held", "lock_waiters",
                                   "semaphore_holders", "semaphore_waiters", "grants"}
    assert (keys["totals"]["locks_held"], keys["totals"]["lock_waiters"],
            keys["totals"]["http_sessions"]) == (3, 1, 2)
    assert keys["draining"] is False and keys["uptime_s"] >= 0
    assert len(session.http.call("GET", "/v1/keys?prefix=&limit=1").json()["keys"]) == 1


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "limit=", "limit=-1",
                                   "prefix=%", "prefix=%zz", "prefix=" + "k" * 257])
def test_a_wrong_query_of_keys_is_400(http, query):
    response = http.call("GET", f"/v1/keys?{query}")
    assert (response.status, response.error) == (400, "bad_request")
