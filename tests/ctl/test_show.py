"""`show`: who holds a key, and who waits for it."""

import json
import re

import pytest
from ctl import STRANGE, Running, Terminal, address, ctl
from lib.older_server import OlderServer
from lib.original_server import OriginalServer, original_python_or_skip
from lib.server import Server
from lib.stand_in import StandIn
from lib.wire_client import Client, eventually

STRANGE_KEYS = [b"plain", b'quote"and\\backslash', b"\x1b[31mred", b"\xff\xfe\x80",
                "gr\u00fcn".encode(), "\u65e5\u672c".encode(), b"\x7f\x01\x02",
                "\u202eturned".encode(), "\u009b31m".encode(), b"k" * 256]


def fence(token):
    return token[:16]


def named(server, name):
    client = Client(server)
    assert client.call("name", "_", name) == "ok"
    return client


def table(text, title):
    """The rows of the table whose first heading is `title`, as dicts."""
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(title + " "))
    titles = lines[start].split()
    rows = []
    for line in lines[start + 1:]:
        if not line or line.startswith(("\u2026", "dflockctl")):
            break
        rows.append(dict(zip(titles, re.split(r" {2,}", line.strip()))))
    return rows


def view(server, key):
    [value] = json.loads(ctl(server, "show", key, "--json").stdout)
    return value


@pytest.fixture
def contended(server):
    """`key` is held by "first holder"; "reader one", "writer" and a client without name wait."""
    with named(server, "first holder") as holder, named(server, "reader one") as reader, \
            named(server, "writer") as writer, Client(server) as nameless:
        token = holder.acquire("key", "0 1000")
        reader.send(b"rl\nkey\n500\n")
        eventually(lambda: view(server, "key")["waiter_count"] == 1)
        assert writer.call("e", "key") == "queued"
        assert nameless.call("re", "key") == "queued"
        yield token


def test_show_lists_the_holder_and_the_waiters(server, contended):
    done = ctl(server, "show", "key")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == f"key on {address(server)}: lock, held exclusively, " \
                                          "3 waiting"
    [holder] = table(done.stdout, "HOLDER")
    assert holder["HOLDER"] == "first holder" and holder["FENCE"] == fence(contended)
    assert holder["ADDRESS"].startswith("127.0.0.1:") and int(holder["CONN"]) > 0
    assert re.fullmatch(r"[\d.]+s", holder["HELD"]) and re.fullmatch(r"16m\d\ds", holder["LEASE"])
    first, second, third = table(done.stdout, "WAITER")
    assert [row["WAITER"] for row in (first, second, third)] == ["reader one", "writer", "-"]
    assert [row["PLACE"] for row in (first, second, third)] == ["1", "2", "3"]
    assert [row["MODE"] for row in (first, second, third)] == ["shared", "exclusive", "shared"]
    assert re.fullmatch(r"8m\d\ds", first["TIMEOUT"]) and second["TIMEOUT"] == "-"


def test_waits_and_leases_without_an_end_have_no_rest(server):
    with Client(server) as holder, Running(server, "lock", "key") as waiter:
        assert waiter.line()
        assert holder.call("se", "slot", "1 9000000000").startswith("acquired ")
        with Running(server, "lock", "key"):
            eventually(lambda: view(server, "key")["waiter_count"] == 1)
            [waiting] = table(ctl(server, "show", "key").stdout, "WAITER")
        [held] = table(ctl(server, "show", "slot").stdout, "HOLDER")
    assert (waiting["TIMEOUT"], held["LEASE"]) == ("none", "none")


def test_show_prints_the_json_of_the_server(server, contended):
    value = view(server, "key")
    assert value.pop("server") == address(server)
    with Client(server) as client:
        reply = json.loads(client.call("show", "key", "l")[3:])
    assert set(value) == set(reply) and value["key"] == "key" and value["kind"] == "lock"
    assert [holder["fence"] for holder in value["holders"]] == [fence(contended)]
    assert [set(waiter) for waiter in value["waiters"]] == [set(reply["waiters"][0])] * 3
    assert [waiter["timeout_in_s"] is None for waiter in value["waiters"]] == [False, True, True]


