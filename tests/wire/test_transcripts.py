"""Every transcript holds as written, with its sends split, and pipelined."""

from pathlib import Path

import pytest
import transcript
from conversation import STYLES, Conversation
from lib.server import Server
from lib.wire_client import settle

PATHS = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))


def leaves_nothing(script):
    """Whether the server must be empty after the connections of this transcript have closed."""
    lasting = {"--auth-token", "--no-auto-release-on-disconnect"}
    ends = {"terminate", "kill"}
    return not lasting & set(script.flags) and not ends & {step.verb for step in script.steps}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_transcript_holds(path, style, seed):
    script = transcript.read(path)
    with Server(*script.server_flags) as server:
        with Conversation(script, server, style, seed) as conversation:
            conversation.play()
        if leaves_nothing(script):
            settle(server)
