"""Makes tests/lib and the helpers beside this file importable."""

import signal
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from lib.seed import seed  # noqa: E402,F401

# A shell ignores SIGINT in its background jobs, and their children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