def test_show_counts_the_holders_of_a_semaphore(server):
    with named(server, "one") as one, named(server, "two") as two, Client(server) as third:
        for client in (one, two):
            assert client.call("sl", "key", "0 2 1000").startswith("ok ")
        assert third.call("se", "key", "2") == "queued"
        text = ctl(server, "show", "key").stdout
    assert text.startswith(f"key on {address(server)}: semaphore, 2 of 2 slots held, 1 waiting\n")
    assert [row["HOLDER"] for row in table(text, "HOLDER")] == ["one", "two"]
    assert "MODE" not in text


def test_show_prints_lock_and_semaphore_of_a_key(server):
    with Client(server) as client:
        client.acquire("key")
        assert client.call("sl", "key", "0 7").startswith("ok ")
        text = ctl(server, "show", "key").stdout
        entries = json.loads(ctl(server, "show", "key", "--json").stdout)
    assert ": lock, held exclusively, nobody waiting\n" in text
    assert ": semaphore, 1 of 7 slots held, nobody waiting\n" in text
    assert [(entry["kind"], entry["limit"]) for entry in entries] == [("lock", 1), ("semaphore", 7)]


def test_a_key_that_nobody_holds_is_free(server):
    with Client(server) as client:
        assert client.call("r", "idle", client.acquire("idle")) == "ok"
    for key in ("idle", "nobody's"):
        done = ctl(server, "show", key)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"{key} on {address(server)}: free: nobody holds it or waits for it\n"
    assert json.loads(ctl(server, "show", "nobody's", "--json").stdout) == []


@pytest.mark.parametrize("key", STRANGE_KEYS)
def test_show_finds_keys_of_any_bytes(server, key):
    with Client(server) as client:
        assert client.call("l", key, "0").startswith("ok ")
        done = ctl(server, "show", key, text=False)
    assert b"held exclusively" in done.stdout
    assert not any(byte < 0x20 and byte != 0x0a for byte in done.stdout)


def test_a_holder_without_a_connection_has_dashes():
    with Server("--no-auto-release-on-disconnect") as server:
        with Client(server) as client:
            client.acquire("key", "0 1000")
        eventually(lambda: view(server, "key")["holders"][0]["address"] == "")
        [holder] = table(ctl(server, "show", "key").stdout, "HOLDER")
    assert (holder["HOLDER"], holder["ADDRESS"]) == ("-", "-")


# ---- many holders and waiters ----

@pytest.fixture(scope="module")
def crowd():
    """`key` is held by 150 clients together, and 150 wait for it."""
    with Server() as server:
        clients = [named(server, f"reader-{number}@build.example.org indexer")
                   for number in range(150)]
        for client in clients:
            assert client.call("rl", "key", "0 1000").startswith("ok ")
        writers = [named(server, "w\u00e4chter@db.example.org " + "long" * 20)]
        assert writers[0].call("e", "key") == "queued"
        for _ in range(149):
            writers.append(Client(server))
            writers[-1].send(b"l\nkey\n1000\n")
        eventually(lambda: view(server, "key")["waiter_count"] == 150)
        yield server
        for client in (*clients, *writers):
            client.close()


def test_show_counts_what_it_does_not_list(crowd):
    text = ctl(crowd, "show", "key").stdout
    assert ": lock, held shared by 150, 150 waiting\n" in text
    assert len(table(text, "HOLDER")) == 100 and len(table(text, "WAITER")) == 100
    assert "\n\u2026 and 50 more holders\n" in text
    assert text.endswith("\n\u2026 and 50 more waiters\n")


