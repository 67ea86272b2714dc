"""The client reports servers that break the protocol, and survives them."""

import random
import time

import pytest
from lib.stand_in import StandIn

TOKEN = "0123456789abcdef0123456789abcdef"
GRANT = f"ok {TOKEN} 33\n".encode()


class FakeServer(StandIn):
    """Replies to the requests of each connection with the given bytes, one after the other.

    None closes the connection. It does not reply after the last one.
    """

    def __init__(self, *replies):
        super().__init__()
        self.replies = replies

    def serve(self, connection):
        with connection:
            self._reply(connection)

    def _reply(self, connection):
        requests = connection.makefile("rb")
        for reply_line in self.replies:
            if not all(requests.readline() for _ in range(3)):
                return
            if reply_line is None:
                return
            connection.sendall(reply_line)
        while requests.readline():
            pass


class SlowServer(FakeServer):
    """Delays the first reply by `delay` seconds."""

    def __init__(self, delay, *replies):
        super().__init__(*replies)
        self.delay = delay

    def _reply(self, connection):
        time.sleep(self.delay)
        super()._reply(connection)


class ServerWithRounds(FakeServer):
    """Replies differently to each connection in turn; the last replies stay.

    None closes the connection: at once after a grant, else after another request.
    """

    def __init__(self, *rounds):
        super().__init__()
        self.rounds = list(rounds)

    def _reply(self, connection):
        self.replies = self.rounds[0] if len(self.rounds) == 1 else self.rounds.pop(0)
        requests = connection.makefile("rb")
        for reply_line in self.replies:
            if reply_line == GRANT:
                all(requests.readline() for _ in range(3))
                connection.sendall(reply_line)
                time.sleep(0.2)
                continue
            if reply_line is None:
                # Closes after another request, or after the end of the client.
                if self.replies.index(None) > 0 and self.replies[0] != GRANT:
                    all(requests.readline() for _ in range(3))
                return
            if not all(requests.readline() for _ in range(3)):
                return
            connection.sendall(reply_line)
        while requests.readline():
            pass


class ServerThatIsProbed(FakeServer):
    """Replies to the first request, which is the probe, as to the others."""

    answers_probe = False


def status_of(attempt, *replies, action="acquire=1", timeout=2000, reply=5000):
    with FakeServer(*replies) as server:
        return attempt(f"server={server.address}", f"timeout={timeout}", f"reply={reply}",
                       action)[0][1]


def test_a_valid_reply_is_accepted(attempt):
    assert status_of(attempt, GRANT) == "DONE"


@pytest.mark.parametrize("reply_line", [
    b"\n", b"ok\n", b"ok \n", b"OK\n", b"okay\n", b"yes\n", b"\0\0\0\n", b"ok" + b" " * 40 + b"\n",
    f"ok {TOKEN}\n".encode(), f"ok {TOKEN} \n".encode(), f"ok {TOKEN} 0\n".encode(),
    f"ok {TOKEN} 033\n".encode(), f"ok {TOKEN} -1\n".encode(), f"ok {TOKEN} 3x\n".encode(),
    f"ok {TOKEN} 33 1\n".encode(), f"ok {TOKEN} 33\r\n".encode(),
    f"ok {TOKEN} 9223372037\n".encode(), f"ok {TOKEN} 99999999999999999999\n".encode(),
    f"ok {TOKEN.upper()} 33\n".encode(), f"ok {TOKEN[1:]} 33\n".encode(),
    f"ok {TOKEN}0 33\n".encode(), f"ok  {TOKEN} 33\n".encode(), f" ok {TOKEN} 33\n".encode(),
    f"acquired {TOKEN} 33\n".encode(), b"queued\n", b"error_already_enqueued\n", b"timeout now\n",
    b"error_max_locks 5\n", b"x" * 1000, b"x" * 1000 + b"\n", b"\xff\xfe\n",
], ids=repr)
def test_an_invalid_reply_to_acquire_is_strange(attempt, reply_line):
    assert status_of(attempt, reply_line) == "STRANGE_ANSWER"


