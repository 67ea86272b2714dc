"""Sessions: their order, their end, and what happens to blocked requests and lost grants."""

import random
import socket
import struct
import time

import pytest
from lib.http_client import Http, HttpServer, Session
from lib.wire_client import SILENCE, Client, eventually
from waiting import is_free, show, wait_for_waiters, wait_until_free

SOON = 2.0  # seconds, on a loaded machine


def reset(http):
    http.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    http.close()


# ---- one after the other ----

def test_requests_of_a_session_are_served_one_after_the_other(session, other, tcp):
    token = other.acquire("a")
    first = session.start_acquire("a", 20)
    wait_for_waiters(tcp, "a", 1)
    second = session.start_acquire("b", 0)
    assert second.read(0.5) == SILENCE
    assert is_free(session.http.server, "b")
    assert other.release("a", token).status == 204
    assert first.answer().json()["status"] == "ok"
    assert second.answer().json()["status"] == "ok"


def test_a_ping_does_not_wait_for_a_blocked_request(session, other, tcp):
    other.acquire("key")
    blocked = session.start_acquire("key", 20)
    wait_for_waiters(tcp, "key", 1)
    assert session.ping().status == 204
    assert blocked.read(0.1) == SILENCE


def test_requests_of_another_session_do_not_wait(session, other, tcp, server):
    token = other.acquire("key")
    session.start_acquire("key", 20)
    wait_for_waiters(tcp, "key", 1)
    with Session(server) as third:
        third.acquire("free")
    assert other.renew("key", token).status == 200


def test_of_two_waits_of_a_session_one_gets_the_grant(session, other, tcp):
    token = other.acquire("key")
    assert session.call("/v1/locks/key/enqueue").json() == {"status": "queued"}
    waits = [session.start("/v1/locks/key/wait", {"timeout_s": 20}) for _ in range(2)]
    time.sleep(0.3)
    assert other.release("key", token).status == 204
    answers = [wait.answer() for wait in waits]
    granted = [answer for answer in answers if answer.status == 200]
    assert len(granted) == 1 and granted[0].json()["status"] == "ok"
    refused = next(answer for answer in answers if answer.status != 200)
    assert (refused.status, refused.error) == (409, "not_enqueued")


def test_many_requests_of_a_session_are_all_answered(session, seed):
    """On 30 connections at once: each key is granted once, all answers come."""
    chance = random.Random(seed)
    keys = [f"key-{number}" for number in range(30)]
    chance.shuffle(keys)
    started = [session.start_acquire(key, 0) for key in keys]
    tokens = [each.answer().json()["token"] for each in started]
    assert len(set(tokens)) == 30


# ---- delete ----

def test_delete_ends_a_blocked_request_with_410_at_once(session, other, tcp):
    other.acquire("key")
    blocked = session.start_acquire("key", 20)
    wait_for_waiters(tcp, "key", 1)
    begun = time.monotonic()
    assert session.delete().status == 204
    answer = blocked.answer()
    assert (answer.status, answer.error) == (410, "session_gone")
    assert time.monotonic() - begun < SOON
    wait_for_waiters(tcp, "key", 0)


def test_delete_ends_requests_that_wait_behind_the_blocked_one(session, other, tcp):
    other.acquire("key")
    blocked = [session.start_acquire("key", 20)]
    wait_for_waiters(tcp, "key", 1)
    blocked += [session.start_acquire(f"b{number}", 0) for number in range(5)]
    time.sleep(0.2)
    assert session.delete().status == 204
    assert [each.answer().error for each in blocked] == ["session_gone"] * 6
    assert is_free(session.http.server, "b0")


def test_delete_releases_everything_before_it_answers(server, session, tcp):
    for number in range(100):
        session.acquire(f"key-{number}")
    session.acquire("slots", kind="semaphores", limit=2)
    assert session.call("/v1/locks/queued/enqueue").status == 200
    assert session.delete().status == 204
    stats = tcp.stats()
    assert stats["locks"] == [] and stats["semaphores"] == []
    assert stats["connections"] == 1


def test_delete_grants_the_next_waiter(session, other, tcp):
    session.acquire("key")
    blocked = other.start_acquire("key", 20)
    wait_for_waiters(tcp, "key", 1)
    assert session.delete().status == 204
    assert blocked.answer().json()["status"] == "ok"


def test_requests_after_delete_get_410(session):
    token = session.acquire("key")
    assert session.delete().status == 204
    for response in (session.release("key", token), session.call("/v1/locks/key/enqueue"),
                     session.call("/v1/locks/key", {"acquire_timeout_s": 0})):
        assert (response.status, response.error) == (410, "session_gone")


