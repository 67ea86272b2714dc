"""Makes tests/lib and the helpers beside this file importable."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from lib.seed import seed  # noqa: E402,F401
