"""A server that cannot serve prints one clear line and exits with 1; otherwise it sends READY=1."""

import errno
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
from lib.process import sleeps
from lib.server import BINARY, Server, unused_address
from lib.wire_client import Client, eventually
from seccomp import forbid_io_uring
from startup import EXIT_SECONDS, ServerAsGiven, assert_refused, clean_environment, run_server

TAKEN = re.compile(r"in use|already")


def test_a_port_of_another_program_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = run_server(f"--port={port}")
    assert_refused(done, str(port))
    assert TAKEN.search(done.stderr)


def test_a_port_of_another_dflockd_is_refused():
    with Server() as other:
        done = run_server(f"--port={other.port}")
        assert_refused(done, str(other.port))
        assert TAKEN.search(done.stderr)
        with Client(other) as client:
            assert client.call("ping") == "ok"


def test_only_one_of_two_simultaneous_servers_serves():
    for _ in range(10):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        started = [subprocess.Popen([str(BINARY), f"--port={port}", "--threads=2"],
                                    env=clean_environment(), stderr=subprocess.PIPE, text=True)
                   for _ in range(4)]
        try:
            eventually(lambda: sum(each.poll() is None for each in started) <= 1)
            with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
                client.sendall(b"ping\n_\n\n")
                assert client.recv(10) == b"ok\n"
        finally:
            for each in started:
                each.kill()
                each.communicate()


def test_the_port_is_free_after_the_exit():
    where = ("--host", unused_address(), "--port", "6390")
    with ServerAsGiven(*where) as first:
        with Client(first) as client:
            client.acquire("key")
            first.terminate()
            eventually(lambda: any("draining" in line for line in first.log))
            assert client.call("ping") == "error_draining"
        assert first.wait() == 0
    with ServerAsGiven(*where) as second, Client(second) as client:
        assert client.call("ping") == "ok"


def test_a_server_started_right_after_a_kill_serves():
    """The kernel closes the ring of a killed process, and its listener, after the process."""
    with Server() as server:
        clients = [Client(server) for _ in range(200)]
        port = server.port
        server.kill()
        with Server(port=port) as again, Client(again) as client:
            assert client.call("ping") == "ok"
        for client in clients:
            client.close()


@pytest.mark.parametrize("host", ["no-such-host.invalid", "256.1.1.1", "1:2:3"])
def test_an_unknown_host_is_refused(host):
    assert_refused(run_server("--port=0", f"--host={host}"), host)


def test_an_address_of_another_machine_is_refused():
    assert_refused(run_server("--port=0", "--host=192.0.2.1"), "192.0.2.1")


def unprivileged_from():
    return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text(encoding="ascii"))


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="no setpriv")
@pytest.mark.skipif(unprivileged_from() < 2, reason="no port is privileged here")
def test_a_privileged_port_is_refused_to_a_user_without_the_privilege():
    with tempfile.TemporaryDirectory() as folder:
        # A copy, because other users may have no access to the build folder.
        copy = Path(folder) / "dflockd"
        shutil.copy(BINARY, copy)
        copy.chmod(0o755)
        Path(folder).chmod(0o755)
        command = [str(copy), "--port=1"]
        if os.geteuid() == 0:
            command[:0] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                           "--bounding-set=-all", "--inh-caps=-all"]
        done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True,
                              timeout=EXIT_SECONDS, check=False)
    assert_refused(done)
    assert "permission" in done.stderr.lower()


# ---- RLIMIT_MEMLOCK: since Linux 6.14 it limits the memory of an ordinary user's rings ----

ONE_RING = 400  # KiB: more than one ring needs, and less than two
NO_RING = 100


