"""`ls`, `stats`, `ping` and `shard`: output for people and for programs."""

import contextlib
import json
import os
import resource
import signal
import socket
import threading
import zlib

import pytest
from ctl import NO_SERVER, STRANGE, USAGE, Running, Terminal, address, ctl
from lib.original_server import OriginalServer, original_python_or_skip
from lib.server import Server
from lib.wire_client import Client, eventually

STRANGE_KEYS = [b"plain", b'quote"and\\backslash', b"\x1b[31mred", b"\xff\xfe\x80", b"\x00nul\x00",
                "gr\u00fcn".encode(), "\u65e5\u672c".encode(), b"\x7f\x01\x02",
                "\u202eturned".encode(),
                "\u009b31m".encode(), b"k" * 256]


@pytest.fixture
def busy(server):
    """alpha: held, 2 wait; beta: a semaphore, 2 of 3 held, 1 waits for another; gamma: idle."""
    clients = [Client(server) for _ in range(4)]
    first, second, third, fourth = clients
    assert first.call("l", "alpha", "0 1000").startswith("ok ")
    assert first.call("sl", "beta", "0 3 1000").startswith("ok ")
    assert second.call("sl", "beta", "0 3 1000").startswith("ok ")
    assert second.call("r", "gamma", second.acquire("gamma")) == "ok"
    assert first.call("l", "delta", "0 50").startswith("ok ")
    for client in (third, fourth):
        assert client.call("e", "alpha") == "queued"
    yield server
    for client in clients:
        client.close()


def rows(done):
    assert done.returncode == 0, done
    return [line.split("\t") for line in done.stdout.splitlines()]


def objects(done):
    """The JSON objects of the lines."""
    return [json.loads(line) for line in done.stdout.splitlines()]


def listed(server, *arguments):
    done = ctl(server, "ls", "--json", *arguments)
    assert done.returncode == 0, done
    return json.loads(done.stdout)


# ---- ls ----

def test_ls_lists_each_key(busy):
    alpha, beta, delta = rows(ctl(busy, "ls"))
    assert alpha[:4] == ["alpha", "lock", "1", "2"] and alpha[6] == address(busy)
    assert 0 < float(alpha[4]) <= 1000 and int(alpha[5]) > 0
    assert beta[:6] == ["beta", "semaphore", "2/3", "0", "-", "-"]
    assert delta[:4] == ["delta", "lock", "1", "0"]


@pytest.mark.parametrize("arguments, order", [
    ((), "alpha beta delta"), (("--reverse",), "delta beta alpha"),
    (("--sort", "key"), "alpha beta delta"), (("--sort", "waiters"), "alpha beta delta"),
    (("--sort", "waiters", "--reverse"), "beta delta alpha"),
    (("--sort=holders",), "beta alpha delta"), (("--sort", "lease"), "alpha delta beta"),
    (("--sort", "lease", "--reverse"), "beta delta alpha"),
    (("--sort", "kind"), "alpha delta beta"), (("--sort", "server"), "alpha beta delta"),
    (("--idle",), "alpha beta delta gamma")])
def test_ls_sorts(busy, arguments, order):
    assert [row[0] for row in rows(ctl(busy, "ls", *arguments))] == order.split()
    assert [entry["key"] for entry in listed(busy, *arguments)] == order.split()


def test_ls_reports_an_unknown_sort_column(busy):
    done = ctl(busy, "ls", "--sort", "colour")
    assert done.returncode == USAGE and "--sort" in done.stderr and "waiters" in done.stderr


def test_ls_in_json(busy):
    alpha, beta, delta, gamma = listed(busy, "--idle")
    assert alpha.pop("connection") > 0 and 0 < alpha.pop("lease_expires_in_s") <= 1000
    assert alpha == {"key": "alpha", "kind": "lock", "holders": 1, "waiters": 2, "limit": 1,
                     "server": address(busy)}
    assert beta == {"key": "beta", "kind": "semaphore", "holders": 2, "waiters": 0, "limit": 3,
                    "server": address(busy)}
    assert "idle_s" not in delta and gamma["idle_s"] >= 0 and gamma["holders"] == 0


