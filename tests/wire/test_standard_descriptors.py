"""Programs started with some of descriptors 0, 1 and 2 closed do not use these numbers for their
own files, which would then receive output."""

import itertools
import json
import os
import signal
import subprocess

import pytest
from lib.server import BINARY, Server
from lib.wire_client import Client, eventually
from test_unix_socket import UnixServer

CLOSED_SETS = [closed for count in range(4) for closed in itertools.combinations(range(3), count)]
NAMES = ["none" if not closed else "".join(map(str, closed)) for closed in CLOSED_SETS]
every_combination = pytest.mark.parametrize("closed", CLOSED_SETS, ids=NAMES)


def start(command, closed):
    """The shell closes the descriptors, because subprocess would open them again."""
    script = 'exec "$@" ' + " ".join(f"{number}>&-" for number in closed)
    return subprocess.Popen(["sh", "-c", script, "sh", *map(str, command)],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)


def finish(process):
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@every_combination
def test_the_server_does_not_print_into_its_fence_file_or_sockets(tmp_path, closed):
    path, fences = tmp_path / "socket", tmp_path / "fences"
    command = [BINARY, "--port=0", f"--unix-socket={path}", f"--fence-state-file={fences}",
               "--debug"]
    ceilings, tokens = [], []
    for _ in range(2):
        process = start(command, closed)
        try:
            eventually(path.exists)
            server = UnixServer(path)
            with Client(server) as client:
                tokens.append(client.acquire("key"))
            for number in closed:
                assert os.readlink(f"/proc/{process.pid}/fd/{number}") == "/dev/null"
            process.send_signal(signal.SIGTERM)
            status, out, err = finish(process)
        finally:
            process.kill()
        assert status == 0 and out == b""
        assert (b'msg="stopped"' in err) is (2 not in closed)
        ceilings.append(fences.read_bytes())
        assert len(ceilings[-1]) == 8
    assert ceilings[0] < ceilings[1]
    assert tokens[0][:16] < tokens[1][:16] < ceilings[1].hex()


@every_combination
def test_a_failed_start_damages_no_file(tmp_path, closed):
    fences = tmp_path / "fences"
    with Server(f"--fence-state-file={fences}") as server:
        held = fences.read_bytes()
        status, _, err = finish(start([BINARY, "--port", "0", f"--fence-state-file={fences}"],
                                      closed))
        assert status == 1
        assert (b"in use by another server" in err) is (2 not in closed)
        assert fences.read_bytes() == held


@every_combination
def test_dflockctl_prints_into_no_other_descriptor_and_works(tmp_path, closed):
    control = BINARY.parent / "dflockctl"
    with Server() as server:
        where = ["--servers", f"{server.host}:{server.port}"]
        status, out, err = finish(start([control, "ping", *where], closed))
        assert status == (74 if 1 in closed else 0)
        assert err == (b"dflockctl: standard output: Bad file descriptor\n"
                       if 1 in closed and 2 not in closed else b"")
        # Its connection does not receive the output of dflockctl or of its command.
        status, out, err = finish(start(
            [control, "lock", *where, "key", "--", "sh", "-c", "echo out; echo err >&2; cat"],
            closed))
        assert out == (b"out\n" if 1 not in closed else b"")
        assert b"err\n" in err or 2 in closed
        with Client(server) as client:
            eventually(lambda: client.stats()["connections"] == 1)
            assert client.stats()["locks"] == []
            assert not [line for line in server.log if "level=WARN" in line]


@every_combination
def test_dflockctl_acquire_keeps_no_lock_without_printing_its_token(closed):
    control = BINARY.parent / "dflockctl"
    with Server() as server, Client(server) as client:
        where = ["--servers", f"{server.host}:{server.port}"]
        status, out, _ = finish(start([control, "acquire", *where, "key", "--json"], closed))
        if 1 in closed:
            assert (status, out) == (74, b"")
            assert client.call("l", "key", "0").startswith("ok ")
        else:
            assert status == 0
            grant = json.loads(out)
            links = {number: os.readlink(f"/proc/{grant['holder_pid']}/fd/{number}")
                     for number in range(3)}
            assert set(links.values()) == {"/dev/null"}
            assert client.call("r", "key", grant["token"]) == "ok"
            eventually(lambda: client.stats()["connections"] == 1)
        assert not [line for line in server.log if "level=WARN" in line]


@pytest.mark.parametrize("program", ["dflockd", "dflockd-bench"])
@pytest.mark.parametrize("question", ["--help", "--version"])
def test_a_program_fails_if_its_output_is_lost(program, question):
    command = [BINARY.parent / program, question]
    status, _, err = finish(start(command, (1,)))
    assert (status, err) == (1, f"{program}: standard output: Bad file descriptor\n".encode())
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run(list(map(str, command)), stdout=full, stderr=subprocess.PIPE,
                              check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr == f"{program}: standard output: No space left on device\n".encode()


@every_combination
def test_dflockd_bench_prints_into_no_other_descriptor(closed):
    with Server() as server:
        command = [BINARY.parent / "dflockd-bench", "--servers", f"{server.host}:{server.port}",
                   "--workers", "1", "--connections", "2", "--rounds", "100"]
        status, out, _ = finish(start(command, closed))
        assert status == (1 if 1 in closed else 0)
        assert bool(out) is (1 not in closed)
        assert not [line for line in server.log if "level=WARN" in line]
