"""Plays every transcript about locks to the original server, dflockd 0.5.0 in Python, too.

DIFFERENCES lists its differences and their reasons. An unlisted difference fails, and so does a
listed one that no longer occurs. Only the first difference of a transcript counts, because
the conversations differ after it.
"""

import pytest
import transcript
from conversation import Conversation, Difference
from differences import DIFFERENCES
from lib.original_server import OriginalServer, original_python_or_skip
from lib.server import Server
from lib.wire_client import CLOSED, RESET
from test_transcripts import PATHS

FLAGS = {"--default-lease-ttl", "--lease-sweep-interval", "--gc-interval", "--gc-max-idle",
         "--max-locks", "--read-timeout",
         "--no-auto-release-on-disconnect"}
LATER = ("ping", "stats", "auth", "sl", "sr", "sn", "se", "sw")
TIMEOUT_S = 6  # the original server expires a lease of a second up to two seconds late


def about_locks(script):
    """Whether the transcript uses only features of 0.5.0."""
    flags = {word.split("=")[0] for word in script.flags if word.startswith("--")}
    sent = [step.rest.split("|")[0].split()[:1] for step in script.steps if step.verb == ">"]
    sent += [step.rest.split("\\")[:1] for step in script.steps if step.verb == ">>"]
    later = [words for words in sent if words and words[0] in LATER]
    signals = [step for step in script.steps if step.verb in ("terminate", "kill")]
    return flags <= FLAGS and not later and not signals


SCRIPTS = [script for script in map(transcript.read, PATHS) if about_locks(script)]


@pytest.fixture(scope="session")
def python():
    return original_python_or_skip()


def unfenced(script):
    """Removes the comparisons of fences, because the tokens of 0.5.0 are random."""
    script.steps = [step for step in script.steps if step.verb != "rising"]
    return script


def first_difference(script, server):
    with Conversation(script, server, timeout=TIMEOUT_S) as conversation:
        try:
            conversation.play()
        except Difference as difference:
            # A close with unread bytes arrives as a reset or as a close.
            return difference.step.source, difference.received.replace(RESET, CLOSED)
    return None


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_the_original_differs_only_as_listed(script, python):
    with Server(*script.server_flags) as server:
        assert first_difference(script, server) is None
    with OriginalServer(python, *script.flags) as server:
        seen = first_difference(unfenced(script), server)
    listed = DIFFERENCES.get(script.name)
    assert seen == (listed and (listed.step, listed.original)), (
        f"listed: {listed}\nseen: {seen}\n{script.rule}")


def test_each_listed_difference_has_a_transcript():
    assert set(DIFFERENCES) <= {script.name for script in SCRIPTS}
