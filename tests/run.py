#!/usr/bin/python3
"""Runs test suites, shows their output, and prints a line of counts at the end.

Suites: unit (cmocka programs and scripts that print TAP), threads (those of unit that start
threads), sim (the simulation), fuzz (the fuzzers), wire (a server over TCP), clients (the published
clients), ctl (dflockctl), faults (a server with misbehaving clients or kernel errors), library (the
client library), manual (manual pages and completions), packages (Debian packages, installed and
purged), valgrind (short unit tests and the library's tests under valgrind). tests/README.md
describes them.
"""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTEST_COUNT = re.compile(r"(\d+) (passed|failed|skipped|errors?|xfailed|xpassed)")
UNIT_SECONDS = 600
SIM_EVENTS = 10_000_000
FUZZ_SECONDS = 60
SUITE_SECONDS = 1800
VALGRIND = ["valgrind", "--quiet", "--error-exitcode=99", "--leak-check=full",
            "--errors-for-leak-kinds=definite,possible"]
# Millions of events or many threads: too slow under valgrind.
LONG_TESTS = {"test_stripes_threads", "test_turns"}
# Simultaneous tests: most tests wait, but those of faults use the CPU.
PROCESSES = {"wire": "8", "clients": "8", "ctl": "8", "faults": "2", "client_library": "4",
             "manual": "2", "packages": "0"}


class Counts:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def add(self, kind, number=1):
        if kind in ("passed", "xfailed"):
            self.passed += number
        elif kind == "skipped":
            self.skipped += number
        else:
            self.failed += number

    def __str__(self):
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def run_tap(counts, command, environment):
    """Runs a program that prints TAP. A crash or a timeout counts as one failure."""
    try:
        result = subprocess.run(command, cwd=ROOT, env=environment, text=True, errors="replace",
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                timeout=UNIT_SECONDS)
        output, status = result.stdout, result.returncode
    except subprocess.TimeoutExpired as expired:
        output = (expired.stdout or b"").decode(errors="replace") + "\ntimed out\n"
        status = -1
    before = counts.failed
    tests = 0
    label = " ".join(Path(part).name for part in command if "/" in part)
    for line in output.splitlines():
        if line.startswith("not ok "):
            counts.add("failed")
            tests += 1
        elif line.startswith("ok "):
            counts.add("skipped" if "# SKIP" in line else "passed")
            tests += 1
    passed = status == 0 and counts.failed == before and tests > 0
    if not passed:
        print(output)
        if counts.failed == before:
            counts.add("failed")
    print(f"{'ok' if passed else 'FAILED':7}{label} ({tests} tests)", flush=True)


def run_unit(counts, build, wrapper=()):
    environment = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP")
    programs = [build / source.with_suffix("").relative_to(ROOT)
                for source in sorted((ROOT / "tests" / "unit").glob("test_*.c"))]
    for program in programs:
        if not (wrapper and program.name in LONG_TESTS):
            run_tap(counts, [*wrapper, str(program)], environment)
    if not wrapper:
        for script in sorted((ROOT / "tests" / "unit").glob("*.sh")):
            run_tap(counts, ["sh", str(script)], environment)


def run_threads(counts, build):
    environment = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP")
    for source in sorted((ROOT / "tests" / "unit").glob("test_*.c")):
        if "pthread_create" in source.read_text():
            run_tap(counts, [str(build / source.with_suffix("").relative_to(ROOT))], environment)


def run_library(counts, build, wrapper=()):
    """Runs programs that include only the library's header, against real servers."""
    environment = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP", DFLOCKD=str(build / "dflockd"))
    for source in sorted((ROOT / "tests" / "client_library").glob("test_*.c")):
        program = build / source.with_suffix("").relative_to(ROOT)
        run_tap(counts, [*wrapper, str(program)], environment)
    if not wrapper:
        run_pytest(counts, build, "client_library")


def run_sim(counts, build):
    events = os.environ.get("EVENTS", SIM_EVENTS)
    run_tap(counts, [str(build / "tests/sim/sim"), f"events={events}"], dict(os.environ))


def run_fuzz(counts, build):
    seconds = os.environ.get("SECONDS", str(FUZZ_SECONDS))
    run_tap(counts, ["tests/fuzz/run", seconds, "build/fuzz"], dict(os.environ))


def run_pytest(counts, build, suite):
    environment = dict(os.environ, DFLOCKD=str(build / "dflockd"), PYTHONDONTWRITEBYTECODE="1")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-rfEs",
               "-n", PROCESSES[suite], f"tests/{suite}"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, text=True, errors="replace",
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    last = ""
    for line in process.stdout:
        print(line, end="", flush=True)
        if PYTEST_COUNT.search(line):
            last = line
    status = process.wait(SUITE_SECONDS)
    found = PYTEST_COUNT.findall(last)
    for number, kind in found:
        counts.add(kind, int(number))
    if status != 0 and not any(kind.startswith(("failed", "error")) for _, kind in found):
        counts.add("failed")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build",
                        help="folder of the built programs; default: build")
    parser.add_argument("suites", nargs="+")
    arguments = parser.parse_args()
    build = (ROOT / arguments.build).resolve()
    counts = Counts()
    for suite in arguments.suites:
        print(f"== {suite}", flush=True)
        if suite == "unit":
            run_unit(counts, build)
        elif suite == "threads":
            run_threads(counts, build)
        elif suite == "valgrind":
            run_unit(counts, build, VALGRIND)
            run_library(counts, build, VALGRIND)
        elif suite == "library":
            run_library(counts, build)
        elif suite == "sim":
            run_sim(counts, build)
        elif suite == "fuzz":
            run_fuzz(counts, build)
        else:
            run_pytest(counts, build, suite)
    print(counts)
    return 1 if counts.failed else 0


if __name__ == "__main__":
    sys.exit(main())
