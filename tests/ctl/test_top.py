"""`top`: the screen, and the terminal modes after its end."""

import os
import re
import signal
import time

import pytest
from ctl import USAGE, Terminal, address, ctl
from lib.server import Server
from lib.wire_client import Client, eventually

ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"


@pytest.fixture
def busy(server):
    """hot: held, 3 wait; warm: held, 1 waits; slots: a semaphore."""
    clients = [Client(server) for _ in range(4)]
    clients[0].acquire("hot", "0 1000")
    clients[0].acquire("warm", "0 1000")
    assert clients[0].call("sl", "slots", "0 5 1000").startswith("ok ")
    for client in clients[1:]:
        assert client.call("e", "hot") == "queued"
    assert clients[1].call("e", "warm") == "queued"
    yield server
    for client in clients:
        client.close()


def assert_left(terminal):
    """The previous screen, the cursor and the echo are restored."""
    assert terminal.raw.count(ENTER) == terminal.raw.count(LEAVE) == 1
    assert terminal.raw.rindex(LEAVE) > terminal.raw.rindex(ENTER)
    assert terminal.raw.rindex(b"\x1b[?25h") > terminal.raw.rindex(b"\x1b[?25l")
    assert terminal.modes() == terminal.before


def order_of(terminal, *names):
    """Those names in the order of their lines."""
    lines = terminal.lines()
    return sorted(names, key=lambda name: next(
        (number for number, line in enumerate(lines) if line.startswith(name + " ")), -1))


def test_top_shows_servers_and_the_most_contended_keys(busy):
    with Terminal(busy, "top") as terminal:
        terminal.see(address(busy), "hot", "warm", "slots", "1/5")
        lines = terminal.lines()
        assert order_of(terminal, "warm", "slots", "hot") == ["hot", "warm", "slots"]
        title = next(line for line in lines if line.startswith("SERVER"))
        assert title.split() == ["SERVER", "CONNECTIONS", "GRANTS/S", "HOLDERS", "WAITERS", "IDLE"]
        figures = next(line for line in lines if line.startswith(address(busy))).split()
        assert figures[1] == "5" and figures[3:5] == ["3", "4"]
        assert re.match(r"hot +lock +1 +3 +\d+ s$", next(
            line for line in lines if line.startswith("hot")))
        assert lines[0].startswith("dflockctl top") and lines[23].startswith("q quit")
        assert all(len(line) <= 80 for line in lines)
        terminal.type(b"q")
        assert terminal.finish() == 0
        assert_left(terminal)


