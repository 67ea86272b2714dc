"""TLS does not change the protocol; broken, hostile or slow clients do not disturb others."""

import os
import random
import re
import signal
import socket
import ssl
import subprocess
import time
from pathlib import Path

import pytest
import transcript
from conversation import STYLES, Conversation
from lib.certificates import DAY, Authority
from lib.server import Server
from lib.tls import VERSIONS, TlsServer, client_context
from lib.wire_client import CLOSED, Client, eventually, request, settle
from startup import assert_refused, run_server
from test_transcripts import PATHS, leaves_nothing

GRANT = re.compile(r"ok [0-9a-f]{32} 33")
HANDSHAKES_MAX = 1024  # of src/server/transport.c
PING = request("ping")
# A client that the server refuses without a byte cannot do a handshake.
OVER_TLS = [path for path in PATHS if path.stem != "connections-max"]


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def pair(authority):
    return authority.issue("server")


@pytest.fixture
def server(pair, authority):
    with TlsServer(pair, "--debug", "--read-timeout=5", "--shutdown-timeout=1",
                   authority=authority) as server:
        yield server
        server.terminate()
        assert server.wait() == 0, "".join(server.log)  # a sanitizer looks for leaks at the exit


def plain_end(server, data):
    """Returns the server's output to a client without TLS that sends `data`."""
    with server.connect_plain() as plain:
        received = b""
        try:
            plain.sendall(data)
            plain.shutdown(socket.SHUT_WR)
            while piece := plain.recv(4096):
                received += piece
        except ConnectionError:
            pass
        return received


def works(server):
    with Client(server) as client:
        return client.call("ping") == "ok"


# ---- the protocol over TLS ----

@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("path", OVER_TLS, ids=lambda path: path.stem)
def test_transcript_over_tls(path, style, seed, pair):
    # The transcripts alternate between the versions.
    version = list(VERSIONS)[(len(path.stem) + STYLES.index(style)) % 2]
    script = transcript.read(path)
    with TlsServer(pair, *script.server_flags, version=version) as server:
        with Conversation(script, server, style, seed) as conversation:
            conversation.play()
        if leaves_nothing(script):
            settle(server)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_either_kind_of_key_serves_either_version(authority, kind, version):
    with TlsServer(authority.issue(f"{kind}{version}", kind), version=version,
                   authority=authority) as server:
        with Client(server) as client:
            assert GRANT.fullmatch(client.call("l", "key", "0"))
            assert client.socket.tls.version() == f"TLSv{version}"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_of_single_bytes_is_served(pair, version):
    with TlsServer(pair, version=version, piece=1) as server, Client(server) as client:
        token = client.acquire("key")
        assert client.call("r", "key", token) == "ok"
        client.fin()
        assert client.read_line() == CLOSED


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_cut_at_any_byte_leaves_nothing(server, authority, version):
    context = client_context(authority, version)
    with server.connect(context=context) as whole:
        whole.sendall(request("l", "key", "0"))
        assert whole.recv(100).startswith(b"ok ")
        length = len(whole.sent)
    for cut in range(0, length, 7):
        plain = server.connect_plain()
        cutting = Cut(plain, cut)
        try:
            with type(whole)(cutting, context) as client:
                client.sendall(request("l", "key", "0"))
        except (ssl.SSLError, OSError):
            pass
        plain.close()
    settle(server)


class Cut:
    """A socket that closes after `count` sent bytes."""

    def __init__(self, plain, left):
        self.plain = plain
        self.left = left

    def sendall(self, data):
        self.plain.sendall(data[:self.left])
        self.left -= len(data)
        if self.left < 0:
            self.plain.close()
            raise ConnectionAbortedError

    def __getattr__(self, name):
        return getattr(self.plain, name)


@pytest.mark.parametrize("version", VERSIONS)
def test_large_transfers_work_in_both_directions(server, authority, version):
    """Records of any size, thousands of replies, and stats of many records."""
    with Client(server) as client:
        for number in range(900):
            client.send(request("l", f"key-{number:0200}", "0"))
        assert all(client.read_line().startswith(b"ok ") for _ in range(900))
        assert len(client.stats()["locks"]) == 900
    with server.connect(context=client_context(authority, version)) as tls:
        tls.sendall(PING * 20000)
        received = 0
        while received < 20000 * 3:
            received += len(tls.recv(1 << 16))


