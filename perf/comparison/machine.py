"""The machine and the versions of all programs that were measured."""

import os
import platform
import re
import subprocess
from datetime import date
from pathlib import Path

from comparison.place import LOAD_CPU, ROOT, SERVER_CPU, USABLE
from lib.original_server import original_python


def output(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          check=False, cwd=ROOT)
    return (done.stdout or done.stderr).strip()


def cpu_model():
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"),
                      re.MULTILINE)
    return found[1] if found else platform.machine()


def virtual():
    return "hypervisor" in Path("/proc/cpuinfo").read_text(encoding="utf-8")


def commit():
    """Returns the commit that is checked out, with a note if files differ from it."""
    changed = output("git", "status", "--porcelain", "--untracked-files=no")
    return output("git", "rev-parse", "--short", "HEAD") + (" and changes" if changed else "")


def describe():
    return {
        "date": date.today().isoformat(),
        "cpu": cpu_model() + (" (virtual machine)" if virtual() else ""),
        "cores": os.cpu_count(),
        "usable": len(USABLE),
        "server_cpu": SERVER_CPU,
        "load_cpu": LOAD_CPU,
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30),
        "kernel": f"{platform.system()} {platform.release()}",
        "commit": commit(),
        "redis": output("redis-server", "--version").split(" sha=")[0],
        "python": output(original_python(), "--version"),
    }
