"""The language of transcripts: its sends, its comparisons, and that it detects differences.

A stand-in server replies from a list, so that replies can be wrong.
"""

import socket
import socketserver
import struct
import threading

import pytest
import transcript
from conversation import Conversation, Difference
from lib.wire_client import Client
from transcript import Text, TranscriptError, parse, pipelined

TOKEN = b"0123456789abcdef0123456789abcdef"


class ReplyingServer:
    """Answers each third line with the next of `replies`; None closes. Records its input."""

    def __init__(self, *replies):
        self.lines = []
        pending = list(replies)
        lines = self.lines

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                while line := self.rfile.readline():
                    lines.append(line)
                    if len(lines) % 3 == 0:
                        reply = pending.pop(0)
                        if reply is None:
                            return
                        self.wfile.write(reply)

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def connect(self):
        return socket.create_connection(self.server.server_address, timeout=20)


def play(steps, *replies, style="as written"):
    with ReplyingServer(*replies) as server:
        script = parse("# a rule\n" + steps, "script")
        with Conversation(script, server, style, timeout=0.5) as conversation:
            conversation.play()
        return b"".join(server.lines)


@pytest.mark.parametrize("source, sent", [
    ("l key 10", b"l\nkey\n10\n"),
    ("l key 10 20", b"l\nkey\n10 20\n"),
    ("ping", b"ping\n\n\n"),
    ("", b"\n\n\n"),
    ("l |  | 10", b"l\n\n10\n"),
    (r"l | a\sb | \s1", b"l\na b\n 1\n"),
    (r"l | a\|b | 1", b"l\na|b\n1\n"),
    (r"l {\xff*3}{k*2} {\s*2}1", b"l\n\xff\xff\xffkk\n  1\n"),
    (r"l \x00\r\t\\n é", b"l\n\x00\r\t\\n\n\xc3\xa9\n"),
])
def test_a_transcript_sends_a_request_as_written(source, sent):
    assert Text(transcript.request(source)).bytes({}) == sent


def test_a_transcript_sends_a_token_as_captured():
    assert Text("r $t ${t}0 {$*2}").bytes({"t": TOKEN}) == b"r " + TOKEN + b" " + TOKEN + b"0 $$"
    assert Text("l ${t.fence}").bytes({"t": TOKEN}) == b"l " + TOKEN[:16]
    for unknown in "r $t", "l ${t.fence}", "l %d":
        with pytest.raises(TranscriptError):
            Text(unknown).bytes({})


@pytest.mark.parametrize("source, line, same", [
    ("ok", b"ok\n", True),
    ("ok", b"ok\r\n", False),
    ("ok", b"ok", False),
    ("ok", b"ok \n", False),
    ("ok $t 33", b"ok " + TOKEN + b" 33\n", True),
    ("ok $t 33", b"ok " + TOKEN + b" 34\n", False),
    ("ok $t 33", b"ok " + TOKEN.upper() + b" 33\n", False),
    ("ok $t 33", b"ok " + TOKEN[1:] + b" 33\n", False),
    ("ok $known", b"ok " + b"f" * 32 + b"\n", True),
    ("ok $known", b"ok " + TOKEN + b"\n", False),
    ("ok ${known.fence}", b"ok " + b"f" * 16 + b"\n", True),
    ("ok ${known.fence}", b"ok " + b"f" * 32 + b"\n", False),
    ('{"a":%d,"b":%f}', b'{"a":12,"b":0.5}\n', True),
    ('{"a":%d,"b":%f}', b'{"a":1.5,"b":0.5}\n', False),
    ('{"a":%d,"b":%f}', b'{"a":12,"b":x}\n', False),
])
def test_a_transcript_compares_a_line_byte_for_byte(source, line, same):
    assert Text(source).match(line, {"known": b"f" * 32}) is same


@pytest.mark.parametrize("source", [
    "A> l | key", r"A> l k\ey 1", "A said nothing", "a> l key 1", "wait 3", "A= ok"])
def test_a_transcript_with_an_unknown_line_is_refused(source):
    with pytest.raises(TranscriptError):
        parse("# a rule\n" + source, "script")


def test_a_transcript_must_name_its_rule():
    with pytest.raises(TranscriptError):
        parse("A> ping\n", "script")


def test_all_styles_send_the_same_bytes():
    steps = "A> l key 0\nA< ok $t 33\nA> r key $t\nA< ok\nA> l {k*700} 0\nA< error\n"
    replies = [b"ok " + TOKEN + b" 33\n", b"ok\n", b"error\n"]
    sent = {play(steps, *replies, style=style) for style in
            ("as written", "byte by byte", "pipelined")}
    assert sent == {b"l\nkey\n0\nr\nkey\n" + TOKEN + b"\nl\n" + b"k" * 700 + b"\n0\n"}


def test_pipelining_merges_sends_up_to_an_unknown_token_or_another_event():
    script = parse("# a rule\nA> a\nA< ok $t\nA> b\nA< ok\nA> c $t\nA< ok\nA> d\nB> e\nA> f\n"
                   "A.\nA> g\n", "script")
    assert [step.source for step in pipelined(script.steps)] == [
        "A> a + A> b", "A< ok $t", "A< ok", "A> c $t + A> d", "A< ok", "B> e", "A> f", "A.",
        "A> g"]


@pytest.mark.parametrize("steps, reply, received", [
    ("A> ping\nA< ok\n", b"error\n", "error"),
    ("A> ping\nA< ok\n", b"ok", "(silence)"),
    ("A> ping\nA< ok\n", b"", "(silence)"),
    ("A> ping\nA< ok\n", None, "(closed)"),
    ("A> ping\nA<< ok\n", b"", "(silence)"),
    ("A> ping\nA< ok\nA.\n", b"ok\nok\n", "ok"),
    ("A> ping\nA.\n", None, "(closed)"),
    ("A> ping\nA closed\n", b"ok\n", "ok"),
    ("A> ping\nA closed\n", b"", "(silence)"),
    ("A refused\n", b"", "(connected)"),
    ("A> l key 0\nA< ok $t\nA> l key 0\nA< ok $t\n", b"ok " + TOKEN + b"\n", "ok TOKEN"),
    ("A> l key 0\nA< ok $a $b\nrising $a $b\n", b"ok " + TOKEN + b" " + TOKEN + b"\n",
     "TOKEN TOKEN"),
    ("A> l key 0\nA< ok $a $b\nrising $b $a\n", b"ok " + TOKEN + b" " + b"1" * 32 + b"\n",
     "TOKEN TOKEN"),
])
def test_a_difference_is_noticed(steps, reply, received):
    with pytest.raises(Difference) as raised:
        play(steps, reply, b"ok " + b"f" * 32 + b"\n")
    assert raised.value.received == received


class ClosingServer:
    """Accepts one connection and ends it by a reset or an orderly close."""

    def __init__(self, linger):
        self.linger = linger
        self.listener = socket.create_server(("127.0.0.1", 0))

    def connect(self):
        near = socket.create_connection(self.listener.getsockname(), timeout=20)
        far, _ = self.listener.accept()
        self.listener.close()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", self.linger, 0))
        far.close()
        return near


@pytest.mark.parametrize("linger, end", [(0, "(closed)"), (1, "(reset)")])
def test_the_client_distinguishes_a_reset_from_a_close(linger, end):
    with Client(ClosingServer(linger)) as client:
        assert client.read_line() == end
