"""What the threads of a server did, as the kernel counts it."""

from contextlib import suppress
from pathlib import Path


def _read(server, name):
    tasks = sorted(Path(f"/proc/{server.pid}/task").iterdir())
    texts = []
    for task in tasks:
        # A thread may end between the listing and the reading.
        with suppress(FileNotFoundError, ProcessLookupError):
            texts.append((task / name).read_text(encoding="ascii"))
    return texts


def cpu_ns(server):
    """Time on a processor, of all threads."""
    return sum(int(text.split()[0]) for text in _read(server, "schedstat"))


def sleeps(server):
    """How often each worker went to sleep; the thread of the log sleeps while nothing is logged."""
    texts = [text for text in _read(server, "status") if "Name:\tdflockd-log\n" not in text]
    return [int(text.split("\nvoluntary_ctxt_switches:")[1].split()[0]) for text in texts]