def test_a_reply_without_a_request_loses_the_lock(attempt):
    with FakeServer(GRANT + GRANT) as server:
        lines = attempt(f"server={server.address}", "acquire=1", "sleep=200", "release")
    # The reply comes with the grant, or after it.
    assert lines[0][:2] == ["acquire", "STRANGE_ANSWER"] or ["lost", "STRANGE_ANSWER"] in lines
    assert lines[-1][1] in ("LOST", "NOT_HELD")


@pytest.mark.parametrize("action, reply_line", [
    ("enqueue", GRANT), ("enqueue", b"timeout\n"), ("enqueue", b"error_not_enqueued\n"),
    ("enqueue", b"queued 1\n"), ("ping", b"ok 1\n"), ("ping", b"queued\n"), ("stats", b"ok\n"),
    ("stats", b"ok \n"), ("ping", b"error_max_locks\n"),
])
def test_a_reply_to_another_request_is_strange(attempt, action, reply_line):
    assert status_of(attempt, reply_line, action=action) == "STRANGE_ANSWER"


@pytest.mark.parametrize("reply_line, status", [
    (b"ok\n", "STRANGE_ANSWER"), (f"ok {TOKEN} 33\n".encode(), "STRANGE_ANSWER"),
    (b"ok 0\n", "STRANGE_ANSWER"), (b"timeout\n", "STRANGE_ANSWER"), (b"error\n", "NOT_HELD"),
    (b"error_draining\n", "LOST"), (None, "STRANGE_ANSWER"), (b"ok 1\nok 1\n", "STRANGE_ANSWER"),
])
def test_a_failed_renewal_loses_the_lock_with_its_reason(attempt, reply_line, status):
    with FakeServer(f"ok {TOKEN} 1\n".encode(), reply_line) as server:
        lines = attempt(f"server={server.address}", "acquire=1", "sleep=1500", "release")
    assert [line[:2] for line in lines if line[0] != "sleep"] == [
        ["acquire", "DONE"], ["lost", status], ["release", "LOST"]]


@pytest.mark.parametrize("reply_line, status", [
    (b"ok 1\n", "STRANGE_ANSWER"), (b"error\n", "LOST"), (None, "DISCONNECTED"),
    (b"ok\n", "DONE"), (b"ok\nok\n", "DONE")])
def test_release_returns_the_servers_reply(attempt, reply_line, status):
    with FakeServer(GRANT, reply_line) as server:
        lines = attempt(f"server={server.address}", "acquire=1", "release")
    assert lines[1][:2] == ["release", status]


def test_release_works_while_a_renewal_is_pending(attempt):
    with FakeServer(f"ok {TOKEN} 1\n".encode(), b"", b"ok 1\nok\n") as server:
        lines = attempt(f"server={server.address}", "acquire=1", "sleep=700", "release")
    assert lines[-1][:2] == ["release", "DONE"]
    # The reply to the renewal is not the reply to the release.
    with FakeServer(f"ok {TOKEN} 1\n".encode(), b"", b"error\nok\n") as server:
        lines = attempt(f"server={server.address}", "acquire=1", "sleep=700", "release")
    assert lines[-1][:2] == ["release", "DONE"]


def test_a_server_that_closes_without_a_reply_is_disconnected(attempt):
    assert status_of(attempt, None) == "DISCONNECTED"
    assert status_of(attempt, b"ok 0123", reply=300) == "NO_REPLY"


@pytest.mark.parametrize("replies, status", [
    ([b"error_not_enqueued\n", b"ok\n", GRANT], "DONE"),
    ([b"error_not_enqueued\n", b"error\n", GRANT], "DONE"),
    ([b"error_not_enqueued\n", b"error\n", None], "DISCONNECTED"),
    ([b"error\n"], "FAILED"), ([b"error_draining\n"], "UNREACHABLE"),
    ([b"ok\n"], "STRANGE_ANSWER"), ([None], "DISCONNECTED"), ([b"error_auth\n"], "REFUSED"),
    ([b"error_not_enqueued\n", GRANT], "STRANGE_ANSWER")])
def test_replies_to_the_probe_and_the_name(attempt, replies, status):
    with ServerThatIsProbed(*replies) as server:
        lines = attempt(f"server={server.address}", "reply=1000", "acquire=1")
    assert lines[0][1] == status


