"""Flags and commands from `PROGRAM --help`, parsed separately from the pages' generator."""

import re
import subprocess
from dataclasses import dataclass
from functools import cache

from lib.server import BINARY, ROOT

BUILD = BINARY.parent
PAGES = sorted((ROOT / "tools/man").glob("*.in"))
PROGRAMS = [page.name.split(".")[0] for page in PAGES]


@dataclass(frozen=True)
class Flag:
    """A flag of --help: its lines, and whether --no-NAME is a flag too."""
    name: str
    switch: bool
    line: str

    @property
    def written(self):
        return f"{'--' if len(self.name) > 1 else '-'}{self.name}"

    @property
    def takes_value(self):
        return not self.switch and self.name not in ("help", "version")

    @property
    def spellings(self):
        return {self.written} | ({f"--no-{self.name}"} if self.switch else set())


@cache
def help_of(program, *command):
    return subprocess.run([BUILD / program, *command, "--help"], capture_output=True, text=True,
                          check=True, timeout=20).stdout


@cache
def flags_of(program, *command):
    found = re.findall(r"^  --?(\[no-\])?([a-z0-9-]+)(?: [A-Z]+)?\n((?:      .*\n)+)",
                       help_of(program, *command), re.M)
    assert found
    return [Flag(name, bool(no), " ".join(lines.split())) for no, name, lines in found]


@cache
def commands_of(program):
    """The names of the program's commands; empty if it has none."""
    return re.findall(r"^  ([a-z]+) +[A-Z]", help_of(program), re.M)


def spellings_of(program, *command):
    return set().union(*(flag.spellings for flag in flags_of(program, *command)))
