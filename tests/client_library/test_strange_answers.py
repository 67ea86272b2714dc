"""A server that does not keep to the protocol is found out, and breaks nothing."""

import random
import socket
import threading
import time

import pytest

TOKEN = "0123456789abcdef0123456789abcdef"
GRANT = f"ok {TOKEN} 33\n".encode()


class Liar:
    """Answers the requests of each connection with the given bytes, one after the other.

    None closes the connection; behind the last answer it is silent.
    """

    def __init__(self, *answers):
        self.answers = answers
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    def __enter__(self):
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(10)

    def _serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                try:
                    self._answer(connection)
                except OSError:
                    pass

    def _answer(self, connection):
        requests = connection.makefile("rb")
        for answer in self.answers:
            if not all(requests.readline() for _ in range(3)):
                return
            if answer is None:
                return
            connection.sendall(answer)
        while requests.readline():
            pass


class Mute(Liar):
    """As a liar, but the first answer is late by `delay` seconds."""

    def __init__(self, delay, *answers):
        super().__init__(*answers)
        self.delay = delay

    def _answer(self, connection):
        time.sleep(self.delay)
        super()._answer(connection)


class Rounds(Liar):
    """As a liar, with other answers for each connection in turn; the last ones stay.

    Behind a grant comes the end of the connection, or another request.
    """

    def __init__(self, *rounds):
        super().__init__()
        self.rounds = list(rounds)

    def _answer(self, connection):
        self.answers = self.rounds[0] if len(self.rounds) == 1 else self.rounds.pop(0)
        requests = connection.makefile("rb")
        for answer in self.answers:
            if answer == GRANT:
                all(requests.readline() for _ in range(3))
                connection.sendall(answer)
                time.sleep(0.2)
                continue
            if answer is None:
                # Behind an answer, another request comes first, or the client's end.
                if self.answers.index(None) > 0 and self.answers[0] != GRANT:
                    all(requests.readline() for _ in range(3))
                return
            if not all(requests.readline() for _ in range(3)):
                return
            connection.sendall(answer)
        while requests.readline():
            pass


def status_of(attempt, *answers, action="acquire=1", patience=2000, reply=5000):
    with Liar(*answers) as liar:
        return attempt(f"server=127.0.0.1:{liar.port}", f"patience={patience}", f"reply={reply}",
                       action)[0][1]


def test_a_true_answer_is_believed(attempt):
    assert status_of(attempt, GRANT) == "DONE"


