"""The process of a server, as the kernel describes it."""

import os
from contextlib import suppress
from pathlib import Path

from .server import BINARY

# A sanitizer keeps freed memory for a while, to detect its use.
SANITIZED = b"__asan_init" in BINARY.read_bytes()


def resident_kib(server):
    status = Path(f"/proc/{server.pid}/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0])


def descriptor_count(server):
    return len(os.listdir(f"/proc/{server.pid}/fd"))


def _read_of_threads(server, name):
    texts = []
    for task in sorted(Path(f"/proc/{server.pid}/task").iterdir()):
        # A thread can end after the directory is listed.
        with suppress(FileNotFoundError, ProcessLookupError):
            texts.append((task / name).read_text(encoding="ascii"))
    return texts


def cpu_ns(server):
    """Returns the processor time of all threads."""
    return sum(int(text.split()[0]) for text in _read_of_threads(server, "schedstat"))


def sleeps(server):
    """Returns how often each worker went to sleep. The log thread sleeps by its own rhythm."""
    texts = [text for text in _read_of_threads(server, "status")
             if "Name:\tdflockd-log\n" not in text]
    return [int(text.split("\nvoluntary_ctxt_switches:")[1].split()[0]) for text in texts]
