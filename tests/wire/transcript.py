r"""The language of the transcripts: what connections send, and what they must receive.

A transcript starts with `#` lines that state the rule, then has an optional line with flags

    server: --max-locks 2

and then one event per line. Without `--threads` the server has one worker. Connections have
capitals as names, and open at their first event.

    A> l key 10                     send a request: command, key, and the rest is the arg
    A> l | key | 10                 the same; fields between bars may be empty
    A>> l\nkey\n                    send these bytes and nothing else
    A< ok $t 33                     the next line is this one
    A<< error                       this line has arrived already
    A. [0.5]                        nothing arrives for these seconds
    A connect                       open now
    A refused                       the server accepts no connection
    A closed                        the server closes, without reset or further bytes
    A fin                           shut down writing, but still read
    A gone                          close
    A reset                         close with a reset
    sleep 1.2
    rising $a $b                    the fences of the tokens rise
    terminate                       SIGTERM; continue after the server refuses connections
    kill                            SIGTERM; continue at once
    exits 0                         the server ends with this status (any without a number)

In texts, `\n \r \t \\ \$ \| \{ \%` and `\x00` are single bytes, `\s` is a blank,
and `{k*256}` is `k` 256 times. `$t` is a token: first expected, it matches any 32 lower-case hex
digits; afterwards it means those (`${t}0` if a digit follows), and `${t.fence}` its fence. In
expected lines `%d` matches a whole number, `%f` any number, and `%a` the address of a connection.
"""

import re
import shlex
from dataclasses import dataclass, field

TRAFFIC = re.compile(r"(?P<who>[A-Z][a-z0-9]*)(?P<verb>>>|>|<<|<|\.)(?: (?P<rest>.*))?")
EVENT = re.compile(r"(?P<who>[A-Z][a-z0-9]*) (?P<verb>connect|refused|closed|fin|gone|reset)")
COMMAND = re.compile(r"(?P<verb>sleep|rising|terminate|kill|exits)(?: (?P<rest>.*))?")
PIECE = re.compile(
    r"\{(?P<unit>\\x[0-9a-f]{2}|\\?.)\*(?P<times>\d+)\}"
    r"|\\x(?P<hex>[0-9a-f]{2})|\\(?P<escape>.)"
    r"|\$(?:(?P<name>\w+)|\{(?P<braced>\w+)(?P<fence>\.fence)?\})|%(?P<number>[dfa])")
ESCAPES = {"n": b"\n", "r": b"\r", "t": b"\t", "s": b" ", "\\": b"\\", "$": b"$", "|": b"|",
           "{": b"{", "%": b"%"}
NUMBERS = {"d": rb"\d+", "f": rb"-?\d+(?:\.\d+)?", "a": rb"(?:127\.0\.0\.1:\d+|unix)"}
CAPTURE = rb"[0-9a-f]{32}"
FENCE_DIGITS = 16


class TranscriptError(Exception):
    """The transcript is invalid."""


class Text:
    """A text with escapes, captures and wild cards: bytes to send, or a pattern to match."""

    def __init__(self, source):
        self.pieces = []
        self.names = set()
        position = 0
        for match in PIECE.finditer(source):
            self.pieces.append(source[position:match.start()].encode())
            self.pieces.append(self._piece(match))
            position = match.end()
        self.pieces.append(source[position:].encode())

    def _piece(self, match):
        if match["unit"]:
            unit = Text(match["unit"]).bytes({})
            return unit * int(match["times"])
        if match["hex"]:
            return bytes([int(match["hex"], 16)])
        if match["escape"]:
            if match["escape"] not in ESCAPES:
                raise TranscriptError(f"no such escape: {match[0]}")
            return ESCAPES[match["escape"]]
        name = match["name"] or match["braced"]
        if name:
            self.names.add(name)
            return ("fence" if match["fence"] else "token", name)
        return ("number", match["number"])

    def bytes(self, captures):
        """Returns the bytes to send. An unknown token is an error of the transcript."""
        sent = b""
        for piece in self.pieces:
            if isinstance(piece, bytes):
                sent += piece
            else:
                sent += self._known(piece, captures)
        return sent

    @staticmethod
    def _known(piece, captures):
        kind, name = piece
        if kind == "number" or name not in captures:
            raise TranscriptError(f"cannot use {name!r}: unknown here")
        return captures[name][:FENCE_DIGITS] if kind == "fence" else captures[name]

    def match(self, line, captures):
        """Whether the line matches; captures new tokens."""
        pattern = b""
        fresh = set()
        for piece in self.pieces:
            if isinstance(piece, bytes):
                pattern += re.escape(piece)
            elif piece[0] == "number":
                pattern += NUMBERS[piece[1]]
            elif piece[0] == "fence" or piece[1] in captures:
                pattern += re.escape(self._known(piece, captures))
            elif piece[1] in fresh:
                pattern += b"(?P=" + piece[1].encode() + b")"
            else:
                fresh.add(piece[1])
                pattern += b"(?P<" + piece[1].encode() + b">" + CAPTURE + b")"
        found = re.fullmatch(pattern + b"\n", line, re.DOTALL)
        if found:
            captures.update({name: found[name] for name in fresh})
        return bool(found)


