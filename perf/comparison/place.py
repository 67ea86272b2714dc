"""The paths, and the CPUs of server and load."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("COMPARE_BUILD", ROOT / "build"))
FIGURES = BUILD / "perf" / "compare.json"
REPORT = ROOT / "perf" / "report.md"
PLOTS = ROOT / "perf" / "plots"
TRIED = ROOT / "perf" / "tried.md"

DESCRIPTORS = 200000
USABLE = sorted(os.sched_getaffinity(0))
SERVER_CPU, LOAD_CPU = USABLE[0], USABLE[-1]


def pinned(command, *cpus):
    """Returns the command that runs `command` on these CPUs only."""
    return ["taskset", "--cpu-list", ",".join(map(str, cpus)), *map(str, command)]
