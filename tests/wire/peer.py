"""The original server, of PyPI's `dflockd` 0.5.0, in an environment of its own under build/venv."""

import fcntl
import glob
import os
import shutil
import subprocess
from pathlib import Path

from launch import own_address
from lib.server import ROOT, PythonServer

VERSION = "0.5.0"
VENV = ROOT / "build" / "venv" / f"server-{VERSION}"
NAMES = ("python3.13", "python3.12")
INSTALL_SECONDS = 300


class Original(PythonServer):
    """On a loopback address of its own: nothing else can take its port while it starts."""

    def __init__(self, python, *args):
        super().__init__(python, *args)
        self.host = own_address()
        self.command[self.command.index("--host") + 1] = self.host


class Unavailable(Exception):
    """It cannot be installed here; the text says why."""


def environment():
    """The interpreter of the environment, made by whoever of the test processes comes first."""
    VENV.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{VENV}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        reason = Path(f"{VENV}.unavailable")
        if not _serves(VENV / "bin" / "python"):
            # One try in a run of the tests is enough: pytest's workers share a parent.
            run = f"{os.getppid()}\n"
            if reason.exists() and reason.read_text(encoding="utf-8").startswith(run):
                raise Unavailable(reason.read_text(encoding="utf-8")[len(run):])
            try:
                _make()
            except Unavailable as error:
                reason.write_text(f"{run}{error}", encoding="utf-8")
                raise
        reason.unlink(missing_ok=True)
    return VENV / "bin" / "python"


def _interpreters():
    """Newest first; the names may be shims that run nothing, so each is tried."""
    for name in NAMES:
        found = [shutil.which(name)]
        found += sorted(glob.glob(str(Path.home() / f".pyenv/versions/{name[6:]}*/bin/{name}")))
        for path in filter(None, found):
            if _run([path, "-c", "import venv, ensurepip"]).returncode == 0:
                yield path, []
                break
    yield "/usr/bin/python3", ["--ignore-requires-python"]


def _make():
    reasons = []
    for interpreter, options in _interpreters():
        shutil.rmtree(VENV, ignore_errors=True)
        made = _run([interpreter, "-m", "venv", str(VENV)])
        if made.returncode == 0:
            made = _run([str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet",
                         *options, f"dflockd=={VERSION}"])
        if made.returncode == 0 and _serves(VENV / "bin" / "python"):
            return
        reasons.append(f"{interpreter}: {(made.stderr or 'does not serve').strip()[-300:]}")
    shutil.rmtree(VENV, ignore_errors=True)
    raise Unavailable("; ".join(reasons))


def _serves(python):
    if not python.exists():
        return False
    try:
        with Original(python):
            return True
    except OSError:
        return False


def _run(command):
    return subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS,
                          check=False, stdin=subprocess.DEVNULL)