@pytest.mark.parametrize("columns, rows", [(80, 24), (120, 40), (80, 10)])
def test_show_fits_on_a_terminal(crowd, columns, rows):
    with Terminal(crowd, "show", "key", columns=columns, rows=rows,
                  variables={"NO_COLOR": "1"}) as terminal:
        assert terminal.finish() == 0
        eventually(lambda: b"more waiters" in terminal.raw)
        lines = terminal.raw.decode().replace("\r", "").splitlines()
    assert all(len(line) <= columns for line in lines)
    assert rows == 10 or len(lines) < rows
    text = "\n".join(lines)
    holders = table(text, "HOLDER")
    assert all(re.fullmatch("[0-9a-f]{16}", row["FENCE"]) for row in holders)
    assert re.search(r"\u2026 and \d+ more holders; --all lists 100\n", text)
    assert re.search(r"\u2026 and \d+ more waiters; --all lists 100$", text)
    assert all(row["HOLDER"].startswith("reader-") for row in holders)
    assert columns == 120 or holders[0]["HOLDER"].endswith("\u2026")


def test_show_lists_all_on_a_terminal_on_request(crowd):
    with Terminal(crowd, "show", "key", "--all", variables={"NO_COLOR": "1"}) as terminal:
        assert terminal.finish() == 0
        eventually(lambda: b"more waiters" in terminal.raw)
        text = terminal.raw.decode().replace("\r", "")
    assert len(table(text, "HOLDER")) == 100


# ---- other servers ----

def test_show_asks_the_server_of_the_key():
    with Server() as first, Server() as second, Client(first) as client, Client(second) as other:
        servers = [first, second]
        for key in ("a", "b", "c", "d"):
            client.acquire(key)
            other.acquire(key)
            shard = ctl(servers, "shard", key).stdout.strip()
            assert f"{key} on {shard}: lock" in ctl(servers, "show", key).stdout


def without_show(server):
    for flags in ((), ("--json",)):
        done = ctl(server, "show", "key", *flags)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (STRANGE, "", 1)
        assert "this server does not support show" in done.stderr


def test_an_older_server_is_reported():
    with OlderServer() as older:
        without_show(older.address)


def test_the_original_server_is_reported():
    with OriginalServer(original_python_or_skip()) as original:
        without_show(original)


class Replying(StandIn):
    """Replies to every request with one line."""

    def __init__(self, reply):
        super().__init__()
        self.reply = reply

    def serve(self, connection):
        with connection, connection.makefile("rb") as file:
            while file.readline():
                file.readline()
                file.readline()
                connection.sendall(self.reply + b"\n")


HOLDER = {"fence": "0" * 15 + "1", "mode": "exclusive", "connection": 1, "address": "a:1",
          "name": "\u202e\x1b[31m", "held_s": 1.5, "lease_expires_in_s": 2.0}
VIEW = {"key": "key", "kind": "lock", "limit": 1, "holder_count": 1, "waiter_count": 0,
        "holders": [HOLDER], "waiters": []}


@pytest.mark.parametrize("change", [
    None, {"holders": 5}, {"holders": [5]}, {"holders": [{}]}, {"limit": "1"}, {"waiters": None},
    {"holder_count": -1}, {"holders": [{**HOLDER, "fence": "1"}]},
    {"holders": [{**HOLDER, "fence": None}]}, {"holders": [{**HOLDER, "name": 5}]},
    {"holders": [{**HOLDER, "name": ["a"]}]}, {"holders": {"a": HOLDER}}])
def test_a_view_that_no_dflockd_writes_is_refused(change):
    text = json.dumps({**VIEW, **change}) if change else "{}"
    with Replying(b"ok " + text.encode()) as server:
        done = ctl(server.address, "show", "key")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (STRANGE, "", 1), done


def test_a_view_of_later_versions_is_read():
    later = {**VIEW, "later": {"holders": [{"fence": 1, "x": [1]}]},
             "holders": [{**HOLDER, "more": [{"fence": "x"}], "x": {}}]}
    with Replying(b"ok " + json.dumps(later).encode()) as server:
        done = ctl(server.address, "show", "key")
        [value, _] = json.loads(ctl(server.address, "show", "key", "--json").stdout)
    assert done.returncode == 0 and "\\u{202e}\\x1b[31m" in done.stdout
    assert value == {"server": server.address, **later}


def test_show_of_a_lock_of_dflockctl(server):
    with Running(server, "lock", "-s", "key", "--", "sh", "-c", "echo held; sleep 30") as running:
        assert running.line() == "held"
        assert "held shared by 1, nobody waiting" in ctl(server, "show", "key").stdout
