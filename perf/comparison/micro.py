"""Rows about lock table, parser and replies without kernel and network.

Times come from build/perf/micro, instructions from perf/instructions.
"""

import json
import os
import subprocess
from contextlib import contextmanager

from comparison.place import BUILD, LOAD_CPU, ROOT, pinned
from comparison.row import Row

MOST_KEYS, MOST_KEYS_BYTES = 10000000, 4 << 30
COUNTED_KEYS = 100000


def free_bytes():
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def figures_of(command, figure):
    output = subprocess.run(pinned(command, LOAD_CPU), capture_output=True, text=True,
                            check=True).stdout
    return {f"{one['step']}/{one['size']}": {figure: one[figure]} for one in json.loads(output)}


class Alone(Row):
    """A row with one round. Its contestants are all steps of one run of a program."""

    once = True

    def run(self):
        raise NotImplementedError

    @contextmanager
    def contestants(self, seconds):
        figures = self.run()
        yield {label: lambda label=label: figures[label] for label in figures}


class Micro(Alone):
    name = "micro"
    title = "steps of table, parser and replies alone, in nanoseconds"

    def run(self):
        keys = MOST_KEYS if free_bytes() > MOST_KEYS_BYTES else MOST_KEYS // 10
        return figures_of([BUILD / "perf" / "micro", "--json", "--size-max", keys], "ns")


class Instructions(Alone):
    name = "instructions"
    title = "the same in instructions"

    def run(self):
        return figures_of([ROOT / "perf" / "instructions", "--build", BUILD, "--json",
                           "--size-max", COUNTED_KEYS], "instructions")


ROWS = Micro(), Instructions()
