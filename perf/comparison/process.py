"""What a process has used: CPU time, context switches, memory."""

import re
from pathlib import Path

SWITCHES = re.compile(r"^(?:non)?voluntary_ctxt_switches:\s+(\d+)", re.MULTILINE)
RESIDENT = re.compile(r"^Rss:\s+(\d+) kB", re.MULTILINE)


def tasks(pid):
    return Path(f"/proc/{pid}/task").iterdir()


def cpu_ns(pid):
    """Time on a processor, of all threads, by the clock of the scheduler."""
    return sum(int((task / "schedstat").read_text(encoding="ascii").split()[0])
               for task in tasks(pid))


def switches(pid):
    """How often its threads began to run: context switches of both kinds, of all threads."""
    return sum(int(count) for task in tasks(pid)
               for count in SWITCHES.findall((task / "status").read_text(encoding="utf-8")))


def resident_bytes(pid):
    """Counted page by page; VmRSS of `status` may be some hundred kilobytes behind."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8")
    return int(RESIDENT.search(text)[1]) * 1024
