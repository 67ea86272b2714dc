"""--fence-state-file: fences rise across restarts, and a start refuses unusable files."""

import os
import stat
import struct
import subprocess
import time

import pytest
from lib.server import Server
from lib.wire_client import Client
from startup import assert_refused, run_server

RANGE = 1 << 20


def stored(path):
    content = path.read_bytes()
    assert len(content) == 8
    return struct.unpack(">Q", content)[0]


def some_fences(server, count=20):
    """Returns the fences of successive grants."""
    fences = []
    with Client(server) as client:
        for _ in range(count):
            token = client.acquire("key")
            fences.append(int(token[:16], 16))
            assert client.call("r", "key", token) == "ok"
    return fences


def serve(path, *flags, **keywords):
    return Server("--fence-state-file", str(path), *flags, **keywords)


def test_a_new_file_is_private_and_starts_a_range_at_the_wall_clock(tmp_path):
    path = tmp_path / "fences"
    before = time.time_ns()
    with serve(path) as server:
        after = time.time_ns()
        assert before + RANGE <= stored(path) <= after + RANGE
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        fences = some_fences(server)
        assert fences == list(range(stored(path) - RANGE, stored(path) - RANGE + len(fences)))


def test_an_empty_file_counts_as_new(tmp_path):
    path = tmp_path / "fences"
    path.touch()
    with serve(path) as server:
        assert max(some_fences(server)) < stored(path)


def test_the_variable_names_the_file(tmp_path):
    path = tmp_path / "fences"
    with Server(environment={"DFLOCKD_FENCE_STATE_FILE": str(path)}) as server:
        assert max(some_fences(server)) < stored(path)


@pytest.mark.parametrize("end", ["TERM", "KILL"])
def test_fences_rise_over_restarts(tmp_path, end):
    path = tmp_path / "fences"
    last = 0
    for _ in range(5):
        with serve(path) as server:
            fences = some_fences(server)
            assert fences == sorted(set(fences)) and fences[0] > last
            assert fences[-1] < stored(path)
            last = fences[-1]
            if end == "TERM":
                server.terminate()
                assert server.wait() == 0
            else:
                server.kill()
        assert stored(path) > last


def test_fences_start_at_a_stored_ceiling_ahead_of_the_clock(tmp_path):
    path = tmp_path / "fences"
    ahead = time.time_ns() + 10**18
    path.write_bytes(struct.pack(">Q", ahead))
    with serve(path) as server:
        assert some_fences(server, 1) == [ahead]
        assert stored(path) == ahead + RANGE


@pytest.mark.parametrize("size", [1, 7, 9, 16, 4096])
def test_a_file_of_another_size_is_refused_and_unchanged(tmp_path, size):
    path = tmp_path / "fences"
    path.write_bytes(bytes(size))
    done = run_server("--port", "0", "--fence-state-file", str(path))
    assert_refused(done, "--fence-state-file")
    assert_refused(done, str(path))
    assert_refused(done, f"{size} bytes")
    assert path.read_bytes() == bytes(size)


def test_anything_but_a_regular_file_is_refused(tmp_path):
    for path in [tmp_path, tmp_path / "none" / "fences", "/dev/full", "/proc/version"]:
        done = run_server("--port", "0", "--fence-state-file", str(path))
        assert_refused(done, "--fence-state-file")
        assert_refused(done, str(path))


def test_a_second_server_on_one_file_is_refused(tmp_path):
    path = tmp_path / "fences"
    with serve(path) as server:
        held = stored(path)
        done = run_server("--port", "0", "--fence-state-file", str(path))
        assert_refused(done, "--fence-state-file")
        assert_refused(done, "in use by another server")
        assert stored(path) == held
        assert some_fences(server)


def test_the_server_does_not_start_without_room_for_the_file(tmp_path):
    """A limit of 0 bytes for any file simulates a full disk."""
    path = tmp_path / "fences"
    result = subprocess.run(
        ["prlimit", "--fsize=0", *serve(path).command], capture_output=True, text=True, timeout=20,
        stdin=subprocess.DEVNULL)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert f"--fence-state-file: {path}: cannot be written: File too large" in result.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user to be refused")
def test_a_file_of_another_user_is_refused(tmp_path):
    path = tmp_path / "fences"
    path.write_bytes(bytes(8))
    path.chmod(0o600)
    for parent in [tmp_path, *tmp_path.parents[:3]]:
        if parent.owner() == "root" and str(parent) != "/tmp":
            parent.chmod(0o755)
    result = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *serve(path).command],
        capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
    assert result.returncode == 1, result.stderr
    assert f"--fence-state-file: {path}: Permission denied" in result.stderr
