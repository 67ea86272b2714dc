"""Plays a transcript to a running server."""

import random
import re
import ssl
import time

from lib.wire_client import CLOSED, SILENCE, TIMEOUT_S, Client, eventually
from transcript import pipelined

STYLES = ("as written", "byte by byte", "pipelined")
QUIET = 0.12       # seconds without a byte that count as "blocked"
ALREADY = 0.5      # seconds to read a line that has arrived already
BYTES_APART = 600  # a longer send is cut at a few places only
CUTS = 6


class Difference(AssertionError):
    """The server's output differs from the transcript."""

    def __init__(self, transcript, step, received):
        shown = received.decode("latin-1").rstrip("\n") if isinstance(received, bytes) else received
        self.step = step
        self.received = re.sub(r"\b[0-9a-f]{32}\b", "TOKEN", shown)[:500]
        super().__init__(f"transcripts/{transcript.name}.txt:{step.number}: {step.source}\n"
                         f"received: {shown[:500]}\nrule: {transcript.rule}")


class Conversation:
    """Plays a transcript once. `seed` decides where sends are cut; `timeout` is in seconds."""

    def __init__(self, transcript, server, style="as written", seed=0, timeout=TIMEOUT_S):
        self.transcript = transcript
        self.server = server
        self.style = style
        self.random = random.Random(seed)
        self.timeout = timeout
        self.clients = {}
        self.captures = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for client in self.clients.values():
            client.close()

    def play(self):
        steps = self.transcript.steps
        if self.style == "pipelined":
            steps = pipelined(steps)
        for step in steps:
            ACTIONS[step.verb](self, step)

    def client(self, step):
        if step.who not in self.clients:
            self.clients[step.who] = Client(self.server)
        return self.clients[step.who]

    def differs(self, step, received):
        raise Difference(self.transcript, step, received)

    def send(self, step):
        client = self.client(step)
        data = b"".join(text.bytes(self.captures) for text in step.texts)
        if self.style != "byte by byte":
            client.send(data)
        elif len(data) <= BYTES_APART:
            for position in range(len(data)):
                client.send(data[position:position + 1])
                time.sleep(0.0002)
        else:
            cuts = sorted(self.random.sample(range(1, len(data)), CUTS))
            for begin, end in zip([0] + cuts, cuts + [len(data)]):
                client.send(data[begin:end])
                time.sleep(0.002)

    def expect(self, step, seconds=None):
        received = self.client(step).read_line(seconds or self.timeout)
        if not isinstance(received, bytes) or not step.texts[0].match(received, self.captures):
            self.differs(step, received)

    def expect_already(self, step):
        self.expect(step, ALREADY)

    def quiet(self, step):
        received = self.client(step).read_line(float(step.rest or QUIET))
        if received != SILENCE:
            self.differs(step, received)

    def refused(self, step):
        try:
            client = Client(self.server)
        except ConnectionRefusedError:
            return
        client.close()
        self.differs(step, "(connected)")

    def closed(self, step):
        received = self.client(step).read_line(self.timeout)
        if received != CLOSED:
            self.differs(step, received)

    def fin(self, step):
        self.client(step).fin()

    def gone(self, step):
        self.client(step).close()

    def reset(self, step):
        self.client(step).reset()

    def sleep(self, step):
        time.sleep(float(step.rest))

    def rising(self, step):
        tokens = [self.captures[name[1:]] for name in step.rest.split()]
        fences = [int(token[:16], 16) for token in tokens]
        if fences != sorted(set(fences)):
            self.differs(step, b" ".join(tokens))

    def terminate(self, step):
        self.server.terminate()
        eventually(self._refuses)

    def _refuses(self):
        """The server accepts no connection."""
        try:
            self.server.connect().close()
        except ConnectionError:
            return True
        except ssl.SSLError:  # it was accepted before the server closed it
            return False
        return False

    def kill(self, step):
        self.server.terminate()

    def exits(self, step):
        status = self.server.wait()
        if step.rest and status != int(step.rest):
            self.differs(step, f"exit status {status}")


ACTIONS = {
    ">": Conversation.send, ">>": Conversation.send,
    "<": Conversation.expect, "<<": Conversation.expect_already, ".": Conversation.quiet,
    "connect": Conversation.client, "refused": Conversation.refused,
    "closed": Conversation.closed, "fin": Conversation.fin, "gone": Conversation.gone,
    "reset": Conversation.reset, "sleep": Conversation.sleep, "rising": Conversation.rising,
    "terminate": Conversation.terminate, "kill": Conversation.kill, "exits": Conversation.exits,
}
