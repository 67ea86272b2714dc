"""The examples for the shell: `printf ... | nc` acquires and releases."""

import json
import re
import shutil
import subprocess

import pytest
from lib.server import Server
from lib.wire_client import Client, settle

pytestmark = pytest.mark.skipif(not shutil.which("nc"), reason="nc is not installed")
GRANT = re.compile(r"ok ([0-9a-f]{32}) 33\n")


@pytest.fixture
def server():
    with Server() as running:
        yield running


def shell(text, server):
    return subprocess.run(["sh", "-c", f"printf '{text}' | nc -N localhost {server.port}"],
                          capture_output=True, text=True, timeout=30, check=False)


def test_nc_prints_its_grant(server):
    done = shell(r"l\nmy-key\n10\n", server)
    assert done.returncode == 0
    assert GRANT.fullmatch(done.stdout), done
    # The lock ended with nc's connection.
    assert GRANT.fullmatch(shell(r"l\nmy-key\n10\n", server).stdout)
    settle(server)


def test_nc_shows_a_holder(server):
    with Client(server) as client:
        assert client.call("name", "_", "somebody") == "ok"
        token = client.acquire("demo")
        shown = json.loads(shell(r"show\ndemo\nl\n", server).stdout.removeprefix("ok "))
        holder, = shown["holders"]
        assert holder["name"] == "somebody" and holder["fence"] == token[:16]
    assert shell(r"show\nother\nl\n", server).stdout == "error\n"


def test_a_second_nc_releases_the_lock_of_the_first(server):
    command = ["nc", "localhost", str(server.port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as first:
        first.stdin.write("l\nmy-key\n10\n")
        first.stdin.flush()
        token = GRANT.fullmatch(first.stdout.readline())[1]
        assert shell(r"l\nmy-key\n0\n", server).stdout == "timeout\n"
        assert shell(rf"r\nmy-key\n{token}\n", server).stdout == "ok\n"
        assert GRANT.fullmatch(shell(r"l\nmy-key\n0\n", server).stdout)
        first.stdin.close()
        first.terminate()
        assert first.stdout.read() == ""
    settle(server)


def test_nc_gets_every_reply_after_it_half_closes(server):
    done = shell(r"l\none\n0\nl\none\n0\nl\ntwo\n0\nping\n_\n\nnonsense\n_\n_\n", server)
    assert re.fullmatch(r"ok [0-9a-f]{32} 33\ntimeout\nok [0-9a-f]{32} 33\nok\nerror\n",
                        done.stdout)
    settle(server)