def test_two_deletes_at_once_are_one_204(server, seed):
    chance = random.Random(seed)
    for _ in range(20):
        with Session(server) as session:
            for number in range(chance.randrange(5)):
                session.acquire(f"key-{number}")
            deletes = [Http(server).start("DELETE", f"/v1/sessions/{session.id}")
                       for _ in range(3)]
            assert sorted(each.answer().status for each in deletes) == [204, 410, 410]
            for each in deletes:
                each.close()


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_delete_at_any_moment_leaves_nothing(seed, threads):
    """Deletes race with grants, time-outs, releases and clients that go away."""
    chance = random.Random(seed)
    with HttpServer("--threads", str(threads)) as server, Client(server) as tcp:
        for _ in range(40):
            with Session(server) as holder, Session(server) as waiter:
                token = holder.acquire("key")
                blocked = [waiter.start_acquire("key", chance.choice([0, 1, 20]))
                           for _ in range(chance.randrange(1, 4))]
                if chance.random() < 0.5:
                    time.sleep(chance.random() * 0.01)
                release = Http(server).start("POST", "/v1/locks/key/release", {"token": token},
                                             holder.headers)
                if chance.random() < 0.3:
                    reset(blocked.pop())
                if chance.random() < 0.5:
                    time.sleep(chance.random() * 0.003)
                assert waiter.delete().status == 204
                for each in blocked:
                    answer = each.answer()
                    assert answer.status in (200, 410), answer
                assert release.answer().status == 204
                release.close()
                assert holder.delete().status == 204
            stats = tcp.stats()
            assert stats["locks"] == [] and stats["connections"] == 1, stats


# ---- idle ----

def quick_server(*args):
    return HttpServer("--http-session-idle-timeout=1", *args)


def test_the_idle_timeout_is_told_to_clients():
    with quick_server() as server, Http(server) as http:
        assert http.call("POST", "/v1/sessions").json()["idle_timeout_s"] == 1


def test_an_idle_session_ends_after_twice_its_timeout_whatever_its_leases():
    with quick_server() as server, Session(server) as session:
        begun = time.monotonic()
        session.acquire("key", lease_ttl_s=3600)
        wait_until_free(server, "key", 10)
        assert 1.8 < time.monotonic() - begun < 4
        response = session.ping()
        assert (response.status, response.error) == (410, "session_gone")


def test_pings_keep_a_session():
    with quick_server() as server, Session(server) as session:
        token = session.acquire("key")
        for _ in range(8):
            time.sleep(0.6)
            assert session.ping().status == 204
        assert session.renew("key", token).status == 200


@pytest.mark.parametrize("path, body", [
    ("/v1/locks/key/renew", {"token": "0" * 32}), ("/v1/locks/key/wait", {"timeout_s": 0}),
    ("/v1/locks/other", {"acquire_timeout_s": 0})])
def test_any_request_of_a_session_keeps_it(path, body):
    with quick_server() as server, Session(server) as session:
        token = session.acquire("key")
        for _ in range(5):
            time.sleep(0.7)
            assert session.call(path, body).status != 410
        assert session.release("key", token).status == 204


def test_a_request_in_flight_counts_as_use():
    with quick_server() as server, Session(server) as session, Client(server) as tcp:
        token = tcp.acquire("key", "0 60")
        kept = session.acquire("kept", lease_ttl_s=60)
        blocked = session.start_acquire("key", 30)
        assert blocked.read(4.5) == SILENCE
        assert tcp.call("r", "key", token) == "ok"
        assert blocked.answer().json()["status"] == "ok"
        assert session.release("kept", kept).status == 204


def test_requests_without_the_session_do_not_keep_it():
    with quick_server() as server, Session(server) as session:
        session.acquire("key")

        def gone():
            assert session.http.call("GET", "/v1/stats").status == 200
            return is_free(server, "key")
        eventually(gone, 10)


def test_an_idle_end_counts_down_connections():
    with quick_server() as server, Client(server) as tcp:
        sessions = [Session(server) for _ in range(50)]
        assert tcp.stats()["connections"] == 51
        eventually(lambda: tcp.stats()["connections"] == 1, 10)
        for session in sessions:
            session.http.close()


# ---- clients that go away ----