def test_a_client_that_does_not_read_is_closed_after_the_write_timeout(pair):
    with TlsServer(pair, "--write-timeout=1") as server:
        reader = server.connect()
        reader.settimeout(30)
        with pytest.raises((ConnectionError, TimeoutError)):
            while True:
                reader.sendall(request("stats") * 2000)
        settle(server)
        reader.close()


def test_the_server_requires_auth_within_tls(pair):
    with TlsServer(pair, "--auth-token", "s3cret") as server:
        with Client(server) as client:
            assert client.call("auth", "_", "s3cret") == "ok"
            assert client.call("ping") == "ok"
        with Client(server) as client:
            assert client.call("auth", "_", "wrong") == "error_auth"
            assert client.read_line() == CLOSED
        with Client(server) as client:
            client.fin()
            assert client.read_line() == b"error_auth\n"


# ---- closing ----

@pytest.mark.parametrize("version", VERSIONS)
def test_the_server_answers_everything_before_its_close_notify(server, authority, version):
    tls = server.connect(context=client_context(authority, version))
    tls.sendall(PING * 3)
    with pytest.raises(ssl.SSLWantReadError):
        tls.tls.unwrap()
    tls._flush()
    received = b""
    while piece := tls.recv(100):
        received += piece
    assert received == b"ok\n" * 3
    tls.close()


@pytest.mark.parametrize("end", ["close-notify", "fin", "reset"])
def test_the_end_of_input_cancels_a_waiter(server, end):
    with Client(server) as holder:
        token = holder.acquire("key")
        waiter = Client(server)
        waiter.send(request("l", "key", "60"))
        eventually(lambda: holder.stats()["locks"][0]["waiters"] == 1)
        if end == "close-notify":
            with pytest.raises(ssl.SSLWantReadError):
                waiter.socket.tls.unwrap()
            waiter.socket._flush()
        elif end == "fin":
            waiter.socket.plain.shutdown(socket.SHUT_WR)
        else:
            waiter.reset()
        eventually(lambda: holder.stats()["locks"][0]["waiters"] == 0)
        assert holder.call("r", "key", token) == "ok"
        waiter.close()


def test_an_end_without_close_notify_releases_the_locks(server):
    client = Client(server)
    client.acquire("key")
    client.socket.plain.shutdown(socket.SHUT_WR)
    with Client(server) as other:
        assert GRANT.fullmatch(other.call("l", "key", "20"))
    client.close()


def test_a_draining_server_answers_within_tls(pair):
    with TlsServer(pair) as server, Client(server) as holder, Client(server) as waiter:
        token = holder.acquire("key")
        waiter.send(request("l", "key", "60"))
        eventually(lambda: holder.stats()["locks"][0]["waiters"] == 1)
        server.terminate()
        assert waiter.read_line() == b"error_draining\n"
        assert holder.call("r", "key", token) == "ok"
        assert holder.call("ping") == "error_draining"
        assert holder.read_line() == CLOSED
        waiter.fin()
        assert server.wait() == 0


def test_an_idle_connection_gets_an_error_and_a_close_notify(pair):
    with TlsServer(pair, "--read-timeout=1") as server, Client(server) as client:
        assert client.read_line() == b"error\n"
        assert client.read_line() == CLOSED


# ---- resumed sessions ----

@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_can_be_resumed(server, authority, version):
    context = client_context(authority, version)
    first = server.connect(context=context)
    first.sendall(PING)
    assert first.recv(10) == b"ok\n"
    with server.connect(context=context, session=first.tls.session) as second:
        assert second.tls.session_reused
        second.sendall(PING)
        assert second.recv(10) == b"ok\n"
    first.close()


# ---- broken and hostile clients ----

@pytest.mark.parametrize("data", [
    PING, b"\n", b"GET / HTTP/1.1\r\n\r\n", b"\x80\x2e\x01\x00\x02", b"\x00" * 3000,
    b"\x16\x03\x01\xff\xff" + b"x" * 70000, b"\x16\x03\x01\x00\x00", b"\x16" * 100,
    b"\x16\x03\x01\x00\x04\x01\xff\xff\xff", b"\x16\x03\x03\x00\x04\x01\x00\x00\x00"], ids=ascii)
