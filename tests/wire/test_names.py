"""`name`: which characters a name may have, and that no name spoils a reply or the log."""

import json
import unicodedata

import pytest
from lib.server import Server
from lib.wire_client import Client, eventually, request
from test_log import LINE
from test_log_events import logged

SECRET = "adm1n"
BATCH = 2000  # requests in one send
CODE_POINTS = 0x110000
# Signs of category Cf that are seen: Python has no name for the set of the others.
SEEN = {*range(0x600, 0x606), 0x6dd, 0x70f, 0x890, 0x891, 0x8e2, 0x110bd, 0x110cd,
        *range(0x13430, 0x13440)}
# Letters and marks that nothing shows.
UNSEEN = {0x34f, 0x115f, 0x1160, 0x17b4, 0x17b5, *range(0x180b, 0x1810), 0x3164,
          *range(0xfe00, 0xfe10), 0xffa0, *range(0xe0000, 0xe1000), 0x2065, *range(0xfff0, 0xfff9)}


def printable(point):
    """Whether a name may have this code point, by Python's tables."""
    category = unicodedata.category(chr(point))
    if category == "Cf":
        return point in SEEN
    noncharacter = point & 0xfffe == 0xfffe or 0xfdd0 <= point <= 0xfdef
    return not (category in {"Cc", "Cs", "Zl", "Zp"} or noncharacter or point in UNSEEN)


def call_all(client, requests):
    """Sends batches of requests and returns a line for each."""
    replies = []
    for start in range(0, len(requests), BATCH):
        batch = requests[start:start + BATCH]
        client.send(b"".join(batch))
        replies += [client.read_line() for _ in batch]
    return replies


def test_a_name_has_the_characters_that_text_shows():
    points = [point for point in range(CODE_POINTS) if point != ord("\n")]
    names = [b"a" + chr(point).encode("utf-8", "surrogatepass") + b"b" for point in points]
    with Server() as server, Client(server) as client:
        replies = call_all(client, [request("name", "_", name) for name in names])
    wrong = [f"U+{point:04X}" for point, reply in zip(points, replies, strict=True)
             if reply != (b"ok\n" if printable(point) else b"error\n")]
    assert not wrong, f"{len(wrong)}: {wrong[:50]}"


def test_a_name_has_no_byte_that_is_not_utf_8():
    names = [bytes([first, second]) for first in range(0x80, 0x100) for second in range(0x100)
             if second != ord("\n")]
    names += [bytes([first, 0x80 + (first & 0x3f), second, 0xbf]) for first in range(0xe0, 0x100)
              for second in range(0x80, 0x100)]

    def valid(name):
        try:
            return all(printable(ord(sign)) for sign in name.rstrip(b"\r \t\v\f").decode())
        except UnicodeDecodeError:
            return False

    with Server() as server, Client(server) as client:
        replies = call_all(client, [request("name", "_", name) for name in names])
    wrong = [name for name, reply in zip(names, replies, strict=True)
             if reply != (b"ok\n" if valid(name) else b"error\n")]
    assert not wrong, f"{len(wrong)}: {wrong[:50]}"


def quoted(text):
    """As the log quotes a name."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@pytest.mark.parametrize("key", [b"key", b"\xff" * 256, b'"\\' * 128, bytes(range(33, 256)),
                                 b"\x00\x01\x1b[2J\x7f level=ERROR".replace(b" ", b"=")], ids=ascii)
@pytest.mark.parametrize("holder, administrator", [
    ('"' * 128, "\\" * 128), ('x" level=ERROR msg="grant revoked', "name=root conn=1"),
    ("é" * 64, "日本" * 21), ("-", "=")])
def test_a_revocation_is_one_line_that_names_all(key, holder, administrator):
    with Server("--admin-token", SECRET) as server, Client(server) as first, \
            Client(server) as second:
        assert first.call("name", "_", holder) == "ok"
        assert second.call("auth", "_", SECRET) == "ok"
        assert second.call("name", "_", administrator) == "ok"
        fence = first.acquire(key, "0 60")[:16]
        shown = json.loads(second.call("show", key, "l")[3:])
        assert shown["holders"][0]["name"] == holder
        assert shown["key"] == key.decode(errors="replace")
        assert second.call("revoke", key, f"l {fence}") == "ok"
        line = logged(server, "grant revoked", fence=fence)
        assert LINE.fullmatch(line) and " level=WARN " in line
        number = shown["holders"][0]["connection"]
        hosts = ["%s:%d" % client.socket.getsockname() for client in (first, second)]
        assert f" kind=lock fence={fence} holder_conn={number} holder_addr={hosts[0]} " in line
        assert f" conn={3 - number} addr={hosts[1]} " in line
        names = [value if value == "-" else quoted(value) for value in (holder, administrator)]
        if not all(value.isascii() for value in (holder, administrator)):
            names = [holder, administrator]
        assert line.endswith(f" holder_name={names[0]} name={names[1]}\n")
        second.send(request("ping"))
        assert second.read_line() == b"ok\n"
        eventually(lambda: sum("grant revoked" in line for line in server.log) == 1)


def test_the_log_names_a_revoke_without_rights():
    with Server("--auth-token", "client", "--admin-token", SECRET) as server, \
            Client(server) as client:
        assert client.call("auth", "_", "client") == "ok"
        fence = client.acquire("key", "0 60")[:16]
        assert client.call("revoke", "key", f"l {fence}") == "error"
        line = logged(server, "request refused", conn="1",
                      addr="%s:%d" % client.socket.getsockname(),
                      reason="revoke from a connection without the administrator's secret")
        assert " level=WARN " in line
        assert not [line for line in server.log if "grant revoked" in line]