@pytest.mark.parametrize("answer", [
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
def test_what_is_no_answer_to_acquire_is_strange(attempt, answer):
    assert status_of(attempt, answer) == "STRANGE_ANSWER"


def test_an_answer_too_many_is_a_loss(attempt):
    with Liar(GRANT + GRANT) as liar:
        lines = attempt(f"server=127.0.0.1:{liar.port}", "acquire=1", "sleep=200", "release")
    # It comes with the grant, or behind it.
    assert lines[0][:2] == ["acquire", "STRANGE_ANSWER"] or ["lost", "STRANGE_ANSWER"] in lines
    assert lines[-1][1] in ("LOST", "NOT_HELD")


@pytest.mark.parametrize("action, answer", [
    ("enqueue", GRANT), ("enqueue", b"timeout\n"), ("enqueue", b"error_not_enqueued\n"),
    ("enqueue", b"queued 1\n"), ("ping", b"ok 1\n"), ("ping", b"queued\n"), ("stats", b"ok\n"),
    ("stats", b"ok \n"), ("ping", b"error_max_locks\n"),
])
def test_an_answer_to_something_else_is_strange(attempt, action, answer):
    assert status_of(attempt, answer, action=action) == "STRANGE_ANSWER"


@pytest.mark.parametrize("answer, status", [
    (b"ok\n", "STRANGE_ANSWER"), (f"ok {TOKEN} 33\n".encode(), "STRANGE_ANSWER"),
    (b"ok 0\n", "STRANGE_ANSWER"), (b"timeout\n", "STRANGE_ANSWER"), (b"error\n", "NOT_HELD"),
    (b"error_draining\n", "LOST"), (None, "STRANGE_ANSWER"), (b"ok 1\nok 1\n", "STRANGE_ANSWER"),
])
def test_a_renewal_that_comes_to_nothing_is_a_loss_with_its_reason(attempt, answer, status):
    with Liar(f"ok {TOKEN} 1\n".encode(), answer) as liar:
        lines = attempt(f"server=127.0.0.1:{liar.port}", "acquire=1", "sleep=1500", "release")
    assert [line[:2] for line in lines if line[0] != "sleep"] == [
        ["acquire", "DONE"], ["lost", status], ["release", "LOST"]]


@pytest.mark.parametrize("answer, status", [
    (b"ok 1\n", "STRANGE_ANSWER"), (b"error\n", "LOST"), (None, "DISCONNECTED"),
    (b"ok\n", "DONE"), (b"ok\nok\n", "DONE")])
def test_a_release_says_what_came_of_it(attempt, answer, status):
    with Liar(GRANT, answer) as liar:
        lines = attempt(f"server=127.0.0.1:{liar.port}", "acquire=1", "release")
    assert lines[1][:2] == ["release", status]


def test_a_release_may_overtake_the_answer_to_a_renewal(attempt):
    with Liar(f"ok {TOKEN} 1\n".encode(), b"", b"ok 1\nok\n") as liar:
        lines = attempt(f"server=127.0.0.1:{liar.port}", "acquire=1", "sleep=700", "release")
    assert lines[-1][:2] == ["release", "DONE"]
    # Refused, it is not the release that was.
    with Liar(f"ok {TOKEN} 1\n".encode(), b"", b"error\nok\n") as liar:
        lines = attempt(f"server=127.0.0.1:{liar.port}", "acquire=1", "sleep=700", "release")
    assert lines[-1][:2] == ["release", "DONE"]


def test_a_server_that_closes_without_an_answer_is_disconnected(attempt):
    assert status_of(attempt, None) == "DISCONNECTED"
    assert status_of(attempt, b"ok 0123", reply=300) == "NO_REPLY"


def test_a_server_that_is_silent_is_given_up(attempt):
    assert status_of(attempt, patience=300, reply=300) == "NO_REPLY"
    assert status_of(attempt, patience=300, reply=300, action="ping") == "NO_REPLY"


def test_random_bytes_crash_nothing(attempt, seed):
    dice = random.Random(seed)
    words = [b"ok", b"acquired", b"queued", b"timeout", b"error", b"error_auth", b" ", b"\n",
             TOKEN.encode(), b"33", b"\0", b"\xff", b"\r"]
    for _ in range(40):
        answers = [b"".join(dice.choices(words, k=dice.randrange(1, 12))) + b"\n"
                   for _ in range(4)]
        with Liar(*answers, None) as liar:
            attempt(f"server=127.0.0.1:{liar.port}", "patience=200", "lease=1", "acquire=0",
                    "renew", "release", "enqueue", "wait=0", "stats", "ping")


# ---- replies that do not come ----

def words_of(attempt, liar, *actions):
    return attempt(f"server=127.0.0.1:{liar.port}", "reply=300", *actions)


def test_a_request_without_a_reply_ends_in_time_and_says_so(attempt):
    begun = time.monotonic()
    with Liar() as liar:
        [line] = words_of(attempt, liar, "patience=1000", "acquire=0")
    assert line[1] == "NO_REPLY" and f"127.0.0.1:{liar.port}:" in line
    assert "no reply yet" not in " ".join(line)
    assert time.monotonic() - begun < 10


def test_a_used_connection_without_a_reply_is_not_waited_for_twice(attempt):
    with Liar(GRANT, b"ok\n") as liar:
        begun = time.monotonic()
        lines = words_of(attempt, liar, "patience=60000", "acquire=0", "release", "acquire=0")
        taken = time.monotonic() - begun
    assert [line[1] for line in lines] == ["DONE", "DONE", "NO_REPLY"]
    assert taken < 30


def test_a_confirmation_without_a_reply_does_not_last_as_long_as_the_lease(attempt):
    """A grant that came late is renewed before it counts; the lease is of 1,000 s."""
    late = f"ok {TOKEN} 1000\n".encode()
    with Mute(1, late) as liar:
        [line] = words_of(attempt, liar, "reply=3000", "acquire=60")
        assert line[1] == "DONE"  # a second is prompt, for so long a lease
    late = f"ok {TOKEN} 5\n".encode()
    with Mute(1, late) as liar:
        begun = time.monotonic()
        [line] = words_of(attempt, liar, "acquire=60")
        assert line[1] == "NO_REPLY"
        assert time.monotonic() - begun < 5


# ---- servers that do not know `own` ----

@pytest.mark.parametrize("answer", [b"error\n", None])
def test_a_server_without_own_means_lost_with_the_connection(start, answer):
    """The second connection gets an answer to the probe, and none or `error` to `own`."""
    with Rounds([GRANT, None], [b"ok\n", answer]) as liar:
        holder = start(f"server=127.0.0.1:{liar.port}", "acquire=0", "sleep=1000", "release")
        said = [line.split()[:2] for line in holder.stdout]
    assert ["acquire", "DONE"] in said and ["release", "LOST"] in said
    assert [line for line in said if line[0] == "lost"] == [
        ["lost", "DISCONNECTED" if answer is None else "NOT_HELD"]]


def test_a_connection_that_ends_before_any_answer_tells_nothing_of_the_grant(start):
    """As a proxy's whose server is away; then it is back, and knows the grant."""
    with Rounds([GRANT, None], [None], [None], [b"ok\n", b"ok\n", b"ok 33\n", b"ok\n"]) as liar:
        holder = start(f"server=127.0.0.1:{liar.port}", "acquire=0", "sleep=2000", "release")
        said = [line.split()[:2] for line in holder.stdout]
    assert [line for line in said if line[0] == "lost"] == []
    assert ["release", "DONE"] in said


def test_a_draining_server_is_no_loss(start):
    with Rounds([GRANT, None], [b"error_draining\n", None],
                [b"ok\n", b"ok\n", b"ok 33\n", b"ok\n"]) as liar:
        holder = start(f"server=127.0.0.1:{liar.port}", "acquire=0", "sleep=2000", "release")
        said = [line.split()[:2] for line in holder.stdout]
    assert [line for line in said if line[0] == "lost"] == []
    assert ["release", "DONE"] in said
