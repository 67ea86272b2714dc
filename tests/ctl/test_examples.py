"""The examples of dflockctl(1): they work, and none fails without a message."""

import os
import re
import signal
import subprocess

import pytest
from ctl import CTL, address, default_signals, environment
from lib.server import ROOT, Server
from lib.wire_client import Client

SECRET = "administrator"
PAGE = (ROOT / "tools/man/dflockctl.1.in").read_text(encoding="utf-8")
SECTION = PAGE.split(".Sh EXAMPLES")[1].split("\n.Sh ")[0]
EXAMPLES = [each.replace("\\&...\n", "").replace("\\e", "\\") for each in re.findall(
    r"^\.Bd -literal -offset indent\n(.*?)^\.Ed", SECTION, re.M | re.S)]
assert len(EXAMPLES) >= 8


def run(example, servers, folder, fails=False):
    """Run it as a script, with short programs in place of those of the reader."""
    for name in ("inbox", "archive"):
        (folder / name).mkdir()
    (folder / "inbox/file").touch()
    for program in ("report", "wget"):
        (folder / program).write_text("#!/bin/sh\n", encoding="ascii")
        (folder / program).chmod(0o755)
    (folder / "admin-token").write_text(f"{SECRET}\n", encoding="ascii")
    script = example.replace("0 2 * * * ", "").replace("/usr/local/bin/", "")
    if "revoke" in script:
        script = "dflockctl acquire deploy >holder\n" + script.replace(
            "revoke deploy", "revoke deploy --yes").replace("/etc/dflockd/", "")
    script = script.replace("--count 60", "--count 2")
    script = script.replace("one:6388,two:6388", servers)
    done = subprocess.Popen(
        ["sh", "-c", "trap : INT\n" + script], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, cwd=folder,
        env=environment(servers, PATH=f"{folder}:{CTL.parent}:{os.environ['PATH']}"),
        start_new_session=True, preexec_fn=default_signals)
    first = ""
    if "--count 0" in script:
        first = (done.stderr if fails else done.stdout).readline()
        os.killpg(done.pid, signal.SIGINT)
    output, errors = done.communicate(timeout=60)
    return done.returncode, output, first + errors if fails else errors


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_works(example, tmp_path):
    with Server("--threads", "1", "--default-lease-ttl", "3", "--admin-token", SECRET) as server:
        status, output, errors = run(example, address(server), tmp_path)
    assert (status, errors) == (0, ""), output


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_that_fails_says_why(nowhere, example, tmp_path):
    status, _, errors = run(example, nowhere, tmp_path, fails=True)
    assert status != 0 and errors.startswith("dflockctl: ") and nowhere in errors


def test_the_most_contended_key_is_the_first_one():
    [example] = [each for each in EXAMPLES if "--sort" in each]
    with Server() as server, Client(server) as first, Client(server) as second:
        for key in ("a", "b", "c"):
            first.acquire(key)
        assert second.call("e", "b") == "queued"
        words = example.replace("one:6388,two:6388", address(server)).split()[1:]
        done = subprocess.run([CTL, *words], capture_output=True, text=True, check=True,
                              env=environment(server))
        assert [line[0] for line in done.stdout.splitlines()] == ["b", "a", "c"]