@pytest.mark.parametrize("way, status", [
    ("q", 0), ("^C", 130), ("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_top_restores_the_terminal_at_each_end(server, way, status):
    with Terminal(server, "top") as terminal:
        terminal.see(address(server), "q quit")
        if way.startswith("SIG"):
            os.kill(terminal.process.pid, getattr(signal, way))
        else:
            terminal.type({"q": b"q", "^C": b"\x03"}[way])
        assert terminal.finish() == status
        assert_left(terminal)


def test_top_counts_grants(server):
    with Terminal(server, "top") as terminal, Client(server) as client:
        terminal.see(address(server))

        def grants():
            for _ in range(50):
                assert client.call("r", "key", client.acquire("key")) == "ok"
            line = next(line for line in terminal.lines() if line.startswith(address(server)))
            return line.split()[2] != "-" and line.split()[2] != "0"

        eventually(grants)
        # Its own are not counted.
        eventually(lambda: re.search(rf"{address(server)} +2 +0 ", terminal.text()))
        terminal.type(b"q")
        assert terminal.finish() == 0


def test_no_probe_acquires_no_lock(server):
    with Terminal(server, "top", "--no-probe") as terminal, Client(server) as client:
        terminal.see(address(server), "-")
        time.sleep(1.5)
        assert client.stats()["idle_locks"] == client.stats()["idle_semaphores"] == []
        assert re.search(rf"{address(server)} +2 +- ", terminal.text())


def test_top_does_not_show_its_own_lock(server):
    with Terminal(server, "top") as terminal, Client(server) as client:
        eventually(lambda: [entry["key"] for entry in client.stats()["idle_semaphores"]]
                   == ["dflockctl.probe"])
        terminal.see("0 keys")
        assert "dflockctl.probe" not in terminal.text()


def fills(terminal, rows):
    lines = terminal.lines()
    return (len(lines) == rows and lines[0].startswith("dflockctl top") and
            lines[-1].startswith("q quit"))


def test_top_follows_the_size_of_the_terminal(busy):
    with Terminal(busy, "top") as terminal:
        terminal.see("hot", "q quit")
        terminal.resize(12, 120)
        eventually(lambda: fills(terminal, 12))
        assert "hot" in terminal.text()
        title = next(line for line in terminal.lines() if line.startswith("SERVER"))
        assert len(title) == 120
        terminal.resize(30, 60)
        eventually(lambda: fills(terminal, 30))
        terminal.resize(1, 1)
        terminal.resize(3, 20)
        terminal.resize(24, 80)
        eventually(lambda: fills(terminal, 24))
        terminal.type(b"q")
        assert terminal.finish() == 0


def test_keys_change_the_sort_order(busy):
    with Terminal(busy, "top") as terminal:
        terminal.see("hot", "sort: waiters")
        terminal.type(b"r")
        terminal.see("sort: waiters (reverse)")
        assert order_of(terminal, "hot", "warm", "slots") == ["slots", "warm", "hot"]
        terminal.type(b"rsss")
        terminal.see("sort: key ")
        assert order_of(terminal, "hot", "warm", "slots") == ["hot", "slots", "warm"]


@pytest.mark.parametrize("typed", [
    b"\x1bOQ", b"\x1b[12~", b"\x1b[1;5Q", b"\x1b[A", b"\x1b[[B", b"\x1bq", b"\x1b\x1b[2~",
    b"\x1bOs", b"x\t\r\x7f\x01", "\u00e9".encode()])
def test_function_keys_and_unknown_keys_do_nothing(busy, typed):
    with Terminal(busy, "top") as terminal:
        terminal.see("hot", "sort: waiters ")
        terminal.type(typed)
        terminal.type(typed)
        time.sleep(0.3)  # longer than a sequence lasts
        terminal.type(b"r")
        terminal.see("sort: waiters (reverse)")
        terminal.type(b"q")
        assert terminal.finish() == 0


def test_released_keys_disappear_from_the_screen(server):
    with Client(server) as client, Terminal(server, "top") as terminal:
        tokens = {key: client.acquire(key, "0 1000") for key in ("a-long-name-of-a-key", "b", "c")}
        terminal.see("3 keys", "a-long-name-of-a-key")
        for key in ("a-long-name-of-a-key", "c"):
            assert client.call("r", key, tokens[key]) == "ok"
        terminal.see("1 key")
        eventually(lambda: [line.split()[0] for line in terminal.lines()[5:] if line]
                   == ["KEY", "b", "q"])


def test_top_counts_keys_beyond_the_screen(server):
    with Client(server) as client:
        for number in range(100):
            client.acquire(f"key-{number:03}")
        with Terminal(server, "top") as terminal:
            terminal.see("100 keys")
            shown = [line for line in terminal.lines() if line.startswith("key-")]
            assert 10 < len(shown) < 24
            assert terminal.lines()[23].startswith("q quit")


def test_keys_of_any_bytes_take_one_line(server):
    with Client(server) as client:
        for key in (b"\x1b[2Jcleared", b"w" * 256, "\u65e5\u672c".encode() * 40, b"\xff\xfe"):
            assert client.call("l", key, "0 1000").startswith("ok ")
        with Terminal(server, "top") as terminal:
            terminal.see("4 keys", "\\x1b[2Jcleared")
            lines = [line for line in terminal.lines() if " lock " in line]
            assert len(lines) == 4
            assert sum("~ " in line for line in lines) == 2
            assert b"\x1b[2Jcleared" not in terminal.raw


def test_top_shows_a_server_restart(server):
    with Server() as other:
        port = other.port
        with Terminal([server, other], "top") as terminal:
            terminal.see(address(server), address(other))
            other.kill()
            eventually(lambda: re.search(rf"{address(other)} .*(refused|lost|closed|connection)",
                                         terminal.text()))
            assert re.search(rf"{address(server)} +\d", terminal.text())
            with Server(port=port):
                eventually(lambda: re.search(rf"{address(other)} +\d", terminal.text()))
            terminal.type(b"q")
            assert terminal.finish() == 0


def test_a_silent_server_does_not_block_the_screen(server):
    with Server() as other, Terminal([server, other], "top") as terminal:
        terminal.see(address(server), address(other))
        server.terminate(signal.SIGSTOP)
        try:
            terminal.see("no reply for")
            assert re.search(rf"{address(other)} +\d", terminal.text())
            terminal.type(b"q")
            assert terminal.finish() == 0
        finally:
            server.terminate(signal.SIGCONT)


def test_space_pauses_and_continues(busy):
    with Terminal(busy, "top") as terminal:
        terminal.see("hot")
        terminal.type(b" ")
        terminal.see("paused: space continues")
        with Client(busy) as client:
            client.acquire("new-one", "0 1000")
            time.sleep(1.5)
            assert "new-one" not in terminal.text() and "hot" in terminal.text()
            terminal.type(b" ")
            terminal.see("new-one")


def test_a_stop_restores_the_screen(server):
    with Terminal(server, "top", command=None) as terminal:
        terminal.see("q quit")
        os.kill(terminal.process.pid, signal.SIGTSTP)
        eventually(lambda: terminal.raw.count(LEAVE) == 1)
        assert terminal.modes() == terminal.before
        os.kill(terminal.process.pid, signal.SIGCONT)
        eventually(lambda: terminal.raw.count(ENTER) == 2)
        terminal.type(b"q")
        assert terminal.finish() == 0
        assert terminal.modes() == terminal.before


def test_top_reports_a_missing_terminal(server):
    done = ctl(server, "top")
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert "terminal" in done.stderr and "stats" in done.stderr
    with Terminal(server, "top", variables={"TERM": "dumb"}) as terminal:
        assert terminal.finish() == USAGE