def test_ls_lists_the_keys_with_a_prefix(busy):
    assert [row[0] for row in rows(ctl(busy, "ls", "de"))] == ["delta"]
    assert [entry["key"] for entry in listed(busy, "--idle", "gam")] == ["gamma"]
    assert listed(busy, "delta-") == []


def test_ls_prints_keys_alone_as_they_are(busy):
    with Client(busy) as client:
        assert client.call("sl", "alpha", "0 7").startswith("ok ")
        assert client.call("l", b"\x1b[31m\\red", "0").startswith("ok ")
    done = ctl(busy, "ls", "--keys", "--idle", "--sort", "waiters")
    assert (done.returncode, done.stdout.splitlines()) == (
        0, ["\x1b[31m\\red", "alpha", "beta", "delta", "gamma"])


def test_ls_prints_nothing_for_no_keys(server):
    done = ctl(server, "ls")
    assert (done.returncode, done.stdout) == (0, "")
    assert listed(server) == []


def test_ls_escapes_keys_of_any_bytes(server):
    with Client(server) as client:
        for key in STRANGE_KEYS:
            assert client.call("l", key, "0").startswith("ok ")
        wanted = sorted(lock["key"] for lock in client.stats()["locks"])
        assert sorted(entry["key"] for entry in listed(server)) == wanted
        assert len(wanted) == len(STRANGE_KEYS)
        done = ctl(server, "ls", text=False)
        raw = ctl(server, "ls", "--json", text=False).stdout
    assert raw.isascii() and all(byte >= 0x20 or byte == 0x0a for byte in raw)
    lines = done.stdout.decode().splitlines()
    shown = [line.split("\t")[0] for line in lines]
    assert len(lines) == len(STRANGE_KEYS) and all(len(line.split("\t")) == 7 for line in lines)
    assert not any(byte < 0x20 and byte not in b"\t\n" or byte == 0x7f for byte in done.stdout)
    for one in ("plain", 'quote"and\\\\backslash', "\\x1b[31mred", "\ufffd" * 3, "\\x00nul\\x00",
                "gr\u00fcn", "\u65e5\u672c", "\\x7f\\x01\\x02", "\\x9b31m", "k" * 256):
        assert one in shown


def test_ls_prints_a_table_only_on_a_terminal(busy):
    done = ctl(busy, "ls")
    assert "\x1b" not in done.stdout and "KEY" not in done.stdout
    with Terminal(busy, "ls") as terminal:
        assert terminal.finish() == 0
        lines = terminal.lines()
        assert b"\x1b[1m" in terminal.raw and b"\t" not in terminal.raw
    assert lines[0].split() == ["KEY", "KIND", "HOLDERS", "WAITERS", "LEASE", "CONNECTION"]
    ends = [lines[0].index(title) + len(title) for title in ("HOLDERS", "WAITERS", "LEASE")]
    for line, figures in zip(lines[1:], (["1", "2"], ["2/3", "0", "-"], ["1", "0"])):
        for end, figure in zip(ends, figures):
            assert line[:end].endswith(" " + figure) and line[end] == " "


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_can_be_switched_off(busy, variables):
    with Terminal(busy, "ls", variables=variables) as terminal:
        assert terminal.finish() == 0
        assert b"\x1b" not in terminal.raw


def test_ls_aligns_wide_characters_and_escapes_directions(server):
    with Client(server) as client:
        for key in ("\u65e5\u672c", "abcdef", "\u202eturned"):
            assert client.call("l", key, "0").startswith("ok ")
        with Terminal(server, "ls", variables={"NO_COLOR": "1"}) as terminal:
            assert terminal.finish() == 0
            text = terminal.raw.decode()
        assert "\\u{202e}turned" in text and "\u202e" not in text
        assert "\u65e5\u672c" + " " * 12 + "lock" in text  # as wide as \u{202e}turned, and a gap
        with Terminal(server, "ls", variables={"LC_ALL": "C"}) as terminal:
            assert terminal.finish() == 0
            assert "\\u{65e5}\\u{672c}" in terminal.raw.decode("ascii")


# ---- stats ----

def test_stats_prints_totals(busy):
    [row] = rows(ctl(busy, "stats"))
    assert row == [address(busy), "5", "2", "1", "4", "2", "1"]
    [value] = json.loads(ctl(busy, "stats", "--json").stdout)
    assert value["server"] == address(busy) and value["connections"] == 5
    assert sorted(lock["key"] for lock in value["locks"]) == ["alpha", "delta"]
    assert {"semaphores", "idle_locks", "idle_semaphores"} < set(value)