@pytest.fixture
def limited():
    """Returns a function that makes a server's command for a new user that may lock `kib` KiB."""
    if os.geteuid() != 0 or not shutil.which("setpriv") or not shutil.which("prlimit"):
        pytest.skip("takes root, setpriv and prlimit")
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one CPU")
    # The kernel frees the memory late, so each test has its own user.
    user = 50000 + random.SystemRandom().randrange(10000)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "dflockd"
        shutil.copy(BINARY, copy)
        copy.chmod(0o755)
        Path(folder).chmod(0o755)

        def command(kib, *flags):
            return ["prlimit", f"--memlock={kib * 1024}:{kib * 1024}", "setpriv",
                    f"--reuid={user}", f"--regid={user}", "--clear-groups", "--bounding-set=-all",
                    "--inh-caps=-all", str(copy), "--port=0", *flags]

        def end(kib, *flags):
            done = subprocess.run(command(kib, *flags), env=clean_environment(),
                                  capture_output=True, text=True, timeout=EXIT_SECONDS,
                                  check=False, stdin=subprocess.DEVNULL)
            assert_refused(done, "RLIMIT_MEMLOCK")

        yield command, end


@pytest.fixture
def accounted(limited):
    command, _ = limited
    probe = subprocess.Popen(command(NO_RING, "--threads=1"), env=clean_environment(),
                             stderr=subprocess.PIPE, text=True)
    first = probe.stderr.readline()
    probe.kill()
    probe.communicate()
    if "listening" in first:
        pytest.skip("this kernel does not count the memory of rings")
    return limited


@pytest.mark.parametrize("flags", [[], ["--threads=0"]], ids=["default", "0"])
def test_the_memory_limit_sets_the_number_of_workers(accounted, flags):
    command, _ = accounted
    cpus = len(os.sched_getaffinity(0))
    server = Server()
    server.command = command(ONE_RING, *flags)
    with server:
        with Client(server) as client:
            [line] = eventually(lambda: [line for line in server.log if "fewer workers" in line])
            assert "level=WARN" in line and f"workers=1 cpus={min(cpus, 64)} " in line
            assert "LimitMEMLOCK=" in line and f"limit={ONE_RING * 1024}" in line
            eventually(lambda: len(sleeps(server)) == 1)  # the other workers end
            token = client.acquire("key")
            assert client.call("r", "key", token) == "ok"
        server.terminate()
        assert server.wait() == 0


def test_a_requested_number_of_workers_that_does_not_fit_is_refused(accounted):
    _, end = accounted
    end(ONE_RING, "--threads=2")


def test_the_server_reports_missing_memory_for_one_worker(accounted):
    _, end = accounted
    end(NO_RING, "--threads=0")


@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOSYS, errno.EACCES])
def test_the_server_reports_missing_io_uring(error):
    done = run_server("--port=0", preexec=lambda: forbid_io_uring(error))
    assert_refused(done, "io_uring")


def test_the_server_listens_on_6388_by_default():
    host = unused_address()
    with ServerAsGiven("--host", host) as server:
        assert (server.host, server.port) == (host, 6388)


def notified(address, server_environment):
    """Returns the message of a ready server to the datagram socket at this address."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.settimeout(20)
        with Server(environment=server_environment) as server:
            message = listener.recv(4096)
            # A ready server accepts connections.
            with Client(server) as client:
                assert client.call("ping") == "ok"
    return message.decode()


def test_the_server_notifies_systemd_when_it_is_ready(tmp_path):
    path = str(tmp_path / "notify")
    message = notified(path, {"NOTIFY_SOCKET": path})
    assert "READY=1" in message.splitlines()


def test_the_server_notifies_systemd_by_an_abstract_socket():
    name = f"dflockd-test-{os.getpid()}"
    message = notified(f"\0{name}", {"NOTIFY_SOCKET": f"@{name}"})
    assert "READY=1" in message.splitlines()


@pytest.mark.parametrize("path", ["/nowhere/at/all", "relative", "@nobody-listens", ""])
def test_the_server_serves_without_its_notify_socket(path):
    with Server(environment={"NOTIFY_SOCKET": path}) as server, Client(server) as client:
        assert client.call("ping") == "ok"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_server_without_clients_with_status_0(number):
    with Server() as server:
        server.terminate(number)
        assert server.wait() == 0


def test_a_client_that_closes_during_a_reply_does_not_kill_the_server():
    with Server() as server:
        for _ in range(50):
            client = Client(server)
            client.send(b"stats\n_\n_\n" * 200)
            client.reset()
        with Client(server) as client:
            assert client.call("ping") == "ok"
        assert server.process.poll() is None