def request(source):
    """Returns the text of the three lines of a request."""
    if re.search(r"(?<!\\)\|", source):
        fields = [part.strip() for part in re.split(r"(?<!\\)\|", source)]
        if len(fields) != 3:
            raise TranscriptError(f"a request has three fields: {source}")
    else:
        fields = source.split(None, 2)
        fields += [""] * (3 - len(fields))
    return "".join(part + r"\n" for part in fields)


@dataclass
class Step:
    """One event of a transcript: `verb` as above, and the `texts` to send or expect."""

    number: int
    source: str
    verb: str
    who: str = None
    rest: str = ""
    texts: list = field(default_factory=list)


@dataclass
class Transcript:
    name: str
    rule: str = ""
    flags: list = field(default_factory=list)
    steps: list = field(default_factory=list)

    @property
    def server_flags(self):
        """With several workers, requests of two connections are not served in the order in which
        they were sent, unless the second is sent after the reply to the first. A transcript that
        needs no such order says so with `--threads`."""
        return self.flags if "--threads" in self.flags else [*self.flags, "--threads", "1"]


def _step(number, line):
    match = TRAFFIC.fullmatch(line)
    if match:
        step = Step(number, line, match["verb"], match["who"], match["rest"] or "")
        if step.verb == ">":
            step.texts = [Text(request(step.rest))]
        elif step.verb in (">>", "<", "<<"):
            step.texts = [Text(step.rest)]
        return step
    match = EVENT.fullmatch(line)
    if match:
        return Step(number, line, match["verb"], match["who"])
    match = COMMAND.fullmatch(line)
    if match:
        return Step(number, line, match["verb"], rest=match["rest"] or "")
    raise TranscriptError(f"line {number}: cannot read: {line}")


def parse(source, name):
    transcript = Transcript(name)
    for number, line in enumerate(source.splitlines(), 1):
        line = line.rstrip()
        if line.startswith("#"):
            if not transcript.steps:
                transcript.rule += line[1:].strip() + "\n"
        elif line.startswith("server:"):
            transcript.flags = shlex.split(line[len("server:"):])
        elif line:
            transcript.steps.append(_step(number, line))
    if not transcript.rule:
        raise TranscriptError(f"{name}: does not state its rule")
    return transcript


def read(path):
    return parse(path.read_text(encoding="utf-8"), path.stem)


def pipelined(steps):
    """Merges consecutive requests of one connection into one send.

    Replies of the same connection do not separate them, unless a request needs a token from one.
    """
    merged = []
    sends, replies = [], []

    def flush():
        if sends:
            together = [text for step in sends for text in step.texts]
            source = " + ".join(step.source for step in sends)
            merged.append(Step(sends[0].number, source, ">>", sends[0].who, texts=together))
        merged.extend(replies)
        sends.clear()
        replies.clear()

    for step in steps:
        held = (sends + replies)[:1]
        if step.verb not in (">", ">>", "<") or held and held[0].who != step.who:
            flush()
        if step.verb in (">", ">>"):
            needed = {name for reply in replies for text in reply.texts for name in text.names}
            if any(text.names & needed for text in step.texts):
                flush()
            sends.append(step)
        elif step.verb == "<":
            replies.append(step)
        else:
            merged.append(step)
    flush()
    return merged