def test_stats_repeats_with_changes_per_second(server):
    with Running(server, "stats", "--interval", "0.2") as running, Client(server) as client:
        first = running.line().split("\t")
        assert first[1] == address(server) and first[8:] == ["-"] * 4
        held = []

        def rates():
            held.append(client.acquire(f"key{len(held)}"))
            return running.line().split("\t")[8:]

        eventually(lambda: (lambda grants, _, holders, waiters: float(grants) > 0
                            and holders.startswith("+") and float(holders) > 0
                            and waiters == "+0.0")(*rates()))
        running.send(signal.SIGINT)
        status, _, errors = running.finish()
    assert (status, errors) == (0, "")


def test_the_probes_of_stats_leave_one_key():
    with Server("--max-locks", "1") as server, Client(server) as client:
        for _ in range(2):
            done = ctl(server, "stats", "--interval", "0.05", "--count", "2")
        stats = client.stats()
        assert (stats["idle_locks"], len(stats["idle_semaphores"])) == ([], 1)


def test_repeated_stats_are_an_object_a_line(server, nowhere):
    done = ctl(server, "stats", "--interval", "0.1", "--count", "3", "--json")
    first, second, third = objects(done)
    assert done.returncode == 0 and first["time"] < second["time"] < third["time"]
    assert first["server"] == address(server) and "grants_per_s" not in first
    assert second["grants_per_s"] == 0 and third["waiters_per_s"] == 0
    assert ctl(server, "stats", "--interval", "0.1", "--count", "2", "--no-probe",
               "--json").stdout.count("grants_per_s") == 0
    done = ctl([nowhere, server], "stats", "--interval", "0.1", "--count", "3")
    assert done.returncode == NO_SERVER and done.stdout.count(address(server)) == 3
    assert done.stderr.count("\n") == 1 and nowhere in done.stderr


def test_the_last_interval_of_stats_waits_for_the_replies(server):
    """Although the interval is shorter than the time to reply; a silent server is reported."""
    released = threading.Event()
    silent = Scripted(stats_reply("key"), released)
    done = ctl([silent.address, server], "stats", "--interval", "0.01", "--count", "1",
               "--no-probe", "--reply-timeout", "2")
    released.set()
    assert done.returncode == NO_SERVER and address(server) in done.stdout
    assert done.stderr.startswith(f"dflockctl: {silent.address}: the server did not reply in time")


@pytest.mark.parametrize("reply", [b"nonsense\n", b"ok {]\n"])
def test_an_invalid_reply_has_the_same_end_with_an_interval(reply):
    ends = []
    for flags in ((), ("--interval", "0.05", "--count", "1", "--no-probe")):
        stand_in = Scripted(reply)
        done = ctl([stand_in.address], "stats", *flags)
        ends.append((done.returncode, done.stderr.replace(stand_in.address, "ADDRESS")))
    assert ends[0] == ends[1] and ends[0][0] == STRANGE
    assert "whether it is a dflockd" in ends[0][1]


# ---- ping ----

@pytest.mark.parametrize("command", [
    ["ping"], ["stats"], ["ls"], ["stats", "--interval", "0.2", "--count", "1"]])
def test_a_server_without_the_request_is_reported(command):
    with OriginalServer(original_python_or_skip()) as original:
        done = ctl(original, *command)
    assert (done.returncode, done.stdout) == (STRANGE, "")
    assert done.stderr == f"dflockctl: {address(original)}: the server does not support this " \
                          "request\n"


def test_ping_prints_each_server(server):
    with Server() as other:
        done = ctl([server, other], "ping")
        assert done.returncode == 0 and done.stderr == ""
        assert [line.split(": ")[0] for line in done.stdout.splitlines()] == [
            address(server), address(other)]
        answers = objects(ctl([server, other], "ping", "--json"))
    assert [answer["ok"] for answer in answers] == [True, True]
    assert all(answer["first_ms"] >= 0 and answer["next_ms"] >= 0 for answer in answers)


