"""The names by which `show` tells who holds a lock and who waits."""

import getpass
import json
import os
import socket

import pytest
from ctl import USAGE, Running, ctl
from lib.link import Link
from lib.older_server import OlderServer
from lib.original_server import OriginalServer, original_python_or_skip
from lib.server import Server
from lib.wire_client import Client, eventually

ME = f"{getpass.getuser()}@{socket.gethostname()}"


def names(server, key, part="holders"):
    done = ctl(server, "show", key, "--json")
    assert done.returncode == 0, done
    return [client["name"] for view in json.loads(done.stdout) for client in view[part]]


def view(server):
    [holder] = json.loads(ctl(server, "show", "key", "--json").stdout)[0]["holders"]
    return holder


def under_a_lock(server, *arguments, line="held"):
    """The names of the holders of `key` while the command runs."""
    with Running(server, *arguments, variables={"SHELL": "/bin/sh"}) as running:
        assert running.line() == line
        return names(server, "key")


@pytest.mark.parametrize("command, program", [
    (("lock", "key", "--", "sh", "-c", "echo held; sleep 30"), "sh"),
    (("lock", "-s", "key", "--", "/bin/sh", "-c", "echo held; sleep 30"), "sh"),
    (("sem", "key", "-n", "2", "--", "env", "sh", "-c", "echo held; sleep 30"), "env"),
    (("lock", "key", "-c", "echo held; sleep 30"), "sh")])
def test_a_lock_has_the_name_of_its_command_without_arguments(server, command, program):
    assert under_a_lock(server, *command) == [f"{ME} {program}"]


def test_a_lock_without_a_command_has_the_name_of_dflockctl(server):
    with Running(server, "lock", "key") as running:
        assert len(running.line()) == 32
        assert names(server, "key") == [f"{ME} dflockctl lock"]


def test_a_lock_of_a_script_names_the_process(server):
    done = ctl(server, "acquire", "key", "--while", str(os.getpid()))
    assert names(server, "key") == [f"{ME} dflockctl acquire --while {os.getpid()}"]
    assert ctl(server, "release", "key", done.stdout.strip()).returncode == 0


def test_a_waiter_has_a_name(server):
    with Client(server) as client:
        client.acquire("key")
        with Running(server, "lock", "key", "--", "backup.sh", "--password=secret"):
            eventually(lambda: names(server, "key", "waiters") == [f"{ME} backup.sh"])


def test_a_name_is_given(server):
    command = ("lock", "key", "--name", "nightly gr\u00fcn", "--", "sh", "-c",
               "echo held; sleep 30")
    assert under_a_lock(server, *command) == ["nightly gr\u00fcn"]
    token = ctl(server, "acquire", "key", "--name", "x" * 128).stdout.strip()
    assert names(server, "key") == ["x" * 128]
    assert ctl(server, "release", "key", token).returncode == 0


@pytest.mark.parametrize("name", ["x" * 129, "two\nlines", "\x1b[31m", b"\xff", "\u009b", "\u202e"])
def test_a_name_that_servers_refuse_is_reported(name):
    done = ctl((), "lock", "key", "--name", name, "--", "true")
    assert done.returncode == USAGE and done.stderr.startswith("dflockctl: --name: ")
    assert done.stderr.count("\n") == 1 and "\x1b" not in done.stderr


def test_a_long_program_name_is_cut_to_what_servers_accept(server, tmp_path):
    program = tmp_path / ("\u00fc" * 120)
    program.write_text("#!/bin/sh\necho held\nsleep 30\n", encoding="utf-8")
    program.chmod(0o755)
    [name] = under_a_lock(server, "lock", "key", "--", str(program))
    assert f"{ME} {program.name}".startswith(name) and 127 <= len(name.encode()) <= 128


def test_a_program_name_of_any_bytes_is_made_printable(server, tmp_path):
    program = os.path.join(os.fsencode(tmp_path), b"job\xff\x1b1")
    with open(program, "wb") as file:
        file.write(b"#!/bin/sh\necho held\nsleep 30\n")
    os.chmod(program, 0o755)
    assert under_a_lock(server, "lock", "key", "--", program) == [f"{ME} job1"]


def test_an_empty_name_is_not_sent(server):
    assert under_a_lock(server, "lock", "key", "--name", "", "-c", "echo held; sleep 30") == [""]


def test_a_connection_after_a_loss_has_the_name():
    with Server("--no-auto-release-on-disconnect") as server, Link(server) as link, \
            Running(link.address, "lock", "key", "--", "sh", "-c",
                    "echo held; sleep 30") as running:
        assert running.line() == "held"
        before = view(server)["connection"]
        link.cut()
        eventually(lambda: view(server)["connection"] not in (0, before))
        assert names(server, "key") == [f"{ME} sh"]


def test_an_older_server_serves_locks_without_names():
    with OlderServer() as older:
        for name in ((), ("--name", "me")):
            done = ctl(older.address, "lock", "key", *name, "--", "echo", "ran")
            assert (done.returncode, done.stdout) == (0, "ran\n"), done


def test_the_original_server_serves_locks_without_names():
    with OriginalServer(original_python_or_skip()) as original:
        done = ctl(original, "lock", "key", "--name", "me", "--", "echo", "ran")
        assert (done.returncode, done.stdout, done.stderr) == (0, "ran\n", "")


def test_a_command_that_holds_nothing_sends_no_name():
    with OlderServer() as older:
        for command in ("ping", "stats", "ls"):
            assert ctl(older.address, command).returncode == 0
        assert set(older.commands) == {"ping", "stats"}