def test_a_silent_server_returns_no_reply(attempt):
    assert status_of(attempt, timeout=300, reply=300) == "NO_REPLY"
    assert status_of(attempt, timeout=300, reply=300, action="ping") == "NO_REPLY"


def test_random_bytes_do_not_crash_the_client(attempt, seed):
    dice = random.Random(seed)
    words = [b"ok", b"acquired", b"queued", b"timeout", b"error", b"error_auth", b" ", b"\n",
             TOKEN.encode(), b"33", b"\0", b"\xff", b"\r"]
    for _ in range(40):
        replies = [b"".join(dice.choices(words, k=dice.randrange(1, 12))) + b"\n"
                   for _ in range(4)]
        with FakeServer(*replies, None) as server:
            attempt(f"server={server.address}", "timeout=200", "lease=1", "acquire=0",
                    "renew", "release", "enqueue", "wait=0", "stats", "ping")


# ---- missing replies ----

def words_of(attempt, server, *actions):
    return attempt(f"server={server.address}", "reply=300", *actions)


def test_a_request_without_a_reply_ends_in_time(attempt):
    begun = time.monotonic()
    with FakeServer() as server:
        [line] = words_of(attempt, server, "timeout=1000", "acquire=0")
    assert line[1] == "NO_REPLY" and f"{server.address}:" in line
    assert "no reply yet" not in " ".join(line)
    assert time.monotonic() - begun < 10


def test_a_used_connection_without_a_reply_takes_one_timeout(attempt):
    with FakeServer(GRANT, b"ok\n") as server:
        begun = time.monotonic()
        lines = words_of(attempt, server, "timeout=60000", "acquire=0", "release", "acquire=0")
        taken = time.monotonic() - begun
    assert [line[1] for line in lines] == ["DONE", "DONE", "NO_REPLY"]
    assert taken < 30


def test_a_confirmation_without_a_reply_does_not_last_as_long_as_the_lease(attempt):
    """The client confirms a late grant by a renewal; the lease is 1,000 s."""
    late = f"ok {TOKEN} 1000\n".encode()
    with SlowServer(1, late) as server:
        [line] = words_of(attempt, server, "reply=3000", "acquire=60")
        assert line[1] == "DONE"  # a second is less than a tenth of the lease
    late = f"ok {TOKEN} 5\n".encode()
    with SlowServer(1, late) as server:
        begun = time.monotonic()
        [line] = words_of(attempt, server, "acquire=60")
        assert line[1] == "NO_REPLY"
        assert time.monotonic() - begun < 5


# ---- servers that do not know `own` ----

@pytest.mark.parametrize("reply_line", [b"error\n", None])
def test_a_server_without_own_loses_the_lock_with_the_connection(start, reply_line):
    """The second connection gets a reply to the probe, and none or `error` to `own`."""
    with ServerWithRounds([GRANT, None], [b"ok\n", reply_line]) as server:
        holder = start(f"server={server.address}", "acquire=0", "sleep=1000", "release")
        output = [line.split()[:2] for line in holder.stdout]
    assert ["acquire", "DONE"] in output and ["release", "LOST"] in output
    assert [line for line in output if line[0] == "lost"] == [
        ["lost", "DISCONNECTED" if reply_line is None else "NOT_HELD"]]


def test_a_connection_that_ends_before_any_reply_does_not_lose_the_lock(start):
    """Like a proxy whose server is down, then up again with the grant."""
    with ServerWithRounds([GRANT, None], [None], [None],
                          [b"ok\n", b"ok\n", b"ok 33\n", b"ok\n"]) as server:
        holder = start(f"server={server.address}", "acquire=0", "sleep=2000", "release")
        output = [line.split()[:2] for line in holder.stdout]
    assert [line for line in output if line[0] == "lost"] == []
    assert ["release", "DONE"] in output


def test_a_draining_server_does_not_lose_the_lock(start):
    with ServerWithRounds([GRANT, None], [b"error_draining\n", None],
                          [b"ok\n", b"ok\n", b"ok 33\n", b"ok\n"]) as server:
        holder = start(f"server={server.address}", "acquire=0", "sleep=2000", "release")
        output = [line.split()[:2] for line in holder.stdout]
    assert [line for line in output if line[0] == "lost"] == []
    assert ["release", "DONE"] in output