@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_blocked_request_whose_client_goes_away_is_cancelled(session, other, tcp, end):
    token = other.acquire("key")
    blocked = session.start_acquire("key", 60)
    wait_for_waiters(tcp, "key", 1)
    (blocked.close if end == "close" else lambda: reset(blocked))()
    wait_for_waiters(tcp, "key", 0)
    assert session.ping().status == 204
    assert other.release("key", token).status == 204
    assert is_free(session.http.server, "key")


def test_the_next_request_is_served_after_a_cancelled_one(session, other, tcp):
    other.acquire("key")
    blocked = session.start_acquire("key", 60)
    wait_for_waiters(tcp, "key", 1)
    behind = session.start_acquire("free", 0)
    assert behind.read(0.2) == SILENCE
    blocked.close()
    assert behind.answer(5).json()["status"] == "ok"


def test_a_request_behind_a_blocked_one_whose_client_goes_away_is_not_served(session, other, tcp):
    token = other.acquire("key")
    blocked = session.start_acquire("key", 60)
    wait_for_waiters(tcp, "key", 1)
    behind = session.start_acquire("gone", 0)
    time.sleep(0.2)
    behind.close()
    time.sleep(0.3)
    assert other.release("key", token).status == 204
    assert blocked.answer().json()["status"] == "ok"
    wait_until_free(session.http.server, "gone", 5)


def test_a_wait_whose_client_goes_away_is_cancelled(session, other, tcp):
    token = other.acquire("key")
    assert session.call("/v1/locks/key/enqueue").json() == {"status": "queued"}
    wait = session.start("/v1/locks/key/wait", {"timeout_s": 60})
    eventually(lambda: show(tcp, "key")["waiters"][0]["timeout_in_s"] is not None)
    wait.close()
    eventually(lambda: not show(tcp, "key")["waiters"]
               or show(tcp, "key")["waiters"][0]["timeout_in_s"] is None)
    assert other.release("key", token).status == 204
    assert session.ping().status == 204


@pytest.mark.parametrize("threads", [1, 2])
def test_a_grant_whose_answer_cannot_be_sent_is_released(seed, threads):
    """The client resets its connection at the moment of the grant."""
    chance = random.Random(seed)
    with HttpServer("--threads", str(threads)) as server, Client(server) as tcp, \
            Session(server) as session:
        for _ in range(100):
            token = tcp.acquire("key", "5")
            blocked = session.start_acquire("key", 60)
            wait_for_waiters(tcp, "key", 1)
            if chance.random() < 0.5:
                reset(blocked)
                assert tcp.call("r", "key", token) == "ok"
            else:
                assert tcp.call("r", "key", token) == "ok"
                time.sleep(chance.random() * 0.0005)
                reset(blocked)
                # If the answer was sent, its token is lost, and only the session's end releases.
                if not can_acquire(server, "key"):
                    assert session.delete().status == 204
                    session.http.close()
                    session = Session(server)
            assert can_acquire(server, "key", 20)
        session.http.close()


def can_acquire(server, key, seconds=0.5):
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if is_free(server, key):
            return True
        time.sleep(0.01)
    return False


def test_the_end_of_a_connection_does_not_end_the_session(server, session):
    token = session.acquire("key")
    session.http.close()
    session.http = Http(server)
    assert session.renew("key", token).status == 200
    assert not is_free(server, "key")


# ---- without auto-release ----

def test_without_auto_release_a_deleted_session_leaves_its_lock():
    with HttpServer("--no-auto-release-on-disconnect") as server, Session(server) as session, \
            Session(server) as other:
        token = session.acquire("key", lease_ttl_s=60)
        assert session.delete().status == 204
        assert not is_free(server, "key")
        assert other.call("/v1/locks/key/own", {"token": token}).status == 204
        assert other.release("key", token).status == 204


def test_without_auto_release_an_idle_session_leaves_its_lock():
    with quick_server("--no-auto-release-on-disconnect") as server, Session(server) as session, \
            Session(server) as other:
        token = session.acquire("key", lease_ttl_s=60)
        eventually(lambda: [other.ping(), time.sleep(0.2)] and Client(server).stats()
                   ["connections"] < 4, 10)
        time.sleep(1)
        assert other.ping().status == 204
        assert session.ping().status == 410
        assert not is_free(server, "key")
        assert other.release("key", token).status == 204


def test_without_auto_release_a_deleted_session_leaves_no_waiter():
    with HttpServer("--no-auto-release-on-disconnect") as server, Session(server) as session, \
            Client(server) as tcp:
        tcp.acquire("key")
        assert session.call("/v1/locks/key/enqueue").json() == {"status": "queued"}
        assert session.delete().status == 204
        wait_for_waiters(tcp, "key", 0)