def test_a_client_without_tls_is_closed_and_no_other(server, data):
    with Client(server) as other:
        received = plain_end(server, data)
        assert not received or (data[0] == 0x16 and received[0] == 0x15 and len(received) <= 14)
        assert other.call("ping") == "ok"
    settle(server)


def output_or_refused(tls):
    try:
        return tls.recv(10)
    except (ssl.SSLError, ConnectionError):
        return b""


@pytest.mark.parametrize("version", VERSIONS)
def test_a_record_with_any_bit_changed_is_not_served(server, authority, version):
    """Except the first byte in 1.3: GnuTLS uses the type inside the ciphertext."""
    context = client_context(authority, version)
    with server.connect(context=context) as tls:
        length = len(tls.encrypt(PING))
    for place in range(1 if version == "1.3" else 0, length):
        for bit in range(8):
            with server.connect(context=context) as tls:
                data = bytearray(tls.encrypt(PING))
                data[place] ^= 1 << bit
                tls.plain.sendall(data)
                tls.plain.shutdown(socket.SHUT_WR)
                assert output_or_refused(tls) == b"", (place, bit)
    settle(server)


def test_random_bytes_behind_a_first_byte_of_tls_are_refused(server, seed):
    dice = random.Random(seed)
    for _ in range(100):
        plain_end(server, b"\x16\x03" + dice.randbytes(dice.randrange(2000)))
    settle(server)


@pytest.mark.parametrize("version", VERSIONS)
def test_any_alert_may_end_a_handshake(server, version):
    """Before the key exchange anyone can send an alert of any level and kind."""
    for level in (1, 2, 255):
        for kind in range(256):
            outgoing = ssl.MemoryBIO()
            hello = client_context(version=version).wrap_bio(ssl.MemoryBIO(), outgoing)
            with pytest.raises(ssl.SSLWantReadError):
                hello.do_handshake()
            plain_end(server, outgoing.read() + bytes([0x15, 3, 3, 0, 2, level, kind]))
    settle(server)


def test_old_versions_are_refused(server):
    for version in "-tls1", "-tls1_1":
        done = subprocess.run(
            ["openssl", "s_client", version, "-cipher", "ALL:@SECLEVEL=0", "-connect",
             f"127.0.0.1:{server.port}"], input=b"", capture_output=True, timeout=20, check=False)
        assert b"Cipher is (NONE)" in done.stdout
    assert works(server)


