"""Virtual environments, one for each published client, made once and kept in build/venv.

The newest Python that really runs makes them; DFLOCKD_TEST_PYTHON names another one.
"""

import fcntl
import functools
import os
import subprocess
from pathlib import Path

import pytest
from lib.server import ROOT

FOLDER = ROOT / "build" / "venv"
NEWEST_FIRST = "python3.13", "python3.12"
SYSTEM = Path("/usr/bin/python3")
RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))


class Unavailable(Exception):
    """The package can't be had, or can't run, on this machine; the text says why."""


def installed(package):
    """As `python`, but where the package can't be had the test is skipped, with the reason."""
    try:
        return python(package)
    except Unavailable as reason:
        pytest.skip(f"{package}: {reason}")


def python(package):
    """The interpreter of the environment that holds `package`; raises Unavailable.

    Workers that want the same one at once wait for the first of them, and share its failure.
    """
    folder = FOLDER / str(package)
    made, failed = folder / "made-by", Path(f"{folder}.failed")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if failed.exists():
            run, _, reason = failed.read_text().partition("\n")
            if run == RUN:
                raise Unavailable(reason)
            failed.unlink()
        if not made.exists() or made.read_text() != str(interpreter()):
            try:
                make(folder, package)
            except Unavailable as reason:
                failed.write_text(f"{RUN}\n{reason}")
                raise
            made.write_text(str(interpreter()))
    return folder / "bin" / "python"


def make(folder, package):
    made = str(folder / "bin" / "python")
    run(interpreter(), "-m", "venv", "--clear", folder)
    run(made, "-m", "pip", "install", "--quiet", "--no-input", "--retries", "1",
        "--disable-pip-version-check", "--ignore-requires-python",
        f"{package.name}=={package.version}")
    for module in package.modules:
        run(made, "-c", f"import {module}")


def run(*command):
    outcome = subprocess.run(
        [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True)
    if outcome.returncode != 0:
        last = (outcome.stdout.strip().splitlines() or ["no output"])[-1]
        raise Unavailable(f"python {' '.join(map(str, command[1:4]))} failed: {last}")


@functools.cache
def interpreter():
    """The first Python of `candidates` that runs and can make environments."""
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