def test_ping_repeats(server):
    done = ctl(server, "ping", "--count", "2")
    assert done.returncode == 0
    *lines, summary = done.stdout.splitlines()
    assert len(lines) == 2 and ": 2 sent, 2 answered, 0% lost; least/mean/most " in summary


def test_each_reply_to_a_ping_is_an_object_a_line(server):
    with Running(server, "ping", "--json", "--count", "0", "--interval", "0.01") as running:
        answers = [json.loads(running.line()) for _ in range(3)]
        running.send(signal.SIGINT)
        status, _, errors = running.finish()
    assert (status, errors) == (0, "")
    assert all(answer["ok"] and answer["server"] == address(server) for answer in answers)


def test_an_interrupted_ping_prints_a_summary(server):
    with Running(server, "ping", "--count", "0", "--interval", "3600") as running:
        assert running.line().startswith(address(server))
        running.send(signal.SIGINT)
        assert running.finish()[1].startswith(f"{address(server)}: 1 sent, 1 answered")


# ---- several servers ----

def key_of(server, count):
    return next(key for key in (f"key{number}" for number in range(1000))
                if zlib.crc32(key.encode()) % count == server)


@pytest.mark.parametrize("key", ["a", "my-key", "gr\u00fcn", "foo"])
def test_shard_is_the_crc_of_the_key(key):
    servers = ["one:1", "two", "[::1]:3", "unix:/four", "five:5"]
    number = zlib.crc32(key.encode()) % len(servers)
    done = ctl(servers, "shard", key)
    assert (done.returncode, done.stdout) == (0, servers[number] + "\n")
    assert json.loads(ctl(servers, "shard", key, "--json").stdout) == {
        "key": key, "server": servers[number], "number": number}


def test_each_key_goes_to_its_server():
    with Server() as first, Server() as second:
        servers = [first, second]
        for number, server in enumerate(servers):
            key = key_of(number, 2)
            with Client(server) as client:
                client.acquire(key)
                assert ctl(servers, "lock", key, "--try", "--", "true").returncode == 75
                assert f"{key} on {address(server)}: lock" in ctl(servers, "show", key).stdout
                assert [row[6] for row in rows(ctl(servers, "ls"))] == [address(server)]
                eventually(lambda: [row[4] for row in rows(ctl(servers, "stats"))]
                           == [str(int(server is one)) for one in servers])


def test_a_missing_server_does_not_hide_the_others(busy, nowhere):
    for command in ("ls", "stats", "ping"):
        done = ctl([nowhere, busy], command)
        assert done.returncode == NO_SERVER
        assert nowhere in done.stderr and done.stderr.count("\n") == 1
        assert address(busy) in done.stdout
    done = ctl([nowhere, busy], "ls", "--json")
    assert done.returncode == NO_SERVER and len(json.loads(done.stdout)) == 3
    assert [answer["ok"] for answer in objects(ctl([nowhere, busy], "ping", "--json"))] == [
        False, True]


class Scripted:
    """A server whose reply to each first request waits for `replies`."""

    def __init__(self, reply, *replies):
        self.asked = threading.Event()
        self.reply = reply
        self.replies = replies
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with self.listener, contextlib.suppress(OSError):
            peer, _ = self.listener.accept()
            with peer:
                while peer.recv(1000):
                    self.asked.set()
                    for event in self.replies:
                        event.wait(30)
                    peer.sendall(self.reply)


def stats_reply(*keys):
    locks = [{"key": key, "owner_conn_id": 1, "lease_expires_in_s": 5.0, "waiters": 0}
             for key in keys]
    return b"ok " + json.dumps({"connections": 1, "locks": locks, "semaphores": [],
                                "idle_locks": [], "idle_semaphores": []}).encode() + b"\n"


@pytest.mark.parametrize("command, reply", [
    (("ls",), stats_reply("key")), (("stats",), stats_reply("key")),
    (("stats", "--json"), stats_reply("key")), (("ping",), b"ok\n"), (("ping", "--json"), b"ok\n"),
    (("stats", "--interval", "60", "--count", "1", "--no-probe"), stats_reply("key"))])
def test_the_servers_are_asked_side_by_side(command, reply):
    """The first one replies after the last one was asked."""
    last = Scripted(reply)
    first = Scripted(reply, last.asked)
    done = ctl([first.address, last.address], *command, "--reply-timeout", "20")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.index(first.address) < done.stdout.index(last.address)


