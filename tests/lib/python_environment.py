"""Virtual environments with published Python packages, one per package, kept in build/venv.

The newest Python that works creates them; DFLOCKD_TEST_PYTHON names another one.
"""

import fcntl
import functools
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from .server import ROOT

FOLDER = ROOT / "build" / "venv"
NEWEST_FIRST = "python3.13", "python3.12"
SYSTEM = Path("/usr/bin/python3")
RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))


class Unavailable(Exception):
    """The package cannot be installed or does not run on this machine; the text has the reason."""


@dataclass(frozen=True)
class Package:
    """A package as the registry names it, and the modules that the tests import."""

    name: str
    version: str
    modules: tuple
    features: frozenset = frozenset()

    def __str__(self):
        return f"{self.name}-{self.version}"


def python_or_skip(package):
    """As `python_of`; skips the test if the package is unavailable."""
    try:
        return python_of(package)
    except Unavailable as reason:
        pytest.skip(f"{package}: {reason}")


def python_of(package):
    """Returns the interpreter of the environment that holds `package`; raises Unavailable.

    Test processes that need the same environment wait for the first one, and share its failure.
    """
    folder = FOLDER / str(package)
    made, failed = folder / "made-by", Path(f"{folder}.failed")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with open(f"{folder}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if failed.exists():
            run_id, _, reason = failed.read_text().partition("\n")
            if run_id == RUN:
                raise Unavailable(reason)
            failed.unlink()
        if not made.exists() or made.read_text() != str(interpreter()):
            try:
                create(folder, package)
            except Unavailable as reason:
                failed.write_text(f"{RUN}\n{reason}")
                raise
            made.write_text(str(interpreter()))
    return folder / "bin" / "python"


def create(folder, package):
    python = folder / "bin" / "python"
    run(interpreter(), "-m", "venv", "--clear", folder)
    run(python, "-m", "pip", "install", "--quiet", "--no-input", "--retries", "1",
        "--disable-pip-version-check", "--ignore-requires-python",
        f"{package.name}=={package.version}")
    for module in package.modules:
        run(python, "-c", f"import {module}")


def run(*command):
    done = subprocess.run(
        [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        last = (done.stdout.strip().splitlines() or ["no output"])[-1]
        raise Unavailable(f"python {' '.join(map(str, command[1:4]))} failed: {last}")


@functools.cache
def interpreter():
    """Returns the first Python of `candidates` that runs and can create environments."""
    for candidate in candidates():
        if os.access(candidate, os.X_OK):
            try:
                run(candidate, "-c", "import ensurepip, venv")
                return candidate
            except Unavailable:
                continue
    raise Unavailable("no Python here has both venv and ensurepip")


def candidates():
    if "DFLOCKD_TEST_PYTHON" in os.environ:
        return [Path(os.environ["DFLOCKD_TEST_PYTHON"])]
    folders = [Path(folder) for folder in os.get_exec_path()]
    folders += sorted(Path.home().glob(".pyenv/versions/*/bin"), reverse=True)
    return [folder / name for name in NEWEST_FIRST for folder in folders] + [SYSTEM]
