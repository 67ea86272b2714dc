"""A server that does not keep to the protocol is found out, and breaks nothing."""

import random
import socket
import threading

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


def status_of(attempt, *answers, action="acquire=1", patience=2000):
    with Liar(*answers) as liar:
        return attempt(f"server=127.0.0.1:{liar.port}", f"patience={patience}", action)[0][1]


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
    assert ["lost", "STRANGE_ANSWER"] in lines
    assert lines[-1][:2] == ["release", "LOST"]


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
    (b"error_draining\n", "DRAINING"), (None, "DISCONNECTED"), (b"ok 1\nok 1\n", "STRANGE_ANSWER"),
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
    assert status_of(attempt, b"ok 0123", None) == "DISCONNECTED"


def test_a_server_that_is_silent_is_given_up(attempt):
    assert status_of(attempt, patience=300) == "DISCONNECTED"
    assert status_of(attempt, patience=300, action="ping") == "DISCONNECTED"


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