@pytest.mark.parametrize("command", [("ping",), ("ping", "--json")])
def test_a_silent_server_does_not_delay_the_lines_of_the_others(server, command):
    released = threading.Event()
    silent = Scripted(b"ok\n", released)
    with Running([silent.address, server], *command, "--reply-timeout", "3600") as running:
        assert address(server) in running.line()
        released.set()
        status, output, _ = running.finish()
    assert status == 0 and silent.address in output


# ---- memory ----

@pytest.fixture(scope="module")
def crowded():
    """A server with 40,000 long keys, whose statistics have 13 MB."""
    with Server("--max-locks", "50000") as running, Client(running) as client:
        for start in range(0, 40000, 1000):
            client.send(b"".join(b"l\n%0256d\n0 1000\n" % number
                                 for number in range(start, start + 1000)))
            for _ in range(1000):
                assert client.read_line().startswith(b"ok ")
        yield running


@pytest.mark.skipif("SANITIZE" in os.environ, reason="needs more memory")
@pytest.mark.parametrize("command", [
    ("stats",), ("stats", "--json"), ("show", f"{7:0256}"), ("ls", f"{7:0256}"),
    ("stats", "--interval=9", "--count=1")], ids=lambda command: command[0])
def test_the_memory_does_not_depend_on_the_number_of_keys(crowded, command):
    def limited():
        resource.setrlimit(resource.RLIMIT_DATA, (6 << 20, 6 << 20))

    done = ctl(crowded, *command, preexec=limited)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{7:0256}" in done.stdout or "\t40000\t" in done.stdout


# ---- not a dflockd ----

@pytest.mark.parametrize("text", [
    b"", b"{", b"[]", b"{}", b"null", b"{} {}", b'{"connections":-1}', b'{"connections":1}',
    stats_reply("key")[3:-3], stats_reply("key")[3:-1] + b"]", stats_reply("key")[3:-1] + b"x",
    stats_reply("key")[3:-1].replace(b'"key"', b'"kay"'),
    stats_reply("key")[3:-1].replace(b'"waiters": 0', b'"waiters": "0"'),
    stats_reply("key")[3:-1].replace(b'"waiters": 0', b'"waiters": 00'),
    stats_reply("key")[3:-1].replace(b'5.0', b'5.'), stats_reply("a\x01")[3:-1].replace(
        b"\\u0001", b"\x01"), stats_reply("k" * 5000)[3:-1],
    stats_reply("key")[3:-1].replace(b'"key",', b'"\\ud800",'),
    stats_reply("key")[3:-1].replace(b'"key",', b'"\\x",')])
def test_statistics_that_no_dflockd_writes_are_refused(text):
    for command in (("stats",), ("ls",)):
        server = Scripted(b"ok " + text + b"\n")
        done = ctl(server.address, *command)
        assert (done.returncode, done.stdout) == (STRANGE, ""), text
        assert done.stderr.count("\n") == 1


def test_statistics_of_later_versions_are_read():
    """Members and sections that dflockctl does not know are ignored, but --json prints them."""
    text = stats_reply("key\U0001f600\"\\/")[3:-1].replace(
        b'"waiters": 0', b'"new": [{"a": null}, 1e5], "waiters": 0, "more": true').replace(
        b'"connections": 1', b'"later": {"locks": [{"key": 5}], "x": [[]]}, "connections": 1')
    done = ctl(Scripted(b"ok " + text + b"\n").address, "ls")
    assert done.returncode == 0 and done.stdout.startswith("key\U0001f600\"\\\\/\tlock\t1\t0\t5.0")
    server = Scripted(b"ok " + text + b"\n")
    [value] = json.loads(ctl(server.address, "stats", "--json").stdout)
    assert value.pop("server") == server.address and value == json.loads(text)



def test_stats_reports_a_server_that_is_no_dflockd():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def answer():
            peer, _ = listener.accept()
            with peer:
                peer.recv(1000)
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                peer.recv(1000)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        done = ctl(f"127.0.0.1:{listener.getsockname()[1]}", "stats")
        thread.join(10)
    assert done.returncode == STRANGE and "whether it is a dflockd" in done.stderr
    assert done.stderr.count("\n") == 1