def test_renegotiation_is_refused(server):
    with subprocess.Popen(
            ["openssl", "s_client", "-tls1_2", "-connect", f"127.0.0.1:{server.port}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as client:
        client.stdin.write(b"R\n")
        client.stdin.flush()
        received, _ = client.communicate(timeout=20)
    assert b"RENEGOTIATING" in received
    assert re.search(b"no renegotiation|handshake failure", received)
    assert works(server)


def test_a_handshake_that_exceeds_the_read_timeout_is_closed(pair):
    """The time counts from the accept, and single bytes do not extend it."""
    with TlsServer(pair, "--read-timeout=2") as server, server.connect_plain() as slow:
        start = time.monotonic()
        try:
            for byte in b"\x16\x03\x01\x01\x00" + b"\x01" * 200:
                slow.sendall(bytes([byte]))
                time.sleep(0.1)
        except ConnectionError:
            pass
        assert 1.8 < time.monotonic() - start < 4
        with Client(server) as client:
            assert client.call("ping") == "ok"


def test_the_oldest_handshake_ends_beyond_the_limit(pair):
    with TlsServer(pair, "--threads=1") as server, Client(server) as other:
        connections = []
        try:
            for _ in range(HANDSHAKES_MAX + 100):
                connections.append(server.connect_plain())
                connections[-1].sendall(b"\x16\x03\x01\x02")
            first, last = connections[0], connections[-1]
            assert plain_closed(first, 10) and not plain_closed(last, 0.2)
            assert works(server) and other.call("ping") == "ok"
            assert other.stats()["connections"] <= HANDSHAKES_MAX + 2
        finally:
            for plain in connections:
                plain.close()
        settle_with(other)


def plain_closed(plain, seconds):
    plain.settimeout(seconds)
    try:
        return plain.recv(100) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def settle_with(client):
    eventually(lambda: client.stats()["connections"] == 1)


class Handshake:
    """A client's side of a handshake, step by step."""

    def __init__(self, server):
        self.plain = server.connect_plain()
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = client_context().wrap_bio(self.incoming, self.outgoing)

    def greet(self):
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.do_handshake()
        self.plain.sendall(self.outgoing.read())

    def end_with(self, data):
        """Sends the rest of the handshake, `data` and close-notify at once."""
        while True:
            self.incoming.write(self.plain.recv(1 << 16))
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                assert not self.outgoing.pending
        self.tls.write(data)
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.unwrap()
        self.plain.sendall(self.outgoing.read())
        self.plain.shutdown(socket.SHUT_WR)

    def read_all(self):
        """Returns the server's output until close-notify."""
        received = b""
        while piece := self.plain.recv(1 << 16):
            self.incoming.write(piece)
        self.incoming.write_eof()
        while True:
            try:
                received += self.tls.read(1 << 16)
            except (ssl.SSLZeroReturnError, ssl.SSLWantReadError):
                return received


def test_many_simultaneous_handshakes_are_all_served(server):
    """Each client sends requests and the end of input with the last step of its handshake."""
    count = 300
    with Client(server) as other:
        handshakes = [Handshake(server) for _ in range(count)]
        try:
            for one in handshakes:
                one.greet()
            assert other.call("ping") == "ok"
            for one in handshakes:
                one.end_with(PING * 3 + request("l", "handshakes", "0") + b"nonsense")
            assert other.call("ping") == "ok"
            received = [one.read_all() for one in handshakes]
        finally:
            for one in handshakes:
                one.plain.close()
        assert all(text.startswith(b"ok\nok\nok\n") for text in received)
        assert sum(b"ok " in text for text in received) >= 1
        settle_with(other)


def test_large_input_right_behind_a_handshake_is_served(server):
    """More than the server reads before the end of the handshake."""
    one = Handshake(server)
    one.greet()
    one.end_with(PING * 100000)
    assert one.read_all() == b"ok\n" * 100000
    one.plain.close()


# ---- clients with certificates ----

@pytest.fixture(scope="session")
def other_authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("other"), "other")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_must_show_a_certificate_of_the_authority(authority, pair, other_authority,
                                                           version):
    right = authority.issue(f"client{version}", usage="clientAuth")
    others = [None, other_authority.issue(f"other{version}", usage="clientAuth"),
              authority.issue(f"server-only{version}", usage="serverAuth"),
              authority.issue(f"old{version}", usage="clientAuth", ends=-60)]
    with TlsServer(pair, "--tls-client-ca", str(authority.certificate), version=version,
                   authority=authority, client=right) as server:
        assert works(server)
        for other in others:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                with server.connect(context=client_context(authority, version, other)) as tls:
                    tls.sendall(PING)
                    pytest.fail(f"accepted, and replied {tls.recv(10)}")
        assert works(server)


# ---- reloading certificates ----

def name_of(server):
    with server.connect() as tls:
        return dict(field[0] for field in tls.tls.getpeercert()["subject"])["commonName"]


def wait_for_log(server, text):
    return eventually(lambda: any(text in line for line in server.log))


def test_sighup_loads_new_certificates_and_keeps_connections(tmp_path, authority):
    place, new = authority.issue("place"), authority.issue("new", "rsa")
    with TlsServer(place, authority=authority) as server:
        with Client(server) as old, Client(server) as waiter:
            token = old.acquire("key")
            waiter.send(request("l", "key", "60"))
            assert name_of(server) == "place"
            place.replace(new)
            server.terminate(signal.SIGHUP)
            wait_for_log(server, "certificate reloaded")
            assert name_of(server) == "new"
            assert old.call("r", "key", token) == "ok"
            assert waiter.read_line().startswith(b"ok ")
            place.certificate.unlink()
            os.mkfifo(place.certificate)  # a FIFO, which the server must not wait for
            server.terminate(signal.SIGHUP)
            wait_for_log(server, "the old one stays")
            assert name_of(server) == "new"
            assert old.call("ping") == "ok"


def test_the_server_reloads_certificates_under_load(authority):
    place, pairs = authority.issue("turning"), [authority.issue("one"), authority.issue("two")]
    with TlsServer(place, authority=authority) as server, Client(server) as old:
        for turn in range(40):
            place.certificate.write_bytes(pairs[turn % 2].certificate.read_bytes())
            place.key.write_bytes(pairs[turn % 2].key.read_bytes())
            server.terminate(signal.SIGHUP)
            assert works(server) and old.call("ping") == "ok"


def test_sighup_without_tls_is_harmless():
    with Server() as server:
        with Client(server) as client:
            server.terminate(signal.SIGHUP)
            wait_for_log(server, "nothing to reload")
            assert client.call("ping") == "ok"
        server.terminate()
        assert server.wait() == 0


# ---- refusals at the start ----

def start(certificate, key, *more):
    return run_server("--port=0", f"--tls-cert={certificate}", f"--tls-key={key}", *more)


def test_the_server_names_unusable_files(tmp_path, authority, pair):
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("-----BEGIN NOTHING-----\n")
    empty = tmp_path / "empty"
    empty.touch()
    pipe = tmp_path / "pipe"  # a FIFO without a writer, on which open() would wait
    os.mkfifo(pipe)
    for bad in nonsense, empty, tmp_path / "missing", tmp_path, pipe:
        assert_refused(start(bad, pair.key), str(bad))
        assert_refused(start(pair.certificate, bad), str(bad))
        assert_refused(start(pair.certificate, pair.key, f"--tls-client-ca={bad}"), str(bad))
    assert "No such file" in start(tmp_path / "missing", pair.key).stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_the_server_names_an_unreadable_file(tmp_path, pair):
    secret = tmp_path / "secret"
    secret.write_bytes(pair.key.read_bytes())
    secret.chmod(0)
    done = start(pair.certificate, secret)
    assert_refused(done, str(secret))
    assert "ermission" in done.stderr


def test_a_key_of_another_certificate_is_refused(authority, pair):
    done = start(pair.certificate, authority.issue("other").key)
    assert_refused(done)
    assert "is not the key of" in done.stderr


def test_an_encrypted_key_is_refused(tmp_path, pair):
    locked = tmp_path / "locked.key"
    subprocess.run(["openssl", "pkcs8", "-topk8", "-in", pair.key, "-out", locked, "-passout",
                    "pass:x"], check=True, capture_output=True)
    done = start(pair.certificate, locked)
    assert_refused(done, str(locked))
    assert "encrypted" in done.stderr


def test_an_expired_or_future_certificate_is_refused(authority):
    old, early = authority.issue("old", ends=-60), authority.issue("early", begins=DAY // 2)
    for late, said_so in (old, "expired at 20"), (early, "not valid before 20"):
        done = start(late.certificate, late.key)
        assert_refused(done, str(late.certificate))
        assert said_so in done.stderr


@pytest.mark.parametrize("flag, variable", [
    ("tls-cert", "TLS_CERT"), ("tls-key", "TLS_KEY"), ("tls-client-ca", "TLS_CLIENT_CA")])
def test_one_file_without_the_other_is_refused(authority, pair, flag, variable):
    path = str(pair.key if flag == "tls-key" else pair.certificate)
    assert_refused(run_server("--port=0", f"--{flag}={path}"), f"--{flag}")
    assert_refused(run_server("--port=0", environment={f"DFLOCKD_{variable}": path}),
                   f"DFLOCKD_{variable}")


def test_variables_can_name_the_files(authority, pair):
    environment = {"DFLOCKD_TLS_CERT": str(pair.certificate), "DFLOCKD_TLS_KEY": str(pair.key)}
    with Server(environment=environment) as server, \
            client_context(authority).wrap_socket(server.connect(),
                                                  server_hostname="localhost") as tls:
        tls.sendall(PING)
        assert tls.recv(10) == b"ok\n"


def test_no_log_line_contains_the_private_key(tmp_path, pair):
    with TlsServer(pair, "--debug") as server:
        assert works(server)
        server.terminate(signal.SIGHUP)
        wait_for_log(server, "certificate reloaded")
        log = "".join(server.log)
    secret = [line for line in Path(pair.key).read_text().splitlines() if "-----" not in line]
    assert secret and not any(line in log for line in secret)
