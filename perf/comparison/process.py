"""CPU time, context switches and memory of a process."""

import re
from pathlib import Path

SWITCHES = re.compile(r"^(?:non)?voluntary_ctxt_switches:\s+(\d+)", re.MULTILINE)
RESIDENT = re.compile(r"^Rss:\s+(\d+) kB", re.MULTILINE)


def tasks(pid):
    return Path(f"/proc/{pid}/task").iterdir()


def cpu_ns(pid):
    """Returns the CPU time of all threads, as the scheduler counts it."""
    return sum(int((task / "schedstat").read_text(encoding="ascii").split()[0])
               for task in tasks(pid))


def switches(pid):
    """Returns the number of context switches, voluntary or not, of all threads."""
    return sum(int(count) for task in tasks(pid)
               for count in SWITCHES.findall((task / "status").read_text(encoding="utf-8")))


def resident_bytes(pid):
    """Returns the exact resident memory. VmRSS of `status` can lag by some 100 kB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8")
    return int(RESIDENT.search(text)[1]) * 1024
